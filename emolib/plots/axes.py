"""What stands around a figure's data: its title, the titles of its axes, how values read in its legend."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from emolib.base import language

Names = Mapping[str, str]


@dataclass(frozen=True)
class Axes:
    """Title and axes of a figure.

    Attributes:
        title: the line above the figure.
        x: title of the horizontal axis, with its unit; None leaves it to the figure.
        y: title of the vertical axis, with its unit.
        z: title of the third axis, or of the colours of a heatmap.
        log_y: a logarithmic vertical axis.
        names: how values read on axes and in legends, beside the names of labels and styles.
    """

    title: str
    x: str | None = None
    y: str | None = None
    z: str | None = None
    log_y: bool = False
    names: Names = field(default_factory=dict)

    def name(self, value: object, fallback: str = "") -> str:
        """How a value reads in a legend or on an axis; `fallback` where it is None.

        >>> Axes("", names={"null": "shuffled"}).name("null"), Axes("").name(3)
        ('shuffled', '3')
        """
        known = {**language.names(*language.READ_BY_NAME), **self.names}
        shown = fallback if value is None else str(value)
        return known.get(shown, shown)


class Band(NamedTuple):
    """The columns with the ends of an interval."""

    low: str
    high: str


class Null(NamedTuple):
    """The column of a null (shuffled labels, random directions) and what it is called."""

    column: str
    name: str | None = None
