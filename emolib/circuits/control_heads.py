"""Heads that chosen ones are held against: random ones of the same layer whose ablation changes the stream as much."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from scipy import stats
from torch import Tensor

from emolib.base.errors import UserError
from emolib.circuits.attribution import sources_of
from emolib.circuits.contrasts import batches, pack
from emolib.circuits.screening import PRIMARY, Exact, Head
from emolib.engine.packed_ablation import find_targets
from emolib.engine.packed_gradients import packed_difference
from emolib.engine.packed_pass import Held
from emolib.models.finite import require_finite
from emolib.models.language_model import LanguageModel, checked_model
from emolib.statistics.sign_flips import sign_flip_test

NEAR = 1.25  # ratio of norms within which one is drawn; where none is that near, the nearest is taken
CONTROLLED = ["layer", "head", "control", "norm", "control_norm", "n_scenarios", "carried", "control_carried"]


@torch.inference_mode()
def change_norms(lm: LanguageModel, contrasts: pd.DataFrame, *, kind: str = PRIMARY) -> Float[np.ndarray, "layer head"]:
    """How much ablating each head changes of what it writes: √ mean ‖(target − z) W_O‖² over the tokens it changes.

    With a norm behind the attention (Gemma 3) it is what that norm reads.

    Args:
        contrasts: as `emolib.circuits.contrasts` gives them.
        kind: of the ablation, see `emolib.engine.packed_ablation.find_targets`.

    Raises:
        UserError: no contrast, an unknown kind, a model that runs through its own code.

    >>> import emolib
    >>> from emolib.circuits.contrasts import context_contrasts
    >>> lm = emolib.load_model("smollm2_135m", device="cpu")
    >>> data = emolib.load_dataset().query("split == 'validation'")
    >>> names = sorted(data["scenario"].unique())
    >>> norms = change_norms(lm, context_contrasts(data, ["anger"], names[:1], pool=names))
    >>> norms.shape, bool((norms > 0).all())
    ((30, 9), True)
    """
    checked_model(lm)
    if contrasts.empty:
        raise UserError("expected at least one contrast, got none")
    total, count = np.zeros((lm.n_layers, lm.n_heads)), 0
    for places in batches(contrasts):
        given = pack(lm, contrasts.iloc[places])
        targets, held = find_targets(lm, given.packed, kind, sources_of(given, kind)), Held()
        given.packed.through(0, given.packed.start(), held=held)
        count += int((targets.factor > 0).sum())
        for layer, z in enumerate(held.z):
            difference = packed_difference(targets, layer, z).float()
            total[layer] += _squares(given.packed.net.layers[layer].out.weight, difference)
    found: np.ndarray = np.sqrt(total / max(count, 1))
    require_finite(lm, enumerate(found), "the norms of what ablation changes")
    return found


def _squares(weight: Tensor, difference: Tensor) -> np.ndarray:
    """Σ ‖d W_O‖² over tokens by head, of `[d_model, head · d_head]` and `[token, head, d_head]`."""
    split = weight.float().unflatten(1, difference.shape[1:])
    gram = torch.einsum("mhd,mhe->hde", split, split)
    return torch.einsum("thd,hde,the->h", difference, gram, difference).double().cpu().numpy()


def matched_heads(chosen: Sequence[Head], norms: Float[np.ndarray, "layer head"], *, seed: int = 0) -> dict[Head, Head]:
    """Of every chosen head another one of its layer, random among those that change the stream as much.

    None of them is chosen, and none stands for two: a layer without enough others leaves heads without a control.

    Args:
        norms: as `change_norms` gives them.

    Raises:
        UserError: a head that the norms do not know.

    >>> matched_heads([(0, 1)], np.array([[1.0, 3.0, 2.9, 9.0]]))
    {(0, 1): (0, 2)}
    """
    for layer, head in chosen:
        if not (0 <= layer < norms.shape[0] and 0 <= head < norms.shape[1]):
            raise UserError(f"expected heads among {norms.shape[0]} layers of {norms.shape[1]}, got {layer}:{head}")
    generator, found = np.random.default_rng([seed, 9]), dict[Head, Head]()
    for layer, head in chosen:
        taken = {*chosen, *found.values()}
        free = [other for other in range(norms.shape[1]) if (layer, other) not in taken]
        if not free:
            continue
        apart = np.abs(np.log(np.maximum(norms[layer, free], 1e-30) / max(norms[layer, head], 1e-30)))
        near = np.flatnonzero(apart <= np.log(NEAR))
        place = generator.choice(near) if len(near) else apart.argmin()
        found[int(layer), int(head)] = (int(layer), int(free[int(place)]))
    return found


def against_controls(exact: Exact, controls: Mapping[Head, Head], norms: np.ndarray, *, seed: int = 0) -> pd.DataFrame:
    """What every chosen head carries beside its control, paired by scenario.

    Args:
        exact: ablations of both, on scenarios on which neither was chosen.
        controls: as `matched_heads` gives them.
        norms: as `change_norms` gives them.

    Returns:
        `CONTROLLED` (control: that head's number; carried is what ablation takes, nat per token), difference with low
        and high (95 %, Student's t over scenarios) and p (two-sided sign flips, not corrected).

    Raises:
        UserError: a head without its ablation, fewer than two scenarios.
    """
    values, rows = -exact.by_scenario(), []
    for head, other in controls.items():
        own, beside = (values[exact.place(one)].to_numpy() for one in (head, other))
        test = sign_flip_test((own - beside)[:, None], seed=seed).iloc[0]
        reach = stats.t.ppf(0.975, test["n"] - 1) * test["sd"] / np.sqrt(test["n"])
        numbers = [*head, other[1], norms[head], norms[other], len(own), own.mean(), beside.mean()]
        row = dict(zip(CONTROLLED, numbers, strict=True)) | {"difference": test["mean"]}
        rows.append(row | {"low": test["mean"] - reach, "high": test["mean"] + reach, "p": test["p"]})
    return pd.DataFrame(rows, columns=[*CONTROLLED, "difference", "low", "high", "p"])


def other_heads(chosen: Sequence[Head], n_heads: int, seed: int = 0) -> list[Head]:
    """As many random other heads of the same layers, whatever their norm: where a layer has no others left, fewer.

    >>> len(other_heads([(0, 1), (0, 2), (3, 0)], 4)), other_heads([(0, 0), (0, 1)], 2)
    (3, [])
    """
    generator = np.random.default_rng([seed, 9])
    found: list[Head] = []
    for layer in sorted({layer for layer, _ in chosen}):
        taken = {head for at, head in chosen if at == layer}
        free = [head for head in range(n_heads) if head not in taken]
        drawn = generator.permutation(free)[: len(taken)]
        found += [(layer, int(head)) for head in sorted(drawn.tolist())]
    return found
