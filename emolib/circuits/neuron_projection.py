"""MLPs and their neurons by the same projection as heads: what they add along an emotion's direction.

A neuron of activation a adds a·w, w its row of W_down (through the block's norm behind the MLP where there is one, by
that norm's mean derivative). Its contribution to an emotion is the mean of a over the emotion's texts less the mean
over their neutral partners, times w along the unit vector of the next layer. The neurons of a layer sum to the MLP's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from emolib.base import arguments
from emolib.base.errors import UserError
from emolib.circuits.norm_tangents import norm_tangent
from emolib.circuits.ov_projection import Controls, Vectors, checked_vectors, control_units
from emolib.circuits.ov_qk import known_blueprint
from emolib.circuits.typical_inputs import TypicalInputs, block_neurons
from emolib.engine.observation import observe
from emolib.models.language_model import LanguageModel
from emolib.models.tokens import encode, pad_left
from emolib.statistics.intervals import max_statistic_p

BATCH = 16


@dataclass(frozen=True)
class NeuronProjection:
    """What MLPs and neurons add along emotions' directions.

    Attributes:
        mlps: layer, emotion, contribution (activation units along the unit vector of the next layer), per family
            `mean_<family>` and `p_<family>`: against the same difference of activations along the controls, the
            maximum over layers.
        neurons: the largest by |contribution|: layer, neuron, emotion, activation (mean difference), cosine (of its
            row with the target), contribution, share (of its MLP's contribution).
    """

    mlps: pd.DataFrame
    neurons: pd.DataFrame


def neuron_activations(
    lm: LanguageModel, texts: Sequence[str], *, reduce: Literal["last", "mean"] = "last"
) -> list[Float[np.ndarray, "text d_mlp"]]:
    """Every layer's neurons at each text's last token, or their mean over all tokens but the first.

    Raises:
        UserError: no texts, or weights that the engine does not read.
    """
    known_blueprint(lm)
    reduce_by = arguments.one_of("reduce", reduce, ("last", "mean"))
    rows = encode(lm, arguments.texts(texts))
    found: list[list[np.ndarray]] = [[] for _ in range(lm.n_layers)]
    net = lm.native
    places = [(site, layer) for layer in range(lm.n_layers) for site in ("resid_pre", "attn_out")]
    for start in range(0, len(rows), BATCH):
        ids, mask = pad_left(rows[start : start + BATCH], lm.pad_id)
        counted = (mask.cumsum(1) > 1) | (mask.sum(1, keepdim=True) == 1)
        counted = (counted & mask.bool()).float()[..., None]
        kept: dict[int, Tensor] = {}

        def take(
            site: str, layer: int, value: Tensor, counted: Tensor = counted, kept: dict[int, Tensor] = kept
        ) -> None:
            if site == "resid_pre":
                kept[layer] = value.clone()  # the engine adds to it in place
                return
            resid = kept.pop(layer)
            neurons = block_neurons(lm, layer, resid if net.parallel else resid + value).float()
            weight = counted.to(neurons.device)
            per_text = neurons[:, -1] if reduce_by == "last" else (neurons * weight).sum(1) / weight.sum(1)
            found[layer].append(per_text.cpu().numpy())

        observe(lm, ids, mask, places, take)
    return [np.concatenate(parts) for parts in found]


def neuron_differences(
    lm: LanguageModel, texts: Sequence[str], partners: Sequence[str], *, reduce: Literal["last", "mean"] = "last"
) -> list[Float[np.ndarray, " d_mlp"]]:
    """Every layer's mean difference of neurons between texts and their neutral partners, given in one order.

    Raises:
        UserError: as `neuron_activations`; lists of different length.
    """
    if len(texts) != len(partners):
        raise UserError(f"expected as many neutral partners as texts ({len(texts)}), got {len(partners)}")
    own, neutral = (neuron_activations(lm, side, reduce=reduce) for side in (texts, partners))
    return [(a - b).mean(0) for a, b in zip(own, neutral, strict=True)]


def neuron_projection(
    lm: LanguageModel,
    vectors: Vectors,
    controls: Controls,
    inputs: TypicalInputs,
    differences: Mapping[str, Sequence[Float[np.ndarray, " d_mlp"]]],
    *,
    n_top: int = 20,
) -> NeuronProjection:
    """What every MLP and neuron adds along each emotion's direction, in its texts more than in their neutral partners.

    Args:
        vectors: emotion → `[n_layers + 1, d_model]`.
        controls: family → `[control, n_layers + 1, d_model]`, as of `ov_projection`.
        differences: emotion → what `neuron_differences` gives.

    Raises:
        UserError: as `ov_projection`; an emotion without differences.
    """
    known_blueprint(lm)
    names = tuple(vectors)
    given = checked_vectors(lm, vectors)
    drawn = control_units(lm, controls)
    n_top = arguments.whole_number("n_top", n_top, least=1)
    if missing := [name for name in names if name not in differences]:
        raise UserError(f"expected differences of neurons for every emotion, {', '.join(missing)} has none")
    summed: list[dict[str, object]] = []
    nulls: dict[tuple[str, str], list[np.ndarray]] = {}
    parts: list[pd.DataFrame] = []
    with torch.inference_mode():
        for layer in range(lm.n_layers):
            rows = written_by_neurons(lm, layer, inputs)
            for name, vector in zip(names, given[:, layer + 1], strict=True):
                change = torch.as_tensor(differences[name][layer], device=rows.device, dtype=torch.float32)
                target = torch.tensor(vector / np.linalg.norm(vector), dtype=torch.float32, device=rows.device)
                whole = change @ rows
                summed.append({"layer": layer, "emotion": name, "contribution": float(whole @ target)})
                parts.append(_largest(rows, change, target, n_top).assign(layer=layer, emotion=name))
                for family, units in drawn.items():
                    unit = torch.tensor(units[:, layer + 1], dtype=torch.float32, device=rows.device)
                    nulls.setdefault((name, family), []).append((unit @ whole).cpu().double().numpy())
    neurons = pd.concat(parts, ignore_index=True)
    order = neurons["contribution"].abs().groupby(neurons["emotion"]).rank(ascending=False, method="first")
    neurons = neurons[order <= n_top].sort_values(["emotion", "contribution"], ascending=[True, False])
    columns = ["layer", "neuron", "emotion", "activation", "cosine", "contribution", "share"]
    return NeuronProjection(_with_nulls(pd.DataFrame(summed), nulls), neurons[columns].reset_index(drop=True))


def written_by_neurons(lm: LanguageModel, layer: int, inputs: TypicalInputs) -> Float[Tensor, "neuron d_model"]:
    """What each neuron of a layer adds to the stream per unit of activation."""
    block = lm.native.layers[layer]
    rows = block.down.weight.float().T
    if block.mlp_post_norm is not None:
        rows = norm_tangent(block.mlp_post_norm, inputs.produced[layer]).with_gain(rows)
    return rows


def _largest(rows: Tensor, change: Tensor, target: Tensor, n_top: int) -> pd.DataFrame:
    """The neurons of one layer that contribute most along a unit target, and their share of what all do."""
    along = rows @ target
    contribution, cosine = change * along, along / rows.norm(dim=-1).clamp_min(1e-30)
    best = contribution.abs().topk(min(n_top, len(contribution))).indices
    told = {"activation": change, "cosine": cosine, "contribution": contribution}
    table = pd.DataFrame({name: values[best].cpu().double().numpy() for name, values in told.items()})
    return table.assign(neuron=best.cpu().numpy(), share=table["contribution"] / float(contribution.sum()))


def _with_nulls(mlps: pd.DataFrame, nulls: Mapping[tuple[str, str], Sequence[np.ndarray]]) -> pd.DataFrame:
    """The MLPs with means of their controls and p of the maximum over layers."""
    for (name, family), by_layer in nulls.items():
        chosen = mlps["emotion"] == name
        drawn = np.stack(by_layer, 1)  # [control, layer]
        effects = mlps.loc[chosen, "contribution"].to_numpy(float)
        mlps.loc[chosen, f"mean_{family}"] = drawn.mean(0)
        mlps.loc[chosen, f"p_{family}"] = max_statistic_p(effects, drawn, studentised=True)
    return mlps
