"""Scores of texts: one row per text, one column per metric, named `family/metric`.

A scorer is a callable `texts → DataFrame`; `BACKENDS` lists which scorers each backend runs. Adding one is a file in
this folder and a line in that table. Fluency needs the model and the prompts, so it is computed beside them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd

from emolib.errors import UserError, nearest
from emolib.models import LanguageModel
from emolib.scoring.fluency import score_fluency
from emolib.scoring.keyword_counts import score_keywords
from emolib.scoring.sentiment import score_sentiment

Scorer = Callable[[Sequence[str]], pd.DataFrame]

BACKENDS: dict[str, tuple[Scorer, ...]] = {"bundled": (score_sentiment, score_keywords)}


def score_texts(
    texts: Sequence[str],
    *,
    prompts: Sequence[str] | None = None,
    lm: LanguageModel | None = None,
    backend: str = "bundled",
    nll_limit: float | None = None,
) -> pd.DataFrame:
    """Scores every text.

    Args:
        texts: continuations, without their prompts.
        prompts: what each text continues; with `lm`, fluency under the unpatched model is added.
        backend: a key of `BACKENDS`; an unknown one is an error, never replaced by another.
        nll_limit: mean token NLL above which a text counts as broken (see `scoring.fluency`).

    Returns:
        One row per text: `sentiment/compound` in [-1, 1], `keywords/<label>` counts, and with prompts and lm
        `fluency/{nll,perplexity,repetition,distinct_2,length,broken}`.

    Raises:
        UserError: unknown backend; prompts without lm, or not one per text.
    """
    if backend not in BACKENDS:
        raise UserError(f"unknown scoring backend {backend!r}: {nearest(backend, BACKENDS)}")
    if (prompts is None) != (lm is None):
        raise UserError("fluency needs both prompts= and lm=; give both or neither")
    texts = list(texts)
    parts = [scorer(texts) for scorer in BACKENDS[backend]]
    if lm is not None:
        if len(prompts) != len(texts):
            raise UserError(f"expected one prompt per text ({len(texts)}), got {len(prompts)}")
        parts.append(score_fluency(texts, prompts, lm, nll_limit=nll_limit))
    return pd.concat(parts, axis=1)
