"""Gradients through packed rows: of weighted mean log-probabilities, by everything that a pass goes through."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from emolib.engine.packed_ablation import Targets
from emolib.engine.packed_pass import Held, PackedPass


@dataclass(frozen=True)
class Backward:
    """A pass and the gradients of its weighted sum.

    Attributes:
        held: the pass; its graph is kept until this is dropped.
        resid: by layer, and of the final residual, `[token, d_model]`.
        z: by layer `[token, head, d_head]`.
        neurons: by layer `[token, neuron]`.
        mlp_out: by layer `[token, d_model]`.
    """

    held: Held
    resid: list[Tensor]
    z: list[Tensor]
    neurons: list[Tensor]
    mlp_out: list[Tensor]


def backward(packed: PackedPass, weights: np.ndarray) -> Backward:
    """One pass and one step back.

    Args:
        packed: one copy of the rows.
        weights: `[row, text]`, of each text's mean log-probability.
    """
    held = packed.held()
    groups = (held.resid, held.z, held.neurons, held.mlp_out)
    with torch.enable_grad():
        flat = torch.autograd.grad(
            weighted(packed, held.logprobs, weights), [part for group in groups for part in group], retain_graph=True
        )
    found: list[list[Tensor]] = []
    start = 0
    for group in groups:
        found.append(list(flat[start : start + len(group)]))
        start += len(group)
    return Backward(held, *found)


def weighted(packed: PackedPass, logprobs: Tensor | None, weights: np.ndarray) -> Tensor:
    """Σ weight · log-probability."""
    assert logprobs is not None
    return (logprobs * torch.tensor(weights, dtype=logprobs.dtype, device=packed.device)).sum()


def dropped_gradients(back: Backward) -> Iterator[tuple[int, list[Tensor]]]:
    """For every layer, the gradients by the z of the layers before it where the layer is left out of the way back.

    GradDrop (Kramár et al. 2024, section 3.2.2): what reaches the layer's output goes on to its input unchanged. The
    layers behind keep their gradients, the layer itself has none.
    """
    for layer in range(1, len(back.held.z)):
        with torch.enable_grad():
            found = torch.autograd.grad(
                back.held.resid[layer], back.held.z[:layer], back.resid[layer + 1], retain_graph=True
            )
        yield layer, list(found)


def integrated_gradient(
    packed: PackedPass, targets: Targets, weights: np.ndarray, layer: int, hidden: Tensor, z: Tensor, steps: int
) -> Tensor:
    """The gradient by a layer's z, mean along the straight way of all its heads from what they are to their targets.

    Gauss and Legendre's points. The sum over heads of difference times gradient is the effect of ablating the whole
    layer, but for the quadrature.

    Args:
        hidden, z: the layer's input and its heads' outputs, without a graph.
        steps: points on the way.

    Returns:
        `[token, head, d_head]`.
    """
    points, shares = np.polynomial.legendre.leggauss(steps)
    way = packed_difference(targets, layer, z)
    total = torch.zeros_like(z)
    for point, share in zip((points + 1) / 2, shares / 2, strict=True):
        with torch.enable_grad():
            leaf = (z + float(point) * way).detach().requires_grad_()
            after = packed.edited("resid_pre", layer + 1, packed.after_heads(layer, hidden, leaf))
            logprobs = packed.logprobs(packed.through(layer + 1, after))
            (gradient,) = torch.autograd.grad(weighted(packed, logprobs, weights), leaf)
        total = total + float(share) * gradient
    return total


def packed_difference(targets: Targets, layer: int, z: Tensor) -> Tensor:
    """What ablation changes of every head's output, `[token, head, d_head]`."""
    return targets.factor[:, None, None] * (targets.z(layer) - z)


def query_key_changes(
    packed: PackedPass, targets: Targets, layer: int, hidden: Tensor, gradient: Tensor
) -> dict[str, Tensor]:
    """What a head's query, key or value alone does, taken from the source, by the change of its attention pattern.

    The softmax is worked out anew (Kramár et al. 2024, section 3.2.1), all else is first-order: the change of the
    pattern times the gradient by it. Beside it the plain first-order estimate, by the softmax's derivative. Queries and
    keys of the source stand at the row's own positions.

    Args:
        hidden: the layer's input `[token, d_model]`.
        gradient: by the heads' outputs `[token, head, d_head]`.

    Returns:
        query, key, value, query_linear, key_linear: `[row, column, head]`, by the attending token.
    """
    assert targets.index is not None
    net_layer = packed.net.layers[layer]
    source = targets.held.resid[layer].index_select(0, targets.index)
    source = torch.where(targets.factor[:, None] > 0, source, hidden)
    q, k, v = packed.queries_keys_values(net_layer, hidden)
    q_new, k_new, v_new = packed.queries_keys_values(net_layer, source)
    shared = q.shape[1] // v.shape[1]
    values, values_new = (packed.in_rows(part).repeat_interleave(shared, dim=2).float() for part in (v, v_new))
    laid = packed.in_rows(gradient).float()
    by_pattern = torch.einsum("rqhd,rkhd->rhqk", laid, values)
    scores = packed.scores(net_layer, q, k)
    pattern = scores.softmax(-1)
    found = {"value": torch.einsum("rhqk,rkhd,rqhd->rqh", pattern, values_new - values, laid)}
    for name, pair in (("query", (q_new, k)), ("key", (q, k_new))):
        new = packed.scores(net_layer, *pair)
        found[name] = ((new.softmax(-1) - pattern) * by_pattern).sum(-1).transpose(1, 2)
        moved = torch.where(pattern > 0, new - scores, torch.zeros_like(new))
        slope = pattern * (moved - (pattern * moved).sum(-1, keepdim=True))
        found[f"{name}_linear"] = (slope * by_pattern).sum(-1).transpose(1, 2)
    return found


def per_row(packed: PackedPass, values: Tensor) -> Tensor:
    """Sums over a row's tokens: `[token, …]` → `[row, …]`, in float64 on the CPU."""
    rows = torch.from_numpy(packed.tokens.row)
    total = torch.zeros(len(packed.rows.contexts), *values.shape[1:], dtype=torch.float64)
    return total.index_add_(0, rows, values.detach().double().cpu())


def per_unit(values: Tensor, unit_of_row: Sequence[int], n_units: int) -> np.ndarray:
    """Sums over a unit's rows: `[row, …]` → `[unit, …]`."""
    total = torch.zeros(n_units, *values.shape[1:], dtype=torch.float64)
    found: np.ndarray = total.index_add_(0, torch.tensor(list(unit_of_row)), values).numpy()
    return found
