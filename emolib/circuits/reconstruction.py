"""Are the folded weights the model's own? What heads do, rebuilt from `HeadWeights` and held against the model's code.

Four checks per layer, each the largest difference over tokens divided by the largest value of the model's own:

- `pattern`: softmax of the rebuilt scores, against the model's attention pattern (absolute; a pattern is at most 1);
- `z`: the pattern times the rebuilt values, against the heads' outputs before W_O;
- `attn_out`: the sum over heads of z W_O, plus the bias, through the block's norm where it has one, against what the
  attention adds to the stream;
- `token`: what a query's most attended token alone contributes, weight · (x̂ W_V + b) W_O by the folded OV matrices,
  against the model's own pattern and values through W_O.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd
import torch
from torch import Tensor

from emolib.base import arguments
from emolib.circuits.ov_qk import HeadWeights, head_weights, known_blueprint, normalised
from emolib.interventions import hooked
from emolib.models.language_model import LanguageModel
from emolib.models.tokens import encode

SITES = ("resid_pre", "v", "pattern", "z", "attn_out")
TOLERANCE = 1e-3  # in float32


def reconstruction_errors(lm: LanguageModel, texts: Sequence[str]) -> pd.DataFrame:
    """How far the rebuilt numbers lie from those of the model's own code, per layer and check.

    Returns:
        Columns layer, check, error: the largest over texts and heads, relative (of `pattern` absolute). In float32
        they stay below `TOLERANCE`; in 16 bits they are those of the number format.

    Raises:
        UserError: no texts, or weights that the engine does not read.

    >>> import emolib
    >>> lm = emolib.load_model("smollm2_135m", device="cpu")
    >>> errors = reconstruction_errors(lm, ["Thank you so much for your help."])
    >>> len(errors), bool((errors["error"] < TOLERANCE).all())
    (120, True)
    """
    known_blueprint(lm)
    seen = [model_values(lm, row) for row in encode(lm, arguments.texts(texts))]
    rows = []
    for layer in range(lm.n_layers):
        weights = head_weights(lm, layer)
        found = [layer_errors(weights, {site: held[site, layer] for site in SITES}) for held in seen]
        rows += [{"layer": layer, "check": name, "error": max(one[name] for one in found)} for name in found[0]]
    return pd.DataFrame(rows)


def model_values(lm: LanguageModel, ids: Sequence[int]) -> dict[tuple[str, int], Tensor]:
    """What the model's own code has at `SITES` in one text: `[pos, d_model]`; z and v (expanded to query heads)
    `[pos, head, d_head]`; pattern `[head, query, key]`."""
    kept: dict[tuple[str, int], Tensor] = {}
    n = len(ids)

    def keep(site: str, layer: int) -> Callable[[Tensor], None]:
        def function(value: Tensor) -> None:
            if site == "pattern":
                kept[site, layer] = value[0].float()
            elif site in ("z", "v"):
                heads = value.reshape(n, -1, lm.d_head).float()
                kept[site, layer] = heads.repeat_interleave(lm.n_heads // heads.shape[1], 1)
            else:
                kept[site, layer] = value.reshape(n, -1).float()

        return function

    places = [(site, layer) for layer in range(lm.n_layers) for site in SITES]
    with torch.inference_mode(), hooked(lm, [(*place, keep(*place)) for place in places]):
        lm.network(input_ids=torch.tensor([list(ids)], device=lm.device), use_cache=False, logits_to_keep=1)
    return kept


def layer_errors(weights: HeadWeights, own: dict[str, Tensor]) -> dict[str, float]:
    """The four checks of one layer in one text; `own` as `model_values` gives it, by site."""
    resid, pattern, z = own["resid_pre"], own["pattern"], own["z"]
    positions = torch.arange(len(resid), device=resid.device)
    rebuilt = weights.scores(resid, positions).softmax(-1)
    values = weights.values(resid)
    summed = weights.written(z).sum(0) + weights.output_bias
    if weights.post_norm is not None:
        summed = weights.post_norm(summed)
    return {
        "pattern": float((rebuilt - pattern).abs().max()),
        "z": _apart((rebuilt @ values).transpose(0, 1), z),
        "attn_out": _apart(summed, own["attn_out"]),
        "token": _token_error(weights, resid, pattern, own["v"]),
    }


def _token_error(weights: HeadWeights, resid: Tensor, pattern: Tensor, own_values: Tensor) -> float:
    """The last query's most attended token, by the OV matrices and by the model's values."""
    chosen = pattern[:, -1].argmax(-1)
    inputs = normalised(weights.norm, resid)
    found, expected = [], []
    for head, token in enumerate(chosen.tolist()):
        weight = pattern[head, -1, token]
        constant = weights.value_bias[head] @ weights.output[head]
        found.append(weight * (weights.through_ov(inputs[token : token + 1], head)[0] + constant))
        expected.append(weight * own_values[token, head] @ weights.output[head])
    return _apart(torch.stack(found), torch.stack(expected))


def _apart(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max().clamp_min(1e-12))
