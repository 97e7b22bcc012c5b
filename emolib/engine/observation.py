"""One pass over padded texts that hands out what the sites of a model hold; nothing is generated or changed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Set

import torch
from torch import Tensor

from emolib.base import arguments
from emolib.base.errors import UserError
from emolib.engine.forward import ForwardPass
from emolib.interventions import check_sites, hooked
from emolib.models.attention import attention, attention_pattern
from emolib.models.language_model import LanguageModel
from emolib.models.tokens import position_ids

SITES = ("resid_pre", "resid_post", "attn_out", "mlp_out", "z", "pattern")
MOST_SCORES = 2**23  # held at once
Place = tuple[str, int]
Take = Callable[[str, int, Tensor], None]


def places_of(lm: LanguageModel, sites: Collection[str], layers: Collection[int] | None = None) -> list[Place]:
    """Every (site, layer) of these sites, by layer; `resid_pre` has one more layer than the model, the final residual.

    Args:
        layers: those wanted; None takes all.

    Raises:
        UserError: unknown site, one that the model's own code does not give, or a layer that none of the sites has.
    """
    sites = [arguments.one_of("site", site, SITES) for site in arguments.listed("sites", sites, "sites")]
    if layers is not None and hasattr(layers, "__len__") and not len(layers):
        raise UserError("expected at least one layer, got layers=[]; leave layers out to keep all")
    depth = lm.n_layers + ("resid_pre" in sites)
    chosen = range(depth) if layers is None else _numbers(layers, depth)
    for layer in chosen:
        if not 0 <= layer < depth:
            raise UserError(f"layer {layer} is out of range: the sites {', '.join(sites)} have layers 0-{depth - 1}")
    found = [(site, layer) for layer in chosen for site in sites if layer < lm.n_layers or site == "resid_pre"]
    check_sites(lm, found)
    return found


def _numbers(layers: Collection[int], depth: int) -> list[int]:
    """The layers in their order, each once; their own order means nothing, so that a set will do."""
    given = list(layers) if isinstance(layers, Set) else layers
    if isinstance(given, range) and len(given) > depth:  # some are out of range: the last one is told
        given = [given[-1]]
    return sorted(set(arguments.whole_numbers("layers", given)))


@torch.inference_mode()
def observe(lm: LanguageModel, ids: Tensor, mask: Tensor, places: Collection[Place], take: Take) -> None:
    """Runs one batch and calls `take(site, layer, value)` at each place, in the order in which the model gets there.

    A value lasts until `take` returns: `[row, pos, d_model]`; of `z` `[row, pos, head, d_head]`; of `pattern`
    `[row, head, query pos, key pos]`, float32. What stands on padding means nothing. Layers after the last place
    are not computed.

    Args:
        ids, mask: `[row, pos]`, padded on the left.
    """
    if lm.blueprint is None:
        _by_bridge(lm, ids, mask, places, take)
    else:
        _Reader(lm, ids.shape[1]).run(ids, mask, places, take)


class _Reader(ForwardPass):
    """The pass through a `Blueprint`."""

    def run(self, ids: Tensor, mask: Tensor, places: Collection[Place], take: Take) -> None:
        wanted: dict[int, set[str]] = {}
        for site, depth in places:
            wanted.setdefault(depth, set()).add(site)
        if not wanted:
            return
        net, last = self.net, max(wanted)
        positions = position_ids(mask).to(self.device)
        span = self._span(slice(0, ids.shape[1]), positions, self._pad_bias(mask))
        hidden = self._embed(ids.to(self.device), positions)
        for number, layer in enumerate(net.layers):
            sites = wanted.get(number, set())
            if "resid_pre" in sites:
                take("resid_pre", number, hidden)
            if number == last and sites == {"resid_pre"}:
                return
            q, k, v = self._heads(layer, layer.attn_norm(hidden), span)
            k, v, bias = k.transpose(1, 2), v.transpose(1, 2), span.biases[layer.window]
            if "pattern" in sites:
                take("pattern", number, attention_pattern(q, k, bias, layer.scale, upcast=net.upcast))
            z = _attended(q, k, v, bias, layer.scale, upcast=net.upcast)
            if "z" in sites:
                take("z", number, z)
            added = layer.out(z.flatten(2))
            if layer.attn_post_norm is not None:
                added = layer.attn_post_norm(added)
            if "attn_out" in sites:
                take("attn_out", number, added)
            middle = hidden if net.parallel else added + hidden
            output = self._mlp(layer, middle)
            if "mlp_out" in sites:
                take("mlp_out", number, output)
            hidden = output.add_(middle)
            if net.parallel:
                hidden.add_(added)
            if "resid_post" in sites:
                take("resid_post", number, hidden)
            if number == last:
                return
        take("resid_pre", len(net.layers), hidden)


def _attended(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, scale: float, *, upcast: bool) -> Tensor:
    """`attention`, some queries at a time where the scores of all of them would be too many to hold."""
    step = max(1, MOST_SCORES // (q.shape[0] * q.shape[2] * k.shape[2]))
    if step >= q.shape[1]:
        return attention(q, k, v, bias, scale, upcast=upcast)
    parts = []
    for first in range(0, q.shape[1], step):
        some = slice(first, first + step)
        part = None if bias is None else bias[:, :, some] if bias.shape[2] > 1 else bias
        parts.append(attention(q[:, some], k, v, part, scale, upcast=upcast))
    return torch.cat(parts, dim=1)


def _by_bridge(lm: LanguageModel, ids: Tensor, mask: Tensor, places: Collection[Place], take: Take) -> None:
    """The same by the model's own code, with hooks."""

    def taken(site: str, layer: int) -> Callable[[Tensor], None]:
        def function(value: Tensor) -> None:
            if site != "pattern":
                value = value.reshape(*ids.shape, -1)  # some models flatten rows and positions
            if site == "z":
                value = value.unflatten(2, (lm.n_heads, lm.d_head))
            take(site, layer, value.float() if site == "pattern" else value)

        return function

    ids, mask = ids.to(lm.device), mask.to(lm.device)
    with hooked(lm, [(*place, taken(*place)) for place in places]):
        lm.network(
            input_ids=ids, attention_mask=mask, position_ids=position_ids(mask), use_cache=False, logits_to_keep=1
        )
