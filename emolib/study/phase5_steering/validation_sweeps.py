"""Phase 5's sweep over every candidate layer and strength on validation prompts, and what every sweep is made with."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd

from emolib.directions.controls import FAMILIES
from emolib.scoring.measures import measures, with_targets
from emolib.steering.cells import Controls
from emolib.steering.operating_point import OperatingPoint, choose_operating_point
from emolib.steering.sweeps import residual_sweep
from emolib.study.phase5_steering.design import Part, controls, parts, prompts
from emolib.study.phase5_steering.strengths import vectors
from emolib.study.phase5_steering.sweep_settings import settings
from emolib.study.run import Run, kept


@kept
def validation_sweep(run: Run) -> pd.DataFrame:
    """Every candidate layer × alpha × emotion on the validation prompts of every part (column `part`)."""
    layers, alphas = candidate_layers(run), run.params.alphas
    return joined(run, lambda part: steered(run, part, "validation", layers, alphas))


def candidate_layers(run: Run) -> tuple[int, ...]:
    """The layers tried on validation: those given, all, or a spread over the middle of the depth."""
    return run.params.candidate_layers(run.lm.n_layers)


@kept
def text_points(run: Run) -> dict[str, OperatingPoint]:
    """The layer and alpha per part that the generated validation texts alone would choose.

    See `emolib.steering.operating_point.choose_operating_point`. They decide where S cannot be measured; elsewhere
    their criterion stands beside that of the choice.
    """
    sweep = validation_sweep(run)
    known = measures(sweep, run.emotions)
    margin = run.params.broken_margin
    return {
        str(name): choose_operating_point(rows, known, broken_margin=margin)
        for name, rows in sweep.groupby("part", sort=False)
    }


def steered(
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
