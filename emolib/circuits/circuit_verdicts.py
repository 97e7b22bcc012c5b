"""What may be said of a circuit that was chosen on validation: a small set explains the effect, or it does not.

The bar, set before any number: the effect is there on both halves of the data; a set of at most so many nodes explained
as much as was wanted where it was chosen; on test the lower end of its faithfulness lies above the 95th percentile of
random sets of its size, matched in layer and norm, and in summed attribution as well (where there are such sets that
are not mostly the circuit), with p ≤ 0.05 against either; and what goes when the circuit alone is held is above 0. No
small circuit is said only where none was found, or where the upper end of the faithfulness on test lies below what was
wanted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from emolib.steering.claims import NOT_MEASURABLE
from emolib.steering.findings import NOT_SUPPORTED, SUPPORTED, UNDERPOWERED

CIRCUIT_VERDICTS = (SUPPORTED, NOT_SUPPORTED, UNDERPOWERED, NOT_MEASURABLE)
CIRCUIT_REASONS = (
    "no_effect",
    "none_small",
    "below_bar",
    "no_random_sets",
    "not_beyond_random",
    "incomplete",
    "all_hold",
)
LEVEL = 0.05


@dataclass(frozen=True)
class CircuitNumbers:
    """What a verdict on a circuit rests on; shares of the whole effect on test.

    Attributes:
        measured: whether the effect is told from 0, on validation and on test.
        reached: whether a small enough set reached the wanted share on validation.
        low, high: the interval of the faithfulness.
        complete_low: the lower end of the completeness.
        random_high: the larger 95th percentile of both kinds of random sets; NaN without them.
        p: the larger p against them.
    """

    measured: bool
    reached: bool
    low: float
    high: float
    complete_low: float
    random_high: float
    p: float


def circuit_verdict(numbers: CircuitNumbers, *, least: float) -> tuple[str, str]:
    """The verdict and its reason.

    >>> good = CircuitNumbers(True, True, 0.7, 1.1, 0.4, 0.3, 0.01)
    >>> circuit_verdict(good, least=0.8)
    ('supported', 'all_hold')
    >>> from dataclasses import replace
    >>> circuit_verdict(replace(good, high=0.75), least=0.8)
    ('not_supported', 'below_bar')
    """
    if not numbers.measured:
        return NOT_MEASURABLE, "no_effect"
    if not numbers.reached:
        return NOT_SUPPORTED, "none_small"
    if numbers.high < least:
        return NOT_SUPPORTED, "below_bar"
    if not np.isfinite(numbers.random_high):
        return UNDERPOWERED, "no_random_sets"
    if not (numbers.low > numbers.random_high and numbers.p <= LEVEL):
        return UNDERPOWERED, "not_beyond_random"
    if not numbers.complete_low > 0:
        return UNDERPOWERED, "incomplete"
    return SUPPORTED, "all_hold"
