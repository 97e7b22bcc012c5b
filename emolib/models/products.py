"""Matrix products by the library that is faster here (see `product_choice`)."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional

from emolib.models import product_choice
from emolib.models.product_choice import onednn_linear, widened_linear

CHUNK_BYTES = 2**24  # of a product's result: larger ones are asked from the system anew, page by page


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x Wᵀ + b, with W `[out, in]`."""
    if x.dtype == torch.float32 and x.is_cpu and prefers_onednn(x.numel() // weight.shape[1]):
        differentiated = x.requires_grad and torch.is_grad_enabled()  # oneDNN's product has no derivative
        if not differentiated:
            return onednn_linear(x, weight, bias)
    if x.dtype == torch.bfloat16 and x.is_cpu and widens(x.numel() // weight.shape[1]):
        return widened_linear(x, weight, bias)
    return functional.linear(x, weight, bias)


def linear_into(x: Tensor, weight: Tensor, bias: Tensor | None, out: Tensor) -> Tensor:
    """The same for x `[row, in]`, written into `out` `[row, out]`."""
    onednn = x.dtype == torch.float32 and x.is_cpu and prefers_onednn(len(x))
    if onednn or (x.dtype == torch.bfloat16 and x.is_cpu and widens(len(x))):
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


def prefers_onednn(n_rows: int) -> bool:
    """Whether float32 products of so many rows go through oneDNN."""
    choice = _choice()
    return choice.few if n_rows < product_choice.FEW else choice.many


def widens(n_rows: int) -> bool:
    """Whether bfloat16 products of so many rows are made in float32."""
    return n_rows >= product_choice.MANY and _choice().widened


@lru_cache(maxsize=1)
def _choice() -> product_choice.Choice:
    """Asked once per process."""
    return product_choice.choose()
