"""Gold for S and what must fail, read from the model: S of every cell by every measure, contexts in place of acts.

Per family of labels two artifacts: the tokens of every row, and what each kind of context does to each of these tokens
in any sentence. What is in them is in `instrument_design`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import pandas as pd

from emolib.base import store
from emolib.engine.continuation import context_logprobs
from emolib.engine.continuation_means import means_of_tokens
from emolib.engine.continuation_tokens import continuations
from emolib.steering.cross_fitted import can_cross_fit, cross_fitted_shifts
from emolib.steering.gold import context_shifts
from emolib.steering.shift_measures import measured_cells
from emolib.steering.shift_parts import lexicon, token_table
from emolib.steering.shift_tables import shift_table
from emolib.steering.specific_shift import specific_shift
from emolib.study.batch_size import generation_batch
from emolib.study.phase5_steering.design import prompts
from emolib.study.phase5_steering.instrument_design import (
    TRAINING,
    VALIDATION,
    Family,
    context_table,
    families,
    first_part,
)
from emolib.study.phase5_steering.shift_design import counted_texts
from emolib.study.phase5_steering.shift_sweeps import LARGEST_BATCH
from emolib.study.run import Run, kept

CELL_COLUMNS = ["measure", "style", "emotion", "other", "instrument", "stand_in", "prompt", "text", "third", "specific"]
KIND = ["instrument", "stand_in"]
LEXICON_DTYPES = {**dict.fromkeys([*KIND, "act"], str), "layer": int, "alpha": float, "token_id": int, "lexical": float}


@kept
def gold_cells(run: Run) -> pd.DataFrame:
    """S of every validation cell, by measure, pair of labels and instrument.

    Returns:
        `CELL_COLUMNS`, as `emolib.steering.instruments.judged_pairs` takes them. For `gold_b`, which is reported
        alone, no lexical part is read: it has the measures `raw` and `own`.
    """
    found = [family_cells(run, family) for family in families(run)]
    return pd.concat(found, ignore_index=True)[CELL_COLUMNS]


def family_cells(run: Run, family: Family) -> pd.DataFrame:
    """The cells of one family's labels; none where no validation scenario has texts of all of them."""
    table = context_table(run, family)
    if table.empty:
        return pd.DataFrame(columns=CELL_COLUMNS)
    tokens, lexical = family_tokens(run, family), family_lexicon(run, family)
    corpus = counted_texts(run, first_part(run))
    found = []
    for kind, rows in table.groupby(KIND, sort=False):
        mine, read = _of_rows(rows[rows["split"] == VALIDATION], tokens)
        shifts = shift_table(mine, means_of_tokens(run.lm, mine["words"].tolist(), read))
        told, here = token_table(mine, read, corpus), (lexical[KIND] == list(kind)).all(axis=1)
        given = {"tokens": told, "lexical": lexical[here].drop(columns=KIND)} if here.any() else {}
        pairs = family.among(set(mine["act"]))
        if not pairs:  # so few third scenarios that no pair of labels has a context for both
            continue
        shifts = shifts[shifts["label"].isin(family.labels)]
        cells = measured_cells(shifts, pairs=pairs, own=mine["act"].nunique() > 2, **given)
        if here.any():
            cells = pd.concat([cells, *(_adjusted(told, pair) for pair in pairs)], ignore_index=True)
        thirds = mine[["prompt", "text", "third"]].drop_duplicates()
        cells = cells.merge(thirds, on=["prompt", "text"], validate="many_to_one")
        found.append(cells.assign(**dict(zip(KIND, kind, strict=True))))
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=CELL_COLUMNS)


def _adjusted(tokens: pd.DataFrame, pair: tuple[str, str]) -> pd.DataFrame:
    """Adjusted S of a pair of labels; nothing where too few tokens of a third label are there to predict from."""
    both = tokens[tokens["act"].isin(pair)]
    if not can_cross_fit(both, pair):
        return pd.DataFrame()
    return specific_shift(cross_fitted_shifts(both, pair), pairs=[pair]).assign(measure="adjusted")


