"""What acts take as vectors and sites, and how it is checked where an act is written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from torch import Tensor

from emolib.base import arguments
from emolib.base.errors import UserError
from emolib.data.activations import LayerVector, LayerVectors
from emolib.interventions.schedules import checked_timing

STREAM_SITES = ("resid_pre", "attn_out", "mlp_out")
Site = Literal["resid_pre", "attn_out", "mlp_out"]
SiteOrHead = Literal["resid_pre", "attn_out", "mlp_out", "z"]
LARGEST_ALPHA = 1000
LARGEST_CHANGE = 1e12  # the norm of what an act adds; its square is far within float32
Values = np.ndarray | Tensor


def check_place(act: Any, sites: Sequence[str] = STREAM_SITES) -> None:
    """Has an act's layer, its head or site, and when it acts, as plain numbers.

    Args:
        sites: those at which such an act may stand.

    Raises:
        UserError: a layer or head that is no whole number, an unknown site, or what `checked_timing`
            says.
    """
    for name in ("layer", "head"):
        if hasattr(act, name) and not (name == "head" and "z" in sites and act.head is None):
            object.__setattr__(act, name, arguments.whole_number(name, getattr(act, name)))
    if hasattr(act, "site"):
        arguments.one_of("site", act.site, sites)
    window, schedule, steps = checked_timing(act.window, act.schedule, act.steps)
    for name, value in {"window": window, "schedule": schedule, "steps": steps}.items():
        object.__setattr__(act, name, value)


def checked_alpha(alpha: float, *, relative: bool) -> float:
    """The strength of an act as a number within reason.

    Args:
        relative: alpha counts norms of activations or whole moves to a target, so that ±`LARGEST_ALPHA` is far beyond
            use; one that multiplies a vector of any length has no such bound (`check_change` has).

    Raises:
        UserError: no finite number, or one beyond the bound.
    """
    if not relative:
        return arguments.number("alpha", alpha)
    return arguments.number("alpha", alpha, least=-LARGEST_ALPHA, most=LARGEST_ALPHA)


def check_change(norm: float) -> None:
    """Raises `UserError` for a change of the residual stream that no model can compute with.

    >>> check_change(-1e20)
    Traceback (most recent call last):
    emolib.base.errors.UserError: expected a change of norm at most 1e+12, alpha times the vector has 1e+20; ...
    """
    if not abs(norm) <= LARGEST_CHANGE:
        raise UserError(
            f"expected a change of norm at most {LARGEST_CHANGE:g}, alpha times the vector has {abs(norm):.3g}; give a "
            "smaller alpha, resid_norm, bulk_norm, kl_length or vector"
        )


def bare_values(given: LayerVector | Values, name: str = "a vector") -> np.ndarray:
    """The bare float32 numbers of a vector or array, wherever they lie.

    Raises:
        UserError: vectors of all layers in place of one, or something that holds no real numbers.
    """
    if isinstance(given, LayerVectors):
        raise UserError(
            f"expected {name} of one layer, got those of {len(given)} layers; choose one, vecs[emotion][layer]"
        )
    return arguments.real_array(name, given.values if isinstance(given, LayerVector) else given)


def checked_array(values: LayerVector | Values, name: str, n_dimensions: int) -> np.ndarray:
    """A float32 copy; finite, and of the expected number of dimensions."""
    array = bare_values(values, name)
    if array.ndim != n_dimensions or not array.size or not np.isfinite(array).all():
        raise UserError(f"expected {name}: finite numbers of {n_dimensions} dimension(s), got shape {array.shape}")
    return array


def unit_direction(direction: LayerVector | Values) -> np.ndarray:
    """The direction at unit norm, `[d_model]` float32.

    Raises:
        UserError: a zero or non-finite direction, or more than one.

    >>> unit_direction(np.array([0.0, 2.0])).tolist()
    [0.0, 1.0]
    """
    values = checked_array(direction, "a direction [d_model]", 1)
    norm = float(np.linalg.norm(values))
    if norm == 0:
        raise UserError("expected a non-zero direction [d_model], got norm 0")
    unit: np.ndarray = values / np.float32(norm)
    return unit


def check_direction_layer(direction: LayerVector | Values, layer: int, what: str) -> None:
    """Raises `UserError` for a direction of another layer than the act's."""
    if isinstance(direction, LayerVector) and direction.layer != layer:
        raise UserError(f"the direction belongs to layer {direction.layer}, {what} to {layer}")
