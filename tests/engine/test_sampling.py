"""`Decoding`: one object for how a text is continued, checked where it is written."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from emolib.base.errors import UserError
from emolib.engine.generation import generate
from emolib.engine.sampling import BLOCK, Decoding, DecodingFields, highest
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


@pytest.mark.parametrize("n_tokens", [2 * BLOCK - 1, 2 * BLOCK, 3 * BLOCK + 1, 5 * BLOCK + 77])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_highest_logit_is_the_first_of_equal_ones_and_a_nan(n_tokens: int, dtype: torch.dtype) -> None:
    made = torch.Generator().manual_seed(n_tokens)
    logits = torch.randn(40, n_tokens, generator=made).to(dtype)
    logits[:10] = logits[:10].round()  # many are equal
    logits[10:14, -1] = logits[14:18, 0] = logits[18:20, BLOCK] = 9.0
    logits[20:22, [3, BLOCK + 5, -1]] = 9.0
    logits[22, -2:] = logits[23, 7] = torch.nan
    logits[24] = -torch.inf
    found = highest(logits)
    assert found.tolist() == [next(i for i, v in enumerate(row) if v == max(row)) for row in logits[:22].tolist()] + (
        [n_tokens - 2, 7, 0] + logits[25:].float().numpy().argmax(-1).tolist()
    )
    assert torch.equal(highest(logits[:, None].expand(-1, 3, -1)[:, 1]), found)
