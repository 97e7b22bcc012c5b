"""Where things live: the repository's folders and the place of every artifact of a run.

Nothing else in the package builds a path. `EMOLIB_ROOT`, `EMOLIB_RESULTS`, `EMOLIB_EXECUTED` and `EMOLIB_CACHE` move
the repository root, the results, the executed reports and the cache of converted models.
"""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import platformdirs

from emolib.base.errors import UserError, shown

NOTEBOOKS = {
    "phase1": "phase1_dataset.ipynb",
    "phase2": "phase2_activations.ipynb",
    "phase3": "phase3_vectors.ipynb",
    "phase4": "phase4_alignment.ipynb",
    "phase5": "phase5_residual_patching.ipynb",
    "phase6a": "phase6a_head_screening.ipynb",
    "phase6b": "phase6b_head_patching.ipynb",
    "phase7": "phase7_statistics.ipynb",
    "phase8": "phase8_circuits.ipynb",
    "phase9": "phase9_verification.ipynb",
}

CONFIRMATION = "confirm"  # the profile of a confirmation, which has no phases
CONFIRMATION_NOTEBOOK = "confirm.ipynb"

MOVED = ("EMOLIB_ROOT", "EMOLIB_RESULTS", "EMOLIB_EXECUTED", "EMOLIB_CACHE")  # every variable that names a folder

VARIANTS = "variants"
VARIANT_FILE = "variant.json"
BETWEEN = "_vs_"  # of the names of two models' places, in that of the pair
VECTORS_OF_A_MODEL = "_vectors_mean.safetensors"
PLACE_DIGITS = 12  # of the hash in the name of a local model's places
LABEL_BYTES = 60


def repository_root() -> Path:
    """The folder that holds params/, data/ and notebooks/."""
    chosen = moved("EMOLIB_ROOT")
    if chosen is not None:
        if _is_folder(chosen / "params" / "profiles"):
            return chosen
        raise UserError(
            f"expected a checkout of the repository (a folder with params/profiles) in EMOLIB_ROOT, "
            f"{shown(os.environ['EMOLIB_ROOT'])} is none; set it to one or unset it"
        )
    for folder in (Path(__file__).resolve().parents[2], *_here()):
        if _is_folder(folder / "params" / "profiles"):
            return folder
    raise UserError(
        "expected a checkout of the repository (a folder with params/profiles), found none; "
        "install with `pip install -e .` inside the checkout or set EMOLIB_ROOT"
    )


