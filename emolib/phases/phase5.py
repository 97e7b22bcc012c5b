"""Phase 5: residual patching with control directions of three families, alternatives, and a prompting baseline.

Needs Phase 3's vectors. Makes, for the data set's own split or for every fold of the cross-fitted design: the fluency
reference, the validation sweep (from which one layer and alpha are chosen for all emotions), the test sweep at that
point with its controls, the same steers at other strengths, and what else could have been done instead. What the
sweeps say is in `emolib.phases.steering`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import yaml

from emolib import paths, store
from emolib.alternatives import KINDS as ALTERNATIVES
from emolib.alternatives import alternative_vectors
from emolib.claims import OperatingPoint, choose_operating_point
from emolib.config import spread_layers
from emolib.controls import FAMILIES, ControlSource
from emolib.errors import UserError
from emolib.extraction import extract_activations
from emolib.patching import (
    Cell,
    SweepSettings,
    baseline_shard,
    prompting_shard,
    residual_sweep,
    steer_cell,
    subspace_shard,
    sweep_cells,
)
from emolib.phases import phase2, phase3
from emolib.phases.run import Run
from emolib.phases.scores import measures, with_targets
from emolib.scoring.fluency import fluency_reference, nll_limit
from emolib.subspaces import fit_subspaces
from emolib.surface import scenario_folds
from emolib.vectors import EmotionVectors, fit_emotion_vectors

SUBSPACE_ALPHAS = (0.5, 1.0)
REFERENCE_SCENARIOS = 40


@dataclass(frozen=True)
class Part:
    """Which scenarios vectors are fitted on, chosen with and reported on.

    Attributes:
        name: empty for the data set's own split, else `fold0`, ….
    """

    name: str
    train: frozenset[str]
    validation: frozenset[str]
    test: frozenset[str]

    def file(self, what: str) -> str:
        return f"{self.name}_{what}" if self.name else what


def parts(run: Run) -> list[Part]:
    """The design: one part, or one per fold of scenarios, each prompt being in the test of exactly one.

    Raises:
        UserError: fewer than three folds, which leave nothing to train on, or more than there are scenarios.
    """
    return run.once("parts", lambda: _parts(run))


def _parts(run: Run) -> list[Part]:
    split = {name: frozenset(run.texts(name)["scenario"]) for name in ("train", "validation", "test")}
    if not run.params.folds:
        return [Part("", **split)]
    if run.params.folds < 3:
        raise UserError(
            f"expected folds=0 (the data set's split) or at least 3 (to train, choose and test), got {run.params.folds}"
        )
    scenarios = pd.Series(sorted(frozenset().union(*split.values())))
    fold = scenario_folds(scenarios, run.params.folds, seed=run.params.seed)
    found = []
    for number in range(run.params.folds):
        held = (number + 1) % run.params.folds
        groups = {"test": fold == number, "validation": fold == held, "train": (fold != number) & (fold != held)}
        found.append(Part(f"fold{number}", **{name: frozenset(scenarios[mask]) for name, mask in groups.items()}))
    return found


def prompts(run: Run, part: Part, split: str) -> pd.DataFrame:
    """The neutral texts of a part's validation or test scenarios."""
    data = run.data
    chosen = data["scenario"].isin(getattr(part, split)) & (data["emotion"] == run.params.neutral)
    return data[chosen].assign(split=split).reset_index(drop=True)


# what the vectors and their rivals are fitted on


def training(run: Run, part: Part) -> Any:
    """Activations of the part's training texts, of the style that vectors are fitted on."""
    params = run.params
    if not part.name:
        return phase3.training(run, params.vector_position, style=params.vector_style)
    acts = run.once(f"all/{params.vector_position}", lambda: phase2.activations(run, params.vector_position))
    kept = acts.texts["scenario"].isin(part.train)
    return acts.where(kept if params.vector_style == "all" else kept & (acts.texts["style"] == params.vector_style))


def vectors(run: Run, part: Part) -> EmotionVectors:
    return run.once(f"vectors/{part.name}", lambda: _vectors(run, part))


