"""Gradients of log-probabilities of continuations with respect to what a model holds inside, by the chain rule.

What is differentiated is m = Σ weight · (mean token log-probability of a text after its prompt), the means being those
of `emolib.continuation_shift`. To first order, a change Δ at a place moves m by the gradient there times Δ (attribution
patching: Nanda 2023; Syed, Rager and Conmy 2023).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from emolib.base import arguments
from emolib.base.errors import UserError
from emolib.base.signatures import told
from emolib.engine.continuation_tokens import continuations
from emolib.engine.observation import Place, places_of
from emolib.interventions import hooked
from emolib.models.finite import require_finite
from emolib.models.language_model import LanguageModel, checked_model
from emolib.models.limits import check_length
from emolib.models.tokens import encode, pad_left, position_ids

SITES = ("resid_pre", "attn_out", "mlp_out", "z")
ROWS_AT_ONCE = 8  # every layer's activations are held until the gradient has come back


@dataclass(frozen=True)
class ContinuationGradients:
    """Gradients of m at every token, and the means that m is made of.

    Attributes:
        logprobs: `[row]`, mean token log-probability of each text, unpatched.
        n_prompt: `[row]`, tokens of each prompt; those of its text follow.
        values: by (site, layer) one array per row, `[pos, d_model]`, of `z` `[pos, head, d_head]`: the derivative of m
            by what stands there, in nat per unit of activation.
    """

    logprobs: np.ndarray
    n_prompt: np.ndarray
    values: dict[Place, list[np.ndarray]]


@told
def continuation_gradients(
    lm: LanguageModel,
    prompts: Sequence[str],
    texts: Sequence[str],
    weights: Sequence[float],
    *,
    sites: Collection[str] = ("resid_pre",),
    layers: Collection[int] | None = None,
    batch_size: int = ROWS_AT_ONCE,
) -> ContinuationGradients:
    """The gradient of m with respect to the unpatched model's sites, through the model's own code.

    Args:
        prompts, texts: as of `emolib.continuation_shift`, one row each.
        weights: of each row's mean in m; for an emotion's text 1, for the neutral text −1.
        sites: of `SITES`; `resid_pre` has the final residual as one more layer.
        layers: None takes all.
        batch_size: rows at once.

    Raises:
        UserError: as `emolib.continuation_shift`; another number of weights than of rows, an unknown site, a layer that
            there is not, a gradient that is not finite.

    >>> import emolib
    >>> lm = emolib.load_model("smollm2_135m", device="cpu")
    >>> found = continuation_gradients(lm, ["It rained."], ["Thank you for coming."], [1.0], layers=[3])
    >>> [array.shape for array in found.values["resid_pre", 3]]
    [(7, 576)]
    """
    checked_model(lm)
    prompts, texts = arguments.texts(prompts, "prompts"), arguments.texts(texts, "texts")
    given = arguments.finite_numbers("weights", weights)
    if not len(prompts) == len(texts) == len(given):
        raise UserError(
            f"expected one text and one weight per prompt, got {len(prompts)} prompts, {len(texts)} texts and "
            f"{len(given)} weights"
        )
    for site in arguments.listed("sites", sites, "sites"):
        arguments.one_of("site", site, SITES)
    places = places_of(lm, sites, layers)
    batch_size = arguments.whole_number("batch_size", batch_size, least=1)
    followed, heads = continuations(lm, texts), encode(lm, prompts, name="prompts")
    rows = [[*head, *text.ids] for head, text in zip(heads, followed, strict=True)]
    for place, (head, text) in enumerate(zip(heads, followed, strict=True)):
        check_length(lm, len(head), len(text.ids), f"text {place} of prompts")
    logprobs = np.zeros(len(rows))
    values: dict[Place, list[np.ndarray]] = {place: [np.zeros(0)] * len(rows) for place in places}
    order = sorted(range(len(rows)), key=lambda row: len(rows[row]))
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        counts = [followed[row].n_tokens for row in batch]
        means, found = _gradients(lm, [rows[row] for row in batch], counts, [given[row] for row in batch], places)
        logprobs[batch] = means
        for (site, layer), gradient in found.items():
            of_row = {row: gradient[i, -len(rows[row]) + 1 :] for i, row in enumerate(batch)}
            require_finite(lm, of_row.items(), f"the gradient at {site}, layer {layer},")
            for row, array in of_row.items():
                values[site, layer][row] = array
    return ContinuationGradients(logprobs, np.array([len(head) for head in heads], dtype=int), values)


def _gradients(
    lm: LanguageModel,
    rows: Sequence[Sequence[int]],
    counts: Sequence[int],
    weights: Sequence[float],
    places: Collection[Place],
) -> tuple[np.ndarray, dict[Place, np.ndarray]]:
    """Mean log-probabilities of each row's last tokens, and the gradients `[row, pos, …]` of their weighted sum."""
    ids, mask = (part.to(lm.device) for part in pad_left([row[:-1] for row in rows], lm.pad_id))
    most = max(counts)
    targets = pad_left([row[-count:] for row, count in zip(rows, counts, strict=True)], 0, most)[0].to(lm.device)
    real = (torch.arange(most) >= most - torch.tensor(counts)[:, None]).to(lm.device)
    kept: dict[Place, Tensor] = {}

    def keep(place: Place) -> Callable[[Tensor], Tensor]:
        def function(value: Tensor) -> Tensor:
            held = value if value.requires_grad else value.detach().requires_grad_()
            held.retain_grad()
            kept[place] = held
            return held

        return function

    with torch.enable_grad(), hooked(lm, [(*place, keep(place)) for place in places]):
        logits = lm.network(
            input_ids=ids,
            attention_mask=mask,
            position_ids=position_ids(mask),
            use_cache=False,
            logits_to_keep=most,
        ).logits
        scores = logits.float().log_softmax(-1).gather(2, targets[..., None])[..., 0]
        means = scores.where(real, 0.0).sum(1) / real.sum(1)
        (means * torch.tensor(weights, dtype=means.dtype, device=lm.device)).sum().backward()
    gradients = {place: _by_position(lm, place[0], value, ids) for place, value in kept.items()}
    return means.detach().cpu().double().numpy(), gradients


def _by_position(lm: LanguageModel, site: str, value: Tensor, ids: Tensor) -> np.ndarray:
    """`[row, pos, d_model]`, of `z` `[row, pos, head, d_head]`; some models flatten rows and positions."""
    if value.grad is None:
        raise UserError(f"no gradient reaches {site} in {type(lm.network).__name__}: its own code cuts it off")
    flat = value.grad.reshape(*ids.shape, -1).float()
    return (flat.unflatten(2, (lm.n_heads, lm.d_head)) if site == "z" else flat).cpu().numpy()