def moved(variable: str) -> Path | None:
    """The folder that an environment variable of `MOVED` names, absolute; None where it is not set, or empty.

    Raises:
        UserError: something else than a folder is there, or there can be no folder of that name.
    """
    value = os.environ.get(variable)
    if not value:
        return None
    reason = "it is no folder"
    try:
        folder = Path(value).expanduser().resolve()
        for part in (folder, *folder.parents):
            if part.exists() or part.is_symlink():
                if part.is_dir():
                    return folder
                break
    except (OSError, ValueError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or "there is no such name"
    raise UserError(f"expected a folder in {variable}, got {shown(value)} ({reason}); set it to a folder or unset it")


def moved_folders() -> dict[str, str]:
    """What `MOVED` holds as absolute paths: for a process with another working directory."""
    return {variable: str(folder) for variable in MOVED if (folder := moved(variable)) is not None}


def _here() -> list[Path]:
    """The working directory and what lies above it; nothing where it is gone."""
    try:
        here = Path.cwd()
    except OSError:
        return []
    return [here, *here.parents]


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False


def params_folder(kind: str) -> Path:
    """`kind` is one of models, profiles, keywords, scorers, wording."""
    return repository_root() / "params" / kind


def prompting_file() -> Path:
    """How an emotion is asked for in words."""
    return repository_root() / "params" / "prompting.yaml"


def frozen_file(model: str) -> Path:
    """What was chosen of a model before any sealed text was read."""
    return inside(repository_root() / "params" / "frozen", f"{file_name(model)}.yaml")


def openings_file() -> Path:
    """Which sealed files were opened when and with which choice, of all models; committed, and only added to."""
    return repository_root() / "params" / "frozen" / "openings.jsonl"


def confirmation_notebook() -> Path:
    return repository_root() / "notebooks" / CONFIRMATION_NOTEBOOK


def confirmation_report(model: str, choice: str) -> Path:
    """The executed report on sealed texts, with a frozen choice; `model` is the name of the model's places."""
    return inside(executed_root(), CONFIRMATION, model, choice, CONFIRMATION_NOTEBOOK)


def data_file(name: str = "emotion_dataset.jsonl") -> Path:
    return repository_root() / "data" / name


def notebook_file(phase: str) -> Path:
    return repository_root() / "notebooks" / NOTEBOOKS[phase]


def site_configuration() -> Path:
    """The folder with Sphinx's conf.py, the templates and the static files of the browsable site."""
    return repository_root() / "docs" / "site"


def results_root() -> Path:
    return moved("EMOLIB_RESULTS") or repository_root() / "results"


def executed_root() -> Path:
    return moved("EMOLIB_EXECUTED") or repository_root() / "executed"


def executed_folder(profile: str, variant: str | None = None) -> Path:
    """The executed reports of a profile's models, or of one of its variants."""
    folder = inside(executed_root(), profile)
    return folder if variant is None else inside(folder, VARIANTS, variant)


def executed_file(profile: str, model: str, phase: str, variant: str | None = None) -> Path:
    return inside(executed_folder(profile, variant), model, NOTEBOOKS[phase])


def failed_file(report: Path) -> Path:
    """Where a notebook lies that did not get to its end: beside the place of the finished report.

    >>> failed_file(Path("phase1_dataset.ipynb")).name
    'phase1_dataset.failed.ipynb'
    """
    return report.with_name(f"{report.stem}.failed{report.suffix}")


def variants_folder(profile: str) -> Path:
    """Results with other values than the profile's, a folder for each variant."""
    return inside(results_root(), profile, VARIANTS)


def variant_file(profile: str, name: str) -> Path:
    """What differs from the profile in a variant."""
    return inside(variants_folder(profile), name, VARIANT_FILE)


def model_name(model: str) -> str:
    """What a model that is no entry of the table is called from here on: a local folder or GGUF file by its absolute
    path, with links followed, so that every spelling of it is one model; a hub id as it is.

    >>> model_name("EleutherAI/pythia-70m")
    'EleutherAI/pythia-70m'
    >>> model_name("./runA/../runA/checkpoint-500/") == str(Path("runA/checkpoint-500").resolve())
    True
    """
    if means_folder(model):
        try:
            return str(Path(model).expanduser().resolve())
        except (OSError, RuntimeError, ValueError) as error:  # a loop of links, a home that is unknown, NUL
            raise UserError(
                f"expected a model folder or file, {shown(model)} leads nowhere; give another path"
            ) from error
    return model


def is_gguf(model: str) -> bool:
    """Whether a model's name is that of a GGUF file.

    >>> is_gguf("models/x.Q4_K_M.gguf"), is_gguf("owner/model-GGUF")
    (True, False)
    """
    return model.lower().endswith(".gguf")


def means_folder(model: str) -> bool:
    """Whether a model's name is a folder's or a file's: by its form, or because there is such a model folder."""
    if is_gguf(model):
        return True
    if model.startswith(("/", ".", "~")) or model.endswith("/") or model.count("/") > 1 or os.path.isabs(model):
        return True
    try:
        return (Path(model) / "config.json").is_file()
    except (OSError, ValueError):
        return False


def file_name(model: str) -> str:
    """The name of a model's places, unlike every other model's.

    Args:
        model: the name of a table entry, a hub id, or a folder's absolute path; the latter gives its last part and a
            hash of the path, after an @ that neither the table nor the hub allows in a name.

    >>> file_name("smollm2_135m"), file_name("EleutherAI/pythia-70m"), file_name("/runs/a/checkpoint 500")
    ('smollm2_135m', 'EleutherAI--pythia-70m', 'checkpoint-500@0b8374b09a36')
    """
    if os.path.isabs(model):
        digest = hashlib.sha256(os.fsencode(model)).hexdigest()
        return f"{folder_label(model)}@{digest[:PLACE_DIGITS]}"
    return model.replace("/", "--")


def pair_name(a: str, b: str) -> str:
    """The name of the places of two models, A before B, from those of each.

    >>> pair_name("smollm2_135m", "EleutherAI--pythia-70m")
    'smollm2_135m_vs_EleutherAI--pythia-70m'
    """
    return f"{a}{BETWEEN}{b}"


def folder_label(folder: str) -> str:
    """The last part of a folder's path, short and with nothing in it that a file name or a text minds."""
    words = unicodedata.normalize("NFC", Path(folder).name)
    label = re.sub(r"[^\w.]+", "-", words).strip("-.")
    return label.encode()[:LABEL_BYTES].decode(errors="ignore") or "model"


_ORDINARY = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
_HASHED = re.compile(r".*-[0-9a-f]{8}")  # as `name_part` makes them
_DEVICES = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")  # no files on some systems
LONGEST_PART = 60  # of a name from outside inside a file's name
LONGEST_NAME = 200  # bytes of a file's name, which leaves room for the endings of its companions


def name_part(name: str) -> str:
    """What stands for a label, or for any name from outside, in the name of an artifact.

    An ordinary ASCII name stands for itself; any other gives its letters and a hash of the whole, so that no two names
    share one and none can name another folder.

    >>> name_part("gratitude"), name_part("../../evil"), name_part("calm, quiet")
    ('gratitude', 'evil-0fbfd372', 'calm-quiet-c175bfde')
    """
    ordinary = _ORDINARY.fullmatch(name) and len(name) <= LONGEST_PART
    if ordinary and not _HASHED.fullmatch(name) and not _DEVICES.fullmatch(name):
        return name
    letters = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:30].strip("-")
    return f"{letters or 'name'}-{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"


