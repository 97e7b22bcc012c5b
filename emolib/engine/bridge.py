"""Generation through a model's own code, with the interventions as hooks on the bridge's hook points.

For architectures that `emolib.models.blueprint` does not know, and the independent second route that tests hold the
native engine against.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from emolib.base.errors import UserError
from emolib.interventions import Edits, hooked
from emolib.models.language_model import LanguageModel
from emolib.models.tokens import position_ids


class BridgeRunner:
    """Runs one batch through the wrapped network; the same interface as `native.NativeRunner`."""

    can_drop = False

    def __init__(self, lm: LanguageModel, ids: Tensor, mask: Tensor, edits: Edits, n_new: int) -> None:
        self._lm = lm
        self._edits = edits
        self._fed, self._mask = ids.to(lm.device), mask.to(lm.device)
        self._columns = slice(0, ids.shape[1])
        from transformers import DynamicCache

        self._cache = DynamicCache()  # of all columns also where a window would let old ones go: patches name columns
        self._values: dict[int, Tensor] = {}
        self._pattern: Tensor | None = None

    def start(self) -> Tensor:
        """Logits `[row, vocabulary]` after the prompts."""
        return self._pass()

    def step(self, tokens: Tensor) -> Tensor:
        """Logits `[row, vocabulary]` after one more token per row."""
        self._fed = tokens[:, None]
        self._mask = torch.cat([self._mask, torch.ones_like(self._mask[:, :1])], dim=1)
        self._columns = slice(self._columns.stop, self._columns.stop + 1)
        return self._pass()

    def read(self, n_last: int) -> Tensor:
        """Logits `[row, column, vocabulary]` after each of the last given columns, in place of `start`."""
        return self._logits(n_last)

    def select(self, kept: Sequence[int]) -> None:
        raise NotImplementedError("rows are not dropped here")

    def _pass(self) -> Tensor:
        return self._logits(1)[:, -1]

    def _logits(self, n_last: int) -> Tensor:
        with hooked(self._lm, self._hooks()):
            output = self._lm.network(
                input_ids=self._fed,
                attention_mask=self._mask,
                position_ids=position_ids(self._mask)[:, -self._fed.shape[1] :],
                past_key_values=self._cache,
                use_cache=True,
                logits_to_keep=n_last,
            )
        self._cache = output.past_key_values
        return output.logits

    def _hooks(self) -> list[tuple[str, int, Callable[[Tensor], Tensor | None]]]:
        hooks: list[tuple[str, int, Callable[[Tensor], Tensor | None]]] = []
        for site, layer in self._edits.places:
            if site == "z" and self._edits.reads_values(layer):
                hooks += [("v", layer, self._keep_values(layer)), ("pattern", layer, self._keep_pattern)]
            hooks.append((site, layer, self._edit_heads(layer) if site == "z" else self._edit_stream(site, layer)))
        return hooks

    def _edit_stream(self, site: str, layer: int) -> Callable[[Tensor], Tensor]:
        def edit(hidden: Tensor) -> Tensor:
            batched = hidden.reshape(*self._fed.shape, -1)  # some models flatten rows and positions
            return self._edits.stream(site, layer, batched.clone(), self._columns).view(hidden.shape)

        return edit

    def _keep_values(self, layer: int) -> Callable[[Tensor], None]:
        def keep(values: Tensor) -> None:
            new = values.reshape(*self._fed.shape, -1, self._lm.d_head).transpose(1, 2)
            before = self._values.get(layer)
            self._values[layer] = new if before is None else torch.cat([before, new], dim=2)

        return keep

    def _keep_pattern(self, pattern: Tensor) -> None:
        self._pattern = pattern

    def _edit_heads(self, layer: int) -> Callable[[Tensor], Tensor]:
        def parts(rows: Tensor, heads: Tensor) -> tuple[Tensor, Tensor]:
            if self._pattern is None:
                raise UserError(
                    f"{type(self._lm.network).__name__} shows its attention patterns only after its heads' outputs, so "
                    "mode v_only and a cut edge are not possible through the bridge; use mode pattern_v or result"
                )
            values = self._values[layer]
            shared = self._lm.n_heads // values.shape[1]  # query heads per KV head, as the model itself has them
            return self._pattern[rows, heads], values[rows, heads // shared]

        def edit(z: Tensor) -> Tensor:
            split = z.reshape(*self._fed.shape, self._lm.n_heads, self._lm.d_head).clone()
            edited = self._edits.heads(layer, split, self._columns, parts).view(z.shape)
            self._pattern = None
            return edited

        return edit
