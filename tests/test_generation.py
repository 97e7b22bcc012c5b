"""Batched generation: a row's text follows from its own prompt, intervention and seed, never from its neighbours."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from tiny import (
    NEAR_TIE,
    WINDOW,
    Case,
    PlainText,
    assert_same_until_near_tie,
    byte_tokenizer,
    plain_text,
)
from tokenizers.processors import TemplateProcessing

from emolib.errors import UserError
from emolib.generation import FIRST_WIDTH, Sampler, encode, generate, pad_left, position_ids
from emolib.interventions import hook_point
from emolib.models import LanguageModel

SENTENCE = "The new shop by the old bridge opens again"
PROMPTS = [" ".join(SENTENCE.split()[first:]) for first in (0, 2, 5, 8)] + ["I"]
N_NEW = 10
LOGIT_TOLERANCE = 2e-4  # float32; logits of these models have a spread of 1 to 5


def shortened(lm: LanguageModel) -> list[list[int]]:
    """One prompt without its first 0 to 8 tokens, and a prompt of a single token."""
    (ids,) = encode(lm, [SENTENCE])
    return [ids[dropped:] for dropped in range(9)] + encode(lm, ["I"])


def last_logits(network: torch.nn.Module, rows: list[list[int]]) -> torch.Tensor:
    """The last position's logits of every row alone, `[row, vocabulary]`."""
    with torch.inference_mode():
        return torch.stack([network(torch.tensor([row])).logits[0, -1] for row in rows])


# Batched = single


def test_prompts_span_the_cases_that_matter(case: Case) -> None:
    lengths = [len(row) for row in shortened(case.lm)]
    assert [lengths[0] - length for length in lengths[:9]] == list(range(9))
    assert lengths[-1] == 1
    assert lengths[0] > WINDOW


def test_left_padding_leaves_the_last_logits_unchanged(case: Case) -> None:
    rows = shortened(case.lm)
    ids, mask = pad_left(rows, case.lm.tokenizer.pad_token_id)
    with torch.inference_mode():
        batched = case.lm.network(input_ids=ids, attention_mask=mask, position_ids=position_ids(mask)).logits[:, -1]
    alone = last_logits(case.plain, rows)
    assert alone.std() > 0.5, "logits too flat for the tolerance to mean anything"
    assert (batched - alone).abs().max() < LOGIT_TOLERANCE


@pytest.mark.parametrize("architecture", ["gpt2", "gpt_neo"])
def test_without_position_ids_left_padding_changes_the_logits(
    architecture: str, tiny_models: dict[str, LanguageModel]
) -> None:
    lm = tiny_models[architecture]
    rows = shortened(lm)
    ids, mask = pad_left(rows, lm.tokenizer.pad_token_id)
    with torch.inference_mode():
        batched = lm.network(input_ids=ids, attention_mask=mask).logits[:, -1]
    error = (batched - last_logits(lm.network, rows)).abs().amax(1)
    assert error[0] < LOGIT_TOLERANCE, "the row without padding needs no position ids"
    assert (error[1:] > 100 * LOGIT_TOLERANCE).all()


def test_batched_texts_equal_each_prompt_alone(case: Case) -> None:
    alone = [plain_text(case.plain, ids, N_NEW, case.lm.stop_ids) for ids in encode(case.lm, PROMPTS)]
    assert len({reference.tokens for reference in alone}) == len(PROMPTS), "texts that do not vary prove nothing"
    for batch_size in (1, 3, 128):
        outs = generate(case.lm, PROMPTS, max_new_tokens=N_NEW, batch_size=batch_size)
        equal = [assert_same_until_near_tie(out.token_ids, ref) for out, ref in zip(outs, alone, strict=True)]
        assert sum(equal) > 0.8 * sum(len(reference.tokens) for reference in alone)


def test_the_near_tie_rule_accepts_no_other_difference() -> None:
    reference = PlainText(tokens=(5, 6, 7), margins=(1.0, NEAR_TIE / 2, 1.0))
    assert assert_same_until_near_tie((5, 6, 7), reference) == 3
    assert assert_same_until_near_tie((5, 9, 9), reference) == 1
    for different in ((9, 6, 7), (5, 6, 9), (5, 6)):
        with pytest.raises(AssertionError):
            assert_same_until_near_tie(different, reference)
    stopped = PlainText(tokens=(5,), margins=(1.0, 1.0))
    assert assert_same_until_near_tie((5,), stopped) == 2
    with pytest.raises(AssertionError):
        assert_same_until_near_tie((5, 6), stopped)


# Ends of texts


