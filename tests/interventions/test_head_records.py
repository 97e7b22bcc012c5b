"""Recording what heads read and wrote: against the plain network's own attentions and modules."""

from __future__ import annotations

import dataclasses
from itertools import product

import numpy as np
import pytest
import torch
from tiny import Case, Heads, count_hooks, forced_logits, plain_attention, plain_heads

from emolib.base.errors import UserError
from emolib.interventions import (
    HeadActivations,
    PatchHead,
    mean_head_output,
    parse_heads,
    record_heads,
)
from emolib.models.language_model import LanguageModel
from emolib.models.tokens import encode

PROMPTS = ["The new shop by the old bridge", "It rained and", "I", "Her cat sat on a cold red fence all night long"]
TOLERANCE = 1e-4  # of activations of about 1 to 10, in float32


def every_head(lm: LanguageModel) -> list[tuple[int, int]]:
    return list(product(range(lm.n_layers), range(lm.n_heads)))


@pytest.fixture(scope="module")
def case(tiny_case: Case) -> Case:
    """The tiny models; what every kind of act does to the bundled one is in test_bundled_interventions."""
    return tiny_case


@pytest.fixture(scope="module")
def records(case: Case) -> list[HeadActivations]:
    """Every head in every prompt, recorded in one padded batch."""
    return record_heads(case.lm, PROMPTS, every_head(case.lm))


@pytest.fixture(scope="module")
def plain(case: Case) -> list[list[Heads]]:
    """The same in the plain network, one prompt at a time: per prompt and layer."""
    return [plain_heads(case.plain, ids) for ids in encode(case.lm, PROMPTS)]


def assert_close(found: np.ndarray, wanted: torch.Tensor | np.ndarray) -> None:
    np.testing.assert_allclose(found, np.asarray(wanted), atol=TOLERANCE, rtol=0)


# What is recorded


def test_records_equal_the_plain_network_s(
    case: Case, records: list[HeadActivations], plain: list[list[Heads]]
) -> None:
    assert len({len(record.prompt_ids) for record in records}) > 2, "without padding this proves less"
    for record, prompt, ids, layers in zip(records, PROMPTS, encode(case.lm, PROMPTS), plain, strict=True):
        assert (record.prompt, record.prompt_ids) == (prompt, tuple(ids))
        assert (record.model, record.revision) == (case.lm.spec.name, case.lm.revision)
        for layer, head in every_head(case.lm):
            z, values, pattern = layers[layer]
            assert record.z[layer, head].shape == record.values[layer, head].shape == (len(ids), case.lm.d_head)
            assert_close(record.z[layer, head], z[:, head])
            assert_close(record.values[layer, head], values[:, head])
            assert_close(record.patterns[layer, head], pattern[head])


def test_records_of_different_heads_and_prompts_differ(records: list[HeadActivations]) -> None:
    first, other = records[0], records[3]
    parts = ("z", "patterns")
    for part, (one, two) in product(parts, [((0, 0), (0, 1)), ((0, 0), (1, 0)), ((1, 1), (1, 2))]):
        assert np.abs(getattr(first, part)[one] - getattr(first, part)[two]).max() > 0.01
    for part in ("z", "values"):
        assert np.abs(getattr(first, part)[1, 1][:9] - getattr(other, part)[1, 1][:9]).max() > 0.01


