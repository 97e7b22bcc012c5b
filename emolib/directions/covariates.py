"""What surface features (length, pronouns, punctuation) add to activations, and taking it out.

Analysis of covariance: h = label mean + F β, with β common to all labels. β comes from what varies within labels alone
(Frisch and Waugh 1933), so a difference between labels never enters it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from jaxtyping import Float

from emolib.base import arguments
from emolib.base.errors import UserError
from emolib.data.activations import Activations
from emolib.directions.covariance import centred_within

PENALTY = 1.0


@dataclass(frozen=True)
class CovariateFit:
    """How activations follow features of the text, at every layer.

    Attributes:
        coefficients: β per standardised feature.
        mean: of each feature over the texts of the fit: what activations are adjusted to.
        scale: standard deviation of each feature within labels; 1 for one that does not vary within any label.
    """

    coefficients: Float[np.ndarray, "layer feature d_model"]
    mean: Float[np.ndarray, " feature"]
    scale: Float[np.ndarray, " feature"]

    def adjust(
        self, x: Float[np.ndarray, "layer text d_model"], features: Float[np.ndarray, "text feature"]
    ) -> Float[np.ndarray, "layer text d_model"]:
        """The activations as they would be, by the fit, if every text had the mean features; in the type of `x`.

        Raises:
            UserError: features that do not belong to these texts or to this fit.
        """
        features = _features(features, x.shape[1])
        if features.shape[1] != len(self.mean) or len(x) != len(self.coefficients):
            raise UserError(
                f"expected {len(self.mean)} features and {len(self.coefficients)} layers as in the fit, got "
                f"{features.shape[1]} and {len(x)}"
            )
        standard = (features - self.mean) / self.scale
        adjusted = np.empty_like(x)
        for layer, coefficients in enumerate(self.coefficients):
            adjusted[layer] = x[layer] - standard @ coefficients
        return adjusted


def fit_covariates(acts: Activations, covariates: Float[np.ndarray, "text feature"]) -> CovariateFit:
    """Ridge regression (penalty 1) of `resid_pre` on standardised features, both centred within labels.

    A feature that is constant within every label gets no coefficient: its difference between labels cannot be told
    from the emotion's.

    Args:
        acts: of the training texts.
        covariates: one row per text of `acts`.

    Raises:
        UserError: covariates that do not fit the texts or are not finite.
    """
    features = _features(covariates, len(acts.texts))
    codes, names = pd.factorize(acts.texts["emotion"].to_numpy())
    centred = centred_within(features, codes)
    sd = np.sqrt((centred**2).sum(0) / max(len(codes) - len(names), 1))
    varies = sd > 1e-9 * np.maximum(np.abs(features).max(0), np.finfo(float).tiny)
    standard = np.where(varies, centred, 0.0) / np.where(varies, sd, 1.0)
    solve = np.linalg.solve(standard.T @ standard + PENALTY * np.eye(standard.shape[1]), standard.T)
    # the rows of `solve` add up to 0 within every label: the label means of the activations drop out by themselves
    resid = acts.values["resid_pre"]
    coefficients = np.empty((len(resid), solve.shape[0], resid.shape[2]))
    for layer, values in enumerate(resid):
        coefficients[layer] = solve @ values.astype(np.float64)
    return CovariateFit(coefficients, features.mean(0), np.where(varies, sd, 1.0))


def regress_out(acts: Activations, fit: CovariateFit, covariates: Float[np.ndarray, "text feature"]) -> Activations:
    """The same texts with adjusted `resid_pre`; other sites, which the fit knows nothing of, are left out."""
    return replace(acts, values={"resid_pre": fit.adjust(acts.values["resid_pre"], covariates)})


def _features(covariates: np.ndarray, n_texts: int) -> Float[np.ndarray, "text feature"]:
    features = arguments.float_array("covariates", covariates)
    if features.ndim != 2 or len(features) != n_texts or not features.shape[1]:
        raise UserError(f"expected covariates [text, feature] with {n_texts} rows, got shape {features.shape}")
    if not np.isfinite(features).all():
        raise UserError("the covariates hold values that are not finite; fill or drop them first")
    return features
