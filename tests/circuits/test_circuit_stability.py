"""Nodes that stay when scenarios are drawn again, and nodes that do not."""

from __future__ import annotations

import numpy as np
import pytest

from emolib.base.errors import UserError
from emolib.circuits.circuit_stability import circuit_stability
from emolib.circuits.nodes import Node

NODES = tuple(Node(layer, "head", head) for layer in range(10) for head in range(3))


def scores(strong: int, n: int = 16, seed: int = 0) -> np.ndarray:
    """Some nodes far above the noise of all."""
    values = np.random.default_rng(seed).standard_normal((n, len(NODES)))
    values[:, :strong] += 8
    return values


def test_what_every_scenario_shows_is_core_and_does_not_flip() -> None:
    found = circuit_stability(scores(3), NODES, 3)
    table = found.table.set_index("claims")
    assert found.core == set(NODES[:3]) and table.loc["core", "flips"] == 0 and table.loc["core", "nodes"] == 3
    assert all(found.nodes[node] == 1 for node in NODES[:3])


def test_what_is_chosen_from_noise_flips_and_is_no_core() -> None:
    found = circuit_stability(scores(0), NODES, 3)
    table = found.table.set_index("claims")
    assert not found.core and table.loc["rest", "flips"] > 0.6
    mixed = circuit_stability(scores(2), NODES, 4).table.set_index("claims")
    assert mixed.loc["core", "flips"] < 0.05 < 0.4 < mixed.loc["rest", "flips"]


def test_the_core_of_one_half_is_asked_on_the_other() -> None:
    """A node that only half of the scenarios show is not carried by the half that chose it."""
    values = scores(0)
    values[: len(values) // 2, 0] += 40
    flips = circuit_stability(values, NODES, 1).table.set_index("claims")["flips"]
    steady = circuit_stability(scores(1), NODES, 1).table.set_index("claims")["flips"]
    assert steady["core"] == 0 and flips["core"] > 0


@pytest.mark.parametrize("bad", ["few", "shape", "size"])
def test_what_cannot_be_resampled_is_refused(bad: str) -> None:
    values = scores(1)[:3] if bad == "few" else scores(1)[:, :5] if bad == "shape" else scores(1)
    with pytest.raises(UserError):
        circuit_stability(values, NODES, 99 if bad == "size" else 2)
