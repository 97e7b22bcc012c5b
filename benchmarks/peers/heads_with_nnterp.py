"""Peer: nnterp over nnsight, one trace per ablated head, all rows in one batch.

REQUEST.json
    model_folder, dtype, threads    as in `exchange.py`
    rows            path of an .npz: ids, mask, positions `[row, pos]`, factor `[row, pos, 1]` (where a head is
                    replaced), values `[head, row, pos, d_head]`
    wanted          per row the token ids that are looked at behind its last positions
    heads, d_head   (layer, head) pairs
    least, most_seconds     so many heads at least, then until so many seconds are spent

RESULT.json
    seconds, logprobs (mean per row), one entry per head that was run; versions
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from exchange import package_versions
from with_nnterp import load


def main() -> None:
    request = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    torch.set_num_threads(request["threads"])
    model, _ = load(Path(request["model_folder"]), request["dtype"])
    held = {name: torch.from_numpy(value) for name, value in np.load(request["rows"]).items()}
    batch = {"input_ids": held["ids"], "attention_mask": held["mask"], "position_ids": held["positions"]}
    blocks, factor, d_head = model.layers, held["factor"], request["d_head"]

    @torch.no_grad()  # the body of a trace runs in another thread, where inference tensors could not be changed
    def ablated(layer: int, head: int, values: torch.Tensor) -> list[float]:
        own = slice(head * d_head, (head + 1) * d_head)
        with model.trace(batch):
            z = blocks[layer].self_attn.o_proj.input
            z[:, :, own] = (1 - factor) * z[:, :, own] + factor * values
            logits = model.lm_head.output.save()
        means = []
        for row, wanted in enumerate(request["wanted"]):
            logprobs = logits[row, -len(wanted) :].log_softmax(-1)
            means.append(float(logprobs[torch.arange(len(wanted)), torch.tensor(wanted)].mean()))
        return means

    heads = [tuple(head) for head in request["heads"]]
    ablated(*heads[0], held["values"][0])  # warms up
    seconds: list[float] = []
    found: list[list[float]] = []
    for (layer, head), values in zip(heads, held["values"], strict=True):
        started = time.perf_counter()
        found.append(ablated(layer, head, values))
        seconds.append(time.perf_counter() - started)
        if len(seconds) >= request["least"] and sum(seconds) >= request["most_seconds"]:
            break
    result = {"seconds": seconds, "logprobs": found, "versions": package_versions("nnterp")}
    Path(sys.argv[2]).write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main()
