"""Which device and which number type a model runs in."""

from __future__ import annotations

import torch

from emolib.base.errors import UserError, shown

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


SHORT = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16", "half": "float16"}


def pick_dtype(dtype: str | torch.dtype) -> str:
    """The name, a key of `DTYPES`, of the number type that is meant: `float16`, `torch.float16` or `fp16`.

    Raises:
        UserError: any other.

    >>> pick_dtype("bf16"), pick_dtype(torch.float32)
    ('bfloat16', 'float32')
    """
    name = str(dtype).removeprefix("torch.") if isinstance(dtype, str | torch.dtype) else ""
    name = SHORT.get(name, name)
    if name not in DTYPES:
        raise UserError(f"expected dtype {', '.join(DTYPES)} or None, got {shown(dtype)}")
    return name


def pick_device(device: str | torch.device) -> str:
    """The torch device a name stands for; `auto` is CUDA, then MPS, then the CPU.

    Raises:
        UserError: no device, or none that can hold numbers here.
    """
    if isinstance(device, torch.device):
        device = str(device)
    wrong = UserError(f"expected a device torch can use here, got {shown(device)}; use auto or cpu")
    if not isinstance(device, str) or device.startswith("meta"):
        raise wrong
    if device != "auto":
        try:
            torch.empty(0, device=device)
        except (RuntimeError, AssertionError, ValueError, NotImplementedError) as error:
            raise wrong from error
        return device
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
