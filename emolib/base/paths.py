"""Where things live: the repository's folders and the place of every artifact of a run.

Nothing else in the package builds a path. `EMOLIB_ROOT`, `EMOLIB_RESULTS` and `EMOLIB_CACHE` move the repository
root, the results and the cache of converted models.
"""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

from emolib.base.errors import UserError

NOTEBOOKS = {
    "phase1": "phase1_dataset.ipynb",
    "phase2": "phase2_activations.ipynb",
    "phase3": "phase3_vectors.ipynb",
    "phase5": "phase5_residual_patching.ipynb",
    "phase7": "phase7_statistics.ipynb",
}


def repository_root() -> Path:
    """The folder that holds params/, data/ and notebooks/."""
    candidates = [Path(os.environ["EMOLIB_ROOT"])] if "EMOLIB_ROOT" in os.environ else []
    candidates += [Path(__file__).resolve().parents[2], Path.cwd(), *Path.cwd().parents]
    for folder in candidates:
        if (folder / "params" / "profiles").is_dir():
            return folder
    raise UserError(
        "expected a checkout of the repository (a folder with params/profiles), found none; "
        "install with `pip install -e .` inside the checkout or set EMOLIB_ROOT"
    )


def params_folder(kind: str) -> Path:
    """`kind` is one of models, profiles, keywords, scorers, wording."""
    return repository_root() / "params" / kind


def prompting_file() -> Path:
    """How an emotion is asked for in words."""
    return repository_root() / "params" / "prompting.yaml"


def data_file(name: str = "emotion_dataset.jsonl") -> Path:
    return repository_root() / "data" / name


def notebook_file(phase: str) -> Path:
    return repository_root() / "notebooks" / NOTEBOOKS[phase]


def site_configuration() -> Path:
    """The folder with Sphinx's conf.py, the templates and the static files of the browsable site."""
    return repository_root() / "docs" / "site"


def results_root() -> Path:
    override = os.environ.get("EMOLIB_RESULTS")
    return Path(override).resolve() if override else repository_root() / "results"


def executed_root() -> Path:
    override = os.environ.get("EMOLIB_EXECUTED")
    return Path(override).resolve() if override else repository_root() / "executed"


def executed_file(profile: str, model: str, phase: str) -> Path:
    return executed_root() / profile / model / NOTEBOOKS[phase]


def cache_root() -> Path:
    """Where converted models are kept between runs."""
    return Path(os.environ.get("EMOLIB_CACHE") or platformdirs.user_cache_dir("emolib"))


def score_cache() -> Path:
    """Scores of texts, shared by all profiles; under the results, so that an empty folder scores everything anew."""
    return results_root() / "scores"


def fluency_reference(model: str, version: str) -> Path:
    """A model's reference for broken text, where no run keeps its own."""
    return cache_root() / "fluency" / f"{model.replace('/', '--')}-{version[:16]}.parquet"


def display(path: Path) -> str:
    """A path as reports print it: relative to the repository or the results root, never a machine's own folder."""
    for base, prefix in ((results_root(), "results"), (repository_root(), "")):
        try:
            return (Path(prefix) / Path(path).resolve().relative_to(base.resolve())).as_posix()
        except ValueError:
            continue
    return Path(path).name


class ResultPaths:
    """The layout under `results/<profile>/`, which follows the first study's."""

    def __init__(self, profile: str, model: str) -> None:
        self.root = results_root() / profile
        self.model = model

    def dataset(self, name: str) -> Path:
        return self.root / "dataset" / name

    def activations(self) -> Path:
        """The folder of a model's activations; `emolib.data.activations.StoredActivations` says what lies in it."""
        return self.root / "activations" / self.model

    def cross_model_table(self) -> Path:
        return self.root / "emotion_vectors" / "cross_model_similarity.csv"

    def vector_files(self) -> list[Path]:
        """The vectors at the mean position of every model of this profile."""
        return sorted((self.root / "emotion_vectors").glob("*_vectors_mean.safetensors"))

    def subspaces(self, position: str) -> Path:
        return self.root / "emotion_subspaces" / f"{self.model}_subspaces_{position}.safetensors"

    def subspace_table(self, name: str) -> Path:
        return self.root / "emotion_subspaces" / f"{self.model}_{name}.parquet"

    def plot(self, name: str, kind: str) -> Path:
        """A figure as a file of its own; `kind` is html or png. What compares models has no model in its name."""
        prefix = "" if name.startswith("cross_model") else f"{self.model}_"
        return self.root / "plots" / self.model / f"{prefix}{name}.{kind}"

    def vectors(self, position: str) -> Path:
        return self.root / "emotion_vectors" / f"{self.model}_vectors_{position}.safetensors"

    def vector_table(self, name: str) -> Path:
        return self.root / "emotion_vectors" / f"{self.model}_{name}.parquet"

    def sweep(self, name: str) -> Path:
        return self.root / "patching" / "residual" / f"{self.model}_residual_sweep_{name}.parquet"

    def random_sweep(self, name: str) -> Path:
        return self.root / "patching_random" / f"{self.model}_random_sweep_{name}.parquet"

    def fluency_reference(self, prefix: str = "") -> Path:
        return self.root / "patching" / "residual" / f"{self.model}_{prefix}fluency_reference.parquet"

    def statistics(self, name: str) -> Path:
        """Statistics of all models of the profile."""
        return self.root / "statistics" / name

    def record(self, phase: str) -> Path:
        """What the finished phase of this model leaves behind."""
        return self.root / "status" / f"{self.model}_{phase}.json"

    def finished_models(self, phase: str) -> list[str]:
        """The models of this profile on which the phase has finished, by their file names."""
        ending = f"_{phase}.json"
        return sorted(path.name.removesuffix(ending) for path in (self.root / "status").glob(f"*{ending}"))

    def timing(self) -> Path:
        return self.root / "timing" / "phase_timings.jsonl"

    def batch_size(self) -> Path:
        return self.root / "timing" / f"{self.model}_batch_size.json"

    def site(self) -> Path:
        return self.root / "site"

    def lock(self) -> Path:
        return self.root / ".lock"
