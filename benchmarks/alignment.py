"""Seconds for maps between all layers of two models, beside a loop of scikit-learn and scipy over the same pairs.

    python benchmarks/alignment.py --json benchmarks/results/NAME.json

Both sides get the same made-up activations (a 30- and an 18-layer model of widths 576 and 640 at 3,000 anchors, what
they share growing with the likeness of their depths) and give the same: for every pair of layers, in the same shared
rank, a ridge whose penalty is chosen among ten on validation anchors and a Procrustes rotation whose rank is chosen
among 2, 4, 8, …, each with its R² on test anchors. (a) the loop: scikit-learn's `PCA` once per layer, then per pair
`Ridge` for every penalty and scipy's `orthogonal_procrustes` for every rank; it is timed over `--loop-pairs` pairs and
layers, evenly spread, and scaled to all of them. (b) `emolib.directions.layer_alignments.align_layers`, which gives
debiased CKA besides. Where both worked, their R² must be equal.

Last, peak memory beyond the activations while anchors come in blocks (`--many`), beside a tenth of them: it must not
grow with their number.
"""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from measuring import described, forget_peak, resident_bytes, run_main, table, write_json
from scipy.linalg import orthogonal_procrustes
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge

from emolib.data.activations import Activations
from emolib.directions.layer_alignments import align_layers
from emolib.directions.map_fits import PENALTIES

SECONDS, TIMES, TOLERANCE, GROWTH = 40.0, 5.0, 1e-6, 100 * 10**6
SPLITS = ("train", "validation", "test")


