"""Where first-order attribution errs, and where the way from a head to the effect bends.

An ablation moves one head's output z on a straight way to its target, Δz. First order takes the slope at the start for
the whole of it. Beside that and the exact change this works out, head by head:

- the change after the first part of the way, and half way, each as if the rest went on like that: whether the slope is
  right near the start, and how soon it is not;
- the change with one piece made linear and everything else exact: `block_linear` the norm and the MLP behind the
  attention (by their derivative at the start), `behind_linear` all later blocks and the readout. What the other piece
  bends is what such an estimate lacks, so that an estimate as wrong as first order lays the error to the piece that it
  makes linear.
- `scale_frozen`: the norm behind the attention keeps the scale that it has at the start, all else is exact. Where this
  is as wrong, what bends is that the norm divides by the length of a stream of which the change is a large part;
- `moved`: that part, √ mean ‖Δz W_O‖² over √ mean ‖what the norm reads‖².
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from emolib.base import arguments
from emolib.base.errors import UserError
from emolib.circuits.attribution import sources_of
from emolib.circuits.contrasts import WEIGHTS, PackedContrasts, batches, pack
from emolib.engine.packed_ablation import TOKENS_AT_ONCE, Targets, find_targets
from emolib.engine.packed_gradients import Backward, backward, packed_difference, per_row, per_unit
from emolib.engine.packed_pass import PackedPass
from emolib.interventions import Intervention
from emolib.models.blueprint import LayerNorm, Norm
from emolib.models.finite import require_finite
from emolib.models.language_model import LanguageModel, checked_model

START = 0.05  # of the way
AGREES = 1.5  # ratio of sizes, either way, up to which first order is no error
CAUSES = ("agrees", "scale", "block", "behind", "both", "together")
CHANGES = ("exact", "first_order", "start", "half", "block_linear", "behind_linear", "scale_frozen")
COLUMNS = ["kind", "layer", "head", *CHANGES, "moved"]


def attribution_bends(
    lm: LanguageModel,
    table: pd.DataFrame,
    layers: Sequence[int],
    *,
    acts: Mapping[str, Intervention] | None = None,
    kind: str = "resample",
    weights: np.ndarray = WEIGHTS,
) -> pd.DataFrame:
    """Every head of some layers: its ablation's exact change of the effect, first order, and what lies between.

    Args:
        table: contrasts, as `emolib.circuits.contrasts` gives them.
        layers: whose heads are looked at; each costs about six times its exact ablations.
        acts, weights: as of `contrasts.pack`.
        kind: of the ablation, see `emolib.engine.packed_ablation.find_targets`.

    Returns:
        `COLUMNS`, a row per head: `CHANGES` in nat per token, mean over the contrasts (`start` and `half` as if the
        rest of the way went on alike; `scale_frozen` is NaN in parallel blocks, whose MLP does not read the attention).

    Raises:
        UserError: no contrast, no layer or one that the model does not have, an unknown kind, a model that runs through
            its own code.

    >>> import emolib
    >>> from emolib.circuits.contrasts import context_contrasts
    >>> lm = emolib.load_model("smollm2_135m", device="cpu")
    >>> data = emolib.load_dataset().query("split == 'validation'")
    >>> names = sorted(data["scenario"].unique())
    >>> table = context_contrasts(data, ["anger"], names[:1], pool=names).assign(most_tokens=4)
    >>> found = attribution_bends(lm, table, [29])
    >>> len(found), bool((found["moved"] > 0).all())
    (9, True)
    """
    checked_model(lm)
    chosen = arguments.whole_numbers("layers", layers, least=0)
    if not len(chosen) or max(chosen) >= lm.n_layers or table.empty:
        raise UserError(f"expected contrasts, and layers of 0-{lm.n_layers - 1}, got {len(table)} and {list(chosen)}")
    total: dict[int, np.ndarray] = {layer: np.zeros((lm.n_heads, len(CHANGES) + 2)) for layer in chosen}
    for places in batches(table):
        given = pack(lm, table.iloc[places], acts, weights=weights)
        targets = find_targets(lm, given.packed, kind, sources_of(given, kind))
        back = backward(given.packed, given.weights)
        for layer in chosen:
            total[layer] += _of_layer(lm, given, targets, back, layer)
    rows = []
    for layer, found in total.items():
        known = found[:, : CHANGES.index("scale_frozen")] if lm.native.parallel else found
        require_finite(lm, enumerate(known), "what ablating a head changes, in parts")
        for head, (*changes, moved, read) in enumerate(found):
            row = dict(zip(CHANGES, np.array(changes) / len(table), strict=True))
            rows.append({"kind": kind, "layer": layer, "head": head, **row, "moved": float(np.sqrt(moved / read))})
    return pd.DataFrame(rows, columns=COLUMNS)


def _of_layer(lm: LanguageModel, given: PackedContrasts, targets: Targets, back: Backward, layer: int) -> np.ndarray:
    """`[head, change]`, sums over the contrasts of `CHANGES`, then the sums of squares that `moved` is made of."""
    packed, hidden, z = given.packed, back.held.resid[layer].detach(), back.held.z[layer].detach()
    difference = packed_difference(targets, layer, z)
    block = _Block(packed, layer, hidden, z)
    ends: list[list[Tensor]] = []
    for head in range(lm.n_heads):
        way = torch.zeros_like(z)
        way[:, head] = difference[:, head]
        ends.append([block.after(way), block.after(START * way), block.after(way / 2), block.slope(way)])
        if not packed.net.parallel:
            ends[-1].append(block.after_frozen(way))
    with torch.inference_mode():  # as everything that reads logits into the model's workspace
        base = given.effects(packed.logprobs(back.held.resid[-1].detach()).double().cpu().numpy()).sum()
        flat = [packed.edited("resid_pre", layer + 1, end) for some in ends for end in some]
        changes = _effects(lm, given, layer, flat).reshape(lm.n_heads, -1) - base
        linear = [
            ((flat[head * len(ends[0])] - back.held.resid[layer + 1].detach()) * back.resid[layer + 1]).sum(-1)
            for head in range(lm.n_heads)
        ]
        behind = np.array([per_unit(per_row(packed, one), given.unit_of_row, given.n_units).sum() for one in linear])
        first = per_row(packed, (difference.float() * back.z[layer].float()).sum(-1)).numpy().sum(0)
        changed = targets.factor > 0
        moved = [float(block.moved(difference, head)[changed].square().sum()) for head in range(lm.n_heads)]
        read = np.full(lm.n_heads, float(block.middle[changed].square().sum()))
    frozen = changes[:, 4] if not packed.net.parallel else np.full(lm.n_heads, np.nan)
    columns = [changes[:, 0], first, changes[:, 1] / START, changes[:, 2] * 2, changes[:, 3], behind, frozen]
    return np.stack([*columns, np.array(moved), read], axis=1)


class _Block:
    """What follows a layer's heads in its block, at some values of theirs: as it is, or in parts linear."""

    def __init__(self, packed: PackedPass, layer: int, hidden: Tensor, z: Tensor) -> None:
        self.packed, self.layer, self.hidden, self.z = packed, layer, hidden, z
        with torch.no_grad():
            self.attended = packed.attention_added(layer, z)
            self.middle = hidden + self.attended

    @torch.no_grad()
    def after(self, way: Tensor) -> Tensor:
        """The block's output with its heads moved."""
        return self.packed.after_heads(self.layer, self.hidden, self.z + way)

    def slope(self, way: Tensor) -> Tensor:
        """The same, by the derivative at the start."""
        run: Callable[[Tensor], Tensor] = partial(self.packed.after_heads, self.layer, self.hidden)
        with torch.enable_grad():
            value, moved = torch.autograd.functional.jvp(run, self.z, way)
        return (value + moved).detach()

    @torch.no_grad()
    def after_frozen(self, way: Tensor) -> Tensor:
        """The same, with the scale by which the norm before the MLP divides kept as it is at the start."""
        norm = self.packed.net.layers[self.layer].mlp_norm
        middle = self.hidden + self.packed.attention_added(self.layer, self.z + way)
        _, added = self.packed.mlp_added(self.layer, middle, partial(_at_scale_of, norm, self.middle))
        return middle + added

    def moved(self, difference: Tensor, head: int) -> Tensor:
        """What the head's ablation changes of what the attention adds, `[token, d_model]`."""
        way = torch.zeros_like(self.z)
        way[:, head] = difference[:, head]
        return self.packed.attention_added(self.layer, self.z + way) - self.attended


