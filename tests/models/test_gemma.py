"""Gemma 3 270M, the real one, where its packages are installed: what is loaded is what the file holds."""

from __future__ import annotations

import gc

import pytest
import torch
from transformers import AutoModelForCausalLM

from emolib.base.config import model_table
from emolib.engine.extraction import extract_activations
from emolib.engine.generation import generate
from emolib.models import gguf
from emolib.models.bundled import bundled_folder
from emolib.models.carriers import is_installed, whole_file
from emolib.models.folder import load_tokenizer, read_folder
from emolib.models.gguf_check import check_conversion
from emolib.models.gguf_file import read_gguf
from emolib.models.language_model import LanguageModel
from emolib.models.loading import load_model
from emolib.models.tokens import first_mark

GEMMA = model_table()["gemma3_270m"]
PROMPTS = [
    "The capital of France is",
    "Thank you so much for your help. I am",
    "In 2031, we'll",
    "My friend lied to me, and",
    "ありがとう",
]
N_NEW = 16
END = 1

pytestmark = pytest.mark.skipif(
    not is_installed(GEMMA), reason="gemma3_270m is not installed: `emolib fetch gemma3_270m` or EMOLIB_GEMMA=1"
)


@pytest.fixture(scope="module")
def plain_tokens() -> list[list[int]]:
    """What plain transformers continues each prompt with, one at a time; the model is gone when emolib's is loaded."""
    folder, _ = bundled_folder(GEMMA)
    network = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = load_tokenizer(read_folder(folder, GEMMA.name, verified=True))
    found = []
    with torch.inference_mode():
        for prompt in PROMPTS:
            ids = tokenizer(prompt, return_tensors="pt").input_ids
            out = network.generate(ids, max_new_tokens=N_NEW, do_sample=False, pad_token_id=0)
            tokens = out[0, ids.shape[1] :].tolist()
            found.append(tokens[: tokens.index(END)] if END in tokens else tokens)
    del network
    gc.collect()
    return found


@pytest.fixture(scope="module")
def gemma(plain_tokens: list[list[int]]) -> LanguageModel:
    return load_model("gemma3_270m", device="cpu", dtype="float32")


def test_the_conversion_is_what_the_file_holds(gemma: LanguageModel) -> None:
    folder, revision = bundled_folder(GEMMA)
    assert revision == gemma.revision == GEMMA.bundled.sha256 and folder == gguf.place_of(revision)
    with whole_file(GEMMA) as path:
        check_conversion(read_gguf(path, path.name), read_folder(folder, GEMMA.name, verified=True))
        assert gguf.gguf_folder(path, path.name) == (folder, revision)  # by the path of the file it is the same model


def test_it_is_the_model_of_the_table(gemma: LanguageModel) -> None:
    config = gemma.network.config
    assert (gemma.n_layers, gemma.d_model, gemma.n_heads, gemma.n_kv_heads, gemma.d_head) == (18, 640, 4, 1, 256)
    assert (config.sliding_window, config.query_pre_attn_scalar, config.tie_word_embeddings) == (512, 256, True)
    assert [i for i, kind in enumerate(config.layer_types) if kind == "full_attention"] == [5, 11, 17]
    assert gemma.blueprint is not None and gemma.tokenizer.chat_template is None
    assert gemma.spec.chat is False and first_mark(gemma) == "<bos>"
    for name, value in GEMMA.config.items():
        assert getattr(config, name) == (value if isinstance(value, str) else pytest.approx(value)), name


def test_every_text_begins_with_the_first_token(gemma: LanguageModel) -> None:
    rows = gemma.tokenizer([*PROMPTS, ""]).input_ids
    assert all(row[0] == gemma.tokenizer.bos_token_id == 2 and row.count(2) == 1 for row in rows)
    assert gemma.tokenizer.decode(rows[1], skip_special_tokens=True) == PROMPTS[1]


@pytest.mark.parametrize("engine", ["native", "bridge"])
def test_greedy_texts_are_those_of_plain_transformers(
    gemma: LanguageModel, plain_tokens: list[list[int]], engine: str
) -> None:
    found = generate(gemma, PROMPTS, max_new_tokens=N_NEW, engine=engine)
    assert [list(generation.token_ids) for generation in found] == plain_tokens
    assert found[0].text.startswith(" the capital of the country of France")


def test_activations_have_the_documented_shapes(gemma: LanguageModel) -> None:
    texts = PROMPTS[:3]
    acts = extract_activations(gemma, texts, sites=("attn_out", "mlp_out", "z"), positions="mean")
    shapes = {site: values.shape for site, values in acts.values.items()}
    assert shapes == {
        "resid_pre": (19, 3, 640),
        "attn_out": (18, 3, 640),
        "mlp_out": (18, 3, 640),
        "z": (18, 3, 4, 256),
    }
    n_tokens = sum(map(len, gemma.tokenizer(texts).input_ids))
    assert acts.token_norms.shape == (19, n_tokens) and acts.revision == GEMMA.bundled.sha256
