"""Anchors of two real tokenizers and of tiny models whose tokens are known."""

from __future__ import annotations

import numpy as np
import pytest
from tiny import tiny_model
from transformers import PreTrainedTokenizerBase

from emolib.base.config import model_table
from emolib.base.errors import UserError
from emolib.data.dataset import load_dataset
from emolib.data.word_ends import Spans, matched_words
from emolib.directions.alignment import fit_alignment
from emolib.directions.map_judgement import match_cosines, matched_minus_mismatched
from emolib.directions.map_nulls import permuted_images
from emolib.directions.vectors import cosine
from emolib.engine.anchors import AnchorBlocks, extract_anchors, find_anchors, token_spans
from emolib.engine.extraction import extract_activations
from emolib.models.bundled import bundled_folder
from emolib.models.carriers import is_installed
from emolib.models.folder import load_tokenizer, read_folder
from emolib.models.language_model import LanguageModel
from emolib.models.rotated import rotated_copy

EMOTIONS = ["neutral", "gratitude", "anger", "apology"]
TEXTS = [
    "The lamp near the window was switched on at 7.",
    "Dr. Smith-Jones doesn't own   a café, he said.",
    "On the desk: two books\nand a naïve drawing 🙂 of 猫 cats.",
    "月曜日に 公園で 猫を 見ました。",
]


def tokenizer_of(name: str) -> PreTrainedTokenizerBase:
    if not is_installed(model_table()[name]):
        pytest.skip(f"{name} is not installed: `emolib fetch {name}`")
    folder, _ = bundled_folder(model_table()[name])
    return load_tokenizer(read_folder(folder, name, verified=True, converted=True))


def spans_of(tokenizer: PreTrainedTokenizerBase) -> tuple[list[list[int]], list[Spans]]:
    read = tokenizer(TEXTS, add_special_tokens=True, return_offsets_mapping=True)
    return read.input_ids, [[tuple(span) for span in row] for row in read.offset_mapping]


@pytest.fixture(scope="module")
def both() -> tuple[list[tuple], list[PreTrainedTokenizerBase]]:
    tokenizers = [tokenizer_of(name) for name in ("smollm2_135m", "gemma3_270m")]
    return [spans_of(tokenizer) for tokenizer in tokenizers], tokenizers


def test_the_two_real_tokenizers_meet_at_the_same_words(both: tuple) -> None:
    """Up to an anchor's token either model has read exactly the text up to the word's end: what the tokens before it
    spell is the same text."""
    [(ids_a, spans_a), (ids_b, spans_b)], tokenizers = both
    found = matched_words(TEXTS, spans_a, spans_b)
    assert len(found) >= 25
    for row in found.to_dict("records"):
        text, end = TEXTS[row["text"]], row["stop"]
        assert row["token_a"] > 0 and row["token_b"] > 0
        for tokenizer, ids, token in ((tokenizers[0], ids_a, row["token_a"]), (tokenizers[1], ids_b, row["token_b"])):
            read = tokenizer.decode(ids[row["text"]][: token + 1], skip_special_tokens=True)
            assert read.strip() == text[:end].strip(), (row, read)
    words = set(found["word"])
    assert {"lamp", "window", "café", "doesn't", "jones", "naïve", "cats", "猫"} <= words
    assert "the" in words and "dr" not in words and "on" in words


def test_the_real_tokenizers_have_unlike_habits(both: tuple) -> None:
    """What the matching copes with is there: a mark before the text in one, a character's pieces that share a place."""
    [(_, spans_a), (_, spans_b)], _ = both
    assert spans_a[0][0] != (0, 0) and spans_b[0][0] == (0, 0)
    pieces = [span for span, after in zip(spans_a[2], spans_a[2][1:], strict=False) if span == after]
    assert pieces


