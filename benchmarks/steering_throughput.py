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
Beside them calls of few rows (`distinct`: 64 distinct prompts, `few`: 32 rows, `one`: one row alone) beside plain
`transformers` with a hook, each with the limit that it is near: the products' peak, or reading all weights at every
step. `peers` sets a sweep beside ways that run 32 rows at once: `transformers` with a hook, nnterp, llama.cpp.
`--build PATH` times another worktree's emolib in a process of its own, in turns with this one, on the sweep, the small
calls, the fluency rule, and generation with that rule (`--works` takes some of them). `--only` takes some of the parts:
a, b, c (with d), e, f (with g), memory, distinct, few, one, peers, build.
Every row gets the same number of tokens everywhere: end-of-text does not stop a row here.

    python benchmarks/steering_throughput.py --json benchmarks/results/NAME.json
    python benchmarks/steering_throughput.py --only build --build ../older --repeats 3
    python benchmarks/steering_throughput.py --model llama3_8b --random-weights --device cuda --dtypes bfloat16 \\
        --prompts 32 --cells-of-others 2 --repeats 3 --json …
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

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
from steering_builds import WORKS, builds, in_turns
from steering_peers import ROWS, beside_peers
from steering_small import SMALL, beside_limits, limits, medians, memory_bandwidth, rows_of, small_calls
from steering_ways import (
    ONE_VECTOR_AT_A_TIME,
    WINDOW,
    Work,
    by_bare_loop,
    by_bridge,
    by_hand,
    by_peer,
    never_stopping,
    plain_network,
    the_work,
)

import emolib
from emolib.base.errors import UserError
from emolib.engine.generation import Generation
from emolib.engine.memory import BatchShape, flops_per_token, generation_bytes, weight_bytes
from emolib.models.language_model import LanguageModel

TARGETS = {  # ratios that the engine is to reach on two CPU cores
    "float32": {"c/a": 3.5, "c/b": 2.8, "c/d": 0.95, "d/e": 1.0, "c/f": 0.75, "c/g": 0.75},
    "bfloat16": {"c/a": 5.0, "c/b": 3.5, "c/d": 0.95, "d/e": 1.0, "c/f": 0.45, "c/g": 0.45},
}
ONE_ROW = 1.5  # times as fast as plain transformers with a hook
MEMORY_MARGIN = 0.15
PARTS = ("a", "b", "c", "e", "f", "memory", *SMALL, "peers", "build")


