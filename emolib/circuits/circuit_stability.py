"""Does a circuit stay when its scenarios are drawn again? How often each node is chosen, the core, and its flips.

A node's claim is that it is among the k largest by mean attribution. The core is chosen on one half of the scenarios
(nodes that are in nearly all resamples of that half); its claims are asked on resamples of the other half, where each
that does not hold is a flip. Nodes that were chosen on the whole half and are not of its core are counted apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float

from emolib.base import arguments
from emolib.base.errors import UserError
from emolib.circuits.nodes import Node
from emolib.statistics.intervals import resampling_weights

CORE = 0.95  # of the resamples of a half that a node of the core is in
N_SPLITS = 20


@dataclass(frozen=True)
class Stability:
    """How a selection of k nodes holds over scenarios.

    Attributes:
        nodes: node → the share of resamples of all scenarios in which it is chosen, of nodes chosen at least once.
        core: the nodes that are in at least `CORE` of them.
        table: a row each for `core` and `rest` (column claims): nodes (mean number per half), flips (share of claims
            that do not hold on the other half; NaN without claims), n_claims.
        n_scenarios, size, n_resamples: what it rests on.
    """

    nodes: dict[Node, float]
    core: frozenset[Node]
    table: pd.DataFrame
    n_scenarios: int
    size: int
    n_resamples: int


def circuit_stability(
    scores: Float[np.ndarray, "scenario node"],
    nodes: tuple[Node, ...],
    size: int,
    *,
    n_resamples: int = 200,
    seed: int = 0,
) -> Stability:
    """Stability of the `size` nodes of largest mean score.

    Args:
        scores: attribution of every node per scenario; above 0: the node carries some of the effect.
        n_resamples: of scenarios, with replacement; as many are spread over the halves.

    Raises:
        UserError: fewer than four scenarios, scores that do not fit the nodes, a size outside 1 to all.

    >>> rng = np.random.default_rng(0)
    >>> nodes = tuple(Node(0, "head", i) for i in range(6))
    >>> scores = np.array([3.0, 2.0, 0.0, 0.0, 0.0, 0.0]) + 0.1 * rng.standard_normal((12, 6))
    >>> found = circuit_stability(scores, nodes, 2)
    >>> sorted(node.index for node in found.core), float(found.table.set_index("claims").loc["core", "flips"])
    ([0, 1], 0.0)
    """
    values = np.asarray(scores, dtype=float)
    n_resamples = arguments.whole_number("n_resamples", n_resamples, least=N_SPLITS)
    if values.ndim != 2 or values.shape[1] != len(nodes) or len(values) < 4 or not np.isfinite(values).all():
        raise UserError(
            f"expected finite scores of {len(nodes)} nodes in at least 4 scenarios, got shape {values.shape}"
        )
    size = arguments.whole_number("size", size, least=1, most=len(nodes))
    shares = _chosen(values, size, n_resamples, seed).mean(0)
    rng, per_split = np.random.default_rng([seed, 8]), n_resamples // N_SPLITS
    counts = {"core": [0, 0, 0], "rest": [0, 0, 0]}  # nodes, flips, claims
    for split in range(N_SPLITS):
        order = rng.permutation(len(values))
        here, there = (values[part] for part in np.array_split(order, 2))
        often = _chosen(here, size, per_split * 2, seed + split).mean(0)
        first = np.argsort(-here.mean(0), kind="stable")[:size]
        holds = _chosen(there, size, per_split, seed + split + 1)
        for name, members in (("core", first[often[first] >= CORE]), ("rest", first[often[first] < CORE])):
            asked = holds[:, members]
            for place, count in enumerate((len(members), int((~asked).sum()), asked.size)):
                counts[name][place] += count
    rows = [
        {"claims": name, "nodes": n / N_SPLITS, "flips": flips / asked if asked else np.nan, "n_claims": asked}
        for name, (n, flips, asked) in counts.items()
    ]
    found = {node: float(share) for node, share in zip(nodes, shares, strict=True) if share > 0}
    core = frozenset(node for node, share in found.items() if share >= CORE)
    return Stability(found, core, pd.DataFrame(rows), len(values), size, n_resamples)


def _chosen(values: np.ndarray, size: int, n_resamples: int, seed: int) -> np.ndarray:
    """`[resample, node]`: whether a node is among the largest."""
    means = resampling_weights(len(values), n_resamples, seed) @ values
    found = np.zeros(means.shape, dtype=bool)
    np.put_along_axis(found, np.argsort(-means, axis=1, kind="stable")[:, :size], True, axis=1)
    return found
