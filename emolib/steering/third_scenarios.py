"""A third scenario for every cell of a prompt's and a text's: what stands there shares no content word with the text.

A context that repeats the continuation's words raises its log-probability by being copied, whatever it feels. So the
texts of the third scenario share no content word (any word part that is not one of `readout.leaks.FUNCTION_WORDS`) and
no three words in a row with any text of the continuation's scenario.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from emolib.base import arguments
from emolib.base.errors import UserError, shown
from emolib.readout.leaks import FUNCTION_WORDS
from emolib.readout.surface import word_parts
from emolib.steering.shift_tables import check_columns

_FUNCTION = frozenset(FUNCTION_WORDS)
THIRD_COLUMNS = ["prompt", "text", "style", "third", "same_style"]


@dataclass(frozen=True)
class Wording:
    """What texts share with others where they share any of it.

    Attributes:
        words: content words, in lower case.
        triples: three words in a row, in lower case.
    """

    words: frozenset[str]
    triples: frozenset[tuple[str, str, str]]

    @classmethod
    def of(cls, texts: Iterable[str]) -> Wording:
        """The wording of some texts together.

        >>> sorted(Wording.of(["We're at the old mill."]).words)
        ['mill', 'old']
        """
        parts = [word_parts(text) for text in arguments.texts(texts)]
        words = frozenset(word for some in parts for word in some if word not in _FUNCTION)
        return cls(words, frozenset(three for some in parts for three in zip(some, some[1:], some[2:], strict=False)))

    def meets(self, other: Wording) -> bool:
        """Whether there is a content word or three words in a row that both have."""
        return bool(self.words & other.words or self.triples & other.triples)


@dataclass(frozen=True)
class ThirdChoice:
    """The cells that have a third scenario, and those that have none.

    Attributes:
        cells: `THIRD_COLUMNS`; `same_style` says whether the third scenario is of the text's style.
        left_out: prompt, text, style of the cells for which there is none.
        n_candidates: per text's scenario, how many scenarios of the pool share nothing with it.
    """

    cells: pd.DataFrame
    left_out: pd.DataFrame
    n_candidates: dict[str, int]

    @property
    def share_left_out(self) -> float:
        """Of all cells."""
        return len(self.left_out) / (len(self.cells) + len(self.left_out))


def third_scenarios(
    cells: pd.DataFrame,
    data: pd.DataFrame,
    labels: Sequence[str],
    *,
    pool: Collection[str],
    neutral: str = "neutral",
    seed: int = 0,
) -> ThirdChoice:
    """For every cell a scenario that is neither the prompt's nor the text's and shares no wording with the text's.

    Its texts of all labels that are compared, and its neutral one, are held against all texts of the continuation's
    scenario. One of the text's own style is taken before others; then one that this text has not met, and that few
    cells have. Which of equals is taken follows from the seed and the cells alone.

    Args:
        cells: columns prompt and text, names of scenarios, as `shift_tables.crossed_cells` gives them; where they have
            a `third` already, another one is chosen.
        data: columns scenario, emotion, style, text.
        labels: those that are compared.
        pool: scenarios from which the third ones come (of one split); those that lack a label are none.
        seed: of the order in which equals are taken.

    Raises:
        UserError: missing columns, a cell's scenario that the data lack, a pool without a scenario that has every
            label.

    >>> from emolib import load_dataset
    >>> data = load_dataset().query("split == 'validation'")
    >>> pool = data["scenario"].unique()
    >>> cells = pd.DataFrame({"prompt": [pool[0]], "text": [pool[1]]})
    >>> found = third_scenarios(cells, data, ["gratitude", "anger"], pool=pool)
    >>> len(found.cells), found.cells["third"][0] in {pool[0], pool[1]}
    (1, False)
    """
    check_columns(cells, ["prompt", "text"], "cells")
    check_columns(data, ["scenario", "emotion", "style", "text"], "data")
    style_of = data.drop_duplicates("scenario").set_index("scenario")["style"].to_dict()
    unknown = sorted((set(cells["text"]) | set(cells["prompt"])) - set(style_of))
    if unknown:
        raise UserError(f"expected texts of every scenario in cells, {shown(unknown[0])} has none in the data")
    thirds = _whole_scenarios(data, [*labels, neutral], pool)
    order = {name: place for place, name in enumerate(np.random.default_rng(seed).permutation(sorted(thirds)))}
    held = data[data["scenario"].isin(set(cells["text"]))]
    wording = {name: Wording.of(part["text"]) for name, part in held.groupby("scenario")}
    fitting = {
        text: [name for name in order if name != text and not thirds[name].meets(mine)]
        for text, mine in wording.items()
    }
    used: Counter[str] = Counter()
    met: set[tuple[str, str]] = set()
    chosen: list[str | None] = []
    before = cells["third"] if "third" in cells else cells["prompt"]
    for prompt, text, taken in zip(cells["prompt"], cells["text"], before, strict=True):
        ranked = [
            (style_of[name] != style_of[text], (text, name) in met, used[name], order[name], name)
            for name in fitting[text]
            if name not in (prompt, taken)
        ]
        third = min(ranked)[-1] if ranked else None
        chosen.append(third)
        if third is not None:
            used[third] += 1
            met.add((text, third))
    table = cells[["prompt", "text"]].reset_index(drop=True).assign(third=pd.Series(chosen, dtype=object))
    table["style"] = table["text"].map(style_of)
    table["same_style"] = table["third"].map(style_of) == table["style"]
    without = table["third"].isna()
    return ThirdChoice(
        table.loc[~without, THIRD_COLUMNS].reset_index(drop=True),
        table.loc[without, ["prompt", "text", "style"]].reset_index(drop=True),
        {text: len(names) for text, names in fitting.items()},
    )


def _whole_scenarios(data: pd.DataFrame, labels: Sequence[str], pool: Collection[str]) -> dict[str, Wording]:
    """The wording of these labels' texts in every scenario of the pool that has them all."""
    wanted = set(arguments.texts(labels, "labels"))
    some = data[data["scenario"].isin(set(pool)) & data["emotion"].isin(wanted)]
    found = {
        str(name): Wording.of(part["text"]) for name, part in some.groupby("scenario") if set(part["emotion"]) == wanted
    }
    if not found:
        raise UserError(f"expected a pool of scenarios with texts of {', '.join(sorted(wanted))}, there are none")
    return found
