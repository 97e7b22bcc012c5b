"""Random sets of nodes like a circuit: in size, kind, layer and norm, or in summed attribution as well.

A circuit that explains much is no finding while sets that merely look like it do so too. Every node of the circuit gets
a stand-in of its kind among those nearest in layer and log norm. Sets matched on summed |attribution| cannot be had
without overlap where the circuit holds the largest nodes: there they may hold nodes of the circuit, and how many is
told.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float

from emolib.base import arguments
from emolib.base.errors import UserError
from emolib.circuits.faithfulness import MEASURED, CircuitEffect
from emolib.circuits.nodes import Node, NodeSet
from emolib.statistics.intervals import rank_p

POOL = 8  # stand-ins among which one is drawn
MOST_SWAPS = 400
TOLERANCE = 0.1  # of the circuit's summed attribution


@dataclass(frozen=True)
class MatchedSets:
    """Random sets, and how like the circuit they are.

    Attributes:
        table: one row per set: layers (mean distance), norms (mean |log ratio|), overlap (share of the circuit's nodes
            in it), attribution (its summed |score| over the circuit's), matched (within 10 %, where that was asked
            for).
    """

    sets: tuple[NodeSet, ...]
    table: pd.DataFrame


def matched_sets(
    circuit: NodeSet,
    features: pd.DataFrame,
    *,
    n: int = 100,
    on_attribution: bool = False,
    seed: int = 0,
) -> MatchedSets:
    """`n` random sets of the circuit's size and kinds of nodes.

    Args:
        features: index nodes (all that may be drawn, the circuit's too); columns norm (above 0, of what a node writes)
            and score (its attribution).
        on_attribution: go on swapping nodes until the summed |score| is within 10 % of the circuit's.

    Raises:
        UserError: nodes without features, or not enough nodes of a kind outside the circuit.

    >>> nodes = [Node(layer, "head", head) for layer in range(3) for head in range(4)]
    >>> features = pd.DataFrame({"norm": 1.0, "score": range(12)}, index=nodes)
    >>> found = matched_sets(frozenset(nodes[:2]), features, n=5)
    >>> {len(one) for one in found.sets}, float(found.table["overlap"].max())
    ({2}, 0.0)
    """
    n = arguments.whole_number("n", n, least=1)
    members = sorted(circuit)
    missing = [node.name for node in members if node not in features.index]
    if missing or not members or not (features["norm"] > 0).all():
        raise UserError(f"expected a norm above 0 and a score of every node of the circuit, missing: {missing}")
    for kind in {node.kind for node in members}:
        wanted = sum(node.kind == kind for node in members)
        outside = sum(node.kind == kind and node not in circuit for node in features.index)
        if outside < wanted:
            raise UserError(
                f"expected at least {wanted} nodes of kind {kind} outside the circuit to stand in for its own, there "
                f"are {outside}: a circuit of this size has no random sets beside it"
            )
    rng = np.random.default_rng(seed)
    search = _Search(members, features)
    sets = []
    for _ in range(n):
        chosen = search.draw(rng)
        sets.append(search.balanced(chosen, rng) if on_attribution else chosen)
    rows = [search.likeness(chosen) | {"matched": None} for chosen in sets]
    table = pd.DataFrame(rows)
    table["matched"] = (table["attribution"] - 1).abs() <= TOLERANCE if on_attribution else True
    return MatchedSets(tuple(frozenset(chosen) for chosen in sets), table)


class _Search:
    """Draws stand-ins; a drawn set has the order of the circuit's nodes."""

    def __init__(self, members: Sequence[Node], features: pd.DataFrame) -> None:
        self.members = list(members)
        self.nodes = list(features.index)
        self.norm = dict(zip(self.nodes, np.log(features["norm"].to_numpy(float)), strict=True))
        self.score = dict(zip(self.nodes, np.abs(features["score"].to_numpy(float)), strict=True))
        self.target = sum(self.score[node] for node in self.members)
        spread = float(np.std(list(self.norm.values()))) or 1.0
        self.order = {member: self._nearest(member, spread) for member in self.members}

    def _nearest(self, member: Node, spread: float) -> list[Node]:
        """Nodes of its kind, from the nearest in layer and norm on."""

        def far(node: Node) -> tuple[float, Node]:
            return abs(node.layer - member.layer) + abs(self.norm[node] - self.norm[member]) / spread, node

        return sorted((node for node in self.nodes if node.kind == member.kind), key=far)

    def draw(self, rng: np.random.Generator) -> list[Node]:
        """A stand-in outside the circuit for every node, no node twice."""
        circuit, used = set(self.members), set[Node]()
        found: dict[Node, Node] = {}
        for place in rng.permutation(len(self.members)):
            member = self.members[place]
            free = [node for node in self.order[member] if node not in circuit and node not in used][:POOL]
            found[member] = free[int(rng.integers(len(free)))]
            used.add(found[member])
        return [found[member] for member in self.members]

    def balanced(self, chosen: list[Node], rng: np.random.Generator) -> list[Node]:
        """Stand-ins exchanged, as near as possible in layer and norm, while that brings the summed score nearer."""
        total = sum(self.score[node] for node in chosen)
        for _ in range(MOST_SWAPS):
            if abs(total - self.target) <= TOLERANCE * self.target / 2:
                break
            place = int(rng.integers(len(chosen)))
            pool = self.order[self.members[place]]
            reach = min(len(pool), POOL * (1 + int(rng.integers(4))))
            other = pool[int(rng.integers(reach))]
            changed = total - self.score[chosen[place]] + self.score[other]
            if other not in chosen and abs(changed - self.target) < abs(total - self.target):
                chosen = [*chosen[:place], other, *chosen[place + 1 :]]
                total = changed
        return chosen

    def likeness(self, chosen: Sequence[Node]) -> dict[str, float | None]:
        pairs = list(zip(self.members, chosen, strict=True))
        total = sum(self.score[node] for node in chosen)
        return {
            "layers": float(np.mean([abs(a.layer - b.layer) for a, b in pairs])),
            "norms": float(np.mean([abs(self.norm[a] - self.norm[b]) for a, b in pairs])),
            "overlap": len(set(chosen) & set(self.members)) / len(pairs),
            "attribution": total / self.target if self.target else float("nan"),
        }


def beyond_random(
    effect: CircuitEffect, circuit: NodeSet, drawn: MatchedSets
) -> tuple[dict[str, float | int | str], Float[np.ndarray, " set"]]:
    """The circuit's faithfulness against that of random sets.

    Returns:
        faithfulness, random (mean), random_high (95th percentile), p (rank, one-sided: sets as faithful or more), n,
        code, overlap (mean); and every set's faithfulness. NaN where the effect is not measurable.
    """
    gained = effect.gained([circuit, *drawn.sets])
    measured = effect.code == MEASURED
    shares = gained.mean(1) / effect.whole.mean() if measured else np.full(len(gained), np.nan)
    return (
        {
            "faithfulness": float(shares[0]),
            "random": float(shares[1:].mean()),
            "random_high": float(np.quantile(shares[1:], 0.95)),
            "p": rank_p(float(shares[0]), shares[1:]) if measured else float("nan"),
            "n": len(drawn.sets),
            "overlap": float(drawn.table["overlap"].mean()),
            "code": effect.code,
        },
        shares[1:],
    )
