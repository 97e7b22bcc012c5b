"""Placebos for S: pairs of texts under the emotions' acts, and directions that hold no emotion on the emotions' texts.

Both are read at the layer and strength that S has chosen on validation texts, by the measures that claims rest on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import permutations

import pandas as pd

from emolib.base import store
from emolib.data.pairs import load_placebo
from emolib.data.styles import EVERY
from emolib.engine.continuation import context_shift
from emolib.engine.continuation_tokens import continuations
from emolib.steering.cells import Cell, steer_cell
from emolib.steering.cross_fitted import can_cross_fit, cross_fitted_shifts
from emolib.steering.placebos import placebo_act_passes, placebo_text_passes, placebo_text_rows
from emolib.steering.shift_parts import adjusted_shifts, lexical_and_contextual, lexicon, token_table
from emolib.steering.shift_tables import crossed_cells
from emolib.study.phase5_steering.instrument_design import (
    FEWEST_TEXTS,
    english,
    few,
    first_part,
    lexicon_design,
    scaled,
    validation_design,
)
from emolib.study.phase5_steering.instrument_directions import placebo_vectors
from emolib.study.phase5_steering.instrument_gold import kept_shard
from emolib.study.phase5_steering.shift_design import ShiftDesign, balanced_shape, counted_texts
from emolib.study.phase5_steering.shift_sweeps import ShiftShard, emotion_shard, emotion_tokens, shift_points
from emolib.study.phase5_steering.sweep_settings import settings
from emolib.study.run import Run, kept

N_PAIRS, FEWEST_PAIRS = 16, 4  # of each kind that are read: two in each half
N_ACTS = 204  # placebos per style of directions, drawn from those that are read; at least 200, as many per emotion
PLACEBO = "placebo"  # kind of their cells
PLACEBO_COLUMNS = ["measure", "style", "instrument", "emotion", "stand_in", "number", "passed"]


@dataclass(frozen=True)
class InstrumentShard(ShiftShard):
    """Acts on a design that is read for the instruments alone."""

    def _kept(self, compute: Callable[[], pd.DataFrame]) -> pd.DataFrame:
        return kept_shard(self.run, self.name, self.matched(), compute, self.n_rows)

    def lexical(self, words: Sequence[str]) -> pd.DataFrame:
        """What every act does to each token of these texts at any place of the design's own, neutral ones."""
        token_ids = sorted({token for text in continuations(self.run.lm, list(words)) for token in text.ids[1:]})

        def compute() -> pd.DataFrame:
            rows = self.rows
            found = context_shift(self.run.lm, *self.given(rows), token_ids, batch_size=self.batch_size)
            return lexicon(rows, token_ids, found).astype({"layer": int, "token_id": int})

        matched = {**self.matched(), "token_ids": store.digest(token_ids)}
        return kept_shard(self.run, self.name, matched, compute, self.n_rows)


def others(run: Run) -> dict[str, list[str]]:
    """Per emotion the other ones."""
    return {emotion: [other for other in run.emotions if other != emotion] for emotion in run.emotions}


# texts


@kept
def text_placebos(run: Run) -> pd.DataFrame:
    """Whether the emotions' acts pass on pairs of texts that differ in no emotion.

    Returns:
        `PLACEBO_COLUMNS`, a row per placebo, its style `all`; empty in another language than English.
    """
    if not english(run):
        return pd.DataFrame(columns=PLACEBO_COLUMNS)
    part = first_part(run)
    own = emotion_shard(run, part, "training")
    shard = InstrumentShard(run, part, "placebo_texts", placebo_design(run), ("a", "b"), own.cells)
    neutral = InstrumentShard(run, part, "placebo_texts_lexicon", lexicon_design(run), (run.params.neutral,), own.cells)
    read, corpus = shard.tokens(), counted_texts(run, part)
    tokens = token_table(shard.rows, read, corpus)
    training = token_table(own.rows, emotion_tokens(run, "training")[part.name], corpus)
    parts = lexical_and_contextual(tokens, neutral.lexical(shard.rows["words"].unique().tolist()))
    tables = {
        "raw": shard.shifts_of(read),
        "adjusted": adjusted_shifts(tokens, training, ("a", "b")),
        "contextual": parts.assign(shift=parts["contextual"]),
    }
    if len(run.emotions) > 2:
        tables["own"] = tables["raw"]
    found = []
    for measure, table in tables.items():
        flags = placebo_text_passes(table, others(run), own=measure == "own", seed=run.params.seed)
        flags = flags.assign(stand_in=flags["kind"] + " " + flags["direction"])
        found.append(flags.assign(measure=measure, style=EVERY, instrument="placebo_texts", number=range(len(flags))))
    return pd.concat(found, ignore_index=True)[PLACEBO_COLUMNS]


