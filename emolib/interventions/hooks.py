"""Hook points of the bridge: where they are, recording there, and carrying out interventions there.

Only this package registers hooks. A hook never writes in place, and every hook is removed when its context ends.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from emolib.base.errors import UserError, shown
from emolib.base.parameters import check_layers
from emolib.models.language_model import LanguageModel

HEAD_SITES = {"z": "attn.hook_z", "v": "attn.hook_v", "pattern": "attn.hook_pattern"}


def hook_name(lm: LanguageModel, site: str, layer: int) -> str:
    """How the bridge calls the hook point for a site at a layer."""
    if site == "resid_pre" and layer == lm.n_layers:
        return f"blocks.{layer - 1}.hook_resid_post"
    return f"blocks.{layer}.{HEAD_SITES.get(site, f'hook_{site}')}"


def hook_point(lm: LanguageModel, site: str, layer: int) -> torch.nn.Module:
    """The bridge's hook point for a site at a layer; `resid_pre` at n_layers is the last block's output.

    Raises:
        UserError: a layer that the model does not have, or a site that its bridge does not have.
    """
    check_layers((layer,), lm.n_layers)
    if layer == lm.n_layers and site != "resid_pre":
        raise UserError(f"site {site} has layers 0-{lm.n_layers - 1}, got {layer}")
    point = lm.bridge.hook_dict.get(hook_name(lm, site, layer))
    if point is None:
        raise UserError(f"the bridge of {type(lm.network).__name__} has no site {shown(site)} at layer {layer}")
    return point


@contextlib.contextmanager
def hooked(
    lm: LanguageModel,
    hooks: Sequence[tuple[str, int, Callable[[Tensor], Tensor | None]]],
    *,
    may_stay_silent: bool = False,
) -> Iterator[None]:
    """Calls each function with what its (site, layer) gives; a tensor that it returns takes that one's place.

    Args:
        may_stay_silent: whether a place may give nothing; else that is an error, for an act or a recording that never
            happened looks like one without an effect.

    Raises:
        UserError: a hook point that the model's pass never reached.
    """
    fired: set[tuple[str, int]] = set()

    def forward_hook(place: tuple[str, int], function: Callable[[Tensor], Tensor | None]) -> Callable:
        def hook(module: torch.nn.Module, inputs: tuple, output: Tensor) -> Tensor | None:
            fired.add(place)
            return function(output)

        return hook

    with contextlib.ExitStack() as stack:
        for site, layer, function in hooks:
            handle = hook_point(lm, site, layer).register_forward_hook(forward_hook((site, layer), function))
            stack.callback(handle.remove)
        yield
    silent = sorted({(site, layer) for site, layer, _ in hooks} - fired)
    if silent and not may_stay_silent:
        told = ", ".join(f"{site} at layer {layer}" for site, layer in silent)
        raise UserError(
            f"expected the bridge of {type(lm.network).__name__} to pass {told}, its hook never fired; "
            "choose another site"
        )
