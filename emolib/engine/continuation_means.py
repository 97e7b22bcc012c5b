"""From the log-probabilities of a text's tokens to its shift: one definition for texts and for their tokens."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pandas as pd

from emolib.base.errors import UserError
from emolib.engine.continuation_tokens import Continuation, continuations
from emolib.models.language_model import LanguageModel

Means = tuple[float, float, float]


def means(patched: np.ndarray, unpatched: np.ndarray) -> Means:
    """Of a text's tokens: mean log-probability under the act and unpatched, and the summed difference."""
    return patched.mean(), unpatched.mean(), (patched - unpatched).sum()


def table_of_means(texts: Sequence[Continuation], found: Sequence[Means]) -> pd.DataFrame:
    """What `emolib.continuation_shift` returns: one row per text, from its `means`."""
    patched, unpatched, summed = np.array(found).reshape(-1, 3).T
    return pd.DataFrame(
        {
            "row": np.arange(len(texts)),
            "n_tokens": np.array([text.n_tokens for text in texts], dtype=int),
            "n_characters": np.array([text.n_characters for text in texts], dtype=int),
            "logprob": patched,
            "logprob_unpatched": unpatched,
            "shift": patched - unpatched,
            "shift_sum": summed,
        }
    )


def means_of_tokens(lm: LanguageModel, texts: Sequence[str], tokens: pd.DataFrame) -> pd.DataFrame:
    """What `emolib.continuation_shift` would have given for the rows whose tokens these are, without a further pass.

    Args:
        texts: those of the rows.
        tokens: what `emolib.engine.continuation.token_shifts` gave for them.

    Returns:
        As `emolib.continuation_shift`.

    Raises:
        UserError: tokens of other rows or texts.

    >>> import emolib
    >>> from emolib.engine.continuation import continuation_shift, token_shifts
    >>> lm = emolib.load_model("smollm2_135m", device="cpu")
    >>> prompts, texts = ["The bus was late again."], ["Thank you for waiting."]
    >>> found = means_of_tokens(lm, texts, token_shifts(lm, prompts, texts))
    >>> bool((found == continuation_shift(lm, prompts, texts)).all(axis=None))
    True
    """
    followed = continuations(lm, texts)
    stops = np.cumsum([0, *(text.n_tokens for text in followed)])
    wanted = [token for text in followed for token in text.ids[1:]]
    if tokens["token_id"].tolist() != wanted or (np.diff(tokens["row"].to_numpy()) < 0).any():
        raise UserError(f"expected the {len(wanted)} tokens that count of these {len(followed)} texts, in their order")
    patched, unpatched = (tokens[name].to_numpy(float) for name in ("logprob", "logprob_unpatched"))
    spans = [slice(*span) for span in pairwise(stops)]
    return table_of_means(followed, [means(patched[span], unpatched[span]) for span in spans])
