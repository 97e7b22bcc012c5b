"""Which scenarios of Phase 5 are fitted on, chosen with and reported on, and the directions that come of them.

Needs Phase 3's vectors. One part for the data set's own split, or one per fold of the cross-fitted design.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from emolib.base.errors import UserError
from emolib.data.activations import Activations
from emolib.data.styles import of_style
from emolib.directions.controls import ControlSource
from emolib.directions.vectors import EmotionVectors, fit_emotion_vectors
from emolib.engine.extraction import extract_activations
from emolib.readout.leaks import scenario_folds
from emolib.scoring.measures import require_measures
from emolib.study import phase2_activations
from emolib.study.phase3_vectors import fitting
from emolib.study.run import Run, kept


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


@kept
def parts(run: Run) -> list[Part]:
    """The design: one part, or one per fold of scenarios, each prompt being in the test of exactly one.

    Raises:
        UserError: a label that nothing measures; fewer than three folds, which leave nothing to train on, or more than
            there are scenarios.
    """
    require_measures(run.emotions)
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


@kept
def activations(run: Run) -> Activations:
    """Those of every text, at the position that vectors are fitted at."""
    return phase2_activations.activations(run, run.params.vector_position)


def training(run: Run, part: Part, style: str | None = None) -> Activations:
    """Activations of the part's training texts, of one style; None takes the one that vectors are fitted on."""
    params = run.params
    style = style or params.vector_style
    if not part.name:
        return fitting.training(run, params.vector_position, style=style)
    acts = activations(run)
    return acts.where(acts.texts["scenario"].isin(part.train) & of_style(acts.texts, style))


@kept
def vectors(run: Run, part: Part) -> EmotionVectors:
    """The emotions' vectors, fitted on the part's training texts."""
    params = run.params
    if not part.name:
        return fitting.vectors(run, params.vector_position, style=params.vector_style)
    return fit_emotion_vectors(training(run, part), neutral=params.neutral)


@kept
def controls(run: Run, part: Part, layers: tuple[int, ...]) -> ControlSource:
    """What the control directions at these layers are drawn from."""
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
