"""Phase 5's steers with vectors of the other style of texts: of those without emotion words, where words made them.

A vector that is fitted on texts with emotion words may give the words back and nothing else. Here the same prompts are
steered at the same layer with the same norm by vectors of implicit texts (of explicit ones, where the sweep's own are
implicit), and judged against the sweep's own control directions.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from emolib.data.activations import Activations
from emolib.data.styles import opposite
from emolib.directions.controls import FAMILIES
from emolib.directions.vectors import EmotionVectors, cosine, fit_emotion_vectors
from emolib.scoring.measures import measures
from emolib.steering.cells import Cell, SweepSettings, steer_cell
from emolib.steering.sweeps import sweep_cells
from emolib.steering.text_claims import claims_table
from emolib.study import phase2_activations
from emolib.study.phase3_vectors.restricted import FEWEST_SCENARIOS
from emolib.study.phase5_steering import design, strengths
from emolib.study.phase5_steering.design import Part, activations, parts, prompts
from emolib.study.phase5_steering.own_sweeps import operating_points, test_sweep
from emolib.study.phase5_steering.sweep_settings import settings
from emolib.study.phase5_steering.validation_sweeps import joined
from emolib.study.run import Run, kept

KIND = "other_style"


def training(run: Run, part: Part) -> Activations:
    """Activations of the part's training texts of that style: as many scenarios as the profile asks for, or all."""
    if part.name:
        return design.training(run, part, opposite(run.params.vector_style))
    acts = activations(run)
    return acts.where(acts.texts["id"].isin(phase2_activations.of_style(run, opposite(run.params.vector_style))["id"]))


@kept
def vectors(run: Run, part: Part) -> EmotionVectors | None:
    """Vectors of those texts; None where they are of fewer than two scenarios."""
    acts = training(run, part)
    if acts.texts["scenario"].nunique() < FEWEST_SCENARIOS:
        return None
    return fit_emotion_vectors(acts, neutral=run.params.neutral)


@kept
def sweep(run: Run) -> pd.DataFrame | None:
    """The steers on the test prompts, at the point chosen for the sweep's own vectors; None without such vectors."""
    points = operating_points(run)
    if any(vectors(run, part) is None for part in parts(run)):
        return None

    def steered(part: Part) -> pd.DataFrame:
        point, given = points[part.name], settings(run, part)
        cells = [_cell(run, part, emotion, point.layer, point.alpha, given) for emotion in run.emotions]
        shards, stored = [(f"layer{point.layer:03d}", cells)], run.shards(part.file("test_other_style"))
        return sweep_cells(run.lm, prompts(run, part, "test"), shards, settings=given, run=stored)

    return joined(run, steered)


def _cell(run: Run, part: Part, emotion: str, layer: int, alpha: float, given: SweepSettings) -> Cell:
    """A steer of exactly the norm of the sweep's own."""
    steering = strengths.vectors(run, part)
    own, found = steering[emotion][layer], replace(vectors(run, part), kl_lengths=steering.kl_lengths)
    scaled = replace(own, values=found[emotion][layer].values)
    if given.unit == "vector":
        scaled = replace(scaled, values=scaled.direction * np.float32(own.norm))
    cell = steer_cell(KIND, found, emotion, layer, alpha, given)
    return replace(cell, act=replace(cell.act, vector=scaled))


@kept
def claims(run: Run) -> pd.DataFrame | None:
    """Both conditions of a claim for these vectors, against the test sweep's baseline and controls.

    Returns:
        The columns of `emolib.steering.text_claims.claims_table`, broken (share of the emotion's steered texts), cosine
        (of the two styles' vectors at the steered layer, mean over parts) and n_fitted (training scenarios, fewest of
        the parts).
    """
    found, test = sweep(run), test_sweep(run)
    if found is None:
        return None
    swapped = pd.concat([test[test["kind"] != "emotion"], found.assign(kind="emotion")], ignore_index=True)
    known = measures(test, run.emotions)
    params = run.params
    table = claims_table(swapped, known, families=FAMILIES, n_resamples=params.n_resamples, seed=params.seed)
    broken = found.groupby("emotion")["fluency/broken"].mean()
    fitted = [training(run, part).texts["scenario"].nunique() for part in parts(run)]
    cosines = table["emotion"].map(_cosines(run))
    return table.assign(broken=table["emotion"].map(broken), cosine=cosines, n_fitted=min(fitted))


def _cosines(run: Run) -> dict[str, float]:
    points = operating_points(run)
    found: dict[str, list[float]] = {emotion: [] for emotion in run.emotions}
    for part in parts(run):
        layer, own, other = points[part.name].layer, design.vectors(run, part), vectors(run, part)
        for emotion in run.emotions:
            found[emotion].append(float(cosine(own[emotion][layer].values, other[emotion][layer].values)))
    return {emotion: float(np.mean(values)) for emotion, values in found.items()}
