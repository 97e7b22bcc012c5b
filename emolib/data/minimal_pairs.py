"""Scenarios whose texts differ by stance alone, and the others: what a data set says of some of its scenarios."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import pandas as pd

FLAG = "minimal_pair"


@dataclass(frozen=True)
class PairKinds:
    """Some scenarios by their kind.

    Attributes:
        code: `both` kinds are there, only `minimal` pairs or only `other` scenarios; `not_stated` where the data set
            does not say.
        minimal, other: the scenarios of each kind.
    """

    code: Literal["both", "minimal", "other", "not_stated"]
    minimal: frozenset[str] = frozenset()
    other: frozenset[str] = frozenset()


def pair_kinds(data: pd.DataFrame, scenarios: Iterable[str]) -> PairKinds:
    """Which of these scenarios are minimal pairs.

    Args:
        data: a data set, with `minimal_pair` where it is stated.
        scenarios: some of its scenarios.

    >>> data = pd.DataFrame({"scenario": ["a", "a", "b", "b"], "minimal_pair": [True, True, False, False]})
    >>> pair_kinds(data, ["a", "b"]).code, pair_kinds(data, ["a"]).code
    ('both', 'minimal')
    """
    if FLAG not in data:
        return PairKinds("not_stated")
    wanted = set(scenarios)
    flagged = set(data.loc[data[FLAG].astype(bool), "scenario"])
    minimal, other = frozenset(wanted & flagged), frozenset(wanted - flagged)
    return PairKinds("both" if minimal and other else "minimal" if minimal else "other", minimal, other)
