"""Head patching by given texts: how much of a context's effect heads take along, on the log-probability scale.

m is the mean token log-probability of an emotion's text minus that of the neutral text of the same scenario, after a
prompt. The effect of a context is m after the emotional context minus m after the neutral one (`ContextCells`); a patch
changes m in one of these runs, and its Δ is told as a share of that effect (`emolib.circuits.head_effects`). m after a
neutral prompt alone is never explained: there is no emotion to mediate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from emolib.base.errors import UserError, shown
from emolib.circuits.context_cells import ContextCells
from emolib.circuits.head_conditions import HeadCondition, shared_window
from emolib.engine.continuation import continuation_shift
from emolib.engine.continuation_tokens import continuations
from emolib.interventions import Act, Head, HeadActivations, mean_head_output, record_heads
from emolib.models.language_model import LanguageModel
from emolib.models.tokens import encode

CONDITION = ["heads", "mode", "target", "source", "extent"]
CELL = ["text", "style", "prompt", "third", "emotion"]
Batch = int | Literal["auto"]
RECORDED_AT_ONCE = 32  # sources


@dataclass(frozen=True)
class Trials:
    """What was measured, cell by cell.

    Attributes:
        context: `CELL`, m_neutral and m_emotional (unpatched, nat per token), effect (their difference).
        patched: `CONDITION`, `CELL`, m_unpatched, m_patched (of the target), delta (their difference).
    """

    context: pd.DataFrame
    patched: pd.DataFrame


def head_trials(
    lm: LanguageModel,
    cells: ContextCells,
    conditions: Sequence[HeadCondition],
    *,
    in_turn: bool = False,
    batch_size: Batch = "auto",
) -> Trials:
    """m of every cell and emotion under every condition.

    Args:
        in_turn: takes one emotion per cell, the emotions in turn, in place of all; a third of the rows.
        batch_size: rows at once.

    Raises:
        UserError: no condition; a head that the model does not have; as `emolib.continuation_shift`.

    >>> import emolib
    >>> from emolib.circuits.context_cells import context_cells
    >>> lm, data = emolib.load_model("smollm2_135m", device="cpu"), emolib.load_dataset()
    >>> names = {split: list(part["scenario"].unique()) for split, part in data.groupby("split")}
    >>> cells = context_cells(data, names["test"][:2], names["validation"])
    >>> own = HeadCondition(((12, 3),), "result", "neutral", "same")
    >>> found = head_trials(lm, cells, [own], in_turn=True)
    >>> len(found.patched), bool((found.patched["delta"] != 0).all())
    (2, True)
    """
    if not conditions:
        raise UserError("expected at least one condition of heads, got none")
    turns = [[cells.emotions[cell % len(cells.emotions)]] if in_turn else cells.emotions for cell in range(len(cells))]
    given = _Given.of(lm, cells, conditions, turns, batch_size)
    rows = _Rows()
    for cell, some in enumerate(turns):
        for emotion in some:
            place = {**cells.table.iloc[cell][["text", "style", "prompt", "third"]], "emotion": emotion}
            words = cells.words(cell, emotion), cells.words(cell, cells.neutral)
            targets = {
                name: cells.prompt(cell, "third", label)
                for name, label in (("neutral", cells.neutral), ("emotional", emotion))
            }
            for name, prompt in targets.items():
                rows.add({**place, "heads": "", "target": name}, prompt, words, [None, None])
            for condition in conditions:
                target = targets[condition.target]
                acts = [given.acts(condition, cell, emotion, target, text) for text in words]
                rows.add({**place, **described(condition)}, target, words, acts)
    shifts = continuation_shift(lm, rows.prompts, rows.words, rows.acts, batch_size=batch_size)
    return _trials(pd.DataFrame(rows.places), shifts)


def described(condition: HeadCondition) -> dict[str, str]:
    """A condition as the columns `CONDITION`."""
    return {
        "heads": condition.name,
        "mode": condition.mode,
        "target": condition.target,
        "source": condition.source,
        "extent": condition.extent,
    }


class _Rows:
    """Pairs of rows: the emotion's text and the neutral one, after one prompt under one act."""

    def __init__(self) -> None:
        self.places: list[dict[str, object]] = []
        self.prompts: list[str] = []
        self.words: list[str] = []
        self.acts: list[tuple[Act, ...] | None] = []

    def add(self, place: dict, prompt: str, words: tuple[str, str], acts: Sequence[tuple[Act, ...] | None]) -> None:
        self.places.append(place)
        self.prompts += [prompt] * 2
        self.words += words
        self.acts += acts