def _vectors(run: Run, part: Part) -> EmotionVectors:
    params = run.params
    if not part.name:
        return phase3.vectors(run, params.vector_position, style=params.vector_style)
    return fit_emotion_vectors(training(run, part), neutral=params.neutral)


def controls(run: Run, part: Part, layers: Sequence[int]) -> ControlSource:
    """What the control directions at these layers are drawn from."""

    def drawn() -> ControlSource:
        data = run.data
        neutral = data[data["scenario"].isin(part.train) & (data["emotion"] == run.params.neutral)]
        acts = extract_activations(
            run.lm,
            neutral,
            sites=("resid_pre",),
            positions="all",
            layers=layers,
            batch_size=run.params.extraction_batch,
        )
        later = np.ones(acts.offsets[-1], dtype=bool)
        later[acts.offsets[:-1]] = False
        tokens = {layer: acts.layer("resid_pre", layer)[later] for layer in acts.layer_numbers}
        return ControlSource(tokens, training(run, part), run.params.neutral)

    return run.once(f"controls/{part.name}/{tuple(layers)}", drawn)


def candidate_layers(run: Run) -> tuple[int, ...]:
    """The layers tried on validation: those given, or a spread over the middle of the depth."""
    return run.params.layers or spread_layers(run.lm.n_layers, run.params.n_layer_points)


def reference(run: Run, part: Part | None = None) -> pd.DataFrame:
    """Sampled, unpatched continuations of the training texts, and their likelihood."""
    params, part = run.params, part or parts(run)[0]
    data = run.data
    first = sorted(part.train)[:REFERENCE_SCENARIOS]
    texts = run.texts("train") if not part.name else data[data["scenario"].isin(first)].reset_index(drop=True)
    matched = {
        "texts": store.digest(texts.to_dict("list")),
        "max_new_tokens": params.max_new_tokens,
        "seed": params.seed,
    }

    def compute() -> pd.DataFrame:
        run.progress.begin("fluency reference", len(texts), tokens_per_row=params.max_new_tokens)
        table = fluency_reference(
            run.lm,
            texts,
            max_new_tokens=params.max_new_tokens,
            seed=params.seed,
            batch_size=run.generation_batch(texts),
        )
        run.progress.advance(len(texts))
        return table

    return run.table(run.paths.fluency_reference(part.file("")), matched, compute)


def settings(run: Run, part: Part) -> SweepSettings:
    return run.once(f"settings/{part.name}", lambda: _settings(run, part))


def _settings(run: Run, part: Part) -> SweepSettings:
    params = run.params
    return SweepSettings(
        unit=params.unit,
        window=params.window,
        schedule=params.schedule,
        template=prompt_template(run) if params.prompt_format == "chat" else "{text}",
        n_samples=params.n_samples,
        max_new_tokens=params.max_new_tokens,
        temperature=params.temperature,
        top_p=params.top_p,
        seed=params.seed,
        batch_size=run.generation_batch(prompts(run, part, "validation")),
        backend=params.backend,
        nll_limit=nll_limit(reference(run, part)),
    )


# sweeps


def validation_sweep(run: Run) -> pd.DataFrame:
    """Every candidate layer × alpha × emotion on the validation prompts of every part (column `part`)."""
    layers, alphas = candidate_layers(run), run.params.alphas

    def sweep(part: Part) -> pd.DataFrame:
        return _steered(run, part, "validation", layers, alphas)

    return run.once("validation", lambda: _joined(run, sweep))


def operating_points(run: Run) -> dict[str, OperatingPoint]:
    """One layer and alpha for all emotions per part, chosen on its validation rows alone."""
    return run.once("operating_points", lambda: _chosen_points(run))


def _chosen_points(run: Run) -> dict[str, OperatingPoint]:
    sweep = validation_sweep(run)
    known = measures(sweep, run.emotions)
    margin = run.params.broken_margin
    return {
        name: choose_operating_point(rows, known, broken_margin=margin)
        for name, rows in sweep.groupby("part", sort=False)
    }