def _of_rows(rows: pd.DataFrame, tokens: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Some rows of the table, numbered anew, and their tokens."""
    numbers = pd.Series(range(len(rows)), index=rows.index)
    mine = tokens[tokens["row"].isin(rows.index)]
    return rows.reset_index(drop=True), mine.assign(row=mine["row"].map(numbers)).reset_index(drop=True)


# what the model reads


@kept
def family_tokens(run: Run, family: Family) -> pd.DataFrame:
    """The tokens of the validation rows of `context_table`, as `emolib.engine.continuation.token_shifts` gives them.

    These rows come first in the table: their numbers are the same in both.
    """
    table = context_table(run, family)
    table = table[table["split"] == VALIDATION]

    def compute() -> pd.DataFrame:
        return context_shifts(run.lm, table, batch_size=instrument_batch(run))[1]

    matched = {"rows": store.digest(table.to_dict("list"))}
    return kept_shard(run, f"{_named(run, family)}_tokens", matched, compute, len(table))


@kept
def family_lexicon(run: Run, family: Family) -> pd.DataFrame:
    """What every kind of context does to each token of the family's texts at any place of a neutral training text.

    Returns:
        instrument, stand_in, then the columns of `emolib.steering.shift_parts.lexicon`.
    """
    table = context_table(run, family)
    rows = table[table["split"] == TRAINING].reset_index(drop=True)
    words = table.loc[table["split"] == VALIDATION, "words"].unique().tolist()
    token_ids = sorted({token for text in continuations(run.lm, words) for token in text.ids[1:]})

    def compute() -> pd.DataFrame:
        if rows.empty:  # no neutral text that a context may stand before
            return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in LEXICON_DTYPES.items()})
        pairs = {name: list(zip(rows[f"prompt_{name}"], rows["words"], strict=True)) for name in ("with", "without")}
        once = list(dict.fromkeys([*pairs["with"], *pairs["without"]]))
        before, texts = (list(column) for column in zip(*once, strict=True))
        read = context_logprobs(run.lm, before, texts, token_ids, batch_size=instrument_batch(run))
        place = {pair: number for number, pair in enumerate(once)}
        after, base = (read[[place[pair] for pair in pairs[name]]] for name in ("with", "without"))
        found = []
        for kind, part in rows.groupby(KIND, sort=False):
            shifts = (after - base)[part.index]
            found.append(lexicon(part, token_ids, shifts).assign(**dict(zip(KIND, kind, strict=True))))
        return pd.concat(found, ignore_index=True)[list(LEXICON_DTYPES)].astype({"layer": int, "token_id": int})

    matched = {"rows": store.digest(rows.to_dict("list")), "token_ids": store.digest(token_ids)}
    return kept_shard(run, f"{_named(run, family)}_lexicon", matched, compute, len(rows))


def _named(run: Run, family: Family) -> str:
    """A family's part of a file's name; a label can hold any character, so its number stands for it."""
    return f"gold_{families(run).index(family)}"


def kept_shard(
    run: Run, name: str, matched: Mapping[str, Any], compute: Callable[[], pd.DataFrame], n_rows: int
) -> pd.DataFrame:
    """A table of the instruments, found or computed; a stretch of its own for the progress."""
    path = run.paths.instruments(f"instrument_{name}")
    run.progress.begin(f"instruments/{name}", n_rows)
    table = run.artifacts.table(path, matched, compute)
    run.progress.advance(n_rows, shard=name, computed=path in run.artifacts.computed)
    return table


def instrument_batch(run: Run) -> int:
    """Rows at once: never more than the run generates, a number that a resumed run finds again."""
    size = generation_batch(run, prompts(run, first_part(run), VALIDATION))
    return min(cast(int, size), LARGEST_BATCH)
