"""The part that all peers share: read the request, load the model, time the generation, write the result.

Runs inside a peer's own environment, so it knows nothing of emolib and keeps to what transformers 4.57 and 5 both
offer. A peer is one context manager, `steered(model, layer, direction)`, under which `model.generate` is steered, or a
function of its own that generates.

REQUEST.json
    model_folder    local Hugging Face folder with safetensors
    dtype           "float32" or "bfloat16"
    threads         for torch
    prompts         texts
    layers          layer l means the input of block l, that is the output of block l - 1
    directions      path of an .npy `[layer, direction, d_model]`, float32, added as it is
    max_new_tokens  per row; every row gets all of them (end-of-text is suppressed)
    batch_size      rows per `generate` call
    limit           optional: only the first so many (layer, direction) cells, in layer-major order

RESULT.json
    peer, versions, tokens, seconds, tokens_per_s, texts: one {layer, direction, prompt, text} per row
"""

from __future__ import annotations

import json
import platform
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

Steered = Callable[[PreTrainedModel, int, Tensor], AbstractContextManager[Any]]
Batch = dict[str, Tensor]
Generated = Callable[[Any, int, Tensor, Batch, int], Tensor]  # model, layer, direction, batch, number of new tokens
Load = Callable[[Path, str], tuple[Any, PreTrainedTokenizerFast]]
SPECIAL_TOKENS = ("bos_token", "eos_token", "unk_token", "pad_token")


def answer(peer: str, generated: Generated, *, package: str, load: Load | None = None) -> None:
    """Entry point of a peer: `python <peer script> REQUEST.json RESULT.json`.

    Args:
        peer: name that the result carries.
        generated: greedy new tokens `[row, n_new]`, with `direction` `[d_model]`, in the model's dtype, added to the
            input of block `layer` at every position.
        package: distribution whose version the result records.
        load: folder and dtype to what `generated` takes as the model, and the tokenizer; None is `load_plain`.
    """
    if len(sys.argv) != 3:
        raise SystemExit(f"expected REQUEST.json and RESULT.json, got {len(sys.argv) - 1} arguments")
    request = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    result = {"peer": peer, "versions": package_versions(package), **measure(request, generated, load or load_plain)}
    Path(sys.argv[2]).write_text(json.dumps(result, ensure_ascii=False, indent=1), encoding="utf-8")


def by_generate(steered: Steered) -> Generated:
    """The model's own `generate` under the context manager."""

    def generated(model: PreTrainedModel, layer: int, direction: Tensor, batch: Batch, n_new: int) -> Tensor:
        with steered(model, layer, direction):
            return continuation(model, batch, n_new)

    return generated


def measure(request: dict[str, Any], generated: Generated, load: Load) -> dict[str, Any]:
    """Generates every cell of the request, one vector at a time; the clock runs while a vector is applied."""
    torch.set_num_threads(request["threads"])
    transformers.utils.logging.disable_progress_bar()
    model, tokenizer = load(Path(request["model_folder"]), request["dtype"])
    directions = torch.from_numpy(np.load(request["directions"])).to(getattr(torch, request["dtype"]))
    cells = _cells(request, directions)
    prompts, size, n_new = request["prompts"], request["batch_size"], request["max_new_tokens"]
    chunks = [prompts[start : start + size] for start in range(0, len(prompts), size)]
    batches = [tokenizer(chunk, return_tensors="pt", padding=True, return_token_type_ids=False) for chunk in chunks]

    layer, _, direction = cells[0]
    generated(model, layer, direction, batches[0], 2)  # warm-up: allocations and lazy imports are not measured

    seconds, texts = 0.0, []
    for layer, index, direction in cells:
        started = time.perf_counter()
        rows = [generated(model, layer, direction, batch, n_new) for batch in batches]
        seconds += time.perf_counter() - started
        written = [tokenizer.decode(row, skip_special_tokens=True) for batch_rows in rows for row in batch_rows]
        for prompt, text in zip(prompts, written, strict=True):
            texts.append({"layer": layer, "direction": index, "prompt": prompt, "text": text})
    tokens = len(texts) * n_new
    return {"tokens": tokens, "seconds": seconds, "tokens_per_s": tokens / seconds, "texts": texts}


def continuation(model: PreTrainedModel, batch: Batch, n_new: int) -> Tensor:
    """Greedy new tokens, `[row, n_new]`."""
    ids = model.generate(**batch, do_sample=False, max_new_tokens=n_new, min_new_tokens=n_new)
    return new_tokens(ids, batch, n_new)


def new_tokens(ids: Tensor, batch: Batch, n_new: int) -> Tensor:
    """What follows the prompts, `[row, n_new]`."""
    new = ids[:, batch["input_ids"].shape[1] :]
    if new.shape[1] != n_new:
        raise SystemExit(f"expected {n_new} new tokens in every row, got {new.shape[1]}")
    return new


def load_plain(folder: Path, dtype: str) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """The model and its tokenizer, padding on the left, alike under transformers 4.57 and 5."""
    config = AutoConfig.from_pretrained(folder)
    rope = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("rope_parameters")
    if rope and int(transformers.__version__.split(".")[0]) < 5:
        # transformers 4 does not know this key and would fall back, silently, to a rope_theta of 10,000.
        if rope.get("rope_type", "default") != "default":
            raise SystemExit(f"expected a rope_type of 'default' for transformers 4, got {rope['rope_type']!r}")
        config.rope_theta = rope["rope_theta"]
    model = AutoModelForCausalLM.from_pretrained(folder, config=config, dtype=getattr(torch, dtype)).eval()

    # Built from its file: the tokenizer class that transformers 5 writes down does not exist in transformers 4.
    settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    special = {name: settings[name] for name in SPECIAL_TOKENS if settings.get(name)}
    special.setdefault("pad_token", special["eos_token"])
    file = str(folder / "tokenizer.json")
    return model, PreTrainedTokenizerFast(tokenizer_file=file, padding_side="left", **special)


def decoder_blocks(model: PreTrainedModel) -> torch.nn.ModuleList:
    return model.model.layers


def _cells(request: dict[str, Any], directions: Tensor) -> list[tuple[int, int, Tensor]]:
    """(layer, index of the direction, direction `[d_model]`), layer-major."""
    layers = request["layers"]
    if min(layers) < 1:
        raise SystemExit("expected layers of at least 1: no block comes before layer 0 whose output could be steered")
    if len(layers) != len(directions):
        raise SystemExit(f"expected directions for {len(layers)} layers, got {tuple(directions.shape)}")
    cells = [
        (layer, i, vector) for layer, rows in zip(layers, directions, strict=True) for i, vector in enumerate(rows)
    ]
    return cells[: request.get("limit")]


def package_versions(package: str) -> dict[str, str]:
    found = {"python": platform.python_version()}
    return found | {name: version(name) for name in ("torch", "transformers", "numpy", package)}
