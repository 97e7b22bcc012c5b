"""Rows of the table that the self-test prints: what was measured, the bar, and whether it was met."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

FULL = 200  # repeats at which the stated bars hold
WIDTH = 1.96


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        bar: in words; empty where a number is only reported.
        met: None where there is no bar.
    """

    form: str
    check: str
    value: float
    bar: str = ""
    met: bool | None = None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def line(self) -> str:
        verdict = {None: "", True: "met", False: "MISSED"}[self.met]
        return f"{self.form:6} {self.check:64} {self.value:8.3f}  {self.bar:16} {verdict}".rstrip()


def slack(rate: float, n: int) -> float:
    """What a bar on a share gives way with fewer than `FULL` repeats: 1.96 binomial standard errors at n less those
    at `FULL`, and nothing from there on."""
    spread = np.sqrt(rate * (1 - rate))
    return float(max(0.0, WIDTH * spread * (1 / np.sqrt(n) - 1 / np.sqrt(FULL))))


def at_least(form: str, check: str, value: float, bar: float) -> Row:
    return Row(form, check, value, f">= {bar:.3f}", bool(value >= bar - 1e-9))


def at_most(form: str, check: str, value: float, bar: float) -> Row:
    return Row(form, check, value, f"<= {bar:.3f}", bool(value <= bar + 1e-9))


def within(form: str, check: str, value: float, middle: float, margin: float) -> Row:
    met = abs(value - middle) <= margin + 1e-9
    return Row(form, check, value, f"{middle:.3f} +- {margin:.3f}", bool(met))
