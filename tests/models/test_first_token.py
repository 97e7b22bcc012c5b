"""Texts begin with the first token where the model's family needs it, whatever its tokenizer's files have lost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from model_folders import set_key
from tiny import byte_tokenizer, plain_network
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerBase

from emolib.models.loading import load_model
from emolib.models.tokens import encode, first_mark


def tokenizer_with(first: str) -> PreTrainedTokenizerBase:
    """One token per byte and a first token, which nothing puts before a text."""
    made = byte_tokenizer()
    made.add_special_tokens({"bos_token": first})
    return made


def saved(folder: Path, architecture: str, tokenizer: PreTrainedTokenizerBase, *, stated: bool | None = None) -> Path:
    """A model folder whose files do not say whether texts begin with the first token, unless `stated`."""
    network = plain_network(architecture, vocab_size=len(tokenizer))
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    settings = folder / "tokenizer_config.json"
    set_key(settings, "tokenizer_class", "PreTrainedTokenizerFast")
    told = json.loads(settings.read_text())
    told.pop("add_bos_token", None)
    settings.write_text(json.dumps(told if stated is None else {**told, "add_bos_token": stated}))
    return folder


@pytest.mark.parametrize(
    ("architecture", "first", "stated", "expected"),
    [
        ("gemma3_text", "<bos>", None, "<bos>"),
        ("gemma3_text", "<bos>", True, "<bos>"),  # which transformers does not read
        ("gemma3_text", "<bos>", False, None),  # the user's word
        ("llama", "<|begin_of_text|>", None, "<|begin_of_text|>"),
        ("llama", "<s>", None, "<s>"),
        ("llama", "<s>", True, "<s>"),
        ("llama", "<s>", False, None),
        ("llama", "<|im_start|>", None, None),  # SmolLM2
        ("gpt2", "<|endoftext|>", None, None),
        ("gpt_neox", "<|endoftext|>", None, None),
        ("qwen3", "<|endoftext|>", None, None),
    ],
)
def test_the_family_decides_where_no_file_does(
    tmp_path: Path, architecture: str, first: str, stated: bool | None, expected: str | None
) -> None:
    lm = load_model(saved(tmp_path / "m", architecture, tokenizer_with(first), stated=stated), device="cpu")
    assert first_mark(lm) == expected
    [row] = encode(lm, ["A text"])
    plain = lm.tokenizer("A text", add_special_tokens=False).input_ids
    assert row == ([lm.tokenizer.bos_token_id, *plain] if expected else plain)
    assert first_mark(lm, f"{first}{{text}}") == first
    assert encode(lm, [f"{first}A text"])[0] == [lm.tokenizer.bos_token_id, *plain]  # never twice


def test_a_first_token_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    given = tokenizer_with("<bos>")
    marks = [("<bos>", given.bos_token_id), ("<|end|>", given.eos_token_id)]
    given.backend_tokenizer.post_processor = TemplateProcessing(single="<bos> $A <|end|>", special_tokens=marks)
    lm = load_model(saved(tmp_path / "m", "gemma3_text", given), device="cpu")
    row = lm.tokenizer("A").input_ids
    assert (row[0], row[-1], len(row)) == (given.bos_token_id, given.eos_token_id, 3)


@pytest.mark.parametrize("form", [None, "{{ messages[0]['content'] }}"])
def test_whether_a_folder_is_a_chat_models_is_whether_it_has_the_format(tmp_path: Path, form: str | None) -> None:
    tokenizer = tokenizer_with("<s>")
    tokenizer.chat_template = form
    assert load_model(saved(tmp_path / "m", "llama", tokenizer), device="cpu").spec.chat is (form is not None)
