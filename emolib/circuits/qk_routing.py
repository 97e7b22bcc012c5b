"""QK routing: does a head look at an emotion's word more than at another content word in its place?

Both words stand at the same position of the same sentence. One query, that of the text with the emotion's word, meets
both words' keys, each from its own run: the two scores differ by what the head sees in the word alone, and the constant
that a softmax leaves open cancels. Queries and keys are rebuilt from real residuals by the folded weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from emolib.base import arguments
from emolib.base.errors import UserError
from emolib.circuits.ov_qk import HeadWeights, head_weights, known_blueprint
from emolib.data.keywords import load_keywords
from emolib.engine.observation import observe
from emolib.engine.triggers import NONE, trigger_tokens
from emolib.models.language_model import LanguageModel, checked_model
from emolib.models.tokens import encode, pad_left
from emolib.readout.leaks import FUNCTION_WORDS

N_NEAREST = 5  # words of like frequency among which one is drawn
BATCH = 16


@dataclass(frozen=True)
class RoutingPair:
    """One text twice: with an emotion's word, and with another content word in its place.

    Attributes:
        ids, matched_ids: token ids of equal number, different at `key` alone.
        key: the word's token, from 0.
        query: the token that looks, behind the key.
        name: of the pair, for example its scenario.
        words: the two words.
    """

    ids: tuple[int, ...]
    matched_ids: tuple[int, ...]
    key: int
    query: int
    emotion: str
    name: str
    words: tuple[str, str]

    def __post_init__(self) -> None:
        apart = [i for i, both in enumerate(zip(self.ids, self.matched_ids, strict=False)) if both[0] != both[1]]
        if len(self.ids) != len(self.matched_ids) or apart != [self.key]:
            raise UserError(
                f"expected two texts of equal length that differ at token {self.key} alone, pair {self.name} has "
                f"{len(self.ids)} and {len(self.matched_ids)} tokens and differs at {apart}"
            )
        if not self.key < self.query < len(self.ids):
            raise UserError(
                f"expected a query behind the key {self.key} within {len(self.ids)} tokens, got {self.query}"
            )


def routing_pairs(
    lm: LanguageModel,
    texts: pd.DataFrame,
    words: pd.DataFrame,
    log_frequencies: Float[np.ndarray, " vocabulary"],
    *,
    seed: int = 0,
    language: str = "en",
) -> list[RoutingPair]:
    """Texts with a trigger of one token, each beside itself with a content word as frequent in the trigger's place.

    The last token looks. The other word is drawn among the five nearest in log frequency that are in no emotion's list
    and no function word. A text whose trigger is several tokens, or its last token, is left out.

    Args:
        texts: columns scenario, emotion, text; those of a neutral label have no trigger and are left out.
        words: tokens that stand for a whole word (`promoted_tokens.word_tokens`): those are drawn from.
        log_frequencies: of every token (`promoted_tokens.token_log_frequencies`).

    Raises:
        UserError: no text has a trigger of one token.
    """
    checked_model(lm)
    rows = [tuple(row) for row in encode(lm, texts["text"].tolist())]
    triggers = trigger_tokens(lm.tokenizer, texts)
    spelled = dict(zip(words["token_id"], words["word"], strict=True))
    patterns = load_keywords(language).patterns.values()
    barred = {word for word in set(words["word"]) if any(p.fullmatch(word) for p in patterns)} | set(FUNCTION_WORDS)
    pool = words.loc[~words["word"].isin(barred), "token_id"].to_numpy()
    rng, found = np.random.default_rng(seed), []
    for ids, trigger, scenario, emotion in zip(rows, triggers, texts["scenario"], texts["emotion"], strict=True):
        if trigger == NONE or trigger >= len(ids) - 1 or ids[trigger] not in spelled:
            continue
        apart = np.abs(log_frequencies[pool] - log_frequencies[ids[trigger]])
        order = rng.permutation(len(pool))
        other = int(rng.choice(pool[order[np.argsort(apart[order], kind="stable")[:N_NEAREST]]]))
        matched = (*ids[:trigger], other, *ids[trigger + 1 :])
        told = (spelled[ids[trigger]], spelled[other])
        found.append(RoutingPair(ids, matched, int(trigger), len(ids) - 1, str(emotion), str(scenario), told))
    if not found:
        raise UserError(
            f"expected texts with an emotion's word of one token before their end, {len(rows)} texts have none; give "
            "explicit texts"
        )
    return found


def qk_routing(lm: LanguageModel, pairs: Sequence[RoutingPair]) -> pd.DataFrame:
    """Every head's score and attention of each pair's two words, under the query of the text with the emotion's word.

    Returns:
        One row per layer, head and pair: layer, head, pair (its number), name, emotion, score, score_matched (nat;
        NaN where the word lies beyond a local head's window), attention, attention_matched (the weight that the word
        gets among all tokens of the text, the matched word's key in its place).

    Raises:
        UserError: no pairs, or weights that the engine does not read.

    >>> import emolib
    >>> lm = emolib.load_model("smollm2_135m", device="cpu")
    >>> ids = lm.tokenizer(["I am so grateful for it", "I am so wooden for it"]).input_ids
    >>> pair = RoutingPair(tuple(ids[0]), tuple(ids[1]), 3, 5, "gratitude", "one", ("grateful", "wooden"))
    >>> table = qk_routing(lm, [pair])
    >>> len(table), bool((table["attention"] <= 1).all())
    (270, True)
    """
    net = known_blueprint(lm)
    pairs = [arguments.instance("pairs", pair, RoutingPair, "routing_pairs") for pair in pairs]
    if not pairs:
        raise UserError("expected at least one pair of texts, got none")
    parts: list[pd.DataFrame] = []
    for start in range(0, len(pairs), BATCH):
        chunk = pairs[start : start + BATCH]
        rows = [ids for pair in chunk for ids in (pair.ids, pair.matched_ids)]
        ids, mask = pad_left(rows, lm.pad_id)
        width = ids.shape[1]

        def take(
            site: str,
            layer: int,
            value: Tensor,
            chunk: Sequence[RoutingPair] = chunk,
            start: int = start,
            width: int = width,
        ) -> None:
            weights = head_weights(lm, layer)
            for i, pair in enumerate(chunk):
                own, other = value[2 * i : 2 * i + 2, width - len(pair.ids) :]
                columns = pair_scores(weights, pair, own, other)
                told = {"layer": layer, "head": np.arange(net.n_heads), "pair": start + i}
                parts.append(pd.DataFrame({**told, "name": pair.name, "emotion": pair.emotion, **columns}))

        observe(lm, ids, mask, [("resid_pre", layer) for layer in range(lm.n_layers)], take)
    return pd.concat(parts, ignore_index=True).sort_values(["layer", "head", "pair"], ignore_index=True)


def pair_scores(
    weights: HeadWeights, pair: RoutingPair, own: Float[Tensor, "pos d_model"], other: Float[Tensor, "pos d_model"]
) -> Mapping[str, Float[np.ndarray, " head"]]:
    """score, score_matched, attention and attention_matched of every head of one layer.

    Args:
        own, other: the layer's input in the text with the emotion's word, and in the one with the other word.
    """
    positions = torch.arange(len(own), device=own.device)
    query = weights.queries(own[pair.query : pair.query + 1], positions[pair.query : pair.query + 1])[:, 0]
    keys = weights.keys(own, positions)
    matched = weights.keys(other[pair.key : pair.key + 1], positions[pair.key : pair.key + 1])[:, 0]
    back = pair.query - positions
    seen = (back >= 0) if weights.window is None else (back >= 0) & (back < weights.window)
    scores = (keys @ query[:, :, None])[..., 0] * weights.scale
    scores = scores.masked_fill(~seen, float("-inf"))
    swapped = scores.clone()
    if bool(seen[pair.key]):
        swapped[:, pair.key] = (matched * query).sum(-1) * weights.scale
    found = {
        "score": scores[:, pair.key],
        "score_matched": swapped[:, pair.key],
        "attention": scores.softmax(-1)[:, pair.key],
        "attention_matched": swapped.softmax(-1)[:, pair.key],
    }
    return {name: values.double().nan_to_num(neginf=float("nan")).cpu().numpy() for name, values in found.items()}


def routing_effects(table: pd.DataFrame) -> pd.DataFrame:
    """Per layer and head over pairs: n, score (mean difference, nat), attention (mean difference), t of the former.

    A maximum over heads has to be tested as one: `routing_max_p`.
    """
    seen = table.dropna(subset=["score"])
    apart = seen.assign(
        score=seen["score"] - seen["score_matched"], attention=seen["attention"] - seen["attention_matched"]
    )
    grouped = apart.groupby(["layer", "head"])
    found = grouped.agg(n=("pair", "size"), score=("score", "mean"), attention=("attention", "mean"))
    found["t"] = found["score"] / (grouped["score"].std() / np.sqrt(found["n"]))
    return found.reset_index()


def routing_max_p(table: pd.DataFrame, *, n_flips: int = 999, seed: int = 0) -> pd.DataFrame:
    """`routing_effects` with p (looks *more* at the emotion's word), corrected for all heads: a head's mean score
    difference over its standard error, against the largest over heads when the two words of whole scenarios (`name`)
    change places at random.

    Sign flips with a maximum statistic (Nichols and Holmes 2002); a head that sees fewer than two scenarios has no p.

    Raises:
        UserError: fewer than 6 names: no p below 0.03 is possible.
    """
    apart = (
        table.assign(difference=table["score"] - table["score_matched"])
        .groupby(["layer", "head", "name"])["difference"]
        .mean()
        .unstack("name")
        .dropna(thresh=2)
    )
    values = apart.to_numpy()
    if values.shape[1] < 6:
        raise UserError(f"expected pairs of at least 6 scenarios for a test by sign flips, got {values.shape[1]}")
    n = (~np.isnan(values)).sum(1)
    filled = np.nan_to_num(values)
    squares = (filled**2).sum(1)

    def t_values(signs: np.ndarray) -> np.ndarray:
        mean = signs @ filled.T / n  # [flip, head]
        spread = np.sqrt(np.maximum(squares / n - mean**2, 1e-24) / (n - 1))
        return mean / spread

    flips = np.random.default_rng(seed).choice([-1.0, 1.0], size=(n_flips, values.shape[1]))
    own, null = t_values(np.ones((1, values.shape[1])))[0], t_values(flips).max(1)
    p = (1 + (null[:, None] >= own - 1e-9).sum(0)) / (1 + n_flips)
    tested = pd.DataFrame({"p": p}, index=apart.index).reset_index()
    return routing_effects(table).merge(tested, on=["layer", "head"], how="left")
