"""The parts of a model that a circuit is made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from emolib.models.language_model import LanguageModel


@dataclass(frozen=True, order=True)
class Node:
    """A head, an MLP, or a group of an MLP's neurons (whose members the effect's `groups` tell).

    >>> Node(3, "head", 5).name, Node(3, "mlp").name, Node(3, "neurons", 1).name
    ('h3.5', 'm3', 'n3.1')
    """

    layer: int
    kind: Literal["head", "mlp", "neurons"]
    index: int = 0

    @property
    def name(self) -> str:
        return f"m{self.layer}" if self.kind == "mlp" else f"{self.kind[0]}{self.layer}.{self.index}"


NodeSet = frozenset[Node]
Evaluate = Callable[[Sequence[NodeSet]], Float[np.ndarray, "set scenario"]]  # m per scenario with only these nodes left


def all_nodes(lm: LanguageModel, first_layer: int = 0) -> tuple[Node, ...]:
    """Every head and MLP from a layer on."""
    return tuple(
        node
        for layer in range(first_layer, lm.n_layers)
        for node in (*(Node(layer, "head", head) for head in range(lm.n_heads)), Node(layer, "mlp"))
    )
