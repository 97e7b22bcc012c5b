"""Whether a text is what a plain model writes: greedy, or with a row's own random numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from emolib.pipeline.verification.recompute.plain_acts import PlainAct
from emolib.pipeline.verification.recompute.plain_model import PlainModel

HALF_A_CHARACTER = "\N{REPLACEMENT CHARACTER}"
Choice = Callable[[int, np.ndarray], tuple[int, float]]  # step, logits → token, how near another one was


def greedy(step: int, logits: np.ndarray) -> tuple[int, float]:
    """The token with the highest logit, and how far the next one lies below it.

    >>> greedy(0, np.array([1.0, 4.0, 3.5]))
    (1, 0.5)
    """
    first = int(logits.argmax())
    return first, float(logits[first] - np.delete(logits, first).max())


@dataclass(frozen=True)
class Sampled:
    """The token that a random number meets when probabilities stand by falling size.

    Attributes:
        draws: a number from 0 to 1 per step.

    >>> Sampled(np.array([0.9]), 1.0, 1.0)(0, np.log([0.5, 0.25, 0.25]))[0]
    2
    >>> Sampled(np.array([0.9]), 1.0, 0.6)(0, np.log([0.5, 0.3, 0.2]))[0]
    1
    """

    draws: np.ndarray
    temperature: float
    top_p: float

    def __call__(self, step: int, logits: np.ndarray) -> tuple[int, float]:
        """How near: of the number to its interval's ends, or of the token's logit to those beside it in the order."""
        order = np.argsort(-logits, kind="stable")
        shares = np.exp(log_softmax(logits[order] / self.temperature))
        ends = shares.cumsum()
        nucleus = int(((ends - shares) < self.top_p).sum())
        ends = ends[:nucleus] / ends[nucleus - 1]
        place = min(int((ends < self.draws[step]).sum()), nucleus - 1)
        low = ends[place - 1] if place else 0.0
        near = min(abs(self.draws[step] - low), abs(ends[place] - self.draws[step]))
        others = [other for other in (place - 1, place + 1) if 0 <= other < len(order)]
        beside = [abs(logits[order[place]] - logits[order[other]]) for other in others]
        return int(order[place]), float(min(near, *beside))


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Log-probabilities `[…, vocabulary]` in float64."""
    wide = logits.astype(np.float64)
    top = wide.max(axis=-1, keepdims=True)
    return np.asarray(wide - top - np.log(np.exp(wide - top).sum(axis=-1, keepdims=True)))


@dataclass(frozen=True)
class Stored:
    """A text as a table holds it.

    Attributes:
        most: tokens that it may have.
        n_tokens, finish_reason: None where the table does not say.
    """

    text: str
    most: int
    n_tokens: int | None = None
    finish_reason: str | None = None

    def ends(self, count: int, stopped: bool) -> bool:
        """Whether it may end after so many tokens."""
        said = self.finish_reason in (None, "stop" if stopped else "length")
        return said and (stopped or count == self.most) and self.n_tokens in (None, count)


def parts_at(
    model: PlainModel, prompt: list[int], stored: Stored, act: PlainAct | None, choose: Choice, logits: np.ndarray
) -> float:
    """0 where the model writes the stored text; else how near another token was where the two part.

    Args:
        logits: `[1 + text, vocabulary]` of the text's tokens as they stand, under the act.
    """
    ids = model.text_ids(stored.text)
    choices = [choose(step, logits[step])[0] for step in range(min(len(ids) + 1, stored.most))]
    stopped = len(choices) > len(ids) and choices[-1] in model.stop_ids
    whole = choices[: len(ids)] == ids and not set(ids) & model.stop_ids
    if whole and stored.ends(len(ids), stopped) and _decoded(model, ids) == stored.text:
        return 0.0
    return _written(model, prompt, stored, act, choose)  # another split into tokens, or another text


def _decoded(model: PlainModel, ids: list[int]) -> str:
    return str(model.tokenizer.decode(ids, skip_special_tokens=True))


def _written(model: PlainModel, prompt: list[int], stored: Stored, act: PlainAct | None, choose: Choice) -> float:
    """Token by token, with a cache."""
    ids: list[int] = []
    steps = model.steps(prompt, act)
    logits = next(steps)
    while True:
        token, near = choose(len(ids), logits)
        stopped = token in model.stop_ids
        ids += [] if stopped else [token]
        if not stored.text.startswith(_decoded(model, ids).rstrip(HALF_A_CHARACTER)):
            return max(near, np.finfo(float).tiny)
        if stopped or len(ids) == stored.most:
            same = _decoded(model, ids) == stored.text and stored.ends(len(ids), stopped)
            return 0.0 if same else max(near, np.finfo(float).tiny)
        logits = steps.send(token)