def shape_of(lm: LanguageModel, work: Work) -> BatchShape:
    width = max(len(row) for row in lm.tokenizer(work.prompts).input_ids)
    return BatchShape(width, work.n_new, WINDOW, 1 / len(work.cells))


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
    """The parts asked for, in one dtype."""
    from emolib.engine.planning import batch_size_for

    parts = arguments.parts
    if parts == ["build"]:  # nothing of it runs in this process
        return {"build": of_builds(arguments, dtype)}
    lm, work = prepared(arguments, dtype)
    limit = arguments.cells_of_others
    size = arguments.batch_size or batch_size_for(lm, len(work.rows), shape_of(lm, work))
    result: dict[str, Any] = {"rows": len(work.rows), "batch_size": size, "layers": work.layers}
    say(f"{dtype}: {len(work.rows)} rows in batches of {size}")
    outs: list[Generation] = []
    if {"f", "c", *SMALL} & set(parts):
        result |= limits_of(arguments, lm, min(size, len(work.rows)))
        say(f"  (f) {result['f']['tokens_per_s']:,.0f}  (g) {result['g']['tokens_per_s']:,.0f}")
    if "c" in parts:
        steered, unpatched, outs = by_engine(lm, work, size, arguments.repeats)
        result["c"] = {"tokens_per_s": statistics.median(steered), "repeats": steered}
        result["d"] = {"tokens_per_s": statistics.median(unpatched), "repeats": unpatched}
        result["c"]["near"] = near(result, lm, size, result["c"]["tokens_per_s"])
        say(f"  (c) {result['c']['tokens_per_s']:,.0f}  (d) {result['d']['tokens_per_s']:,.0f}: {result['c']['near']}")
    if "e" in parts:
        result["e"] = {"tokens_per_s": by_bare_loop(lm, work, size, arguments.repeats_of_loop)}
        say(f"  (e) {result['e']['tokens_per_s']:,.0f}")
    if "a" in parts:
        speed, tokens = by_bridge(lm, work, limit)
        result["a"] = {"tokens_per_s": speed, "cells": len(tokens) // len(work.prompts)}
        say(f"  (a) {speed:,.0f}")
        if outs:
            result["texts"] = compare_texts(lm, work, outs, tokens)
    if "b" in parts:
        result["b"] = by_others(arguments, lm, work, limit)
    for part in [part for part in SMALL if part in parts]:
        result[part] = of_few_rows(arguments, lm, work, part, result)
    if "peers" in parts:
        n_directions = max(arguments.prompts * arguments.directions // ROWS, 1)
        wide = the_work(lm, ROWS, arguments.layers, n_directions, arguments.max_new_tokens)
        result["peers"] = beside_peers(lm, wide)
    if "memory" in parts:
        result["memory"] = memory_of(arguments, dtype, size)
    if "build" in parts:
        result["build"] = of_builds(arguments, dtype)
    result["ratios"] = ratios(result)
    result["targets"] = targets(dtype, result) if lm.device.type == "cpu" else {}
    return result


def limits_of(arguments: argparse.Namespace, lm: LanguageModel, n_rows: int) -> dict[str, Any]:
    """(f), (g) and the memory's bandwidth."""
    net = lm.native
    shapes = [tuple(net.head.weight.shape)]
    shapes += [tuple(p.weight.shape) for layer in net.layers for p in (layer.qkv, layer.out, layer.up, layer.down)]
    peak = product_peak(lm.device, lm.dtype, shapes, n_rows, size=arguments.square)
    flops = flops_per_token(lm)
    return {
        "f": {"tokens_per_s": peak["torch"] / flops, "flops_per_s": peak, "flops_per_token": flops},
        "g": {"tokens_per_s": peak["best"] / flops},
        "bandwidth": memory_bandwidth(lm.device),
    }


def near(result: dict[str, Any], lm: LanguageModel, n_rows: int, speed: float) -> str:
    return beside_limits(speed, limits(lm, n_rows, result["f"]["flops_per_s"]["best"], result["bandwidth"]))


def by_others(arguments: argparse.Namespace, lm: LanguageModel, work: Work, limit: int | None) -> dict[str, Any]:
    """(b), every one of its ways."""
    found: dict[str, Any] = {}
    if lm.spec.bundled is None or arguments.no_peers:
        found["transformers by hand"] = by_hand(lm, work, limit)
        skipped = "the packages were not run: " + ("asked" if arguments.no_peers else "the weights are in no folder")
        return found | {"note": skipped}
    for peer in ONE_VECTOR_AT_A_TIME:
        try:
            found[peer] = by_peer(peer, lm, work, limit)
        except UserError as error:
            found[peer] = {"tokens_per_s": None, "reason": str(error)}
        say(f"  (b) {peer}: {found[peer]['tokens_per_s'] or found[peer]['reason']}")
    return found


def of_few_rows(
    arguments: argparse.Namespace, lm: LanguageModel, work: Work, part: str, result: dict[str, Any]
) -> dict[str, Any]:
    prompts = emolib.load_dataset("data/emotion_dataset.jsonl")["text"].tolist()
    rows, acts = rows_of(part, work.rows, work.steers(), prompts)
    found = medians(small_calls(lm, plain_network(lm), rows, acts, work.n_new, arguments.repeats))
    for name, way in found.items():
        way["near"] = near(result, lm, len(rows), way["tokens_per_s"])
        say(f"  {part}, {len(rows)} rows: {name} {way['tokens_per_s']:,.1f}: {way['near']}")
    return {"rows": len(rows), **found}


def of_builds(arguments: argparse.Namespace, dtype: str) -> dict[str, Any]:
    """The present build alone, or in turns with another one."""
    names = ("model", "device", "prompts", "layers", "directions", "max_new_tokens")
    settings = {name: getattr(arguments, name) for name in names} | {"dtype": dtype}
    trees = {"present": Path(__file__).resolve().parents[1]}
    if arguments.build:
        trees["other"] = Path(arguments.build).resolve()
        if not (trees["other"] / "emolib" / "__init__.py").is_file():
            raise UserError(f"expected a worktree with a folder emolib behind --build, got {arguments.build}")
    with builds(trees, settings) as made:
        found = in_turns(made, arguments.works.split(","), arguments.repeats)
        where = {
            name: Path(one.where).relative_to(trees[name]).as_posix() for name, one in made.items()
        }  # each its own
    for work, one in found.items():
        fast = {name: statistics.median(taken) for name, taken in one["seconds"].items()}
        say(f"  build, {work}: {fast}" + (f", ratio {one['ratio']:.3g}" if "ratio" in one else ""))
    return {"emolib": where, **found}


def ratios(result: dict[str, Any]) -> dict[str, float]:
    """(b) is the fastest of its kind; c/d the median over runs that followed one another."""
    speed = {name: result[name]["tokens_per_s"] for name in "acdefg" if name in result}
    if "b" in result:
        speed["b"] = max(way["tokens_per_s"] or 0.0 for way in result["b"].values() if isinstance(way, dict))
    pairs = ("ca", "cb", "cd", "de", "cf", "cg")
    found = {f"{x}/{y}": speed[x] / speed[y] for x, y in pairs if x in speed and speed.get(y)}
    if "c" not in result:
        return found
    paired = zip(result["c"]["repeats"], result["d"]["repeats"], strict=True)
    return {**found, "c/d": statistics.median(c / d for c, d in paired)}


def targets(dtype: str, result: dict[str, Any]) -> dict[str, Any]:
    met = {
        name: {"least": least, "reached": result["ratios"][name], "met": result["ratios"][name] >= least}
        for name, least in TARGETS.get(dtype, {}).items()
        if name in result["ratios"]
    }
    if dtype == "float32" and "texts" in result:
        share = result["texts"]["share"]
        met["texts equal to (a)"] = {"least": 0.99, "reached": share, "met": share >= 0.99}
    if "one" in result:
        ratio = result["one"]["emolib"]["tokens_per_s"] / result["one"]["transformers"]["tokens_per_s"]
        met["one row / transformers"] = {"least": ONE_ROW, "reached": ratio, "met": ratio >= ONE_ROW}
    return met | {f"peers, {name}": target for name, target in result.get("peers", {}).get("targets", {}).items()}


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


NAMES = {
    "a": "a bridge.generate",
    "c": "c emolib, steered",
    "d": "d emolib, unpatched",
    "e": "e bare loop",
    "f": "f torch products",
    "g": "g fastest products",
}


def shown(results: dict[str, Any]) -> str:
    rows = []
    for dtype, result in results.items():
        own = result.get("c", {}).get("tokens_per_s")
        ways = {NAMES[name]: result[name] for name in NAMES if name in result}
        ways |= {f"b {name}": way for name, way in result.get("b", {}).items() if isinstance(way, dict)}
        for part in [part for part in SMALL if part in result]:
            ways |= {f"{part}, {name}": way for name, way in result[part].items() if isinstance(way, dict)}
        ways |= {f"peers, {name}": way for name, way in result.get("peers", {}).get("ways", {}).items()}
        for name, way in ways.items():
            speed = way["tokens_per_s"]
            share = own / speed if own and speed and name.split(",")[0] not in (*SMALL, "peers") else None
            rows.append({"dtype": dtype, "way": name, "tokens/s": speed, "emolib is × as fast": share})
        for peer, ratio in result.get("peers", {}).get("ratios_of_same_rows", {}).items():
            row = {"dtype": dtype, "way": f"peers, {peer}, the same rows", "tokens/s": None}
            rows.append({**row, "emolib is × as fast": ratio})
        for work, one in result.get("build", {}).items():
            if work in WORKS:
                row = {"dtype": dtype, "way": f"build, {work}", "tokens/s": None}
                rows.append({**row, "emolib is × as fast": one.get("ratio")})
    return table(rows) if rows else ""


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
    parser.add_argument("--only", help=f"the parts to run, with commas between: {', '.join(PARTS)}; all when left out")
    parser.add_argument("--build", help="another worktree, whose emolib is timed in turns with this one")
    parser.add_argument("--works", default=",".join(WORKS), help="of the part build")
    parser.add_argument("--square", type=int, help="rows and columns of the large product of (f) and (g)")
    parser.add_argument("--json", help="where the result goes; printed when left out")
    parser.add_argument("--memory-of", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    arguments.parts = _parts(arguments)
    if arguments.memory_of:
        print_memory(arguments)
        return
    results = {dtype: compared(arguments, dtype) for dtype in arguments.dtypes.split(",")}
    lm_device = torch.device("cuda" if arguments.device == "auto" and torch.cuda.is_available() else arguments.device)
    settings = {name: value for name, value in vars(arguments).items() if name not in ("json", "memory_of", "parts")}
    settings["build"] = (
        arguments.build and Path(arguments.build).name
    )  # where it lies on this machine is nobody's matter
    outcome = {"benchmark": "steering_throughput", **described(lm_device), "settings": settings, "results": results}
    write_json(arguments.json, outcome)
    print(shown(results))
    for dtype, result in results.items():
        for name, target in result.get("targets", {}).items():
            verdict = "met" if target["met"] else "NOT met"
            print(f"{dtype} {name}: {target['reached']:.3g} (at least {target['least']}) {verdict}")
        if memory := result.get("memory"):
            print(
                f"{dtype} memory: peak {memory['peak_ratio']:.2f} of the announced, batch {memory['batch_ratio']:.2f}"
            )


def _parts(arguments: argparse.Namespace) -> list[str]:
    asked = list(PARTS) if arguments.only is None else arguments.only.split(",")
    for name, given, known in (("--only", asked, PARTS), ("--works", arguments.works.split(","), WORKS)):
        if wrong := [one for one in given if one not in known]:
            raise UserError(f"expected {name} with some of {', '.join(known)}, got {wrong[0]!r}")
    if arguments.only is None:
        left_out = {"build": not arguments.build, "peers": arguments.no_peers}
        asked = [part for part in asked if not left_out.get(part)]
    return [part for part in PARTS if part in asked]


if __name__ == "__main__":
    run_main(main)
