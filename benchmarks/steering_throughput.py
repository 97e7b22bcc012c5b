"""New tokens per second of a steering sweep: emolib beside the ways it is done today and the machine's limit.

One run, the same prompts, layers and directions:
(a) `TransformerBridge.generate` with a hook, one layer and direction at a time, batch 16;
(b) `transformers` generate with a forward hook, and the packages steering-vectors and repeng, each in an environment
    and process of its own, one vector at a time, batch 16;
(c) `emolib.generate`, every row with its own steer;
(d) the same without any intervention;
(e) a bare cached greedy loop over the same rows, without any of emolib's code;
(f) the matrix-product peak of the same dtype as torch multiplies, as tokens per second;
(g) the same by the fastest library at hand.
Every row gets the same number of tokens everywhere: end-of-text does not stop a row here.

    python benchmarks/steering_throughput.py --json benchmarks/results/NAME.json
    python benchmarks/steering_throughput.py --model llama3_8b --random-weights --device cuda --dtypes bfloat16 \\
        --prompts 32 --cells-of-others 2 --repeats 3 --json …
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import (
    described,
    forget_peak,
    product_peak,
    resident_bytes,
    run_main,
    seconds,
    table,
    write_json,
)
from peers.environments import SCRIPTS, measure

import emolib
from emolib.base.errors import UserError
from emolib.base.parameters import spread_layers
from emolib.engine.generation import Generation
from emolib.engine.memory import BatchShape, flops_per_token, generation_bytes, weight_bytes
from emolib.models.bundled import bundled_folder
from emolib.models.language_model import LanguageModel

BATCH_OF_OTHERS = 16
WINDOW = 3
TARGETS = {  # ratios that the engine is to reach on two CPU cores
    "float32": {"c/a": 3.5, "c/b": 2.8, "c/d": 0.95, "d/e": 1.0, "c/f": 0.75, "c/g": 0.75},
    "bfloat16": {"c/a": 5.0, "c/b": 3.5, "c/d": 0.95, "d/e": 1.0, "c/f": 0.45, "c/g": 0.45},
}
MEMORY_MARGIN = 0.15


@dataclass(frozen=True)
class Work:
    """The sweep: every direction of every layer on every prompt.

    Attributes:
        directions: `[layer, direction, d_model]`, added as they are.
    """

    prompts: list[str]
    layers: tuple[int, ...]
    directions: np.ndarray
    n_new: int

    @property
    def cells(self) -> list[tuple[int, int]]:
        return [(i, j) for i in range(len(self.layers)) for j in range(self.directions.shape[1])]

    @property
    def rows(self) -> list[str]:
        return self.prompts * len(self.cells)

    def steers(self) -> list[emolib.Steer]:
        acts = [
            emolib.Steer(self.layers[i], self.directions[i, j], 1.0, unit="vector", window=WINDOW)
            for i, j in self.cells
        ]
        return [act for act in acts for _ in self.prompts]


def the_work(lm: LanguageModel, n_prompts: int, n_layers: int, n_directions: int, n_new: int) -> Work:
    """Neutral prompts of the data set; random directions of 0.3 of the residual's norm at each layer."""
    data = emolib.load_dataset("data/emotion_dataset.jsonl")
    prompts = data.loc[data["emotion"] == "neutral", "text"].tolist()[:n_prompts]
    if len(prompts) < n_prompts:
        raise UserError(f"expected at most {len(prompts)} prompts, got {n_prompts}")
    layers = spread_layers(lm.n_layers, n_layers)
    acts = emolib.extract_activations(lm, data.head(32), sites=("resid_pre",), positions="last")
    rng = np.random.default_rng(0)
    directions = rng.standard_normal((len(layers), n_directions, lm.d_model))
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    directions *= 0.3 * acts.median_norms()[list(layers), None, None]
    return Work(prompts, layers, directions.astype(np.float32), n_new)


def shape_of(lm: LanguageModel, work: Work) -> BatchShape:
    width = max(len(row) for row in lm.tokenizer(work.prompts).input_ids)
    return BatchShape(width, work.n_new, WINDOW, 1 / len(work.cells))


def never_stopping(lm: LanguageModel) -> LanguageModel:
    lm.__dict__["stop_ids"] = frozenset()
    return lm


# the ways


