"""S, what claims rest on: how much an emotion's act favours its own texts beyond what another emotion's act does.

S_e,o = [Δlp(act e, text e) − Δlp(act e, text o)] − [Δlp(act o, text e) − Δlp(act o, text o)]. What lifts rare or
emotional text under any act falls out, and so does a stronger act; neutral is no reference.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from emolib.base.errors import UserError, shown
from emolib.steering.shift_tables import ACT, CELL, by_label, check_columns

STRENGTH = ["layer", "alpha"]
MEAN_COLUMNS = ["mean", "se", "variance", "v_text", "v_prompt", "v_cell", "n_texts", "n_prompts", "n_cells", "t", "df"]


def label_pairs(table: pd.DataFrame) -> list[tuple[str, str]]:
    """Every ordered pair of labels that have both an act and texts."""
    acts = set(table["act"])
    named = [label for label in dict.fromkeys(table["label"]) if label in acts]
    return [(one, other) for one in named for other in named if one != other]


def text_contrast(table: pd.DataFrame, emotion: str, other: str, *, value: str = "shift") -> pd.DataFrame:
    """Under every act: the shift of one label's text minus that of another's, in the same cell.

    A control direction has no act of the other label: its contrast stands beside the emotion's act's own.

    Args:
        table: as `emolib.steering.shift_tables.shift_table` gives it.
        value: the column of the shift.

    Returns:
        prompt, text, style, act, layer, alpha, contrast (in the unit of `value`).

    Raises:
        UserError: a cell without one of the labels, missing columns, a row that stands twice.

    >>> rows = pd.DataFrame({"label": ["joy", "sadness"], "shift": [0.5, 0.2]})
    >>> rows = rows.assign(prompt="p", text="t", style="implicit", act="noise", layer=3, alpha=0.2)
    >>> text_contrast(rows, "joy", "sadness")["contrast"].round(3).tolist()
    [0.3]
    """
    wide = by_label(table, value, [emotion, other])
    return (wide[emotion] - wide[other]).rename("contrast").reset_index()[[*CELL, *ACT, "contrast"]]


def specific_shift(
    table: pd.DataFrame, *, pairs: Iterable[tuple[str, str]] | None = None, value: str = "shift"
) -> pd.DataFrame:
    """S of every cell, for each emotion against each other label.

    Args:
        table: as `emolib.steering.shift_tables.shift_table` gives it; an emotion's own act bears its label's name.
        pairs: emotion and other label; None takes every pair of labels that have an act.
        value: the column of the shift.

    Returns:
        prompt, text, style, layer, alpha, emotion, other, `specific` (in the unit of `value`).

    Raises:
        UserError: fewer than two labels with acts of their own, a pair that lacks an act or a text somewhere, missing
            columns, a row that stands twice.

    >>> rows = pd.DataFrame({"label": ["joy", "sadness"] * 2, "act": ["joy", "joy", "sadness", "sadness"]})
    >>> rows = rows.assign(prompt="p", text="t", style="implicit", layer=3, alpha=0.2, shift=[0.9, 0.4, 0.3, 0.2])
    >>> specific_shift(rows)[["emotion", "other", "specific"]].round(3).values.tolist()
    [['joy', 'sadness', 0.4], ['sadness', 'joy', 0.4]]
    """
    check_columns(table, [*CELL, "label", *ACT, value], "the table of shifts")
    chosen = label_pairs(table) if pairs is None else list(pairs)
    if not chosen:
        raise UserError("expected at least two labels with texts and acts of their own: an act bears its label's name")
    found = []
    for emotion, other in chosen:
        contrast = text_contrast(table[table["act"].isin([emotion, other])], emotion, other, value=value)
        wide = contrast.set_index([*CELL, *STRENGTH, "act"])["contrast"].unstack("act")
        for act in (emotion, other):
            if act not in wide or wide[act].isna().any():
                raise UserError(
                    f"expected the act {shown(act)} in every cell and at every layer and alpha of {shown(emotion)} "
                    f"against {shown(other)}, it is missing in some"
                )
        cells = (wide[emotion] - wide[other]).rename("specific").reset_index()
        found.append(cells.assign(emotion=emotion, other=other))
    return pd.concat(found, ignore_index=True)[[*CELL, *STRENGTH, "emotion", "other", "specific"]]


def crossed_mean(cells: pd.DataFrame, *, value: str = "specific", balanced: bool = True) -> dict[str, float]:
    """Mean over the cells of a design, with the variance of that mean where texts and prompts are both random.

    V = V_text + V_prompt − V_cell: cells that share a text go together, cells that share a prompt go together, and
    what was counted twice is taken off (Cameron, Gelbach and Miller 2011). V_text is Σ (Σ u)² / n² over texts, with u
    the deviations from the mean, times G / (G − 1) for G texts; the others alike. It can fall below V_cell by chance,
    where neither factor matters; the standard error then takes V_cell.

    Args:
        cells: columns prompt, text and the value, one row per cell.
        value: the column that is averaged.
        balanced: whether every text must be in as many cells, and every prompt. Where cells had to be left out, it is
            not; the variance holds all the same.

    Returns:
        mean, se (both in the unit of the value), variance, v_text, v_prompt, v_cell, n_texts, n_prompts, n_cells, t
        (mean / se; NaN where nothing varies), and df, the smaller number of texts or prompts minus 1.

    Raises:
        UserError: fewer than two texts or prompts, a cell that stands twice, texts after different numbers of prompts
            (or the reverse) where it is to be balanced, a value that is no number.

    >>> cells = pd.DataFrame({"prompt": list("abab"), "text": list("ccdd"), "specific": [1.0, 2.0, 3.0, 4.0]})
    >>> found = crossed_mean(cells)
    >>> found["mean"], round(found["variance"], 3), found["n_cells"]
    (2.5, 0.833, 4)
    """
    check_columns(cells, ["prompt", "text", value], "cells")
    codes = {name: pd.factorize(cells[name])[0] for name in ("text", "prompt")}
    return crossed_numbers(cells[value].to_numpy(float), **codes, value=value, balanced=balanced)


def crossed_numbers(
    values: Float[np.ndarray, " cell"],
    text: Int[np.ndarray, " cell"],
    prompt: Int[np.ndarray, " cell"],
    *,
    value: str = "specific",
    balanced: bool = True,
) -> dict[str, float]:
    """`crossed_mean` of numbers, with a whole number of 0 or more for each cell's text and prompt.

    >>> found = crossed_numbers(np.array([1.0, 2.0, 3.0, 4.0]), np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1]))
    >>> found["mean"], round(found["variance"], 3), found["n_cells"]
    (2.5, 0.833, 4)
    """
    if not np.isfinite(values).all():
        raise UserError(f"expected finite numbers in {value}, got {int((~np.isfinite(values)).sum())} that are none")
    codes = {"text": text, "prompt": prompt}
    if len(np.unique(text.astype(np.int64) * (int(prompt.max(initial=0)) + 1) + prompt)) < len(values):
        raise UserError("expected one row per prompt and text, some stand twice; choose one style, layer and alpha")
    deviations = values - values.mean()

    def clustered(sums: np.ndarray) -> float:
        return float((sums**2).sum() / len(values) ** 2 * len(sums) / (len(sums) - 1))

    sums = {}
    for name, of_name in codes.items():
        counts = np.bincount(of_name)
        held = counts > 0
        some = counts[held]
        if len(some) < 2 or (balanced and some.min() < some.max()):
            raise UserError(
                f"expected a balanced design of at least two {name}s, each in as many cells, got {len(some)} in "
                f"{some.min() if len(some) else 0} to {some.max() if len(some) else 0} cells"
            )
        sums[name] = np.bincount(of_name, weights=deviations)[held]
    v_text, v_prompt, v_cell = clustered(sums["text"]), clustered(sums["prompt"]), clustered(deviations)
    variance = v_text + v_prompt - v_cell
    se = float(np.sqrt(max(variance, v_cell)))
    n_texts, n_prompts = len(sums["text"]), len(sums["prompt"])
    mean = float(values.mean())
    return {
        "mean": mean,
        "se": se,
        "variance": variance,
        "v_text": v_text,
        "v_prompt": v_prompt,
        "v_cell": v_cell,
        "n_texts": n_texts,
        "n_prompts": n_prompts,
        "n_cells": len(values),
        "t": mean / se if se > 0 else float("nan"),
        "df": min(n_texts, n_prompts) - 1,
    }


def crossed_means(cells: pd.DataFrame, by: Sequence[str], *, value: str = "specific") -> pd.DataFrame:
    """`crossed_mean` of every group of cells.

    Args:
        by: columns that tell the groups apart, for example emotion, other, style, layer, alpha.

    Returns:
        The columns of `by`, then those of `MEAN_COLUMNS`.

    Raises:
        UserError: as `crossed_mean`.

    >>> cells = pd.DataFrame({"prompt": list("abab"), "text": list("ccdd"), "other": "joy", "specific": [1.0, 2, 3, 4]})
    >>> crossed_means(cells, ["other"])[["other", "mean", "df"]].values.tolist()
    [['joy', 2.5, 1]]
    """
    check_columns(cells, [*by, "prompt", "text", value], "cells")
    rows = [
        {**dict(zip(by, key, strict=True)), **crossed_mean(part, value=value)}
        for key, part in cells.groupby(list(by), sort=False, dropna=False)
    ]
    return pd.DataFrame(rows, columns=[*by, *MEAN_COLUMNS])
