"""The run that reads sealed texts: Phase 5's own functions, with the sealed texts in the place of its test texts.

Whatever was fitted, chosen and judged on training and validation texts comes from the run that was frozen, and is given
to this one: nothing is chosen here. Its artifacts lie apart from those of that run.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from emolib.base import store
from emolib.base.frozen_studies import Choice, ConfirmationParameters
from emolib.base.paths import CONFIRMATION, ResultPaths
from emolib.data.sealed_texts import SealedTexts
from emolib.directions.vectors import EmotionVectors
from emolib.steering.operating_point import OperatingPoint
from emolib.study.artifacts import Artifacts
from emolib.study.confirmation.sealed_design import few_texts, sealed_design, study_texts
from emolib.study.phase5_steering import (
    design,
    instrument_design,
    instrument_stage,
    like_valent,
    own_sweeps,
    shift_design,
    shift_sweeps,
    strengths,
    sweep_settings,
    validation_sweeps,
)
from emolib.study.phase5_steering.design import Part, parts
from emolib.study.run import Run, decided

JUDGED = (instrument_stage.admissions, instrument_stage.gold_pairs)  # before any claim, on validation
OF_VALIDATION = (validation_sweeps.validation_sweep, sweep_settings.regime)


def sealed_run(base: Run, sealed: SealedTexts, choice: Choice, asked: ConfirmationParameters, *, force: bool) -> Run:
    """A run of Phase 5 that reads sealed texts with a frozen choice.

    Args:
        base: the run that was frozen, whose artifacts are at hand.
        asked: how many control directions, and on how many texts.
        force: compute the artifacts on sealed texts anew.
    """
    params = base.params.model_copy(update={"n_controls": asked.n_controls, "png": asked.png})
    paths = ResultPaths(CONFIRMATION, base.paths.model)
    run = Run(params, overrides=base.overrides, force=force, contents=base.contents, paths=paths)
    run.artifacts = Artifacts(paths, lambda: base.lm, force=force, png=asked.png)
    data = pd.concat([base.data[base.data["split"] != "test"], study_texts(sealed, base.emotions)], ignore_index=True)
    for flag in ("minimal_pair", "idiomatic"):
        if flag in data:
            data[flag] = data[flag].eq(True)
    run.__dict__ |= {"lm": base.lm, "data": data}
    before = parts(base)[0]
    part = replace(before, test=frozenset(sealed.texts["scenario"]))
    decided(run, parts, [part])
    _decide_choice(run, base, before, part, choice)
    _decide_texts(run, base, before, part, sealed, asked)
    return run


def _decide_choice(run: Run, base: Run, before: Part, part: Part, choice: Choice) -> None:
    """Layer, strength, vectors and whatever validation has said."""
    point = next(iter(shift_sweeps.shift_points(base).values()))
    frozen = {part.name: replace(point, layer=choice.layer, alpha=choice.alpha)}
    decided(run, shift_sweeps.shift_points, frozen)
    decided(run, own_sweeps.operating_points, frozen)
    decided(run, strengths.vectors, _in_frozen_unit(strengths.vectors(base, before), choice), part)
    for function in (*JUDGED, *OF_VALIDATION):
        decided(run, function, function(base))
    decided(run, sweep_settings.settings, sweep_settings.settings(base, before), part)
    decided(run, design.vectors, design.vectors(base, before), part)
    layers = (choice.layer,)
    decided(run, design.controls, design.controls(base, before, layers), part, layers)


def _in_frozen_unit(vecs: EmotionVectors, choice: Choice) -> EmotionVectors:
    """The vectors with the unit `kl` at the layer as it was frozen."""
    if choice.kl_length is None or vecs.kl_lengths is None:
        return vecs
    lengths = np.array(vecs.kl_lengths, dtype=float)
    lengths[choice.layer] = choice.kl_length
    return replace(vecs, kl_lengths=lengths)


def _decide_texts(
    run: Run, base: Run, before: Part, part: Part, sealed: SealedTexts, asked: ConfirmationParameters
) -> None:
    """What is read: the sealed texts after the sealed prompts; the training and validation texts as they were."""
    whole = sealed_design(sealed, seed=base.params.seed)
    for split in ("training", "validation"):
        decided(run, shift_design.shift_design, shift_design.shift_design(base, before, split), part, split)
    decided(run, shift_design.shift_design, whole, part, "test")
    decided(run, shift_design.control_design, few_texts(whole, asked.n_control_texts), part)
    decided(run, like_valent.like_design, whole)
    decided(run, shift_design.unmeasurable, "")
    held = instrument_design.companions(base)
    others = sealed.texts[sealed.texts["emotion"].isin(set(held["emotion"]))].assign(split="test", set="five")
    both = pd.concat([held[held["split"] != "test"], others[[name for name in held if name in others]]])
    decided(run, instrument_design.companions, both.reset_index(drop=True))


def point_of(run: Run) -> OperatingPoint:
    """The frozen layer and strength."""
    return next(iter(shift_sweeps.shift_points(run).values()))


def read_hash(run: Run) -> str:
    """Of everything that is read on sealed texts and of the acts' settings."""
    part = parts(run)[0]
    written = shift_design.shift_design(run, part, "test").written()
    return store.digest([written, sweep_settings.settings(run, part).fingerprint()])