def by_bridge(lm: LanguageModel, work: Work, limit: int | None) -> tuple[float, dict[int, list[int]]]:
    """(a); tokens per second and the tokens of every row that was run."""
    cells = work.cells[:limit]
    tokens: dict[int, list[int]] = {}
    total = 0.0

    def run(i: int, j: int, n_new: int) -> torch.Tensor:
        direction = torch.tensor(work.directions[i, j], device=lm.device, dtype=lm.dtype)

        def add(hidden: torch.Tensor, hook: Any = None) -> torch.Tensor:
            changed = hidden.clone()
            changed[:, -WINDOW:] += direction  # a cached step has one position
            return changed

        texts = []
        with lm.bridge.hooks(fwd_hooks=[(f"blocks.{work.layers[i]}.hook_resid_pre", add)]):
            for start in range(0, len(work.prompts), BATCH_OF_OTHERS):
                ids = lm.bridge.generate(
                    work.prompts[start : start + BATCH_OF_OTHERS],
                    max_new_tokens=n_new,
                    do_sample=False,
                    stop_at_eos=False,
                    prepend_bos=False,
                    return_type="tokens",
                    verbose=False,
                )
                texts += ids[:, -n_new:].tolist()
        return texts

    run(0, 0, 2)  # warm-up
    for number, (i, j) in enumerate(cells):
        taken, rows = seconds(lambda i=i, j=j: run(i, j, work.n_new), lm.device)
        total += taken
        for place, row in enumerate(rows):
            tokens[number * len(work.prompts) + place] = row
    return len(cells) * len(work.prompts) * work.n_new / total, tokens


def by_peer(peer: str, lm: LanguageModel, work: Work, limit: int | None) -> dict[str, Any]:
    """(b) in the peer's own process."""
    folder, _ = bundled_folder(lm.spec)
    with tempfile.TemporaryDirectory() as place:
        directions = Path(place) / "directions.npy"
        np.save(directions, work.directions)
        request = {
            "model_folder": str(folder),
            "dtype": lm.identity["dtype"],
            "threads": torch.get_num_threads(),
            "prompts": work.prompts,
            "layers": list(work.layers),
            "directions": str(directions),
            "max_new_tokens": work.n_new,
            "batch_size": BATCH_OF_OTHERS,
            "limit": limit,
        }
        answer = measure(peer, request)
    return {"tokens_per_s": answer["tokens_per_s"], "versions": answer["versions"]}


def by_hand(lm: LanguageModel, work: Work, limit: int | None) -> dict[str, Any]:
    """(b) by hand in this process, for models that are no folder another process could load."""
    network = plain_network(lm)
    blocks = next(m for m in network.modules() if isinstance(m, torch.nn.ModuleList))
    batch = lm.tokenizer(work.prompts, return_tensors="pt", padding=True).to(lm.device)
    total, cells = 0.0, work.cells[:limit]
    for number, (i, j) in enumerate([cells[0], *cells]):
        direction = torch.tensor(work.directions[i, j], device=lm.device, dtype=lm.dtype)
        handle = blocks[work.layers[i]].register_forward_pre_hook(
            lambda module, inputs, direction=direction: (inputs[0] + direction, *inputs[1:])
        )
        n_new = work.n_new if number else 2

        def run(n_new: int = n_new) -> None:
            for start in range(0, len(work.prompts), BATCH_OF_OTHERS):
                part = {k: batch[k][start : start + BATCH_OF_OTHERS] for k in ("input_ids", "attention_mask")}
                network.generate(**part, do_sample=False, max_new_tokens=n_new, min_new_tokens=n_new)

        taken, _ = seconds(run, lm.device)
        handle.remove()
        total += taken if number else 0.0
    return {"tokens_per_s": len(cells) * len(work.prompts) * work.n_new / total, "versions": "in this process"}


def plain_network(lm: LanguageModel) -> torch.nn.Module:
    """The model as `transformers` loads it, with its fastest attention; random weights where emolib's are random."""
    from transformers import AutoModelForCausalLM

    if lm.spec.bundled is not None:
        folder, _ = bundled_folder(lm.spec)
        network = AutoModelForCausalLM.from_pretrained(folder, dtype=lm.dtype)
        return network.to(lm.device).eval()
    config = type(lm.network.config)(**lm.network.config.to_dict())  # without the bridge's choice of attention
    with torch.device(lm.device):
        return AutoModelForCausalLM.from_config(config, dtype=lm.dtype).eval()


