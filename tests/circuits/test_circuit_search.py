"""The smallest circuit along a ranking, where it is known which nodes the effect is made of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from emolib.circuits.circuit_search import find_circuit
from emolib.circuits.circuit_sizes import circuit_curve, ranked_nodes, smallest_circuit
from emolib.circuits.faithfulness import CircuitEffect
from emolib.circuits.nodes import Node, NodeSet

N = 10
NODES = tuple(Node(layer, "head", head) for layer in range(8) for head in range(5))
WORTH = {NODES[3]: 1.0, NODES[11]: 0.7, NODES[20]: 0.4, NODES[30]: 0.2}


class Additive:
    """m is the sum of what the kept nodes are worth; counts what is evaluated."""

    def __init__(self, *, measurable: bool = True) -> None:
        rng = np.random.default_rng(0)
        self.scale = (1 if measurable else 0) + 0.1 * rng.standard_normal(N)
        self.n_sets = 0
        self.effect = CircuitEffect(NODES, self.evaluate, np.zeros(N))

    def evaluate(self, sets: Sequence[NodeSet]) -> np.ndarray:
        self.n_sets += len(sets)
        return np.array([sum(WORTH.get(node, 0.0) for node in kept) * self.scale for kept in sets])


def ranking(misplaced: int = 0) -> dict[Node, float]:
    """Scores by worth, with some worthless nodes in front."""
    front = [node for node in NODES if node not in WORTH][:misplaced]
    return {node: 2.0 if node in front else WORTH.get(node, 0.0) for node in NODES}


def found(world: Additive, misplaced: int = 0, **limits: float):
    scores = ranking(misplaced)
    curve = circuit_curve(world.effect, scores, "signed", n_resamples=10)
    return find_circuit(world.effect, curve, ranked_nodes(scores, "signed"), **limits)


@pytest.mark.parametrize(("least", "size"), [(0.4, 1), (0.7, 2), (0.9, 3), (0.99, 4)])
@pytest.mark.parametrize("misplaced", [0, 6])
def test_the_smallest_set_that_explains_enough_is_found(least: float, size: int, misplaced: int) -> None:
    circuit = found(Additive(), misplaced, least=least)
    assert circuit is not None and circuit.reached and circuit.share >= least
    assert circuit.nodes == set(list(WORTH)[:size])
    assert circuit.n_ranked == size + misplaced


def test_it_costs_less_than_taking_out_one_at_a_time() -> None:
    world, other = Additive(), Additive()
    scores = ranking(12)
    curves = [circuit_curve(one.effect, scores, "signed", n_resamples=10) for one in (world, other)]
    before = world.n_sets
    circuit = find_circuit(world.effect, curves[0], ranked_nodes(scores, "signed"), least=0.9, most_nodes=20)
    slow = smallest_circuit(curves[1], other.effect, least=0.9)
    assert circuit is not None and circuit.nodes == slow
    assert world.n_sets - before < (other.n_sets - before) / 3


def test_where_no_small_set_is_enough_the_best_allowed_one_is_told_as_such() -> None:
    circuit = found(Additive(), least=0.9, most_nodes=2)
    assert circuit is not None and not circuit.reached
    assert circuit.nodes == set(list(WORTH)[:2]) and circuit.share == pytest.approx(1.7 / 2.3)


def test_an_effect_that_is_not_there_has_no_circuit() -> None:
    assert found(Additive(measurable=False)) is None
