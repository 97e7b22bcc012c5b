"""Tokens that a head promotes when it reads a direction: by the direct path to the logits, against tokens as frequent.

The head's output goes through the final norm (its mean derivative at typical final residuals) and the unembedding; the
mean over the vocabulary is taken off, since a constant promotes nothing. Later layers are left out: a head that is read
by others promotes what this does not show (logit lens of a head's output, Elhage et al. 2021; Dar et al. 2023).

A list of words is compared with lists of other tokens of like frequency: frequent tokens have other unembeddings than
rare ones, whatever they mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from emolib.base import arguments
from emolib.base.errors import UserError
from emolib.circuits.norm_tangents import norm_tangent
from emolib.circuits.ov_projection import Vectors, checked_vectors, tangents_of
from emolib.circuits.ov_qk import head_weights, known_blueprint
from emolib.circuits.typical_inputs import TypicalInputs
from emolib.data.keywords import load_keywords
from emolib.models.language_model import LanguageModel, checked_model
from emolib.models.tokens import encode
from emolib.statistics.intervals import max_statistic_p

N_NEAREST = 20  # tokens of like frequency among which one is drawn
LIST_COLUMNS = ["layer", "head", "emotion", "list", "logit", "matched", "difference", "z", "p", "n_tokens", "n_draws"]
LEAST_LETTERS = 3  # of a token that stands for a word


@dataclass(frozen=True)
class MatchedLists:
    """A label's tokens and, in the same order, draws of other tokens of like frequency.

    Attributes:
        ids: `[token]`.
        draws: `[draw, token]`, no emotion's words among them.
        distance: mean difference in log frequency between a token and what was drawn for it.
    """

    ids: Int[np.ndarray, " token"]
    draws: Int[np.ndarray, "draw token"]
    distance: float


def token_log_frequencies(lm: LanguageModel, texts: Sequence[str]) -> Float[np.ndarray, " vocabulary"]:
    """log of (count + 1) / (tokens + 1) of every token of the vocabulary in texts; neutral ones are wanted."""
    rows = encode(lm, texts)
    counts = np.bincount(np.concatenate(rows), minlength=lm.limits.vocabulary)
    found: np.ndarray = np.log((counts + 1) / (counts.sum() + 1))
    return found


def word_tokens(lm: LanguageModel) -> pd.DataFrame:
    """Tokens that stand for a whole word behind a space: token_id, word (lower case), letters alone, at least 3."""
    checked_model(lm)
    tokenizer, found = lm.tokenizer, []
    strings = tokenizer.batch_decode([[token] for token in range(min(len(tokenizer), lm.limits.vocabulary))])
    marked = tokenizer.convert_ids_to_tokens(range(len(strings)))
    for token, (piece, text) in enumerate(zip(marked, strings, strict=True)):
        word = text.strip()
        behind_a_space = text.startswith(" ") or str(piece).startswith("▁")
        if behind_a_space and len(word) >= LEAST_LETTERS and word.isascii() and word.isalpha():
            found.append((token, word.lower()))
    return pd.DataFrame(found, columns=["token_id", "word"])


def matched_lists(
    words: pd.DataFrame,
    labels: Sequence[str],
    log_frequencies: Float[np.ndarray, " vocabulary"],
    *,
    n_draws: int = 199,
    seed: int = 0,
    language: str = "en",
) -> dict[str, MatchedLists]:
    """Every label's tokens by its word list, and draws matched in frequency: for each token one of the 20 nearest by
    log frequency that stands for a word of no list, ties in a seeded order.

    Args:
        words: as `word_tokens` gives them.
        log_frequencies: of every token, as `token_log_frequencies` gives them.

    Raises:
        UserError: a label without a list, or none of whose words is one token.

    >>> import numpy as np, pandas as pd
    >>> words = pd.DataFrame({"token_id": [0, 1, 2, 3], "word": ["thanks", "lamp", "table", "angry"]})
    >>> found = matched_lists(words, ["gratitude"], np.zeros(4), n_draws=2)["gratitude"]
    >>> found.ids.tolist(), set(found.draws.ravel().tolist()) <= {1, 2}
    ([0], True)
    """
    lists = load_keywords(language)
    rng = np.random.default_rng(seed)
    ids = words["token_id"].to_numpy()
    members = {label: _members(tuple(words["word"]), label, language) for label in lists.labels}
    free = ids[~np.any(list(members.values()), axis=0)]
    found = {}
    for label in labels:
        name = lists.label_of(label)
        if name is None or not members[name].any():
            raise UserError(f"expected a label with a list of words that are one token each, {label} has none")
        own = ids[members[name]]
        order = rng.permutation(len(free))
        apart = np.abs(log_frequencies[own][:, None] - log_frequencies[free[order]])
        nearest = np.argsort(apart, axis=1, kind="stable")[:, :N_NEAREST]
        picked = rng.integers(0, nearest.shape[1], (n_draws, len(own)))
        rows = np.arange(len(own))
        places = nearest[rows, picked]
        found[label] = MatchedLists(own, free[order][places], float(apart[rows, places].mean()))
    return found


@lru_cache(maxsize=32)
def _members(words: tuple[str, ...], label: str, language: str) -> Bool[np.ndarray, " word"]:
    pattern = load_keywords(language).patterns[label]
    return np.array([pattern.fullmatch(word) is not None for word in words])


@dataclass(frozen=True)
class PromotedTokens:
    """What every head promotes per emotion.

    Attributes:
        top: layer, head, emotion, rank, token_id, token, logit (per unit of the direction read, vocabulary mean 0).
        lists: layer, head, emotion (read), list (whose words), logit (mean over the list), matched (mean over draws),
            difference, z, p (the draws' maximum over all heads, one-sided), n_tokens, n_draws.
    """

    top: pd.DataFrame
    lists: pd.DataFrame


def promoted_tokens(
    lm: LanguageModel,
    vectors: Vectors,
    inputs: TypicalInputs,
    lists: Mapping[str, MatchedLists],
    *,
    n_top: int = 10,
    alternative: Literal["greater", "less", "two-sided"] = "greater",
) -> PromotedTokens:
    """Every head's logits of every token, when it reads each emotion's direction at its layer's input.

    Args:
        vectors: emotion → `[n_layers + 1, d_model]`; the unit direction is read.
        lists: whose words, as `matched_lists` gives them; without any, the table of lists has no rows.

    Raises:
        UserError: as `ov_projection`; fewer than two draws.
    """
    net = known_blueprint(lm)
    n_top = arguments.whole_number("n_top", n_top, least=1, most=net.head.weight.shape[0])
    given = checked_vectors(lm, vectors)
    if any(len(matched.draws) < 2 for matched in lists.values()):
        raise UserError("expected at least 2 draws of matched tokens per list; draw more (n_draws)")
    last = norm_tangent(net.final_norm, inputs.resid[lm.n_layers])
    top, means, drawn = [], [], []
    with torch.inference_mode():
        unembedding = net.head.weight.float()
        for layer in range(lm.n_layers):
            weights = head_weights(lm, layer)
            before, behind = tangents_of(lm, layer, inputs, frozen=False)
            read = torch.tensor(given[:, layer], dtype=torch.float32, device=weights.output.device)
            arriving = before(read / read.norm(dim=-1, keepdim=True))
            for head in range(weights.n_heads):
                written = weights.through_ov(arriving, head)
                written = written if behind is None else behind.with_gain(written)
                logits = last.with_gain(written) @ unembedding.T
                logits = logits - logits.mean(-1, keepdim=True)
                best = logits.topk(n_top)
                top.append((layer, head, best.indices.cpu().numpy(), best.values.cpu().numpy()))
                own, others = _list_means(logits, lists)
                means.append(own)
                drawn.append(others)
    shape = (lm.n_layers, net.n_heads)
    return PromotedTokens(
        _top_table(lm, tuple(vectors), top),
        _list_table(tuple(vectors), lists, np.stack(means), np.stack(drawn), shape, alternative),
    )


def _list_means(logits: Tensor, lists: Mapping[str, MatchedLists]) -> tuple[np.ndarray, np.ndarray]:
    """Mean logits of the lists `[emotion, list]` and of their draws `[emotion, list, draw]`."""
    if not lists:
        return np.zeros((len(logits), 0)), np.zeros((len(logits), 0, 0))
    own = [logits[:, torch.from_numpy(one.ids).to(logits.device)].mean(-1) for one in lists.values()]
    drawn = [logits[:, torch.from_numpy(one.draws).to(logits.device)].mean(-1) for one in lists.values()]
    return torch.stack(own, 1).cpu().double().numpy(), torch.stack(drawn, 1).cpu().double().numpy()


def _top_table(
    lm: LanguageModel, emotions: tuple[str, ...], top: Sequence[tuple[int, int, np.ndarray, np.ndarray]]
) -> pd.DataFrame:
    rows = [
        (layer, head, emotion, rank, int(token), float(logit))
        for layer, head, ids, logits in top
        for emotion, own_ids, own_logits in zip(emotions, ids, logits, strict=True)
        for rank, (token, logit) in enumerate(zip(own_ids, own_logits, strict=True))
    ]
    table = pd.DataFrame(rows, columns=["layer", "head", "emotion", "rank", "token_id", "logit"])
    spelled = {token: lm.tokenizer.decode([token]) for token in set(table["token_id"])}
    table.insert(5, "token", table["token_id"].map(spelled))
    return table


def _list_table(
    emotions: tuple[str, ...],
    lists: Mapping[str, MatchedLists],
    means: Float[np.ndarray, "head emotion list"],
    drawn: Float[np.ndarray, "head emotion list draw"],
    shape: tuple[int, int],
    alternative: Literal["greater", "less", "two-sided"],
) -> pd.DataFrame:
    layer, head = (part.ravel() for part in np.indices(shape))
    parts = []
    for i, emotion in enumerate(emotions):
        for j, (name, matched) in enumerate(lists.items()):
            own, others = means[:, i, j], drawn[:, i, j]
            spread = others.std(1, ddof=1)
            columns = {"layer": layer, "head": head, "emotion": emotion, "list": name, "logit": own}
            columns |= {"matched": others.mean(1), "difference": own - others.mean(1)}
            columns["z"] = (own - others.mean(1)) / np.where(spread > 0, spread, np.nan)
            columns["p"] = max_statistic_p(own, others.T, studentised=True, alternative=alternative)
            parts.append(pd.DataFrame(columns | {"n_tokens": len(matched.ids), "n_draws": len(matched.draws)}))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=LIST_COLUMNS)
