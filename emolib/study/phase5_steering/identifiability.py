"""Whether the effect belongs to the fitted direction: S of the emotions' vectors with orthogonal perturbations, on the
texts that other strengths are read on. Nothing is claimed from it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from emolib.interventions import Steer
from emolib.steering.cells import Cell
from emolib.steering.claims import OWN
from emolib.steering.perturbations import perturbed, survival
from emolib.steering.specific_shift import specific_shift
from emolib.study.phase5_steering.design import Part
from emolib.study.phase5_steering.instrument_design import first_part
from emolib.study.phase5_steering.shift_design import dose_design
from emolib.study.phase5_steering.shift_sweeps import ShiftShard, begin, shift_points, test_shifts
from emolib.study.phase5_steering.strengths import vectors
from emolib.study.phase5_steering.sweep_settings import settings
from emolib.study.run import Run, kept

ANGLES = (30.0, 45.0, 60.0)  # degrees; at 45 the perturbation has the vector's own norm
N_PERTURBATIONS = 1  # of each emotion and angle
PERTURBED = "perturbed"  # kind of their acts


@kept
def survival_table(run: Run) -> pd.DataFrame:
    """See `emolib.steering.perturbations.survival`; of the first part of the design."""
    part = first_part(run)
    named = [(e, degrees, index) for e in run.emotions for degrees in ANGLES for index in range(N_PERTURBATIONS)]
    cells = [_cell(run, part, number, *about) for number, about in enumerate(named)]
    shard = ShiftShard(run, part, "test_perturbed", dose_design(run, part), run.emotions, tuple(cells))
    begin(run, "perturbed", [shard])
    drawn = shard.shifts()
    held = pd.MultiIndex.from_frame(drawn[["prompt", "text"]].drop_duplicates())
    own = test_shifts(run)
    own = own[(own["part"] == part.name) & (own["kind"] == OWN) & own["label"].isin(run.emotions)]
    own = own[pd.MultiIndex.from_frame(own[["prompt", "text"]]).isin(held)]
    found = [specific_shift(own).assign(degrees=0.0, index=0)]
    for degrees in ANGLES:
        for index in range(N_PERTURBATIONS):
            numbers = [number for number, about in enumerate(named) if about[1:] == (degrees, index)]
            mine = drawn[drawn["index"].isin(numbers)]
            mine = mine.assign(act=mine["owner"])  # the emotion whose vector is perturbed
            found.append(specific_shift(mine).assign(degrees=degrees, index=index))
    return survival(pd.concat(found, ignore_index=True))


def _cell(run: Run, part: Part, number: int, emotion: str, degrees: float, index: int) -> Cell:
    """An emotion's vector with a perturbation. The part along the vector is as long as the steer's own.

    Every unit but `vector` takes the direction alone: there the strength makes up for what the angle takes off.
    """
    point, given, vecs = shift_points(run)[part.name], settings(run, part), vectors(run, part)
    vector = vecs[emotion][point.layer]
    seed = int(np.random.SeedSequence([run.params.seed, 5, vecs.emotions.index(emotion), index]).generate_state(1)[0])
    values = perturbed(vector.values, degrees, seed).astype(np.float32)
    alpha = point.alpha if given.unit == "vector" else point.alpha / float(np.cos(np.radians(degrees)))
    steer = {"unit": given.unit, "window": given.window, "schedule": given.factors()}
    act = Steer(vector.layer, replace(vector, values=values), alpha, **steer)
    return Cell(PERTURBED, emotion, point.layer, float(alpha), number, act, seed)