def operating_point(run: Run) -> OperatingPoint:
    """The first part's point: the only one unless the design is cross-fitted."""
    return next(iter(operating_points(run).values()))


def test_sweep(run: Run) -> pd.DataFrame:
    """The chosen points on the test prompts, with the control directions of every family and the direct path."""
    points, count = operating_points(run), run.params.n_controls

    def sweep(part: Part) -> pd.DataFrame:
        point = points[part.name]
        return _steered(
            run, part, "test", [point.layer], [point.alpha], n_controls=count, families=FAMILIES, direct_path=True
        )

    return run.once("test", lambda: _joined(run, sweep))


def dose_sweep(run: Run) -> pd.DataFrame:
    """The same steers on the test prompts at the other strengths and with the opposite sign (suppressing).

    Nothing is chosen from it.
    """
    points = operating_points(run)

    def sweep(part: Part) -> pd.DataFrame:
        point = points[part.name]
        others = sorted({-point.alpha, *(a for a in run.params.alphas if a not in (0, point.alpha))})
        return _steered(run, part, "test", [point.layer], others, name="dose")

    return run.once("dose", lambda: _joined(run, sweep))


def _steered(
    run: Run,
    part: Part,
    split: str,
    layers: Sequence[int],
    alphas: Sequence[float],
    *,
    n_controls: int = 0,
    families: Sequence[str] = (),
    direct_path: bool = False,
    name: str | None = None,
) -> pd.DataFrame:
    return residual_sweep(
        run.lm,
        prompts(run, part, split),
        vectors(run, part),
        layers=layers,
        alphas=alphas,
        n_controls=n_controls,
        families=families,
        source=controls(run, part, layers) if n_controls else None,
        direct_path=direct_path,
        settings=settings(run, part),
        run=run.shards(part.file(name or split)),
    )


def _joined(run: Run, sweep: Any) -> pd.DataFrame:
    """Every part's sweep, with the emotions' probabilities and the part's name."""
    tables = [sweep(part).assign(part=part.name) for part in parts(run)]
    return with_targets(pd.concat(tables, ignore_index=True), run.emotions)


# what could have been done instead


def alternatives_sweep(run: Run, split: str) -> pd.DataFrame:
    """PCA, probe and subspace steers at the chosen layer, and prompting; on validation at every strength, on test at
    the strength that `matched_alphas` gives each emotion.

    Every rival's strength is that at which its share of broken validation texts is nearest the vector's.
    """
    points = operating_points(run)
    chosen = None if split == "validation" else matched_alphas(run)

    def sweep(part: Part) -> pd.DataFrame:
        point = points[part.name]
        shards = [baseline_shard(settings(run, part))] if split == "test" else []
        for kind in ALTERNATIVES:
            shards += _alternative_shards(run, part, kind, point.layer, chosen)
        shards.append(_subspace_cells(run, part, point.layer, chosen))
        if split == "test":
            shards.append(prompting_shard(*prompting_templates(run, part), settings(run, part)))
        store_as = run.shards(part.file(f"{split}_alternatives"))
        return sweep_cells(run.lm, prompts(run, part, split), shards, settings=settings(run, part), run=store_as)

    return run.once(f"alternatives/{split}", lambda: _joined(run, sweep))


def matched_alphas(run: Run) -> dict[tuple[str, str, str], float]:
    """(part, kind, emotion) → the strength whose broken share on validation is nearest the vector's, the larger own
    effect of equals."""
    return run.once("matched_alphas", lambda: _matched_alphas(run))


def _matched_alphas(run: Run) -> dict[tuple[str, str, str], float]:
    points, rivals, own = operating_points(run), alternatives_sweep(run, "validation"), validation_sweep(run)
    known = measures(own, run.emotions)
    found = {}
    for name, point in points.items():
        mine = own[(own["part"] == name) & (own["kind"] == "emotion")]
        mine = mine[(mine["layer"] == point.layer) & (mine["alpha"] == point.alpha)]
        shares = mine.groupby("emotion")["fluency/broken"].mean()
        cells = rivals[rivals["part"] == name].groupby(["kind", "emotion", "alpha"])
        table = pd.DataFrame({"broken": cells["fluency/broken"].mean()})
        for emotion in run.emotions:
            table[emotion] = cells[known[emotion][-1]].mean()
        for (kind, emotion), rows in table.groupby(level=["kind", "emotion"]):
            gap = (rows["broken"] - shares[emotion]).abs().round(9)
            best = rows[gap == gap.min()][emotion].idxmax()
            found[name, kind, emotion] = float(best[2])
    return found


