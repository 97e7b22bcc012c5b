"""Bytes and floating-point operations of generation, worked out before anything runs."""

from __future__ import annotations

import contextlib
import ctypes
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch

from emolib.base.errors import UserError
from emolib.models.language_model import LanguageModel

FALLBACK_MEMORY = 4 * 2**30  # where a system tells nothing
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's mallopt
KEPT_BLOCK, KEPT_TOTAL = 2**25, 2**31 - 1
ROWS_THAT_SHARE = 3  # per prompt in the mean, from which on the columns that they have in common are kept once


@lru_cache(maxsize=1)
def keep_freed_memory() -> bool:
    """Has glibc keep what a layer frees for the next one, instead of giving it back and taking page faults again.

    Holds for the process from then on; other systems' allocators are left as they are.

    Returns:
        Whether the allocator took the setting.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, KEPT_BLOCK)) and bool(mallopt(M_TRIM_THRESHOLD, KEPT_TOTAL))


class OutOfMemory(RuntimeError):
    """The device had no room for a batch."""


@contextlib.contextmanager
def out_of_memory() -> Iterator[None]:
    """Turns each backend's own complaint into `OutOfMemory`."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        said = str(error)
        known = "out of memory" in said or "not enough memory" in said or "DefaultCPUAllocator" in said
        if isinstance(error, RuntimeError) and not isinstance(error, torch.OutOfMemoryError) and not known:
            raise
        raise OutOfMemory(said) from None  # the cause would keep the failed batch's tensors alive


def available_memory(device: torch.device) -> int:
    """Bytes that can still be taken on the device; on the CPU the smaller of the system's and the container's."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory()
    rooms = []
    with contextlib.suppress(OSError, ValueError, StopIteration):
        line = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemAvailable"))
        rooms.append(int(line.split()[1]) * 1024)
    with contextlib.suppress(OSError, ValueError):
        group = Path("/sys/fs/cgroup")
        rooms.append(int((group / "memory.max").read_text()) - int((group / "memory.current").read_text()))
    return min(rooms, default=FALLBACK_MEMORY)


def weight_bytes(lm: LanguageModel) -> int:
    """Bytes of the model's weights, tied ones once."""
    sizes = {p.untyped_storage().data_ptr(): p.untyped_storage().nbytes() for p in lm.network.parameters()}
    return sum(sizes.values())


def cache_bytes(lm: LanguageModel, n_rows: int, n_columns: int) -> int:
    """Keys and values of so many rows and columns."""
    item = torch.empty(0, dtype=lm.dtype).element_size()
    return 2 * lm.n_layers * n_rows * n_columns * lm.n_kv_heads * lm.d_head * item


def check_memory(lm: LanguageModel, width: int, n_new: int) -> None:
    """Raises `UserError` where the keys and values of a single row alone take more than what is available."""
    needed, room = cache_bytes(lm, 1, width + n_new), available_memory(lm.device)
    if needed > room:
        raise UserError(
            f"one row of {width} + {n_new} tokens needs {needed / 2**30:.1f} GiB for its keys and values, {lm.device} "
            f"has {room / 2**30:.1f} GiB left; use fewer tokens"
        )


@dataclass(frozen=True)
class BatchShape:
    """What decides how much memory a row takes.

    Attributes:
        width: tokens of the padded prompt.
        n_new: new tokens.
        patched: columns per row that the prefill computes anew (the longest patch window); those before them are kept
            once per prompt.
        distinct: share of rows whose prompt no other row has.
    """

    width: int
    n_new: int
    patched: int = 3
    distinct: float = 0.0


def generation_bytes(lm: LanguageModel, n_rows: int, shape: BatchShape) -> int:
    """What a batch takes at its peak, weights not counted: cache, logits, and the largest intermediate results."""
    item = torch.empty(0, dtype=lm.dtype).element_size()
    layer = lm.native.layers[0]
    n_prompts = math.ceil(n_rows * shape.distinct)
    cache = cache_bytes(lm, n_rows, shape.patched + shape.n_new - 1)
    is_shared = n_rows >= ROWS_THAT_SHARE * n_prompts
    shared = cache_bytes(lm, n_prompts if is_shared else n_rows, max(shape.width - shape.patched, 0))
    logits = n_rows * lm.spec.d_vocab * item
    inner = layer.up.weight.shape[0]
    per_token = item * (2 * lm.d_model + (1.5 if layer.gated else 2) * inner)
    tokens = max(n_rows * shape.patched, n_prompts * shape.width)
    keys = shape.width + shape.n_new
    scores = 3 * 4 * lm.n_heads * max(n_rows * keys, n_rows * shape.patched * shape.width, n_prompts * shape.width**2)
    return int(cache + shared + logits + max(tokens * per_token, scores))


def flops_per_token(lm: LanguageModel) -> int:
    """Operations of the matrix products for one generated token: two per weight, attention scores left out."""
    net = lm.native
    weights = [net.head.weight] + [
        p.weight for layer in net.layers for p in (layer.qkv, layer.out, layer.up, layer.down)
    ]
    return 2 * sum(weight.numel() for weight in weights)