def by_bare_loop(lm: LanguageModel, work: Work, batch_size: int, repeats: int) -> float:
    """(e): all rows, a cache, greedy; nothing of emolib."""
    network = plain_network(lm)
    batch = lm.tokenizer(work.rows, return_tensors="pt", padding=True)

    @torch.inference_mode()
    def run(n_new: int) -> None:
        for start in range(0, len(work.rows), batch_size):
            ids = batch["input_ids"][start : start + batch_size].to(lm.device)
            mask = batch["attention_mask"][start : start + batch_size].to(lm.device)
            cache = None
            for _ in range(n_new):
                places = (mask.cumsum(1) - 1).clamp_min(0)[:, -ids.shape[1] :]
                out = network(
                    input_ids=ids,
                    attention_mask=mask,
                    position_ids=places,
                    past_key_values=cache,
                    use_cache=True,
                    logits_to_keep=1,
                )
                cache, ids = out.past_key_values, out.logits[:, -1].argmax(-1)[:, None]
                mask = torch.cat([mask, torch.ones_like(ids)], dim=1)

    run(2)
    times = [seconds(lambda: run(work.n_new), lm.device)[0] for _ in range(repeats)]
    return len(work.rows) * work.n_new / min(times)


def by_engine(
    lm: LanguageModel, work: Work, batch_size: int, repeats: int
) -> tuple[list[float], list[float], list[Generation]]:
    """(c) and (d) in turn: tokens per second of every repeat, and the steered texts."""
    steers = work.steers()

    def run(acts: list[emolib.Steer] | None) -> list[Generation]:
        return emolib.generate(lm, work.rows, acts, max_new_tokens=work.n_new, batch_size=batch_size)

    emolib.generate(lm, work.rows, steers, max_new_tokens=2, batch_size=batch_size)  # warm-up
    total = len(work.rows) * work.n_new
    steered, unpatched, outs = [], [], []
    for repeat in range(repeats):  # the order alternates, so that a machine that slows down favours neither
        for acts in (steers, None) if repeat % 2 == 0 else (None, steers):
            taken, made = seconds(lambda acts=acts: run(acts), lm.device)
            (unpatched if acts is None else steered).append(total / taken)
            outs = outs if acts is None else made
    return steered, unpatched, outs


# what is compared


def compare_texts(lm: LanguageModel, work: Work, outs: list[Generation], other: dict[int, list[int]]) -> dict[str, Any]:
    """How many rows equal the bridge's, and of the others how close the two best logits were where they part."""
    steers = work.steers()
    margins = []
    for row, tokens in other.items():
        mine = list(outs[row].token_ids)
        if mine != tokens:
            step = next(k for k, (x, y) in enumerate(zip(mine, tokens, strict=True)) if x != y)
            margins.append(margin_at(lm, work.rows[row], steers[row], mine[:step]))
    equal = len(other) - len(margins)
    return {
        "rows": len(other),
        "equal": equal,
        "share": equal / len(other),
        "margins_where_they_part": sorted(float(m) for m in margins)[:50],
        "largest_margin": float(max(margins, default=0.0)),
    }


@torch.inference_mode()
def margin_at(lm: LanguageModel, prompt: str, act: emolib.Steer, tokens: list[int]) -> float:
    """Best minus second-best logit after the prompt and these tokens, under the steer."""
    from emolib.engine.native import NativeRunner
    from emolib.interventions import Edits
    from emolib.models.tokens import encode, pad_left

    (ids,) = encode(lm, [prompt])
    edits = Edits(lm, [act], [len(ids)], len(ids), len(tokens) + 1)
    runner = NativeRunner(lm, *pad_left([ids], lm.tokenizer.pad_token_id), edits, len(tokens))
    logits = runner.start()
    for token in tokens:
        logits = runner.step(torch.tensor([token], device=lm.device))
    best = logits[0].float().topk(2).values
    return float(best[0] - best[1])


