"""Peer: nnterp over nnsight, a batch of prompts in one trace of `generate`, steered at every step."""

from __future__ import annotations

from pathlib import Path

from exchange import Batch, answer, load_plain, new_tokens
from nnterp import StandardizedTransformer
from torch import Tensor
from transformers import PreTrainedTokenizerFast


def load(folder: Path, dtype: str) -> tuple[StandardizedTransformer, PreTrainedTokenizerFast]:
    network, tokenizer = load_plain(folder, dtype)
    return StandardizedTransformer(network, tokenizer=tokenizer), tokenizer


def generated(model: StandardizedTransformer, layer: int, direction: Tensor, batch: Batch, n_new: int) -> Tensor:
    with model.generate(batch, do_sample=False, max_new_tokens=n_new, min_new_tokens=n_new) as tracer:
        for _ in tracer.iter[:n_new]:
            model.steer(layer - 1, direction)
        ids = model.generator.output.save()
    return new_tokens(ids, batch, n_new)


if __name__ == "__main__":
    answer("nnterp", generated, package="nnterp", load=load)
