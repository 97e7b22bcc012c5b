"""The covariance of activations within labels, shrunk so that it can be inverted, and held in low-rank form.

Ledoit and Wolf (2004, "A well-conditioned estimator for large-dimensional covariance matrices"):
Σ = (1 − δ) S + δ μ I, S the pooled within-label covariance, μ its mean eigenvalue, δ the intensity that minimises the
expected squared error. With fewer texts than dimensions S = V Λ Vᵀ has a small rank: a thin SVD of the centred rows is
enough, and nothing of size d_model × d_model is made.

A few dimensions of huge variance raise μ, and with it the floor δμ under all others, until these no longer count.
Shrinking the correlations instead of the covariances (dimensions divided by their sd first, as scikit-learn's linear
discriminant analysis does) avoids that.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float

from emolib.base.errors import UserError

LEAST_SHRINKAGE = 1e-6  # where S is singular: texts that differ by one number alone would otherwise get δ = 0


@dataclass(frozen=True)
class WithinCovariance:
    """Σ = D [(1 − δ) V Λ Vᵀ + δ μ I] D of `[d_model, d_model]`, never written out; D = I unless standardised.

    Attributes:
        axes: Vᵀ, orthonormal rows by falling variance.
        variances: Λ, the variance within labels along each axis before shrinking; 0 in every other direction.
        shrinkage: δ, from 0 to 1.
        mean_variance: μ, the mean of all d_model eigenvalues, which shrinking leaves as it is.
        scale: the diagonal of D: standard deviation within labels of every dimension, or ones.
        freedom: number of texts less number of labels.
    """

    axes: Float[np.ndarray, "rank d_model"]
    variances: Float[np.ndarray, " rank"]
    shrinkage: float
    mean_variance: float
    scale: Float[np.ndarray, " d_model"]
    freedom: int

    def inverse(self, v: Float[np.ndarray, "*batch d_model"]) -> Float[np.ndarray, "*batch d_model"]:
        """Σ⁻¹v."""
        return self._power(self._checked(v) / self.scale, -1.0) / self.scale

    def inverse_root(self, v: Float[np.ndarray, "*batch d_model"]) -> Float[np.ndarray, "*batch d_model"]:
        """Σ^(−1/2) v: whitens. By the symmetric root, after dividing by the scale where there is one."""
        return self._power(self._checked(v) / self.scale, -0.5)

    def root(self, v: Float[np.ndarray, "*batch d_model"]) -> Float[np.ndarray, "*batch d_model"]:
        """Σ^(1/2) v, the inverse of `inverse_root`: gives white noise the covariance of the activations."""
        return self._power(self._checked(v), 0.5) * self.scale

    def _checked(self, v: np.ndarray) -> np.ndarray:
        v = np.asarray(v, dtype=np.float64)
        if v.shape[-1:] != self.scale.shape:
            raise UserError(
                f"expected vectors of {len(self.scale)} dimensions along the last axis, got shape {v.shape}"
            )
        return v

    def _power(self, v: np.ndarray, exponent: float) -> np.ndarray:
        """The part between the scales, to a power."""
        along = v @ self.axes.T
        floor = self.shrinkage * self.mean_variance
        inside = (along * ((1 - self.shrinkage) * self.variances + floor) ** exponent) @ self.axes
        if len(self.axes) == len(self.scale):
            return inside
        return inside + floor**exponent * (v - along @ self.axes)


def fit_within_covariance(
    x: Float[np.ndarray, "text d_model"], labels: np.ndarray | pd.Series | list[str], *, standardise: bool = False
) -> WithinCovariance:
    """The shrunk covariance of texts around their label's mean, pooled over labels.

    Texts count as independent; those of one scenario share a topic, so δ is rather too small than too large.

    Args:
        x: one vector per text.
        labels: one per text.
        standardise: shrink correlations, not covariances: for activations with massive dimensions.

    Raises:
        UserError: shapes that do not fit, values that are not finite, fewer than 2 texts beyond one per label, or texts
            that do not differ within any label.
    """
    x = np.asarray(x, dtype=np.float64)
    codes, names = pd.factorize(np.asarray(labels))
    if x.ndim != 2 or len(codes) != len(x):
        raise UserError(f"expected vectors [text, d_model] with a label each, got {x.shape} and {len(codes)} labels")
    if not np.isfinite(x).all():
        raise UserError("the activations hold values that are not finite; extract them in float32")
    freedom = len(x) - len(names)
    if freedom < 2:
        raise UserError(
            f"a covariance within labels needs at least 2 texts beyond one per label, got {len(x)} texts of "
            f"{len(names)} labels; give more texts"
        )
    rows, counts = centred_within(x, codes), np.bincount(codes)[codes]
    sd = np.sqrt((rows**2).sum(0) / freedom)
    varies = sd > 1e-12 * np.abs(x).max(0)  # what centring leaves of equal values is rounding, not spread
    if not varies.any():
        raise UserError("the texts of each label have all the same activations; a covariance needs texts that differ")
    scale = np.where(varies, sd, 1.0) if standardise else np.ones_like(sd)
    rows = np.where(varies, rows / scale, 0.0)
    _, lengths, axes = np.linalg.svd(rows, full_matrices=False)
    kept = lengths > max(x.shape) * np.finfo(float).eps * lengths[0]
    variances = lengths[kept] ** 2 / freedom
    shrinkage = _shrinkage(rows, counts, variances)
    if kept.sum() < x.shape[1]:
        shrinkage = max(shrinkage, LEAST_SHRINKAGE)
    return WithinCovariance(axes[kept], variances, shrinkage, float(variances.sum()) / x.shape[1], scale, freedom)


def centred_within(x: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Rows `[text, …]` less the mean of their label; `codes` count the labels from 0."""
    member = np.equal.outer(np.arange(codes.max() + 1), codes).astype(float)
    return x - (member @ x / member.sum(1, keepdims=True))[codes]


def _shrinkage(rows: np.ndarray, counts: np.ndarray, variances: np.ndarray) -> float:
    """δ by sums over texts and eigenvalues; `sklearn.covariance.ledoit_wolf_shrinkage` visits all pairs of dimensions.

    Removing a label's mean shrinks a row by w = 1 − 1/count. Rows divided by √w, with weight w, have the variance of
    the texts again, and the weights add up to the degrees of freedom. For a known mean it is sklearn's number.
    """
    d_model = rows.shape[1]
    weights = 1 - 1 / counts
    freedom, squared = weights.sum(), (variances**2).sum()  # ‖S‖²
    paired = counts > 1
    fourth = ((rows[paired] ** 2).sum(1) ** 2 / weights[paired]).sum() / freedom
    noise = (fourth - squared) / freedom
    spread = squared - variances.sum() ** 2 / d_model
    return float(np.clip(noise / spread, 0, 1)) if spread > 1e-12 * squared else 1.0