def memory_of(arguments: argparse.Namespace, dtype: str, batch_size: int) -> dict[str, Any]:
    """The peak of one sweep in a fresh process, beside what the planner announces for it."""
    command = [sys.executable, __file__, "--memory-of", str(batch_size), "--dtypes", dtype]
    for name in ("model", "device", "prompts", "layers", "directions", "max_new_tokens"):
        command += [f"--{name.replace('_', '-')}", str(getattr(arguments, name))]
    if arguments.random_weights:
        command.append("--random-weights")
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def print_memory(arguments: argparse.Namespace) -> None:
    lm, work = prepared(arguments, arguments.dtypes)
    rows = min(arguments.memory_of, len(work.rows))
    announced = generation_bytes(lm, rows, shape_of(lm, work))
    emolib.generate(lm, work.prompts[:1], max_new_tokens=1)
    if lm.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    else:
        forget_peak()
        before = resident_bytes()
    emolib.generate(lm, work.rows, work.steers(), max_new_tokens=work.n_new, batch_size=arguments.memory_of)
    peak = torch.cuda.max_memory_allocated() if lm.device.type == "cuda" else resident_bytes(peak=True)
    result = {
        "weights": weight_bytes(lm),
        "before": before,
        "announced_for_the_batch": announced,
        "announced_peak": before + announced,
        "measured_for_the_batch": peak - before,
        "measured_peak": peak,
        "batch_ratio": (peak - before) / announced,
        "peak_ratio": peak / (before + announced),
    }
    result["within_margin"] = abs(result["peak_ratio"] - 1) <= MEMORY_MARGIN
    print(json.dumps(result))


def prepared(arguments: argparse.Namespace, dtype: str) -> tuple[LanguageModel, Work]:
    lm = emolib.load_model(
        arguments.model, device=arguments.device, dtype=dtype, random_weights=arguments.random_weights
    )
    work = the_work(lm, arguments.prompts, arguments.layers, arguments.directions, arguments.max_new_tokens)
    return never_stopping(lm), work


