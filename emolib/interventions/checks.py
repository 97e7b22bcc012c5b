"""What acts take as vectors and sites, and how it is checked where an act is written."""

from __future__ import annotations

from typing import Literal

import numpy as np
from torch import Tensor

from emolib.base.errors import UserError, shown
from emolib.data.activations import LayerVector

STREAM_SITES = ("resid_pre", "attn_out", "mlp_out")
Site = Literal["resid_pre", "attn_out", "mlp_out"]
Values = np.ndarray | Tensor


def check_site(site: str, kind: str) -> None:
    if site not in STREAM_SITES:
        raise UserError(f"unknown site {shown(site)} for {kind}: expected {', '.join(STREAM_SITES)}")


def bare_values(given: LayerVector | Values) -> np.ndarray:
    """The bare float32 numbers of a vector or array, wherever they lie."""
    values = given.values if isinstance(given, LayerVector) else given
    return np.asarray(values.detach().cpu().float() if isinstance(values, Tensor) else values, dtype=np.float32)


def checked_array(values: LayerVector | Values, name: str, n_dimensions: int) -> np.ndarray:
    """A float32 copy; finite, and of the expected number of dimensions."""
    array = bare_values(values)
    if array.ndim != n_dimensions or not np.isfinite(array).all():
        raise UserError(f"expected {name}: finite numbers of {n_dimensions} dimension(s), got shape {array.shape}")
    return array
