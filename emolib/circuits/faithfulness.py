"""How much of an effect a set of heads and MLPs explains: faithfulness, completeness, minimality.

m is what the effect is measured by, per scenario. With the context or the steer on, and all nodes outside C held at
their values without it (or at a resampled run's, or a mean):

- **faithfulness** f(C) = [m(C) − m(without)] / [m(all) − m(without)];
- **completeness**: the share that goes when C alone is held, [m(all) − m(all∖C)] / [m(all) − m(without)]; and, for
  subsets K of C, the gap f(C∖K) − f(all∖K) (Wang et al. 2022), which is 0 where C holds all that matters beside K;
- **minimality**: for each node, f(C) − f(C∖node);
- **residual path**: f(∅), what reaches m with every node held, by the residual stream alone.

All are ratios of means over scenarios that share their denominator, with Fieller's interval. Where the denominator's
own interval covers 0 nothing is measured, and the code says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from jaxtyping import Float

from emolib.base import arguments
from emolib.base.errors import UserError
from emolib.circuits.nodes import Evaluate, Node, NodeSet
from emolib.statistics.ratios import Ratio, fieller

MEASURED, NOT_MEASURABLE = "measured", "not_measurable"


@dataclass(frozen=True)
class CircuitEffect:
    """An effect, and what evaluates it with only some nodes left free.

    Attributes:
        nodes: all nodes that may be held; those before a steer need not be among them.
        evaluate: kept sets → m `[set, scenario]`.
        without: m without the context or steer, `[scenario]`.
    """

    nodes: tuple[Node, ...]
    evaluate: Evaluate
    without: Float[np.ndarray, " scenario"]

    def __post_init__(self) -> None:
        if len(self.without) < 2 or not np.isfinite(self.without).all():
            raise UserError(f"expected m without the effect for at least 2 scenarios, finite, got {self.without.shape}")

    @cached_property
    def whole(self) -> Float[np.ndarray, " scenario"]:
        """m(all) − m(without)."""
        return self._values([frozenset(self.nodes)])[0] - self.without

    def gained(self, sets: Sequence[NodeSet]) -> Float[np.ndarray, "set scenario"]:
        """m(C) − m(without) of every set."""
        if not len(sets):
            return np.zeros((0, len(self.without)))
        return self._values(sets) - self.without

    def share(self, gained: Float[np.ndarray, " scenario"]) -> Ratio:
        """The mean of something over the mean whole effect."""
        n = len(gained)
        covariance = np.cov(gained, self.whole) / n
        return fieller(
            float(gained.mean()),
            float(self.whole.mean()),
            var_x=float(covariance[0, 0]),
            var_y=float(covariance[1, 1]),
            covariance=float(covariance[0, 1]),
            df=n - 1,
        )

    @property
    def code(self) -> str:
        """`not_measurable` where the interval of the whole effect covers 0."""
        return MEASURED if np.isfinite(self.share(self.whole).value) else NOT_MEASURABLE

    def _values(self, sets: Sequence[NodeSet]) -> np.ndarray:
        unknown = set().union(*sets) - set(self.nodes)
        if unknown:
            raise UserError(f"expected nodes of the effect, got {', '.join(node.name for node in sorted(unknown))}")
        found = np.asarray(self.evaluate(list(sets)), dtype=float)
        if found.shape != (len(sets), len(self.without)) or not np.isfinite(found).all():
            raise UserError(
                f"expected m of {len(sets)} sets and {len(self.without)} scenarios, finite, got shape {found.shape}"
            )
        return found


def faithfulness(
    effect: CircuitEffect, sets: Sequence[NodeSet], gained: Float[np.ndarray, "set scenario"] | None = None
) -> pd.DataFrame:
    """f of every set.

    Args:
        gained: what `effect.gained` gives for these sets, where that is known already.

    Returns:
        One row per set: size, gained (mean m(C) − m(without)), whole (the denominator), faithfulness, low, high
        (Fieller, 95 %; NaN where not measurable), code.

    >>> import numpy as np
    >>> nodes = (Node(0, "head", 0), Node(0, "mlp"))
    >>> worth = {nodes[0]: np.array([2.0, 2.2, 1.9]), nodes[1]: np.array([1.0, 1.1, 0.9])}
    >>> def evaluate(sets):
    ...     return np.array([sum((worth[node] for node in kept), np.zeros(3)) for kept in sets])
    >>> effect = CircuitEffect(nodes, evaluate, np.zeros(3))
    >>> faithfulness(effect, [frozenset(nodes[:1])])["faithfulness"].round(2).tolist()
    [0.67]
    """
    found = effect.gained(sets) if gained is None else gained
    return pd.DataFrame([{"size": len(kept)} | _told(effect, row) for kept, row in zip(sets, found, strict=True)])


def _told(effect: CircuitEffect, gained: np.ndarray) -> dict[str, float | str]:
    ratio = effect.share(gained)
    return {
        "gained": float(gained.mean()),
        "whole": float(effect.whole.mean()),
        "faithfulness": ratio.value,
        "low": ratio.low,
        "high": ratio.high,
        "code": effect.code,
    }


@dataclass(frozen=True)
class CircuitJudgement:
    """What a circuit explains.

    Attributes:
        summary: one row per measure (`faithfulness`, `completeness`, `residual_path`): value, low, high, code.
        minimality: one row per node: node, loss (f(C) − f(C∖node)), low, high.
        gaps: one row per subset K of the circuit: size (of K), circuit (f(C∖K)), model (f(all∖K)), gap.
    """

    circuit: NodeSet
    summary: pd.DataFrame
    minimality: pd.DataFrame
    gaps: pd.DataFrame


def judge_circuit(effect: CircuitEffect, circuit: NodeSet, *, n_subsets: int = 20, seed: int = 0) -> CircuitJudgement:
    """Faithfulness, completeness and minimality of one circuit, on the scenarios of `effect`.

    Args:
        n_subsets: random subsets K for the gaps, each with every node of the circuit in it with probability ½.

    Raises:
        UserError: an empty circuit, or nodes that are none of the effect's.
    """
    if not circuit:
        raise UserError("expected a circuit of at least one node, got none")
    n_subsets = arguments.whole_number("n_subsets", n_subsets, least=0)
    members, everything = sorted(circuit), frozenset(effect.nodes)
    rng = np.random.default_rng(seed)
    subsets = [
        frozenset(node for node, taken in zip(members, row, strict=True) if taken)
        for row in rng.random((n_subsets, len(members))) < 0.5
    ]
    sets = [circuit, everything - circuit, frozenset()]
    sets += [circuit - {node} for node in members]
    sets += [kept - subset for subset in subsets for kept in (circuit, everything)]
    gained = effect.gained(sets)
    own, lost = gained[0], effect.whole - gained[1]
    rows = [
        {"measure": name, **_told(effect, row)}
        for name, row in (("faithfulness", own), ("completeness", lost), ("residual_path", gained[2]))
    ]
    summary = pd.DataFrame(rows).rename(columns={"faithfulness": "value"})
    losses = [
        {"node": node.name} | effect.share(own - row)._asdict()
        for node, row in zip(members, gained[3 : 3 + len(members)], strict=True)
    ]
    minimality = pd.DataFrame(losses).rename(columns={"value": "loss"})
    pairs = gained[3 + len(members) :].reshape(n_subsets, 2, len(effect.without))
    gaps = [
        {"size": len(subset), "circuit": effect.share(a).value, "model": effect.share(b).value}
        for subset, (a, b) in zip(subsets, pairs, strict=True)
    ]
    table = pd.DataFrame(gaps, columns=["size", "circuit", "model"])
    return CircuitJudgement(circuit, summary, minimality, table.assign(gap=table["circuit"] - table["model"]))
