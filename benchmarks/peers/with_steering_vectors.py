"""Peer: the package steering-vectors, which adds a vector to a block's output through a forward hook."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from exchange import answer, by_generate
from steering_vectors import SteeringVector
from torch import Tensor
from transformers import PreTrainedModel


def steered(model: PreTrainedModel, layer: int, direction: Tensor) -> AbstractContextManager[Any]:
    return SteeringVector(layer_activations={layer - 1: direction}).apply(model, multiplier=1.0)


if __name__ == "__main__":
    answer("steering-vectors", by_generate(steered), package="steering-vectors")
