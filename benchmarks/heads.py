"""Seconds of screening heads, by each road, and of exact ablation beside other ways of doing it.

    python benchmarks/heads.py --json benchmarks/results/NAME.json
    python benchmarks/heads.py --scenarios 4 --few 2 --parts direct,atp,exact,hooks    # a first look

- `direct`, `atp` (first order): what every head writes, and AtP of every head, on `--scenarios` scenarios;
- `integrated`, `star`: on `--few` scenarios;
- `exact`: resample ablation of every head on `--few` scenarios, beside `hooks` (TransformerLens' `run_with_hooks`) and
  `nnterp` (its `trace`, in an environment of its own): one head after the other, all rows in one batch, on at most
  `--loop-heads` heads spread over the layers and about `--loop-seconds` seconds; from these the seconds for all heads
  are extrapolated, and the result says from how many. All must give the same effects.

Every part prints what it took as soon as it is done, and the file is written anew each time: what is cut off keeps what
it has (`complete` is then false).
"""

from __future__ import annotations

import argparse
import sys
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import torch
from head_loops import LoopResult, LoopRows, by_hooks, by_traces, compared
from measuring import described, run_main, seconds, write_json

import emolib
from emolib.base.errors import UserError
from emolib.circuits.attribution import attribute
from emolib.circuits.contrasts import context_contrasts
from emolib.circuits.direct_writes import head_outputs
from emolib.circuits.screening import Exact, exact_changes, single_heads
from emolib.models.language_model import LanguageModel

PARTS = ("direct", "atp", "exact", "hooks", "nnterp", "star", "integrated")
TARGETS = {  # by what is compared: the seconds at most, or the times as fast at least
    "first_order": ("most", 30.0),
    "corrected": ("most", 180.0),
    "hooks": ("least", 6.0),
    "nnterp": ("least", 15.0),
}
TOLERANCE = 2e-3  # nat per token


class Parts:
    """The parts, one by one; each gives what goes into the result."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.lm: LanguageModel = emolib.load_model(arguments.model, device="cpu", dtype="float32")
        data = emolib.load_dataset()
        every = sorted(data["scenario"].unique())
        names, emotions = every[: arguments.scenarios], arguments.emotions.split(",")
        self.table = context_contrasts(data, emotions, names, pool=every)
        self.few = self.table[self.table["scenario"].isin(self.table["scenario"].unique()[: arguments.few])]
        self.texts: pd.DataFrame = data[data["scenario"].isin(names) & data["emotion"].isin([*emotions, "neutral"])]
        self.heads = list(product(range(self.lm.n_layers), range(self.lm.n_heads)))
        self.exact_found: Exact | None = None

    def sizes(self) -> dict[str, int]:
        return {"contrasts": len(self.table), "few": len(self.few), "heads": len(self.heads)}

    def warm_up(self) -> None:
        exact_changes(self.lm, self.few.head(1), [[(self.lm.n_layers - 1, 0)]])

    def direct(self) -> dict[str, Any]:
        return self._timed(lambda: head_outputs(self.lm, self.texts))

    def atp(self) -> dict[str, Any]:
        return self._timed(lambda: attribute(self.lm, self.table))

    def star(self) -> dict[str, Any]:
        return self._timed(lambda: attribute(self.lm, self.few, ["star"]))

    def integrated(self) -> dict[str, Any]:
        steps = self.arguments.steps
        return self._timed(lambda: attribute(self.lm, self.few, ["integrated"], steps=steps)) | {"steps": steps}

    def exact(self) -> dict[str, Any]:
        taken, self.exact_found = seconds(
            lambda: exact_changes(self.lm, self.few, single_heads(self.lm)), self.lm.device
        )
        return {"seconds": taken}

    def hooks(self) -> dict[str, Any]:
        return self._beside(lambda rows, heads: by_hooks(rows, heads, self.arguments.loop_seconds))

    def nnterp(self) -> dict[str, Any]:
        given = self.arguments.loop_seconds, self.arguments.model
        return self._beside(lambda rows, heads: by_traces(rows, heads, *given))

    def _timed(self, work: Any) -> dict[str, Any]:
        return {"seconds": seconds(work, self.lm.device)[0]}

    def _beside(self, run: Any) -> dict[str, Any]:
        if self.exact_found is None:
            raise UserError("expected exact among the parts, before hooks and nnterp, which are held against it")
        places = spread(len(self.heads), self.arguments.loop_heads)
        result: LoopResult = run(LoopRows(self.lm, self.few), [self.heads[place] for place in places])
        return compared(result, self.exact_found, places)


def spread(n: int, count: int) -> np.ndarray:
    """So many places of n, far apart, of which any first few are far apart, too."""
    order = sorted(range(count), key=lambda number: int(f"{number:010b}"[::-1], 2))
    return np.linspace(0, n - 1, count).round().astype(int)[order]


def judged(found: dict[str, Any]) -> dict[str, Any]:
    """The targets that the parts so far say something of."""
    taken = {name: part.get("seconds") for name, part in found.items()}
    reached: dict[str, float] = {}
    for name, pair in {"first_order": ("direct", "atp"), "corrected": ("star", "integrated")}.items():
        if all(taken.get(part) is not None for part in pair):
            reached[name] = sum(taken[part] for part in pair)
    for name in ("hooks", "nnterp"):
        if "extrapolated" in found.get(name, {}):
            reached[name] = found[name]["extrapolated"] / taken["exact"]
    judged_ = {}
    for name, value in reached.items():
        side, limit = TARGETS[name]
        met = value <= limit if side == "most" else value >= limit
        judged_[name] = {side: limit, "reached": value, "met": met}
    return judged_


def main() -> None:
    arguments = parsed()
    wanted = [part for part in PARTS if part in arguments.parts.split(",")]
    unknown = set(arguments.parts.split(",")) - set(PARTS)
    if unknown:
        raise UserError(f"expected parts of {', '.join(PARTS)}, got {', '.join(sorted(unknown))}")
    parts = Parts(arguments)
    asked = {key: value for key, value in vars(arguments).items() if key != "json"}
    result = {"benchmark": "heads", **described(torch.device("cpu")), "asked": asked, "sizes": parts.sizes()}
    found: dict[str, Any] = {}
    parts.warm_up()
    for name in wanted:
        print(f"{name} …", file=sys.stderr, flush=True)
        try:
            found[name] = getattr(parts, name)()
        except UserError as error:
            if name != "nnterp":
                raise
            found[name] = {"reason": str(error)}
        told = {key: value for key, value in found[name].items() if key not in ("versions", "seconds_per_head")}
        print(f"  {told}", file=sys.stderr, flush=True)
        complete = name == wanted[-1]
        whole = {**result, "found": found, "targets": judged(found), "complete": complete}
        if arguments.json or complete:
            write_json(arguments.json, whole)
        off = found[name].get("worst_difference", 0.0)
        if off > TOLERANCE:
            raise AssertionError(f"{name} differs from exact ablation by {off:.2g} nat per token")


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2_135m")
    parser.add_argument("--emotions", default="gratitude", help="labels, separated by commas")
    parser.add_argument("--scenarios", type=int, default=40)
    parser.add_argument("--few", type=int, default=8)
    parser.add_argument("--steps", type=int, default=2, help="of the integrated gradients")
    parser.add_argument("--loop-heads", type=int, default=10, help="of the peers, at most")
    parser.add_argument("--loop-seconds", type=float, default=60.0, help="after which a peer begins no other head")
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--json", help="where the result goes; printed if not given")
    return parser.parse_args()


if __name__ == "__main__":
    run_main(main)
