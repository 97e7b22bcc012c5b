"""Phase 5: residual patching with control directions of three families, alternatives, and a prompting baseline.

Needs Phase 3's vectors. Makes, for the data set's own split or for every fold of the cross-fitted design: the fluency
reference, the validation sweep (from which one layer and alpha are chosen for all emotions), the test sweep at that
point with its controls, the same steers at other strengths, and what else could have been done instead. What the
sweeps say is in `emolib.steering.summaries`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from emolib.base import store
from emolib.base.errors import UserError
from emolib.directions.controls import FAMILIES, ControlSource
from emolib.directions.vectors import EmotionVectors, fit_emotion_vectors
from emolib.engine.extraction import extract_activations
from emolib.readout.surface import scenario_folds
from emolib.scoring.fluency import fluency_reference, nll_limit
from emolib.scoring.measures import measures, with_targets
from emolib.steering.claims import OperatingPoint, choose_operating_point
from emolib.steering.sweeps import SweepSettings, residual_sweep, steer_cell, sweep_cells
from emolib.study import phase2_activations
from emolib.study.batch_size import generation_batch
from emolib.study.phase3_vectors import fitting
from emolib.study.run import Run

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


def training(run: Run, part: Part, style: str | None = None) -> Any:
    """Activations of the part's training texts, of one style; None takes the one that vectors are fitted on."""
    params = run.params
    style = style or params.vector_style
    if not part.name:
        return fitting.training(run, params.vector_position, style=style)
    acts = run.once(
        f"all/{params.vector_position}", lambda: phase2_activations.activations(run, params.vector_position)
    )
    kept = acts.texts["scenario"].isin(part.train)
    return acts.where(kept if style == "all" else kept & (acts.texts["style"] == style))


def vectors(run: Run, part: Part) -> EmotionVectors:
    return run.once(f"vectors/{part.name}", lambda: _vectors(run, part))


def _vectors(run: Run, part: Part) -> EmotionVectors:
    params = run.params
    if not part.name:
        return fitting.vectors(run, params.vector_position, style=params.vector_style)
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
    """The layers tried on validation: those given, all, or a spread over the middle of the depth."""
    return run.params.candidate_layers(run.lm.n_layers)


def reference(run: Run, part: Part | None = None) -> pd.DataFrame:
    """Sampled, unpatched continuations of the training texts, in the sweeps' prompt format, and their likelihood."""
    params, part = run.params, part or parts(run)[0]
    data = run.data
    first = sorted(part.train)[:REFERENCE_SCENARIOS]
    texts = run.texts("train") if not part.name else data[data["scenario"].isin(first)].reset_index(drop=True)
    template = template_of(run)
    texts = texts.assign(text=[template.replace("{text}", text) for text in texts["text"]])
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
            batch_size=generation_batch(run, texts),
        )
        run.progress.advance(len(texts))
        return table

    return run.artifacts.table(run.paths.fluency_reference(part.file("")), matched, compute)


def settings(run: Run, part: Part) -> SweepSettings:
    return run.once(f"settings/{part.name}", lambda: _settings(run, part))


def _settings(run: Run, part: Part) -> SweepSettings:
    params = run.params
    return SweepSettings(
        unit=params.unit,
        window=params.window,
        schedule=params.schedule,
        template=template_of(run),
        n_samples=params.n_samples,
        max_new_tokens=params.max_new_tokens,
        temperature=params.temperature,
        top_p=params.top_p,
        seed=params.seed,
        batch_size=generation_batch(run, prompts(run, part, "validation")),
        backend=params.backend,
        nll_limit=nll_limit(reference(run, part)),
    )


# sweeps


def validation_sweep(run: Run) -> pd.DataFrame:
    """Every candidate layer × alpha × emotion on the validation prompts of every part (column `part`)."""
    layers, alphas = candidate_layers(run), run.params.alphas

    def sweep(part: Part) -> pd.DataFrame:
        return _steered(run, part, "validation", layers, alphas)

    return run.once("validation", lambda: joined(run, sweep))


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
    """The chosen points on the test prompts, with the control directions of every family, the direct path and α = 0."""
    points, count = operating_points(run), run.params.n_controls

    def sweep(part: Part) -> pd.DataFrame:
        point = points[part.name]
        return _steered(run, part, "test", [point.layer], [point.alpha], count)

    return run.once("test", lambda: joined(run, sweep))


def dose_sweep(run: Run) -> pd.DataFrame:
    """The same steers on the test prompts at the other strengths and with the opposite sign (suppressing).

    Nothing is chosen from it. The unpatched rows are those of the test sweep.
    """
    points = operating_points(run)

    def sweep(part: Part) -> pd.DataFrame:
        point, vecs, given = points[part.name], vectors(run, part), settings(run, part)
        others = sorted({-point.alpha, *(a for a in run.params.alphas if a not in (0, point.alpha))})
        cells = [steer_cell("emotion", vecs, e, point.layer, alpha, given) for alpha in others for e in vecs]
        shards, stored = [(f"layer{point.layer:03d}", cells)], run.shards(part.file("dose"))
        return sweep_cells(run.lm, prompts(run, part, "test"), shards, settings=given, run=stored)

    return run.once("dose", lambda: beside_baseline(run, joined(run, sweep)))


def beside_baseline(run: Run, table: pd.DataFrame) -> pd.DataFrame:
    """Further rows on the test prompts behind the unpatched rows of the test sweep."""
    test = test_sweep(run)
    return pd.concat([test[test["kind"] == "baseline"], table], ignore_index=True)


def _steered(
    run: Run, part: Part, split: str, layers: Sequence[int], alphas: Sequence[float], n_controls: int = 0
) -> pd.DataFrame:
    """The emotions' steers, and where there are controls also the direct path and the steer of strength 0."""
    return residual_sweep(
        run.lm,
        prompts(run, part, split),
        vectors(run, part),
        layers=layers,
        alphas=alphas,
        n_controls=n_controls,
        families=FAMILIES,
        source=controls(run, part, layers) if n_controls else None,
        direct_path=bool(n_controls),
        zero=bool(n_controls),
        settings=settings(run, part),
        run=run.shards(part.file(split)),
    )


def joined(run: Run, sweep: Any) -> pd.DataFrame:
    """Every part's sweep, with the emotions' probabilities and the part's name."""
    tables = [sweep(part).assign(part=part.name) for part in parts(run)]
    return with_targets(pd.concat(tables, ignore_index=True), run.emotions)


def template_of(run: Run) -> str:
    """What the sweeps continue, with the prompt in place of `{text}`.

    Raises:
        UserError: the model has no chat format, or no beginning-of-sequence token, and is asked for it.
    """
    template = prompt_template(run) if run.params.prompt_format == "chat" else "{text}"
    if run.params.bos == "model":
        return template
    first = run.lm.tokenizer.bos_token
    if not first:
        raise UserError(
            f"expected a tokenizer with a beginning-of-sequence token, {run.params.model}'s has none; use bos=model"
        )
    return template if template.startswith(first) else first + template


def prompt_template(run: Run, request: str = "") -> str:
    """The model's chat format around one message of the user.

    Raises:
        UserError: the model has no chat format.
    """
    return run.lm.in_chat_format("{text}" + request)
