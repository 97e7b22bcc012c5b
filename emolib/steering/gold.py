"""Gold for S: an emotional text in place of an act. A measure that does not see it may not say that there is nothing.

The context is a text of a third scenario (`third_scenarios`), held against that scenario's neutral text in the same
place: (a) directly before the continuation, (b) before the prompt. Contexts that must fail stand in for it
(`stand_ins`). What comes out has the columns of an act's shifts, so that everything that reads those reads these.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal

import numpy as np
import pandas as pd

from emolib.base import arguments
from emolib.base.errors import UserError, shown
from emolib.engine.continuation import context_logprobs, token_shifts
from emolib.engine.continuation_tokens import continuations
from emolib.models.language_model import LanguageModel
from emolib.steering.shift_parts import lexicon
from emolib.steering.shift_tables import KEYS, check_columns, check_unique

LAYER = -1  # no layer of a model: nothing is patched
POSITIONS = {"a": 1.0, "b": 2.0}  # (a) before the continuation, (b) before the prompt; their code in the column alpha
CONTEXT_COLUMNS = ["prompt", "text", "style", "act", "third", "context", "reference"]
ROW_COLUMNS = [*KEYS, "position", "third", "prompt_with", "prompt_without", "words"]


def gold_contexts(
    cells: pd.DataFrame, data: pd.DataFrame, labels: Sequence[str], *, neutral: str = "neutral"
) -> pd.DataFrame:
    """Every label's text of each cell's third scenario, and that scenario's neutral text.

    Args:
        cells: columns prompt, text, style, third, as `third_scenarios.third_scenarios` gives them.
        data: columns scenario, emotion, text.
        labels: one context per label; it bears the label's name as an act does.

    Returns:
        `CONTEXT_COLUMNS`: `context` and the text that it is held against, `reference`.

    Raises:
        UserError: missing columns, a third scenario without one of the texts.

    >>> cells = pd.DataFrame({"prompt": ["p"], "text": ["t"], "style": ["implicit"], "third": ["k"]})
    >>> data = pd.DataFrame({"scenario": "k", "emotion": ["joy", "neutral"], "text": ["What a day!", "It is noon."]})
    >>> gold_contexts(cells, data, ["joy"])[["act", "context", "reference"]].values.tolist()
    [['joy', 'What a day!', 'It is noon.']]
    """
    check_columns(cells, ["prompt", "text", "style", "third"], "cells")
    text_of = texts_by_label(data)
    found = cells[["prompt", "text", "style", "third"]].merge(pd.DataFrame({"act": list(labels)}), how="cross")
    for column, wanted in (("context", found["act"]), ("reference", [neutral] * len(found))):
        found[column] = [_text(text_of, *key) for key in zip(found["third"], wanted, strict=True)]
    return found[CONTEXT_COLUMNS]


def context_rows(
    contexts: pd.DataFrame,
    data: pd.DataFrame,
    labels: Sequence[str],
    *,
    positions: Collection[str] = tuple(POSITIONS),
    neutral: str = "neutral",
) -> pd.DataFrame:
    """The design's rows: every cell's texts of these labels after every context, at every position.

    Args:
        contexts: `CONTEXT_COLUMNS`.
        data: columns scenario, emotion, text.
        labels: of the continuations; neutral ones are needed for m and for what an adjustment is fitted on.
        positions: of `POSITIONS`.
        neutral: the label of the prompts.

    Returns:
        `ROW_COLUMNS`: the keys of a table of shifts (`layer` is -1, `alpha` the position's code), the position, the
        third scenario, the prompt with the context and with its reference, and the continuation.

    Raises:
        UserError: missing columns, a text that is not there, another position, a row that stands twice.
    """
    check_columns(contexts, CONTEXT_COLUMNS, "contexts")
    text_of = texts_by_label(data)
    rows = contexts.merge(pd.DataFrame({"label": list(labels)}), how="cross")
    rows["words"] = [_text(text_of, *key) for key in zip(rows["text"], rows["label"], strict=True)]
    before = [_text(text_of, name, neutral) for name in rows["prompt"]]
    parts = []
    for position in positions:
        arguments.one_of("position", position, POSITIONS)
        placed = {
            f"prompt_{name}": [joined(one, other, position) for one, other in zip(before, rows[column], strict=True)]
            for name, column in (("with", "context"), ("without", "reference"))
        }
        parts.append(rows.assign(layer=LAYER, alpha=POSITIONS[position], position=position, **placed))
    table = pd.concat(parts, ignore_index=True)[ROW_COLUMNS]
    check_unique(table, KEYS, "the rows of contexts")
    return table


def joined(prompt: str, context: str, position: str) -> str:
    """A prompt with a context after it (a) or before it (b).

    >>> joined("It is noon.", "What a day!", "b")
    'What a day! It is noon.'
    """
    return f"{prompt} {context}" if position == "a" else f"{context} {prompt}"


def context_shifts(
    lm: LanguageModel, rows: pd.DataFrame, *, batch_size: int | Literal["auto"] = "auto"
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What every context does to the text that follows, held against its reference.

    A pair of prompt and text that rows share is read once.

    Args:
        rows: `ROW_COLUMNS`, as `context_rows` gives them.
        batch_size: rows at once.

    Returns:
        Two tables, for `shift_tables.shift_table` and for `shift_parts.token_table`, in the form in which
        `emolib.continuation_shift` and `token_shifts` give them: `logprob` is after the context, `logprob_unpatched`
        and `entropy` after its reference.

    Raises:
        UserError: missing columns; as `emolib.continuation_shift`.
    """
    check_columns(rows, ROW_COLUMNS, "rows")
    place_of: dict[tuple[str, str], int] = {}
    places = {
        name: [
            place_of.setdefault(key, len(place_of)) for key in zip(rows[f"prompt_{name}"], rows["words"], strict=True)
        ]
        for name in ("with", "without")
    }
    prompts, texts = (list(column) for column in zip(*place_of, strict=True)) if place_of else ([], [])
    read = token_shifts(lm, prompts, texts, batch_size=batch_size)
    characters = {text: one.n_characters for text, one in zip(texts, continuations(lm, texts), strict=True)}
    n_tokens = np.bincount(read["row"], minlength=len(texts)).astype(int)
    starts = np.concatenate([[0], n_tokens.cumsum()])[:-1]
    lengths = n_tokens[places["without"]]  # of the same text, after whatever it stands
    within = np.arange(lengths.sum()) - np.repeat(lengths.cumsum() - lengths, lengths)
    here, there = (np.repeat(starts[places[name]], lengths) + within for name in ("with", "without"))
    tokens = read.iloc[there].reset_index(drop=True)
    tokens = tokens.assign(row=np.repeat(np.arange(len(rows)), lengths), logprob=read["logprob"].to_numpy()[here])
    means = tokens.groupby("row")[["logprob", "logprob_unpatched"]].mean().reindex(range(len(rows)))
    shift = (means["logprob"] - means["logprob_unpatched"]).to_numpy()
    shifts = pd.DataFrame(
        {
            "row": range(len(rows)),
            "n_tokens": lengths,
            "n_characters": [characters[text] for text in rows["words"]],
            "logprob": means["logprob"].to_numpy(),
            "logprob_unpatched": means["logprob_unpatched"].to_numpy(),
            "shift": shift,
            "shift_sum": shift * lengths,
        }
    )
    return shifts, tokens


def context_lexicon(
    lm: LanguageModel, rows: pd.DataFrame, token_ids: Sequence[int], *, batch_size: int | Literal["auto"] = "auto"
) -> pd.DataFrame:
    """The lexical part of every token's shift under every label's contexts: its mean shift over neutral texts.

    Args:
        rows: `ROW_COLUMNS`, neutral texts of other scenarios after the same labels' contexts.
        token_ids: those of the tokens whose part is wanted.
        batch_size: rows at once.

    Returns:
        As `emolib.steering.shift_parts.lexicon`, for `shift_parts.lexical_and_contextual`.

    Raises:
        UserError: missing columns; as `emolib.engine.continuation.context_shift`.
    """
    check_columns(rows, ROW_COLUMNS, "rows")
    ids, texts = list(dict.fromkeys(token_ids)), rows["words"].tolist()
    after, before = (
        context_logprobs(lm, rows[f"prompt_{name}"].tolist(), texts, ids, batch_size=batch_size)
        for name in ("with", "without")
    )
    return lexicon(rows, ids, after - before)


def texts_by_label(data: pd.DataFrame) -> dict[tuple[str, str], str]:
    """(scenario, label) → text.

    Raises:
        UserError: missing columns, a scenario with two texts of one label.
    """
    check_columns(data, ["scenario", "emotion", "text"], "data")
    check_unique(data, ["scenario", "emotion"], "data")
    keys = zip(data["scenario"], data["emotion"], strict=True)
    return dict(zip(keys, data["text"], strict=True))


def _text(text_of: dict[tuple[str, str], str], scenario: str, label: str) -> str:
    if (scenario, label) not in text_of:
        raise UserError(f"expected a text of every label in every scenario, {shown(scenario)} has no {shown(label)}")
    return text_of[scenario, label]
