"""What an intervention is, and the hooks that carry it out or record activations.

Only this file registers hooks. A hook never writes in place, and every hook is removed when its context ends.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from emolib.activations import LayerVector
from emolib.config import check_layers
from emolib.errors import UserError
from emolib.models import LanguageModel

Schedule = Literal["constant"] | tuple[float, ...]


@dataclass(frozen=True)
class Steer:
    """Adds a vector to the residual stream at one layer's input while the text is generated.

    At the prefill the last `window` prompt tokens get `schedule[0]`; position 0 is never patched unless it is the
    only token. The j-th generated token, when it is fed back, gets `schedule[j]`.

    Attributes:
        layer: block whose input is patched; n_layers is the final residual (the direct-path control).
        vector: a `LayerVector` of that layer, or a bare `[d_model]` array.
        alpha: the strength; negative suppresses.
        unit: `resid`: alpha times the median residual norm of neutral tokens, along the unit vector;
            `vector`: alpha times the vector as it is.
        schedule: `constant`, or factors per step (steps beyond its end get 0).
        steps: how many generated tokens are patched; None patches all.
        resid_norm: the unit `resid` for a bare array.

    Raises:
        UserError: alpha not finite, a zero or non-finite vector, a vector of another layer, a unit without its norm.
    """

    layer: int
    vector: LayerVector | np.ndarray | Tensor
    alpha: float
    unit: Literal["resid", "vector"] = "resid"
    site: Literal["resid_pre"] = "resid_pre"
    window: int = 3
    schedule: Schedule = "constant"
    steps: int | None = None
    resid_norm: float | None = None

    def __post_init__(self) -> None:
        if not math.isfinite(self.alpha):
            raise UserError(f"expected a finite alpha, got {self.alpha}")
        if self.window < 1:
            raise UserError(f"expected a window of at least 1 token, got {self.window}")
        if self.unit not in ("resid", "vector"):
            raise UserError(f"unknown unit {self.unit!r}: expected resid or vector")
        if self.site != "resid_pre":
            raise UserError(f"unknown site {self.site!r} for Steer: expected resid_pre")
        if self.schedule != "constant" and (isinstance(self.schedule, str) or not np.isfinite(self.schedule).all()):
            raise UserError(f"expected schedule 'constant' or a sequence of finite factors, got {self.schedule!r}")
        if self.steps is not None and self.steps < 0:
            raise UserError(f"expected steps of at least 0, got {self.steps}")
        if isinstance(self.vector, LayerVector) and self.vector.layer != self.layer:
            raise UserError(f"the vector belongs to layer {self.vector.layer}, the steer to layer {self.layer}")
        if self.unit == "resid":
            norm = self._unit_norm()
            if norm is None:
                raise UserError("unit 'resid' needs a LayerVector or resid_norm=…; for a bare array use unit='vector'")
            if not (math.isfinite(norm) and norm > 0):
                raise UserError(f"expected a finite, positive residual norm for unit 'resid', got {norm}")
        self.delta()

    def _unit_norm(self) -> float | None:
        if self.resid_norm is not None:
            return self.resid_norm
        return self.vector.neutral_norm if isinstance(self.vector, LayerVector) else None

    def delta(self) -> Float[np.ndarray, "d_model"]:
        """What is added where the schedule's factor is 1, in activation units."""
        values = self.vector.values if isinstance(self.vector, LayerVector) else self.vector
        values = np.asarray(values.cpu() if isinstance(values, Tensor) else values, dtype=np.float32)
        norm = float(np.linalg.norm(values))
        if values.ndim != 1 or not math.isfinite(norm) or norm == 0:
            raise UserError(f"expected a finite, non-zero vector [d_model], got shape {values.shape} with norm {norm}")
        if self.unit == "vector":
            return values * np.float32(self.alpha)
        return values * np.float32(self.alpha * self._unit_norm() / norm)

    def factors(self, n_steps: int) -> Float[np.ndarray, "step"]:
        """The schedule's factor at the prefill (index 0) and at each generated token that is fed back."""
        factors = np.zeros(n_steps, dtype=np.float32)
        if self.schedule == "constant":
            factors[:] = 1
        else:
            given = np.asarray(self.schedule, dtype=np.float32)[:n_steps]
            factors[: len(given)] = given
        if self.steps is not None:
            factors[self.steps + 1 :] = 0
        return factors


Intervention = Steer | None


def check_interventions(lm: LanguageModel, acts: Sequence[Intervention]) -> None:
    """Raises `UserError` for an intervention that does not fit the model: its layer, its width, whose vector it is."""
    for act in acts:
        if act is None:
            continue
        check_layers((act.layer,), lm.n_layers)
        vector = act.vector
        width = (vector.values if isinstance(vector, LayerVector) else vector).shape[0]
        if width != lm.d_model:
            raise UserError(f"expected vectors of d_model {lm.d_model}, got {width}")
        if isinstance(vector, LayerVector) and (vector.model, vector.revision) != (lm.spec.name, lm.revision):
            raise UserError(
                f"expected a vector of {lm.spec.name} {lm.revision[:12]}, got one of {vector.model} "
                f"{vector.revision[:12]}; map it first, or pass its bare values"
            )


