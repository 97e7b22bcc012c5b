"""Continuation shifts as tables: which text follows which prompt, and what each act did to each text.

Prompts are the neutral texts of some scenarios, texts those of others: a model copies its prompt. In every cell (a
prompt's scenario and a text's) stand the texts of all labels, under every act.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import numpy as np
import pandas as pd

from emolib.base import arguments
from emolib.base.errors import UserError, shown

CELL = ["prompt", "text", "style"]
ACT = ["act", "layer", "alpha"]
KEYS = ["prompt", "text", "label", "style", *ACT]


def crossed_cells(
    prompts: Sequence[str], texts: Sequence[str], *, per_text: int = 4, seed: int | None = None
) -> pd.DataFrame:
    """Pairs of a prompt's and a text's scenario: each text after `per_text` prompts, each prompt before as many texts.

    Args:
        prompts, texts: names of scenarios, of two disjoint pools.
        per_text: prompts per text.
        seed: in which random order scenarios meet; None takes them as they come.

    Returns:
        Columns prompt and text, a row per cell.

    Raises:
        UserError: a scenario in both pools or twice in one, fewer prompts than each text needs, or numbers that leave
            some prompts before more texts than others.

    >>> crossed_cells(["a", "b"], ["c", "d"], per_text=1).to_dict("list")
    {'prompt': ['a', 'b'], 'text': ['c', 'd']}
    """
    pools = {"prompts": arguments.texts(prompts, "prompts"), "texts": arguments.texts(texts, "texts")}
    for name, pool in pools.items():
        twice = next((one for one in pool if pool.count(one) > 1), None)
        if twice is not None or not pool:
            what = "none" if twice is None else f"{shown(twice)} twice"
            raise UserError(f"expected {name} as different scenarios, at least one, got {what}")
    common = sorted(set(pools["prompts"]) & set(pools["texts"]))
    if common:
        raise UserError(
            f"expected prompts and texts of different scenarios, {shown(common[0])} is in both (in all {len(common)}): "
            "a model copies its prompt"
        )
    n_prompts, n_texts = len(pools["prompts"]), len(pools["texts"])
    per_text = arguments.whole_number("per_text", per_text, least=1, most=n_prompts)
    if n_texts * per_text % n_prompts:
        raise UserError(
            f"expected every prompt before as many texts, got {n_texts} texts after {per_text} of {n_prompts} prompts "
            f"each; take a number of texts whose {per_text}-fold is a multiple of {n_prompts}"
        )
    if seed is not None:
        generator = np.random.default_rng(seed)
        pools = {name: [pool[i] for i in generator.permutation(len(pool))] for name, pool in pools.items()}
    cells = np.arange(n_texts * per_text)
    return pd.DataFrame(
        {
            "prompt": np.array(pools["prompts"], dtype=object)[cells % n_prompts],
            "text": np.repeat(np.array(pools["texts"], dtype=object), per_text),
        }
    )


def shift_rows(cells: pd.DataFrame, texts: pd.DataFrame, acts: pd.DataFrame) -> pd.DataFrame:
    """The design's rows: every cell's texts of all labels under every act.

    Args:
        cells: columns prompt and text, as `crossed_cells` gives them.
        texts: columns scenario, label, style, a row per text (further columns come along).
        acts: columns act, layer, alpha, a row per act; an emotion's own act bears its label's name.

    Returns:
        The columns of `KEYS` and the further ones of `texts`; acts of one pair of prompt and text beside each other.

    Raises:
        UserError: missing columns, a cell's scenario without texts.

    >>> cells = pd.DataFrame({"prompt": ["a"], "text": ["c"]})
    >>> texts = pd.DataFrame({"scenario": "c", "label": ["joy", "neutral"], "style": "implicit"})
    >>> len(shift_rows(cells, texts, pd.DataFrame({"act": ["joy", "sadness"], "layer": 3, "alpha": 0.2})))
    4
    """
    for table, name, columns in (
        (cells, "cells", ["prompt", "text"]),
        (texts, "texts", ["scenario", "label", "style"]),
        (acts, "acts", ACT),
    ):
        check_columns(table, columns, name)
    unknown = sorted(set(cells["text"]) - set(texts["scenario"]))
    if unknown:
        raise UserError(f"expected a text per label of every scenario in cells, {shown(unknown[0])} has none")
    rows = cells.merge(texts.rename(columns={"scenario": "text"}), on="text", how="left", sort=False)
    rows = rows.merge(acts[ACT], how="cross")
    return rows[[*KEYS, *(name for name in rows if name not in KEYS)]].reset_index(drop=True)


def shift_table(rows: pd.DataFrame, shifts: pd.DataFrame, tokens: pd.DataFrame | None = None) -> pd.DataFrame:
    """The design's rows with their shifts.

    Args:
        rows: the columns of `KEYS`, in the order in which prompts, texts and acts were given.
        shifts: what `emolib.continuation_shift` gave for them.
        tokens: what `emolib.engine.continuation.token_shifts` gave; needed for `shift_shortest` alone.

    Returns:
        `KEYS`, n_tokens, `shift` (nat per token), `shift_sum` (nat), `shift_per_character` (nat, to compare models with
        other tokenizers) and, with `tokens`, `shift_shortest`: the mean over so many first tokens as the shortest of
        its scenario's texts has.

    Raises:
        UserError: missing columns, other numbers of rows, a row that stands twice.

    >>> rows = pd.DataFrame(dict(zip(KEYS, [["p"], ["t"], ["joy"], ["implicit"], ["joy"], [3], [0.2]])))
    >>> shifts = pd.DataFrame({"row": [0], "n_tokens": [4], "n_characters": [20], "shift": [0.5], "shift_sum": [2.0]})
    >>> shift_table(rows, shifts)[["shift", "shift_sum", "shift_per_character"]].values.tolist()
    [[0.5, 2.0, 0.1]]
    """
    check_columns(rows, KEYS, "rows")
    check_columns(shifts, ["row", "n_tokens", "n_characters", "shift", "shift_sum"], "shifts")
    if len(rows) != len(shifts) or shifts["row"].tolist() != list(range(len(rows))):
        raise UserError(f"expected one shift per row of the design, in its order, got {len(shifts)} for {len(rows)}")
    check_unique(rows, KEYS, "rows")
    kept = shifts.reset_index(drop=True)
    table = (
        rows[KEYS]
        .reset_index(drop=True)
        .assign(
            n_tokens=kept["n_tokens"],
            shift=kept["shift"],
            shift_sum=kept["shift_sum"],
            shift_per_character=kept["shift_sum"] / kept["n_characters"],
        )
    )
    if tokens is not None:
        table["shift_shortest"] = _over_the_shortest(table, tokens)
    return table


def _over_the_shortest(table: pd.DataFrame, tokens: pd.DataFrame) -> np.ndarray:
    """Mean shift `[row]` over the first tokens, as many as the shortest text of the scenario and style has."""
    check_columns(tokens, ["row", "position", "logprob", "logprob_unpatched"], "tokens")
    fewest = table.groupby(["text", "style"])["n_tokens"].transform("min").to_numpy()
    kept = tokens[tokens["position"].to_numpy() <= fewest[tokens["row"].to_numpy()]]
    means = (kept["logprob"] - kept["logprob_unpatched"]).groupby(kept["row"].to_numpy()).mean()
    return means.reindex(range(len(table))).to_numpy()


def label_shifts(table: pd.DataFrame, *, neutral: str = "neutral", value: str = "shift") -> pd.DataFrame:
    """m: under each act, the shift of a label's text minus that of the neutral text of the same scenario. Descriptive.

    What lifts rare or emotional text of any kind, and a stronger act, raise it too; claims rest on `specific_shift`.

    Args:
        table: as `shift_table` gives it.
        value: the column of the shift.

    Returns:
        prompt, text, style, act, layer, alpha, label, `over_neutral` (in the unit of `value`).

    Raises:
        UserError: a cell without a neutral text, missing columns, a row that stands twice.

    >>> rows = pd.DataFrame({"label": ["joy", "neutral"], "shift": [0.5, 0.2]})
    >>> rows = rows.assign(prompt="p", text="t", style="implicit", act="joy", layer=3, alpha=0.2)
    >>> label_shifts(rows)["over_neutral"].round(3).tolist()
    [0.3]
    """
    wide = by_label(table, value, [neutral])
    over = wide.drop(columns=neutral).sub(wide[neutral], axis=0)
    long = over.rename_axis(columns="label").stack().rename("over_neutral")
    return long.reset_index()[[*CELL, *ACT, "label", "over_neutral"]]


def by_label(table: pd.DataFrame, value: str, labels: Iterable[str]) -> pd.DataFrame:
    """The value of every label's text beside each other, rows by `CELL` and `ACT`.

    Raises:
        UserError: a label that some cell lacks, missing columns, a row that stands twice, a value that is no number.
    """
    check_columns(table, [*KEYS, value], "the table of shifts")
    check_unique(table, KEYS, "the table of shifts")
    wide = table.set_index([*CELL, *ACT, "label"])[value].unstack("label")
    for label in labels:
        if label not in wide:
            raise UserError(f"expected texts of the label {shown(label)} in every cell, there are none")
        without = wide[label].isna()
        if without.any():
            cell = dict(zip(CELL, wide.index[without][0], strict=False))
            raise UserError(
                f"expected a finite {value} of the label {shown(label)} in every cell, {shown(cell)} has none"
            )
    return wide


def check_columns(table: pd.DataFrame, columns: Collection[str], name: str) -> None:
    """Raises `UserError` where something is no table, or lacks a column."""
    arguments.instance(name, table, pd.DataFrame, "a table")
    missing = [column for column in columns if column not in table]
    if missing:
        raise UserError(f"expected columns {', '.join(columns)} in {name}, there is no {', '.join(missing)}")


def check_unique(table: pd.DataFrame, keys: list[str], name: str) -> None:
    """Raises `UserError` where the same row stands twice."""
    twice = table.duplicated(keys)
    if twice.any():
        row = table.loc[twice, keys].iloc[0].to_dict()
        raise UserError(f"expected different rows in {name}, twice there is {shown(row)}")
