"""Texts per second of reading activations, beside the first study's loop and a plain forward pass, in one run.

    python benchmarks/extraction.py --json benchmarks/results/NAME.json

Compared on the same texts, in float32: (a) the first study's loop, `TransformerBridge.run_with_cache` one text at a
time, every layer's `resid_pre` and `mlp_out` kept at the last token; (b) a plain batched forward pass of the Hugging
Face model that keeps nothing, texts of like length together; (c) `emolib.extract_activations`; (d) (c) through the
bridge's hooks. (c) must equal (a), and gives the mean over tokens and every token's norm too.

Before that, peak host memory while every token of many texts is written to disk (`--many`), beside a tenth of them:
what it takes beyond the loaded model must not grow with the number of texts.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import described, forget_peak, resident_bytes, run_main, seconds, table, write_json
from steering_ways import plain_network

import emolib
from emolib.engine.extraction import SITES, extract_positions
from emolib.engine.stored_extraction import extract_to_folder
from emolib.models.language_model import LanguageModel
from emolib.models.tokens import encode, pad_left, position_ids

TARGETS = {"c/a": 3.0, "c/b": 0.7}
MEMORY_LIMIT = 500 * 10**6
TOLERANCE = 1e-4  # of a layer's largest entry


def by_first_study(lm: LanguageModel, texts: list[str]) -> np.ndarray:
    """(a): `[layer, text, d_model]` of `resid_pre` at the last token."""
    names = [f"blocks.{layer}.hook_{site}" for layer in range(lm.n_layers) for site in SITES]
    found = np.zeros((lm.n_layers, len(texts), lm.d_model), np.float32)
    with torch.inference_mode():
        for i, text in enumerate(texts):
            ids = torch.tensor(encode(lm, [text]), device=lm.device)
            _, cache = lm.bridge.run_with_cache(ids, names_filter=lambda name: name in names)
            kept = {name: cache[name][0, -1].float().cpu().numpy() for name in names}
            for layer in range(lm.n_layers):
                found[layer, i] = kept[f"blocks.{layer}.hook_resid_pre"]
    return found


def by_plain_pass(lm: LanguageModel, network: Any, texts: list[str], batch_size: int) -> None:
    """(b): nothing is kept."""
    rows = sorted(encode(lm, texts), key=len)
    with torch.inference_mode():
        for start in range(0, len(rows), batch_size):
            ids, mask = (
                part.to(lm.device) for part in pad_left(rows[start : start + batch_size], lm.tokenizer.pad_token_id)
            )
            network(
                input_ids=ids, attention_mask=mask, position_ids=position_ids(mask), use_cache=False, logits_to_keep=1
            )


def many_texts(count: int, corpus: str | None) -> list[str]:
    """The data set's texts and, if given, a corpus' (first column of a TSV), taken again from the start if too few."""
    texts = emolib.load_dataset()["text"].tolist()
    if corpus:
        texts += [line.split("\t")[0] for line in Path(corpus).read_text(encoding="utf-8").splitlines() if line.strip()]
    return list(itertools.islice(itertools.cycle(texts), count))


def streamed(lm: LanguageModel, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Peak memory beyond the loaded model's, which has read a text, while every token is written to disk; for a tenth
    of the texts and for all."""
    layers = [int(layer) for layer in arguments.many_layers.split(",")]
    extract_positions(lm, many_texts(2, None), layers=layers)  # weights are read from disk when they are first used
    found = []
    for count in (arguments.many // 10, arguments.many):
        texts = many_texts(count, arguments.corpus)
        gc.collect()
        forget_peak()
        before = resident_bytes()
        with tempfile.TemporaryDirectory(prefix="emolib-benchmark-", dir=arguments.folder) as folder:
            taken, held = seconds(
                lambda texts=texts, folder=folder: extract_to_folder(
                    lm, texts, folder, layers=layers, storage=arguments.storage, batch_size=arguments.batch_size
                ),
                lm.device,
            )
            beyond = resident_bytes(peak=True) - before
            written = sum(path.stat().st_size for path in Path(folder).rglob("*.safetensors"))
            tokens = len(held["all"].layer("resid_pre", layers[0]))
        row = {
            "texts": count,
            "tokens": tokens,
            "bytes_written": written,
            "seconds": taken,
            "texts_per_s": count / taken,
        }
        found.append({**row, "peak_beyond_model": beyond})
    return found


def compared(arguments: argparse.Namespace) -> dict[str, Any]:
    lm = emolib.load_model(
        arguments.model, device=arguments.device, dtype="float32", random_weights=arguments.random_weights
    )
    stream = streamed(lm, arguments) if arguments.many else []
    texts = emolib.load_dataset()["text"].sample(arguments.texts, random_state=0).tolist()
    few = texts[: arguments.texts_of_loop]
    network = plain_network(lm)
    size = arguments.batch_size
    bridge = replace(lm, blueprint=None)
    ways: dict[str, tuple[list[str], Callable[[list[str]], Any]]] = {
        "a": (few, lambda given: by_first_study(lm, given)),
        "b": (texts, lambda given: by_plain_pass(lm, network, given, size)),
        "c": (texts, lambda given: extract_positions(lm, given, batch_size=size)),
        "d": (texts, lambda given: extract_positions(bridge, given, batch_size=size)),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    results: dict[str, Any] = {}
    for given, work in ways.values():
        work(given[: min(len(given), size)])  # warm-up
    for _ in range(arguments.repeats):
        for name, (given, work) in ways.items():
            taken, results[name] = seconds(lambda work=work, given=given: work(given), lm.device)
            times[name].append(len(given) / taken)
    speed = {name: statistics.median(values) for name, values in times.items()}
    mine = results["c"]["last"].values["resid_pre"][: lm.n_layers, : len(few)]
    error = float((np.abs(mine - results["a"]).max((1, 2)) / np.abs(results["a"]).max((1, 2))).max())
    ratios = {pair: speed[pair[0]] / speed[pair[2]] for pair in ("c/a", "c/b", "c/d")}
    return {
        "texts": len(texts),
        "mean_tokens": float(np.mean([len(row) for row in encode(lm, texts)])),
        "texts_per_s": {name: {"median": speed[name], "repeats": times[name]} for name in ways},
        "ratios": ratios,
        "stream": stream,
        "memory": {"limit": MEMORY_LIMIT, "met": all(row["peak_beyond_model"] <= MEMORY_LIMIT for row in stream)},
        "equal": {"difference": error, "limit": TOLERANCE, "met": error < TOLERANCE},
        "targets": {
            name: {"least": least, "reached": ratios[name], "met": ratios[name] >= least}
            for name, least in (TARGETS.items() if lm.device.type == "cpu" else ())
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2_135m")
    parser.add_argument("--random-weights", action="store_true", help="full size, seeded random weights")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--texts", type=int, default=400)
    parser.add_argument("--texts-of-loop", type=int, default=100, help="for (a), which is slow")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3, help="the median counts")
    parser.add_argument("--many", type=int, default=0, help="texts whose every token is written to disk, such as 50000")
    parser.add_argument("--many-layers", default="4,5")
    parser.add_argument("--corpus", help="more texts for --many: a TSV with the text in its first column")
    parser.add_argument("--storage", default="float32")
    parser.add_argument("--folder", help="where --many writes (it is emptied again); the system's temporary folder")
    parser.add_argument("--json", help="where the result goes; printed when left out")
    arguments = parser.parse_args()
    result = compared(arguments)
    settings = {name: value for name, value in vars(arguments).items() if name != "json"}
    about = described(torch.device(arguments.device))
    write_json(arguments.json, {"benchmark": "extraction", **about, "settings": settings, **result})
    names = {
        "a": "a run_with_cache, one text at a time",
        "b": "b plain forward pass, batched",
        "c": "c emolib",
        "d": "d emolib through the bridge",
    }
    speed = {name: way["median"] for name, way in result["texts_per_s"].items()}
    print(table([{"way": names[n], "texts/s": v, "emolib is × as fast": speed["c"] / v} for n, v in speed.items()]))
    for name, target in result["targets"].items():
        print(f"{name}: {target['reached']:.3g} (at least {target['least']}) {'met' if target['met'] else 'NOT met'}")
    for row in result["stream"]:
        beyond = row["peak_beyond_model"] / 1e6
        speed = f"{row['texts']} texts at {row['texts_per_s']:.0f} texts/s"
        print(f"every token to disk, {speed}: {beyond:.0f} MB beyond the model")
    if result["stream"]:
        print(f"memory: at most {MEMORY_LIMIT / 1e6:.0f} MB {'met' if result['memory']['met'] else 'NOT met'}")
    print(f"equal to (a) within {result['equal']['difference']:.1e} of a layer's largest entry")


if __name__ == "__main__":
    run_main(main)
