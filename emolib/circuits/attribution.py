"""Attribution: what ablating each head, MLP or neuron would do to an effect, estimated from gradients.

To first order (AtP: Nanda 2023; Syed, Rager and Conmy 2023) an ablation changes the effect by Σ (target − value) ·
∂effect/∂value. That is wrong where the way from a part to the effect bends: in the first layers, where a head's output
makes up much of the stream that the next norm divides by its own length, and where a softmax is saturated. Three
corrections are worked out beside it:

- `integrated`: the gradient is the mean along the way from the value to the target, all heads of a layer moving
  together; the sum over heads is then the exact effect of ablating the layer.
- `dropped` (AtP*, Kramár et al. 2024: GradDrop): the mean size of the estimate over gradients that leave one layer out
  each, so that ways that cancel do not hide a head.
- queries and keys (AtP*): a head's softmax is worked out anew.

What still may be missed is bounded by exact ablations of random sets of heads (`missed_bound`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from scipy import stats

from emolib.base import arguments
from emolib.base.errors import UserError
from emolib.circuits.contrasts import WEIGHTS, PackedContrasts, batches, pack
from emolib.engine.packed_ablation import Sources, Targets, ablate_packed, find_targets
from emolib.engine.packed_gradients import (
    Backward,
    backward,
    dropped_gradients,
    integrated_gradient,
    packed_difference,
    per_row,
    per_unit,
    query_key_changes,
)
from emolib.interventions import Intervention
from emolib.models.finite import require_finite
from emolib.models.language_model import LanguageModel, checked_model

METHODS = ("first_order", "integrated", "star")
NODES = ("query", "key", "value", "query_linear", "key_linear")
FEWEST_SETS = 3  # that each head is in
STEPS = 3  # points of the way along which a gradient is integrated


@dataclass(frozen=True)
class Attributed:
    """Estimates per contrast of what ablation changes of its effect, in nat per token.

    Attributes:
        heads: by method `[unit, layer, head]`: `atp`, and where they were asked for `integrated`, `dropped` (a size,
            never negative), and of single nodes `query`, `key`, `value`, `query_linear`, `key_linear`.
        mlps: `[unit, layer]`.
        neurons: `[unit, layer, neuron]`; None unless asked for.
    """

    heads: dict[str, np.ndarray]
    mlps: np.ndarray
    neurons: np.ndarray | None


def attribute(
    lm: LanguageModel,
    table: pd.DataFrame,
    methods: Sequence[str] = ("first_order",),
    *,
    acts: Mapping[str, Intervention] | None = None,
    kind: str = "resample",
    steps: int = STEPS,
    layers: Sequence[int] | None = None,
    neurons: bool = False,
    weights: np.ndarray = WEIGHTS,
) -> Attributed:
    """Every head's and MLP's attribution of every contrast's effect.

    Args:
        table: contrasts, as `contrasts.context_contrasts` gives them.
        methods: of `METHODS`; `star` gives GradDrop and, where heads take values from a source, queries and keys.
        acts: as of `contrasts.pack`.
        kind: of the ablation that is estimated, see `emolib.engine.packed_ablation.find_targets`.
        steps: of `integrated`.
        layers: those for which `integrated` is worked out; None: all. The others are NaN there.
        neurons: whether neurons are attributed one by one.
        weights: as of `contrasts.pack`.

    Raises:
        UserError: an unknown method or kind, a model that runs through its own code.

    >>> import emolib
    >>> from emolib.circuits.contrasts import context_contrasts
    >>> lm = emolib.load_model("smollm2_135m", device="cpu")
    >>> data = emolib.load_dataset().query("split == 'validation'")
    >>> names = sorted(data["scenario"].unique())
    >>> table = context_contrasts(data, ["gratitude"], names[:1], pool=names)
    >>> attribute(lm, table).heads["atp"].shape
    (1, 30, 9)
    """
    checked_model(lm)
    for method in arguments.listed("methods", methods, "methods"):
        arguments.one_of("method", method, METHODS)
    steps = arguments.whole_number("steps", steps, least=1)
    chosen = range(lm.n_layers) if layers is None else arguments.whole_numbers("layers", layers, least=0)
    parts = []
    for places in batches(table):
        given = pack(lm, table.iloc[places], acts, weights=weights)
        targets = find_targets(lm, given.packed, kind, sources_of(given, kind))
        parts.append(_of_batch(given, targets, methods, steps, set(chosen), neurons))
    if not parts:
        raise UserError("expected at least one contrast, got none")
    heads = {name: np.concatenate([part.heads[name] for part in parts]) for name in parts[0].heads}
    for name, values in heads.items():
        if name != "integrated":
            require_finite(lm, enumerate(values), f"the attribution {name}")
    kept = [part.neurons for part in parts if part.neurons is not None]
    return Attributed(heads, np.concatenate([part.mlps for part in parts]), np.concatenate(kept) if kept else None)


def sources_of(given: PackedContrasts, kind: str) -> Sources:
    """Where a kind of ablation takes its values from."""
    return given.own if kind == "context" else given.sources


def _of_batch(
    given: PackedContrasts, targets: Targets, methods: Sequence[str], steps: int, layers: set[int], neurons: bool
) -> Attributed:
    packed, back = given.packed, backward(given.packed, given.weights)
    n_layers, n_heads = len(back.z), back.z[0].shape[1]
    shape = (given.n_units, n_layers, n_heads)
    differences = [packed_difference(targets, layer, back.held.z[layer].detach()) for layer in range(n_layers)]

    def units(values: torch.Tensor) -> np.ndarray:
        return per_unit(per_row(packed, values), given.unit_of_row, given.n_units)

    def of_heads(layer: int, gradient: torch.Tensor) -> np.ndarray:
        return units((differences[layer].float() * gradient.float()).sum(-1))

    base = np.stack([of_heads(layer, back.z[layer]) for layer in range(n_layers)], axis=1)
    heads = {"atp": base}
    if "integrated" in methods:
        heads["integrated"] = np.full(shape, np.nan)
        for layer in sorted(layers):
            hidden, z = (part[layer].detach() for part in (back.held.resid, back.held.z))
            gradient = integrated_gradient(packed, targets, given.weights, layer, hidden, z, steps)
            heads["integrated"][:, layer] = of_heads(layer, gradient)
    if "star" in methods:
        heads["dropped"] = _dropped(back, base, of_heads)
        if targets.index is not None:
            heads |= _nodes(given, targets, back)
    with torch.no_grad():
        factor = targets.factor[:, None]
        mlps = [
            units((factor * (targets.mlp_out(at) - back.held.mlp_out[at]) * back.mlp_out[at]).float().sum(-1))
            for at in range(n_layers)
        ]
        single = None
        if neurons:
            found = [
                factor * (targets.neurons(at) - back.held.neurons[at]) * back.neurons[at] for at in range(n_layers)
            ]
            single = np.stack([units(part) for part in found], axis=1)
    return Attributed(heads, np.stack(mlps, axis=1), single)


def _dropped(back: Backward, base: np.ndarray, of_heads: Callable[[int, torch.Tensor], np.ndarray]) -> np.ndarray:
    """L / (L − 1) · mean over layers of |estimate without the layer|."""
    n_layers = base.shape[1]
    total = np.abs(base) * (np.arange(n_layers)[:, None])  # a layer that lies before a head changes nothing for it
    for _, gradients in dropped_gradients(back):
        for layer, gradient in enumerate(gradients):
            total[:, layer] += np.abs(of_heads(layer, gradient))
    return total / max(n_layers - 1, 1)


@torch.no_grad()
def _nodes(given: PackedContrasts, targets: Targets, back: Backward) -> dict[str, np.ndarray]:
    """Query, key and value nodes, `[unit, layer, head]` each."""
    packed, found = given.packed, {name: list[np.ndarray]() for name in NODES}
    for layer in range(len(back.z)):
        changed = query_key_changes(packed, targets, layer, back.held.resid[layer].detach(), back.z[layer])
        for name in NODES:
            in_line = packed.in_line(changed[name])
            found[name].append(per_unit(per_row(packed, in_line), given.unit_of_row, given.n_units))
    return {name: np.stack(parts, axis=1) for name, parts in found.items()}


# what may be missed


@dataclass(frozen=True)
class MissedBound:
    """How large the effect of a head that an attribution passes over may be.

    Attributes:
        heads: those that were not verified, (layer, head).
        estimate: `[head]`, mean change of the effect by ablating the head in the company of random others.
        upper: `[head]`, the limit that the size of that change does not exceed; for all heads at once at `confidence`.
        confidence: of all limits together.
        n_sets: random sets that were ablated.
    """

    heads: tuple[tuple[int, int], ...]
    estimate: np.ndarray
    upper: np.ndarray
    confidence: float
    n_sets: int

    @property
    def largest(self) -> float:
        """No head that was passed over has an effect larger than this."""
        return float(self.upper.max())


def missed_bound(
    changes: np.ndarray, members: np.ndarray, heads: Sequence[tuple[int, int]], *, confidence: float = 0.95
) -> MissedBound:
    """A limit for what heads do that attribution passes over, from exact ablations of random sets of them.

    Subset sampling (Kramár et al. 2024, section 3.3): a head's share is the mean change with it less that without it;
    Welch's interval of that difference, at a level that holds for all heads together (Bonferroni). It bounds what a
    head does on average beside random others, not alone: where heads stand in for each other the two differ.

    Args:
        changes: `[set]`, the change of the effect by ablating each set.
        members: `[set, head]`, whether a head is in the set.
        heads: names of the columns.

    Raises:
        UserError: shapes that do not fit, a head that is in fewer than two sets or outside fewer than two.

    >>> members = np.array([[1, 0], [0, 1], [1, 1], [0, 0], [1, 0], [0, 1], [1, 1], [0, 0]], dtype=bool)
    >>> changes = members @ np.array([1.0, 0.0]) + np.tile([0.1, -0.1], 4) * 0
    >>> missed_bound(changes, members, [(0, 0), (0, 1)]).estimate.tolist()
    [1.0, 0.0]
    """
    members, changes = np.asarray(members, dtype=bool), np.asarray(changes, dtype=float)
    confidence = arguments.number("confidence", confidence, above=0, below=1)
    if members.shape != (len(changes), len(heads)) or not len(heads):
        raise UserError(f"expected changes [set] and members [set, head], got {changes.shape} and {members.shape}")
    inside, outside = members.sum(0), (~members).sum(0)
    if min(inside.min(), outside.min()) < 2:
        raise UserError("expected every head inside and outside of at least two sets; draw more of them")

    def moments(chosen: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        mean = (chosen * changes[:, None]).sum(0) / count
        spread = (chosen * (changes[:, None] - mean) ** 2).sum(0) / (count - 1)
        return mean, spread / count

    (mean_in, var_in), (mean_out, var_out) = moments(members, inside), moments(~members, outside)
    estimate, variance = mean_in - mean_out, var_in + var_out
    freedom = variance**2 / np.maximum(var_in**2 / (inside - 1) + var_out**2 / (outside - 1), 1e-300)
    level = 1 - (1 - confidence) / (2 * len(heads))
    reach = stats.t.ppf(level, np.maximum(freedom, 1.0)) * np.sqrt(variance)
    return MissedBound(tuple(heads), estimate, np.abs(estimate) + reach, confidence, len(changes))


def bounded(
    lm: LanguageModel,
    table: pd.DataFrame,
    unverified: Sequence[tuple[int, int]],
    *,
    acts: Mapping[str, Intervention] | None = None,
    kind: str = "resample",
    n_sets: int = 64,
    share: float = 0.1,
    confidence: float = 0.95,
    seed: int = 0,
    weights: np.ndarray = WEIGHTS,
) -> MissedBound:
    """`missed_bound` for some heads, by exact ablations of random sets of them, mean over the contrasts.

    Args:
        unverified: heads whose effects were not measured one by one.
        n_sets: random sets; every head is in about `share` of them.

    Raises:
        UserError: as `missed_bound` and `attribute`.
    """
    checked_model(lm)
    heads = [(int(layer), int(head)) for layer, head in unverified]
    generator = np.random.default_rng([seed, 5])
    enough = -(-FEWEST_SETS * len(heads) // n_sets)  # for every head to be in so many sets
    size = min(max(round(share * len(heads)), enough), max(len(heads) - 1, 1))
    members = np.zeros((n_sets, len(heads)), dtype=bool)
    order = np.concatenate([generator.permutation(len(heads)) for _ in range(-(-n_sets * size // len(heads)))])
    for number in range(n_sets):  # in turn, so that all are drawn about as often
        members[number, order[number * size : (number + 1) * size]] = True
    variants = [[heads[place] for place in np.flatnonzero(row)] for row in members]
    total = np.zeros(n_sets)
    for places in batches(table):
        given = pack(lm, table.iloc[places], acts, weights=weights)
        targets = find_targets(lm, given.packed, kind, sources_of(given, kind))
        found = ablate_packed(lm, given.packed, targets, variants)
        total += (given.effects(found.logprobs) - given.effects(found.base)).sum(1)
    return missed_bound(total / len(table), members, heads, confidence=confidence)
