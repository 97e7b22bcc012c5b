"""What a row of a sweep did to the residual stream, in plain numpy: what is added or moved, where and when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class PlainAct:
    """h ← h + factor · Δ, or with a basis U h ← h + factor · α U (μ − Uᵀh).

    Attributes:
        layer: whose input changes; n_layers is the final residual.
        delta: Δ `[d_model]`.
        basis, target: U `[d_model, k]` and αμ-free μ `[k]`; then `delta` is not used.
        alpha: of a move.
        window: prompt tokens at the end that are patched; the first token never is unless it is alone.
        schedule: `constant`, the rate of an exponential decay, or the factor of every step.
    """

    layer: int
    delta: np.ndarray | None = None
    basis: np.ndarray | None = None
    target: np.ndarray | None = None
    alpha: float = 1.0
    window: int = 3
    schedule: str | float | Sequence[float] = "constant"

    def factors(self, n_prompt: int, start: int, count: int) -> np.ndarray:
        """The factor at `count` positions from `start` on, `[pos]`.

        >>> PlainAct(0, window=3).factors(5, 0, 7).tolist()
        [0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0]
        >>> PlainAct(0, window=9, schedule=0.5).factors(3, 0, 5).tolist()
        [0.0, 1.0, 1.0, 0.5, 0.25]
        """
        first = max(n_prompt - self.window, 1 if n_prompt > 1 else 0)
        return np.array([self._factor(at - n_prompt + 1) if at >= first else 0.0 for at in range(start, start + count)])

    def _factor(self, step: int) -> float:
        """Of the prompt's window (0 and below) or of the step-th generated token."""
        step = max(step, 0)
        if isinstance(self.schedule, str):
            return 1.0
        if isinstance(self.schedule, float):
            return self.schedule**step
        return float(self.schedule[step]) if step < len(self.schedule) else 0.0

    def moved(self, stream: np.ndarray, factors: np.ndarray) -> np.ndarray:
        """The stream `[pos, d_model]` as the act leaves it, float32."""
        if self.basis is not None and self.target is not None:
            change = self.alpha * (self.target - stream @ self.basis) @ self.basis.T
        else:
            change = np.broadcast_to(np.asarray(self.delta), stream.shape)
        return np.asarray(stream + factors[:, None].astype(np.float32) * change, dtype=np.float32)


def steer(layer: int, vector: np.ndarray, length: float, **timing: object) -> PlainAct:
    """A steer along a vector, of that length (a negative one suppresses)."""
    direction = vector.astype(np.float64) / np.linalg.norm(vector.astype(np.float64))
    return PlainAct(layer, delta=(length * direction).astype(np.float32), **timing)  # type: ignore[arg-type]


# directions that know nothing of the emotion


def isotropic(d_model: int, seed: int) -> np.ndarray:
    """Uniform on the sphere (not normed)."""
    return np.random.default_rng(seed).standard_normal(d_model)


def covariance(tokens: np.ndarray, seed: int) -> np.ndarray:
    """A draw from the normal distribution with the covariance of `tokens` `[token, d_model]` (not normed)."""
    return np.random.default_rng(seed).standard_normal(len(tokens)) @ (tokens - tokens.mean(axis=0))


def shuffled(cube: np.ndarray, seed: int) -> np.ndarray:
    """Labels permuted within scenarios, of deviations from the label's mean; `cube` is `[scenario, label, d_model]`."""
    rng = np.random.default_rng(seed)
    order = rng.permuted(np.tile(np.arange(cube.shape[1]), (cube.shape[0], 1)), axis=1)
    deviations = cube - cube.mean(axis=0)
    chosen = [np.stack([deviations[i, order[i, at]] for i in range(len(cube))]).mean(axis=0) for at in (0, 1)]
    return chosen[1] - chosen[0]


# other ways from the same texts


def first_component(differences: np.ndarray) -> np.ndarray:
    """The first principal component of `[scenario, d_model]`, turned towards the mean."""
    mean = differences.mean(axis=0)
    values, vectors = np.linalg.eigh((differences - mean) @ (differences - mean).T)
    component = vectors[:, -1] @ (differences - mean) / np.sqrt(values[-1])
    return component if component @ mean >= 0 else -component


def leading(differences: np.ndarray, k: int) -> np.ndarray:
    """The first k directions `[d_model, k]` of an uncentred SVD, each turned towards the mean difference."""
    values, vectors = np.linalg.eigh(differences @ differences.T)
    basis = (differences.T @ vectors[:, ::-1][:, :k]) / np.sqrt(values[::-1][:k])
    return np.asarray(basis * np.where(differences.mean(axis=0) @ basis < 0, -1.0, 1.0))


def probe(emotional: np.ndarray, neutral: np.ndarray) -> np.ndarray:
    """The normal of a logistic regression on standardised activations (C = 0.01, its offset penalised alike), by Newton
    steps instead of the coordinate descent of liblinear."""
    x = np.concatenate([emotional, neutral]).astype(np.float64)
    mean, scale = x.mean(axis=0), x.std(axis=0)
    scale = np.where(scale == 0, 1.0, scale)
    z = np.c_[(x - mean) / scale, np.ones(len(x))]
    y = np.r_[np.ones(len(emotional)), -np.ones(len(neutral))]
    gram = z @ z.T  # the solution lies in the span of the rows: w = zᵀa
    a = np.zeros(len(z))
    for _ in range(100):
        margin = y * (gram @ a)
        p = 1 / (1 + np.exp(margin))
        gradient = a - 0.01 * y * p  # of the penalty and the loss, per row
        hessian = np.eye(len(z)) + 0.01 * (p * (1 - p))[:, None] * gram
        step = np.linalg.solve(hessian, gradient)
        a = a - step
        if np.abs(step).max() < 1e-12:
            break
    return np.asarray((z.T @ a)[:-1] / scale)