@kept
def placebo_design(run: Run) -> ShiftDesign:
    """Every kind's pairs after one prompt each, as the validation texts stand; the kind is the style."""
    texts, found = placebo_text_rows(load_placebo()), validation_design(run)
    pool = list(found.prompts)
    cells = []
    for number, (kind, names) in enumerate(texts.groupby("style", sort=False)["scenario"]):
        pairs = names.unique().tolist()[: scaled(run, N_PAIRS, FEWEST_PAIRS)]
        per_text, per_prompt = balanced_shape([len(pairs)], [len(pool)], 1)
        pairs = pairs[: len(pairs) - len(pairs) % max(1, per_prompt // per_text)]
        before, seed = pool[: len(pairs) * per_text // per_prompt], run.params.seed + number
        cells.append(crossed_cells(before, pairs, per_text=per_text, seed=seed).assign(style=kind))
    return ShiftDesign(pd.concat(cells, ignore_index=True), texts, found.prompts)


# acts


@kept
def act_placebos(run: Run) -> pd.DataFrame:
    """Whether directions that hold no emotion pass in place of the emotions' acts, on the emotions' validation texts.

    Returns:
        `PLACEBO_COLUMNS`, a row per placebo; empty where there are fewer directions than emotions.
    """
    cells = placebo_cells(run)
    if len(cells) < len(run.emotions):
        return pd.DataFrame(columns=PLACEBO_COLUMNS)
    part, neutral = first_part(run), run.params.neutral
    given = {"cells": tuple(cells)}
    whole = validation_design(run)
    some = replace(whole, cells=few(run, whole.cells, fewest=FEWEST_TEXTS))
    labels = run.emotions if len(run.emotions) > 2 else (*run.emotions, neutral)
    shard = InstrumentShard(run, part, "placebo_acts", some, labels, **given)
    plain = InstrumentShard(run, part, "placebo_acts_lexicon", lexicon_design(run), (neutral,), **given)
    read, corpus = shard.tokens(), counted_texts(run, part)
    tokens = token_table(shard.rows, read, corpus)
    parts = lexical_and_contextual(tokens, plain.lexical(shard.rows["words"].unique().tolist()))
    pairs = list(permutations(run.emotions, 2))
    tables = {
        "raw": dict.fromkeys(pairs, shard.shifts_of(read)),
        "contextual": dict.fromkeys(pairs, parts.assign(shift=parts["contextual"])),
    }
    if all(can_cross_fit(tokens, pair) for pair in pairs):
        tables["adjusted"] = {pair: cross_fitted_shifts(tokens, pair) for pair in pairs}
    if len(run.emotions) > 2:
        tables["own"] = tables["raw"]
    acts, found = shard.rows["act"].unique().tolist(), []
    for measure, by_pair in tables.items():
        flags = placebo_act_passes(by_pair, acts, others(run), n=N_ACTS, own=measure == "own", seed=run.params.seed)
        flags = flags.assign(measure=measure, instrument="placebo_acts", stand_in="")
        found.append(flags.rename(columns={"draw": "number"}))
    return pd.concat(found, ignore_index=True)[PLACEBO_COLUMNS]


@kept
def placebo_cells(run: Run) -> list[Cell]:
    """The steers with the directions of `placebo_vectors`; the number of each is its place there."""
    part, directions = first_part(run), placebo_vectors(run)
    point, given = shift_points(run)[part.name], settings(run, part)
    named = enumerate(directions)
    return [
        replace(steer_cell(PLACEBO, directions, name, point.layer, point.alpha, given), index=number)
        for number, name in named
    ]
