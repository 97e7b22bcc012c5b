"""Which rows share a batch, how wide they are padded, and how many there are at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from types import SimpleNamespace

import numpy as np
import pytest

from emolib.engine import decoding_job, planning
from emolib.engine.generation import generate
from emolib.engine.memory import BatchShape, generation_bytes
from emolib.engine.planning import (
    FIRST_SIZE,
    LARGEST_SIZE,
    MEMORY_SHARE,
    WORTH_DOUBLING,
    Batch,
    batch_size_for,
    largest_useful_batch,
    plan_batches,
)
from emolib.interventions import AblateHead, Intervention, Steer, first_layer
from emolib.models.language_model import LanguageModel

N_LAYERS = 4
FIRST, LARGEST = FIRST_SIZE["mps"], LARGEST_SIZE["cpu"]
WIDTH, N_NEW = 12, 6
BATCH_SIZES = (1, 2, 3, 7, 64, 1000)


def steer(layer: int, alpha: float = 1.0, **settings: object) -> Steer:
    return Steer(layer, np.ones(4, np.float32), alpha, unit="vector", **settings)


def sweep(n_rows: int = 97) -> tuple[list[list[int]], list[Intervention]]:
    """Rows of 1 to 70 tokens, some of them equal, unpatched or patched at layers in no order."""
    rng = np.random.default_rng(0)
    prompts = [rng.integers(0, 9, size=length).tolist() for length in rng.integers(1, 71, size=30)]
    layers = rng.integers(-1, N_LAYERS + 1, size=n_rows)
    acts = [None if layer < 0 else steer(int(layer)) for layer in layers]
    return [prompts[i] for i in rng.integers(0, len(prompts), size=n_rows)], acts


def plan(rows: Sequence[Sequence[int]], acts: Sequence[Intervention], batch_size: int) -> list[Batch]:
    return list(plan_batches(rows, acts, batch_size, N_LAYERS))


def widths_of(batches: Sequence[Batch]) -> dict[int, int]:
    return {row: batch.width for batch in batches for row in batch.rows}


def widths_by_length(lengths: Sequence[int]) -> dict[int, int]:
    batches = plan([[1] * length for length in lengths], [None] * len(lengths), 8)
    return {lengths[row]: width for row, width in widths_of(batches).items()}


# Batches


def test_a_prompt_is_padded_by_no_more_than_asked() -> None:
    rows, acts = sweep()
    widths = widths_of(list(plan_batches(rows, acts, 8, N_LAYERS, padding=3)))
    assert max(width - len(rows[row]) for row, width in widths.items()) == 3
    assert max(width - len(rows[row]) for row, width in widths_of(plan(rows, acts, 8)).items()) > 8, "control"


@pytest.mark.parametrize("batch_size", BATCH_SIZES)
def test_every_row_is_in_exactly_one_batch(batch_size: int) -> None:
    rows, acts = sweep()
    planned = [row for batch in plan(rows, acts, batch_size) for row in batch.rows]
    assert sorted(planned) == list(range(len(rows)))
    assert plan([], [], batch_size) == []


@pytest.mark.parametrize("batch_size", BATCH_SIZES)
def test_batches_of_one_width_are_of_equal_size_but_for_one_row(batch_size: int) -> None:
    sizes: dict[int, list[int]] = defaultdict(list)
    for batch in plan(*sweep(), batch_size):
        sizes[batch.width].append(len(batch.rows))
    assert len(sizes) > 1
    for of_width in sizes.values():
        assert max(of_width) <= batch_size
        assert max(of_width) - min(of_width) <= 1
        assert len(of_width) == -(-sum(of_width) // batch_size), "more batches than needed"


@pytest.mark.parametrize("batch_size", BATCH_SIZES)
def test_a_batch_holds_its_rows_in_the_order_of_their_layers(batch_size: int) -> None:
    rows, acts = sweep()
    entries = [[first_layer(acts[row], N_LAYERS) for row in batch.rows] for batch in plan(rows, acts, batch_size)]
    assert all(of_batch == sorted(of_batch) for of_batch in entries)
    assert max(len(set(of_batch)) for of_batch in entries) > 1 or batch_size == 1


def test_equal_prompts_of_one_layer_are_neighbours() -> None:
    rows, acts = [[1, 2], [3, 4], [1, 2], [3, 4], [1, 2]], [steer(0), None, None, steer(0), steer(0)]
    (batch,) = plan(rows, acts, 8)
    assert batch.rows == (0, 4, 3, 2, 1)


def test_halves_hold_all_rows_at_the_same_width() -> None:
    left, right = Batch((5, 3, 8, 1, 2), 40).halves()
    assert left.rows + right.rows == (5, 3, 8, 1, 2) and abs(len(left.rows) - len(right.rows)) == 1
    assert left.width == right.width == 40


# Widths


def test_a_rows_width_depends_on_the_lengths_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, acts = sweep()
    expected = widths_of(plan(rows, acts, 1))
    assert all(expected[i] >= len(row) for i, row in enumerate(rows))

    def no_memory(device: object) -> int:
        raise AssertionError("a width asked how much memory there is")

    monkeypatch.setattr(planning, "available_memory", no_memory)
    for batch_size in BATCH_SIZES[1:]:
        assert widths_of(plan(rows, acts, batch_size)) == expected
    other_tokens = [[9] * len(row) for row in rows]
    assert widths_of(plan(other_tokens, [None] * len(rows), 5)) == expected
    longer = [*rows, [1] * 200]
    assert widths_of(plan(longer, [*acts, None], 5)) != expected, "the lengths made no difference"


def test_prompts_of_like_length_share_a_width_and_others_do_not() -> None:
    assert widths_by_length([40, 30, 20, 19, 10]) == {40: 40, 30: 40, 20: 40, 19: 19, 10: 19}
    assert widths_by_length([400, 150, 10]) == {400: 400, 150: 150, 10: 10}
    assert widths_by_length([17, 1]) == {17: 17, 1: 17}, "a few tokens of padding cost less than another batch"


def padded_widths(lm: LanguageModel, prompts: list[str], monkeypatch: pytest.MonkeyPatch, **settings) -> dict[str, int]:
    """The width that each text had when the engine ran it."""
    seen: dict[str, int] = {}
    original = decoding_job.NativeRunner

    def spied(lm: LanguageModel, ids, mask, *others, **named):
        for row, real in zip(ids, mask.bool(), strict=True):
            seen[lm.tokenizer.decode(row[real])] = ids.shape[1]
        return original(lm, ids, mask, *others, **named)

    with monkeypatch.context() as patch:
        patch.setattr(decoding_job, "NativeRunner", spied)
        generate(lm, prompts, max_new_tokens=2, engine="native", **settings)
    return {prompt: seen[prompt] for prompt in prompts}


def test_generation_pads_the_same_whatever_the_batch_size_and_the_memory(
    tiny_models: dict[str, LanguageModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = ["a" * length for length in (3, 60, 41, 30, 25, 9)]
    expected = padded_widths(tiny_models["gpt2"], prompts, monkeypatch, batch_size=6)
    assert list(expected.values()) == [3, 60, 60, 60, 25, 25]
    assert padded_widths(tiny_models["gpt2"], prompts, monkeypatch, batch_size=1) == expected
    monkeypatch.setattr(planning, "available_memory", lambda device: 1)
    monkeypatch.setattr(planning, "_chosen", {})
    assert padded_widths(tiny_models["gpt2"], prompts, monkeypatch, batch_size="auto") == expected
    assert list(planning._chosen.values()) == [1], "memory made no difference to the number of rows either"


# The layer at which a row leaves the unpatched text


@pytest.mark.parametrize(
    ("intervention", "expected"),
    [
        (None, N_LAYERS + 1),
        ((), N_LAYERS + 1),
        (steer(2), 2),
        (steer(0), 0),
        (steer(N_LAYERS), N_LAYERS),
        (steer(2, alpha=0.0), N_LAYERS + 1),
        (steer(2, schedule=(0.0, 0.0)), N_LAYERS + 1),
        (steer(2, schedule=(0.0, 0.5)), 2),
        (steer(2, alpha=-1.0, site="mlp_out"), 2),
        (AblateHead(1, 0), 1),
        ((steer(3), AblateHead(1, 0)), 1),
        ((steer(0, alpha=0.0), steer(3)), 3),
        ((steer(0, alpha=0.0), steer(1, alpha=0.0)), N_LAYERS + 1),
    ],
)
def test_the_first_layer_is_that_of_the_first_act_that_does_something(
    intervention: Intervention, expected: int
) -> None:
    assert first_layer(intervention, N_LAYERS) == expected


# How many rows at once


@pytest.mark.parametrize("n_rows", [0, 1, 32, 64, LARGEST - 1, LARGEST, 10**6])
def test_on_a_cpu_nothing_is_measured(n_rows: int, lm: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    def step_seconds(*given: object) -> None:
        raise AssertionError("a step was timed")

    monkeypatch.setattr(planning, "_step_seconds", step_seconds)
    shape = BatchShape(WIDTH, N_NEW)
    assert batch_size_for(lm, n_rows, shape) == max(min(n_rows, LARGEST), 1)
    assert largest_useful_batch(lm, shape) == LARGEST


@pytest.mark.parametrize(
    ("fitting", "expected"), [(1, 1), (5, 4), (40, 32), (LARGEST, LARGEST), (3 * LARGEST, LARGEST)]
)
def test_on_a_cpu_the_size_follows_from_the_memory_and_stays(
    fitting: int, expected: int, lm: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = generation_bytes(lm, fitting, BatchShape(16, N_NEW))
    monkeypatch.setattr(planning, "available_memory", lambda device: room / MEMORY_SHARE + 1)
    assert largest_useful_batch(lm, BatchShape(16, N_NEW)) == expected
    monkeypatch.setattr(planning, "available_memory", lambda device: 2**50)
    assert batch_size_for(lm, 10**6, BatchShape(15, N_NEW)) == expected, "calls of one kind differ"


@pytest.fixture
def lm(tiny_models: dict[str, LanguageModel], monkeypatch: pytest.MonkeyPatch) -> LanguageModel:
    """A model of which nothing was measured, on a machine with memory to spare."""
    monkeypatch.setattr(planning, "_chosen", {})
    monkeypatch.setattr(planning, "available_memory", lambda device: 2**50)
    return tiny_models["gpt2"]


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[int, float] | None], list[int]]:
    """Sets how many rows per second each size reaches (None: always twice as many); gives the sizes that were tried."""

    def with_speeds(speeds: dict[int, float] | None) -> list[int]:
        tried: list[int] = []

        def step_seconds(lm: LanguageModel, n_rows: int, shape: BatchShape) -> float | None:
            tried.append(n_rows)
            return 1.0 if speeds is None else n_rows / speeds[n_rows]

        monkeypatch.setattr(planning, "_step_seconds", step_seconds)
        monkeypatch.setattr(planning, "FIRST_SIZE", {"cpu": FIRST})  # as on a device where sizes are measured
        return tried

    return with_speeds


def test_a_small_call_is_taken_whole_and_not_measured(lm: LanguageModel, measured: Callable) -> None:
    tried = measured(None)
    assert [batch_size_for(lm, n, BatchShape(WIDTH, N_NEW)) for n in (1, 5, FIRST)] == [1, 5, FIRST]
    assert tried == []
    batch_size_for(lm, FIRST + 1, BatchShape(WIDTH, N_NEW))
    assert tried, "a larger call was not measured either"


def test_the_size_doubles_while_that_is_faster_by_enough(lm: LanguageModel, measured: Callable) -> None:
    enough, little = WORTH_DOUBLING + 1e-3, WORTH_DOUBLING - 1e-3
    tried = measured({FIRST: 100.0, 2 * FIRST: 100 * enough, 4 * FIRST: 100 * enough * little})
    assert batch_size_for(lm, 10**6, BatchShape(WIDTH, N_NEW)) == 2 * FIRST
    assert tried == [FIRST, 2 * FIRST, 4 * FIRST]


def test_the_size_stays_where_doubling_gains_too_little(lm: LanguageModel, measured: Callable) -> None:
    tried = measured({FIRST: 100.0, 2 * FIRST: 100 * (WORTH_DOUBLING - 1e-3), 4 * FIRST: 1e9})
    assert batch_size_for(lm, 10**6, BatchShape(WIDTH, N_NEW)) == FIRST
    assert tried == [FIRST, 2 * FIRST], "it went on after a doubling that was not worth it"


def test_the_size_ends_at_the_largest_and_at_the_rows_there_are(lm: LanguageModel, measured: Callable) -> None:
    tried = measured(None)
    assert batch_size_for(lm, 10**6, BatchShape(WIDTH, N_NEW)) == LARGEST == max(tried)
    assert batch_size_for(lm, LARGEST - 1, BatchShape(WIDTH, N_NEW)) == LARGEST - 1


@pytest.mark.parametrize("fitting", [1, 5, 40, FIRST, 2 * FIRST, 3 * FIRST])
def test_the_size_never_exceeds_what_memory_allows(
    fitting: int, lm: LanguageModel, measured: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = generation_bytes(lm, fitting, BatchShape(WIDTH, N_NEW))
    monkeypatch.setattr(planning, "available_memory", lambda device: room / MEMORY_SHARE + 1)
    tried = measured(None)
    size = batch_size_for(lm, 10**6, BatchShape(WIDTH, N_NEW))
    assert size == max(tried) and fitting / 2 < size <= fitting


def test_a_size_that_ran_out_of_memory_is_not_taken(lm: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "FIRST_SIZE", {"cpu": FIRST})

    def step_seconds(lm: LanguageModel, n_rows: int, shape: BatchShape) -> float | None:
        return 1.0 if n_rows <= 2 * FIRST else None

    monkeypatch.setattr(planning, "_step_seconds", step_seconds)
    assert batch_size_for(lm, 10**6, BatchShape(WIDTH, N_NEW)) == 2 * FIRST


def test_each_kind_of_call_is_chosen_once(lm: LanguageModel, measured: Callable) -> None:
    tried = measured({FIRST: 100.0, 2 * FIRST: 200.0, 4 * FIRST: 1.0})
    first = batch_size_for(lm, 10**6, BatchShape(WIDTH, N_NEW))
    n_tried = len(tried)
    measured_again = measured({FIRST: 100.0, 2 * FIRST: 1.0})
    assert (
        batch_size_for(lm, 10**6, BatchShape(WIDTH, N_NEW))
        == batch_size_for(lm, 10**5, BatchShape(WIDTH + 1, N_NEW))
        == first
    )
    assert n_tried == 3 and measured_again == []
    assert batch_size_for(lm, 10**6, BatchShape(WIDTH, N_NEW + 1)) == FIRST
    assert batch_size_for(lm, 10**6, BatchShape(10 * WIDTH, N_NEW)) == FIRST
    assert measured_again == [FIRST, 2 * FIRST] * 2


def test_a_step_is_timed_after_a_warm_up_and_the_better_one_counts(
    lm: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed = [10.0, 13.0, 20.0, 22.0] + [30.0, 34.0] * (planning.PROBE_STEPS - 2)
    clock = iter([0.0, *timed])  # the warm-up starts; then steps of 3, 2 and 4 seconds
    monkeypatch.setattr(planning, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    assert planning._step_seconds(lm, 2, BatchShape(WIDTH, N_NEW)) == 2.0
    assert next(clock, None) is None


def test_a_real_measurement_stays_within_bounds(lm: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "FIRST_SIZE", {"cpu": 8})
    monkeypatch.setattr(planning, "LARGEST_SIZE", {"cpu": 32})
    assert planning._step_seconds(lm, 4, BatchShape(WIDTH, N_NEW)) > 0
    assert batch_size_for(lm, 10**6, BatchShape(WIDTH, N_NEW)) in (8, 16, 32)
    assert list(planning._chosen.values()) == [batch_size_for(lm, 10**6, BatchShape(WIDTH, N_NEW))]
