"""The circuit of either effect: nodes ranked by attribution, the smallest set chosen, both on validation scenarios."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from emolib.base.errors import UserError
from emolib.circuits.attribution import attribute
from emolib.circuits.circuit_search import FoundCircuit, find_circuit
from emolib.circuits.circuit_sizes import circuit_curve, ranked_nodes
from emolib.circuits.contrasts import context_contrasts, steer_contrasts
from emolib.circuits.effect_rows import context_effect_rows, steer_effect_rows
from emolib.circuits.faithfulness import MEASURED, CircuitEffect
from emolib.circuits.kept_nodes import EffectRow, circuit_effect
from emolib.circuits.nodes import Node, NodeSet, all_nodes
from emolib.circuits.screening import Head
from emolib.interventions import Steer
from emolib.study.phase3_vectors import fitting
from emolib.study.phase6a_screening.contrast_design import cut, digest_of, pool_of
from emolib.study.phase8_circuits.reading_weights import kept_table
from emolib.study.run import Run, kept

CONTEXT, STEER = "context", "steer"  # (A) and (B)
Which = Literal["context", "steer"]
SIGN_RULE: Literal["signed"] = "signed"
SIZES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)  # shares of the nodes
NODE = ["layer", "kind", "index"]


@kept
def effects(run: Run) -> tuple[Which, ...]:
    """Those that can be looked at: a single emotion has no S, and contexts must not share wording with what follows.

    Raises:
        UserError: neither can.
    """
    wanted: tuple[Which, ...] = (CONTEXT, STEER) if len(run.emotions) > 1 else (CONTEXT,)
    counts = {"validation": min(run.params.n_chosen, run.params.n_attributed), "test": run.params.n_judged}
    found = tuple(
        which
        for which in wanted
        if all(units(run, which, split, count)["scenario"].nunique() > 1 for split, count in counts.items())
    )
    if not found:
        raise UserError(
            "expected at least two validation and two test scenarios with a context that shares no wording with their "
            "texts, or two emotions, got neither; give more scenarios, or run the other phases alone (--phase)"
        )
    return found


@kept
def steers(run: Run) -> dict[str, Steer]:
    """The steers of (B), as far as they go into it: one layer, one strength."""
    params = run.params
    vecs = fitting.vectors(run, params.vector_position, style=params.vector_style)
    layer = run.lm.n_layers // 2 if params.steer_layer is None else params.steer_layer
    return {name: Steer(layer, vecs[name][layer], params.steer_alpha, unit="bulk") for name in run.emotions}


def steer_layer(run: Run) -> int:
    """Whose input (B)'s steers change."""
    return next(iter(steers(run).values())).layer


def scenarios(run: Run, split: str, count: int) -> list[str]:
    """So many scenarios of a split that have every label, or as many as there are, in the profile's order."""
    texts = run.texts(split, count=min(count, len(pool_of(run, split))))
    return [str(name) for name in dict.fromkeys(texts["scenario"])]


@kept
def units(run: Run, which: Which, split: str, count: int) -> pd.DataFrame:
    """Contrasts of so many scenarios: every emotion (or pair of emotions) in each, or one in each, in turn."""
    given = {"neutral": run.params.neutral, "seed": run.params.seed}
    if which == CONTEXT:
        chosen, pool = scenarios(run, split, count), pool_of(run, split)
        table = context_contrasts(run.data, run.emotions, chosen, pool=pool, **given)
    else:
        chosen, pool = scenarios(run, split, count), pool_of(run, "validation")
        table = steer_contrasts(run.data, run.emotions, chosen, pool=pool, **given)
    table = cut(run, table)
    if run.params.emotions == "all":
        return table
    labels = list(zip(table["emotion"], table["other"], strict=True))
    order, names = list(dict.fromkeys(labels)), list(dict.fromkeys(table["scenario"]))
    turn = {name: order[place % len(order)] for place, name in enumerate(names)}
    here = [turn[name] == label for name, label in zip(table["scenario"], labels, strict=True)]
    return table[here].reset_index(drop=True)


@kept
def nodes(run: Run, which: Which) -> tuple[Node, ...]:
    """Heads and MLPs that may be held: all, or those that a steer can reach."""
    return all_nodes(run.lm) if which == CONTEXT else all_nodes(run.lm, steer_layer(run))


def effect_rows(run: Run, which: Which, table: pd.DataFrame, source: Literal["resample", "own"]) -> list[EffectRow]:
    return context_effect_rows(table, source) if which == CONTEXT else steer_effect_rows(table, steers(run), source)


@kept
def effect(run: Run, which: Which, split: str, ablation: str = "resample") -> CircuitEffect:
    """What evaluates sets of nodes, on the scenarios that a circuit is chosen (validation) or judged on (test).

    Args:
        ablation: `resample` and `own` (see `emolib.circuits.effect_rows`), `mean` over the resampled runs, or `zero`.
    """
    count = run.params.n_chosen if split == "validation" else run.params.n_judged
    rows = effect_rows(run, which, units(run, which, split, count), "own" if ablation == "own" else "resample")
    held = ablation if ablation in ("mean", "zero") else "source"
    return circuit_effect(run.lm, rows, nodes(run, which), ablation=held)  # type: ignore[arg-type]


