"""Fluency of a continuation under the unpatched model, and when it counts as broken.

A text is broken if its mean token negative log-likelihood lies above the 95th percentile of a reference (sampled
continuations of training prompts, neutral and emotional, without any patch), if more than 30 % of its 3-grams are
repeats, or if it has fewer than 5 tokens. Greedy text is too probable to be the reference.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd

from emolib.base import paths, store
from emolib.base.errors import UserError
from emolib.data.dataset import load_dataset, select_scenarios
from emolib.engine.likelihood import continuation_nll
from emolib.engine.read_generation import generate_and_read, token_ids
from emolib.engine.sampling import Decoding
from emolib.models.language_model import LanguageModel

REPETITION_LIMIT = 0.30
MINIMUM_TOKENS = 5
REFERENCE_SCENARIOS = 40
REFERENCE_PERCENTILE = 95.0


def score_fluency(
    texts: Sequence[str],
    prompts: Sequence[str],
    lm: LanguageModel,
    *,
    nll_limit: float | None = None,
    nll: np.ndarray | None = None,
) -> pd.DataFrame:
    """`fluency/{nll,perplexity,repetition,distinct_2,length}`, and `fluency/broken` where a limit is given.

    Args:
        nll: `[text]`, the mean over each continuation's tokens, in nats, given the prompt, NaN for an empty text; as
            `generate_and_read` gives it. None reads the texts.
    """
    # control directions often leave a greedy text as it was: the same text after the same prompt is read once
    which, pairs, ids = _distinct(texts, prompts, lm)
    if nll is None:
        of_pairs = continuation_nll(lm, [prompt for prompt, _ in pairs], ids)
    else:
        of_pairs = np.asarray(nll, dtype=float)[np.unique(which, return_index=True)[1]]
    table = _table(ids, of_pairs)
    if nll_limit is not None:
        table["fluency/broken"] = is_broken(table, nll_limit)
    return table.iloc[which].reset_index(drop=True)


def broken_texts(texts: Sequence[str], prompts: Sequence[str], lm: LanguageModel, *, nll_limit: float) -> np.ndarray:
    """`fluency/broken` alone, `[text]`: a text whose repetition or length decides is not read under the model."""
    which, pairs, ids = _distinct(texts, prompts, lm)
    broken = is_broken(_table(ids, np.full(len(ids), -np.inf)), nll_limit).to_numpy(copy=True)  # however likely it were
    read = np.flatnonzero(~broken)
    nll = continuation_nll(lm, [pairs[i][0] for i in read], [ids[i] for i in read])
    broken[read] = is_broken(_table([ids[i] for i in read], nll), nll_limit)
    return broken[which]


def _distinct(
    texts: Sequence[str], prompts: Sequence[str], lm: LanguageModel
) -> tuple[list[int], list[tuple[str, str]], list[list[int]]]:
    """For every text the number of its pair, the distinct pairs of prompt and text, and the texts' token ids."""
    places: dict[tuple[str, str], int] = {}
    which = [places.setdefault(pair, len(places)) for pair in zip(prompts, texts, strict=True)]
    return which, list(places), token_ids(lm, [text for _, text in places])


def _table(ids: Sequence[Sequence[int]], nll: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "fluency/nll": nll,
            "fluency/perplexity": np.exp(nll),
            "fluency/repetition": [repetition(row, 3) for row in ids],
            "fluency/distinct_2": [1 - repetition(row, 2) for row in ids],
            "fluency/length": [len(row) for row in ids],
        }
    )


def is_broken(table: pd.DataFrame, nll_limit: float) -> pd.Series:
    """The definition above, from the other fluency columns."""
    too_unlikely = ~(table["fluency/nll"] <= nll_limit)  # also NaN
    too_repetitive = table["fluency/repetition"] > REPETITION_LIMIT
    return too_unlikely | too_repetitive | (table["fluency/length"] < MINIMUM_TOKENS)


def repetition(ids: Sequence[int], n: int) -> float:
    """Share of the n-grams that occurred before in the same text; 0 for texts shorter than n."""
    grams = list(zip(*(ids[i:] for i in range(n)), strict=False))
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def fluency_reference(
    lm: LanguageModel,
    prompts: pd.DataFrame,
    *,
    max_new_tokens: int = 30,
    temperature: float = 0.8,
    top_p: float = 0.9,
    seed: int = 0,
    batch_size: int | Literal["auto"] = "auto",
) -> pd.DataFrame:
    """Sampled, unpatched continuations of training texts (columns id, emotion, text of `prompts`) with their NLL.

    Returns:
        id, emotion (of the prompt), prompt, text, nll.
    """
    if prompts.empty:
        raise UserError("expected training texts to build the fluency reference from, got none")
    seeds = [int(np.random.SeedSequence([seed, 1, i]).generate_state(1)[0]) for i in range(len(prompts))]
    given = prompts["text"].tolist()
    outs, nll = generate_and_read(
        lm,
        given,
        decoding=Decoding(max_new_tokens, temperature, top_p),
        seeds=seeds,
        batch_size=batch_size,
    )
    return pd.DataFrame(
        {
            "id": prompts["id"].to_numpy(),
            "emotion": prompts["emotion"].to_numpy(),
            "prompt": given,
            "text": [out.text for out in outs],
            "nll": nll,
        }
    )


def nll_limit(reference: pd.DataFrame) -> float:
    """The reference's 95th percentile of the mean token NLL."""
    return float(np.nanpercentile(reference["nll"], REFERENCE_PERCENTILE))


def stored_nll_limit(lm: LanguageModel) -> float:
    """The limit of the model's own reference, which is built once per model and stored in the cache.

    The reference continues the first forty training scenarios of the repository's data set, one text per label.
    """
    if lm.worked_out.nll_limit is None:
        texts = select_scenarios(load_dataset(), "train", REFERENCE_SCENARIOS)
        matched = {"step": 1, "texts": store.digest(texts.to_dict("list")), "model": lm.identity}
        path = paths.fluency_reference(lm.spec.name, store.digest(matched))
        store.obtain(path, matched, lambda: store.table_bytes(fluency_reference(lm, texts)))
        lm.worked_out.nll_limit = nll_limit(store.read_table(path))
    return lm.worked_out.nll_limit
