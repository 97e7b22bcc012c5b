"""Edges of a circuit by path patching, and the role of each node by a stated rule.

With every node held but a and b, a's change reaches the output by the residual path and through b alone. So

    edge(a → b) = f({a, b}) − f({a}) − f({b}) + f(∅)

is what goes from a through b, in shares of the whole effect, and direct(a) = f({a}) − f(∅) what a does with all later
heads and MLPs frozen. Chains of three and more are not seen.

Roles compare, of each node, what comes from earlier nodes (in), goes through later ones (out) and goes straight to the
output (direct), each at least 0: it *receives* where in > direct, and *passes on* where out > direct + in.

| receives | passes on | role |
|---|---|---|
| no | yes | `write`: brings the emotion in for others to read |
| yes | yes | `pass`: carries it on |
| yes | no | `read`: reads what others wrote and acts on the output |
| no | no | `act`: acts on the output by itself |

A node whose leaving out costs nothing (the interval of its loss covers 0) is `open`.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from emolib.base.errors import UserError
from emolib.circuits.faithfulness import CircuitEffect
from emolib.circuits.nodes import Node, NodeSet

WRITE, PASS, READ, ACT, OPEN = "write", "pass", "read", "act", "open"
ROLES = (WRITE, PASS, READ, ACT, OPEN)


def circuit_edges(effect: CircuitEffect, circuit: NodeSet) -> pd.DataFrame:
    """Direct effects and edges between the nodes of a circuit.

    Returns:
        sender, receiver (names; receiver empty: direct), sender_layer, receiver_layer (-1), carried (share of the whole
        effect) with low, high (Fieller; NaN where not measurable).

    Raises:
        UserError: an empty circuit.

    >>> nodes = (Node(0, "head", 0), Node(1, "mlp"))
    >>> spread = np.array([1.0, 1.1, 0.9])
    >>> both = frozenset(nodes)
    >>> effect = CircuitEffect(nodes, lambda sets: np.array([(s == both) * spread for s in sets]), spread * 0)
    >>> table = circuit_edges(effect, both)
    >>> table[["sender", "receiver", "carried"]].values.tolist()
    [['h0.0', '', 0.0], ['m1', '', 0.0], ['h0.0', 'm1', 1.0]]
    """
    if not circuit:
        raise UserError("expected a circuit of at least one node, got none")
    members = sorted(circuit, key=_place)
    pairs = [pair for pair in combinations(members, 2) if _reaches(*pair)]
    sets = [frozenset[Node](), *(frozenset({node}) for node in members), *(frozenset(pair) for pair in pairs)]
    gained = effect.gained(sets)
    nothing, alone = gained[0], dict(zip(members, gained[1 : 1 + len(members)], strict=True))
    rows: list[dict[str, Any]] = [_row(effect, node, None, alone[node] - nothing) for node in members]
    for (a, b), both in zip(pairs, gained[1 + len(members) :], strict=True):
        rows.append(_row(effect, a, b, both - alone[a] - alone[b] + nothing))
    return pd.DataFrame(rows)


def _place(node: Node) -> tuple[int, bool, int]:
    return node.layer, node.kind != "head", node.index


def _reaches(sender: Node, receiver: Node) -> bool:
    """Whether the one comes before the other; an MLP reads its own layer's heads, save where a block runs both at once,
    where the edge is then 0."""
    if sender.layer == receiver.layer:
        return sender.kind == "head" and receiver.kind != "head"
    return sender.layer < receiver.layer


def _row(effect: CircuitEffect, sender: Node, receiver: Node | None, gained: np.ndarray) -> dict[str, Any]:
    ratio = effect.share(gained)
    told = {"sender": sender.name, "receiver": "" if receiver is None else receiver.name}
    told |= {"sender_layer": sender.layer, "receiver_layer": -1 if receiver is None else receiver.layer}  # type: ignore[dict-item]
    return {**told, "carried": ratio.value, "low": ratio.low, "high": ratio.high}


def node_roles(edges: pd.DataFrame, losses: Mapping[str, tuple[float, float, float]]) -> pd.DataFrame:
    """The role of every node of a circuit, see the module.

    Args:
        edges: as `circuit_edges` gives them.
        losses: node → what leaving it out costs, and the ends of its interval.

    Returns:
        node, direct, received, sent (shares of the whole effect), loss, low, high, role.

    >>> edges = pd.DataFrame({"sender": ["h0.0", "m1", "h0.0"], "receiver": ["", "", "m1"], "carried": [0.0, 0.1, 0.9]})
    >>> node_roles(edges, {"h0.0": (1.0, 0.8, 1.2), "m1": (0.9, 0.8, 1.0)})["role"].tolist()
    ['write', 'read']
    """
    rows = []
    for name in edges.loc[edges["receiver"] == "", "sender"]:
        between = edges[edges["receiver"] != ""]
        direct = float(edges.loc[(edges["sender"] == name) & (edges["receiver"] == ""), "carried"].iloc[0])
        received = float(between.loc[between["receiver"] == name, "carried"].sum())
        sent = float(between.loc[between["sender"] == name, "carried"].sum())
        loss, low, high = losses[name]
        role = _role(direct, received, sent) if low > 0 else OPEN
        told = {"node": name, "direct": direct, "received": received, "sent": sent}
        rows.append({**told, "loss": loss, "low": low, "high": high, "role": role})
    return pd.DataFrame(rows)


def _role(direct: float, received: float, sent: float) -> str:
    direct, received, sent = (max(value, 0.0) for value in (direct, received, sent))
    receives, passes = received > direct, sent > direct + received
    if receives:
        return PASS if passes else READ
    return WRITE if passes else ACT
