"""Circuits of growing size by a ranking of nodes: the curve of faithfulness, CPR and CMD, and the smallest that does.

CPR is the area under f over the share of nodes kept, from none to all; CMD is the area between f and 1 (MIB, Mueller et
al. 2025; both by the trapezoid rule). CPR alone rewards a circuit that does more than the model; CMD punishes that. The
sign rule decides which nodes count as important: `signed` takes the largest scores first (a node that works against the
effect comes last), `absolute` the largest sizes. Published figures move by a factor of two between them, so it is part
of every result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Float

from emolib.base import arguments
from emolib.base.errors import UserError
from emolib.circuits.faithfulness import MEASURED, CircuitEffect, faithfulness
from emolib.circuits.nodes import Node, NodeSet
from emolib.statistics.intervals import resampling_weights

SignRule = Literal["signed", "absolute"]
SHARES = (0.0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)  # MIB's, and none


@dataclass(frozen=True)
class CircuitCurve:
    """Faithfulness over sizes under one ranking.

    Attributes:
        rule: how the ranking was made.
        table: size, share, gained, whole, faithfulness, low, high, code.
        areas: one row each for `cpr` and `cmd`: value, low, high (scenarios resampled, percentiles), code.
        circuits: the sets, in the table's order.
    """

    rule: SignRule
    table: pd.DataFrame
    areas: pd.DataFrame
    circuits: tuple[NodeSet, ...]


def ranked_nodes(scores: Mapping[Node, float], rule: SignRule) -> list[Node]:
    """The nodes by falling importance, ties by their place in the model.

    Raises:
        UserError: an unknown rule, or scores that are not finite.

    >>> a, b, c = (Node(0, "head", i) for i in range(3))
    >>> scores = {a: 1.0, b: -3.0, c: 2.0}
    >>> [[node.index for node in ranked_nodes(scores, rule)] for rule in ("signed", "absolute")]
    [[2, 0, 1], [1, 2, 0]]
    """
    arguments.one_of("rule", rule, ("signed", "absolute"))
    if not np.isfinite(list(scores.values())).all():
        raise UserError("expected finite scores of nodes")
    return sorted(scores, key=lambda node: (-(abs(scores[node]) if rule == "absolute" else scores[node]), node))


def circuit_curve(
    effect: CircuitEffect,
    scores: Mapping[Node, float],
    rule: SignRule,
    *,
    shares: Sequence[float] = SHARES,
    n_resamples: int = 1000,
    seed: int = 0,
) -> CircuitCurve:
    """The curve over sizes: the best nodes by rank, rounded up to whole nodes, shares of equal size once.

    Raises:
        UserError: scores of other nodes than the effect's, shares outside 0 to 1 or without both ends.
    """
    if set(scores) != set(effect.nodes):
        raise UserError(f"expected a score of each of the effect's {len(effect.nodes)} nodes, got {len(scores)}")
    wanted = sorted(set(arguments.finite_numbers("shares", shares)))
    if not wanted or wanted[0] != 0 or wanted[-1] != 1:
        raise UserError(f"expected shares from 0 to 1 with both ends, got {wanted}")
    order = ranked_nodes(scores, rule)
    sizes = sorted({int(np.ceil(share * len(order))) for share in wanted})
    circuits = tuple(frozenset(order[:size]) for size in sizes)
    gained = effect.gained(circuits)
    table = faithfulness(effect, circuits, gained)
    table.insert(1, "share", np.array(sizes) / len(order))
    areas = curve_areas(table["share"].to_numpy(), gained, effect.whole, n_resamples=n_resamples, seed=seed)
    return CircuitCurve(rule, table, areas.assign(code=effect.code), circuits)


def curve_areas(
    shares: Float[np.ndarray, " size"],
    gained: Float[np.ndarray, "size scenario"],
    whole: Float[np.ndarray, " scenario"],
    *,
    n_resamples: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """CPR and CMD with percentile intervals over resampled scenarios.

    A resample whose whole effect has not the sign of the sample's says nothing of the ratio; where that happens in more
    than 2.5 % of resamples no interval is given.

    >>> import numpy as np
    >>> areas = curve_areas(np.array([0.0, 0.5, 1.0]), np.array([[0.0] * 3, [2.0] * 3, [1.0] * 3]), np.ones(3))
    >>> areas["value"].tolist()  # twice the model's effect at half the nodes: a high CPR, and a high CMD
    [1.25, 0.75]
    """
    weights = np.vstack([np.ones(len(whole)), resampling_weights(len(whole), n_resamples, seed)])
    below = weights @ whole
    with np.errstate(divide="ignore", invalid="ignore"):
        curves = (weights @ gained.T) / below[:, None]
    areas = np.stack([np.trapezoid(curves, shares, axis=1), np.trapezoid(np.abs(1 - curves), shares, axis=1)])
    usable = np.sign(below[1:]) == np.sign(below[0])
    ends = np.full((2, 2), np.nan)
    if usable.mean() > 0.975:
        ends = np.quantile(areas[:, 1:][:, usable], [0.025, 0.975], axis=1)
    return pd.DataFrame({"measure": ["cpr", "cmd"], "value": areas[:, 0], "low": ends[0], "high": ends[1]})


def smallest_circuit(curve: CircuitCurve, effect: CircuitEffect, *, least: float = 0.8) -> NodeSet | None:
    """The smallest circuit of a curve with f ≥ `least`, less the nodes that it does not need: as long as f stays there,
    the node that costs least is taken out. To be chosen on validation and judged on test.

    Returns:
        The circuit; None where the effect is not measurable or no size reaches it.
    """
    least = arguments.number("least", least, above=0)
    reached = curve.table["faithfulness"] >= least
    if effect.code != MEASURED or not reached.any():
        return None
    circuit = curve.circuits[int(reached.to_numpy().argmax())]
    while len(circuit) > 1:
        members = sorted(circuit)
        found = faithfulness(effect, [circuit - {node} for node in members])["faithfulness"].to_numpy()
        best = int(found.argmax())
        if found[best] < least:
            break
        circuit = circuit - {members[best]}
    return circuit
