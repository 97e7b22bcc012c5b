"""What a norm does to a small change of its input: its derivative, averaged over typical inputs.

With c the input (less its mean, for LayerNorm), r = √(mean c² + ε) and x̂ = c/r, a change dx gives

    dx̂ = dc/r − c (c·dc) / (d r³),

dc being dx less its mean where the norm takes it off. The second term is what the change takes away from the rest by
raising the norm; leaving it out treats the norm as a fixed scale, as is usual in the field (`frozen`). Averaged over
tokens both are linear in dx, so that thousands of directions cost two products.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from emolib.base.errors import UserError
from emolib.models.blueprint import LayerNorm, Norm


@dataclass(frozen=True)
class NormTangent:
    """The mean derivative of a norm without its gain.

    Attributes:
        centred: whether the norm takes off the mean.
        inverse: mean of 1/r over tokens.
        inputs: c `[token, d_model]`, or None where the norm counts as a fixed scale.
        weights: 1 / (d r³ · tokens), `[token]`.
        gain: of the norm, `[d_model]`, for `with_gain`.
    """

    centred: bool
    inverse: float
    inputs: Float[Tensor, "token d_model"] | None
    weights: Float[Tensor, " token"]
    gain: Float[Tensor, " d_model"]

    def __call__(self, change: Float[Tensor, "vector d_model"]) -> Float[Tensor, "vector d_model"]:
        """dx̂ for changes of the input."""
        change = change.float()
        if self.centred:
            change = change - change.mean(-1, keepdim=True)
        found = change * self.inverse
        if self.inputs is not None:
            found = found - (change @ self.inputs.T * self.weights) @ self.inputs
        return found

    def with_gain(self, change: Float[Tensor, "vector d_model"]) -> Float[Tensor, "vector d_model"]:
        """The same times the gain: what the change becomes behind the norm."""
        return self(change) * self.gain


def norm_tangent(
    norm: Norm, inputs: Float[np.ndarray, "token d_model"] | Tensor, *, frozen: bool = False
) -> NormTangent:
    """The tangent of a norm at typical inputs.

    Args:
        inputs: what the norm reads, `[token, d_model]`.
        frozen: leave out that a change raises the norm itself.

    Raises:
        UserError: no inputs, or some of another width than the norm's.

    >>> import torch
    >>> from emolib.models.blueprint import RMSNorm
    >>> tangent = norm_tangent(RMSNorm(torch.ones(2), 0.0), torch.tensor([[3.0, 0.0]]))
    >>> (1000 * tangent(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))).int().tolist()  # along the input nothing changes
    [[0, 0], [0, 471]]
    """
    given = torch.as_tensor(inputs, device=norm.weight.device).float()
    width = norm.weight.shape[-1]
    if given.dim() != 2 or not len(given) or given.shape[1] != width:
        raise UserError(f"expected typical inputs [token, {width}] of the norm, got shape {list(given.shape)}")
    centred = isinstance(norm, LayerNorm)
    if centred:
        given = given - given.mean(-1, keepdim=True)
    root = (given.square().mean(-1) + norm.eps).sqrt()
    weights = 1 / (width * root**3 * len(given))
    return NormTangent(centred, float((1 / root).mean()), None if frozen else given, weights, norm.weight.float())