def inside(root: Path, *parts: str) -> Path:
    """The place of every artifact: a path below `root`, each part of it one plain name.

    Raises:
        UserError: a part is empty, too long, names another folder or cannot be printed.
    """
    for part in parts:
        plain = part.isprintable() and not set(part) & set("/\\") and part not in ("", ".", "..")
        if not plain or len(part.encode()) > LONGEST_NAME:
            raise UserError(f"expected a plain name of a file or folder in the results, got {shown(part)}; rename it")
    return root.joinpath(*parts)


def cache_root() -> Path:
    """Where converted models are kept between runs."""
    return moved("EMOLIB_CACHE") or Path(platformdirs.user_cache_dir("emolib"))


def product_choice() -> Path:
    """Which library multiplies matrices faster, by machine."""
    return cache_root() / "products.json"


def score_cache() -> Path:
    """Scores of texts, shared by all profiles; under the results, so that an empty folder scores everything anew."""
    return results_root() / "scores"


def fluency_reference(model: str, version: str) -> Path:
    """A model's reference for broken text, where no run keeps its own."""
    return cache_root() / "fluency" / f"{model.replace('/', '--')}-{version[:16]}.parquet"


def content_hashes(folder: Path) -> Path:
    """What the files of a model folder hashed to when they were last read."""
    place = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()
    return cache_root() / "content" / f"{place[:32]}.json"


def display(path: Path) -> str:
    """A path as reports print it: relative to the repository, the results or the reports, never a machine's folder."""
    for base, prefix in ((results_root(), "results"), (executed_root(), "executed"), (repository_root(), "")):
        try:
            return (Path(prefix) / Path(path).resolve().relative_to(base.resolve())).as_posix()
        except (ValueError, OSError, RuntimeError):  # elsewhere, or no name that the system knows
            continue
    return Path(path).name


