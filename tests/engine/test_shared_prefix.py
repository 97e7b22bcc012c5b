"""Rows that repeat a prompt share what no patch reaches, and come out as each would alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from tiny import Case

from emolib.engine import native
from emolib.engine.generation import generate
from emolib.engine.native import NativeRunner
from emolib.interventions import Edits, Steer
from emolib.models.language_model import LanguageModel
from emolib.models.tokens import encode, pad_left

PROMPTS = ["The new shop by the old bridge opens again", "The old bridge", "I"]
N_NEW = 8


@pytest.fixture(params=["native", "bridge"])
def engine(request: pytest.FixtureRequest) -> str:
    """Both routes to a text; the first alone shares work."""
    return request.param


def steers(case: Case) -> list[Steer | None]:
    """In the order of their layers, as a runner wants its rows."""
    vectors = np.random.default_rng(0).standard_normal((3, case.lm.d_model)).astype(np.float32)
    norm = 60.0 if case.name == "bundled" else 5.0
    acts = [Steer(1, v, 0.6, unit="resid", resid_norm=norm, window=w) for v, w in zip(vectors, (1, 3, 5), strict=True)]
    return [*acts, Steer(case.lm.n_layers, vectors[0], 0.6, unit="resid", resid_norm=norm), None]


def runner_of(lm: LanguageModel, prompts: Sequence[str], acts: Sequence[Steer | None]) -> NativeRunner:
    """A started runner of rows that are in the order of their layers."""
    rows = encode(lm, prompts)
    ids, mask = pad_left(rows, lm.tokenizer.pad_token_id)
    runner = NativeRunner(lm, ids, mask, Edits(lm, acts, [len(row) for row in rows], ids.shape[1], N_NEW), N_NEW)
    with torch.inference_mode():
        runner.start()
    return runner


@pytest.fixture
def fed(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Counts token positions: those that are embedded, and those that pass through all blocks."""
    counts = {"embedded": 0, "in blocks": 0}
    embed, heads = NativeRunner._embed, NativeRunner._heads

    def counted_embed(self: NativeRunner, tokens: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        counts["embedded"] += tokens.numel()
        return embed(self, tokens, places)

    def counted_heads(self: NativeRunner, layer: object, x: torch.Tensor, span: object) -> tuple[torch.Tensor, ...]:
        counts["in blocks"] += len(x) * x.shape[1]
        return heads(self, layer, x, span)

    monkeypatch.setattr(NativeRunner, "_embed", counted_embed)
    monkeypatch.setattr(NativeRunner, "_heads", counted_heads)
    return counts


def test_repeated_prompts_give_the_texts_that_single_rows_give(case: Case, engine: str) -> None:
    acts = steers(case)
    rows = [(prompt, act) for act in acts for prompt in PROMPTS]
    together = generate(case.lm, *zip(*rows, strict=True), max_new_tokens=N_NEW, engine=engine)
    for (prompt, act), shared in zip(rows, together, strict=True):
        (alone,) = generate(case.lm, [prompt], [act], max_new_tokens=N_NEW, engine=engine)
        assert shared.token_ids == alone.token_ids, (act, prompt)
        assert shared.delta_ratio == pytest.approx(alone.delta_ratio, rel=1e-3)
    assert len({out.token_ids for out in together}) > 2 * len(PROMPTS), "steers that change no text prove nothing"


def test_a_repeated_prompt_is_fed_once(case: Case, fed: dict[str, int]) -> None:
    lm = case.lm
    repeated, distinct = PROMPTS[:1] * 6, [PROMPTS[0] + end for end in " abcde"]
    widths = [max(len(row) for row in encode(lm, prompts)) for prompts in (repeated, distinct)]
    runner_of(lm, repeated, [None] * 6)
    assert fed == {"embedded": widths[0], "in blocks": widths[0] * lm.n_layers}
    fed.update(dict.fromkeys(fed, 0))
    runner_of(lm, distinct, [None] * 6)
    assert fed == {"embedded": 6 * widths[1], "in blocks": 6 * widths[1] * lm.n_layers}


def test_steered_rows_leave_the_shared_pass_at_their_layer_and_window(case: Case, fed: dict[str, int]) -> None:
    lm, (one, three, _, final, none) = case.lm, steers(case)
    width = len(encode(lm, PROMPTS[:1])[0])
    runner_of(lm, PROMPTS[:1] * 5, [one, one, three, final, none])
    own = 3 * 3 * (lm.n_layers - 1)  # three rows, three columns, every layer but the first
    assert fed == {"embedded": width, "in blocks": width * lm.n_layers + own}
    fed.update(dict.fromkeys(fed, 0))
    runner_of(lm, PROMPTS[:1] * 3, [one, one, three])  # nobody goes on unpatched: the late columns end with layer 0
    assert fed == {"embedded": width, "in blocks": width + (width - 3) * (lm.n_layers - 1) + own}


def test_repeated_prompts_share_the_keys_of_their_prefix(case: Case, fed: dict[str, int], engine: str) -> None:
    lm = case.lm
    acts = [act for act in steers(case)[:2] for _ in range(3)]  # windows of 1 and 3 tokens
    prompts = [PROMPTS[0], PROMPTS[1], PROMPTS[0]] * 2
    width = len(encode(lm, PROMPTS[:1])[0])
    runner = runner_of(lm, prompts, acts)
    assert fed["embedded"] == 2 * width, "two prompts, six rows"
    for number in range(lm.n_layers):
        shared, own = runner._shared[number], runner._keys[number]
        assert shared.keys.shape == shared.values.shape == (2, lm.n_kv_heads, width - 3, lm.d_head)
        assert own.shape == (6, lm.n_kv_heads, 3 + N_NEW, lm.d_head)
    wide = Steer(lm.n_layers, acts[0].vector, 0.6, unit="resid", resid_norm=5.0, window=999)
    unshared = runner_of(lm, prompts, [*acts[:5], wide])
    assert unshared._keys[0].shape[2] > runner._keys[0].shape[2], "a patch of every token leaves little to share"
    together = generate(lm, prompts, acts, max_new_tokens=N_NEW, engine="native")
    for prompt, act, shared in zip(prompts, acts, together, strict=True):
        (alone,) = generate(lm, [prompt], [act], max_new_tokens=N_NEW, engine=engine)
        assert shared.token_ids == alone.token_ids, (act, prompt)


@pytest.mark.parametrize("n_acts", [1, 2, 5])
def test_what_rows_share_changes_no_logits(tiny_case: Case, monkeypatch: pytest.MonkeyPatch, n_acts: int) -> None:
    """Columns kept once per prompt, or by every row; one act per prompt needs no trunk at all in the second case."""
    acts = [act for act in steers(tiny_case)[-n_acts:] for _ in PROMPTS]
    found, own = [], []
    for rows_that_share in (1, 99):
        monkeypatch.setattr(native, "ROWS_THAT_SHARE", rows_that_share)
        runner = runner_of(tiny_case.lm, PROMPTS * n_acts, acts)
        own.append(runner._keys[0].shape[2])
        with torch.inference_mode():
            logits = [runner.step(torch.full((len(acts),), token)).clone() for token in (7, 11)]
        found.append((torch.stack(logits), runner._edits.delta_ratio))
    assert own[0] < own[1], "nothing was shared: the test compares nothing"
    torch.testing.assert_close(found[0][0], found[1][0], atol=1e-4, rtol=1e-4)
    np.testing.assert_allclose(found[0][1], found[1][1], rtol=1e-4)
    assert found[0][1].any() == (n_acts > 1)


def test_rows_that_go_on_keep_their_shared_prefix(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    lm = case.lm
    acts = steers(case)
    prompts = [PROMPTS[0], PROMPTS[0].removeprefix("The ")]  # of like length: one batch
    rows = [(prompt, act) for act in acts for prompt in prompts] * 2
    settings = {"max_new_tokens": N_NEW, "engine": "native", "temperature": 0.7, "seeds": list(range(len(rows)))}
    free = generate(lm, *zip(*rows, strict=True), **settings)
    kept: list[list[int]] = []
    select = NativeRunner.select

    def selected(self: NativeRunner, rows_kept: Sequence[int]) -> None:
        kept.append(list(rows_kept))
        select(self, rows_kept)

    monkeypatch.setattr(NativeRunner, "select", selected)
    stop = Counter(token for out in free for token in sorted(set(out.token_ids[:-2]))).most_common(1)[0][0]
    monkeypatch.setitem(lm.__dict__, "stop_ids", lm.stop_ids | {stop})
    ended = generate(lm, *zip(*rows, strict=True), **settings)
    for before, after in zip(free, ended, strict=True):
        end = before.token_ids.index(stop) if stop in before.token_ids else None
        assert after.token_ids == before.token_ids[:end]
    assert kept and len(kept[0]) < len(rows), "no row was dropped"
