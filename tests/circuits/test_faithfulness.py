"""What a circuit explains, where the answer is known: an additive m, one with a backup, one that measures nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest

from emolib.base.errors import UserError
from emolib.circuits.circuit_sizes import circuit_curve, ranked_nodes, smallest_circuit
from emolib.circuits.faithfulness import NOT_MEASURABLE, CircuitEffect, faithfulness, judge_circuit
from emolib.circuits.matched_sets import beyond_random, matched_sets
from emolib.circuits.nodes import Node, NodeSet

N = 12  # scenarios
NODES = tuple(Node(layer, "head", head) for layer in range(6) for head in range(4))
A, B, C, AGAINST = NODES[5], NODES[9], NODES[14], NODES[17]
WORTH = {A: 2.0, B: 1.5, C: 1.0, AGAINST: -0.5}


def additive(worth: dict[Node, float] | None = None, *, backup: bool = False, spread: float = 0.1) -> CircuitEffect:
    """m is the sum of what the kept nodes are worth; with a backup, C gives what A gives unless A is there."""
    worth = WORTH if worth is None else worth
    rng = np.random.default_rng(0)
    scale, base = 1 + spread * rng.standard_normal(N), rng.standard_normal(N)

    def evaluate(sets: Sequence[NodeSet]) -> np.ndarray:
        rows = []
        for kept in sets:
            total = sum(worth.get(node, 0.0) for node in kept)
            if backup and C in kept:
                total += 0.0 if A in kept else worth[A]
            rows.append(base + scale * total)
        return np.array(rows)

    return CircuitEffect(NODES, evaluate, base)


def features(worth: dict[Node, float] = WORTH) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    scores = [worth.get(node, 0.01 * rng.standard_normal()) for node in NODES]
    return pd.DataFrame({"norm": np.exp(0.3 * rng.standard_normal(len(NODES))), "score": scores}, index=list(NODES))


def test_shares_of_an_additive_effect_are_exact() -> None:
    table = faithfulness(additive(), [frozenset({A, B, C}), frozenset({A}), frozenset(), frozenset(NODES)])
    assert table["faithfulness"].tolist() == pytest.approx([4.5 / 4, 2 / 4, 0, 1])
    assert (table["low"] <= table["faithfulness"] + 1e-9).all() and (
        table["high"] >= table["faithfulness"] - 1e-9
    ).all()
    assert set(table["code"]) == {"measured"}


def test_completeness_and_minimality_are_what_was_put_in() -> None:
    judged = judge_circuit(additive(), frozenset({A, B, NODES[0]}))
    values = judged.summary.set_index("measure")["value"]
    assert values["faithfulness"] == pytest.approx(3.5 / 4) and values["completeness"] == pytest.approx(3.5 / 4)
    assert values["residual_path"] == pytest.approx(0)
    losses = judged.minimality.set_index("node")["loss"]
    assert losses[A.name] == pytest.approx(2 / 4) and losses[B.name] == pytest.approx(1.5 / 4)
    assert losses[NODES[0].name] == pytest.approx(0)
    assert judged.gaps["gap"].tolist() == pytest.approx([-0.5 / 4] * 20)  # C and the one against are outside


def test_a_backup_outside_shows_in_completeness_not_in_faithfulness() -> None:
    plain, backed = (judge_circuit(additive(backup=backup), frozenset({A, B})) for backup in (False, True))
    with_it, without_it = (judged.summary.set_index("measure")["value"] for judged in (backed, plain))
    assert with_it["faithfulness"] == pytest.approx(without_it["faithfulness"])
    assert with_it["completeness"] < without_it["completeness"] - 0.4
    assert backed.gaps["gap"].min() < -0.4


def test_what_measures_nothing_says_so() -> None:
    rng = np.random.default_rng(2)
    noise = {kept: rng.standard_normal(N) for kept in ("all", "some")}

    def evaluate(sets: Sequence[NodeSet]) -> np.ndarray:
        return np.array([noise["all" if len(kept) == len(NODES) else "some"] for kept in sets])

    effect = CircuitEffect(NODES, evaluate, np.zeros(N))
    assert effect.code == NOT_MEASURABLE
    table = faithfulness(effect, [frozenset({A})])
    assert table["code"].tolist() == [NOT_MEASURABLE] and table[["faithfulness", "low", "high"]].isna().all(axis=None)
    told, _ = beyond_random(effect, frozenset({A}), matched_sets(frozenset({A}), features(), n=5))
    assert told["code"] == NOT_MEASURABLE and np.isnan(told["p"])
    curve = circuit_curve(effect, dict(zip(NODES, range(len(NODES)), strict=True)), "signed")
    assert smallest_circuit(curve, effect) is None


def test_the_sign_rule_changes_the_curve() -> None:
    scores = {node: WORTH.get(node, 0.0) for node in NODES}
    effect = additive()
    signed, absolute = (circuit_curve(effect, scores, rule) for rule in ("signed", "absolute"))
    assert ranked_nodes(scores, "signed")[-1] == AGAINST and ranked_nodes(scores, "absolute")[3] == AGAINST
    of = {curve.rule: curve.areas.set_index("measure")["value"] for curve in (signed, absolute)}
    # sizes 0, 1, 2, 3, 5, 12, 24 of 24; signed: what works against the effect comes last, and f stays above 1
    shares = np.array([0, 1, 2, 3, 5, 12, 24]) / 24
    values = {
        "signed": np.array([0, 2, 3.5, 4.5, 4.5, 4.5, 4]) / 4,
        "absolute": np.array([0, 2, 3.5, 4.5, 4, 4, 4]) / 4,
    }
    for rule, curve in values.items():
        assert of[rule]["cpr"] == pytest.approx(np.trapezoid(curve, shares))
        assert of[rule]["cmd"] == pytest.approx(np.trapezoid(np.abs(1 - curve), shares))
    assert of["signed"]["cpr"] > of["absolute"]["cpr"] and of["signed"]["cmd"] > of["absolute"]["cmd"]
    for curve in (signed, absolute):
        assert (curve.areas["low"] <= curve.areas["value"] + 1e-9).all() and set(curve.areas["code"]) == {"measured"}


def test_the_smallest_circuit_holds_what_is_needed_and_no_more() -> None:
    scores = {node: WORTH.get(node, 0.0) for node in NODES} | {NODES[0]: 5.0}  # a high score that is worth nothing
    effect = additive()
    found = smallest_circuit(circuit_curve(effect, scores, "signed"), effect, least=0.8)
    assert found == {A, B}  # 3.5 / 4
    assert smallest_circuit(circuit_curve(effect, scores, "signed"), effect, least=1.2) is None


def test_random_sets_are_like_the_circuit_and_explain_less() -> None:
    circuit = frozenset({A, B, C})
    drawn = matched_sets(circuit, features(), n=99)
    assert all(len(one) == 3 and not one & circuit for one in drawn.sets) and len(set(drawn.sets)) > 20
    assert drawn.table["layers"].mean() < 2 and (drawn.table["attribution"] < 0.5).all()
    told, shares = beyond_random(additive(), circuit, drawn)
    assert told["p"] == 0.01 and told["overlap"] == 0 and len(shares) == 99
    other = frozenset({NODES[0], NODES[1], NODES[2]})
    assert beyond_random(additive(), other, matched_sets(other, features(), n=99))[0]["p"] > 0.05


def test_summed_attribution_can_be_matched_at_the_price_of_overlap() -> None:
    rng = np.random.default_rng(3)
    table = features().assign(score=rng.permutation(np.linspace(0.5, 1.5, len(NODES))))
    circuit = frozenset(NODES[3:9])
    drawn = matched_sets(circuit, table, n=50, on_attribution=True)
    assert drawn.table["matched"].mean() > 0.9 and all(len(one) == 6 for one in drawn.sets)
    loose = matched_sets(circuit, table, n=50)
    apart = [(part.table["attribution"] - 1).abs().mean() for part in (drawn, loose)]
    assert apart[0] < apart[1] and loose.table["overlap"].max() == 0
    largest = frozenset(ranked_nodes(dict(zip(NODES, features()["score"], strict=True)), "absolute")[:3])
    hard = matched_sets(largest, features(), n=20, on_attribution=True)
    assert hard.table["overlap"].mean() > 0 or not hard.table["matched"].all()


def test_what_does_not_fit_is_refused() -> None:
    effect = additive()
    with pytest.raises(UserError, match="nodes of the effect"):
        faithfulness(effect, [frozenset({Node(9, "mlp")})])
    with pytest.raises(UserError, match="at least one node"):
        judge_circuit(effect, frozenset())
    with pytest.raises(UserError, match="score of each"):
        circuit_curve(effect, {A: 1.0}, "signed")
    with pytest.raises(UserError, match="from 0 to 1"):
        circuit_curve(effect, dict.fromkeys(NODES, 1.0), "signed", shares=(0.5, 1))
    with pytest.raises(UserError, match="outside the circuit"):
        matched_sets(frozenset(NODES[:20]), features(), n=2)
    with pytest.raises(UserError, match="at least 2 scenarios"):
        CircuitEffect(NODES, effect.evaluate, np.zeros(1))
