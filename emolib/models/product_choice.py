"""Which library multiplies matrices faster on this machine: torch's own or oneDNN, which torch carries, too.

Neither a vendor's name nor the widest unit tells (docs/engine.md): both are timed once on products of a small model's
shapes, in turns, for many rows (where arithmetic counts) and for few (where reading the weights does). The answers are
kept in the cache for this processor, this torch and this number of threads, so that a machine goes on giving the same
numbers. `EMOLIB_PRODUCTS=torch` or `onednn` decides instead.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from emolib.base import paths
from emolib.base.errors import UserError, shown
from emolib.base.files import read_json
from emolib.base.store import digest
from emolib.base.writing import write_atomically

VARIABLE = "EMOLIB_PRODUCTS"
LIBRARIES = ("torch", "onednn")
FEW = 8  # rows: fewer are multiplied by the library that reads weights faster
MANY = 128  # rows: as many are worth widening bfloat16 weights to float32 for
SHAPES = {  # rows, in, out, and how many matrices one after the other
    "many": ((512, 576, 1536, 1), (128, 1536, 576, 1), (256, 576, 6144, 1)),
    "few": ((1, 576, 1536, 12), (1, 1536, 576, 4), (2, 576, 1536, 8)),  # more bytes than most caches hold
    "widened": ((512, 576, 3072, 1), (MANY, 1536, 576, 1)),
}
Shapes = Sequence[tuple[int, int, int, int]]
TURNS = 5
MARGIN = 1.05  # how many times as fast as torch's own the other must be


def onednn_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x Wᵀ + b by oneDNN."""
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


def widened_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x Wᵀ + b of 16-bit numbers, multiplied and added up in float32 and rounded once."""
    wide = functional.linear(x.float(), weight.float(), None if bias is None else bias.float())
    return wide.to(x.dtype)


@dataclass(frozen=True)
class Choice:
    """What to multiply with.

    Attributes:
        many, few: whether float32 products of `FEW` rows and more, and of fewer, go through oneDNN.
        widened: whether bfloat16 products of `MANY` rows and more are made in float32 and rounded: a processor without
            fast bfloat16 arithmetic multiplies float32 faster.
    """

    many: bool
    few: bool
    widened: bool = False

    @classmethod
    def both(cls, onednn: bool) -> Choice:
        return cls(onednn, onednn)


def choose() -> Choice:
    """What to multiply with here.

    Raises:
        UserError: the variable `EMOLIB_PRODUCTS` names no library, or one that this torch lacks.
    """
    asked = os.environ.get(VARIABLE)
    if asked and asked not in LIBRARIES:
        raise UserError(f"expected torch or onednn in {VARIABLE}, got {shown(asked)}; leave it out to have it measured")
    if asked == "torch":
        return Choice.both(False)
    if not _has_onednn():
        if asked:
            raise UserError(f"{VARIABLE}=onednn: this torch has no oneDNN products; leave the variable out")
        return Choice.both(False)
    return Choice.both(True) if asked else _measured()


def _has_onednn() -> bool:
    """Whether torch has the product; it must also agree with torch's own."""
    if not sys.platform.startswith("linux") or not torch.backends.mkldnn.is_available():
        return False
    x, weight = torch.linspace(-1, 1, 24).view(3, 8), torch.linspace(-2, 1, 40).view(5, 8)
    try:
        with torch.inference_mode():
            given = onednn_linear(x, weight)
    except (AttributeError, RuntimeError, NotImplementedError):
        return False
    return torch.allclose(given, functional.linear(x, weight), atol=1e-5)


def _measured() -> Choice:
    """The stored answer for this machine, or a measurement that is stored."""
    place = paths.product_choice()
    machine = {"processor": _processor(), "torch": torch.__version__, "threads": torch.get_num_threads()}
    key = digest(machine)
    known: dict[str, Any] = {}
    with contextlib.suppress(UserError):  # missing or spoilt: measured anew
        known = read_json(place, kind=dict)
    found = known.get(key)
    stored = found.get("chosen") if isinstance(found, dict) else None
    if isinstance(stored, dict) and set(stored) == set(SHAPES) and all(isinstance(v, bool) for v in stored.values()):
        return Choice(**stored)
    seconds = {
        name: measure(shapes, torch.bfloat16 if name == "widened" else torch.float32) for name, shapes in SHAPES.items()
    }
    chosen = {name: taken["torch"] > MARGIN * taken["other"] for name, taken in seconds.items()}
    known[key] = machine | {"chosen": chosen, "seconds": seconds}
    with contextlib.suppress(UserError, OSError):  # a cache that cannot be written: measured by every process
        write_atomically(place, json.dumps(known, indent=1).encode())
    return Choice(**chosen)


def _processor() -> str:
    """Name, model number and vector units of the processor."""
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        told = dict(line.split(":", 1) for line in lines[:40] if ":" in line)
        named = [value.strip() for key, value in told.items() if key.strip() in ("model name", "cpu family", "model")]
        return " ".join([*named, torch.backends.cpu.get_cpu_capability()])
    return f"{platform.processor()} {torch.backends.cpu.get_cpu_capability()}"


@torch.inference_mode()
def measure(shapes: Shapes, dtype: torch.dtype = torch.float32) -> dict[str, float]:
    """Seconds of torch's product and of the other one for one round: the best of `TURNS`, taken in turns; some 0.5 s in
    all.

    Args:
        dtype: float32 for torch beside oneDNN, bfloat16 for torch beside `widened_linear`.
    """
    made = torch.Generator().manual_seed(0)
    pairs: list[tuple[Tensor, Tensor]] = []
    for rows, wide, out, n_matrices in shapes:
        x = torch.randn(rows, wide, generator=made).to(dtype)
        weights = torch.randn(out, wide, generator=made).to(dtype).repeat(n_matrices, 1)
        pairs += [(x, weight) for weight in weights.split(out)]
    other = onednn_linear if dtype == torch.float32 else widened_linear
    ways: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"torch": functional.linear, "other": other}
    best = dict.fromkeys(ways, float("inf"))
    for turn in range(TURNS + 1):
        for name, product in ways.items():
            begun = time.perf_counter()
            for x, weight in pairs:
                product(x, weight)
            if turn:  # the first only wakes the library
                best[name] = min(best[name], time.perf_counter() - begun)
    return best