def matched(run: Run, which: Which, *splits: str) -> dict[str, Any]:
    """What numbers on an effect are made from."""
    params = run.params
    counts = {"validation": params.n_chosen, "test": params.n_judged}
    found: dict[str, Any] = {split: digest_of(units(run, which, split, counts[split])) for split in splits}
    found |= {"ranking": digest_of(units(run, which, "validation", params.n_attributed)), "steps": params.steps}
    if which == STEER:
        found["acts"] = [act.fingerprint() for act in steers(run).values()]
    return found


# the ranking


@kept
def attributions(run: Run, which: Which) -> pd.DataFrame:
    """What every node carries of the effect by attribution, per validation scenario: scenario, layer, kind, index,
    carried (nat per token; above 0: without the node the effect is smaller).

    Heads by gradients integrated along the way (`steps` points; 0: to first order), MLPs to first order; the ablation
    that is estimated puts a node to what it is without the context, or under the other emotion's steer.
    """

    def compute() -> pd.DataFrame:
        table, params = units(run, which, "validation", run.params.n_attributed), run.params
        methods = ("first_order", *(("integrated",) if params.steps else ()))
        acts = steers(run) if which == STEER else None
        given = {"acts": acts, "kind": "context", "steps": max(params.steps, 1)}
        found = attribute(run.lm, table, methods, **given)
        heads = found.heads["integrated" if params.steps else "atp"]
        members = nodes(run, which)
        values = [
            -(heads[:, node.layer, node.index] if node.kind == "head" else found.mlps[:, node.layer])
            for node in members
        ]
        by_unit = pd.DataFrame(np.stack(values, 1)).groupby(table["scenario"].to_numpy(), sort=False).mean()
        names, each = by_unit.index.to_numpy(), by_unit.to_numpy()
        return pd.DataFrame(
            {
                "scenario": np.tile(names, len(members)),
                **{name: np.repeat([getattr(node, name) for node in members], len(names)) for name in NODE},
                "carried": each.T.ravel(),
            }
        )

    return kept_table(run, f"attributions_{which}", matched(run, which), compute)


@kept
def score_matrix(run: Run, which: Which) -> np.ndarray:
    """`[scenario, node]`, in the order of `nodes`."""
    table = attributions(run, which)
    return table["carried"].to_numpy().reshape(len(nodes(run, which)), -1).T


def scores(run: Run, which: Which) -> dict[Node, float]:
    """Every node's mean over scenarios."""
    return dict(zip(nodes(run, which), score_matrix(run, which).mean(0).tolist(), strict=True))


# the choice


@dataclass(frozen=True)
class Choice:
    """What was chosen for an effect; `found` is None where the effect is not measurable on validation."""

    which: Which
    found: FoundCircuit | None

    @property
    def nodes(self) -> NodeSet:
        return frozenset() if self.found is None else self.found.nodes


@kept
def choice(run: Run, which: Which) -> Choice:
    """The smallest set that reaches the wanted faithfulness on validation; stored, then read back."""
    params = run.params
    limits = {"least": params.least, "most_nodes": params.most_nodes}

    def compute() -> pd.DataFrame:
        own, by_node = effect(run, which, "validation"), scores(run, which)
        found = None
        if own.code == MEASURED:
            curve = circuit_curve(own, by_node, SIGN_RULE, shares=SIZES, n_resamples=50, seed=params.seed)
            found = find_circuit(own, curve, ranked_nodes(by_node, SIGN_RULE), **limits)
        told = {
            "effect": which,
            "reached": bool(found and found.reached),
            "faithfulness": found.share if found else np.nan,
        }
        members = sorted(found.nodes) if found else []
        rows = [{**told, **{name: getattr(n, name) for name in NODE}, "score": by_node[n]} for n in members]
        return pd.DataFrame(rows, columns=["effect", "reached", "faithfulness", *NODE, "score"])

    table = kept_table(run, f"circuit_{which}", {**matched(run, which, "validation"), **limits}, compute)
    if table.empty:
        return Choice(which, None)
    members = frozenset(Node(int(a), kind, int(b)) for a, kind, b in table[NODE].itertuples(index=False, name=None))
    first = table.iloc[0]
    return Choice(which, FoundCircuit(members, bool(first["reached"]), float(first["faithfulness"]), len(members)))


def circuit_heads(run: Run) -> tuple[Head, ...]:
    """The heads of all circuits, each once."""
    found = [node for which in effects(run) for node in sorted(choice(run, which).nodes) if node.kind == "head"]
    return tuple(dict.fromkeys((node.layer, node.index) for node in found))
