"""What generation takes: the estimates against what is allocated, and what happens where there is not enough."""

from __future__ import annotations

import gc
import os
import weakref
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import byte_tokenizer, plain_network
from torch.utils.flop_counter import FlopCounterMode

from emolib.base.errors import UserError
from emolib.engine import memory, planning
from emolib.engine.generation import generate
from emolib.engine.memory import (
    FALLBACK_MEMORY,
    BatchShape,
    OutOfMemory,
    available_memory,
    cache_bytes,
    flops_per_token,
    generation_bytes,
    keep_freed_memory,
    out_of_memory,
    weight_bytes,
)
from emolib.engine.native import NativeRunner
from emolib.interventions import Edits, Intervention, Steer
from emolib.models.language_model import LanguageModel, wrap
from emolib.models.loading import spec_of
from emolib.models.tokens import encode, pad_left
from emolib.models.workspace import Workspace

SENTENCE = "The new shop by the old bridge"
N_NEW = 6


def tiny_lm(architecture: str, dtype: torch.dtype) -> LanguageModel:
    network = plain_network(architecture)
    for parameter in network.parameters():
        parameter.data = parameter.data.to(dtype)
    return wrap(network, byte_tokenizer(), spec_of(network.config, f"tiny-{architecture}"), "seed0")


def runner_of(
    lm: LanguageModel, prompts: list[str], acts: list[Intervention], workspace: Workspace
) -> tuple[NativeRunner, Edits]:
    rows = encode(lm, prompts)
    ids, mask = pad_left(rows, lm.tokenizer.pad_token_id)
    edits = Edits(lm, acts, [len(row) for row in rows], ids.shape[1], N_NEW)
    return NativeRunner(lm, ids, mask, edits, N_NEW - 1, workspace=workspace), edits


def kept_bytes(workspace: Workspace) -> int:
    """Bytes of keys and values that the rows own."""
    return workspace.kept["keys"].nbytes + workspace.kept["values"].nbytes


# Estimates


def test_the_cache_of_one_token_prompts_takes_the_bytes_that_were_worked_out(tiny: LanguageModel) -> None:
    workspace = Workspace()
    _, edits = runner_of(tiny, list("abc"), [None] * 3, workspace)
    assert edits.first_column == 0, "columns are shared: the test compares nothing"
    assert kept_bytes(workspace) == cache_bytes(tiny, 3, N_NEW)


def test_a_cache_of_16_bits_takes_half(tiny_models: dict[str, LanguageModel]) -> None:
    lm, workspace = tiny_lm("qwen3", torch.bfloat16), Workspace()
    runner_of(lm, list("abc"), [None] * 3, workspace)
    assert kept_bytes(workspace) == cache_bytes(lm, 3, N_NEW) == cache_bytes(tiny_models["qwen3"], 3, N_NEW) / 2


def test_columns_before_the_first_patch_are_kept_once_per_prompt(tiny: LanguageModel) -> None:
    vector = np.ones(tiny.d_model, np.float32)
    acts = [Steer(1, vector, 1.0, unit="vector", window=window) for window in (1, 2, 3)] * 2
    prompts, workspace = [SENTENCE] * 3 + [SENTENCE[::-1]] * 3, Workspace()
    runner, edits = runner_of(tiny, prompts, acts, workspace)
    first, total = len(SENTENCE) - 3, len(SENTENCE) + N_NEW - 1
    assert edits.first_column == first
    with torch.inference_mode():
        runner.start()
    shared = sum(kept.keys.nbytes + kept.values.nbytes for kept in runner._shared)
    assert kept_bytes(workspace) == cache_bytes(tiny, 6, total - first)
    assert shared == cache_bytes(tiny, 2, first)
    assert kept_bytes(workspace) + shared < cache_bytes(tiny, 6, total)


