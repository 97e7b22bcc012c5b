"""What validation says of the candidate layers and strengths: means by layer, and how many the broken rule leaves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from emolib.statistics import intervals
from emolib.steering.effects import success
from emolib.steering.operating_point import OperatingPoint

FEW_LEFT_OUT = 0.8  # a rule that leaves at least this share of the candidates has hardly narrowed them
HALF = 0.5
CRITERIA = ("score", "text_score")  # of the choice, and of the generated texts beside it
NO_DIFFERENCE = 0.005  # in words or in probability: as good as none


def layer_means(validation: pd.DataFrame, measures: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """Own measures by layer and strength under the emotion's own vector, and unpatched; all parts together.

    Broken texts count as 0, as in the choice. Standard errors are over scenarios.

    Returns:
        emotion, metric, layer, alpha, mean, se, baseline, baseline_se.
    """
    rows = []
    for emotion, names in measures.items():
        own = validation[(validation["kind"] == "emotion") & (validation["emotion"] == emotion)]
        base = validation[validation["kind"] == "baseline"]
        for metric in names:
            zero = intervals.mean_and_se(success(base, metric).groupby(base["scenario"]).mean())
            for (layer, alpha), part in own.groupby(["layer", "alpha"]):
                mean, se = intervals.mean_and_se(success(part, metric).groupby(part["scenario"]).mean())
                row = {"emotion": emotion, "metric": metric, "layer": int(layer), "alpha": float(alpha)}
                rows.append({**row, "mean": mean, "se": se, "baseline": zero[0], "baseline_se": zero[1]})
    return pd.DataFrame(rows)


def ceilings(points: Mapping[str, OperatingPoint], validation: pd.DataFrame, margin: float) -> pd.DataFrame:
    """What the rule on broken texts allowed on validation, one row per part.

    Returns:
        part, baseline (broken share of the unpatched texts), ceiling (what a candidate's share may be at most), kept
        and tried (candidates), broken (the chosen point's largest share), narrows (the rule left out more than a fifth
        of the candidates), allows_most (the ceiling lets more than half of the texts be broken).
    """
    rows = []
    for name, point in points.items():
        base = validation[(validation["part"] == name) & (validation["kind"] == "baseline")]
        share = float(base["fluency/broken"].mean())
        at = point.table.set_index(["layer", "alpha"])
        row = {"part": name, "baseline": share, "ceiling": min(share + margin, 1.0), "tried": len(at)}
        row |= {"kept": int(at["eligible"].sum()), "broken": float(at.loc[(point.layer, point.alpha), "broken"])}
        row |= {"narrows": row["kept"] / row["tried"] < FEW_LEFT_OUT, "allows_most": row["ceiling"] > HALF}
        rows.append(row)
    return pd.DataFrame(rows)


def pooled(points: Mapping[str, OperatingPoint]) -> pd.DataFrame:
    """Every candidate, the parts of a cross-fitted design together: means of the criteria, of S and of the differences,
    the largest broken share, and in how many parts it was eligible (kept) of those that tried it (tried)."""
    tables = pd.concat([point.table for point in points.values()])
    groups = tables.groupby(["layer", "alpha"])
    averaged = [name for name in tables if name in CRITERIA or name.startswith(("difference/", "shift/"))]
    means = groups[averaged].mean()
    counts = groups["eligible"].agg(["sum", "size"]).rename(columns={"sum": "kept", "size": "tried"})
    return pd.concat([means, groups["broken"].max(), counts.astype(int)], axis=1).reset_index()


def edges(points: Mapping[str, OperatingPoint]) -> pd.DataFrame:
    """Where a part's choice lies at the end of what was tried.

    Returns:
        part, layer, alpha, layer_at_edge, alpha_at (`top`, `bottom` or `inside`).
    """
    rows = []
    for name, point in points.items():
        layers, alphas = (sorted(set(point.table[column])) for column in ("layer", "alpha"))
        at = "top" if point.alpha == alphas[-1] else "bottom" if point.alpha == alphas[0] else "inside"
        row = {"part": name, "layer": point.layer, "alpha": point.alpha}
        rows.append({**row, "layer_at_edge": point.layer in (layers[0], layers[-1]), "alpha_at": at})
    return pd.DataFrame(rows)


def silent_measures(points: Mapping[str, OperatingPoint]) -> list[str]:
    """The measures that hardly differ at any candidate, so that the choice was made by the others."""
    tables = pd.concat([point.table for point in points.values()])
    largest = tables[[column for column in tables if column.startswith("difference/")]].abs().max()
    return [name.removeprefix("difference/") for name in largest.index[largest < NO_DIFFERENCE]]
