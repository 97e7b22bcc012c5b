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

from emolib.base.errors import UserError
from emolib.circuits.context_cells import ContextCells
from emolib.circuits.head_conditions import HeadCondition, shared_window
from emolib.engine.continuation import continuation_shift
from emolib.interventions import Act, Head, HeadActivations, mean_head_output, record_heads
from emolib.models.language_model import LanguageModel
from emolib.models.tokens import encode

CONDITION = ["heads", "mode", "target", "source", "extent"]
CELL = ["text", "style", "prompt", "third", "emotion"]
Batch = int | Literal["auto"]


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
    given = _Given.of(lm, cells, conditions, batch_size)
    rows = _Rows()
    for cell in range(len(cells)):
        emotions = [cells.emotions[cell % len(cells.emotions)]] if in_turn else cells.emotions
        for emotion in emotions:
            place = {**cells.table.iloc[cell][["text", "style", "prompt", "third"]], "emotion": emotion}
            words = cells.words(cell, emotion), cells.words(cell, cells.neutral)
            targets = {
                name: cells.prompt(cell, "third", label)
                for name, label in (("neutral", cells.neutral), ("emotional", emotion))
            }
            for name, prompt in targets.items():
                rows.add({**place, "heads": "", "target": name}, prompt, words, None)
            for condition in conditions:
                acts = given.acts(condition, cell, emotion, targets[condition.target])
                rows.add({**place, **described(condition)}, targets[condition.target], words, acts)
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

    def add(self, place: dict, prompt: str, words: tuple[str, str], acts: tuple[Act, ...] | None) -> None:
        self.places.append(place)
        self.prompts += [prompt] * 2
        self.words += words
        self.acts += [acts] * 2


@dataclass(frozen=True)
class _Given:
    """What the acts are made of: recorded sources, their lengths, and heads' means."""

    cells: ContextCells
    records: dict[str, HeadActivations]
    lengths: dict[str, int]
    means: dict[Head, np.ndarray]

    @classmethod
    def of(
        cls, lm: LanguageModel, cells: ContextCells, conditions: Sequence[HeadCondition], batch_size: Batch
    ) -> _Given:
        heads = list(dict.fromkeys(head for condition in conditions for head in condition.heads))
        numbers, wanted = range(len(cells)), dict[str, None]()
        for condition in conditions:
            for emotion in cells.emotions:
                source = condition.source_of(cells, emotion)
                wanted |= dict.fromkeys(cells.prompt(cell, *source) for cell in numbers) if source else {}
        neutral = [cells.prompt(cell, "third", cells.neutral) for cell in numbers]
        means = any(condition.mode == "mean" for condition in conditions)
        sources = [*wanted, *(prompt for prompt in neutral if means and prompt not in wanted)]
        at_once = 32 if batch_size == "auto" else min(batch_size, 32)
        records = dict(zip(sources, record_heads(lm, sources, heads, batch_size=at_once), strict=True))
        emotional = [cells.prompt(cell, "third", emotion) for cell in numbers for emotion in cells.emotions]
        prompts = list(dict.fromkeys([*sources, *neutral, *emotional, *(cells.bare_prompt(cell) for cell in numbers)]))
        lengths = dict(zip(prompts, map(len, encode(lm, prompts, name="prompts")), strict=True))
        of_neutral = [records[prompt] for prompt in dict.fromkeys(neutral)] if means else []
        return cls(
            cells, records, lengths, {head: mean_head_output(of_neutral, *head) for head in heads} if means else {}
        )

    def acts(self, condition: HeadCondition, cell: int, emotion: str, target: str) -> tuple[Act, ...]:
        source = condition.source_of(self.cells, emotion)
        if source is None:
            return condition.acts(None, 0, self.means)
        prompt = self.cells.prompt(cell, *source)
        window = shared_window(self.lengths, self.lengths[self.cells.bare_prompt(cell)], target, prompt)
        return condition.acts(self.records[prompt], window, self.means)


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