@pytest.mark.parametrize("n_rows", [1, 2])
def test_where_few_rows_share_a_prompt_each_keeps_all_its_columns(tiny: LanguageModel, n_rows: int) -> None:
    act = Steer(1, np.ones(tiny.d_model, np.float32), 1.0, unit="vector", window=3)
    prompts, workspace = [SENTENCE] * n_rows + [SENTENCE[::-1]] * n_rows, Workspace()
    runner, _ = runner_of(tiny, prompts, [act] * len(prompts), workspace)
    with torch.inference_mode():
        runner.start()
    expected = cache_bytes(tiny, len(prompts), len(SENTENCE) + N_NEW - 1)
    assert kept_bytes(workspace) == expected and all(kept.keys is None for kept in runner._shared)
    shape = BatchShape(len(SENTENCE), N_NEW, patched=3, distinct=1 / n_rows)
    logits = len(prompts) * 4 * tiny.spec.d_vocab
    assert generation_bytes(tiny, len(prompts), shape) > expected + logits
    many = BatchShape(len(SENTENCE), N_NEW, patched=3, distinct=1 / 4)
    few = BatchShape(len(SENTENCE), N_NEW, patched=3, distinct=1 / 2)
    saved = cache_bytes(tiny, 8 - 2, len(SENTENCE) - 3)
    assert generation_bytes(tiny, 8, few) - generation_bytes(tiny, 8, many) >= saved


def test_a_batch_takes_more_than_its_cache_and_more_with_more_rows_or_tokens(tiny: LanguageModel) -> None:
    by_rows = [generation_bytes(tiny, rows, BatchShape(20, 10, 3)) for rows in (1, 2, 8, 64)]
    assert by_rows == sorted(set(by_rows))
    assert by_rows[3] == pytest.approx(64 * by_rows[0], rel=0.01)
    for more in ((8, 2000, 10, 3), (8, 20, 30, 3), (8, 20, 10, 15)):
        assert generation_bytes(tiny, more[0], BatchShape(*more[1:])) > by_rows[2], more
    logits = 8 * 4 * tiny.spec.d_vocab
    assert by_rows[2] > cache_bytes(tiny, 8, 3 + 10) + logits


def test_tied_weights_count_once(tiny: LanguageModel) -> None:
    plain = plain_network(tiny.spec.name.removeprefix("tiny-"))
    once = sum(p.numel() for p in plain.parameters())
    twice = sum(p.numel() for _, p in plain.named_parameters(remove_duplicate=False))
    assert twice - once == (257 * tiny.d_model if plain.config.tie_word_embeddings else 0)
    # the bridge keeps copies of GPT-NeoX's interleaved queries, keys and values
    interleaved = [layer.qkv for layer in tiny.blueprint.layers if layer.interleaved]
    assert weight_bytes(tiny) == 4 * (once + sum(qkv.weight.numel() + qkv.bias.numel() for qkv in interleaved))


def test_both_tied_and_untied_models_were_counted(tiny_models: dict[str, LanguageModel]) -> None:
    assert {lm.network.config.tie_word_embeddings for lm in tiny_models.values()} == {True, False}


def test_operations_are_those_that_a_counter_sees_in_the_plain_model(tiny: LanguageModel) -> None:
    plain = plain_network(tiny.spec.name.removeprefix("tiny-"))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        plain(torch.tensor([[7]]), use_cache=False)
    products = {str(op): n for op, n in counter.get_flop_counts()["Global"].items()}
    assert flops_per_token(tiny) == products.get("aten.mm", 0) + products.get("aten.addmm", 0)


def test_operations_of_gpt2_by_hand(tiny_models: dict[str, LanguageModel]) -> None:
    d_model, n_layers, vocabulary = 48, 3, 257
    attention, mlp = (3 + 1) * d_model**2, (4 + 4) * d_model**2
    assert flops_per_token(tiny_models["gpt2"]) == 2 * (n_layers * (attention + mlp) + vocabulary * d_model)


# What the machine has


def test_available_memory_is_positive_and_no_more_than_the_machine_has() -> None:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert 0 < available_memory(torch.device("cpu")) <= total


