"""Draws docs/images/steering.png: what the emotions' vectors change in the test texts of `quick`, beside the controls.

python docs/images/steering.py results/quick docs/images/steering.png smollm2_135m gemma3_270m
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import pyplot

from emolib.steering.effects import control_effects, effects

FAMILIES = {"isotropic": "#9aa3ad", "covariance": "#5b8fc7", "shuffled": "#cf8a3c"}
MEASURES = {"keywords": "change in own words per text", "target": "change in own GoEmotions probability"}
OWN, OTHER = "#c0392b", "#333333"


def draw(axes: pyplot.Axes, sweep: pd.DataFrame, measure: str) -> None:
    """One model and measure: a row per emotion."""
    emotions = list(dict.fromkeys(sweep.loc[sweep["kind"] == "emotion", "emotion"]))
    rng = np.random.default_rng(0)
    for place, emotion in enumerate(emotions):
        metric = f"{measure}/{emotion}"
        for shift, (family, colour) in zip((-0.28, 0, 0.28), FAMILIES.items(), strict=True):
            values = control_effects(sweep, emotion, metric, family=family).to_numpy()
            heights = place + shift + rng.uniform(-0.09, 0.09, len(values))
            axes.plot(values, heights, ".", color=colour, markersize=4, alpha=0.7, label=family if not place else None)
        for vector in emotions:
            value = effects(sweep, "emotion", vector, metric).mean()
            if vector == emotion:
                axes.plot([value], [place], "D", color=OWN, markersize=9, zorder=3)
            else:
                axes.plot([value] * 2, [place - 0.17, place + 0.17], color=OTHER, linewidth=2)
    axes.axvline(0, color="#bbbbbb", linewidth=1, zorder=0)
    axes.set_yticks(range(len(emotions)), emotions)
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel(MEASURES[measure])


def main(results: str, output: str, *models: str) -> None:
    """One row of two panels per model."""
    figure, grid = pyplot.subplots(len(models), 2, figsize=(11, 2.75 * len(models)), squeeze=False)
    for row, model in zip(grid, models, strict=True):
        sweep = pd.read_parquet(Path(results) / "patching" / "residual" / f"{model}_residual_sweep_test.parquet")
        point = sweep[sweep["kind"] == "emotion"].iloc[0]
        for axes, measure in zip(row, MEASURES, strict=True):
            draw(axes, sweep, measure)
            axes.set_title(f"{model}, layer {int(point['layer'])}, α = {point['alpha']:g} KL lengths", fontsize=11)
    dots = grid[0][0].get_legend_handles_labels()[0]
    other = pyplot.Line2D([], [], color=OTHER, marker="|", markersize=12, markeredgewidth=2, linestyle="")
    own = pyplot.Line2D([], [], color=OWN, marker="D", markersize=8, linestyle="")
    names = [*FAMILIES, "other emotions' vectors", "own vector"]
    figure.legend([*dots, other, own], names, loc="lower center", ncols=len(names), frameon=False)
    figure.tight_layout(rect=(0, 0.05, 1, 1))
    figure.savefig(output, dpi=100)


if __name__ == "__main__":
    main(*sys.argv[1:])
