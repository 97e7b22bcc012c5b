"""OV projection: what a head writes when it reads a direction, against directions that know nothing of the emotion.

A change v of the layer's input reaches a head through the norm, by the norm's mean derivative at typical inputs
(`norm_tangents`; the gain is in W_V). The head, attending fully to that token, writes w = J v W_V W_O, and through
the block's own norm on what attention adds (Gemma 3) likewise. Two targets:

- `self`: the direction that was read, at the same layer (does the head copy it?). A control direction is measured
  along itself;
- `next`: the emotion's vector at the next layer, where w arrives. A control direction is measured along the same
  target.

A weight alone says what a head would write, not that it does: whether the direction is there to be read, and whether
the head attends to it, is another question (`qk_routing`, screening).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from emolib.base import arguments
from emolib.base.errors import UserError
from emolib.circuits.norm_tangents import NormTangent, norm_tangent
from emolib.circuits.ov_qk import HeadWeights, head_weights, known_blueprint
from emolib.circuits.typical_inputs import TypicalInputs
from emolib.data.activations import LayerVectors
from emolib.directions.controls import ControlSource
from emolib.directions.vectors import EmotionVectors
from emolib.models.language_model import LanguageModel
from emolib.statistics.intervals import max_statistic_p
from emolib.steering.cells import control_seed

Target = Literal["self", "next"]
Measure = Literal["cosine", "gain"]
TARGETS: tuple[Target, ...] = ("self", "next")
MEASURES: tuple[Measure, ...] = ("cosine", "gain")
Controls = Mapping[str, Float[np.ndarray, "control layer d_model"]]
Vectors = EmotionVectors | Mapping[str, Float[np.ndarray, "layer d_model"]]


@dataclass(frozen=True)
class OvProjection:
    """What every head writes of every emotion's vector and of the controls.

    Two measures: `cosine`, between what is written and the target, and `gain`, what is written along the unit target
        per unit of the direction read (a head of gain 1 on itself writes the direction again at its full length). A
        head that
    writes into few dimensions has large cosines whatever it reads: the gain tells.

    Attributes:
        effects: (target, measure) → `[layer, head, emotion]`.
        norms: `[layer, emotion]`, of the vectors read.
        nulls: (family, target, measure) → `[layer, head, emotion, control]`; of `self` the same for every emotion.
        effective: (family) → the least over layers of (tr K)²/‖K‖², K the controls' Gram matrix: as many directions as
            they are worth.
    """

    emotions: tuple[str, ...]
    effects: Mapping[tuple[Target, Measure], Float[np.ndarray, "layer head emotion"]]
    norms: Float[np.ndarray, "layer emotion"]
    nulls: Mapping[tuple[str, Target, Measure], Float[np.ndarray, "layer head emotion control"]]
    effective: Mapping[str, float]

    def table(self) -> pd.DataFrame:
        """One row per layer, head, emotion and target: cosine, gain, dot (activation units: gain times the vector's
        norm), and per family of controls `z_cosine_<family>` and `z_gain_<family>`: less the controls' mean, over
        their standard deviation (NaN where they do not vary)."""
        parts = []
        n_layers, n_heads, _ = self.effects["self", "cosine"].shape
        layer, head = (part.ravel() for part in np.indices((n_layers, n_heads)))
        for target in TARGETS:
            for place, emotion in enumerate(self.emotions):
                columns = {"layer": layer, "head": head, "emotion": emotion, "target": target}
                own = {measure: self.effects[target, measure][..., place].ravel() for measure in MEASURES}
                columns |= own | {"dot": own["gain"] * np.repeat(self.norms[:, place], n_heads)}
                for (family, of, measure), null in self.nulls.items():
                    if of == target:
                        columns[f"z_{measure}_{family}"] = _z(own[measure], _drawn(null, place))
                parts.append(pd.DataFrame(columns))
        return pd.concat(parts, ignore_index=True)

    def largest(self, *, alternative: Literal["greater", "less", "two-sided"] = "greater") -> pd.DataFrame:
        """The head that stands out most, per emotion, target, measure and family, tested as a maximum over all heads.

        Every head's value is studentised by the controls' at that head; a control's maximum over heads is one draw of
        the null (single-step maxT, Westfall and Young 1993). `p` is that of the largest.

        Returns:
            Columns emotion, target, measure, family, layer, head, value, z, p, n_heads, n_controls, n_effective, and
            `n_beyond`: heads whose own corrected p is at most 0.05.
        """
        rows = []
        for (family, target, measure), null in self.nulls.items():
            for place, emotion in enumerate(self.emotions):
                effects, drawn = self.effects[target, measure][..., place].ravel(), _drawn(null, place)
                p = max_statistic_p(effects, drawn, studentised=True, alternative=alternative)
                z = _z(effects, drawn)
                ranked = np.nan_to_num({"greater": z, "less": -z, "two-sided": np.abs(z)}[alternative], nan=-np.inf)
                best = int(np.lexsort((-ranked, p))[0])
                layer, head = np.unravel_index(best, null.shape[:2])
                row: dict[str, Any] = {"emotion": emotion, "target": target, "measure": measure, "family": family}
                row |= {"layer": int(layer), "head": int(head), "value": effects[best], "z": z[best], "p": p[best]}
                row |= {"n_heads": len(effects), "n_controls": len(drawn), "n_effective": self.effective[family]}
                rows.append(row | {"n_beyond": int((p <= 0.05).sum())})
        return pd.DataFrame(rows)


def _drawn(null: np.ndarray, emotion: int) -> Float[np.ndarray, "control head"]:
    """The controls' values at all heads of all layers."""
    found: np.ndarray = null[:, :, emotion].reshape(-1, null.shape[3]).T
    return found


