"""A real llama.cpp, in a process of its own: it is steered by our files as we steer, and refuses what we refuse.

It comes with the package xllamacpp, whose wheel is for Linux on x86-64 with AVX2; elsewhere these tests are skipped.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gguf_files
import numpy as np
import pytest
import torch
from foreign_vectors import D_MODEL, FOREIGN, as_settings, row, written
from tiny import patched_by_hand
from torch import nn

import emolib
from emolib.base.paths import repository_root
from emolib.data.activations import LayerVectors
from emolib.exchange.vector_files import read_vector_file

PEER = repository_root() / "benchmarks" / "peers" / "with_control_vectors.py"
N_LAYERS = 6
PROMPTS = ((5, 99, 140, 33, 12, 77, 201), (3, 64, 250), (17, 18, 19, 20, 120))
LAYERS = (2, 4, 6)  # the last one is the final residual

pytestmark = pytest.mark.skipif(find_spec("xllamacpp") is None, reason="the package xllamacpp is not installed")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, nn.Module]:
    """A tiny Llama as a GGUF file, and the same weights in transformers."""
    path = tmp_path_factory.mktemp("llama") / "model.gguf"
    sizes = {**gguf_files.DECODER, "hidden_size": D_MODEL, "num_hidden_layers": N_LAYERS, "tie_word_embeddings": False}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(gguf_files.MODELS, "deep", ("llama", sizes))
        return path, gguf_files.write(path, "deep")


def by_llama_cpp(model: Path, cells: Sequence[Path | None]) -> tuple[np.ndarray, list[dict[str, bool]]]:
    """The last token's logits `[cell, prompt, vocabulary]`, and whether each file was taken."""
    logits, question, answer = (model.with_name(name) for name in ("logits.npy", "request.json", "result.json"))
    request: dict[str, Any] = {"gguf": str(model), "threads": 1, "prompt_ids": PROMPTS, "strength": 1.0}
    request |= {"cells": [cell and str(cell) for cell in cells], "logits": str(logits)}
    question.write_text(json.dumps(request))
    done = subprocess.run([sys.executable, PEER, question, answer], capture_output=True, text=True, check=False)
    if done.returncode == -signal.SIGILL:
        pytest.skip("this processor lacks AVX2")
    assert done.returncode == 0, done.stderr[-2000:]
    return np.load(logits), json.loads(answer.read_text())["cells"]


def by_hand(network: nn.Module, layer: int | None, vector: np.ndarray | None = None) -> np.ndarray:
    """The same in transformers, the vector added to the input of block `layer` at every position."""
    edits = [] if layer is None else [("resid_pre", layer, lambda hidden: hidden + torch.from_numpy(vector))]
    with patched_by_hand(network, edits), torch.inference_mode():
        found = [network(torch.tensor([ids]), use_cache=False, logits_to_keep=1).logits[0, -1] for ids in PROMPTS]
    return torch.stack(found).numpy()


def test_llama_cpp_is_moved_by_a_file_as_we_move_the_same_layer_and_no_neighbour(model: tuple[Path, nn.Module]) -> None:
    path, network = model
    values = np.random.default_rng(1).standard_normal((N_LAYERS + 1, D_MODEL)).astype(np.float32)
    vectors = LayerVectors(values, "deep", "1", "mean", None)
    cells: list[Path | None] = [None]
    for layer in LAYERS:
        cells.append(path.with_name(f"layer{layer}.gguf"))
        emolib.write_vectors(vectors, path.with_name(f"layer{layer}.gguf"), layers=[layer])
    logits, taken = by_llama_cpp(path, cells)
    assert all(cell["set"] for cell in taken)
    unsteered = by_hand(network, None)
    assert np.corrcoef(logits[0].ravel(), unsteered.ravel())[0, 1] > 0.999
    for cell, layer in zip(logits[1:], LAYERS, strict=True):
        change = (cell - logits[0]).ravel()
        found = {
            place: np.corrcoef(change, (by_hand(network, place, values[layer]) - unsteered).ravel())[0, 1]
            for place in range(max(layer - 2, 0), min(layer + 2, N_LAYERS) + 1)
        }
        assert found.pop(layer) > 0.97, found
        assert max(found.values()) < 0.95, found


def test_what_llama_cpp_refuses_is_refused_here_and_what_it_takes_is_taken(
    model: tuple[Path, nn.Module], tmp_path: Path
) -> None:
    cases = {name: (tensors, settings) for name, (tensors, settings, _) in FOREIGN.items()}
    cases |= {
        "good": ({"direction.2": row()}, {}),
        "without a hint": ({"direction.2": row()}, {"controlvector__model_hint": None}),
        "one row of a matrix": ({"direction.2": row()[None]}, {}),
        "the first block": ({"direction.0": row()}, {}),
    }
    files: dict[str, Path] = {}
    for number, (name, (tensors, settings)) in enumerate(cases.items()):
        files[name] = written(tmp_path, tensors, **as_settings(settings)).rename(tmp_path / f"{number}.gguf")
    _, taken = by_llama_cpp(model[0], list(files.values()))
    found = {}
    for (name, file), cell in zip(files.items(), taken, strict=True):
        try:
            read_vector_file(file)
        except emolib.UserError:
            found[name] = (False, cell["read"])
        else:
            found[name] = (True, cell["read"])
    unlike = {name for name, (ours, theirs) in found.items() if ours != theirs}
    assert found["good"] == found["without a hint"] == found["one row of a matrix"] == (True, True)
    assert found["half precision"] == found["a matrix"] == found["another name"] == (False, False)
    assert found["the first block"] == (True, False)  # repeng writes and reads it
    # what llama.cpp does not look at: our own metadata, numbers without sense, whose file it is
    beside = {name for name in FOREIGN if "norms" in name or "depth" in name or "label" in name}
    assert unlike == {"the first block", "a number of thousands", "not finite", "zeros", "a model", *beside}
