"""Control directions at the steer's KL, beside those at its norm: the text contrast of each on the controls' own texts.

KL of the unpatched from the patched next-token distributions, mean over the unpatched continuations of eight validation
prompts, in the steer's window: for every emotion's steer, and for every direction at the strength at which it does as
much, within 5 %. A direction that does not reach it at four times the steer's strength is counted and left out.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from emolib.base import store
from emolib.directions.controls import FAMILIES
from emolib.steering.cells import Cell, control_cells
from emolib.steering.claims import FEWEST_CONTROLS, OWN, mean_contrasts, shift_ranks
from emolib.steering.damage import next_token_kl
from emolib.steering.kl_search import FARTHEST, TOLERANCE, equal_kl_strengths
from emolib.study.phase5_steering.design import Part, controls
from emolib.study.phase5_steering.instrument_design import first_part
from emolib.study.phase5_steering.shift_design import control_design
from emolib.study.phase5_steering.shift_results import dose_kl, kept_alone, kl_texts
from emolib.study.phase5_steering.shift_sweeps import ShiftShard, begin, shift_points, test_shifts
from emolib.study.phase5_steering.strengths import vectors
from emolib.study.phase5_steering.sweep_settings import settings
from emolib.study.run import Run, kept

FEW = 6  # directions per family where there are too few for a claim anyway; with enough for one, all of them
SEARCHED = ["family", "index", "emotion"]


def n_directions(run: Run) -> int:
    """Directions per family that are brought to the steer's KL."""
    count = int(run.params.n_controls)
    return count if count >= FEWEST_CONTROLS else min(count, FEW)


@kept
def equal_kl_table(run: Run) -> pd.DataFrame:
    """The strength of every direction at every emotion's KL, in the first part of the design.

    Returns:
        family, index, emotion, start (the steer's strength), and the columns of
        `emolib.steering.kl_search.equal_kl_strengths`.
    """
    part, prompts = first_part(run), kl_texts(run, first_part(run))
    point = shift_points(run)[part.name]
    sign = float(np.sign(point.alpha))  # a run may suppress
    known = dose_kl(run, part)
    steers = known[np.isclose(known["alpha"], point.alpha)].set_index("emotion")["kl"]
    places = [
        (family, index, emotion)
        for family in FAMILIES
        for index in range(n_directions(run))
        for emotion in run.emotions
    ]
    wanted = [float(steers[emotion]) for _, _, emotion in places]
    if not prompts or not min(wanted) > 0:
        return pd.DataFrame(columns=[*SEARCHED, "start", "alpha", "kl", "wanted", "reached", "steps"])

    def measure(which: list[int], alphas: np.ndarray) -> np.ndarray:
        cells = [_cell(run, part, *places[i], sign * float(alpha)) for i, alpha in zip(which, alphas, strict=True)]
        rows = [(prompt, ids, cell.act) for cell in cells for prompt, ids in prompts]
        found = np.asarray(next_token_kl(run.lm, *([*column] for column in zip(*rows, strict=True))))
        return found.reshape(len(cells), len(prompts)).mean(axis=1)

    def compute() -> pd.DataFrame:
        found = equal_kl_strengths(measure, [abs(point.alpha)] * len(places), wanted)
        found = found.assign(alpha=sign * found["alpha"])
        return pd.concat([pd.DataFrame(places, columns=SEARCHED).assign(start=point.alpha), found], axis=1)

    matched = {
        "acts": store.digest([_cell(run, part, *place, 1.0).fingerprint() for place in places]),
        "wanted": store.digest([places, wanted]),
        "prompts": store.digest(prompts),
        "rule": {"tolerance": TOLERANCE, "farthest": FARTHEST},
    }
    return kept_alone(run, part, "equal_kl", matched, compute, len(places))


def _cell(run: Run, part: Part, family: str, index: int, emotion: str, alpha: float) -> Cell:
    """A direction in an emotion's place."""
    layer, given = shift_points(run)[part.name].layer, settings(run, part)
    cells = control_cells(vectors(run, part), layer, alpha, index, given, family, controls(run, part, (layer,)))
    own = next((cell for cell in cells if cell.emotion == emotion), cells[0])
    return replace(own, emotion=emotion)


@kept
def equal_kl_ranks(run: Run) -> pd.DataFrame | None:
    """The rank of every emotion's text contrast among directions at its KL; None where a family has no
    direction that reaches it.

    Returns:
        As `emolib.steering.claims.shift_ranks` gives them.
    """
    part, table = first_part(run), equal_kl_table(run)
    reached = table[table["reached"].astype(bool)]
    if len(reached.groupby(["family", "emotion"])) < len(FAMILIES) * len(run.emotions):
        return None
    cells = tuple(_cell(run, part, *row) for row in reached[[*SEARCHED, "alpha"]].itertuples(index=False, name=None))
    shard = ShiftShard(run, part, "test_equal_kl", control_design(run, part), run.emotions, cells)
    begin(run, "equal KL", [shard])
    drawn = shard.shifts()
    own = test_shifts(run)
    own = own[(own["part"] == part.name) & (own["kind"] == OWN) & own["label"].isin(run.emotions)]
    found = mean_contrasts(pd.concat([own, drawn], ignore_index=True), run.emotions)
    return shift_ranks(found)
