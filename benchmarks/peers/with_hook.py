"""Peer: plain transformers with a hook written by hand, as most people start. Needs no environment of its own.

The hook sits before block `layer`, the packages' after block `layer - 1`: the same place, reached by another route.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from exchange import answer, by_generate, decoder_blocks
from torch import Tensor
from transformers import PreTrainedModel


@contextmanager
def steered(model: PreTrainedModel, layer: int, direction: Tensor) -> Iterator[None]:
    def add(_block: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return (inputs[0] + direction, *inputs[1:])

    handle = decoder_blocks(model)[layer].register_forward_pre_hook(add)
    try:
        yield
    finally:
        handle.remove()


if __name__ == "__main__":
    answer("transformers", by_generate(steered), package="transformers")
