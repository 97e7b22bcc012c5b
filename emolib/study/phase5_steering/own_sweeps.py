"""Phase 5's own sweeps: every candidate on validation, the chosen point on test with its controls, other strengths.

Each is made part by part and shard by shard; what they say is in `emolib.study.phase5_steering.results`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd

from emolib.directions.controls import FAMILIES
from emolib.scoring.measures import measures, with_targets
from emolib.steering.cells import Controls, steer_cell
from emolib.steering.operating_point import OperatingPoint, choose_operating_point
from emolib.steering.sweeps import residual_sweep, sweep_cells
from emolib.study.phase5_steering.design import Part, controls, parts, prompts
from emolib.study.phase5_steering.strengths import vectors
from emolib.study.phase5_steering.sweep_settings import settings
from emolib.study.run import Run, kept


@kept
def validation_sweep(run: Run) -> pd.DataFrame:
    """Every candidate layer × alpha × emotion on the validation prompts of every part (column `part`)."""
    layers, alphas = candidate_layers(run), run.params.alphas
    return joined(run, lambda part: _steered(run, part, "validation", layers, alphas))


def candidate_layers(run: Run) -> tuple[int, ...]:
    """The layers tried on validation: those given, all, or a spread over the middle of the depth."""
    return run.params.candidate_layers(run.lm.n_layers)


@kept
def operating_points(run: Run) -> dict[str, OperatingPoint]:
    """One layer and alpha for all emotions per part, chosen on its validation rows alone."""
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


@kept
def test_sweep(run: Run) -> pd.DataFrame:
    """The chosen points on the test prompts, with the control directions of every family, the direct path and α = 0."""
    points, count = operating_points(run), run.params.n_controls

    def sweep(part: Part) -> pd.DataFrame:
        point = points[part.name]
        return _steered(run, part, "test", [point.layer], [point.alpha], count)

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


def _steered(
    run: Run, part: Part, split: str, layers: Sequence[int], alphas: Sequence[float], n_controls: int = 0
) -> pd.DataFrame:
    """The emotions' steers, and where there are controls also the direct path and the steer of strength 0."""
    source = controls(run, part, tuple(layers)) if n_controls else None
    beside = Controls(n_controls, FAMILIES, source, direct_path=bool(n_controls), zero=bool(n_controls))
    return residual_sweep(
        run.lm,
        prompts(run, part, split),
        vectors(run, part),
        layers=layers,
        alphas=alphas,
        controls=beside,
        settings=settings(run, part),
        run=run.shards(part.file(split)),
    )


def joined(run: Run, sweep: Callable[[Part], pd.DataFrame]) -> pd.DataFrame:
    """Every part's sweep, with the emotions' probabilities and the part's name."""
    tables = [sweep(part).assign(part=part.name) for part in parts(run)]
    return with_targets(pd.concat(tables, ignore_index=True), run.emotions)
