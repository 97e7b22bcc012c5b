"""What texts begin with and which kind of model reads them, as 実行設定 says it."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from tiny import byte_tokenizer, plain_network, tiny_model

from emolib.base.escaping import code_span
from emolib.models.language_model import LanguageModel, wrap
from emolib.models.loading import spec_of
from emolib.report.ja.model_words import texts_and_model

BEGINS, NOT = (
    f"テキストの先頭に開始トークン {code_span('<bos>')} を付加する。",
    "テキストの先頭に開始トークンを付加しない。",
)


def gemma_like() -> LanguageModel:
    tokenizer = byte_tokenizer()
    tokenizer.add_special_tokens({"bos_token": "<bos>"})
    tokenizer.init_kwargs["name_or_path"] = ""  # as a loaded one has it; the bridge asks for it
    tokenizer.add_bos_token = True
    network = plain_network("gemma3_text", vocab_size=len(tokenizer))
    return wrap(network, tokenizer, spec_of(network.config, "tiny"), "seed0")


def said(lm: LanguageModel, model: str, *given: Any, **about: Any) -> str:
    lm = replace(lm, spec=lm.spec.model_copy(update=about))
    return texts_and_model(SimpleNamespace(lm=lm, params=SimpleNamespace(model=model)), *given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("model", "about", "given", "expected"),
    [
        ("gpt2_small", {}, (), "使うのは基盤モデル（対話用の調整なし）である。"),
        ("smollm2_135m", {"chat": True}, (), "使うのは対話用に調整されたモデルだが、対話形式には入れない。"),
        (
            "smollm2_135m",
            {"chat": True},
            ("{text}", "chat"),
            "使うのは対話用に調整されたモデルで、プロンプトをその対話形式に入れる。",
        ),
        ("/models/mine", {"chat": True}, (), "使うのは対話形式を持つモデルだが、対話形式には入れない。"),
        ("/models/mine", {}, (), "使うのは対話形式を持たないモデルである。"),
        ("smollm2_135m", {"chat": True, "random_weights": True}, (), "使うのは乱数重みのモデル（学習なし）である。"),
    ],
)
def test_the_kind_of_model_is_what_is_known_of_it(
    model: str, about: dict[str, Any], given: tuple[Any, ...], expected: str
) -> None:
    assert said(tiny_model("gpt2"), model, *given, **about) == NOT + expected


def test_the_first_token_is_named_where_texts_begin_with_it() -> None:
    lm = gemma_like()
    assert "<bos>" in lm.tokenizer.get_vocab()
    assert said(lm, "gemma3_270m").startswith(BEGINS)
    lm.tokenizer.add_bos_token = False
    assert said(lm, "gemma3_270m").startswith(NOT)
    assert said(lm, "gemma3_270m", "<bos>{text}").startswith(BEGINS)  # bos=always
