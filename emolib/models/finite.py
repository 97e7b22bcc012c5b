"""Numbers that a model computed, looked at before they are handed on: where they are not finite, nothing follows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from emolib.base.errors import UserError, shown

if TYPE_CHECKING:
    from emolib.models.language_model import LanguageModel


def all_finite(values: np.ndarray) -> bool:
    """Whether no number is NaN or infinite; of most arrays their sum tells, at a fraction of the cost.

    >>> all_finite(np.array([1.0, 3e38], np.float32)), all_finite(np.array([np.inf, -np.inf]))
    (True, False)
    """
    with np.errstate(invalid="ignore", over="ignore"):
        return bool(np.isfinite(values.sum())) or bool(np.isfinite(values).all())


def require_finite(lm: LanguageModel, blocks: Iterable[tuple[int, np.ndarray]], what: str) -> None:
    """Raises `UserError` for the first text with a number that is NaN or infinite.

    Args:
        blocks: the number of each text and what was computed of it.
        what: that, for the message.
    """
    for text, values in blocks:
        if not all_finite(values):
            dtype = str(lm.dtype).removeprefix("torch.")
            raise UserError(
                f"{what} of {shown(lm.spec.name)} for text {text} is not finite in {dtype}: load the model as float32, "
                "or look at its weights"
            )