@pytest.mark.parametrize(
    ("container", "expected"),
    [("5000000", 4_000_000), ("500000000", 8192 * 1024), ("max", 8192 * 1024), (None, 8192 * 1024)],
)
def test_the_smaller_of_system_and_container_counts(
    container: str | None, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {"/proc/meminfo": "MemTotal: 99999 kB\nMemAvailable:   8192 kB\n"}
    if container is not None:
        files |= {"/sys/fs/cgroup/memory.max": f"{container}\n", "/sys/fs/cgroup/memory.current": "1000000\n"}
    pretend_files(files, monkeypatch)
    assert available_memory(torch.device("cpu")) == expected


def test_a_system_that_tells_nothing_gets_the_fallback(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_files({}, monkeypatch)
    assert available_memory(torch.device("cpu")) == FALLBACK_MEMORY


def pretend_files(files: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    def read_text(path: Path) -> str:
        if str(path) not in files:
            raise FileNotFoundError(path)
        return files[str(path)]

    monkeypatch.setattr(memory.Path, "read_text", read_text)


def test_the_allocator_can_be_asked_twice() -> None:
    first = keep_freed_memory()
    keep_freed_memory.cache_clear()
    assert isinstance(first, bool) and keep_freed_memory() is first


# Memory that is used again


def test_a_workspace_reuses_memory_and_grows() -> None:
    workspace, like = Workspace(), torch.empty(0, dtype=torch.bfloat16)
    large = workspace.take("keys", (2, 3, 4), like)
    assert large.shape == (2, 3, 4) and large.dtype == torch.bfloat16 and not large.any()
    large.fill_(7)
    small = workspace.take("keys", (5, 2), like)
    assert small.shape == (5, 2) and small.data_ptr() == large.data_ptr() and (small == 7).all()
    other = workspace.take("values", (5, 2), like)
    assert not other.any() and other.data_ptr() != small.data_ptr()
    larger = workspace.take("keys", (5, 5), like)
    assert larger.shape == (5, 5) and not larger.any(), "grown memory holds finite numbers"
    assert workspace.kept["keys"].numel() == 25


def test_what_an_earlier_batch_left_changes_no_logits(tiny: LanguageModel) -> None:
    prompts = [SENTENCE, SENTENCE[:12], "I"]
    fresh, used = Workspace(), Workspace()
    runner_of(tiny, [SENTENCE * 2 + end for end in "abcd"], [None] * 4, used)
    for left in used.kept.values():
        left.fill_(1e4)
    addresses = {name: left.data_ptr() for name, left in used.kept.items()}
    logits = []
    for workspace in (fresh, used):
        with torch.inference_mode():
            runner, _ = runner_of(tiny, prompts, [None] * 3, workspace)
            passes = [runner.start().clone(), runner.step(torch.tensor([7, 8, 9])).clone()]
            logits.append(torch.stack(passes))
    assert torch.equal(*logits)
    assert addresses == {name: left.data_ptr() for name, left in used.kept.items()}, "the memory was not used again"


def test_numbers_that_overflowed_in_one_call_do_not_reach_the_next() -> None:
    lm = tiny_lm("gpt2", torch.float16)
    clean = [out.token_ids for out in generate(lm, [SENTENCE, "I"], max_new_tokens=N_NEW)]
    too_far = Steer(1, np.ones(lm.d_model, np.float32), 1e5, unit="vector")  # beyond float16
    with pytest.raises(UserError, match="finite"):
        generate(lm, [SENTENCE, "I"], [too_far] * 2, max_new_tokens=N_NEW)
    assert [out.token_ids for out in generate(lm, [SENTENCE, "I"], max_new_tokens=N_NEW)] == clean


# Too little memory

COMPLAINTS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: can't allocate memory: you tried to …"),
    RuntimeError("MPS backend out of memory (MPS allocated: 9.00 GB)"),
    MemoryError(),
]


@pytest.fixture
def refuse(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, BaseException], list[int]]:
    """Makes batches of more than `n` rows fail with `error`; gives the sizes that were tried."""
    original = NativeRunner.start

    def with_limit(n: int, error: BaseException) -> list[int]:
        tried: list[int] = []

        def start(runner: NativeRunner) -> torch.Tensor:
            tried.append(len(runner._ids))
            if tried[-1] > n:
                raise error
            return original(runner)

        monkeypatch.setattr(NativeRunner, "start", start)
        return tried

    return with_limit


def rows_and_acts(lm: LanguageModel) -> tuple[list[str], list[Intervention]]:
    vector = np.random.default_rng(0).standard_normal(lm.d_model).astype(np.float32)
    prompts = [SENTENCE[:end] for end in range(len(SENTENCE), len(SENTENCE) - 8, -1)]
    return prompts, [Steer(i % 3, vector, 0.5, unit="vector") if i % 2 else None for i in range(8)]


@pytest.mark.parametrize("error", COMPLAINTS, ids=lambda error: f"{type(error).__name__}: {error}"[:30])
def test_a_batch_that_does_not_fit_runs_in_halves(
    error: BaseException, tiny_models: dict[str, LanguageModel], refuse: Callable
) -> None:
    lm, finished = tiny_models["llama"], []
    prompts, acts = rows_and_acts(lm)
    expected = generate(lm, prompts, acts, max_new_tokens=N_NEW)
    assert len({out.token_ids for out in expected}) == 8, "texts that do not vary prove no order"
    tried = refuse(3, error)
    outs = generate(lm, prompts, acts, max_new_tokens=N_NEW, on_batch=finished.append)
    assert tried == [8, 4, 2, 2, 4, 2, 2] and finished == [2, 4, 6, 8]
    assert [out.prompt for out in outs] == prompts
    assert [out.token_ids for out in outs] == [out.token_ids for out in expected]
    assert [out.delta_ratio for out in outs] == pytest.approx([out.delta_ratio for out in expected], rel=1e-4)


def test_a_sampled_text_survives_the_halving(tiny_models: dict[str, LanguageModel], refuse: Callable) -> None:
    lm = tiny_models["gpt2"]
    prompts, acts = rows_and_acts(lm)
    settings = {"max_new_tokens": N_NEW, "temperature": 0.8, "seeds": list(range(8))}
    expected = [out.token_ids for out in generate(lm, prompts, acts, **settings)]
    refuse(1, COMPLAINTS[0])
    assert [out.token_ids for out in generate(lm, prompts, acts, **settings)] == expected


def test_a_failed_batch_has_left_memory_before_its_halves_start(
    tiny_models: dict[str, LanguageModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    lm, original = tiny_models["llama"], NativeRunner.start
    prompts, acts = rows_and_acts(lm)
    generate(lm, prompts, acts, max_new_tokens=2)
    failed: list[tuple[int, weakref.ref]] = []
    still_there: list[int] = []

    def start(runner: NativeRunner) -> torch.Tensor:
        gc.collect()
        still_there.extend(rows for rows, reference in failed if reference() is not None)
        if len(runner._ids) > 2:
            failed.append((len(runner._ids), weakref.ref(runner)))
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return original(runner)

    monkeypatch.setattr(NativeRunner, "start", start)
    generate(lm, prompts, acts, max_new_tokens=2)
    assert [rows for rows, _ in failed] == [8, 4, 4]
    assert still_there == [], f"halves started while failed batches of {still_there} rows held their memory"


def test_an_automatic_size_that_does_not_fit_is_made_smaller(
    tiny_models: dict[str, LanguageModel], refuse: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = tiny_models["gpt2"]
    prompts, acts = rows_and_acts(lm)
    expected = [out.token_ids for out in generate(lm, prompts, acts, max_new_tokens=N_NEW)]
    monkeypatch.setattr(planning, "_chosen", {})
    monkeypatch.setattr(planning, "FIRST_SIZE", {"cpu": 4})  # a call of eight rows is measured
    tried = refuse(1, COMPLAINTS[0])
    assert [out.token_ids for out in generate(lm, prompts, acts, max_new_tokens=N_NEW)] == expected
    assert max(tried) > 1


def test_one_row_that_does_not_fit_is_a_users_error_of_one_line(
    tiny_models: dict[str, LanguageModel], refuse: Callable
) -> None:
    lm = tiny_models["llama"]
    prompts, acts = rows_and_acts(lm)
    generate(lm, prompts, acts, max_new_tokens=2)
    refuse(0, COMPLAINTS[0])
    with pytest.raises(UserError) as caught:
        generate(lm, prompts, acts, max_new_tokens=N_NEW)
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"one row of {len(SENTENCE)} + {N_NEW} tokens does not fit in the memory of cpu; use ")


@pytest.mark.parametrize("engine", ["native", "bridge"])
def test_other_errors_pass_unchanged(engine: str, tiny_models: dict[str, LanguageModel], monkeypatch) -> None:
    lm, error = tiny_models["llama"], RuntimeError("mat1 and mat2 shapes cannot be multiplied (8x3 and 4x5)")
    prompts, acts = rows_and_acts(lm)
    generate(lm, prompts, acts, max_new_tokens=2)

    def fail(runner: object) -> torch.Tensor:
        raise error

    monkeypatch.setattr(f"emolib.engine.decoding_job.{'Native' if engine == 'native' else 'Bridge'}Runner.start", fail)
    with pytest.raises(RuntimeError) as caught:
        generate(lm, prompts, acts, max_new_tokens=2, engine=engine)
    assert caught.value is error


@pytest.mark.parametrize("error", [ValueError("out of memory"), UserError("DefaultCPUAllocator")])
def test_only_a_backends_own_complaint_is_taken_for_a_lack_of_memory(error: Exception) -> None:
    with pytest.raises(type(error)), out_of_memory():
        raise error
    with pytest.raises(OutOfMemory, match="Tried"), out_of_memory():
        raise COMPLAINTS[0]
