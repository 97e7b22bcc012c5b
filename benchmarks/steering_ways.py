"""The sweep of `steering_throughput`, and the other ways to run it: the bridge, packages, a loop by hand."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import seconds
from peers.environments import measure

import emolib
from emolib.base.errors import UserError
from emolib.base.parameters import spread_layers
from emolib.models.bundled import bundled_folder
from emolib.models.language_model import LanguageModel

BATCH_OF_OTHERS = 16
ONE_VECTOR_AT_A_TIME = ("transformers", "steering-vectors", "repeng")  # the peers of (b)
DATA = Path(__file__).parents[1] / "data" / "emotion_dataset.jsonl"  # of this tree, whichever build is timed
WINDOW = 3


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
    data = emolib.load_dataset(DATA)
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


def never_stopping(lm: LanguageModel) -> LanguageModel:
    lm.__dict__["stop_ids"] = frozenset()
    return lm


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


def by_peer(
    peer: str, lm: LanguageModel, work: Work, limit: int | None, *, batch_size: int = BATCH_OF_OTHERS
) -> dict[str, Any]:
    """(b) in the peer's own process.

    Raises:
        UserError: the model's weights are in no folder, the peer cannot be installed or fails.
    """
    if lm.spec.bundled is None:
        raise UserError("the weights are in no folder")
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
            "batch_size": batch_size,
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