def _z(effects: np.ndarray, drawn: np.ndarray) -> Float[np.ndarray, " head"]:
    spread = drawn.std(0, ddof=1)
    found: np.ndarray = (effects - drawn.mean(0)) / np.where(spread > 0, spread, np.nan)
    return found


def control_directions(
    source: ControlSource, families: Sequence[str], n_layers: int, count: int, seed: int = 0
) -> dict[str, Float[np.ndarray, "control layer d_model"]]:
    """`count` unit directions of every family at the input of each layer, the final residual included, seeded as those
    of a sweep."""

    def of_one(family: str, index: int) -> Float[np.ndarray, "layer d_model"]:
        seeds = [control_seed(seed, family, layer, index) for layer in range(n_layers + 1)]
        return np.stack([source.direction(family, layer, drawn) for layer, drawn in enumerate(seeds)])

    return {family: np.stack([of_one(family, index) for index in range(count)]) for family in families}


def ov_projection(
    lm: LanguageModel,
    vectors: Vectors,
    controls: Controls,
    inputs: TypicalInputs,
    *,
    frozen: bool = False,
) -> OvProjection:
    """Every head's projection of what it writes when it reads each emotion's vector and each control.

    Args:
        vectors: emotion → `[n_layers + 1, d_model]` (an `EmotionVectors` will do).
        controls: family → `[control, n_layers + 1, d_model]`, for example from `control_directions`, or topics'
            vectors. Cosines and gains do not depend on their length.
        inputs: where the norms' derivatives are taken.
        frozen: norms count as fixed scales.

    Raises:
        UserError: vectors or controls of another shape than the model's, fewer than two controls of a family, a vector
            of length 0, or weights that the engine does not read.

    >>> import emolib, numpy as np
    >>> from emolib.circuits.typical_inputs import typical_inputs
    >>> lm = emolib.load_model("smollm2_135m", device="cpu")
    >>> rng = np.random.default_rng(0)
    >>> vectors = {"gratitude": rng.standard_normal((31, 576))}
    >>> controls = {"isotropic": rng.standard_normal((19, 31, 576))}
    >>> found = ov_projection(lm, vectors, controls, typical_inputs(lm, ["The lamp is on the desk."]))
    >>> found.table().shape, found.largest()["n_heads"].tolist()
    ((540, 9), [270, 270, 270, 270])
    """
    net = known_blueprint(lm)
    n_layers = len(net.layers)
    emotions = tuple(vectors)
    stack = checked_vectors(lm, vectors)
    drawn = control_units(lm, controls)
    frozen = arguments.flag("frozen", frozen)
    found = []
    for layer in range(n_layers):
        tangents = tangents_of(lm, layer, inputs, frozen=frozen)
        found.append(_of_layer(head_weights(lm, layer), tangents, _units(stack, drawn, layer), len(emotions)))
    sizes = np.cumsum([len(emotions), *(len(values) for values in drawn.values())])
    parts = dict(zip(drawn, pairwise(sizes), strict=True))
    whole = {key: np.stack([one[key] for one in found]) for key in found[0]}
    return OvProjection(
        emotions,
        {key: _own(values) for key, values in whole.items()},
        np.linalg.norm(stack[:, :-1], axis=-1).T,
        {
            (family, *key): np.moveaxis(values[:, :, first:last], 2, 3)
            for family, (first, last) in parts.items()
            for key, values in whole.items()
        },
        {family: effective_number(values) for family, values in drawn.items()},
    )


def effective_number(directions: Float[np.ndarray, "control layer d_model"]) -> float:
    """(tr K)²/‖K‖² of the unit directions' Gram matrix, the least over layers: 1 where all are one, N where none is
    like another.

    >>> import numpy as np
    >>> round(effective_number(np.ones((5, 1, 3))), 6), effective_number(np.eye(3)[:, None])
    (1.0, 3.0)
    """
    units = directions / np.linalg.norm(directions, axis=-1, keepdims=True)
    grams = np.einsum("ald,bld->lab", units, units)
    return float((len(units) ** 2 / (grams**2).sum((1, 2))).min())