def _at_scale_of(norm: Norm, start: Tensor, values: Tensor) -> Tensor:
    """The norm of `values`, divided by the length of `start` in place of their own."""

    def length(one: Tensor) -> Tensor:
        wide = one.float()
        wide = wide - wide.mean(-1, keepdim=True) if isinstance(norm, LayerNorm) else wide
        return (wide.square().mean(-1, keepdim=True) + norm.eps).sqrt().to(one.dtype)

    shift = norm.bias if isinstance(norm, LayerNorm) and norm.bias is not None else 0.0
    return (norm(values) - shift) * (length(values) / length(start)) + shift


def _effects(lm: LanguageModel, given: PackedContrasts, layer: int, ends: Sequence[Tensor]) -> np.ndarray:
    """`[end]`, the summed effect from each output of the layer's block."""
    at_once = max(1, TOKENS_AT_ONCE.get(lm.device.type, 4096) // given.packed.n_tokens)
    found, passes = [], dict[int, PackedPass]()
    for start in range(0, len(ends), at_once):
        some = ends[start : start + at_once]
        if len(some) not in passes:
            passes[len(some)] = PackedPass(lm, given.packed.rows, len(some))
        copies = passes[len(some)]
        read = copies.logprobs(copies.through(layer + 1, torch.cat(list(some))))
        found.append(given.effects(read.view(len(some), -1, read.shape[1]).double().cpu().numpy()).sum(-1))
    return np.concatenate(found)


def bend_summary(bends: pd.DataFrame) -> pd.DataFrame:
    """The heads of each layer together.

    Args:
        bends: as `attribution_bends` gives them.

    Returns:
        kind, layer, n (heads), exact (root mean square, nat per token), of every other change its root mean square over
        that of the exact one, moved (median), and `cause`, see `bend_cause`.
    """

    def size(values: pd.Series) -> float:
        return float(np.sqrt((values**2).mean()))

    rows = []
    for _, part in bends.groupby(["kind", "layer"], sort=False):
        kind, layer = part[["kind", "layer"]].iloc[0]
        exact = size(part["exact"])
        sizes = {name: size(part[name]) / max(exact, 1e-300) for name in CHANGES[1:]}
        row = {
            "kind": kind,
            "layer": int(layer),
            "n": len(part),
            "exact": exact,
            **sizes,
            "moved": part["moved"].median(),
        }
        rows.append({**row, "cause": bend_cause(row)})
    return pd.DataFrame(rows)


def bend_cause(sizes: Mapping[str, float]) -> str:
    """The piece whose linear form alone makes at least half of first order's error, as a ratio on the log scale.

    Args:
        sizes: by name of a change, its size over that of the exact one.

    Returns:
        `agrees`: first order is of about the right size. `scale`: the block, and within it the norm's scale, which
        alone makes half of the error; `block`: the block by something else; `behind`: the later layers; `both`: either;
        `together`: neither alone.

    >>> bend_cause({"first_order": 90.0, "block_linear": 60.0, "behind_linear": 1.5, "scale_frozen": 40.0})
    'scale'
    >>> bend_cause({"first_order": 90.0, "block_linear": 1.1, "behind_linear": 50.0, "scale_frozen": 1.0})
    'behind'
    """

    def error(name: str) -> float:
        return abs(float(np.log(max(sizes[name], 1e-30)))) if np.isfinite(sizes[name]) else 0.0

    whole = error("first_order")
    if whole <= np.log(AGREES):
        return "agrees"
    block, behind = (error(name) >= whole / 2 for name in ("block_linear", "behind_linear"))
    if block and behind:
        return "both"
    if behind:
        return "behind"
    if block:
        return "scale" if error("scale_frozen") >= whole / 2 else "block"
    return "together"
