"""Matrix products by the library that is fastest here.

On AMD processors torch's float32 products go through a library that does not use their wide vector units; oneDNN, which
torch carries too and uses for bfloat16, does (2.2 times as fast on a Zen 5 machine; docs/engine.md). Which one is taken
follows from the processor alone, so that a machine always gives the same numbers.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

CHUNK_BYTES = 2**24  # of a product's result: larger ones are asked from the system anew, page by page


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x Wᵀ + b, with W `[out, in]`."""
    if x.dtype == torch.float32 and x.device.type == "cpu" and prefers_onednn():
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return functional.linear(x, weight, bias)


def linear_into(x: Tensor, weight: Tensor, bias: Tensor | None, out: Tensor) -> Tensor:
    """The same for x `[row, in]`, written into `out` `[row, out]`."""
    if x.dtype == torch.float32 and x.device.type == "cpu" and prefers_onednn():
        step = max(CHUNK_BYTES // (4 * len(x)), 1)
        for start in range(0, len(weight), step):
            part = slice(start, start + step)
            out[:, part] = linear(x, weight[part], None if bias is None else bias[part])
        return out
    torch.mm(x, weight.t(), out=out)
    return out if bias is None else out.add_(bias)


class FastLinear(nn.Linear):
    """torch's layer through `linear`."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


def use_fast_products(network: nn.Module) -> nn.Module:
    """Has every linear layer of a network take the product that is fastest here; the weights stay where they are."""
    for module in network.modules():
        if type(module) is nn.Linear:
            module.__class__ = FastLinear
    return network


@lru_cache(maxsize=1)
def prefers_onednn() -> bool:
    """Whether this is an AMD processor with AVX-512, and torch has the product; it must also agree with torch's own."""
    if not sys.platform.startswith("linux") or torch.backends.cpu.get_cpu_capability() != "AVX512":
        return False
    if "AuthenticAMD" not in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace"):
        return False
    x, weight = torch.linspace(-1, 1, 24).view(3, 8), torch.linspace(-2, 1, 40).view(5, 8)
    try:
        with torch.inference_mode():
            given = torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], "")
    except (AttributeError, RuntimeError, NotImplementedError):
        return False
    return bool(torch.allclose(given, functional.linear(x, weight), atol=1e-5))
