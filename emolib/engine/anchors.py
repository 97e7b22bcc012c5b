"""Anchors: the residual streams of two models at the same words of the same neutral texts.

What a map between models is fitted on (`emolib.fit_alignment`). Words' last tokens are matched by character offset
(`emolib.data.word_ends`), so the models' tokenizers may differ in everything but being fast ones.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from emolib.base import arguments
from emolib.base.errors import UserError, shown
from emolib.data.activations import Activations
from emolib.data.word_ends import Spans, matched_words
from emolib.engine.extraction import extract_activations
from emolib.models.language_model import LanguageModel, checked_model
from emolib.models.tokens import CHUNK, encode

POSITION = "word"


def find_anchors(
    lm_a: LanguageModel, lm_b: LanguageModel, texts: Sequence[str], *, most_per_word: int = 20, seed: int = 0
) -> pd.DataFrame:
    """The words of the texts that end where a token of either model ends; see `matched_words`.

    Raises:
        UserError: a tokenizer that does not tell where its tokens stand, texts that cannot be read, no anchor.

    >>> import emolib
    >>> lm = emolib.load_model("smollm2_135m", device="cpu")
    >>> find_anchors(lm, lm, ["The lamp is on."])[["word", "token_a", "token_b"]].values.tolist()
    [['lamp', 1, 1], ['is', 2, 2], ['on', 3, 3]]
    """
    given = arguments.texts(texts)
    places = (token_spans(checked_model(lm), given) for lm in (lm_a, lm_b))
    return matched_words(given, *places, most_per_word=most_per_word, seed=seed)


def token_spans(lm: LanguageModel, texts: Sequence[str]) -> list[Spans]:
    """Per text the character spans of the tokens that the model reads, in the order of `encode`."""
    tokenizer = lm.tokenizer
    if not tokenizer.is_fast:
        raise UserError(
            f"expected a tokenizer that tells where its tokens stand (a fast one), {shown(lm.spec.name)} has none; "
            "choose another model"
        )
    given, found = list(texts), list[Spans]()
    for start in range(0, len(given), CHUNK):
        some = given[start : start + CHUNK]
        read = encode(lm, some)
        spans = tokenizer(some, add_special_tokens=True, return_offsets_mapping=True).offset_mapping
        # of a text that begins with the first mark already, `encode` leaves out the one that is added
        found += [[tuple(span) for span in row[len(row) - len(ids) :]] for row, ids in zip(spans, read, strict=True)]
    return found


@dataclass(frozen=True)
class AnchorBlocks:
    """Two models' residual streams at the anchors, some texts at a time; iterating again runs the models again.

    A pair of `Activations` per block, of one row per anchor: `texts` has id, text (the word), word, split and source
    (place of the text), the same in both; `token_norms` one column per anchor. `fit_alignment` and `align_layers` take
    it as it is: what they keep does not grow with the number of anchors.

    Attributes:
        anchors: as `find_anchors` gives them.
        layers_a, layers_b: layers that are kept; None keeps all.
        n_texts: texts in a block.
    """

    lm_a: LanguageModel
    lm_b: LanguageModel
    texts: Sequence[str]
    anchors: pd.DataFrame
    layers_a: Collection[int] | None = None
    layers_b: Collection[int] | None = None
    n_texts: int = 64

    def __iter__(self) -> Iterator[tuple[Activations, Activations]]:
        used = np.unique(self.anchors["text"].to_numpy())
        for chosen in np.split(used, np.arange(self.n_texts, len(used), self.n_texts)):
            own = self.anchors[self.anchors["text"].isin(set(chosen.tolist()))]
            texts = [self.texts[place] for place in chosen]
            sides = ((self.lm_a, "token_a", self.layers_a), (self.lm_b, "token_b", self.layers_b))
            first, second = (
                _at_anchors(lm, texts, np.searchsorted(chosen, own["text"]), own, column, layers)
                for lm, column, layers in sides
            )
            yield first, second


def anchors_of(
    lm: LanguageModel,
    texts: Sequence[str],
    anchors: pd.DataFrame,
    column: str,
    layers: Collection[int] | None = None,
    *,
    n_texts: int = 64,
) -> Activations:
    """One model's residual stream at anchors that are known.

    Args:
        anchors: as `find_anchors` gives them.
        column: `token_a` or `token_b`, whichever tokenizer is the model's.
        layers: layers that are kept; None keeps all.
        n_texts: texts that are run at once.
    """
    arguments.one_of("column", column, ("token_a", "token_b"))
    used, parts = np.unique(anchors["text"].to_numpy()), []
    for chosen in np.split(used, np.arange(n_texts, len(used), n_texts)):
        own = anchors[anchors["text"].isin(set(chosen.tolist()))]
        some = [texts[place] for place in chosen]
        parts.append(_at_anchors(lm, some, np.searchsorted(chosen, own["text"]), own, column, layers))
    return joined(parts)


def extract_anchors(
    lm_a: LanguageModel,
    lm_b: LanguageModel,
    texts: Sequence[str],
    *,
    layers_a: Collection[int] | None = None,
    layers_b: Collection[int] | None = None,
    most_per_word: int = 20,
    seed: int = 0,
) -> tuple[Activations, Activations]:
    """The residual streams of two models at the anchors of neutral texts, in memory; see `AnchorBlocks`.

    Args:
        texts: neutral ones, and others than those that made the vectors which are to be mapped.
        layers_a, layers_b: layers that are kept; None keeps all.
        most_per_word, seed: see `matched_words`.

    Raises:
        UserError: as `find_anchors` and `extract_activations`.

    >>> import emolib
    >>> lm = emolib.load_model("smollm2_135m", device="cpu")
    >>> acts_a, acts_b = extract_anchors(lm, lm, ["The lamp is on."], layers_a=[10], layers_b=[10, 20])
    >>> acts_a.values["resid_pre"].shape, acts_b.values["resid_pre"].shape, acts_a.texts["word"].tolist()
    ((1, 3, 576), (2, 3, 576), ['lamp', 'is', 'on'])
    """
    anchors = find_anchors(lm_a, lm_b, texts, most_per_word=most_per_word, seed=seed)
    blocks = list(AnchorBlocks(lm_a, lm_b, list(texts), anchors, layers_a, layers_b))
    first, second = zip(*blocks, strict=True)
    return joined(first), joined(second)


def _at_anchors(
    lm: LanguageModel,
    texts: list[str],
    of_text: np.ndarray,
    anchors: pd.DataFrame,
    column: str,
    layers: Collection[int] | None,
) -> Activations:
    every = extract_activations(lm, texts, sites=("resid_pre",), positions="all", layers=layers)
    rows = every.offsets[of_text] + anchors[column].to_numpy()
    table = pd.DataFrame(
        {
            "id": [f"{text}-{start}" for text, start in zip(anchors["text"], anchors["start"], strict=True)],
            "text": anchors["word"].to_numpy(),
            "word": anchors["word"].to_numpy(),
            "split": anchors["split"].to_numpy(),
            "source": anchors["text"].to_numpy(),
        }
    )
    return Activations(
        {"resid_pre": every.values["resid_pre"][:, rows]},
        table,
        every.token_norms[:, rows],
        np.arange(len(rows) + 1),
        position=POSITION,
        model=every.model,
        revision=every.revision,
        layers=every.layers,
        bulk_norms=None if every.bulk_norms is None else every.bulk_norms[:, rows],
    )


def joined(parts: Sequence[Activations]) -> Activations:
    """Blocks of one model's anchors, one after the other."""
    first = parts[0]
    bulk = [part.bulk_norms for part in parts if part.bulk_norms is not None]
    table = pd.concat([part.texts for part in parts], ignore_index=True)
    return Activations(
        {"resid_pre": np.concatenate([part.values["resid_pre"] for part in parts], axis=1)},
        table,
        np.concatenate([part.token_norms for part in parts], axis=1),
        np.arange(len(table) + 1),
        position=first.position,
        model=first.model,
        revision=first.revision,
        layers=first.layers,
        bulk_norms=np.concatenate(bulk, axis=1) if len(bulk) == len(parts) else None,
    )
