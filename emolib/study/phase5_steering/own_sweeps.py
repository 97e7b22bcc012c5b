"""Phase 5's own sweeps: the chosen point on test with its controls, and other strengths there.

Each is made part by part and shard by shard; what they say is in `emolib.study.phase5_steering.results`.
"""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from emolib.steering.cells import steer_cell
from emolib.steering.operating_point import OperatingPoint
from emolib.steering.sweeps import sweep_cells
from emolib.study.phase5_steering.design import Part, prompts
from emolib.study.phase5_steering.shift_sweeps import measurable, shift_points
from emolib.study.phase5_steering.strengths import vectors
from emolib.study.phase5_steering.sweep_settings import settings
from emolib.study.phase5_steering.validation_sweeps import joined, steered, text_points
from emolib.study.run import Run, kept


@kept
def operating_points(run: Run) -> dict[str, OperatingPoint]:
    """One layer and alpha for all emotions per part, chosen on its validation scenarios alone, by S.

    The point at which texts are generated, too. Where S cannot be measured (`shift_design.unmeasurable`) the generated
    texts choose.

    Returns:
        Points whose tables hold every candidate: the criterion (`score`), `shift/<emotion>` (S, mean over styles, nat
        per token), broken, eligible, and of the generated texts `text_score` and `difference/<metric>`; NaN where S was
        not measured, since broken texts rule the candidate out.
    """
    by_texts = text_points(run)
    if not measurable(run):
        return by_texts
    return {name: _beside_texts(point, by_texts[name]) for name, point in shift_points(run).items()}


def _beside_texts(point: OperatingPoint, by_texts: OperatingPoint) -> OperatingPoint:
    """The point, its table over all candidates and with the criterion of the generated texts."""
    keys = ["layer", "alpha"]
    shifts = point.table.drop(columns=["broken", "eligible"])
    return replace(
        point, table=by_texts.table.rename(columns={"score": "text_score"}).merge(shifts, how="left", on=keys)
    )


def operating_point(run: Run) -> OperatingPoint:
    """The first part's point: the only one unless the design is cross-fitted."""
    return next(iter(operating_points(run).values()))


@kept
def test_sweep(run: Run) -> pd.DataFrame:
    """The chosen points on the test prompts, with the control directions of every family, the direct path and α = 0."""
    points, count = operating_points(run), run.params.n_controls

    def sweep(part: Part) -> pd.DataFrame:
        point = points[part.name]
        return steered(run, part, "test", [point.layer], [point.alpha], count)

    return joined(run, sweep)


@kept
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

    return beside_baseline(run, joined(run, sweep))


def beside_baseline(run: Run, table: pd.DataFrame) -> pd.DataFrame:
    """Further rows on the test prompts behind the unpatched rows of the test sweep."""
    test = test_sweep(run)
    return pd.concat([test[test["kind"] == "baseline"], table], ignore_index=True)
