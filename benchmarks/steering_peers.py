"""The sweep beside ways that run many rows at once, each in an environment and process of its own: plain transformers
with a hook and nnterp's trace, one vector per batch of 32 rows, and llama.cpp's server (unsteered, 16 or 32 at once) on
a file of the same weights in the same dtype."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch
from measuring import seconds
from peers.environments import measure
from peers.gguf_files import unquantised
from steering_ways import Work, by_peer

import emolib
from emolib.base.errors import UserError
from emolib.models.language_model import LanguageModel
from emolib.models.tokens import encode

ROWS = 32  # at once, of the peers
PARALLEL = (16, 32)  # of llama.cpp; the better one counts
CELLS = 2  # (layer, direction) cells that the peers run, of `ROWS` prompts each
TARGETS = {"transformers": 3.0, "nnterp": 4.0, "llama.cpp": 4.0}  # times as fast, with as many rows as emolib likes


def beside_peers(lm: LanguageModel, work: Work) -> dict[str, Any]:
    """New tokens per second of every way, and how many times as fast emolib is.

    emolib runs all rows as it likes, first and last, and `ROWS` rows (one cell) before every peer.

    Args:
        work: of `ROWS` prompts.

    Returns:
        `ways`: by name `tokens_per_s`, or None and a `reason`; `ratios` and `ratios_of_same_rows`: by peer, emolib with
        all rows and with `ROWS` rows beside it; `targets`.
    """
    steers = work.steers()

    def speed(n_rows: int) -> float:
        rows, acts = work.rows[:n_rows], steers[:n_rows]
        taken, _ = seconds(lambda: emolib.generate(lm, rows, acts, max_new_tokens=work.n_new), lm.device)
        return n_rows * work.n_new / taken

    emolib.generate(lm, work.rows, steers, max_new_tokens=2)  # warm-up
    all_rows, same_rows = [speed(len(work.rows))], []
    ways: dict[str, Any] = {}
    for name, run in _peers(lm, work):
        same_rows.append(speed(len(work.prompts)))
        try:
            ways[name] = run()
        except UserError as error:
            ways[name] = {"tokens_per_s": None, "reason": str(error)}
        said = ways[name]["tokens_per_s"] or ways[name]["reason"]
        print(f"  peers, {name}: {said}", file=sys.stderr, flush=True)
    all_rows.append(speed(len(work.rows)))
    own = {f"emolib, all {len(work.rows)} rows": all_rows, f"emolib, {len(work.prompts)} rows": same_rows}
    ways = {name: {"tokens_per_s": statistics.median(speeds), "repeats": speeds} for name, speeds in own.items()} | ways
    ratios, of_same_rows = (_ratios(ways, statistics.median(speeds)) for speeds in own.values())
    targets = {
        name: {"least": TARGETS[name], "reached": ratio, "met": ratio >= TARGETS[name]}
        for name, ratio in ratios.items()
    }
    return {"ways": ways, "ratios": ratios, "ratios_of_same_rows": of_same_rows, "targets": targets}


def _peers(lm: LanguageModel, work: Work) -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
    for peer in ("transformers", "nnterp"):
        yield f"{peer}, {ROWS} rows", lambda peer=peer: by_peer(peer, lm, work, CELLS, batch_size=ROWS)
    for parallel in PARALLEL:
        yield f"llama.cpp, {parallel} parallel", lambda parallel=parallel: by_llama_cpp(lm, work, parallel)


def by_llama_cpp(lm: LanguageModel, work: Work, parallel: int) -> dict[str, Any]:
    """llama.cpp's server on the model's GGUF file in the model's dtype, in a process of its own."""
    dtype = str(lm.dtype).removeprefix("torch.")
    request = {
        "gguf": str(unquantised(lm.spec, dtype)),
        "threads": torch.get_num_threads(),
        "prompt_ids": encode(lm, work.prompts) * CELLS,
        "max_new_tokens": work.n_new,
        "parallel": parallel,
    }
    answer = measure("xllamacpp", request)
    return {"tokens_per_s": answer["tokens_per_s"], "versions": answer["versions"]}


def _ratios(ways: dict[str, Any], own: float) -> dict[str, float]:
    """By peer, how many times as fast; of llama.cpp the better way counts."""
    fastest = dict.fromkeys(TARGETS, 0.0)
    for name, way in ways.items():
        peer = name.partition(",")[0]
        if peer in fastest:
            fastest[peer] = max(fastest[peer], way["tokens_per_s"] or 0.0)
    return {peer: own / speed for peer, speed in fastest.items() if speed}