def test_activations_at_anchors_are_those_of_their_tokens(tiny_models: dict[str, LanguageModel]) -> None:
    lm_a, lm_b = tiny_models["gpt2"], tiny_models["gemma3_text"]
    anchors = find_anchors(lm_a, lm_b, TEXTS[:3])
    acts_a, acts_b = extract_anchors(lm_a, lm_b, TEXTS[:3], layers_b=[0, 2])
    assert acts_a.texts["word"].tolist() == anchors["word"].tolist()
    assert acts_a.texts.equals(acts_b.texts) and acts_b.layers == (0, 2)
    assert acts_a.values["resid_pre"].shape == (lm_a.n_layers + 1, len(anchors), lm_a.d_model)
    for place in (0, len(anchors) // 2, len(anchors) - 1):
        row = anchors.iloc[place]
        alone = extract_activations(lm_b, [TEXTS[row["text"]]], positions="all")
        expected = alone.layer("resid_pre", 2)[row["token_b"]]
        np.testing.assert_allclose(acts_b.layer("resid_pre", 2)[place], expected, atol=1e-5)
        norm = np.linalg.norm(acts_a.values["resid_pre"][1, place])
        assert acts_a.token_norms[1, place] == pytest.approx(norm, rel=1e-5)


def test_blocks_hold_every_anchor_once_and_can_be_gone_through_again(tiny_models: dict[str, LanguageModel]) -> None:
    lm_a, lm_b = tiny_models["llama"], tiny_models["qwen3"]
    whole = extract_anchors(lm_a, lm_b, TEXTS)
    blocks = AnchorBlocks(lm_a, lm_b, TEXTS, find_anchors(lm_a, lm_b, TEXTS), n_texts=3)
    for _ in range(2):
        parts = list(blocks)
        assert len(parts) == 2
        for side in (0, 1):
            found = np.concatenate([part[side].values["resid_pre"] for part in parts], axis=1)
            np.testing.assert_allclose(found, whole[side].values["resid_pre"], atol=1e-5)
        ids = [name for part in parts for name in part[0].texts["id"]]
        assert ids == whole[0].texts["id"].tolist()


def test_the_default_model_is_found_again_in_its_rotated_copy(bundled: LanguageModel) -> None:
    """The positive control on real activations: other texts for the map than for the vectors, raw cosines about 0."""
    rotated, layer = rotated_copy(bundled), 12
    data = load_dataset()
    neutral = data.loc[(data["emotion"] == "neutral") & (data["split"] == "train"), "text"].tolist()
    acts_a, acts_b = extract_anchors(bundled, rotated, neutral, layers_a=[layer], layers_b=[layer])
    held_out = data[data["scenario"].isin(data.loc[data["split"] == "test", "scenario"].unique()[:8])]
    vectors = []
    for lm in (bundled, rotated):
        rows = extract_activations(lm, held_out, sites=("resid_pre",), positions="mean", layers=[layer])
        means = {
            e: rows.where(lambda t, e=e: t["emotion"] == e).layer("resid_pre", layer).mean(axis=0) for e in EMOTIONS
        }
        vectors.append(np.stack([means[e] - means["neutral"] for e in EMOTIONS[1:]]))
    assert np.abs(cosine(np.pad(vectors[0], ((0, 0), (0, 64))), vectors[1])).max() < 0.2
    for method, space in (("procrustes", "raw"), ("ridge", "standardised")):
        amap = fit_alignment(acts_a, acts_b, layer_a=layer, layer_b=layer, method=method, space=space)
        mapped = amap.map(vectors[0])
        assert cosine(mapped, vectors[1]).min() >= 0.99
        assert amap.rank == 576 and amap.r2_held_out > 0.99
        assert matched_minus_mismatched(match_cosines(mapped, vectors[1])).min() > 1
        knowing_nothing = permuted_images(acts_a, acts_b, amap, vectors[0], n_maps=3)
        assert np.abs(cosine(knowing_nothing, vectors[1])).mean() < 0.5


def test_a_text_that_begins_with_the_first_mark_is_read_with_one_mark(bundled: LanguageModel) -> None:
    marked = f"{bundled.tokenizer.bos_token}The lamp is on."
    assert find_anchors(bundled, bundled, [marked])["word"].tolist()[-3:] == ["lamp", "is", "on"]
    spans = token_spans(bundled, [marked])[0]
    assert marked[slice(*spans[-2])].strip() == "on"


def test_a_tokenizer_without_places_and_texts_without_words_are_told(tiny_models: dict[str, LanguageModel]) -> None:
    with pytest.raises(UserError, match="give more or longer texts"):
        find_anchors(tiny_models["gpt2"], tiny_models["llama"], ["..."])
    slow = tiny_model("gpt2")
    object.__setattr__(slow, "tokenizer", _Slow(slow.tokenizer))
    with pytest.raises(UserError, match="tells where its tokens stand"):
        find_anchors(slow, slow, TEXTS[:1])


class _Slow:
    """A tokenizer that does not know places."""

    is_fast = False

    def __init__(self, fast: PreTrainedTokenizerBase) -> None:
        self._fast = fast

    def __getattr__(self, name: str) -> object:
        return getattr(self._fast, name)
