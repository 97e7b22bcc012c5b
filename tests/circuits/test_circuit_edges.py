"""Edges and roles where the ways through a circuit are known: a chain, a lone node, and one that costs nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest

from emolib.base.errors import UserError
from emolib.circuits.circuit_edges import ACT, OPEN, PASS, READ, WRITE, circuit_edges, node_roles
from emolib.circuits.circuit_verdicts import CIRCUIT_REASONS, CIRCUIT_VERDICTS, CircuitNumbers, circuit_verdict
from emolib.circuits.faithfulness import CircuitEffect, judge_circuit
from emolib.circuits.nodes import Node, NodeSet

N = 8
WRITER, READER, LONE, IDLE = Node(0, "head", 1), Node(2, "mlp"), Node(1, "head", 0), Node(3, "head", 2)
ALL = frozenset({WRITER, READER, LONE, IDLE})


def effect() -> CircuitEffect:
    """The writer's share goes through the reader alone; the lone node acts by itself."""
    scale = 1 + 0.1 * np.random.default_rng(0).standard_normal(N)

    def evaluate(sets: Sequence[NodeSet]) -> np.ndarray:
        return np.array([(0.7 * ({WRITER, READER} <= kept) + 0.3 * (LONE in kept)) * scale for kept in sets])

    return CircuitEffect(tuple(sorted(ALL)), evaluate, np.zeros(N))


def test_the_edge_that_is_there_is_found_and_no_other() -> None:
    table = circuit_edges(effect(), ALL)
    direct = table[table["receiver"] == ""].set_index("sender")["carried"]
    assert direct[LONE.name] == pytest.approx(0.3) and direct.drop(LONE.name).abs().max() < 1e-9
    between = table[table["receiver"] != ""].set_index(["sender", "receiver"])["carried"]
    assert between[WRITER.name, READER.name] == pytest.approx(0.7)
    assert between.drop((WRITER.name, READER.name)).abs().max() < 1e-9
    assert (table["sender_layer"] <= table["receiver_layer"]).where(table["receiver"] != "", True).all()


def test_roles_follow_the_rule() -> None:
    own = effect()
    lost = judge_circuit(own, ALL, n_subsets=0).minimality.set_index("node")[["loss", "low", "high"]]
    losses = {str(name): tuple(row) for name, row in lost.T.items()}
    roles = node_roles(circuit_edges(own, ALL), losses).set_index("node")["role"]
    assert roles.to_dict() == {WRITER.name: WRITE, READER.name: READ, LONE.name: ACT, IDLE.name: OPEN}


def test_one_that_receives_and_sends_more_passes_it_on() -> None:
    edges = pd.DataFrame(
        [("a", "", 0.0), ("b", "", 0.0), ("c", "", 0.0), ("a", "b", 0.3), ("b", "c", 0.5)],
        columns=["sender", "receiver", "carried"],
    )
    roles = node_roles(edges, dict.fromkeys("abc", (0.5, 0.4, 0.6)))
    assert roles["role"].tolist() == [WRITE, PASS, READ]


def test_an_empty_circuit_has_no_edges() -> None:
    with pytest.raises(UserError, match="at least one node"):
        circuit_edges(effect(), frozenset())


GOOD = CircuitNumbers(True, True, 0.7, 1.1, 0.4, 0.3, 0.01)
CASES = {
    "no_effect": ({"measured": False}, "not_measurable"),
    "none_small": ({"reached": False}, "not_supported"),
    "below_bar": ({"low": 0.4, "high": 0.7}, "not_supported"),
    "no_random_sets": ({"random_high": np.nan, "p": np.nan}, "underpowered"),
    "not_beyond_random": ({"p": 0.2}, "underpowered"),
    "incomplete": ({"complete_low": -0.1}, "underpowered"),
    "all_hold": ({}, "supported"),
}


@pytest.mark.parametrize("reason", CIRCUIT_REASONS)
def test_each_condition_alone_decides(reason: str) -> None:
    changed, verdict = CASES[reason]
    assert circuit_verdict(CircuitNumbers(**{**vars(GOOD), **changed}), least=0.8) == (verdict, reason)
    assert verdict in CIRCUIT_VERDICTS


def test_random_sets_that_reach_the_lower_end_are_not_beaten() -> None:
    near = CircuitNumbers(**{**vars(GOOD), "random_high": 0.75})
    assert circuit_verdict(near, least=0.8) == ("underpowered", "not_beyond_random")
