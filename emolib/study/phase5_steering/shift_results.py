"""What Phase 5's continuation shifts say: S in its three measures, its conditions, ranks and claims, and its doses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from emolib.base import store
from emolib.data.styles import in_style_order
from emolib.directions.controls import FAMILIES
from emolib.engine.continuation import context_shift
from emolib.engine.continuation_tokens import continuations
from emolib.steering import claims as rule
from emolib.steering.claims import OWN, mean_contrasts, shift_conditions, shift_ranks
from emolib.steering.damage import next_token_kl
from emolib.steering.further_conditions import Further
from emolib.steering.kl_lengths import FEWEST
from emolib.steering.own_shift import own_shift
from emolib.steering.shift_measures import measured_cells
from emolib.steering.shift_parts import lexicon, token_table
from emolib.steering.shift_tables import CELL
from emolib.steering.specific_shift import crossed_means, label_pairs, specific_shift
from emolib.steering.sweeps import fingerprint_of_cells
from emolib.study.phase5_steering.design import Part, parts
from emolib.study.phase5_steering.shift_design import counted_texts
from emolib.study.phase5_steering.shift_sweeps import (
    dose_cells,
    dose_shifts,
    emotion_shard,
    emotion_tokens,
    test_shifts,
)
from emolib.study.phase5_steering.sweep_settings import template_of
from emolib.study.phase5_steering.validation_sweeps import validation_sweep
from emolib.study.run import Run, kept

N_KL_PROMPTS = 8  # validation prompts along whose unpatched continuations the KL of a strength is measured


@kept
def specific_cells(run: Run) -> pd.DataFrame:
    """S of every cell of the test texts, for each emotion against each other label.

    Returns:
        The columns of `emolib.steering.specific_shift.specific_shift`, measure (of `shift_measures.MEASURES`) and part.
    """
    return pd.concat([_specific_cells(run, part).assign(part=part.name) for part in parts(run)], ignore_index=True)


def _specific_cells(run: Run, part: Part) -> pd.DataFrame:
    corpus = counted_texts(run, part)
    tables = {}
    for split in ("test", "training"):
        shard, tokens = emotion_shard(run, part, split), emotion_tokens(run, split)[part.name]
        tables[split] = token_table(shard.rows, tokens, corpus)
    table = emotion_shard(run, part).shifts_of(emotion_tokens(run)[part.name])
    pairs, thirds = label_pairs(table), len(run.emotions) > 2
    found = measured_cells(
        table,
        pairs=pairs,
        tokens=tables["test"],
        training=tables["training"],
        lexical=lexical_shifts(run, part),
        own=thirds,
    )
    if not thirds:
        found = pd.concat([found, _own_beside_directions(run, part, pairs)], ignore_index=True)
    return found


def _own_beside_directions(run: Run, part: Part, pairs: list[tuple[str, str]]) -> pd.DataFrame:
    """The own contrast of two emotions: against the control directions, in the cells in which they stand."""
    table = test_shifts(run)
    table = table[(table["part"] == part.name) & table["kind"].isin([OWN, *FAMILIES])]
    drawn = set(table.loc[table["kind"] != OWN, "act"])
    held = pd.MultiIndex.from_frame(table.loc[table["kind"] != OWN, ["prompt", "text"]].drop_duplicates())
    table = table[pd.MultiIndex.from_frame(table[["prompt", "text"]]).isin(held) & table["label"].isin(run.emotions)]
    return own_shift(table, pairs=pairs, rest=drawn).assign(measure="own")


@kept
def lexical_shifts(run: Run, part: Part) -> pd.DataFrame:
    """What each emotion's act does to every token of the test texts in any sentence; see
    `emolib.steering.shift_parts.lexicon`.

    The contexts are the neutral texts of the training scenarios that the adjustment is fitted on.
    """
    shard = emotion_shard(run, part, "training")
    rows = shard.rows
    rows = rows[rows["label"] == run.params.neutral].reset_index(drop=True)
    words = emotion_shard(run, part).rows["words"].unique().tolist()
    token_ids = sorted({token for text in continuations(run.lm, words) for token in text.ids[1:]})

    def compute() -> pd.DataFrame:
        found = context_shift(run.lm, *shard.given(rows), token_ids, batch_size=shard.batch_size)
        return lexicon(rows, token_ids, found).astype({"layer": int, "token_id": int})

    matched = {**shard.matched(), "token_ids": store.digest(token_ids)}
    return kept_alone(run, part, "test_lexicon", matched, compute, len(rows))


def kept_alone(
    run: Run, part: Part, name: str, matched: Mapping[str, Any], compute: Callable[[], pd.DataFrame], n_rows: int
) -> pd.DataFrame:
    """An artifact that is a stretch of its own for the progress."""
    path = run.paths.shift(part.file(name))
    run.progress.begin(f"shift/{name}", n_rows)
    table = run.artifacts.table(path, matched, compute)
    run.progress.advance(n_rows, shard=name, computed=path in run.artifacts.computed)
    return table


# claims


@kept
def conditions(run: Run) -> pd.DataFrame:
    """See `emolib.steering.claims.shift_conditions`."""
    return in_style_order(shift_conditions(specific_cells(run)))


@kept
def ranks(run: Run) -> pd.DataFrame:
    """See `emolib.steering.claims.shift_ranks`."""
    return in_style_order(shift_ranks(mean_contrasts(test_shifts(run), run.emotions)))


def claims(
    run: Run,
    instruments: pd.DataFrame | None = None,
    gold: pd.DataFrame | None = None,
    further: Further | None = None,
) -> pd.DataFrame:
    """See `emolib.steering.claims.shift_claims`."""
    given = {"instruments": instruments, "gold": gold, "further": further}
    return rule.shift_claims(conditions(run), ranks(run), **given)


# doses


@kept
def shift_doses(run: Run) -> pd.DataFrame:
    """S of the test texts at every strength, and the KL that the strength reaches. Nothing is chosen from it.

    Returns:
        style, emotion, alpha, the columns of `emolib.steering.specific_shift.MEAN_COLUMNS` (S against the mean of the
        other emotions, texts after one prompt each), kl (nat, mean over parts).
    """
    cells = specific_shift(dose_shifts(run).drop(columns="part"))
    own = cells.groupby([*CELL, "alpha", "emotion"], sort=False)["specific"].mean().reset_index()
    own = own[own.groupby("style")["text"].transform("nunique") >= 2]
    means = in_style_order(crossed_means(own, ["style", "emotion", "alpha"]))
    kl = pd.concat([dose_kl(run, part) for part in parts(run)]).groupby(["emotion", "alpha"])["kl"].mean()
    return means.join(kl, on=["emotion", "alpha"])


@kept
def dose_kl(run: Run, part: Part) -> pd.DataFrame:
    """How far every strength moves the next token along unpatched continuations of validation prompts.

    Returns:
        emotion, alpha, kl (mean KL(unpatched ‖ patched) over the prompts, nat).
    """
    texts = kl_texts(run, part)
    cells = [*emotion_shard(run, part).cells, *dose_cells(run, part)]
    matched = {
        "prompts": store.digest([[prompt for prompt, _ in texts], [ids for _, ids in texts]]),
        "cells": [cell.described() for cell in cells],
        "acts": fingerprint_of_cells(cells),
    }

    def compute() -> pd.DataFrame:
        given = [(prompt, ids, cell.act) for cell in cells for prompt, ids in texts]
        found = next_token_kl(run.lm, *([*column] for column in zip(*given, strict=True)))
        named = [(cell.emotion, cell.alpha) for cell in cells for _ in texts]
        rows = pd.DataFrame(named, columns=["emotion", "alpha"]).assign(kl=found)
        return rows.groupby(["emotion", "alpha"], sort=False)["kl"].mean().reset_index()

    return kept_alone(run, part, "dose_kl", matched, compute, len(cells) * len(texts))


@kept
def kl_texts(run: Run, part: Part) -> list[tuple[str, tuple[int, ...]]]:
    """The first validation prompts, in the run's format, and the token ids of their unpatched continuations."""
    sweep = validation_sweep(run)
    written = sweep[(sweep["part"] == part.name) & (sweep["kind"] == "baseline") & (sweep["sample"] == 0)]
    neutral = run.data[run.data["emotion"] == run.params.neutral].set_index("scenario")["text"]
    template, tokenizer = template_of(run), run.lm.tokenizer
    ids = [tuple(tokenizer(text, add_special_tokens=False).input_ids) for text in written["text"]]
    long = [i for i, tokens in enumerate(ids) if len(tokens) >= FEWEST][:N_KL_PROMPTS]
    return [(template.replace("{text}", neutral[written["scenario"].iloc[i]]), ids[i]) for i in long]


def save(run: Run) -> None:
    """S, its conditions, ranks and doses as artifacts beside their shards."""
    tables = {"specific": specific_cells(run), "conditions": conditions(run), "ranks": ranks(run)}
    tables["doses"] = shift_doses(run)
    paths = {run.paths.shift(name): table for name, table in tables.items()}
    shards = {path: sha for path, sha in run.artifacts.made.items() if "_shift_" in path.name and path not in paths}
    corpus = [counted_texts(run, part) for part in parts(run)]
    matched = {"shards": sorted(shards.values()), "counted": store.digest(corpus)}
    for path, table in paths.items():
        run.artifacts.table(path, matched, lambda table=table: table)