@dataclass(frozen=True)
class ResultPaths:
    """The layout under `results/<profile>/`, which follows the first study's.

    Attributes:
        variant: the variant whose artifacts these are; None: the profile's own.
        sources: phase → the variant in which that phase's artifacts lie; phases that are not named have `variant`.
        results: where all results lie; as it was when the places were named, so that a run's artifacts stay together.
    """

    profile: str
    model: str
    variant: str | None = None
    sources: Mapping[str, str | None] = field(default_factory=dict)
    results: Path = field(default_factory=results_root)

    @property
    def root(self) -> Path:
        """The folder of the profile with all its variants."""
        return inside(self.results, self.profile)

    @property
    def own(self) -> Path:
        """The folder of the profile's own results, or of the variant's."""
        return self._folder(self.variant)

    def _folder(self, variant: str | None) -> Path:
        return self.root if variant is None else inside(self.root, VARIANTS, variant)

    def folder(self, phase: str) -> Path:
        """Where a phase's artifacts lie: the folder of the profile, or of a variant."""
        return self._folder(self.sources.get(phase, self.variant))

    def _of(self, phase: str, *parts: str) -> Path:
        """A place among a phase's artifacts."""
        return inside(self.folder(phase), *parts)

    def of_model(self, model: str) -> ResultPaths:
        """The same places for another model."""
        return replace(self, model=model)

    def of_profile(self) -> ResultPaths:
        """The profile's own places."""
        return replace(self, variant=None, sources={})

    def dataset(self, name: str) -> Path:
        return self._of("phase1", "dataset", name)

    def activations(self) -> Path:
        """The folder of a model's activations; `emolib.data.activations.StoredActivations` says what lies in it."""
        return self._of("phase2", "activations", self.model)

    def companion_activations(self) -> Path:
        """The folder of a model's activations on the companions' scenarios, laid out as `activations`."""
        return self._of("phase3", "companions", self.model)

    def companion_table(self, name: str) -> Path:
        return self._of("phase3", "emotion_geometry", f"{self.model}_{name}.parquet")

    def companion_vectors(self) -> Path:
        return self._of("phase3", "emotion_geometry", f"{self.model}_vectors_five_mean.safetensors")

    def cross_model_table(self) -> Path:
        return self._of("phase3", "emotion_vectors", "cross_model_similarity.csv")

    def vector_files(self) -> list[Path]:
        """The vectors at the mean position of every model of this profile."""
        return sorted(self._of("phase3", "emotion_vectors").glob(f"*{VECTORS_OF_A_MODEL}"))

    def model_of(self, vector_file: Path) -> str:
        """Whose vectors one of `vector_files` holds, by the name of the model's places (a label may be that of two)."""
        return vector_file.name.removesuffix(VECTORS_OF_A_MODEL)

    def subspaces(self, position: str) -> Path:
        return self._of("phase3", "emotion_subspaces", f"{self.model}_subspaces_{position}.safetensors")

    def subspace_table(self, name: str) -> Path:
        return self._of("phase3", "emotion_subspaces", f"{self.model}_{name}.parquet")

    def plot(self, name: str, kind: str) -> Path:
        """A figure as a file of its own; `kind` is html or png. What compares models has no model in its name."""
        prefix = "" if name.startswith("cross_model") else f"{self.model}_"
        return inside(self.own, "plots", self.model, f"{prefix}{name}.{kind}")

    def vectors(self, position: str) -> Path:
        return self._of("phase3", "emotion_vectors", f"{self.model}_vectors_{position}.safetensors")

    def vector_table(self, name: str) -> Path:
        return self._of("phase3", "emotion_vectors", f"{self.model}_{name}.parquet")

    def alignment(self, name: str) -> Path:
        """A table about a pair of models, whose name is the model's here."""
        return self._of("phase4", "alignment", f"{self.model}_{name}.parquet")

    def alignment_map(self) -> Path:
        """The map of the chosen pair of layers."""
        return self._of("phase4", "alignment", f"{self.model}_map.safetensors")

    def sweep(self, name: str) -> Path:
        return self._of("phase5", "patching", "residual", f"{self.model}_residual_sweep_{name}.parquet")

    def random_sweep(self, name: str) -> Path:
        return self._of("phase5", "patching_random", f"{self.model}_random_sweep_{name}.parquet")

    def shift(self, name: str) -> Path:
        """A table of continuation shifts, or a shard of one."""
        return self._of("phase5", "patching", "shift", f"{self.model}_shift_{name}.parquet")

    def instruments(self, name: str = "instruments") -> Path:
        """What instruments were judged to see, what counts by them, or a part of what was read for it."""
        return self._of("phase5", "patching", "instruments", f"{self.model}_{name}.parquet")

    def fluency_reference(self, prefix: str = "") -> Path:
        return self._of("phase5", "patching", "residual", f"{self.model}_{prefix}fluency_reference.parquet")

    def kl_lengths(self, prefix: str = "") -> Path:
        """The unit `kl` of every layer that is steered, and what it is a mean of."""
        return self._of("phase5", "patching", "residual", f"{self.model}_{prefix}kl_lengths.parquet")

    def decoding(self) -> Path:
        """Whether the model's texts are greedy or sampled, as the run decided it."""
        return self._of("phase5", "patching", "residual", f"{self.model}_decoding.json")

    def screening(self, name: str) -> Path:
        """A table of what was found on heads."""
        return self._of("phase6a", "screening", f"{self.model}_{name}.parquet")

    def head_scores(self, *, packed: bool = False) -> Path:
        """Every head's score, in the first study's layout; packed by gzip where it is large."""
        return self._of("phase6a", "screening", f"head_scores_{self.model}.json{'.gz' if packed else ''}")

    def head_patching(self, name: str) -> Path:
        """A table about patched heads."""
        return self._of("phase6b", "patching", "head_patching", f"{self.model}_{name}.parquet")

    def circuits(self, name: str, kind: str = "parquet") -> Path:
        """What Phase 8 found: a table, or (csv, json, md) one of its files."""
        return self._of("phase8", "circuits", f"{self.model}_{name}.{kind}")

    def statistics(self, name: str) -> Path:
        """Statistics of all models of the profile."""
        return self._of("phase7", "statistics", name)

    def verification(self, name: str) -> Path:
        """What verification found in this model's run."""
        return self._of("phase9", "verification", f"{self.model}_{name}.parquet")

    def confirmation(self, name: str, ending: str = "parquet") -> Path:
        """What was found on sealed texts, with one frozen choice."""
        return inside(self.own, "confirmation", f"{self.model}_{name}.{ending}")

    def rehearsals(self) -> Path:
        """Which mock files were opened when and with which choice, of all models; it is only added to."""
        return inside(self.root, "rehearsals.jsonl")

    def record(self, phase: str) -> Path:
        """What the finished phase of this model leaves behind."""
        return self._of(phase, "status", f"{self.model}_{phase}.json")

    def seal(self, phase: str) -> Path:
        """The hash of this model's executed report, as it was when it was written."""
        return self._of(phase, "seals", f"{self.model}_{phase}.json")

    def finished_models(self, phase: str) -> list[str]:
        """The models of this profile on which the phase has finished, by their file names."""
        ending = f"_{phase}.json"
        return sorted(path.name.removesuffix(ending) for path in self._of(phase, "status").glob(f"*{ending}"))

    def timing(self) -> Path:
        return inside(self.own, "timing", "phase_timings.jsonl")

    def batch_size(self) -> Path:
        return inside(self.own, "timing", f"{self.model}_batch_size.json")

    def site(self) -> Path:
        return inside(self.own, "site")

    def lock(self) -> Path:
        """One for the profile and its variants, which share what earlier phases made."""
        return inside(self.root, ".lock")