def made_up(n: int, n_layers: int, d_model: int, name: str, seed: int) -> Activations:
    """Activations that follow what is common to the models, the more the nearer their layers, and noise."""
    common = np.random.default_rng(seed).standard_normal((n, 200), dtype=np.float32)
    rng = np.random.default_rng([seed, d_model])
    values = np.empty((n_layers, n, d_model), np.float32)
    for layer in range(n_layers):
        bend = np.roll(common, round(100 * layer / n_layers), axis=1) * np.linspace(1, 0.1, 200, dtype=np.float32)
        values[layer] = bend @ rng.standard_normal((200, d_model), dtype=np.float32) * 0.1
        values[layer] += rng.standard_normal((n, d_model), dtype=np.float32) * 0.3
    splits = np.random.default_rng(seed).permutation(np.repeat(SPLITS, [n - 2 * (n // 5), n // 5, n // 5]))
    texts = pd.DataFrame({"id": [f"a{i}" for i in range(n)], "text": "word", "split": splits})
    about = {"position": "word", "model": name, "revision": "made-up"}
    norms = np.linalg.norm(values, axis=2)
    return Activations({"resid_pre": values}, texts, norms, np.arange(n + 1), layers=tuple(range(n_layers)), **about)


@dataclass(frozen=True)
class Blocks:
    """Anchors that come in parts and are not kept."""

    n: int
    size: int
    shapes: tuple[tuple[int, int], tuple[int, int]]

    def __iter__(self) -> Iterator[tuple[Activations, Activations]]:
        for start in range(0, self.n, self.size):
            yield tuple(made_up(self.size, *shape, name, start) for shape, name in zip(self.shapes, "ab", strict=True))


def timed(work: Callable[[], Any]) -> tuple[float, float, Any]:
    """Wall seconds, CPU seconds and what came of it."""
    wall, cpu = time.perf_counter(), time.process_time()
    found = work()
    return time.perf_counter() - wall, time.process_time() - cpu, found


def projected(acts: Activations, layer: int, rank: int) -> dict[str, Any]:
    """One layer on its principal axes by scikit-learn, with what R² needs of the whole of it."""
    splits = acts.texts["split"].to_numpy()
    rows = acts.values["resid_pre"][layer].astype(np.float64)
    train = rows[splits == "train"]
    rows = (rows - train.mean(axis=0)) / train.std(axis=0)
    found = PCA(rank, svd_solver="covariance_eigh").fit(rows[splits == "train"]).transform(rows)
    parts = {name: (found[splits == name], rows[splits == name]) for name in SPLITS}
    return {name: (on_axes, (whole**2).sum(), whole) for name, (on_axes, whole) in parts.items()}


def r2(y: tuple[np.ndarray, float, np.ndarray], predicted: np.ndarray) -> float:
    on_axes, squares, whole = y
    left = ((on_axes - predicted) ** 2).sum() + squares - (on_axes**2).sum()
    return float(1 - left / ((whole - whole.mean(axis=0)) ** 2).sum())


def by_loop(a: dict[str, Any], b: dict[str, Any]) -> tuple[float, float]:
    """Held-out R² of the ridge and of the rotation that validation chooses."""
    (x, *_), (x_v, *_), (x_t, *_) = (a[name] for name in SPLITS)
    y = b["train"][0]
    unit = (x**2).sum() / x.shape[1]
    fits = [Ridge(alpha=share * unit).fit(x, y) for share in PENALTIES]
    ridge = max(fits, key=lambda fit: r2(b["validation"], fit.predict(x_v)))
    turns = []
    for rank in [*(2**i for i in range(1, 20) if 2**i < x.shape[1]), x.shape[1]]:
        turn, scale = orthogonal_procrustes(x[:, :rank], y[:, :rank])
        turns.append(np.pad(turn * scale / (x[:, :rank] ** 2).sum(), (0, x.shape[1] - rank)))
    rotation = max(turns, key=lambda turn: r2(b["validation"], x_v @ turn))
    return r2(b["test"], ridge.predict(x_t)), r2(b["test"], x_t @ rotation)


def loop(acts_a: Activations, acts_b: Activations, rank: int, n_pairs: int) -> dict[str, Any]:
    """Part of the loop, and what all of it takes."""
    layers = [len(acts.values["resid_pre"]) for acts in (acts_a, acts_b)]
    steps = min(n_pairs, *layers)
    places = [np.linspace(0, n - 1, steps).astype(int) for n in layers]
    wall_p, cpu_p, sides = timed(
        lambda: [[projected(acts, int(i), rank) for i in of] for acts, of in zip((acts_a, acts_b), places, strict=True)]
    )
    wall, cpu, found = timed(lambda: [by_loop(a, b) for a, b in zip(*sides, strict=True)])
    share, pairs = sum(layers) / (2 * steps), layers[0] * layers[1] / steps
    numbers = [(int(i), int(j), *values) for i, j, values in zip(*places, found, strict=True)]
    return {
        "pairs": steps,
        "wall": wall_p * share + wall * pairs,
        "cpu": cpu_p * share + cpu * pairs,
        "numbers": numbers,
        "of_pca": wall_p * share,
    }


def peak_of(arguments: argparse.Namespace, shapes: tuple, n: int) -> int:
    gc.collect()
    forget_peak()
    before = resident_bytes() or 0
    align_layers(Blocks(n, 500, shapes), rank=arguments.rank)
    return (resident_bytes(peak=True) or 0) - before


def compared(arguments: argparse.Namespace) -> dict[str, Any]:
    shapes = ((arguments.layers_a, arguments.width_a), (arguments.layers_b, arguments.width_b))
    acts = tuple(made_up(arguments.anchors, *shape, name, 1) for shape, name in zip(shapes, "ab", strict=True))
    small = tuple(made_up(200, 2, shape[1], name, 1) for shape, name in zip(shapes, "ab", strict=True))
    align_layers(small, rank=16)  # libraries are loaded when they are first used
    loop(*small, 16, 1)
    found, other = [], []
    for _ in range(arguments.repeats):  # in turns
        found.append(timed(lambda: align_layers(acts, rank=arguments.rank)))
        other.append(loop(*acts, arguments.rank, arguments.loop_pairs))
    wall, cpu = (float(np.median([times[i] for times in found])) for i in (0, 1))
    loop_wall, loop_cpu = (float(np.median([times[name] for times in other])) for name in ("wall", "cpu"))
    held_out = found[0][2].table.set_index(["method", "layer_a", "layer_b"])["r2_held_out"]
    error = max(
        float(abs(held_out[method, i, j] - value))
        for i, j, *values in other[0]["numbers"]
        for method, value in zip(("ridge", "procrustes"), values, strict=True)
    )
    many = [peak_of(arguments, shapes, n) for n in (arguments.many // 10, arguments.many)] if arguments.many else []
    return {
        "pairs": shapes[0][0] * shapes[1][0],
        "seconds": {"emolib": {"wall": wall, "cpu": cpu}, "loop": {"wall": loop_wall, "cpu": loop_cpu}},
        "of_pca_in_loop": float(np.median([times["of_pca"] for times in other])),
        "equal": {"difference": error, "limit": TOLERANCE, "met": error < TOLERANCE},
        "peak_bytes": many,
        "targets": {
            "seconds": {"most": SECONDS, "reached": wall, "met": wall <= SECONDS},
            "loop/emolib, wall": {"least": TIMES, "reached": loop_wall / wall, "met": loop_wall / wall >= TIMES},
            "loop/emolib, CPU": {"least": TIMES, "reached": loop_cpu / cpu, "met": loop_cpu / cpu >= TIMES},
            **(
                {"memory": {"most": GROWTH, "reached": many[1] - many[0], "met": many[1] - many[0] <= GROWTH}}
                if many
                else {}
            ),
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--anchors", type=int, default=3000)
    parser.add_argument("--layers-a", type=int, default=30)
    parser.add_argument("--width-a", type=int, default=576)
    parser.add_argument("--layers-b", type=int, default=18)
    parser.add_argument("--width-b", type=int, default=640)
    parser.add_argument("--rank", type=int, default=128)
    parser.add_argument("--loop-pairs", type=int, default=9, help="pairs of layers that the loop is timed over")
    parser.add_argument("--repeats", type=int, default=3, help="both sides in turns; the median counts")
    parser.add_argument("--many", type=int, default=0, help="anchors in blocks for the memory, such as 20000")
    parser.add_argument("--json", help="where the result goes; printed when left out")
    arguments = parser.parse_args()
    result = compared(arguments)
    settings = {name: value for name, value in vars(arguments).items() if name != "json"}
    about = described(torch.device("cpu"))
    write_json(arguments.json, {"benchmark": "alignment", **about, "settings": settings, **result})
    took = result["seconds"]
    print(table([{"way": name, "wall s": t["wall"], "CPU s": t["cpu"]} for name, t in took.items()]))
    for name, target in result["targets"].items():
        limit = f"at most {target['most']:g}" if "most" in target else f"at least {target['least']:g}"
        print(f"{name}: {target['reached']:.3g} ({limit}) {'met' if target['met'] else 'NOT met'}")
    equal = result["equal"]
    print(f"R² of both ways differ by at most {equal['difference']:.1e} {'met' if equal['met'] else 'NOT met'}")


if __name__ == "__main__":
    run_main(main)
