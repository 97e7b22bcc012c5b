"""Batched generation: a row's text follows from its own prompt, intervention and seed, never from its neighbours."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections import Counter
from collections.abc import Callable, Sequence

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

from emolib.base.errors import UserError
from emolib.engine.bridge import BridgeRunner
from emolib.engine.decoding_job import DROP_SHARE
from emolib.engine.generation import generate
from emolib.engine.native import NativeRunner
from emolib.engine.sampling import FIRST_WIDTH, Sampler
from emolib.interventions import Edits
from emolib.models.language_model import LanguageModel
from emolib.models.tokens import encode, pad_left, position_ids

SENTENCE = "The new shop by the old bridge opens again"
PROMPTS = [" ".join(SENTENCE.split()[first:]) for first in (0, 2, 5, 8)] + ["I"]
N_NEW = 10
LOGIT_TOLERANCE = 2e-4  # float32; logits of these models have a spread of 1 to 5
RUNNERS = {"native": NativeRunner, "bridge": BridgeRunner, "graph": functools.partial(NativeRunner, as_graph=True)}


@pytest.fixture(params=["native", "bridge"])
def engine(request: pytest.FixtureRequest) -> str:
    """Both routes to a text: the engine's own forward pass, and the model's own code."""
    return request.param


def shortened(lm: LanguageModel) -> list[list[int]]:
    """One prompt without its first 0 to 8 tokens, and a prompt of a single token."""
    (ids,) = encode(lm, [SENTENCE])
    return [ids[dropped:] for dropped in range(9)] + encode(lm, ["I"])


def coming(lm: LanguageModel, rows: list[list[int]]) -> torch.Tensor:
    """Two tokens to feed after every prompt, `[row, 2]`, different from row to row."""
    (ids,) = encode(lm, [SENTENCE])
    return torch.tensor([[ids[i % len(ids)], ids[(i + 3) % len(ids)]] for i in range(len(rows))])


def logits_alone(network: torch.nn.Module, rows: list[list[int]], fed: torch.Tensor) -> torch.Tensor:
    """Logits after every prompt and after each token fed to it, every row alone: `[row, 3, vocabulary]`."""
    with torch.inference_mode():
        texts = [[*row, *tokens.tolist()] for row, tokens in zip(rows, fed, strict=True)]
        return torch.stack([network(torch.tensor([text])).logits[0, -1 - fed.shape[1] :] for text in texts])


def logits_together(runner: Callable, lm: LanguageModel, rows: list[list[int]], fed: torch.Tensor) -> torch.Tensor:
    """The same by a runner, all rows in one padded batch."""
    ids, mask = pad_left(rows, lm.tokenizer.pad_token_id)
    with torch.inference_mode():
        edits = Edits(lm, [None] * len(rows), [len(row) for row in rows], ids.shape[1], fed.shape[1])
        running = runner(lm, ids, mask, edits, fed.shape[1])
        steps = [running.start().clone()] + [running.step(tokens).clone() for tokens in fed.T]
    return torch.stack(steps, dim=1)


# Batched = single


def test_prompts_span_the_cases_that_matter(case: Case) -> None:
    lengths = [len(row) for row in shortened(case.lm)]
    assert [lengths[0] - length for length in lengths[:9]] == list(range(9))
    assert lengths[-1] == 1
    assert lengths[0] > WINDOW


@pytest.mark.parametrize("runner", RUNNERS)
def test_left_padding_leaves_the_logits_unchanged(case: Case, runner: str) -> None:
    rows = shortened(case.lm)
    fed = coming(case.lm, rows)
    alone = logits_alone(case.plain, rows, fed)
    assert alone.std() > 0.5, "logits too flat for the tolerance to mean anything"
    assert (logits_together(RUNNERS[runner], case.lm, rows, fed) - alone).abs().max() < LOGIT_TOLERANCE


@pytest.mark.parametrize("runner", ["native", "graph"])
def test_positions_that_count_padding_change_the_logits(
    tiny: LanguageModel, runner: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = shortened(tiny)
    fed = coming(tiny, rows)
    alone = logits_alone(tiny.network, rows, fed)
    monkeypatch.setattr(
        "emolib.engine.native.position_ids", lambda mask: torch.arange(mask.shape[1]).expand(mask.shape)
    )
    error = (logits_together(RUNNERS[runner], tiny, rows, fed) - alone).abs().amax(-1)
    assert error[0].max() < LOGIT_TOLERANCE, "the row without padding is where it was"
    # a rotation depends on distances alone: it shows once a token is fed at its right place
    assert (error[1:, 1:] > 100 * LOGIT_TOLERANCE).all()
    assert bool((error[1:, 0] > 100 * LOGIT_TOLERANCE).all()) == (tiny.blueprint.positions is not None)


@pytest.mark.parametrize("architecture", ["gpt2", "gpt_neo"])
def test_without_position_ids_left_padding_changes_the_logits(
    architecture: str, tiny_models: dict[str, LanguageModel]
) -> None:
    lm = tiny_models[architecture]
    rows = shortened(lm)
    ids, mask = pad_left(rows, lm.tokenizer.pad_token_id)
    alone = logits_alone(lm.network, rows, coming(lm, rows))[:, 0]
    with torch.inference_mode():
        with_positions = lm.network(input_ids=ids, attention_mask=mask, position_ids=position_ids(mask)).logits[:, -1]
        batched = lm.network(input_ids=ids, attention_mask=mask).logits[:, -1]
    assert (with_positions - alone).abs().max() < LOGIT_TOLERANCE
    error = (batched - alone).abs().amax(1)
    assert error[0] < LOGIT_TOLERANCE, "the row without padding needs no position ids"
    assert (error[1:] > 100 * LOGIT_TOLERANCE).all()


def test_batched_texts_equal_each_prompt_alone(case: Case, engine: str) -> None:
    alone = [plain_text(case.plain, ids, N_NEW, case.lm.stop_ids) for ids in encode(case.lm, PROMPTS)]
    assert len({reference.tokens for reference in alone}) == len(PROMPTS), "texts that do not vary prove nothing"
    for batch_size in (1, 3, 128):
        outs = generate(case.lm, PROMPTS, max_new_tokens=N_NEW, batch_size=batch_size, engine=engine)
        equal = [assert_same_until_near_tie(out.token_ids, ref) for out, ref in zip(outs, alone, strict=True)]
        assert sum(equal) > 0.8 * sum(len(reference.tokens) for reference in alone)


def test_a_full_batch_of_128_gives_the_texts_of_single_rows(tiny: LanguageModel, engine: str) -> None:
    texts = [SENTENCE[first:] for first in range(0, 36, 3)] + [SENTENCE[:last] for last in range(1, 20, 2)]
    prompts = (texts * 6)[:128]
    alone = {
        text: plain_text(tiny.network, ids, 4, tiny.stop_ids)
        for text, ids in zip(texts, encode(tiny, texts), strict=True)
    }
    outs = generate(tiny, prompts, max_new_tokens=4, batch_size=128, engine=engine)
    equal = [assert_same_until_near_tie(out.token_ids, alone[out.prompt]) for out in outs]
    assert len(outs) == 128 and sum(equal) > 0.8 * sum(len(alone[text].tokens) for text in prompts)


def test_auto_is_native_where_the_architecture_is_known(tiny: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = dataclasses.replace(tiny, blueprint=None)
    generate(tiny, PROMPTS[:1], max_new_tokens=2)  # the first call also holds the blueprint against the network
    counts = {name: fed_rows(monkeypatch, name) for name in ("native", "bridge")}
    known_texts = [generate(tiny, PROMPTS, max_new_tokens=N_NEW, engine=name) for name in ("native", "auto")]
    assert counts["native"] and not counts["bridge"]
    counts["native"].clear()
    texts = generate(unknown, PROMPTS, max_new_tokens=N_NEW)
    assert counts["bridge"] and not counts["native"]
    assert known_texts[0] == known_texts[1]
    assert [out.token_ids for out in texts] == [out.token_ids for out in known_texts[0]]
    with pytest.raises(UserError, match="does not know"):
        generate(unknown, PROMPTS, max_new_tokens=N_NEW, engine="native")


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


def fed_rows(monkeypatch: pytest.MonkeyPatch, engine: str) -> list[int]:
    """Fills up with the number of rows of every step that the engine computes after a prefill."""
    counts: list[int] = []
    kind, step = RUNNERS[engine], RUNNERS[engine].step

    def counted(self: NativeRunner | BridgeRunner, tokens: torch.Tensor) -> torch.Tensor:
        counts.append(len(tokens))
        logits = step(self, tokens)
        assert len(logits) == len(tokens)
        return logits

    monkeypatch.setattr(kind, "step", counted)
    return counts


def ending_at(lm: LanguageModel, stop: int, monkeypatch: pytest.MonkeyPatch) -> LanguageModel:
    """The same model when another token ends a text."""
    monkeypatch.setattr(lm.network.generation_config, "eos_token_id", stop)
    return dataclasses.replace(lm)


def most_frequent(texts: Sequence[tuple[int, ...]]) -> int:
    """The token that most texts hold before their last two."""
    return Counter(token for tokens in texts for token in sorted(set(tokens[:-2]))).most_common(1)[0][0]


@pytest.mark.parametrize("use_cache", [True, False])
def test_a_text_ends_before_its_stop_token_and_its_neighbours_go_on(
    tiny: LanguageModel, engine: str, use_cache: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"max_new_tokens": N_NEW, "engine": engine, "use_cache": use_cache}
    free = generate(tiny, PROMPTS, **settings)
    stop = free[0].token_ids[3]
    outs = generate(ending_at(tiny, stop, monkeypatch), PROMPTS, **settings)
    for before, after in zip(free, outs, strict=True):
        end = before.token_ids.index(stop) if stop in before.token_ids else N_NEW
        assert after.token_ids == before.token_ids[:end]
        assert after.finish_reason == ("stop" if end < N_NEW else "length")
        assert after.text == tiny.tokenizer.decode(after.token_ids)
    assert {out.finish_reason for out in outs} == {"stop", "length"}


def test_generation_stops_when_every_row_has_ended(
    tiny: LanguageModel, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (free,) = generate(tiny, PROMPTS[:1], max_new_tokens=N_NEW, engine=engine)
    stop = free.token_ids[3]
    counts = fed_rows(monkeypatch, engine)
    generate(tiny, PROMPTS[:1], max_new_tokens=N_NEW, engine=engine)
    assert counts == [1] * (N_NEW - 1), "the last token is not fed"
    counts.clear()
    generate(ending_at(tiny, stop, monkeypatch), PROMPTS[:1], max_new_tokens=N_NEW, engine=engine)
    assert counts == [1] * free.token_ids.index(stop)


def test_rows_that_have_ended_are_computed_no_longer(tiny: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"max_new_tokens": N_NEW, "temperature": 1.5, "seeds": list(range(40))}
    prompts = PROMPTS[:2] * 20  # of like length: one batch
    free = [out.token_ids for out in generate(tiny, prompts, **settings)]
    lm = ending_at(tiny, most_frequent(free), monkeypatch)
    for engine in ("native", "bridge"):
        counts = fed_rows(monkeypatch, engine)
        outs = generate(lm, prompts, **settings, engine=engine)
        going_on = [sum(len(out.token_ids) > step for out in outs) for step in range(len(counts))]
        assert 10 < going_on[-1] < 36, "no row, or too many, have ended"
        if engine == "bridge":
            assert counts == [40] * (N_NEW - 1)
            continue
        for fed, needed in zip(counts, going_on, strict=True):
            assert needed <= fed and (fed - needed) * DROP_SHARE < fed
        assert any(fed > needed for fed, needed in zip(counts, going_on, strict=True)), "a single row is not worth it"


def test_a_generation_records_its_prompt(tiny: LanguageModel, engine: str) -> None:
    (out,) = generate(tiny, ["It rained."], max_new_tokens=4, engine=engine)
    assert out.prompt == "It rained." and tiny.tokenizer.decode(out.prompt_ids) == "It rained."
    assert len(out.token_ids) == 4 and (out.seed, out.delta_ratio) == (None, 0.0)


def test_special_tokens_of_the_tokenizer_are_part_of_the_prompt(
    tiny_models: dict[str, LanguageModel], engine: str
) -> None:
    tokenizer = byte_tokenizer()
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{tokenizer.eos_token} $A", special_tokens=[(tokenizer.eos_token, tokenizer.eos_token_id)]
    )
    tokenizer.pad_token = tokenizer.eos_token
    lm = dataclasses.replace(tiny_models["llama"], tokenizer=tokenizer)
    with_start, without = (
        generate(model, ["It rained."], max_new_tokens=6, engine=engine)[0] for model in (lm, tiny_models["llama"])
    )
    assert with_start.prompt_ids == (tokenizer.eos_token_id, *without.prompt_ids)
    assert with_start.token_ids != without.token_ids


def test_progress_counts_finished_rows(tiny_models: dict[str, LanguageModel], engine: str) -> None:
    finished: list[int] = []
    lm = tiny_models["gpt2"]
    generate(lm, PROMPTS, max_new_tokens=2, batch_size=2, on_batch=finished.append, engine=engine)
    assert finished == sorted(finished) and finished[-1] == len(PROMPTS)
    assert all(0 < after - before <= 2 for before, after in zip([0, *finished], finished, strict=False))
    assert generate(lm, [], max_new_tokens=2, engine=engine) == []


# Sampling


def sampled(
    lm: LanguageModel, prompts: Sequence[str], seeds: list[int], engine: str, **settings: float
) -> list[tuple[int, ...]]:
    settings = {"temperature": 0.8, "top_p": 0.9, "batch_size": 128, **settings}
    outs = generate(lm, prompts, max_new_tokens=N_NEW, seeds=seeds, engine=engine, **settings)
    assert [out.seed for out in outs] == seeds
    return [out.token_ids for out in outs]


def test_a_sampled_text_depends_on_its_own_seed_alone(case: Case, engine: str) -> None:
    seeds = list(range(len(PROMPTS)))
    together = sampled(case.lm, PROMPTS, seeds, engine)
    assert sampled(case.lm, PROMPTS, seeds, engine, batch_size=2) == together
    assert sampled(case.lm, PROMPTS[::-1], seeds[::-1], engine) == together[::-1]
    assert sampled(case.lm, PROMPTS[2:3], seeds[2:3], engine) == together[2:3]
    assert sampled(case.lm, PROMPTS, [100 + seed for seed in seeds], engine) != together


def test_a_sampled_text_does_not_depend_on_rows_that_end_early(
    tiny: LanguageModel, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts, seeds = PROMPTS[:2] * 8, list(range(16))  # of like length: one batch
    free = sampled(tiny, prompts, seeds, engine)
    stop = most_frequent(free)
    lm = ending_at(tiny, stop, monkeypatch)
    counts = fed_rows(monkeypatch, engine)
    ended = sampled(lm, prompts, seeds, engine)
    assert ended == [tokens[: tokens.index(stop)] if stop in tokens else tokens for tokens in free]
    assert {len(tokens) == N_NEW for tokens in ended} == {True, False}
    assert (min(counts) < len(prompts)) == (engine == "native"), "rows are dropped by the native engine alone"


def test_different_seeds_give_different_texts(case: Case, engine: str) -> None:
    texts = sampled(case.lm, [PROMPTS[0]] * 8, [0, 0, 1, 2, 3, 4, 5, 6], engine)
    assert texts[0] == texts[1]
    assert len(set(texts)) >= 6


def test_a_tiny_nucleus_is_greedy(case: Case, engine: str) -> None:
    greedy = [out.token_ids for out in generate(case.lm, PROMPTS, max_new_tokens=N_NEW, engine=engine)]
    seeds = list(range(len(PROMPTS)))
    assert sampled(case.lm, PROMPTS, seeds, engine, top_p=1e-6) == greedy
    assert sampled(case.lm, PROMPTS, seeds, engine, top_p=1.0) != greedy


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
        ({"batch_size": "all"}, "batch_size .* got 'all'"),
        ({"engine": "fast"}, "unknown engine 'fast'"),
    ],
)
def test_wrong_settings_are_named(settings: dict, named: str, tiny_models: dict[str, LanguageModel]) -> None:
    with pytest.raises(UserError, match=named):
        generate(tiny_models["gpt2"], PROMPTS, **{"max_new_tokens": 2, **settings})


@pytest.mark.parametrize("empty", ["", "  \n", None])
def test_an_empty_prompt_is_refused(empty: str | None, tiny_models: dict[str, LanguageModel]) -> None:
    said = f"text 1 of prompts is {empty!r}".replace("  ", " ")  # a message has no blanks in a row
    with pytest.raises(UserError, match=re.escape(said)):
        generate(tiny_models["gpt2"], ["It rained.", empty], max_new_tokens=2)