def test_a_text_ends_before_its_stop_token_and_its_neighbours_go_on(
    tiny: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = generate(tiny, PROMPTS, max_new_tokens=N_NEW)
    stop = free[0].token_ids[3]
    monkeypatch.setattr(tiny.network.generation_config, "eos_token_id", stop)
    outs = generate(dataclasses.replace(tiny), PROMPTS, max_new_tokens=N_NEW)
    for before, after in zip(free, outs, strict=True):
        end = before.token_ids.index(stop) if stop in before.token_ids else N_NEW
        assert after.token_ids == before.token_ids[:end]
        assert after.finish_reason == ("stop" if end < N_NEW else "length")
        assert after.text == tiny.tokenizer.decode(after.token_ids)
    assert {out.finish_reason for out in outs} == {"stop", "length"}


def n_passes(lm: LanguageModel, prompts: list[str]) -> int:
    passes: list[int] = []
    point = hook_point(lm, "resid_pre", 0)
    handle = point.register_forward_hook(lambda module, args, hidden: passes.append(1))
    try:
        generate(lm, prompts, max_new_tokens=N_NEW)
    finally:
        handle.remove()
    return len(passes)


def test_generation_stops_when_every_row_has_ended(tiny: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    (free,) = generate(tiny, PROMPTS[:1], max_new_tokens=N_NEW)
    stop = free.token_ids[3]
    assert n_passes(tiny, PROMPTS[:1]) == N_NEW
    monkeypatch.setattr(tiny.network.generation_config, "eos_token_id", stop)
    assert n_passes(dataclasses.replace(tiny), PROMPTS[:1]) == free.token_ids.index(stop) + 1


def test_a_generation_records_its_prompt(tiny: LanguageModel) -> None:
    (out,) = generate(tiny, ["It rained."], max_new_tokens=4)
    assert out.prompt == "It rained." and tiny.tokenizer.decode(out.prompt_ids) == "It rained."
    assert len(out.token_ids) == 4 and (out.seed, out.delta_ratio) == (None, 0.0)


def test_special_tokens_of_the_tokenizer_are_part_of_the_prompt(tiny_models: dict[str, LanguageModel]) -> None:
    tokenizer = byte_tokenizer()
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{tokenizer.eos_token} $A", special_tokens=[(tokenizer.eos_token, tokenizer.eos_token_id)]
    )
    tokenizer.pad_token = tokenizer.eos_token
    lm = dataclasses.replace(tiny_models["llama"], tokenizer=tokenizer)
    with_start, without = (generate(m, ["It rained."], max_new_tokens=6)[0] for m in (lm, tiny_models["llama"]))
    assert with_start.prompt_ids == (tokenizer.eos_token_id, *without.prompt_ids)
    assert with_start.token_ids != without.token_ids


def test_progress_counts_finished_rows(tiny_models: dict[str, LanguageModel]) -> None:
    finished: list[int] = []
    generate(tiny_models["gpt2"], PROMPTS, max_new_tokens=2, batch_size=2, on_batch=finished.append)
    assert finished == [2, 4, 5]
    assert generate(tiny_models["gpt2"], [], max_new_tokens=2) == []


# Sampling


def sampled(
    lm: LanguageModel, prompts: list[str], seeds: list[int], batch_size: int = 128, **settings: float
) -> list[tuple[int, ...]]:
    settings = {"temperature": 0.8, "top_p": 0.9, **settings}
    outs = generate(lm, prompts, max_new_tokens=N_NEW, seeds=seeds, batch_size=batch_size, **settings)
    assert [out.seed for out in outs] == seeds
    return [out.token_ids for out in outs]


def test_a_sampled_text_depends_on_its_own_seed_alone(case: Case) -> None:
    seeds = list(range(len(PROMPTS)))
    together = sampled(case.lm, PROMPTS, seeds)
    assert sampled(case.lm, PROMPTS, seeds, batch_size=2) == together
    assert sampled(case.lm, PROMPTS[::-1], seeds[::-1]) == together[::-1]
    assert sampled(case.lm, PROMPTS[2:3], seeds[2:3]) == together[2:3]
    assert sampled(case.lm, PROMPTS, [100 + seed for seed in seeds]) != together


def test_different_seeds_give_different_texts(case: Case) -> None:
    texts = sampled(case.lm, [PROMPTS[0]] * 8, [0, 0, 1, 2, 3, 4, 5, 6])
    assert texts[0] == texts[1]
    assert len(set(texts)) >= 6


def test_a_tiny_nucleus_is_greedy(case: Case) -> None:
    greedy = [out.token_ids for out in generate(case.lm, PROMPTS, max_new_tokens=N_NEW)]
    seeds = list(range(len(PROMPTS)))
    assert sampled(case.lm, PROMPTS, seeds, top_p=1e-6) == greedy
    assert sampled(case.lm, PROMPTS, seeds, top_p=1.0) != greedy


def full_sort_pick(logits: np.ndarray, draw: float, temperature: float, top_p: float) -> int:
    """The nucleus by its definition: order all, cut, draw by the cumulated probability. One row `[vocabulary]`."""
    scaled = (logits / np.float32(temperature)).astype(np.float64)
    order = np.argsort(-scaled, kind="stable")
    share = np.exp(scaled[order] - scaled.max())
    reached = np.cumsum(share / share.sum())
    size = min(int(np.searchsorted(reached, top_p)) + 1, len(order))
    mass = reached[size - 1] if top_p < 1 else 1.0
    return int(order[min(int(np.searchsorted(reached, draw * mass)), size - 1)])


def test_picking_among_the_best_few_equals_a_full_sort() -> None:
    generator = np.random.default_rng(0)
    n_tokens = 6007  # three widths before the full sort
    spread = np.array([0.0, 0.01, 0.5, 2.0, 5.0])[:, None]  # from equal logits to one that towers
    logits = np.concatenate([generator.standard_normal((5, n_tokens)) * spread for _ in range(12)]).astype(np.float32)
    tied = torch.tensor(logits).bfloat16().float().numpy()
    draws = generator.random(len(logits))
    draws[:2] = 0.0, np.nextafter(1.0, 0.0)
    ranks = []
    for values in (logits, tied):
        for top_p in (1e-6, 0.3, 0.9, 0.999, 1.0):
            picked = Sampler(0.8, top_p).pick(torch.tensor(values), torch.tensor(draws)).tolist()
            assert picked == [full_sort_pick(row, d, 0.8, top_p) for row, d in zip(values, draws, strict=True)]
            ranks += [int((row > row[token]).sum()) for row, token in zip(values, picked, strict=True)]
    assert sum(rank >= FIRST_WIDTH for rank in ranks) > 50, "no row needed more than the first few"
    assert sum(rank < FIRST_WIDTH for rank in ranks) > 50


def test_sampled_frequencies_follow_the_nucleus() -> None:
    probability = np.array([0.4, 0.3, 0.2, 0.06, 0.04])
    logits = torch.tensor(np.log(probability), dtype=torch.float32).repeat(20_000, 1)
    draws = torch.tensor(np.random.default_rng(1).random(20_000))
    for top_p, kept in ((1.0, 5), (0.85, 3)):
        expected = np.where(np.arange(5) < kept, probability, 0) / probability[:kept].sum()
        counts = np.bincount(Sampler(1.0, top_p).pick(logits, draws).numpy(), minlength=5)
        np.testing.assert_allclose(counts / 20_000, expected, atol=0.015)
        assert (counts[kept:] == 0).all()


def test_low_temperature_sharpens_the_choice() -> None:
    logits = torch.tensor([[2.0, 1.0, 0.0]]).repeat(5000, 1)
    draws = torch.tensor(np.random.default_rng(2).random(5000))
    shares = [float((Sampler(t, 1.0).pick(logits, draws) == 0).float().mean()) for t in (0.2, 1.0, 5.0)]
    assert shares == sorted(shares, reverse=True) and shares[0] > 0.98 and shares[2] < 0.5


# Mistakes


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"interventions": [None]}, r"\(5\), got 1"),
        ({"temperature": 0.8}, r"\(5\), got none"),
        ({"temperature": 0.8, "seeds": [1, 2]}, r"\(5\), got 2"),
        ({"temperature": 0.8, "seeds": [1, 2, 3, 4, -5]}, "got -5"),
        ({"temperature": 0.8, "seeds": [1, 2, 3, 4, None]}, "got None"),
        ({"temperature": -0.5}, "got -0.5"),
        ({"temperature": float("nan")}, "got nan"),
        ({"temperature": 0.8, "seeds": [0] * 5, "top_p": 0.0}, "got 0.0"),
        ({"temperature": 0.8, "seeds": [0] * 5, "top_p": 1.5}, "got 1.5"),
        ({"max_new_tokens": 0}, "max_new_tokens .* got 0"),
        ({"batch_size": 0}, "batch_size .* got 0"),
    ],
)
def test_wrong_settings_are_named(settings: dict, named: str, tiny_models: dict[str, LanguageModel]) -> None:
    with pytest.raises(UserError, match=named):
        generate(tiny_models["gpt2"], PROMPTS, **{"max_new_tokens": 2, **settings})


@pytest.mark.parametrize("empty", ["", "  \n", None])
def test_an_empty_prompt_is_refused(empty: str | None, tiny_models: dict[str, LanguageModel]) -> None:
    with pytest.raises(UserError, match=rf"text 1 is {empty!r}".replace("\\", r"\\")):
        generate(tiny_models["gpt2"], ["It rained.", empty], max_new_tokens=2)
