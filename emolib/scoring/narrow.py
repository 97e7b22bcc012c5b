"""A BERT with fewer hidden units in its layers: which stay, and weights out of them that make up for the others.

Most of an encoder's time goes into the products with the 1,536 hidden units of every layer, and a scorer of three
emotions needs a part of them. Units leave a layer a few at a time, those first whose leaving changes the scorer's
logits least, to second order and with the others' weights refitted (optimal brain surgeon, Hassibi and Stork 1993;
with Fisher information from gradients, as Kwon et al. 2022 prune transformers without training). How many each layer
keeps follows from the same costs. Then the weights out of the units that stay are fitted by least squares, layer by
layer, to what the wide layer gives, from what the narrow layers before give.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from emolib.models.products import linear
from emolib.scoring.low_rank import ADAPTED, apply_changes, change_names
from emolib.scoring.packed_bert import PackedBert
from emolib.scoring.packing import Pack

STEP = 32  # units that leave a layer at once
CANDIDATES = 4 * STEP  # among which each of them costs least after those before
TINY = 1e-30
FEWEST = 0.25  # of the mean number that stays: what a layer keeps at least
EVEN = 0.2  # share of a token's weight that does not hang on its gradient
RIDGE = 1e-3  # of the mean of a matrix' diagonal
THIN = tuple(name for name in ADAPTED if name != "output.dense")  # what is stored as a thin change
PARTS = {"kept": 1, "outer.weight": 2, "outer.bias": 1}  # what is stored of a layer, and its axes


@dataclass(frozen=True)
class Sensitivity:
    """What logits make of one layer.

    Attributes:
        units: `[unit, unit]`, mean product of two hidden units over tokens, weighted by the tokens' gradients.
        output: `[width, width]`, the mean over texts of the sum over tokens of the products of two gradients by the
            layer's output before its norm.
    """

    units: Tensor
    output: Tensor


def narrow_names(n_layers: int) -> dict[str, int]:
    """What is stored of a narrow BERT of so many layers, with the numbers of axes."""
    parts = {f"encoder.layer.{layer}.{part}": axes for layer in range(n_layers) for part, axes in PARTS.items()}
    return dict.fromkeys(change_names(n_layers, THIN), 2) | parts


def apply_narrow(network: Any, stored: Mapping[str, np.ndarray]) -> None:
    """Makes an unchanged network the narrow one that is stored, in place.

    Raises:
        RuntimeError: tensors of other sizes, or units that the network does not have.
    """
    apply_narrowing(network, stored)
    apply_changes(network, stored, THIN)


@torch.no_grad()
def apply_narrowing(network: Any, stored: Mapping[str, np.ndarray]) -> None:
    """Leaves in every layer of a network the hidden units that are stored, with the weights out of them, in place.

    Raises:
        RuntimeError: weights of other sizes, or units that the network does not have.
    """
    for number, layer in enumerate(network.encoder.layer):
        kept, weight, bias = (torch.from_numpy(stored[f"encoder.layer.{number}.{part}"].copy()) for part in PARTS)
        wide, out = layer.intermediate.dense, layer.output.dense
        if len(kept) and not 0 <= int(kept.min()) <= int(kept.max()) < wide.out_features:
            raise RuntimeError(f"expected units from 0 to {wide.out_features - 1}, got others")
        if weight.shape != (out.out_features, len(kept)) or len(bias) != out.out_features:
            raise RuntimeError(f"expected weights from {len(kept)} units to {out.out_features}, got others")
        places = kept.long()
        layer.intermediate.dense = _linear(wide.weight[places], wide.bias[places])
        layer.output.dense = _linear(weight, bias)


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    made = nn.utils.skip_init(nn.Linear, weight.shape[1], weight.shape[0])
    made.weight.copy_(weight)
    made.bias.copy_(bias)
    return made.requires_grad_(False)


# which units stay


def sensitivities(
    network: Any, readout: nn.Module, blocks: Sequence[tuple[Tensor, Tensor]], *, seed: int
) -> list[Sensitivity]:
    """One per layer of a transformers BERT.

    Args:
        readout: states `[row, token, width]` and mask → logits `[row, emotion]`.
        blocks: ids and mask, `[row, token]` each.
        seed: of the signs with which a text's logits are summed: one gradient stands for those of all.
    """
    network = copy.deepcopy(network).requires_grad_(False)
    network.embeddings.register_forward_hook(lambda _module, _given, out: out.detach().requires_grad_())
    seen: dict[int, tuple[Tensor, Tensor]] = {}
    for number, layer in enumerate(network.encoder.layer):
        layer.output.dense.register_forward_hook(
            lambda _module, given, out, number=number: seen.update({number: (given[0], out)})
        )
    signs = torch.Generator().manual_seed(seed)
    totals: list[Sensitivity] = []
    for ids, mask in blocks:
        logits = readout(network(input_ids=ids, attention_mask=mask).last_hidden_state, mask)
        drawn = torch.randint(0, 2, logits.shape, generator=signs) * 2 - 1
        gradients = torch.autograd.grad((logits * drawn).sum(), [out for _, out in seen.values()])
        real = mask.bool()
        found = [_moments(h.detach()[real], g[real]) for (h, _), g in zip(seen.values(), gradients, strict=True)]
        totals = [_sum(*both) for both in zip(totals, found, strict=True)] if totals else found
    n_tokens, n_texts = (sum(int(mask.sum()) for _, mask in blocks), sum(len(ids) for ids, _ in blocks))
    return [Sensitivity(total.units / n_tokens, total.output / n_texts) for total in totals]


def _moments(units: Tensor, gradients: Tensor) -> Sensitivity:
    sizes = gradients.square().sum(1)
    weights = EVEN + (1 - EVEN) * sizes / sizes.mean()
    return Sensitivity(units.T @ (units * weights[:, None]), gradients.T @ gradients)


def _sum(one: Sensitivity, other: Sensitivity) -> Sensitivity:
    return Sensitivity(one.units + other.units, one.output + other.output)


def leaving(found: Sensitivity, weight: Tensor, *, fewest: int) -> tuple[list[Tensor], list[float]]:
    """In which order a layer's units leave it, `STEP` at a time, until `fewest` are left.

    Args:
        weight: `[width, unit]`, out of the units.

    Returns:
        The units of each step, and the mean square by which the step changes the logits.
    """
    inverse = torch.linalg.inv(_firm(found.units.double()))
    values, vectors = torch.linalg.eigh(found.output.double())
    seen = weight.T.double() @ (vectors * values.clamp_min(0).sqrt())  # its squares are what logits see of a unit
    there, order, costs = torch.ones(len(seen), dtype=torch.bool), [], []
    while int(there.sum()) - STEP >= fewest:
        single = seen.square().sum(1) / inverse.diagonal().clamp_min(TINY)
        near = torch.topk(single.masked_fill(~there, torch.inf), min(CANDIDATES, int(there.sum())), largest=False)
        places, cost = _cheapest(inverse[near.indices][:, near.indices], seen[near.indices])
        gone = near.indices[places].sort().values
        column = inverse[:, gone]
        change = torch.linalg.solve(column[gone], torch.cat([seen[gone], column.T], dim=1))
        seen -= column @ change[:, : seen.shape[1]]
        inverse -= column @ change[:, seen.shape[1] :]
        there[gone] = False
        order.append(gone)
        costs.append(cost)
    return order, costs


def _cheapest(inverse: Tensor, seen: Tensor) -> tuple[Tensor, float]:
    """`STEP` of the candidates, each the one that costs least after those before it, and what they cost together."""
    gone, total, free = [], 0.0, torch.zeros(len(seen), dtype=inverse.dtype)
    for _ in range(STEP):
        single = seen.square().sum(1) / inverse.diagonal().clamp_min(TINY) + free
        place = int(single.argmin())
        total += float(single[place])
        column = inverse[:, place] / inverse[place, place]
        seen = seen - torch.outer(column, seen[place])
        inverse = inverse - torch.outer(column, inverse[place])
        free[place] = torch.inf
        gone.append(place)
    return torch.tensor(gone), total


def chosen_units(found: Sequence[Sensitivity], weights: Sequence[Tensor], *, mean: int) -> list[Tensor]:
    """Per layer the units that stay, ascending: `mean` of them in the mean over layers, those that cost least gone.

    Args:
        weights: `[width, unit]` of every layer, out of the units.
    """
    orders, costs = zip(
        *(leaving(one, weight, fewest=int(FEWEST * mean)) for one, weight in zip(found, weights, strict=True)),
        strict=True,
    )
    sizes = [weight.shape[1] for weight in weights]
    steps = [0] * len(sizes)
    while sum(sizes) - STEP * sum(steps) - STEP >= mean * len(sizes):
        open_layers = [number for number, step in enumerate(steps) if step < len(costs[number])]
        if not open_layers:
            break
        steps[min(open_layers, key=lambda number: costs[number][steps[number]])] += 1
    kept = []
    for size, order, step in zip(sizes, orders, steps, strict=True):
        there = torch.ones(size, dtype=torch.bool)
        there[torch.cat([torch.zeros(0, dtype=torch.long), *order[:step]])] = False
        kept.append(torch.nonzero(there)[:, 0])
    return kept


def _firm(matrix: Tensor) -> Tensor:
    return matrix + RIDGE * matrix.diagonal().mean() * torch.eye(len(matrix), dtype=matrix.dtype)


# the weights out of them


@torch.inference_mode()
def refitted(wide: PackedBert, kept: Sequence[Tensor], given: Sequence[Pack]) -> dict[str, np.ndarray]:
    """What `apply_narrowing` takes: weights as float16, units as int16.

    Args:
        wide: the network before.
        kept: per layer the units that stay.
        given: the texts on which the narrow layers are to give what the wide ones give.
    """
    states = [wide.embedded(pack) for pack in given]
    both = [(x, x) for x in states]
    stored: dict[str, np.ndarray] = {}
    for number, (layer, places) in enumerate(zip(wide.layers, kept, strict=True)):
        inner = layer.inner.weight[places], layer.inner.bias[places]
        sums, hidden = [], []
        for pack, (x, narrow_x) in zip(given, both, strict=True):
            seen, read = (layer.attended(one, pack, wide.n_heads) for one in (x, narrow_x))
            sums.append((linear(layer.hidden(seen), layer.outer.weight, layer.outer.bias).add_(seen), read))
            hidden.append(nn.functional.gelu(linear(read, *inner)))
        real = [pack.filled for pack in given]
        start = torch.cat([layer.outer.weight[:, places], layer.outer.bias[:, None]], dim=1)
        fitted = _least_squares(hidden, [(y - read) for y, read in sums], real, start).half()
        weight, bias = fitted[:, :-1].float(), fitted[:, -1].float()
        both = [
            (layer.last_norm(y), layer.last_norm(linear(units, weight, bias).add_(read)))
            for units, (y, read) in zip(hidden, sums, strict=True)
        ]
        parts = (places.to(torch.int16), fitted[:, :-1], fitted[:, -1])
        stored |= {f"encoder.layer.{number}.{part}": value.numpy() for part, value in zip(PARTS, parts, strict=True)}
    return stored


def _least_squares(units: Sequence[Tensor], wanted: Sequence[Tensor], real: Sequence[int], start: Tensor) -> Tensor:
    """`[width, unit + 1]`, the last the constant: least squares over the real tokens, drawn to `start` by a ridge."""
    size = start.shape[1]
    products, crossed = torch.zeros(size, size, dtype=torch.float64), torch.zeros(size, len(start), dtype=torch.float64)
    for one, target, rows in zip(units, wanted, real, strict=True):
        full = nn.functional.pad(one[:rows], (0, 1), value=1.0)
        products += (full.T @ full).double()
        crossed += (full.T @ target[:rows]).double()
    begin = start.T.double()
    return (begin + torch.linalg.solve(_firm(products), crossed - products @ begin)).T.float()
