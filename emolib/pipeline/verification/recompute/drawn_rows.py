"""Which rows are worked out again."""

from __future__ import annotations

from dataclasses import dataclass

from emolib.base.errors import UserError


@dataclass(frozen=True)
class Sampling:
    """Which rows are worked out again.

    Attributes:
        share: of the rows of every kind and table, above 0 and up to 1.
        least: rows of every kind and table at least, as far as there are so many.
        seed: of the draws.
    """

    share: float = 0.05
    least: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise UserError(f"expected a share of rows above 0 and up to 1, got {self.share:g}; give another --share")
        if self.least < 1:
            raise UserError(f"expected at least 1 row of every kind, got {self.least}; give another number")