def _checked(values: np.ndarray, shape: tuple[int | None, ...], what: str) -> np.ndarray:
    array = np.asarray(values, dtype=np.float64)
    wanted = "[" + ", ".join("n" if size is None else str(size) for size in shape) + "]"
    fits = array.ndim == len(shape) and all(size in (None, have) for size, have in zip(shape, array.shape, strict=True))
    if not fits or not np.isfinite(array).all() or (np.linalg.norm(array, axis=-1) == 0).any():
        raise UserError(f"expected {what} {wanted}, finite and none of length 0, got shape {array.shape}")
    if shape[0] is None and len(array) < 2:
        raise UserError(f"expected at least 2 {what}, got {len(array)}")
    return array


def checked_vectors(lm: LanguageModel, vectors: Vectors) -> Float[np.ndarray, "emotion layer d_model"]:
    """The emotions' vectors in one array, the final residual's as the last layer.

    Raises:
        UserError: none, or some of another model or of another shape than the model's.
    """
    names = tuple(vectors)
    if not names:
        raise UserError("expected vectors of at least one emotion, got none")
    if isinstance(vectors, EmotionVectors) and (vectors.model, vectors.revision) != (lm.spec.name, lm.revision):
        raise UserError(
            f"expected vectors of {lm.spec.name} {lm.revision[:12]}, got those of {vectors.model} "
            f"{vectors.revision[:12]}; fit them on this model, or map them first"
        )
    shape = (lm.n_layers + 1, lm.d_model)
    return np.stack([_checked(_bare(vectors[name]), shape, f"vectors of {name}") for name in names])


def control_units(lm: LanguageModel, controls: Controls) -> dict[str, Float[np.ndarray, "control layer d_model"]]:
    """The controls as unit directions.

    Raises:
        UserError: fewer than two of a family, or some of another shape than the model's.
    """
    shape = (None, lm.n_layers + 1, lm.d_model)
    given = {family: _checked(values, shape, f"controls {family}") for family, values in controls.items()}
    return {family: values / np.linalg.norm(values, axis=-1, keepdims=True) for family, values in given.items()}


def _bare(values: LayerVectors | np.ndarray) -> np.ndarray:
    return values.values if isinstance(values, LayerVectors) else np.asarray(values)


def tangents_of(
    lm: LanguageModel, layer: int, inputs: TypicalInputs, *, frozen: bool
) -> tuple[NormTangent, NormTangent | None]:
    """What a change goes through before a layer's heads, and behind them."""
    block = lm.native.layers[layer]
    before = norm_tangent(block.attn_norm, inputs.resid[layer], frozen=frozen)
    if block.attn_post_norm is None:
        return before, None
    return before, norm_tangent(block.attn_post_norm, inputs.attended[layer], frozen=frozen)


def _units(stack: np.ndarray, drawn: Mapping[str, np.ndarray], layer: int) -> tuple[Tensor, Tensor]:
    """Unit directions read at a layer, the emotions' first, and the emotions' at the next one."""
    read = np.concatenate([stack[:, layer], *(values[:, layer] for values in drawn.values())])
    after = stack[:, layer + 1]
    read, after = (part / np.linalg.norm(part, axis=-1, keepdims=True) for part in (read, after))
    return torch.tensor(read, dtype=torch.float32), torch.tensor(after, dtype=torch.float32)


@torch.inference_mode()
def _of_layer(
    weights: HeadWeights,
    tangents: tuple[NormTangent, NormTangent | None],
    units: tuple[Tensor, Tensor],
    n_emotions: int,
) -> dict[tuple[Target, Measure], Float[np.ndarray, "head direction emotion"]]:
    """Both measures by target; of `self` the last axis repeats one number."""
    read, after = (part.to(weights.output.device) for part in units)
    before, behind = tangents
    arriving = before(read)
    found: dict[tuple[Target, Measure], list[Tensor]] = {
        (target, measure): [] for target in TARGETS for measure in MEASURES
    }
    for head in range(weights.n_heads):
        written = weights.through_ov(arriving, head)
        written = written if behind is None else behind.with_gain(written)
        norm = written.norm(dim=-1, keepdim=True).clamp_min(1e-30)
        along: dict[Target, Tensor] = {
            "self": (written * read).sum(-1, keepdim=True).expand(-1, n_emotions),
            "next": written @ after.T,
        }
        for target, gain in along.items():
            found[target, "gain"].append(gain)
            found[target, "cosine"].append(gain / norm)
    return {key: torch.stack(parts).cpu().double().numpy() for key, parts in found.items()}


def _own(values: Float[np.ndarray, "layer head direction emotion"]) -> Float[np.ndarray, "layer head emotion"]:
    """What is written of each emotion along its own target; the emotions are the first directions."""
    n_emotions = values.shape[3]
    own: np.ndarray = np.diagonal(values[:, :, :n_emotions], axis1=2, axis2=3)
    return own.copy()
