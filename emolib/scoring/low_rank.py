"""A pretrained network changed by products of thin matrices alone (LoRA, Hu et al. 2022): W ← W + 2 B A.

The thin matrices are all that is stored; for scoring they are added into a copy of the weights once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

SCALE = 2.0
ADAPTED = (  # of every layer of a BERT
    "attention.self.query",
    "attention.self.key",
    "attention.self.value",
    "attention.output.dense",
    "intermediate.dense",
    "output.dense",
)


class LowRankLinear(nn.Module):
    """A frozen linear layer and its thin change: x ↦ W x + b + 2 B (A dropout(x)).

    Attributes:
        down: A `[rank, in]`; up: B `[out, rank]`, zero at the start.
    """

    def __init__(self, layer: nn.Linear, rank: int, dropout: float) -> None:
        super().__init__()
        self.layer = layer
        self.down = nn.Parameter(torch.randn(rank, layer.in_features) / layer.in_features**0.5)
        self.up = nn.Parameter(torch.zeros(layer.out_features, rank))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        wide: Tensor = self.layer(x)
        return wide + SCALE * functional.linear(functional.linear(self.dropout(x), self.down), self.up)


def adapt(network: nn.Module, *, rank: int, dropout: float) -> None:
    """Freezes a BERT and gives each of its linear layers in `ADAPTED` a thin change that can be trained."""
    network.requires_grad_(False)
    for name, layer in list(_linears(network)):
        parent, _, last = name.rpartition(".")
        setattr(network.get_submodule(parent), last, LowRankLinear(layer, rank, dropout))


def changes(network: nn.Module) -> dict[str, np.ndarray]:
    """The thin matrices of an adapted network, float32: `<layer>/down` `[rank, in]` and `<layer>/up` `[out, rank]`."""
    found = {}
    for name, module in network.named_modules():
        if isinstance(module, LowRankLinear):
            found[f"{name}/down"] = module.down.detach().numpy()
            found[f"{name}/up"] = module.up.detach().numpy()
    return found


def averaged(members: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The mean of several trainings' changes, exactly: thin matrices side by side, so the rank is the sum of theirs.

    What is no thin matrix is averaged entry by entry.

    >>> one = {"layer/down": np.ones((1, 2)), "layer/up": np.full((3, 1), 2.0), "bias": np.zeros(2)}
    >>> other = {"layer/down": np.ones((1, 2)), "layer/up": np.full((3, 1), 4.0), "bias": np.ones(2)}
    >>> both = averaged([one, other])
    >>> (both["layer/up"] @ both["layer/down"])[0].tolist(), both["bias"].tolist()
    ([3.0, 3.0], [0.5, 0.5])
    """
    found = {}
    for name in members[0]:
        parts = [member[name] for member in members]
        if name.endswith("/down"):
            found[name] = np.concatenate(parts, axis=0)
        elif name.endswith("/up"):
            found[name] = np.concatenate(parts, axis=1) / len(parts)
        else:
            found[name] = np.mean(parts, axis=0)
    return found


def change_names(n_layers: int, adapted: Collection[str] = ADAPTED) -> list[str]:
    """What `changes` calls the thin matrices of a BERT of so many layers.

    Args:
        adapted: the linear layers of each that are changed.
    """
    linears = [f"encoder.layer.{layer}.{name}" for layer in range(n_layers) for name in adapted]
    return [f"{name}/{part}" for name in linears for part in ("down", "up")]


@torch.no_grad()
def apply_changes(network: nn.Module, stored: Mapping[str, np.ndarray], adapted: Collection[str] = ADAPTED) -> None:
    """Adds the products of stored thin matrices to the weights of an unchanged network, in place.

    Args:
        adapted: the linear layers of each layer that are changed.

    Raises:
        RuntimeError: matrices of other sizes.
    """
    for name, layer in _linears(network, adapted):
        up, down = (torch.from_numpy(stored[f"{name}/{part}"].astype(np.float32)) for part in ("up", "down"))
        layer.weight += SCALE * (up @ down).to(layer.weight)


def _linears(network: nn.Module, adapted: Collection[str] = ADAPTED) -> Iterator[tuple[str, nn.Linear]]:
    for name, module in network.named_modules():
        if isinstance(module, nn.Linear) and name.startswith("encoder.layer.") and name.endswith(tuple(adapted)):
            yield name, module
