"""Peer: the package repeng, which replaces a block by a module that adds a control vector to the block's output.

`ControlModel(model, [i])` wraps block i, and `set_control` adds `coeff * directions[i]` to what that block returns;
it is rescaled only with `normalize=True`. Positions of the padding are left alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from exchange import answer, by_generate
from repeng import ControlModel, ControlVector
from torch import Tensor
from transformers import PreTrainedModel


@contextmanager
def steered(model: PreTrainedModel, layer: int, direction: Tensor) -> Iterator[None]:
    """Wraps the one block in question: other wrapped blocks would cost time without steering anything."""
    block = layer - 1
    control = ControlModel(model, [block])
    try:
        vector = ControlVector(model_type=model.config.model_type, directions={block: direction.float().numpy()})
        control.set_control(vector, coeff=1.0)
        yield
    finally:
        control.unwrap()


if __name__ == "__main__":
    answer("repeng", by_generate(steered), package="repeng")
