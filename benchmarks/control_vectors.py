"""How llama.cpp moves under a control vector that `emolib.write_vectors` wrote, beside emolib with the same vector.

Both run the same numbers (the bundled model's GGUF file, dequantised) on the same prompts. Per layer L one file with
that layer alone is written, and the change of the last token's logits in llama.cpp is correlated with that of the same
vector at L and at its neighbours: a file read with another convention would agree best with one of those. `everywhere`
adds it at every position, as llama.cpp does, by a hook on the model; `emolib` leaves the first token alone.

    python benchmarks/control_vectors.py [--layers 6,15,24,30] [--strength 2] [--json PATH]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import described, run_main, table, write_json
from peers.environments import measure
from peers.gguf_files import unquantised

import emolib
from emolib.data.activations import LayerVectors
from emolib.engine.native import NativeRunner
from emolib.interventions.edits import Edits
from emolib.models.language_model import LanguageModel
from emolib.models.tokens import encode

MODEL = "smollm2_135m"
NEIGHBOURS = 2
N_SCENARIOS, N_PROMPTS = 24, 12
EVERY = 10_000  # prompt tokens; the first one is never patched by emolib


def fitted(lm: LanguageModel) -> tuple[LayerVectors, list[str]]:
    """Gratitude's vectors from some training scenarios, and neutral prompts of others."""
    data = emolib.load_dataset()
    scenarios = data.loc[data["split"] == "train", "scenario"].unique()
    train = data[data["scenario"].isin(scenarios[:N_SCENARIOS]) & data["emotion"].isin(["gratitude", "neutral"])]
    vecs = emolib.fit_emotion_vectors(emolib.extract_activations(lm, train, positions="mean"))
    others = data["scenario"].isin(scenarios[N_SCENARIOS:]) & (data["emotion"] == "neutral")
    return vecs["gratitude"], data.loc[others, "text"].tolist()[:N_PROMPTS]


def logits(lm: LanguageModel, rows: Sequence[Sequence[int]], act: emolib.Steer | None) -> np.ndarray:
    """After the last prompt token, by the engine, `[prompt, vocabulary]`."""
    found = []
    for ids in rows:
        one = torch.tensor([list(ids)])
        with torch.inference_mode():
            edits = Edits(lm, [act], [len(ids)], len(ids), 1)
            found.append(NativeRunner(lm, one, torch.ones_like(one), edits, 0).start()[0].float().numpy().copy())
    return np.stack(found)


def everywhere(lm: LanguageModel, rows: Sequence[Sequence[int]], layer: int, vector: np.ndarray) -> np.ndarray:
    """The same by a hook, the vector added at every position."""
    blocks = lm.network.model.layers
    added = torch.from_numpy(vector)

    def to_output(block: Any, given: Any, output: Any) -> Any:
        return (output[0] + added, *output[1:]) if isinstance(output, tuple) else output + added

    handle = blocks[layer - 1].register_forward_hook(to_output)  # the input of block L is the output of block L - 1
    try:
        with torch.inference_mode():
            found = [lm.network(torch.tensor([list(ids)]), use_cache=False).logits[0, -1] for ids in rows]
    finally:
        handle.remove()
    return torch.stack(found).numpy()


def compared(lm: LanguageModel, layers: Sequence[int], strength: float) -> dict[str, Any]:
    """Correlations of the changes, by layer of the file and layer of emolib's steer."""
    vectors, prompts = fitted(lm)
    rows = encode(lm, prompts)
    with tempfile.TemporaryDirectory(prefix="emolib-vectors-") as folder:
        files = [str(Path(folder) / f"layer{layer}.gguf") for layer in layers]
        for layer, file in zip(layers, files, strict=True):
            emolib.write_vectors(vectors, file, layers=[layer])
        request = {
            "gguf": str(unquantised(lm.spec, "float32")),
            "threads": torch.get_num_threads(),
            "prompt_ids": rows,
            "cells": [None, *files],
            "strength": strength,
            "logits": str(Path(folder) / "logits.npy"),
        }
        answer = measure("xllamacpp", request, script="with_control_vectors.py")
        theirs = np.load(request["logits"])
    unsteered = logits(lm, rows, None)
    result = []
    for layer, cell in zip(layers, theirs[1:], strict=True):
        change = (cell - theirs[0]).ravel()
        found: dict[str, dict[int, float]] = {"everywhere": {}, "emolib": {}}
        for place in range(max(layer - NEIGHBOURS, 1), min(layer + NEIGHBOURS, lm.n_layers) + 1):
            act = emolib.Steer(place, vectors.values[layer], strength, unit="vector", window=EVERY)
            moved = {"everywhere": everywhere(lm, rows, place, strength * vectors.values[layer])}
            moved["emolib"] = logits(lm, rows, act)
            for way, values in moved.items():
                found[way][place] = float(np.corrcoef(change, (values - unsteered).ravel())[0, 1])
        result.append({"layer": layer, "norm": float(strength * vectors[layer].norm), "correlations": found})
        print(f"  layer {layer}: {found}", file=sys.stderr, flush=True)
    agreement = float(np.corrcoef(theirs[0].ravel(), unsteered.ravel())[0, 1])
    return {"unsteered": agreement, "layers": result, "versions": answer["versions"], "n_prompts": len(rows)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", default="6,15,24,30", help="of the files, each in one of its own")
    parser.add_argument("--strength", type=float, default=2.0, help="times the vector")
    parser.add_argument("--json", help="where to write the result; standard output if not given")
    given = parser.parse_args()
    lm = emolib.load_model(MODEL, device="cpu", dtype="float32")
    found = compared(lm, [int(layer) for layer in given.layers.split(",")], given.strength)
    rows = [
        {
            "layer": entry["layer"],
            "way": way,
            **{f"{place - entry['layer']:+d}": value for place, value in values.items()},
        }
        for entry in found["layers"]
        for way, values in entry["correlations"].items()
    ]
    print(table(sorted(rows, key=len, reverse=True)), file=sys.stderr)
    write_json(given.json, {**described(lm.device), "strength": given.strength, **found})


if __name__ == "__main__":
    run_main(main)
