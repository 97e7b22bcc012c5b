"""A copy in other coordinates computes the same, from a residual stream that looks like another model's."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from emolib.base.errors import UserError
from emolib.engine.extraction import extract_activations
from emolib.engine.generation import generate
from emolib.models.language_model import LanguageModel
from emolib.models.loading import load_model
from emolib.models.outlook import outlook_of
from emolib.models.rotated import isometry, rotated_copy
from emolib.models.sources import model_identity
from emolib.models.tokens import encode

TEXTS = ["Thank you so much for your help. I am", "The lamp near the window was switched on at seven."]


@pytest.fixture(scope="module")
def rotated() -> LanguageModel:
    return load_model("rotated", device="cpu")


def test_its_identity_and_sizes_are_known_before_it_is_made(rotated: LanguageModel, bundled: LanguageModel) -> None:
    assert model_identity("rotated") == rotated.identity
    assert rotated.revision == rotated_copy(bundled).revision == f"{bundled.revision}-rotated640-seed0"
    outlook = outlook_of("rotated")
    assert (outlook.n_layers, outlook.positions) == (30, None)
    assert outlook.tokenizer("A lamp.").input_ids == rotated.tokenizer("A lamp.").input_ids


def test_of_random_weights_it_is_a_copy_of_the_random_model() -> None:
    random = model_identity("smollm2_135m", random_weights=True, seed=3)["revision"]
    assert model_identity("rotated", random_weights=True, seed=3)["revision"] == f"{random}-rotated640-seed0"


def test_it_is_the_default_model_at_another_width(bundled: LanguageModel, rotated: LanguageModel) -> None:
    assert (rotated.d_model, rotated.n_layers, rotated.n_heads, rotated.d_head) == (640, 30, 9, 64)
    assert rotated.spec.name == "rotated" and rotated.revision != bundled.revision


def test_logits_are_the_same_and_residuals_are_once_the_isometry_is_undone(
    bundled: LanguageModel, rotated: LanguageModel
) -> None:
    for text in TEXTS:
        ids = torch.tensor(encode(bundled, [text]))
        with torch.inference_mode():
            own, other = bundled.network(ids).logits[0], rotated.network(ids).logits[0]
        assert (own.argmax(-1) == other.argmax(-1)).all()
        assert (own - other).abs().max() < 4e-3
    q = isometry(640, 576)
    acts, turned = (extract_activations(lm, TEXTS, sites=("resid_pre",)) for lm in (bundled, rotated))
    for layer in (0, 15, 30):
        x, y = acts.layer("resid_pre", layer), turned.layer("resid_pre", layer)
        assert np.abs(y @ q - x).max() < 1e-4 * np.abs(x).max()
        wide = np.pad(x, ((0, 0), (0, 64)))
        cosines = (wide * y).sum(1) / np.linalg.norm(wide, axis=1) / np.linalg.norm(y, axis=1)
        assert np.abs(cosines).max() < 0.2


def test_it_writes_the_same_text(bundled: LanguageModel, rotated: LanguageModel) -> None:
    texts = [generate(lm, TEXTS[:1], [None], max_new_tokens=8)[0].text for lm in (bundled, rotated)]
    assert texts[0] == texts[1]


def test_a_tiny_llama_keeps_its_logits_at_any_width(tiny_models: dict[str, LanguageModel]) -> None:
    lm = tiny_models["llama"]
    ids = torch.tensor(encode(lm, TEXTS[:1]))
    for width, seed in ((48, 0), (64, 3)):
        copy = rotated_copy(lm, d_model=width, seed=seed)
        with torch.inference_mode():
            assert (copy.network(ids).logits - lm.network(ids).logits).abs().max() < 1e-4
        assert copy.d_model == width and copy.revision.endswith(f"rotated{width}-seed{seed}")


@pytest.mark.parametrize(
    ("architecture", "width", "words"),
    [("gpt2", 64, "Llama form"), ("gemma3_text", 64, "Llama form"), ("llama", 40, "d_model")],
)
def test_what_cannot_be_rotated_is_told(
    tiny_models: dict[str, LanguageModel], architecture: str, width: int, words: str
) -> None:
    with pytest.raises(UserError, match=words):
        rotated_copy(tiny_models[architecture], d_model=width)