def test_query_heads_of_one_kv_head_share_its_values_and_nothing_else(
    case: Case, records: list[HeadActivations]
) -> None:
    record, shared = records[0], case.lm.n_heads // case.lm.n_kv_heads
    for one, two in product(range(case.lm.n_heads), repeat=2):
        same = np.array_equal(record.values[1, one], record.values[1, two])
        assert same == (one // shared == two // shared)
        assert np.array_equal(record.z[1, one], record.z[1, two]) == (one == two)


def test_values_are_what_the_kv_head_s_projection_gives(case: Case, records: list[HeadActivations]) -> None:
    """Without `plain_values`: exchanging the projection's output of one KV head changes that head's record alone."""
    (ids,) = encode(case.lm, PROMPTS[:1])
    module = plain_attention(case.plain, 1).values
    projected: list[torch.Tensor] = []
    handle = module.register_forward_hook(lambda module, args, output: projected.append(output[0]))
    try:
        with torch.inference_mode():
            case.plain(torch.tensor([ids]), use_cache=False)
    finally:
        handle.remove()
    width = case.lm.d_head
    blocks_of_columns = projected[0].unflatten(-1, (-1, width)).numpy()  # `[pos, place, d_head]`
    for head in range(case.lm.n_heads):
        values = records[0].values[1, head]
        places = [
            i for i in range(blocks_of_columns.shape[1]) if np.allclose(blocks_of_columns[:, i], values, atol=1e-4)
        ]
        assert len(places) == 1


# Patterns


def test_pattern_rows_are_shares_of_what_was_read_before(records: list[HeadActivations]) -> None:
    for record in records:
        for key, pattern in record.patterns.items():
            np.testing.assert_allclose(pattern.sum(1), 1, atol=1e-5)
            assert pattern.min() >= 0
            assert np.triu(pattern, 1).max(initial=0) == 0, "a token read a later one"
            assert_close(record.z[key], pattern @ record.values[key])


def test_other_patterns_change_what_the_model_says(case: Case, records: list[HeadActivations]) -> None:
    lm, source, n_tokens = case.lm, records[0], len(records[0].prompt_ids)
    heads = every_head(lm)
    to_itself = {head: np.eye(n_tokens, dtype=np.float32) for head in heads}
    forced = [encode(lm, ["and on"])[0][:2]] * 3
    rows = [None] + [
        tuple(PatchHead(*head, given, "pattern_v") for head in heads)
        for given in (source, dataclasses.replace(source, patterns=to_itself))
    ]
    for pattern in to_itself.values():
        np.testing.assert_allclose(pattern.sum(1), 1)
    unpatched, own, other = forced_logits(lm, "native", [PROMPTS[0]] * 3, rows, forced)
    torch.testing.assert_close(own, unpatched, atol=5e-4, rtol=0)
    assert (other - unpatched).abs().max() > 0.1


# How prompts are batched


@pytest.mark.parametrize("batch_size", [1, 3])
def test_padding_and_neighbours_do_not_change_a_record(
    case: Case, records: list[HeadActivations], batch_size: int
) -> None:
    for order in (range(4), (3, 2, 1, 0)):
        again = record_heads(case.lm, [PROMPTS[i] for i in order], every_head(case.lm), batch_size=batch_size)
        for i, record in zip(order, again, strict=True):
            assert record.prompt_ids == records[i].prompt_ids
            for part in ("z", "values", "patterns"):
                found, wanted = getattr(record, part), getattr(records[i], part)
                assert list(found) == list(wanted) == every_head(case.lm)
                for head in found:
                    assert_close(found[head], wanted[head])


def test_recording_leaves_no_hooks_and_only_the_heads_asked_for(case: Case, records: list[HeadActivations]) -> None:
    before = count_hooks(case.lm)
    (record,) = record_heads(case.lm, PROMPTS[:1], "1:2,0:0")
    assert count_hooks(case.lm) == before
    for part in (record.z, record.values, record.patterns):
        assert list(part) == [(1, 2), (0, 0)]
    assert_close(record.z[1, 2], records[0].z[1, 2])


# Means


def test_the_mean_output_leaves_out_first_tokens(records: list[HeadActivations], plain: list[list[Heads]]) -> None:
    tokens = torch.cat([layers[1][0][1:, 2] for layers in plain])
    assert len(tokens) == sum(len(record.prompt_ids) - 1 for record in records)
    mean = mean_head_output(records, 1, 2)
    assert_close(mean, tokens.mean(0))
    with_first = torch.cat([layers[1][0][:, 2] for layers in plain]).mean(0)
    assert np.abs(mean - with_first.numpy()).max() > 10 * TOLERANCE
    assert_close(mean_head_output([records[2], records[0]], 1, 2), plain[0][1][0][1:, 2].mean(0))


def test_a_mean_of_first_tokens_alone_is_refused(records: list[HeadActivations]) -> None:
    assert len(records[2].prompt_ids) == 1
    for nothing in ([records[2]], []):
        with pytest.raises(UserError, match="at least two tokens"):
            mean_head_output(nothing, 1, 2)


def test_a_mean_of_a_head_that_was_not_recorded_is_refused(tiny: LanguageModel) -> None:
    found = record_heads(tiny, PROMPTS[:1], "1:2")
    assert mean_head_output(found, 1, 2).shape == (tiny.d_head,)
    with pytest.raises(UserError, match=r"1:2.*0:3"):
        mean_head_output(found, 0, 3)


# Naming heads


def test_heads_are_named_by_text_or_pairs() -> None:
    assert parse_heads("3:5,7:2") == ((3, 5), (7, 2))
    assert parse_heads(" 3:5 , 10:12 ") == ((3, 5), (10, 12))
    assert parse_heads([(3, 5), [7, 2]]) == ((3, 5), (7, 2))
    assert parse_heads(((np.int64(0), np.int64(1)),)) == ((0, 1),)


@pytest.mark.parametrize("heads", ["3-5", "3", "", "3:5,", "3:5:1", "L3:H5", "-1:0", "3:1.5", "3:5;7:2", "a:b"])
def test_another_form_of_text_is_refused_by_name(heads: str) -> None:
    with pytest.raises(UserError, match=r"layer:head.*got ") as refusal:
        parse_heads(heads)
    assert repr(heads) in str(refusal.value)


def test_no_heads_are_refused() -> None:
    with pytest.raises(UserError, match=r"got \[\]"):
        parse_heads([])


@pytest.mark.parametrize("heads", [[(1, 2, 3)], [(1,)], [3], [("a", "b")], [(None, 1)], [(1.5, 2)], 3, None])
def test_another_form_of_pairs_is_refused_by_name(heads: object) -> None:
    came = heads[0] if isinstance(heads, list) else heads
    with pytest.raises(UserError) as refusal:
        parse_heads(heads)
    assert repr(came) in str(refusal.value)


def test_heads_outside_the_model_are_refused_by_name(tiny: LanguageModel) -> None:
    n_layers, n_heads = tiny.n_layers, tiny.n_heads
    wrong = {
        f"head of 0-{n_heads - 1}, got {n_heads}": [(0, n_heads)],
        "head of .* got -1": [(0, -1)],
        f"layer of 0-{n_layers - 1} for heads, got {n_layers}": [(0, 0), (n_layers, 0)],
        "for heads, got -1": [(-1, 0)],
    }
    for named, heads in wrong.items():
        with pytest.raises(UserError, match=named):
            record_heads(tiny, PROMPTS[:1], heads)
    assert record_heads(tiny, PROMPTS[:1], [(n_layers - 1, n_heads - 1)])


def test_the_refusal_of_a_layer_names_the_layers_that_have_heads(tiny: LanguageModel) -> None:
    with pytest.raises(UserError) as refusal:
        record_heads(tiny, PROMPTS[:1], [(tiny.n_layers, 0)])
    assert f"0-{tiny.n_layers - 1}" in str(refusal.value)


@pytest.mark.parametrize("text", ["", "  ", None, 3])
def test_empty_texts_are_refused_by_name(tiny: LanguageModel, text: object) -> None:
    with pytest.raises(UserError, match=f"text 1 of prompts is {text!r}".replace("  ", " ")):
        record_heads(tiny, [PROMPTS[0], text], "0:0")


@pytest.mark.parametrize("batch_size", [0, -1])
def test_a_batch_size_of_nothing_is_refused(tiny_models: dict[str, LanguageModel], batch_size: int) -> None:
    with pytest.raises(UserError, match=f"batch_size.* {batch_size}"):
        record_heads(tiny_models["gpt2"], PROMPTS, "0:0", batch_size=batch_size)
