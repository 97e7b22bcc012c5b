"""`Decoding`: one object for how a text is continued, checked where it is written."""

from __future__ import annotations

import dataclasses

import pytest

from emolib.base.errors import UserError
from emolib.engine.generation import generate
from emolib.engine.sampling import Decoding, DecodingFields
from emolib.models.language_model import LanguageModel


def test_the_keywords_are_the_fields() -> None:
    assert set(DecodingFields.__annotations__) == {field.name for field in dataclasses.fields(Decoding)}


@pytest.mark.parametrize("wrong", [{"max_new_tokens": 0}, {"temperature": -1.0}, {"top_p": 0.0}, {"top_p": 1.5}])
def test_a_number_out_of_range_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UserError, match=f"expected .*{next(iter(wrong))}"):
        Decoding(**wrong)


def test_every_field_counts_in_the_fingerprint() -> None:
    changed = [{}, {"max_new_tokens": 31}, {"temperature": 0.5}, {"top_p": 0.5}]
    assert len({Decoding(**fields).fingerprint() for fields in changed}) == len(changed)
    assert Decoding(temperature=1).fingerprint() == Decoding(temperature=1.0).fingerprint()


def test_fields_by_name_go_before_those_of_the_object(tiny_models: dict[str, LanguageModel]) -> None:
    lm, prompts, seeds = tiny_models["llama"], ["A shop"], [3]
    by_name = generate(lm, prompts, seeds=seeds, max_new_tokens=5, temperature=0.9, top_p=0.8)
    assert generate(lm, prompts, decoding=Decoding(5, 0.9, 0.8), seeds=seeds) == by_name
    assert generate(lm, prompts, decoding=Decoding(9, 0.9, 0.8), seeds=seeds, max_new_tokens=5) == by_name
    assert generate(lm, prompts, decoding=Decoding(5)) != by_name
    with pytest.raises(UserError, match=r"'max_tokens'.*did you mean 'max_new_tokens'"):
        generate(lm, prompts, max_tokens=5)
