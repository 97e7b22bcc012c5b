"""Whether a study's texts are greedy or sampled: by a rule that is stated before any text is written.

Greedy decoding makes the unpatched text exact and every difference the patch's own, but a small model's greedy text
loops. The rule looks at unpatched texts alone, so it cannot favour an emotion, a layer or a strength.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from emolib.base.errors import UserError

LOOPING_SHARE = 0.2  # of unpatched greedy texts that are broken; above it the study samples
SAMPLING_TEMPERATURE = 0.7


@dataclass(frozen=True)
class Regime:
    """How the texts of a study are continued, and why.

    Attributes:
        temperature: 0 is greedy.
        broken: unpatched greedy texts that are broken.
        n: unpatched greedy texts; 0 where the temperature was given as a number, so that nothing was looked at.
    """

    temperature: float
    broken: int = 0
    n: int = 0

    @property
    def share(self) -> float:
        """Of broken ones among the unpatched greedy texts; NaN where nothing was looked at."""
        return self.broken / self.n if self.n else float("nan")

    @property
    def code(self) -> Literal["given", "sampled", "greedy"]:
        """`given` as a number, or what the rule came to."""
        if not self.n:
            return "given"
        return "sampled" if self.temperature else "greedy"

    def told(self) -> str:
        """In a few words.

        >>> Regime(0.7, 16, 24).told(), Regime(0.0).told()
        ('sampled at temperature 0.7 (16 of 24 unpatched greedy texts broken)', 'greedy')
        """
        how = f"sampled at temperature {self.temperature:g}" if self.temperature else "greedy"
        return how + (f" ({self.broken} of {self.n} unpatched greedy texts broken)" if self.n else "")


def regime_of(broken: Sequence[bool]) -> Regime:
    """What the rule says of a model, by its unpatched greedy texts.

    Args:
        broken: of every text whether it is broken (`emolib.scoring.fluency`).

    Raises:
        UserError: no text.

    >>> regime_of([True, False, False, False]).temperature, regime_of([True] + [False] * 4).temperature
    (0.7, 0.0)
    """
    if not len(broken):
        raise UserError("expected unpatched texts to decide between greedy and sampled ones by, got none")
    n_broken = sum(map(bool, broken))
    looping = n_broken / len(broken) > LOOPING_SHARE
    return Regime(SAMPLING_TEMPERATURE if looping else 0.0, n_broken, len(broken))
