"""Peer: llama.cpp's server through the package xllamacpp, many prompts at once; unsteered, its bindings have no steer.

Runs in an environment of its own, without torch. End of text does not stop a row.

REQUEST.json
    gguf            path of the model
    threads         of the products
    prompt_ids      token ids per prompt
    max_new_tokens  per row
    parallel        rows at once

RESULT.json
    peer, versions, tokens, seconds, tokens_per_s, texts (one per row)
"""

from __future__ import annotations

import json
import platform
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import xllamacpp

SPARE = 16  # positions of a slot beyond its prompt and new tokens


def served(request: dict[str, Any]) -> xllamacpp.Server:
    """A server with a slot per row at once; prompts that a slot has just read are not read again."""
    longest = max(map(len, request["prompt_ids"]))
    params = xllamacpp.CommonParams()
    params.model.path = request["gguf"]
    params.n_parallel = request["parallel"]
    params.n_ctx = request["parallel"] * (longest + request["max_new_tokens"] + SPARE)
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = request["threads"]
    params.n_gpu_layers = 0
    params.fit_params = False  # nothing of the above is changed to fit
    params.verbosity = 0
    return xllamacpp.Server(params)


def continued(server: xllamacpp.Server, prompts: list[list[int]], n_new: int) -> list[str]:
    """The greedy text of every prompt."""
    settings = {"max_tokens": n_new, "temperature": 0.0, "top_k": 1, "ignore_eos": True}
    answer = server.handle_completions({"prompt": prompts, **settings})
    rows = sorted(answer.get("choices", ()), key=lambda row: row["index"])
    if [row["finish_reason"] for row in rows] != ["length"] * len(prompts):
        raise SystemExit(f"expected {len(prompts)} rows of {n_new} new tokens, got {json.dumps(answer)[:300]}")
    return [row["text"] for row in rows]


def measure(request: dict[str, Any]) -> dict[str, Any]:
    server, prompts, n_new = served(request), request["prompt_ids"], request["max_new_tokens"]
    continued(server, [[prompts[0][-1]] * 8] * request["parallel"], 2)  # warm-up, with a prompt that none begins with
    started = time.perf_counter()
    rows = continued(server, prompts, n_new)
    taken = time.perf_counter() - started
    tokens = len(prompts) * n_new
    return {"tokens": tokens, "seconds": taken, "tokens_per_s": tokens / taken, "texts": rows}


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(f"expected REQUEST.json and RESULT.json, got {len(sys.argv) - 1} arguments")
    versions = {"python": platform.python_version(), "xllamacpp": version("xllamacpp")}
    versions["built for"] = xllamacpp.get_system_info().strip()
    outcome = measure(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    result = {"peer": "llama.cpp", "versions": versions, **outcome}
    Path(sys.argv[2]).write_text(json.dumps(result, ensure_ascii=False, indent=1), encoding="utf-8")
