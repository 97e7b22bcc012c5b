"""Seconds of screening heads, by each road, and of exact ablation beside a loop of TransformerLens' hooks.

    python benchmarks/heads.py --json benchmarks/results/NAME.json

- direct and first order: what every head writes, and AtP of every head, on `--scenarios` scenarios;
- integrated and AtP*: on `--few` scenarios;
- exact: resample ablation of every head on `--few` scenarios, beside the same by `TransformerBridge.run_with_hooks`:
  one head after the other, all rows in one batch, on `--loop-heads` heads spread over the layers; from these the
  seconds for all heads are extrapolated, and the result says so. Both must give the same effects.
"""

from __future__ import annotations

import argparse
from itertools import product
from typing import Any

import numpy as np
import torch
from measuring import described, run_main, seconds, write_json

import emolib
from emolib.circuits.attribution import attribute
from emolib.circuits.contrasts import context_contrasts, pack
from emolib.circuits.direct_writes import head_outputs
from emolib.circuits.screening import exact_changes, single_heads
from emolib.engine.packed_ablation import Targets, find_targets
from emolib.models.language_model import LanguageModel
from emolib.models.tokens import pad_left, position_ids

TARGETS = {"first_order": 30.0, "corrected": 180.0, "faster_than_hooks": 6.0}
TOLERANCE = 2e-3  # nat per token


class HookLoop:
    """One head after the other, the way TransformerLens' users do it: every text a row of its own, all layers anew."""

    def __init__(self, lm: LanguageModel, contrasts: Any) -> None:
        self.lm, self.given = lm, pack(lm, contrasts)
        rows = self.given.packed.rows
        self.pairs = [(row, text) for row in range(len(rows.contexts)) for text in range(rows.n_texts)]
        fed = [[*rows.contexts[row], *rows.texts[row][text][:-1]] for row, text in self.pairs]
        self.ids, self.mask = pad_left(fed, lm.pad_id)
        self.counts = [len(rows.texts[row][text]) - 1 for row, text in self.pairs]
        self.wanted = [rows.texts[row][text][1:] for row, text in self.pairs]

    def placed(self, targets: Targets, layer: int, head: int) -> tuple[torch.Tensor, torch.Tensor]:
        """What the head takes `[row, pos, d_head]`, and where."""
        tokens, z = self.given.packed.tokens, targets.z(layer)[:, head]
        values = torch.zeros(*self.ids.shape, z.shape[1])
        factor = torch.zeros(*self.ids.shape, 1)
        for number, (row, text) in enumerate(self.pairs):
            own = np.flatnonzero((tokens.row == row) & np.isin(tokens.text, (-1, text)))
            values[number, -len(own) :] = z[own]
            factor[number, -len(own) :, 0] = targets.factor[own]
        return values, factor

    @torch.inference_mode()
    def ablated(self, layer: int, head: int, values: torch.Tensor, factor: torch.Tensor) -> np.ndarray:
        """Mean log-probabilities `[row, text]`."""
        lm = self.lm

        def replace(z: torch.Tensor, hook: Any) -> torch.Tensor:
            split = z.reshape(*self.ids.shape, lm.n_heads, lm.d_head).clone()
            split[:, :, head] = (1 - factor) * split[:, :, head] + factor * values
            return split.reshape(z.shape)

        logits = lm.bridge.run_with_hooks(
            self.ids,
            attention_mask=self.mask,
            position_ids=position_ids(self.mask),
            fwd_hooks=[(f"blocks.{layer}.attn.hook_z", replace)],
        )
        found = []
        for number, (count, wanted) in enumerate(zip(self.counts, self.wanted, strict=True)):
            logprobs = logits[number, -count:].log_softmax(-1)
            found.append(float(logprobs[torch.arange(count), torch.tensor(list(wanted))].mean()))
        return np.array(found).reshape(len(self.given.packed.rows.contexts), -1)


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    lm = emolib.load_model(arguments.model, device="cpu", dtype="float32")
    data = emolib.load_dataset()
    names = sorted(data["scenario"].unique())[: arguments.scenarios]
    emotions = arguments.emotions.split(",")
    table = context_contrasts(data, emotions, names, pool=sorted(data["scenario"].unique()))
    few = table[table["scenario"].isin(table["scenario"].unique()[: arguments.few])]
    found: dict[str, Any] = {"contrasts": len(table), "few": len(few), "heads": lm.n_layers * lm.n_heads}
    some = data[data["scenario"].isin(names) & data["emotion"].isin([*emotions, "neutral"])]
    exact_changes(lm, few.head(1), [[(lm.n_layers - 1, 0)]])  # warms up
    found["direct"], _ = seconds(lambda: head_outputs(lm, some), lm.device)
    found["atp"], _ = seconds(lambda: attribute(lm, table), lm.device)
    found["star"], _ = seconds(lambda: attribute(lm, few, ["star"]), lm.device)
    found["integrated"], _ = seconds(lambda: attribute(lm, few, ["integrated"], steps=arguments.steps), lm.device)
    found["exact"], exact = seconds(lambda: exact_changes(lm, few, single_heads(lm)), lm.device)
    loop = HookLoop(lm, few)
    targets = find_targets(lm, loop.given.packed, "resample", loop.given.sources)
    every = list(product(range(lm.n_layers), range(lm.n_heads)))
    places = np.linspace(0, len(every) - 1, arguments.loop_heads).round().astype(int)
    taken, worst = 0.0, 0.0
    for place in places:
        head = every[place]
        values, factor = loop.placed(targets, *head)
        spent, logprobs = seconds(lambda head=head, v=values, f=factor: loop.ablated(*head, v, f), lm.device)
        taken += spent
        change = loop.given.effects(logprobs) - exact.units["base"].to_numpy()
        worst = max(worst, float(np.abs(change - exact.changes[:, place]).max()))
    if worst > TOLERANCE:
        raise AssertionError(f"both ways differ by {worst:.2g} nat per token")
    found |= {"hooks_measured_heads": len(places), "hooks_extrapolated": taken / len(places) * len(every)}
    found |= {"worst_difference": worst, "faster_than_hooks": found["hooks_extrapolated"] / found["exact"]}
    found["first_order"], found["corrected"] = found["direct"] + found["atp"], found["star"] + found["integrated"]
    return {"targets": TARGETS, "found": found}


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2_135m")
    parser.add_argument("--emotions", default="gratitude", help="labels, separated by commas")
    parser.add_argument("--scenarios", type=int, default=40)
    parser.add_argument("--few", type=int, default=8)
    parser.add_argument("--steps", type=int, default=2, help="of the integrated gradients")
    parser.add_argument("--loop-heads", type=int, default=10)
    parser.add_argument("--json", help="where the result goes; printed if not given")
    return parser.parse_args()


def main() -> None:
    arguments = parsed()
    asked = {key: value for key, value in vars(arguments).items() if key != "json"}
    write_json(arguments.json, {**described(torch.device("cpu")), "asked": asked, **measure(arguments)})


if __name__ == "__main__":
    run_main(main)
