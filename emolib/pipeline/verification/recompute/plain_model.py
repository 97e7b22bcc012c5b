"""A language model through plain transformers: one text at a time, with hooks written by hand."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer

from emolib.base.config import model_table
from emolib.base.errors import UserError
from emolib.models import hub
from emolib.models.bundled import BUNDLED, bundled_folder
from emolib.models.devices import DTYPES
from emolib.models.gguf import gguf_folder
from emolib.models.loading import config_of
from emolib.models.silence import quiet
from emolib.models.sources import OTHERWISE, WANTED, ModelSource, source_of
from emolib.pipeline.verification.recompute.plain_acts import PlainAct

FINAL_NORMS = ("norm", "ln_f", "final_layer_norm")
Change = Callable[[Tensor], Tensor]  # of the stream [pos, d_model] of one text


@dataclass
class PlainModel:
    """A network and its tokenizer as transformers gives them, on the CPU.

    Attributes:
        layers: the blocks, whose input is `resid_pre`; the final norm, whose input is the final residual, at the end.
        first_id: the token that every text begins with, where the run's texts begin with one.
    """

    network: Any
    tokenizer: Any
    layers: list[nn.Module]
    first_id: int | None = None

    @classmethod
    def of(cls, parameters: Mapping[str, Any]) -> PlainModel:
        """The model that a record's parameters name (model, dtype, random_weights, seed).

        Raises:
            UserError: it is out of reach.
        """
        source = source_of(str(parameters["model"]), random_weights=bool(parameters.get("random_weights")))
        kind = DTYPES[parameters.get("dtype") or (source.spec.dtype if source.spec else "float32")]
        given = {"dtype": kind, "attn_implementation": "eager"}
        with quiet():
            if source.kind == "random" and source.spec is not None:
                folder = bundled_folder(model_table()[BUNDLED])[0]
                torch.manual_seed(int(parameters.get("seed", 0)))
                network = AutoModelForCausalLM.from_config(config_of(source.spec), **given)
            else:
                folder = _folder(source)
                network = AutoModelForCausalLM.from_pretrained(folder, **given)
            tokenizer = AutoTokenizer.from_pretrained(folder)
        network.eval()
        return cls(network, tokenizer, layers_of(network))

    @property
    def n_layers(self) -> int:
        """The blocks, without the final residual."""
        return len(self.layers) - 1

    @property
    def stop_ids(self) -> set[int]:
        """Token ids that end a text."""
        named = self.network.generation_config.eos_token_id
        found: list[int | None] = named if isinstance(named, list) else [named, self.tokenizer.eos_token_id]
        return {token for token in found if token is not None}

    def prompt_ids(self, text: str) -> list[int]:
        """A prompt as tokens, the first one that the run's texts begin with put before it unless it is there."""
        ids = list(self.tokenizer(text, add_special_tokens=False).input_ids)
        return ids if self.first_id is None or ids[:1] == [self.first_id] else [self.first_id, *ids]

    def text_ids(self, text: str) -> list[int]:
        """A continuation as tokens."""
        return list(self.tokenizer(text, add_special_tokens=False).input_ids)

    def residuals(self, ids: Sequence[int], layers: Sequence[int] | None = None) -> np.ndarray:
        """`resid_pre` of one text, `[layer, pos, d_model]` in float32; of all layers and the final residual if None."""
        chosen = range(len(self.layers)) if layers is None else layers
        seen: dict[int, Tensor] = {}

        def keeping(layer: int) -> Change:
            def keep(stream: Tensor) -> Tensor:
                seen[layer] = stream
                return stream

            return keep

        with torch.inference_mode(), hooked({layer: keeping(layer) for layer in chosen}, self.layers):
            self.network(input_ids=torch.tensor([list(ids)]), use_cache=False, logits_to_keep=1)
        return np.stack([seen[layer].float().numpy() for layer in chosen])

    def forced(
        self, prompt: Sequence[int], text: Sequence[int], act: PlainAct | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Logits after the prompt and after every token of a text, fed as they stand, in one pass.

        Returns:
            `[1 + text, vocabulary]` in float32, and ‖Δh‖/‖h‖ at every patched prompt token (empty without an act).
        """
        ids = [*prompt, *text]
        ratios: list[np.ndarray] = []
        changes = {} if act is None else {act.layer: self._change(act, len(prompt), 0, ratios)}
        with torch.inference_mode(), hooked(changes, self.layers):
            found = self.network(input_ids=torch.tensor([ids]), use_cache=False, logits_to_keep=len(text) + 1)
        return found.logits[0].float().numpy(), np.concatenate([*ratios, np.zeros(0)])

    def steps(self, prompt: Sequence[int], act: PlainAct | None = None) -> Generator[np.ndarray, int, None]:
        """Next-token logits `[vocabulary]` step by step with a cache; send the token that was chosen."""
        ids, done, cache = list(prompt), 0, None
        while True:
            changes = {} if act is None else {act.layer: self._change(act, len(prompt), done, [])}
            with torch.inference_mode(), hooked(changes, self.layers):
                found = self.network(
                    input_ids=torch.tensor([ids]), past_key_values=cache, use_cache=True, logits_to_keep=1
                )
            cache, done = found.past_key_values, done + len(ids)
            ids = [(yield found.logits[0, -1].float().numpy())]

    def _change(self, act: PlainAct, n_prompt: int, done: int, ratios: list[np.ndarray]) -> Change:
        """What an act does to a pass that begins at position `done`."""

        def change(stream: Tensor) -> Tensor:
            held = stream.float().numpy()
            factors = act.factors(n_prompt, done, len(held))
            moved = act.moved(held, factors)
            patched = (factors[: max(0, n_prompt - done)] != 0).nonzero()[0]
            if act.layer == self.n_layers:  # the final residual reaches the next token at the last place alone
                patched = patched[-1:]
            sizes = np.linalg.norm(moved[patched] - held[patched], axis=1)
            ratios.append(sizes / np.linalg.norm(held[patched], axis=1))
            return torch.from_numpy(moved).to(stream.dtype)

        return change


@contextmanager
def hooked(changes: Mapping[int, Change], layers: Sequence[nn.Module]) -> Iterator[None]:
    """The input of some layers is what the changes make of it; hooks are gone afterwards, whatever happens."""

    def hook(change: Change) -> Callable[..., Any]:
        def at_input(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if args:
                return (change(args[0][0])[None], *args[1:]), kwargs
            return args, {**kwargs, "hidden_states": change(kwargs["hidden_states"][0])[None]}

        return at_input

    handles = [
        layers[layer].register_forward_pre_hook(hook(change), with_kwargs=True) for layer, change in changes.items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _folder(source: ModelSource) -> Path:
    """Where the model's files lie, as safetensors."""
    match source.kind:
        case "bundled" if source.spec is not None:
            return bundled_folder(source.spec)[0]
        case "gguf":
            return gguf_folder(Path(source.place), source.name)[0]
        case "hub":
            return hub.snapshot(source.place, source.repository_revision, WANTED, otherwise=OTHERWISE)[0]
        case _:
            return Path(source.place)


def layers_of(network: nn.Module) -> list[nn.Module]:
    """The list of blocks and the final norm beside it.

    Raises:
        UserError: the network is built in another way.
    """
    count = network.config.get_text_config().num_hidden_layers  # type: ignore[union-attr, operator]
    for owner in network.modules():
        for child in owner.children():
            if isinstance(child, nn.ModuleList) and len(child) == count:
                norm = next((getattr(owner, name) for name in FINAL_NORMS if hasattr(owner, name)), None)
                if norm is not None:
                    return [*child, norm]
    raise UserError(f"expected a network with {count} blocks and a norm behind them, {type(network).__name__} has none")
