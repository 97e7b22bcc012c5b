"""Which device and which number type a model runs in."""

from __future__ import annotations

import torch

from emolib.base.errors import UserError, shown

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def pick_device(device: str) -> str:
    """The torch device a name stands for; `auto` is CUDA, then MPS, then the CPU."""
    if device != "auto":
        try:
            torch.empty(0, device=device)
        except (RuntimeError, AssertionError) as error:
            raise UserError(f"expected a device torch can use here, got {shown(device)}; use auto or cpu") from error
        return device
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
