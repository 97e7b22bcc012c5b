"""The causal form of routing: what m loses when a head no longer reads an emotion's word.

`qk_routing` says where a head looks; whether it matters that it does is asked here, by cutting that one edge of
attention (`CutEdge`: the head reads nothing there) or by freezing it (it reads what it has at the same place in a text
with another content word), with everything else as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from emolib.base import arguments
from emolib.base.errors import UserError
from emolib.engine.continuation import continuation_shift
from emolib.interventions import CutEdge, HeadActivations, parse_heads, record_heads
from emolib.models.language_model import LanguageModel, checked_model

Head = tuple[int, int]


@dataclass(frozen=True)
class EdgeRow:
    """One log-probability that m is made of, and the word that is no longer read.

    Attributes:
        weight: of the text's mean log-probability in its scenario's m (1 for the emotion's, −1 for the neutral text).
        key: the word's token in the prompt, from 0.
        matched: the prompt with another content word of one token at `key`, whose value is read instead; None cuts.
    """

    scenario: str
    prompt: str
    text: str
    weight: float
    key: int
    matched: str | None = None


def edge_effects(lm: LanguageModel, rows: Sequence[EdgeRow], heads: str | Sequence[Head]) -> pd.DataFrame:
    """m with each head's edge to the word cut (or frozen), minus m as it is, and with those of all heads together.

    Returns:
        One row per head and scenario: layer, head, scenario, effect (nat per token); layer and head −1 for all
            together.

    Raises:
        UserError: no rows, rows of which only some are frozen, a head that there is not, a matched prompt of another
            number of tokens.

    >>> import emolib
    >>> lm = emolib.load_model("smollm2_135m", device="cpu")
    >>> rows = [EdgeRow("s1", "I am so grateful for it.", "Thank you for waiting.", 1.0, key=3)]
    >>> edge_effects(lm, rows, "3:5,7:2")[["layer", "head"]].to_numpy().tolist()
    [[3, 5], [7, 2], [-1, -1]]
    """
    checked_model(lm)
    wanted = parse_heads(heads)
    given = [arguments.instance("rows", row, EdgeRow, "EdgeRow") for row in rows]
    frozen = {row.matched is not None for row in given}
    if len(frozen) != 1:
        raise UserError("expected at least one row, and either all of them with a matched prompt or none")
    values = _matched_values(lm, given, wanted) if frozen == {True} else {}

    def cut(head: Head, row: EdgeRow) -> CutEdge:
        record = values.get(row.matched or "")
        return CutEdge(*head, key=row.key, value=None if record is None else record.values[head][row.key])

    groups = [(head,) for head in wanted] + [wanted]
    acts = [tuple(cut(head, row) for head in group) for group in groups for row in given]
    prompts, texts = [row.prompt for row in given], [row.text for row in given]
    shift = continuation_shift(lm, prompts * len(groups), texts * len(groups), acts)["shift"].to_numpy()
    by_row = shift.reshape(len(groups), len(given)) * np.array([row.weight for row in given])
    names = list(dict.fromkeys(row.scenario for row in given))
    found = [
        {"layer": layer, "head": head, "scenario": name, "effect": float(sum(effects[i] for i in members))}
        for (layer, head), effects in zip([*wanted, (-1, -1)], by_row, strict=True)
        for name in names
        for members in [[i for i, row in enumerate(given) if row.scenario == name]]
    ]
    return pd.DataFrame(found)


def _matched_values(lm: LanguageModel, rows: Sequence[EdgeRow], heads: Sequence[Head]) -> dict[str, HeadActivations]:
    """What the heads have in the matched prompts, whose tokens stand where those of the rows' prompts do."""
    matched = list(dict.fromkeys(row.matched for row in rows if row.matched is not None))
    prompts = list(dict.fromkeys(row.prompt for row in rows))
    records = dict(zip(matched, record_heads(lm, matched, heads), strict=True))
    own = dict(zip(prompts, record_heads(lm, prompts, heads[:1]), strict=True))
    for row in rows:
        pair = own[row.prompt].prompt_ids, records[row.matched or ""].prompt_ids
        apart = [i for i, both in enumerate(zip(*pair, strict=False)) if both[0] != both[1]]
        if len(pair[0]) != len(pair[1]) or apart != [row.key]:
            raise UserError(
                f"expected a matched prompt that differs at token {row.key} alone, got {len(pair[1])} tokens for "
                f"{len(pair[0])} that differ at {apart}"
            )
    return records
