"""The chosen circuits on test scenarios: what they explain, sizes, random sets, stability, edges and roles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from emolib.circuits.circuit_edges import circuit_edges, node_roles
from emolib.circuits.circuit_sizes import SignRule, circuit_curve, ranked_nodes
from emolib.circuits.circuit_stability import Stability, circuit_stability
from emolib.circuits.circuit_verdicts import CircuitNumbers, circuit_verdict
from emolib.circuits.faithfulness import MEASURED, faithfulness, judge_circuit
from emolib.circuits.matched_sets import beyond_random, matched_sets
from emolib.circuits.node_norms import node_norms
from emolib.circuits.nodes import Node, NodeSet
from emolib.study.phase8_circuits.chosen_circuits import (
    SIGN_RULE,
    SIZES,
    Which,
    choice,
    effect,
    effects,
    matched,
    nodes,
    score_matrix,
    scores,
)
from emolib.study.phase8_circuits.reading_weights import kept_table, neutral_texts
from emolib.study.run import Run, kept

RULES: tuple[SignRule, ...] = ("signed", "absolute")
ABLATIONS = ("resample", "own", "mean", "zero")
CIRCUIT, NOTHING = "circuit", "nothing"
LAYER_NORM, ATTRIBUTION = "layer_norm", "attribution"
N_NORM_TEXTS = 16
MOST_OVERLAP = (
    0.5  # with the circuit, mean: sets matched in attribution that share more are the circuit, and tell nothing
)
WHOLE = ["effect", "split", "n", "whole", "low", "high", "code"]
RANDOM = [
    *("effect", "matching", "set", "size", "faithfulness", "random", "random_95", "p", "n", "overlap", "matched"),
    "code",
]


def _of_both(
    run: Run, name: str, of_one: Callable[[Which], pd.DataFrame], columns: list[str], **more: Any
) -> pd.DataFrame:
    """A table of both effects, from that of each; those without a circuit have no rows."""
    made_from = {which: matched(run, which, "validation", "test") for which in effects(run)}
    chosen = {which: sorted(node.name for node in choice(run, which).nodes) for which in effects(run)}

    def compute() -> pd.DataFrame:
        parts = [of_one(which).assign(effect=which) for which in effects(run) if choice(run, which).nodes]
        parts = [part for part in parts if len(part)]
        return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)

    return kept_table(run, name, {"made_from": made_from, "circuits": chosen, **more}, compute)


@kept
def whole_effects(run: Run) -> pd.DataFrame:
    """The effects that circuits are held against, with t intervals over scenarios: `WHOLE`."""

    def compute() -> pd.DataFrame:
        rows = []
        for which in effects(run):
            for split in ("validation", "test"):
                own = effect(run, which, split)
                values, se = own.whole, own.whole.std(ddof=1) / np.sqrt(len(own.whole))
                reach = se * float(_t(len(values) - 1))
                told = {"effect": which, "split": split, "n": len(values), "whole": values.mean()}
                rows.append({**told, "low": values.mean() - reach, "high": values.mean() + reach, "code": own.code})
        return pd.DataFrame(rows)[WHOLE]

    made_from = {which: matched(run, which, "validation", "test") for which in effects(run)}
    return kept_table(run, "effects", {"made_from": made_from}, compute)


def _t(df: int) -> float:
    from scipy import stats

    return float(stats.t.ppf(0.975, df))


@kept
def judged(run: Run) -> pd.DataFrame:
    """Faithfulness, completeness and the residual path on test: effect, measure, value, low, high, whole, code."""

    def of_one(which: Which) -> pd.DataFrame:
        return _judgement(run, which).summary

    columns = ["effect", "measure", "value", "low", "high", "whole", "code"]
    return _of_both(run, "judged", of_one, columns)


@kept
def _judgement(run: Run, which: Which) -> Any:
    own, circuit = effect(run, which, "test"), choice(run, which).nodes
    return judge_circuit(own, circuit, n_subsets=run.params.n_subsets, seed=run.params.seed)


@kept
def minimality(run: Run) -> pd.DataFrame:
    """What leaving out each node costs on test: effect, node, loss, low, high."""
    return _of_both(
        run, "minimality", lambda which: _judgement(run, which).minimality, ["effect", "node", "loss", "low", "high"]
    )


@kept
def gaps(run: Run) -> pd.DataFrame:
    """Completeness over random parts K of the circuit: effect, size, circuit, model, gap."""
    columns = ["effect", "part", "size", "circuit", "model", "gap"]
    count = run.params.n_subsets

    def of_one(which: Which) -> pd.DataFrame:
        table = _judgement(run, which).gaps
        return table.assign(part=range(len(table)))

    return _of_both(run, "gaps", of_one, columns, n_subsets=count)


@kept
def ablations(run: Run) -> pd.DataFrame:
    """Faithfulness of the circuit and of no node at all, by what held nodes are set to: effect, ablation, set,
    faithfulness, low, high, code."""

    def of_one(which: Which) -> pd.DataFrame:
        parts = []
        for ablation in ABLATIONS:
            table = faithfulness(effect(run, which, "test", ablation), [choice(run, which).nodes, frozenset()])
            parts.append(table.assign(ablation=ablation, set=[CIRCUIT, NOTHING]))
        return pd.concat(parts, ignore_index=True)

    columns = ["effect", "ablation", "set", "size", "faithfulness", "low", "high", "code"]
    return _of_both(run, "ablations", of_one, columns)


@kept
def _curves(run: Run, which: Which) -> dict[str, Any]:
    own, by_node = effect(run, which, "test"), scores(run, which)
    return {rule: circuit_curve(own, by_node, rule, shares=SIZES, seed=run.params.seed) for rule in RULES}


@kept
def curves(run: Run) -> pd.DataFrame:
    """Faithfulness on test over sizes, by both sign rules: effect, rule, size, share, faithfulness, low, high, code."""

    def of_one(which: Which) -> pd.DataFrame:
        return pd.concat([one.table.assign(rule=rule) for rule, one in _curves(run, which).items()], ignore_index=True)

    return _of_both(run, "curves", of_one, ["effect", "rule", "size", "share", "faithfulness", "low", "high", "code"])


@kept
def areas(run: Run) -> pd.DataFrame:
    """CPR and CMD on test, by both sign rules: effect, rule, measure, value, low, high, code."""

    def of_one(which: Which) -> pd.DataFrame:
        return pd.concat([one.areas.assign(rule=rule) for rule, one in _curves(run, which).items()], ignore_index=True)

    return _of_both(run, "areas", of_one, ["effect", "rule", "measure", "value", "low", "high", "code"])


# random sets


@kept
def random_sets(run: Run) -> pd.DataFrame:
    """The circuit against random sets on test: `RANDOM`.

    Matched in layer and norm (`n_random` sets of its size), and in summed attribution as well, at half its size, its
    own and twice it (a third of `n_random` each); no rows where too few nodes stand outside it.
    """

    def of_one(which: Which) -> pd.DataFrame:
        own, features = effect(run, which, "test"), _features(run, which)
        rows = []
        for name, circuit in _sizes(run, which).items():
            if not _room(circuit, features.index):
                continue
            for matching in (LAYER_NORM, ATTRIBUTION) if name == CIRCUIT else (ATTRIBUTION,):
                count = run.params.n_random if matching == LAYER_NORM else -(-run.params.n_random // 3)
                by_score = matching == ATTRIBUTION
                drawn = matched_sets(circuit, features, n=count, on_attribution=by_score, seed=run.params.seed)
                told, _ = beyond_random(own, circuit, drawn)
                told["random_95"] = told.pop("random_high")
                share = float(drawn.table["matched"].mean())
                rows.append({**told, "matching": matching, "set": name, "size": len(circuit), "matched": share})
        return pd.DataFrame(rows)

    return _of_both(run, "random_sets", of_one, RANDOM, n_random=run.params.n_random)


def _sizes(run: Run, which: Which) -> dict[str, NodeSet]:
    """The circuit, its better half, and the circuit with as many of the next nodes of the ranking."""
    circuit, by_node = choice(run, which).nodes, scores(run, which)
    order = ranked_nodes(by_node, SIGN_RULE)
    inside = [node for node in order if node in circuit]
    outside = [node for node in order if node not in circuit]
    return {
        "half": frozenset(inside[: -(-len(inside) // 2)]),
        CIRCUIT: circuit,
        "twice": circuit | frozenset(outside[: len(inside)]),
    }


def _room(circuit: NodeSet, every: Any) -> bool:
    """Whether there are as many nodes of each kind outside a set as in it."""
    kinds = {node.kind for node in circuit}
    return all(
        sum(n.kind == kind and n not in circuit for n in every) >= sum(n.kind == kind for n in circuit)
        for kind in kinds
    )


@kept
def _features(run: Run, which: Which) -> pd.DataFrame:
    norms, by_node, members = _norms(run), scores(run, which), list(nodes(run, which))
    columns = {"norm": [max(norms[n], 1e-9) for n in members], "score": [by_node[n] for n in members]}
    return pd.DataFrame(columns, index=pd.Index(members, tupleize_cols=False))


@kept
def _norms(run: Run) -> dict[Node, float]:
    return node_norms(run.lm, neutral_texts(run)[:N_NORM_TEXTS])


# stability, edges, roles


@kept
def _stability(run: Run, which: Which) -> Stability | None:
    values, circuit = score_matrix(run, which), choice(run, which).nodes
    if len(values) < 4 or not circuit:
        return None
    given = {"n_resamples": run.params.n_resamples, "seed": run.params.seed}
    return circuit_stability(values, nodes(run, which), len(circuit), **given)


@kept
def stability(run: Run) -> pd.DataFrame:
    """How many claims of nodes flip on the other half of the scenarios, core and rest apart: effect, claims, nodes,
    flips, n_claims, n_scenarios, size."""

    def of_one(which: Which) -> pd.DataFrame:
        found = _stability(run, which)
        return pd.DataFrame() if found is None else found.table.assign(n_scenarios=found.n_scenarios, size=found.size)

    columns = ["effect", "claims", "nodes", "flips", "n_claims", "n_scenarios", "size"]
    return _of_both(run, "stability", of_one, columns, n_resamples=run.params.n_resamples)


@kept
def edges(run: Run) -> pd.DataFrame:
    """Direct effects and edges between the nodes of each circuit, on test; see `emolib.circuits.circuit_edges`."""
    columns = ["effect", "sender", "receiver", "sender_layer", "receiver_layer", "carried", "low", "high"]
    return _of_both(
        run, "edges", lambda which: circuit_edges(effect(run, which, "test"), choice(run, which).nodes), columns
    )


@kept
def roles(run: Run) -> pd.DataFrame:
    """The role of every node of each circuit: effect, node, kind, layer, index, score, direct, received, sent, loss,
    low, high, role, chosen (share of the resamples in which attribution chooses it), core."""
    columns = [
        *("effect", "node", "kind", "layer", "index", "score", "direct", "received", "sent", "loss", "low", "high"),
        *("role", "chosen", "core"),
    ]
    all_edges, all_losses = edges(run), minimality(run)

    def of_one(which: Which) -> pd.DataFrame:
        lost = all_losses[all_losses["effect"] == which].set_index("node")[["loss", "low", "high"]]
        table = node_roles(all_edges[all_edges["effect"] == which], {n: tuple(row) for n, row in lost.T.items()})
        members, by_node, found = (
            {n.name: n for n in choice(run, which).nodes},
            scores(run, which),
            _stability(run, which),
        )
        often = {} if found is None else found.nodes
        of = [members[name] for name in table["node"]]
        return table.assign(
            kind=[n.kind for n in of],
            layer=[n.layer for n in of],
            index=[n.index for n in of],
            score=[by_node[n] for n in of],
            chosen=[often.get(n, 0.0) for n in of],
            core=[found is not None and n in found.core for n in of],
        )

    return _of_both(run, "roles", of_one, columns, n_resamples=run.params.n_resamples)


# the verdict


@kept
def verdicts(run: Run) -> pd.DataFrame:
    """What may be said of each circuit: effect, size, n_heads, n_mlps, n_nodes, reached, chosen_at, n, value, low,
    high, complete, complete_low, random_95, p, verdict, reason."""
    rows = []
    whole = whole_effects(run).set_index(["effect", "split"])
    for which in effects(run):
        picked, found = choice(run, which), judged(run)
        own = found[found["effect"] == which].set_index("measure")
        sets = random_sets(run)
        sets = sets[(sets["effect"] == which) & (sets["set"] == CIRCUIT)]
        sets = sets[(sets["matching"] == LAYER_NORM) | (sets["overlap"] <= MOST_OVERLAP)]
        measured = bool((whole.loc[which, "code"] == MEASURED).all()) and len(own) > 0
        numbers = CircuitNumbers(
            measured=measured,
            reached=bool(picked.found and picked.found.reached),
            low=_number(own, "faithfulness", "low"),
            high=_number(own, "faithfulness", "high"),
            complete_low=_number(own, "completeness", "low"),
            random_high=float(sets["random_95"].max()) if len(sets) else float("nan"),
            p=float(sets["p"].max()) if len(sets) else float("nan"),
        )
        verdict, reason = circuit_verdict(numbers, least=run.params.least)
        heads = sum(node.kind == "head" for node in picked.nodes)
        rows.append(
            {
                **{"effect": which, "size": len(picked.nodes), "n_heads": heads, "n_mlps": len(picked.nodes) - heads},
                **{"n_nodes": len(nodes(run, which)), "reached": numbers.reached},
                "chosen_at": picked.found.share if picked.found else np.nan,
                "n": int(whole.loc[(which, "test"), "n"]),
                **{"value": _number(own, "faithfulness", "value"), "low": numbers.low, "high": numbers.high},
                **{"complete": _number(own, "completeness", "value"), "complete_low": numbers.complete_low},
                **{"random_95": numbers.random_high, "p": numbers.p, "verdict": verdict, "reason": reason},
            }
        )
    table = pd.DataFrame(rows)
    given = {"numbers": table.astype(str).to_dict("list"), "least": run.params.least}
    return kept_table(run, "verdicts", given, lambda: table)


def _number(table: pd.DataFrame, row: str, column: str) -> float:
    return float(table.loc[row, column]) if row in table.index else float("nan")
