"""The smallest circuit along a ranking that explains enough, found with few evaluations; to be judged on other texts.

The curve over sizes says between which two the wanted faithfulness is reached; halving finds the size between them.
Then every node is left out once, and of those in the order of what they cost (least first) so many are taken out
together as leave enough. `circuit_sizes.smallest_circuit` takes out one at a time, which costs the square of the size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from emolib.base import arguments
from emolib.circuits.circuit_sizes import CircuitCurve
from emolib.circuits.faithfulness import MEASURED, CircuitEffect
from emolib.circuits.nodes import Node, NodeSet


@dataclass(frozen=True)
class FoundCircuit:
    """A circuit as the search leaves it.

    Attributes:
        nodes: the set.
        reached: whether it explains as much as was wanted; if not, it is the best prefix of the ranking allowed.
        share: its faithfulness on the texts that it was chosen on.
        n_ranked: nodes of the prefix before those that are not needed were taken out.
    """

    nodes: NodeSet
    reached: bool
    share: float
    n_ranked: int


def find_circuit(
    effect: CircuitEffect, curve: CircuitCurve, order: list[Node], *, least: float = 0.8, most_nodes: int = 16
) -> FoundCircuit | None:
    """The smallest circuit of at most `most_nodes` nodes with a faithfulness of at least `least`.

    Args:
        effect: on the texts that the circuit is chosen on.
        curve: of that effect.
        order: the ranking that the curve is of.

    Returns:
        The circuit; None where the effect is not measurable.

    Raises:
        UserError: a limit that is not above 0.

    >>> from emolib.circuits.circuit_sizes import circuit_curve, ranked_nodes
    >>> nodes = tuple(Node(0, "head", i) for i in range(8))
    >>> worth = dict(zip(nodes, (0.5, 0.0, 0.4, 0.1, 0.0, 0.0, 0.0, 0.0), strict=True))
    >>> spread = np.array([1.0, 1.1, 0.9])
    >>> of = lambda sets: np.array([sum(map(worth.get, kept)) * spread for kept in sets])
    >>> effect = CircuitEffect(nodes, of, spread * 0)
    >>> rank = {node: 1.0 - i / 8 for i, node in enumerate(nodes)}
    >>> curve = circuit_curve(effect, rank, "signed", shares=(0, 0.25, 0.5, 1))
    >>> [node.index for node in sorted(find_circuit(effect, curve, ranked_nodes(rank, "signed")).nodes)]
    [0, 2]
    """
    least = arguments.number("least", least, above=0)
    most = arguments.whole_number("most_nodes", most_nodes, least=1)
    if effect.code != MEASURED:
        return None

    def share(kept: NodeSet) -> float:
        return float(effect.gained([kept]).mean() / effect.whole.mean())

    known = dict(zip(curve.table["size"].astype(int), curve.table["faithfulness"], strict=True))
    size = _smallest_size(known, lambda n: share(frozenset(order[:n])), least, most)
    if size is None:
        tried = {n: value for n, value in known.items() if 0 < n <= most}
        tried |= {most: share(frozenset(order[:most]))}
        best = max(tried, key=lambda n: (tried[n], -n))
        return FoundCircuit(frozenset(order[:best]), False, tried[best], best)
    pruned = _pruned(effect, order[:size], least)
    return FoundCircuit(pruned, True, share(pruned), size)


def _smallest_size(known: dict[int, float], share: object, least: float, most: int) -> int | None:
    """By halving between the sizes of the curve; None where nothing up to `most` reaches it."""
    assert callable(share)
    enough = [n for n, value in sorted(known.items()) if n and value >= least]
    high = min(enough[0], most) if enough else most
    low = max((n for n in known if n < high), default=0)
    if high not in known and share(high) < least:
        return None
    if high in known and known[high] < least:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if share(middle) >= least else (middle, high)
    return high


def _pruned(effect: CircuitEffect, members: list[Node], least: float) -> NodeSet:
    """Without the nodes that cost least, as many of them as leave enough."""
    whole = frozenset(members)
    if len(members) < 2:
        return whole
    total = effect.whole.mean()
    without = effect.gained([whole - {node} for node in members]).mean(1) / total
    order = [members[place] for place in np.argsort(-without, kind="stable")]
    low, high = 0, len(order)  # so many may go; so many may not
    while high - low > 1:
        middle = (low + high) // 2
        left = float(effect.gained([whole - set(order[:middle])]).mean() / total)
        low, high = (middle, high) if left >= least else (low, middle)
    return whole - set(order[:low])
