"""Whether the effect belongs to the fitted direction: the emotions' vectors with orthogonal perturbations, on the texts
that control directions are read on. Nothing is claimed from it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from emolib.interventions import Steer
from emolib.steering.cells import Cell
from emolib.steering.perturbations import perturbed, survival
from emolib.steering.shift_claims import OWN
from emolib.steering.specific_shift import text_contrast
from emolib.study.phase5_steering.design import Part
from emolib.study.phase5_steering.instrument_design import first_part
from emolib.study.phase5_steering.shift_design import control_design
from emolib.study.phase5_steering.shift_sweeps import ShiftShard, begin, shift_points, test_shifts
from emolib.study.phase5_steering.strengths import vectors
from emolib.study.phase5_steering.sweep_settings import settings
from emolib.study.run import Run, kept

ANGLES = (30.0, 45.0, 60.0)  # degrees; at 45 the perturbation has the vector's own norm
N_PERTURBATIONS = 2  # of each emotion and angle
PERTURBED = "perturbed"  # kind of their acts


@kept
def survival_table(run: Run) -> pd.DataFrame:
    """See `emolib.steering.perturbations.survival`; of the first part of the design."""
    part = first_part(run)
    places = [(degrees, index) for degrees in ANGLES for index in range(N_PERTURBATIONS)]
    named = [(emotion, *place) for emotion in run.emotions for place in places]
    cells = [_cell(run, part, number, *about) for number, about in enumerate(named)]
    shard = ShiftShard(run, part, "test_perturbed", control_design(run, part), run.emotions, tuple(cells))
    begin(run, "perturbed", [shard])
    drawn = shard.shifts()
    held = pd.MultiIndex.from_frame(drawn[["prompt", "text"]].drop_duplicates())
    own = test_shifts(run)
    own = own[(own["part"] == part.name) & (own["kind"] == OWN) & own["label"].isin(run.emotions)]
    own = own[pd.MultiIndex.from_frame(own[["prompt", "text"]]).isin(held)]
    rows = []
    for emotion in run.emotions:
        mine = pd.concat([table[table["owner"] == emotion] for table in (own, drawn)], ignore_index=True)
        about = mine.drop_duplicates("act").set_index("act")
        for other in (label for label in run.emotions if label != emotion):
            found = text_contrast(mine[mine["label"].isin([emotion, other])], emotion, other)
            means = found.groupby(["style", "act"], sort=False)["contrast"].mean().reset_index()
            kind, number = (means["act"].map(about[name]) for name in ("kind", "index"))
            asked = [("", 0.0, 0) if k == OWN else named[int(n)] for k, n in zip(kind, number, strict=True)]
            means = means.assign(degrees=[at[1] for at in asked], index=[at[2] for at in asked])
            rows.append(means.assign(emotion=emotion, other=other))
    return survival(pd.concat(rows, ignore_index=True))


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
    return Cell(PERTURBED, emotion, point.layer, alpha, number, act, seed)
