"""Ablating one head after the other the usual ways: a row per text, all rows in one batch, all layers anew.

Both peers get the rows and the values that emolib's exact ablation has, on heads spread over the layers, and stop at a
limit of seconds; what all heads would take is extrapolated from these.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import seconds
from peers.environments import measure

from emolib.base.errors import UserError
from emolib.circuits.contrasts import pack
from emolib.engine.packed_ablation import Targets, find_targets
from emolib.models.bundled import bundled_folder
from emolib.models.language_model import LanguageModel
from emolib.models.tokens import pad_left, position_ids

Head = tuple[int, int]
LEAST = 2  # heads that a peer runs, whatever it takes


@dataclass(frozen=True)
class LoopResult:
    """What a peer took.

    Attributes:
        seconds: of each head that was run.
        effects: `[head, unit]`, the contrasts' effects under each ablation.
        versions: of the peer's packages, where they are not this process's.
    """

    seconds: list[float]
    effects: np.ndarray
    versions: dict[str, str]


class LoopRows:
    """The contrasts' texts as left-padded rows, and what each head takes there."""

    def __init__(self, lm: LanguageModel, contrasts: Any) -> None:
        self.lm, self.given = lm, pack(lm, contrasts)
        rows = self.given.packed.rows
        self.pairs = [(row, text) for row in range(len(rows.contexts)) for text in range(rows.n_texts)]
        fed = [[*rows.contexts[row], *rows.texts[row][text][:-1]] for row, text in self.pairs]
        self.ids, self.mask = pad_left(fed, lm.pad_id)
        self.wanted = [list(rows.texts[row][text][1:]) for row, text in self.pairs]
        self.targets: Targets = find_targets(lm, self.given.packed, "resample", self.given.sources)

    def placed(self, head: Head) -> tuple[torch.Tensor, torch.Tensor]:
        """What the head takes `[row, pos, d_head]`, and where `[row, pos, 1]`."""
        tokens, z = self.given.packed.tokens, self.targets.z(head[0])[:, head[1]]
        values = torch.zeros(*self.ids.shape, z.shape[1])
        factor = torch.zeros(*self.ids.shape, 1)
        for number, (row, text) in enumerate(self.pairs):
            own = np.flatnonzero((tokens.row == row) & np.isin(tokens.text, (-1, text)))
            values[number, -len(own) :] = z[own]
            factor[number, -len(own) :, 0] = self.targets.factor[own]
        return values, factor

    def effects(self, logprobs: np.ndarray) -> np.ndarray:
        """Mean log-probabilities `[…, pair]` → effects `[…, unit]`."""
        return self.given.effects(logprobs.reshape(*logprobs.shape[:-1], len(self.given.packed.rows.contexts), -1))

    def read(self, logits: torch.Tensor) -> np.ndarray:
        """Mean log-probabilities `[pair]` of `[row, pos, vocabulary]`."""
        found = []
        for number, wanted in enumerate(self.wanted):
            logprobs = logits[number, -len(wanted) :].log_softmax(-1)
            found.append(float(logprobs[torch.arange(len(wanted)), torch.tensor(wanted)].mean()))
        return np.array(found)


def by_hooks(rows: LoopRows, heads: list[Head], most_seconds: float) -> LoopResult:
    """`TransformerBridge.run_with_hooks`, the way its users do it."""
    lm, spent, found = rows.lm, list[float](), list[np.ndarray]()

    @torch.inference_mode()
    def ablated(head: Head, values: torch.Tensor, factor: torch.Tensor) -> np.ndarray:
        def replace(z: torch.Tensor, hook: Any) -> torch.Tensor:
            split = z.reshape(*rows.ids.shape, lm.n_heads, lm.d_head).clone()
            split[:, :, head[1]] = (1 - factor) * split[:, :, head[1]] + factor * values
            return split.reshape(z.shape)

        logits = lm.bridge.run_with_hooks(
            rows.ids,
            attention_mask=rows.mask,
            position_ids=position_ids(rows.mask),
            fwd_hooks=[(f"blocks.{head[0]}.attn.hook_z", replace)],
        )
        return rows.read(logits)

    ablated(heads[0], *rows.placed(heads[0]))  # warms up
    for head in heads:
        given = (head, *rows.placed(head))
        taken, logprobs = seconds(lambda given=given: ablated(*given), lm.device)
        spent.append(taken)
        found.append(logprobs)
        if len(spent) >= LEAST and sum(spent) >= most_seconds:
            break
    return LoopResult(spent, rows.effects(np.stack(found)), {})


def by_traces(rows: LoopRows, heads: list[Head], most_seconds: float, model: str) -> LoopResult:
    """nnterp's `trace`, in an environment and a process of its own.

    Raises:
        UserError: nnterp cannot be installed or fails.
    """
    lm = rows.lm
    folder = bundled_folder(lm.spec)[0] if lm.spec.bundled else Path(model)
    with tempfile.TemporaryDirectory(prefix="emolib-heads-") as place:
        file = Path(place) / "rows.npz"
        placed = [rows.placed(head) for head in heads]
        np.savez(
            file,
            ids=rows.ids.numpy(),
            mask=rows.mask.numpy(),
            positions=position_ids(rows.mask).numpy(),
            factor=placed[0][1].numpy(),
            values=np.stack([values.numpy() for values, _ in placed]),
        )
        request = {
            "model_folder": str(folder),
            "dtype": str(lm.dtype).removeprefix("torch."),
            "threads": torch.get_num_threads(),
            "rows": str(file),
            "wanted": rows.wanted,
            "heads": heads,
            "d_head": lm.d_head,
            "least": LEAST,
            "most_seconds": most_seconds,
        }
        answer = measure("nnterp", request, script="heads_with_nnterp.py", timeout=300 + 5 * most_seconds)
    return LoopResult(answer["seconds"], rows.effects(np.array(answer["logprobs"])), answer["versions"])


def compared(result: LoopResult, exact: Any, places: np.ndarray) -> dict[str, Any]:
    """A peer's seconds for all heads, and how far its effects are from emolib's.

    Args:
        exact: emolib's ablations of all heads.
        places: of the peer's heads among all.
    """
    n = len(result.seconds)
    if not n:
        raise UserError("expected at least one head of the peer, it ran none")
    wanted = exact.units["base"].to_numpy() + exact.changes[:, places[:n]].T
    found: dict[str, Any] = {
        "measured_heads": n,
        "seconds_per_head": result.seconds,
        "extrapolated": float(np.mean(result.seconds)) * len(exact.variants),
        "worst_difference": float(np.abs(result.effects - wanted).max()),
    }
    return {**found, "versions": result.versions} if result.versions else found
