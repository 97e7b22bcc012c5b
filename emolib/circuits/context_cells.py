"""Which context stands before which text: the cells in which heads are patched.

There is no emotion to mediate after a neutral prompt. So the prompt ends with a context, an emotional text of a third
scenario or that scenario's neutral one (gold (a) of `emolib.steering.gold`), and what a head carries of it is how much
of the *context's* effect on m it takes along. Sources from two further scenarios tell the emotion from the scenario.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from emolib.base import arguments
from emolib.base.errors import UserError
from emolib.steering.gold import joined, texts_by_label
from emolib.steering.third_scenarios import third_scenarios

ROLES = ("prompt", "third", "fourth", "fifth")  # of a scenario beside the text's own
CELL_COLUMNS = ["text", "style", *ROLES]


@dataclass(frozen=True)
class ContextCells:
    """Cells and the texts that stand in them.

    Attributes:
        table: `CELL_COLUMNS`, scenarios: of the text that follows, its style, of the neutral prompt, of the context,
            and of two further contexts; those of the contexts share no content word with the text.
        emotions: the labels whose texts are contexts and continuations.
        text_of: (scenario, label) → text.
        neutral: the neutral label.
    """

    table: pd.DataFrame
    emotions: tuple[str, ...]
    text_of: dict[tuple[str, str], str]
    neutral: str = "neutral"

    def prompt(self, cell: int, role: str, label: str) -> str:
        """The cell's neutral prompt with a context behind it: the text of this label in the scenario of that role."""
        row = self.table.iloc[cell]
        return joined(self.text_of[row["prompt"], self.neutral], self.text_of[row[role], label], "a")

    def bare_prompt(self, cell: int) -> str:
        """The cell's neutral prompt alone."""
        return self.text_of[self.table.iloc[cell]["prompt"], self.neutral]

    def words(self, cell: int, label: str) -> str:
        """The text that follows."""
        return self.text_of[self.table.iloc[cell]["text"], label]

    def other(self, emotion: str) -> str:
        """Another emotion: the next one in order; with a single emotion itself."""
        return self.emotions[(self.emotions.index(emotion) + 1) % len(self.emotions)]

    def __len__(self) -> int:
        return len(self.table)


def context_cells(
    data: pd.DataFrame,
    texts: Collection[str],
    pool: Collection[str],
    *,
    neutral: str = "neutral",
    seed: int = 0,
) -> ContextCells:
    """One cell per text's scenario; prompts and the three contexts come from four parts of a pool.

    Args:
        data: columns scenario, emotion, style, text; scenarios that lack a label are none.
        texts: scenarios whose texts follow.
        pool: scenarios of prompts and contexts, none of them in `texts`; at least four.
        seed: of how the pool is divided.

    Raises:
        UserError: missing columns, no emotion, pools that overlap or are too small, no text that shares no wording
            with some context.

    >>> from emolib import load_dataset
    >>> data = load_dataset()
    >>> names = {split: list(part["scenario"].unique()) for split, part in data.groupby("split")}
    >>> cells = context_cells(data, names["test"][:3], names["validation"])
    >>> len(cells), cells.emotions, cells.table[["prompt", "third", "fourth", "fifth"]].nunique(axis=1).tolist()
    (3, ('gratitude', 'anger', 'apology'), [4, 4, 4])
    """
    labels = list(dict.fromkeys(data["emotion"]))
    emotions = tuple(label for label in labels if label != neutral)
    whole = data.groupby("scenario")["emotion"].transform("nunique") == len(labels)
    held = set(data.loc[whole, "scenario"])
    texts = [name for name in dict.fromkeys(arguments.texts(texts, "texts")) if name in held]
    pool = sorted(set(arguments.texts(pool, "pool")) & held)
    both = set(texts) & set(pool)
    if not emotions or not texts or len(pool) < len(ROLES) or both:
        raise UserError(
            f"expected an emotion, texts, and a pool of at least {len(ROLES)} other scenarios that have every label, "
            f"got {len(emotions)} emotions, {len(texts)} texts, a pool of {len(pool)}, {len(both)} scenarios in both"
        )
    order = np.random.default_rng(seed).permutation(len(pool))
    parts = {role: [pool[i] for i in order[start :: len(ROLES)]] for start, role in enumerate(ROLES)}
    table = pd.DataFrame(
        {"text": texts, "prompt": [parts["prompt"][i % len(parts["prompt"])] for i in range(len(texts))]}
    )
    for role in ROLES[1:]:
        found = third_scenarios(
            table[["prompt", "text"]], data, emotions, pool=parts[role], neutral=neutral, seed=seed
        ).cells[["prompt", "text", "style", "third"]]
        known = table if role == ROLES[1] else table.drop(columns="style")
        table = known.merge(found.rename(columns={"third": role}), on=["prompt", "text"], how="inner")
    if table.empty:
        raise UserError(
            "expected texts with contexts that share no wording with them, got none; give more scenarios, or run the "
            "other phases alone (--phase)"
        )
    return ContextCells(table[CELL_COLUMNS], emotions, texts_by_label(data[whole]), neutral)


def context_tokens(whole: Sequence[int], bare: Sequence[int]) -> int:
    """Tokens of a context, from those of the prompt with it and without it; at least one.

    >>> context_tokens([1, 2, 3, 4, 5], [1, 2])
    3
    """
    return max(1, len(whole) - len(bare))