@dataclass(frozen=True)
class _Given:
    """What the acts are made of: sources with the text behind them, the prompts' lengths, and heads' means."""

    cells: ContextCells
    records: dict[tuple[str, str], HeadActivations]
    lengths: dict[str, int]
    means: dict[Head, np.ndarray]

    @classmethod
    def of(
        cls,
        lm: LanguageModel,
        cells: ContextCells,
        conditions: Sequence[HeadCondition],
        emotions: Sequence[Sequence[str]],
        batch_size: Batch,
    ) -> _Given:
        """Args: emotions: per cell those that are looked at."""
        heads = list(dict.fromkeys(head for condition in conditions for head in condition.heads))
        wanted: dict[tuple[str, str], None] = {}
        prompts: dict[str, None] = {}
        for cell, some in enumerate(emotions):
            for emotion in some:
                named = dict.fromkeys(condition.source_of(cells, emotion) for condition in conditions)
                sources = [cells.prompt(cell, *source) for source in named if source is not None]
                words = cells.words(cell, emotion), cells.words(cell, cells.neutral)
                wanted |= dict.fromkeys((prompt, text) for prompt in sources for text in words)
                targets = (cells.prompt(cell, "third", label) for label in (cells.neutral, emotion))
                prompts |= dict.fromkeys((*targets, *sources, cells.bare_prompt(cell)))
        if any(condition.mode == "mean" for condition in conditions):
            neutral = [
                (cells.prompt(cell, "third", cells.neutral), cells.words(cell, cells.neutral))
                for cell in range(len(cells))
            ]
            wanted |= dict.fromkeys(neutral)
            prompts |= dict.fromkeys(prompt for prompt, _ in neutral)
        else:
            neutral = []
        at_once = RECORDED_AT_ONCE if batch_size == "auto" else min(batch_size, RECORDED_AT_ONCE)
        found = record_heads(lm, [f"{prompt} {text}" for prompt, text in wanted], heads, batch_size=at_once)
        ids = dict(zip(prompts, encode(lm, list(prompts), name="prompts"), strict=True))
        records = dict(zip(wanted, found, strict=True))
        _check_joined(lm, ids, records)
        of_neutral = [records[key] for key in dict.fromkeys(neutral)]
        means = {head: mean_head_output(of_neutral, *head) for head in heads} if of_neutral else {}
        return cls(cells, records, {prompt: len(tokens) for prompt, tokens in ids.items()}, means)

    def acts(self, condition: HeadCondition, cell: int, emotion: str, target: str, text: str) -> tuple[Act, ...]:
        source = condition.source_of(self.cells, emotion)
        if source is None:
            return condition.acts(None, 0, 0, self.means)
        prompt = self.cells.prompt(cell, *source)
        window = shared_window(self.lengths, self.lengths[self.cells.bare_prompt(cell)], target, prompt)
        return condition.acts(self.records[prompt, text], self.lengths[prompt], window, self.means)


def _check_joined(
    lm: LanguageModel, ids: dict[str, list[int]], records: dict[tuple[str, str], HeadActivations]
) -> None:
    """Raises `UserError` where a prompt and its text are other tokens together than apart: nothing could be matched."""
    followed = continuations(lm, [text for _, text in records])
    for (prompt, _), record, after in zip(records, records.values(), followed, strict=True):
        apart = (*ids[prompt], *after.ids)
        if record.prompt_ids[: len(apart)] != apart:
            raise UserError(
                "expected a tokenizer that splits a prompt and its text alike together and apart, it does not for "
                f"{shown(record.prompt)}; heads cannot be matched token by token"
            )


def _trials(places: pd.DataFrame, shifts: pd.DataFrame) -> Trials:
    """m from each pair of rows."""
    under, before = (shifts[name].to_numpy().reshape(-1, 2) for name in ("logprob", "logprob_unpatched"))
    table = places.assign(m_unpatched=before[:, 0] - before[:, 1], m_patched=under[:, 0] - under[:, 1])
    table["delta"] = table["m_patched"] - table["m_unpatched"]
    bare = table["heads"] == ""
    wide = table[bare].set_index([*CELL, "target"])["m_unpatched"].unstack("target").reset_index()
    context = wide.rename(columns={"neutral": "m_neutral", "emotional": "m_emotional"}).rename_axis(columns=None)
    context["effect"] = context["m_emotional"] - context["m_neutral"]
    columns = [*CONDITION, *CELL, "m_unpatched", "m_patched", "delta"]
    return Trials(context, table.loc[~bare, columns].reset_index(drop=True))