def compared(arguments: argparse.Namespace, dtype: str) -> dict[str, Any]:
    """Everything in one dtype."""
    from emolib.engine.planning import batch_size_for

    lm, work = prepared(arguments, dtype)
    limit = arguments.cells_of_others
    size = arguments.batch_size or batch_size_for(lm, len(work.rows), shape_of(lm, work))
    net = lm.blueprint
    shapes = [tuple(net.head.weight.shape)]
    shapes += [tuple(p.weight.shape) for layer in net.layers for p in (layer.qkv, layer.out, layer.up, layer.down)]
    result: dict[str, Any] = {"rows": len(work.rows), "batch_size": size, "layers": work.layers}
    say(f"{dtype}: {len(work.rows)} rows in batches of {size}")
    peak = product_peak(lm.device, lm.dtype, shapes, min(size, len(work.rows)), size=arguments.square)
    flops = flops_per_token(lm)
    result["f"] = {"tokens_per_s": peak["torch"] / flops, "flops_per_s": peak, "flops_per_token": flops}
    result["g"] = {"tokens_per_s": peak["best"] / flops}
    say(f"  (f) {result['f']['tokens_per_s']:,.0f}  (g) {result['g']['tokens_per_s']:,.0f}")
    steered, unpatched, outs = by_engine(lm, work, size, arguments.repeats)
    result["c"] = {"tokens_per_s": statistics.median(steered), "repeats": steered}
    result["d"] = {"tokens_per_s": statistics.median(unpatched), "repeats": unpatched}
    say(f"  (c) {result['c']['tokens_per_s']:,.0f}  (d) {result['d']['tokens_per_s']:,.0f}")
    result["e"] = {"tokens_per_s": by_bare_loop(lm, work, size, arguments.repeats_of_loop)}
    say(f"  (e) {result['e']['tokens_per_s']:,.0f}")
    speed, tokens = by_bridge(lm, work, limit)
    result["a"] = {"tokens_per_s": speed, "cells": len(tokens) // len(work.prompts)}
    say(f"  (a) {speed:,.0f}")
    result["texts"] = compare_texts(lm, work, outs, tokens)
    result["b"] = {}
    if lm.spec.bundled is None or arguments.no_peers:
        result["b"]["transformers by hand"] = by_hand(lm, work, limit)
        skipped = "the packages were not run: " + ("asked" if arguments.no_peers else "the weights are in no folder")
        result["b"]["note"] = skipped
    else:
        for peer in SCRIPTS:
            try:
                result["b"][peer] = by_peer(peer, lm, work, limit)
            except UserError as error:
                result["b"][peer] = {"tokens_per_s": None, "reason": str(error)}
            say(f"  (b) {peer}: {result['b'][peer]['tokens_per_s'] or result['b'][peer]['reason']}")
    result["memory"] = memory_of(arguments, dtype, size)
    result["ratios"] = ratios(result)
    result["targets"] = targets(dtype, result) if lm.device.type == "cpu" else {}
    return result


def ratios(result: dict[str, Any]) -> dict[str, float]:
    """(b) is the fastest of its kind; c/d the median over runs that followed one another."""
    fastest = max(way["tokens_per_s"] or 0.0 for way in result["b"].values() if isinstance(way, dict))
    speed = {name: result[name]["tokens_per_s"] for name in "acdefg"} | {"b": fastest}
    pairs = ("ca", "cb", "cd", "de", "cf", "cg")
    found = {f"{x}/{y}": speed[x] / speed[y] for x, y in pairs if speed[y]}
    paired = zip(result["c"]["repeats"], result["d"]["repeats"], strict=True)
    return {**found, "c/d": statistics.median(c / d for c, d in paired)}


def targets(dtype: str, result: dict[str, Any]) -> dict[str, Any]:
    met = {
        name: {"least": least, "reached": result["ratios"][name], "met": result["ratios"][name] >= least}
        for name, least in TARGETS.get(dtype, {}).items()
    }
    if dtype == "float32":
        share = result["texts"]["share"]
        met["texts equal to (a)"] = {"least": 0.99, "reached": share, "met": share >= 0.99}
    return met


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def shown(results: dict[str, Any]) -> str:
    rows = []
    for dtype, result in results.items():
        peers = {f"b {name}": way for name, way in result["b"].items() if isinstance(way, dict)}
        ways = {"a bridge.generate": result["a"], **peers, "c emolib, steered": result["c"]}
        ways |= {"d emolib, unpatched": result["d"], "e bare loop": result["e"], "f torch products": result["f"]}
        ways["g fastest products"] = result["g"]
        for name, way in ways.items():
            speed = way["tokens_per_s"]
            share = result["c"]["tokens_per_s"] / speed if speed else None
            rows.append({"dtype": dtype, "way": name, "tokens/s": speed, "emolib is × as fast": share})
    return table(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2_135m")
    parser.add_argument("--random-weights", action="store_true", help="full size, seeded random weights")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtypes", default="float32,bfloat16")
    parser.add_argument("--prompts", type=int, default=16)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--directions", type=int, default=4)
    parser.add_argument("--max-new-tokens", type=int, default=30)
    parser.add_argument("--batch-size", type=int, help="rows at once for (c), (d), (e); measured when left out")
    parser.add_argument("--repeats", type=int, default=7, help="of (c) and (d); the median counts")
    parser.add_argument("--repeats-of-loop", type=int, default=1, help="of (e); the fastest counts")
    parser.add_argument("--cells-of-others", type=int, help="only so many (layer, direction) cells for (a) and (b)")
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--square", type=int, help="rows and columns of the large product of (f) and (g)")
    parser.add_argument("--json", help="where the result goes; printed when left out")
    parser.add_argument("--memory-of", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory_of:
        print_memory(arguments)
        return
    results = {dtype: compared(arguments, dtype) for dtype in arguments.dtypes.split(",")}
    lm_device = torch.device("cuda" if arguments.device == "auto" and torch.cuda.is_available() else arguments.device)
    settings = {name: value for name, value in vars(arguments).items() if name not in ("json", "memory_of")}
    outcome = {"benchmark": "steering_throughput", **described(lm_device), "settings": settings, "results": results}
    write_json(arguments.json, outcome)
    print(shown(results))
    for dtype, result in results.items():
        for name, target in result["targets"].items():
            verdict = "met" if target["met"] else "NOT met"
            print(f"{dtype} {name}: {target['reached']:.3g} (at least {target['least']}) {verdict}")
        memory = result["memory"]
        print(f"{dtype} memory: peak {memory['peak_ratio']:.2f} of the announced, batch {memory['batch_ratio']:.2f}")


if __name__ == "__main__":
    run_main(main)
