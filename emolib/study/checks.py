"""What a phase asks of its parameters and its data set together: told before anything is computed or kept."""

from __future__ import annotations

import pandas as pd

from emolib.plots.plot_files import require_png
from emolib.readout.leaks import scenario_folds
from emolib.study.phase5_steering.design import parts
from emolib.study.run import Run

SPLIT = ("phase2", "phase3", "phase5")  # read so many scenarios of each split as their parameters say


def check_run(run: Run) -> None:
    """Loads the data set alone, no model.

    Raises:
        UserError: the data set is broken, has fewer scenarios or other styles than the parameters ask for; PNG
            images that cannot be drawn here.
    """
    params, phase = run.params, run.params.phase
    if params.png:
        require_png()
    if phase in SPLIT:
        for split in ("train", "validation", "test"):
            run.texts(split)
    if phase == "phase1":
        scenario_folds(pd.Series(sorted(set(run.data["scenario"]))), params.n_folds, seed=params.seed)
    if phase == "phase5":
        parts(run)
        run.texts("train", style=params.vector_style, count=1 if params.folds else None)
