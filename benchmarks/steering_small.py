"""Calls of few rows: many distinct prompts, a few rows, and one row alone, each beside plain `transformers` (with a
hook where rows are steered) and beside what the machine allows."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from measuring import seconds
from steering_builds import DISTINCT_PROMPTS, FEW_ROWS

import emolib
from emolib.engine.memory import flops_per_token, weight_bytes
from emolib.models.language_model import LanguageModel

SMALL = ("distinct", "few", "one")
READ_BYTES = 2**29  # of the array whose reading tells the memory's bandwidth


def memory_bandwidth(device: torch.device) -> float:
    """Bytes per second of reading an array that no cache holds, the best of eight."""
    array = torch.ones(READ_BYTES // 4, device=device)
    array.sum()
    return READ_BYTES / min(seconds(array.sum, device)[0] for _ in range(8))


def limits(lm: LanguageModel, n_rows: int, peak: float, bandwidth: float) -> dict[str, float]:
    """New tokens per second if the products alone, or reading all weights at every step alone, took time."""
    return {"products": peak / flops_per_token(lm), "memory": n_rows * bandwidth / weight_bytes(lm)}


def beside_limits(speed: float, allowed: dict[str, float]) -> str:
    """Which limit a speed is near, and how near: the lower one binds."""
    name = min(allowed, key=lambda limit: allowed[limit])
    return f"{speed / allowed[name]:.2f} of the {name} limit of {allowed[name]:,.0f} tokens/s"


def rows_of(part: str, rows: Sequence[str], acts: Sequence[Any], prompts: Sequence[str]) -> tuple[list[str], Any]:
    """The prompts and acts of one of `SMALL`."""
    if part == "distinct":
        return list(prompts[:DISTINCT_PROMPTS]), None
    n_rows = FEW_ROWS if part == "few" else 1
    return list(rows[:n_rows]), list(acts[:n_rows])


def small_calls(
    lm: LanguageModel, network: torch.nn.Module, rows: list[str], acts: Any, n_new: int, repeats: int
) -> dict[str, list[float]]:
    """New tokens per second of every repeat: emolib, emolib in two fixed sizes, and `transformers`, with a hook where
    `acts` are given."""
    batch = lm.tokenizer(rows, return_tensors="pt", padding=True).to(lm.device)
    given = {name: batch[name] for name in ("input_ids", "attention_mask")}

    def plain() -> None:
        with steered(network, acts):
            network.generate(**given, do_sample=False, max_new_tokens=n_new, min_new_tokens=n_new)

    def engine(**settings: Any) -> Callable[[], Any]:
        return lambda: emolib.generate(lm, rows, acts, max_new_tokens=n_new, **settings)

    ways: dict[str, Callable[[], Any]] = {"emolib": engine(), "transformers": plain}
    for size in sorted({len(rows), max(len(rows) // 2, 1)}):
        ways[f"emolib, batch_size={size}"] = engine(batch_size=size)
    found: dict[str, list[float]] = {name: [] for name in ways}
    for repeat in range(repeats + 1):
        for name in list(ways) if repeat % 2 else list(ways)[::-1]:
            taken, _ = seconds(ways[name], lm.device)
            if repeat:  # the first warms up
                found[name].append(len(rows) * n_new / taken)
    return found


@contextmanager
def steered(network: torch.nn.Module, acts: Sequence[emolib.Steer] | None) -> Iterator[None]:
    """Every row's vector added to the input of its block, at every position; None adds nothing."""
    if acts is None:
        yield
        return
    (layer,) = {act.layer for act in acts}
    like = next(network.parameters())
    deltas = torch.tensor(np.stack([act.delta() for act in acts])[:, None], dtype=like.dtype, device=like.device)
    blocks = next(module for module in network.modules() if isinstance(module, torch.nn.ModuleList))
    handle = blocks[layer].register_forward_pre_hook(lambda module, inputs: (inputs[0] + deltas, *inputs[1:]))
    try:
        yield
    finally:
        handle.remove()


def medians(found: dict[str, list[float]]) -> dict[str, Any]:
    return {name: {"tokens_per_s": statistics.median(speeds), "repeats": speeds} for name, speeds in found.items()}