@dataclass
class _LayerPatch:
    """All rows of a batch that are patched at one layer.

    Attributes:
        active: per column, whether any row is patched there; kept off the device so that asking costs no transfer.
    """

    rows: Tensor
    deltas: Float[Tensor, "row d_model"]
    factors: Float[Tensor, "row column"]
    active: Bool[np.ndarray, "column"]


class SteeringBatch:
    """The steers of one batch as tensors, applied by hooks; a different one (or none) on every row.

    Args:
        acts: one intervention or None per row.
        mask: `[row, prompt]`, 1 for real tokens; prompts are padded on the left.
        n_new: how many tokens will be generated at most.

    `columns` says which absolute columns of the padded sequence the next forward pass feeds; the generation loop
    sets it before each pass.
    """

    def __init__(self, lm: LanguageModel, acts: Sequence[Intervention], mask: Tensor, n_new: int) -> None:
        self.lm = lm
        self.columns = slice(0, mask.shape[1])
        self.delta_ratio = np.zeros(len(acts))
        self._prompt_width = mask.shape[1]
        self._patches: dict[int, _LayerPatch] = {}
        check_interventions(lm, acts)
        by_layer: dict[int, list[int]] = {}
        for row, act in enumerate(acts):
            if act is not None and act.alpha != 0:
                by_layer.setdefault(act.layer, []).append(row)
        lengths = mask.sum(1).tolist()
        for layer, rows in sorted(by_layer.items()):
            deltas = np.stack([acts[row].delta() for row in rows])
            factors = np.stack([_row_factors(acts[row], lengths[row], mask.shape[1], n_new) for row in rows])
            self._patches[layer] = _LayerPatch(
                torch.tensor(rows, device=lm.device),
                torch.tensor(deltas, device=lm.device, dtype=lm.dtype),
                torch.tensor(factors, device=lm.device, dtype=lm.dtype),
                factors.any(axis=0),
            )

    @property
    def first_column(self) -> int:
        """The first column that any row's patch touches; at most the prompt's last one."""
        touched = [int(patch.active.argmax()) for patch in self._patches.values() if patch.active.any()]
        return min([self._prompt_width - 1, *touched])

    @contextlib.contextmanager
    def applied(self) -> Iterator[SteeringBatch]:
        """Hooks in place for the duration of the context."""
        with contextlib.ExitStack() as stack:
            for layer, patch in self._patches.items():
                point = hook_point(self.lm, "resid_pre", layer)
                handle = point.register_forward_hook(self._hook(patch))
                stack.callback(handle.remove)
            yield self

    def _hook(self, patch: _LayerPatch):
        def add(module: torch.nn.Module, inputs: tuple, hidden: Tensor) -> Tensor:
            if not patch.active[self.columns].any():
                return hidden
            factors = patch.factors[:, self.columns]
            added = factors[:, :, None] * patch.deltas[:, None, :]
            before = hidden[patch.rows]
            if self.columns.stop == self._prompt_width:  # the prefill, not a recomputation of a longer text
                self._note_ratio(patch.rows, added, before)
            return hidden.index_copy(0, patch.rows, before + added)

        return add

    def _note_ratio(self, rows: Tensor, added: Tensor, before: Tensor) -> None:
        touched = added.float().norm(dim=-1)
        ratio = (touched / before.float().norm(dim=-1).clamp_min(1e-12)).sum(1) / (touched > 0).sum(1).clamp_min(1)
        self.delta_ratio[rows.cpu().numpy()] = ratio.cpu().numpy()


def _row_factors(act: Steer, length: int, padded: int, n_new: int) -> Float[np.ndarray, "column"]:
    """A row's factor at every absolute column: prompt columns (padded on the left), then generated tokens."""
    schedule = act.factors(n_new + 1)
    row = np.zeros(padded + n_new, dtype=np.float32)
    patched = min(act.window, max(length - 1, 1))
    row[padded - patched : padded] = schedule[0]
    row[padded:] = schedule[1:]
    return row


def hook_point(lm: LanguageModel, site: str, layer: int) -> torch.nn.Module:
    """The bridge's hook point for a site at a layer; `resid_pre` at n_layers is the last block's output."""
    check_layers((layer,), lm.n_layers)
    if site == "resid_pre" and layer == lm.n_layers:
        return lm.bridge.hook_dict[f"blocks.{layer - 1}.hook_resid_post"]
    if layer == lm.n_layers:
        raise UserError(f"site {site} has layers 0-{lm.n_layers - 1}, got {layer}")
    return lm.bridge.hook_dict[f"blocks.{layer}.hook_{site}"]


@contextlib.contextmanager
def recorded(lm: LanguageModel, sites: Sequence[str]) -> Iterator[dict[tuple[str, int], Tensor]]:
    """Collects `{(site, layer): [row, pos, d_model]}` of each forward pass inside the context."""
    kept: dict[tuple[str, int], Tensor] = {}

    def keep(key: tuple[str, int]):
        def hook(module: torch.nn.Module, inputs: tuple, hidden: Tensor) -> None:
            kept[key] = hidden.detach()

        return hook

    with contextlib.ExitStack() as stack:
        for site in sites:
            for layer in range(lm.n_layers + (site == "resid_pre")):
                handle = hook_point(lm, site, layer).register_forward_hook(keep((site, layer)))
                stack.callback(handle.remove)
        yield kept
