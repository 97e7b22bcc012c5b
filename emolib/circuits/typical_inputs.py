"""What the norms of a model read in typical texts: where `norm_tangent` takes their derivatives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from emolib.base import arguments
from emolib.base.errors import UserError
from emolib.circuits.ov_qk import known_blueprint
from emolib.engine.observation import observe
from emolib.models.finite import require_finite
from emolib.models.language_model import LanguageModel
from emolib.models.tokens import encode, pad_left

MOST_TOKENS = 256
BATCH = 16


@dataclass(frozen=True)
class TypicalInputs:
    """The same tokens of neutral texts at every layer, each text's first left out.

    Attributes:
        resid: layer → `[token, d_model]`, the layer's input; n_layers is the final residual.
        attended: layer → `[token, d_model]`, the sum of all heads before the block's norm on it; empty without one.
        produced: layer → `[token, d_model]`, the MLP's output before the block's norm on it; empty without one.
    """

    resid: Mapping[int, Float[np.ndarray, "token d_model"]]
    attended: Mapping[int, Float[np.ndarray, "token d_model"]]
    produced: Mapping[int, Float[np.ndarray, "token d_model"]]


def typical_inputs(lm: LanguageModel, texts: Sequence[str], *, most: int = MOST_TOKENS, seed: int = 0) -> TypicalInputs:
    """Runs the texts once, unpatched, and keeps what the norms read at up to `most` tokens, drawn by the seed.

    Raises:
        UserError: no text of at least two tokens, or weights that the engine does not read.

    >>> import emolib
    >>> lm = emolib.load_model("smollm2_135m", device="cpu")
    >>> found = typical_inputs(lm, ["The lamp is on the desk.", "It rained all day."])
    >>> len(found.resid), found.resid[0].shape[1], len(found.attended)
    (31, 576, 0)
    """
    net = known_blueprint(lm)
    most = arguments.whole_number("most", most, least=1)
    rows = [row for row in encode(lm, arguments.texts(texts)) if len(row) > 1]
    if not rows:
        raise UserError("expected texts of at least two tokens, got none; the first token of a text is left out")
    n_tokens = sum(len(row) - 1 for row in rows)
    kept = np.sort(np.random.default_rng(seed).permutation(n_tokens)[:most])
    places = [("resid_pre", layer) for layer in range(lm.n_layers + 1)]
    normed = [layer for layer, held in enumerate(net.layers) if held.attn_post_norm is not None]
    places += [(site, layer) for layer in normed for site in ("z", "attn_out")]
    found: dict[tuple[str, int], list[Tensor]] = {place: [] for place in places}
    for start in range(0, len(rows), BATCH):
        ids, mask = pad_left(rows[start : start + BATCH], lm.pad_id)
        real = mask.bool() & (mask.cumsum(1) > 1)

        def take(site: str, layer: int, value: Tensor, real: Tensor = real) -> None:
            found[site, layer].append(value[real.to(value.device)].float().cpu())

        observe(lm, ids, mask, places, take)
    held = {place: torch.cat(parts)[torch.from_numpy(kept)] for place, parts in found.items()}
    resid = {layer: held["resid_pre", layer].numpy() for layer in range(lm.n_layers + 1)}
    require_finite(lm, enumerate(resid.values()), "the residual of typical texts")
    attended, produced = {}, {}
    for layer in normed:
        block = net.layers[layer]
        device = block.out.weight.device
        attended[layer] = block.out(held["z", layer].to(device, lm.dtype).flatten(1)).float().cpu().numpy()
        middle = held["resid_pre", layer] + (0 if net.parallel else held["attn_out", layer])
        produced[layer] = block.down(block_neurons(lm, layer, middle)).float().cpu().numpy()
    return TypicalInputs(resid, attended, produced)


def block_neurons(
    lm: LanguageModel, layer: int, middle: Float[Tensor, "token d_model"]
) -> Float[Tensor, "token d_mlp"]:
    """Activations of the MLP's neurons (gate times up, where it is gated), for what the MLP's norm reads."""
    block = lm.native.layers[layer]
    inner = block.up(block.mlp_norm(middle.to(block.up.weight.device, lm.dtype)))
    if not block.gated:
        return block.activation(inner)
    gate, up = inner.chunk(2, dim=-1)
    return block.activation(gate) * up