def _alternative_shards(
    run: Run, part: Part, kind: str, layer: int, chosen: Mapping[tuple[str, str, str], float] | None
) -> list[tuple[str, list[Cell]]]:
    vecs = run.once(
        f"{kind}/{part.name}",
        lambda: alternative_vectors(
            kind, training(run, part), vectors(run, part), layers=[layer], neutral=run.params.neutral
        ),
    )
    cells = []
    for emotion in run.emotions:
        alphas = run.params.alphas if chosen is None else [chosen[part.name, kind, emotion]]
        cells += [steer_cell(kind, vecs, emotion, layer, alpha, settings(run, part)) for alpha in alphas if alpha]
    return [(f"{kind}_layer{layer:03d}", cells)]


def _subspace_cells(
    run: Run, part: Part, layer: int, chosen: Mapping[tuple[str, str, str], float] | None
) -> tuple[str, list[Cell]]:
    subs = run.once(
        f"subspaces/{part.name}",
        lambda: fit_subspaces(training(run, part), k=subspace_size(run), neutral=run.params.neutral),
    )
    sizes = dict.fromkeys(run.emotions, subspace_size(run))
    name, cells = subspace_shard(subs, sizes, layer, SUBSPACE_ALPHAS, settings(run, part))
    kept = [c for c in cells if chosen is None or c.alpha == chosen[part.name, "subspace", c.emotion]]
    return name, kept


def subspace_size(run: Run) -> int:
    """k of the subspace steers: the parameter, at most the training scenarios."""
    return min(run.params.subspace_k, min(len(part.train) for part in parts(run)))


# prompting


def prompting_templates(run: Run, part: Part) -> tuple[dict[str, str], str]:
    """What the model continues when it is asked for each emotion, and the same format without asking.

    A chat model gets an instruction in its own chat format; a base model the first few training texts of the emotion
    (of neutral, without asking) before the prompt.
    """
    wording = yaml.safe_load(paths.prompting_file().read_text(encoding="utf-8"))
    if is_chat(run):
        asked = {}
        for emotion in run.emotions:
            tone = wording["tones"].get(emotion) or wording["other"].format(label=emotion)
            asked[emotion] = prompt_template(run, "\n\n" + wording["instruction"].format(tone=tone))
        return asked, prompt_template(run)
    data = run.data
    first = data[data["scenario"].isin(part.train)]
    texts = {e: rows["text"].head(wording["examples"]).tolist() for e, rows in first.groupby("emotion")}
    written = {e: "\n\n".join([*shown, "{text}"]) for e, shown in texts.items()}
    return {e: written[e] for e in run.emotions}, written[run.params.neutral]


def is_chat(run: Run) -> bool:
    """Whether the model is known as a chat model and its tokenizer has the format."""
    return bool(run.lm.spec.chat and run.lm.tokenizer.chat_template)


def prompt_template(run: Run, request: str = "") -> str:
    """The model's chat format around one message of the user.

    Raises:
        UserError: the model has no chat format.
    """
    return run.lm.in_chat_format("{text}" + request)


def save_results(run: Run, claims: pd.DataFrame) -> None:
    """The whole sweeps and the claims as artifacts beside their shards."""
    matched = {"shards": sorted(sha for path, sha in run.made.items() if "_sweep_" in path.name)}
    tables = {"validation": validation_sweep(run), "test": test_sweep(run), "dose": dose_sweep(run)}
    tables |= {"alternatives": alternatives_sweep(run, "test"), "claims": claims}
    for name, table in tables.items():
        run.table(run.paths.sweep(name), matched, lambda table=table: table)
