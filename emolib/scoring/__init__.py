"""Scores of texts: one row per text, one column per metric, named `family/metric`.

`BACKENDS` lists which scorers each backend runs. Adding one is a file in this folder (a function `device → Scorer`) and
its name in that table; a caller's own function `texts → DataFrame` can be given instead of a backend's name. Fluency
needs the model and the prompts, so it is computed beside them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import torch

from emolib.base import arguments, store
from emolib.base.errors import UserError, shown
from emolib.base.signatures import told
from emolib.models.devices import pick_device
from emolib.models.language_model import LanguageModel, checked_model
from emolib.scoring import expressed, goemotions, huggingface, keyword_counts, politeness, sentiment
from emolib.scoring.cache import ScoreCache
from emolib.scoring.fluency import score_fluency, stored_nll_limit
from emolib.scoring.scorer import Scorer, ScorerFactory

BACKENDS: dict[str, tuple[ScorerFactory, ...]] = {
    "bundled": (sentiment.vader, politeness.ngrams, goemotions.bundled, keyword_counts.lists, expressed.stances),
    "lexical": (sentiment.vader, politeness.ngrams, goemotions.lexical, keyword_counts.lists),
    "encoder": (sentiment.vader, politeness.ngrams, goemotions.encoder, keyword_counts.lists),
    "huggingface": (huggingface.sentiment, huggingface.politeness, huggingface.goemotions, keyword_counts.lists),
}
Backend = str | Callable[[Sequence[str]], pd.DataFrame] | Scorer


@told
def score_texts(
    texts: Sequence[str],
    *,
    prompts: Sequence[str] | None = None,
    lm: LanguageModel | None = None,
    backend: Backend | Sequence[Backend] = "bundled",
    nll_limit: float | None = None,
    device: str = "auto",
    cache: ScoreCache | None = None,
) -> pd.DataFrame:
    """Scores every text.

    Args:
        texts: continuations, without their prompts.
        prompts: what each text continues; with `lm`, fluency under the unpatched model is added.
        backend: a key of `BACKENDS`, a function `texts → DataFrame` of numbers with one row per text, a `Scorer`, or
            several of these. An unknown or unavailable one is an error, never replaced by another. NaN is how a scorer
            says that it has no score for a text; `emolib.effect_sizes` leaves such texts out and counts them.
        nll_limit: mean token NLL above which a text counts as broken; None takes that of the model's reference,
            which is built at the first call for a model and stored (see `scoring.fluency`).
        device: where scorers that are networks run.
        cache: scores that were worked out before; None scores every distinct text of this call once.

    Returns:
        One row per text. Every backend of the table gives `sentiment/{POSITIVE,NEUTRAL,NEGATIVE}`,
        `politeness/score`, `goemotions/<28 labels>` and `keywords/<label>`; `bundled` also each of its two GoEmotions
        models (`goemotions_lexical/…`, `goemotions_encoder/…`) and `expressed/{gratitude,anger,apology}`, whether the
        writer expresses it; those without a hub `sentiment/compound`; with prompts and lm also
        `fluency/{nll,perplexity,repetition,distinct_2,length,broken}`.

    Raises:
        UserError: unknown backend, one whose files are missing, prompts without lm, not one prompt per text,
            a text that is no string, or a function that does not give one row of numbers per text, or gives an
            infinite one.

    Example:
        >>> import emolib
        >>> table = emolib.score_texts(["Thank you so much!", "Go away, I hate you."])
        >>> table["keywords/gratitude"].tolist()
        [1, 0]
        >>> (table["sentiment/compound"] > 0).tolist(), (table["goemotions/gratitude"] > 0.5).tolist()
        ([True, False], [True, False])
        >>> import pandas as pd
        >>> emolib.score_texts(["one", "three"], backend=lambda texts: pd.DataFrame({"length": map(len, texts)}))
           length
        0       3
        1       5
    """
    texts = arguments.texts(texts, empty=True)
    if (prompts is None) != (lm is None):
        raise UserError("fluency needs both prompts= and lm=; give both or neither")
    prompts = None if prompts is None else arguments.texts(prompts, "prompts")
    lm = None if lm is None else checked_model(lm)
    nll_limit = None if nll_limit is None else arguments.number("nll_limit", nll_limit)
    if cache is not None:
        arguments.instance("cache", cache, ScoreCache, "ScoreCache(…)")
    if prompts is not None and len(prompts) != len(texts):
        raise UserError(f"expected one prompt per text ({len(texts)}), got {len(prompts)}")
    parts = [_scores(scorer, texts, cache) for scorer in scorers_of(backend, device)]
    if lm is not None:
        limit = stored_nll_limit(lm) if nll_limit is None else nll_limit
        parts.append(score_fluency(texts, prompts or [], lm, nll_limit=limit))
    table = pd.concat(parts, axis=1)
    repeated = table.columns[table.columns.duplicated()]
    if len(repeated):
        raise UserError(f"expected scorers with columns of their own, {shown(repeated[0])} comes from two of them")
    return table


def scorers_of(backend: Backend | Sequence[Backend], device: str = "auto") -> list[Scorer]:
    """The scorers that a backend (or several) runs."""
    if isinstance(backend, Scorer):
        return [backend]
    if isinstance(backend, str):
        arguments.one_of("scoring backend", backend, BACKENDS)
        place = torch.device(pick_device(device))
        return [make(place) for make in BACKENDS[backend]]
    if callable(backend):
        name = getattr(backend, "__name__", type(backend).__name__)
        return [Scorer(name, None, backend)]
    if not isinstance(backend, Sequence) or not backend:
        raise UserError(
            f"expected a scoring backend ({', '.join(BACKENDS)}), a function or a Scorer, got {shown(backend)}"
        )
    return [scorer for one in backend for scorer in scorers_of(one, device)]


def fetch_scorers(backend: Backend | Sequence[Backend], device: str = "auto") -> None:
    """Sees to it that whatever the backend scores with is here.

    Raises:
        UserError: a package, a file or a hub is missing.
    """
    for scorer in scorers_of(backend, device):
        if scorer.fetch is not None:
            scorer.fetch()


def version_of(backend: Backend | Sequence[Backend], device: str = "auto") -> str:
    """Changes whenever a score of the backend may change; what a stored table of scores depends on."""
    return store.digest([[scorer.name, scorer.version] for scorer in scorers_of(backend, device)])


def _scores(scorer: Scorer, texts: list[str], cache: ScoreCache | None) -> pd.DataFrame:
    """One row per text. Distinct texts are scored once; where there is none, one is scored for its columns alone."""
    checked = replace(scorer, score=lambda given: _finite(_checked(scorer, given), scorer, given, texts))
    if not texts:
        return checked.score([""]).iloc[:0]
    if cache is not None and scorer.version is not None:
        return cache.scores(checked, texts)
    distinct = {text: place for place, text in enumerate(dict.fromkeys(texts))}
    table = checked.score(list(distinct))
    return table.iloc[[distinct[text] for text in texts]].reset_index(drop=True)


def _checked(scorer: Scorer, texts: Sequence[str]) -> pd.DataFrame:
    """What the scorer gives, if it is one row of numbers per text."""
    given = scorer.score(texts)
    try:
        table = pd.DataFrame(given).reset_index(drop=True)
    except (ValueError, TypeError) as error:
        raise UserError(
            f"expected the scorer {shown(scorer.name)} to give a table with {len(texts)} rows, got "
            f"{type(given).__name__} "
            f"({' '.join(str(error).split()):.80})"
        ) from error
    numeric = all(pd.api.types.is_numeric_dtype(kind) for kind in table.dtypes)
    if len(table) != len(texts) or not numeric or not len(table.columns):
        raise UserError(
            f"expected the scorer {shown(scorer.name)} to give a table of numbers, {len(texts)} rows, "
            f"got {len(table)} rows "
            f"and columns {', '.join(f'{c} ({t})' for c, t in table.dtypes.items()) or 'none'}"
        )
    return table


def _finite(table: pd.DataFrame, scorer: Scorer, given: Sequence[str], texts: Sequence[str]) -> pd.DataFrame:
    """The table; `UserError` where it has an infinite number. `texts` are the caller's, in which a place is told."""
    row, column = (places[:1] for places in np.isinf(table.to_numpy(dtype=float, na_value=np.nan)).nonzero())
    if row.size:
        text = given[row[0]]
        place = f"texts[{texts.index(text)}] ({shown(text, 40)})" if text in texts else shown(text, 40)
        raise UserError(
            f"expected finite scores from the scorer {shown(scorer.name)}, got {table.iloc[row[0], column[0]]} for "
            f"{place} in the column {shown(table.columns[column[0]])}; give NaN where a text has no score"
        )
    return table
