"""Contexts that must fail: what stands in for an emotion's context and is not that emotion.

Denied emotion and mention without feeling (`data.pairs`) stand in for every label's context at once: S of two labels is
one number, whichever of them moves it, so that a stand-in for one of them beside the other's real context would be
credited with what the other does. An emotion of like valence stands in for one emotion alone, beside its own context.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from emolib.base import arguments
from emolib.base.errors import UserError
from emolib.steering.gold import CONTEXT_COLUMNS, gold_contexts, texts_by_label
from emolib.steering.shift_tables import check_columns
from emolib.steering.third_scenarios import Wording, third_scenarios

LIKE_VALENT: Mapping[str, tuple[str, str]] = {
    "gratitude": ("joy", "admiration"),
    "anger": ("sadness", "fear"),
    "apology": ("sadness", "embarrassment"),
}
# kind of a pair → the role that stands in, and what it is held against (None: the third scenario's neutral text)
PAIR_ROLES: Mapping[str, tuple[str, str | None]] = {"denied": ("denied", None), "lexical": ("with", "without")}


@dataclass(frozen=True)
class StandIns:
    """Contexts that stand in for the emotions' own.

    Attributes:
        contexts: `gold.CONTEXT_COLUMNS`.
        left_out: prompt, text, style of the cells that have none.
    """

    contexts: pd.DataFrame
    left_out: pd.DataFrame


def pair_contexts(
    cells: pd.DataFrame,
    data: pd.DataFrame,
    pairs: pd.DataFrame,
    labels: Sequence[str],
    *,
    kind: str,
    neutral: str = "neutral",
    seed: int = 0,
) -> StandIns:
    """Denied emotion, or mention without feeling, in place of every label's context.

    A pair of texts is taken of which neither shares a content word or three words in a row with any text of the
    continuation's scenario; of these the one that fewest cells have.

    Args:
        cells: prompt, text, style, third, as `third_scenarios` gives them.
        data: columns scenario, emotion, text.
        pairs: as `emolib.data.pairs.load_lexical` gives them.
        labels: those that have pairs.
        kind: `denied` (held against the third scenario's neutral text) or `lexical` (against the same sentence with
            another word).
        seed: of the order in which equals are taken.

    Raises:
        UserError: missing columns, another kind, a label without pairs of the kind.
    """
    check_columns(cells, ["prompt", "text", "style", "third"], "cells")
    check_columns(pairs, ["pair", "emotion", "kind", "role", "text"], "pairs")
    arguments.one_of("kind", kind, PAIR_ROLES)
    role, against = PAIR_ROLES[kind]
    wording = {name: Wording.of(part["text"]) for name, part in data.groupby("scenario")}
    text_of = texts_by_label(data)
    parts, without = [], np.zeros(len(cells), bool)
    for label in labels:
        some = pairs[(pairs["kind"] == kind) & (pairs["emotion"] == label)]
        if some.empty:
            raise UserError(f"expected pairs of the kind {kind} for the label {label}, there are none")
        wide = some.pivot(index="pair", columns="role", values="text")
        wide = wide.iloc[np.random.default_rng(seed).permutation(len(wide))]
        chosen = _spread(cells["text"].tolist(), wide, wording)
        without |= np.array([one is None for one in chosen])
        found = wide.reindex(chosen).reset_index(drop=True)
        neutral_texts = [text_of.get((third, neutral), "") for third in cells["third"]]
        reference = neutral_texts if against is None else found[against].tolist()
        part = cells[["prompt", "text", "style", "third"]].reset_index(drop=True)
        parts.append(part.assign(act=label, context=found[role].tolist(), reference=reference)[~without])
    contexts = pd.concat(parts, ignore_index=True)
    left_out = cells.loc[without, ["prompt", "text", "style"]].reset_index(drop=True)
    return StandIns(_without(contexts, left_out), left_out)


def like_valent_contexts(
    cells: pd.DataFrame,
    data: pd.DataFrame,
    labels: Sequence[str],
    emotion: str,
    like: str,
    *,
    pool: Collection[str],
    neutral: str = "neutral",
    seed: int = 1,
) -> StandIns:
    """Every label's own context, and in place of one emotion's that of an emotion of like valence.

    The stand-in comes from a fourth scenario: from the third one it would be the like emotion's own context, and S
    against that emotion exactly 0.

    Args:
        cells: prompt, text, style, third, as `third_scenarios` gives them.
        labels: those that are compared; the emotion and the like one among them.
        emotion: whose context is replaced.
        like: whose text stands there.
        pool, seed: as of `third_scenarios`.

    Raises:
        UserError: as `third_scenarios` and `gold_contexts`, a label that is not compared.
    """
    for label in (emotion, like):
        arguments.one_of("label", label, labels)
    fourth = third_scenarios(cells, data, labels, pool=pool, neutral=neutral, seed=seed)
    own = gold_contexts(cells, data, [label for label in labels if label != emotion], neutral=neutral)
    instead = gold_contexts(fourth.cells, data, [like], neutral=neutral).assign(act=emotion)
    instead = instead.drop(columns="third").merge(cells[["prompt", "text", "third"]], on=["prompt", "text"])
    contexts = pd.concat([own, instead], ignore_index=True)
    return StandIns(_without(contexts, fourth.left_out), fourth.left_out)


def _spread(texts: Sequence[str], wide: pd.DataFrame, wording: Mapping[str, Wording]) -> list[str | None]:
    """For every cell's text a pair that shares no wording with it, as evenly as can be."""
    of_pair = {name: Wording.of(both) for name, both in zip(wide.index, wide.to_numpy().tolist(), strict=True)}
    fitting = {
        text: [name for name, theirs in of_pair.items() if not theirs.meets(wording[text])] for text in set(texts)
    }
    used: Counter[str] = Counter()
    chosen: list[str | None] = []
    for text in texts:
        # min keeps the first of equals, so the order is that of the rows
        name = min(fitting[text], key=lambda one: used[one], default=None)
        chosen.append(name)
        if name is not None:
            used[name] += 1
    return chosen


def _without(contexts: pd.DataFrame, cells: pd.DataFrame) -> pd.DataFrame:
    """The contexts of all other cells."""
    out = set(zip(cells["prompt"], cells["text"], strict=True))
    kept = [key not in out for key in zip(contexts["prompt"], contexts["text"], strict=True)]
    return contexts.loc[kept, CONTEXT_COLUMNS].reset_index(drop=True)
