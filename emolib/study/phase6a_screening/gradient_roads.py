"""Phase 6a's road (ii), what gradients say of every head, beside the exact one: where it errs, what it may miss."""

from __future__ import annotations

import numpy as np
import pandas as pd

from emolib.circuits.attribution import STEPS, attribute, bounded
from emolib.circuits.attribution_bends import attribution_bends
from emolib.circuits.screening import POOLED, Head, road_agreement, single_heads
from emolib.study.phase6a_screening.all_roads import all_heads, writes
from emolib.study.phase6a_screening.contrast_design import contrasts, digest_of, in_turn, kept_table, layers
from emolib.study.run import Run, kept

ESTIMATES = ("atp", "dropped", "query", "key", "value", "query_linear", "key_linear")
BENT_KINDS = ("resample", "zero")  # the primary one, and the one that moves a head farthest from what it ever was


@kept
def validation_scores(run: Run) -> pd.DataFrame:
    """AtP of every head on validation scenarios, beside the selection: layer, head, emotion (and `all`), carried (minus
    the estimated change, nat per token), se over scenarios, n_scenarios."""
    table = contrasts(run, "validation", run.params.n_attributed)

    def compute() -> pd.DataFrame:
        found = attribute(run.lm, table).heads["atp"]
        rows = []
        for emotion in (POOLED, *run.emotions):
            here = np.ones(len(table), dtype=bool) if emotion == POOLED else (table["emotion"] == emotion).to_numpy()
            part = (
                pd.DataFrame(-found[here].reshape(here.sum(), -1))
                .groupby(table.loc[here, "scenario"].to_numpy())
                .mean()
            )
            mean, se = part.mean().to_numpy(), (part.std(ddof=1) / np.sqrt(len(part))).to_numpy()
            at, heads = (index.ravel() for index in np.indices(found.shape[1:]))
            named = {"layer": at, "head": heads, "emotion": emotion, "carried": mean, "se": se}
            rows.append(pd.DataFrame({**named, "n_scenarios": len(part)}))
        whole = pd.concat(rows, ignore_index=True)
        return whole[whole["layer"].isin(layers(run))].reset_index(drop=True)

    return kept_table(run, "attribution_validation", {"contrasts": digest_of(table)}, compute)


def attributed(run: Run) -> tuple[Head, ...]:
    """As many heads that AtP names first on validation scenarios (by mean over its standard error), in layers in which
    it may be trusted."""
    scores = validation_scores(run)
    own = scores[(scores["emotion"] == POOLED) & (scores["layer"] >= run.params.first_trusted)]
    own = own if len(own) else scores[scores["emotion"] == POOLED]
    t = own["carried"] / own["se"].clip(lower=1e-12)
    ordered = own.loc[t.sort_values(ascending=False, kind="stable").index]
    return tuple((int(a), int(b)) for a, b in ordered[["layer", "head"]].head(run.params.n_top).to_numpy())


def integrated(run: Run, table: pd.DataFrame) -> np.ndarray:
    """Integrated gradients `[unit, layer, head]` of the screened layers, or (`steps` 0) of those before
    `first_trusted`; NaN elsewhere."""
    params = run.params
    chosen = [layer for layer in layers(run) if params.steps or layer < params.first_trusted]
    if not chosen:
        return np.full((len(table), run.lm.n_layers, run.lm.n_heads), np.nan)
    found = attribute(run.lm, table, ("integrated",), steps=params.steps or STEPS, layers=chosen)
    return found.heads["integrated"]


@kept
def bends(run: Run) -> pd.DataFrame:
    """Where first order errs, in a few of the screened layers and for two kinds of ablation; as
    `attribution_bends.attribution_bends`."""
    table, every = in_turn(run, "validation").head(run.params.n_bent), layers(run)
    chosen = sorted({*every[:2], every[len(every) // 2]})

    def compute() -> pd.DataFrame:
        parts = [attribution_bends(run.lm, table, chosen, kind=kind) for kind in BENT_KINDS]
        return pd.concat(parts, ignore_index=True)

    matched = {"contrasts": digest_of(table), "chosen": chosen, "kinds": list(BENT_KINDS)}
    return kept_table(run, "bends", matched, compute)


@kept
def roads(run: Run) -> pd.DataFrame:
    """Every head on the test contrasts in turn: exact, and every estimate; as `screening.road_table`."""
    exact, table = all_heads(run), in_turn(run)

    def compute() -> pd.DataFrame:
        found = attribute(run.lm, table, ("first_order", "star"))
        at, heads = np.array([variant[0] for variant in exact.variants]).T
        rows = pd.DataFrame({"layer": at, "head": heads, "exact": exact.changes.mean(0)})
        for name in ESTIMATES:
            rows[name] = found.heads[name].mean(0)[at, heads]
        rows["integrated"] = integrated(run, table).mean(0)[at, heads]
        return rows

    table_ = kept_table(
        run, "roads", {"contrasts": digest_of(table), "points": [run.params.steps, run.params.first_trusted]}, compute
    )
    written = writes(run)
    mean = written[(written["position"] == "mean") & (written["style"] == "all")].groupby(["layer", "head"])["written"]
    return table_.merge((-mean.mean()).rename("direct").reset_index(), on=["layer", "head"], how="left")


@kept
def mlps(run: Run) -> pd.DataFrame:
    """AtP of every MLP on the test contrasts in turn, first-order alone: layer, carried (minus the estimated change,
    nat per token), se, neuron (of the largest size), neuron_carried."""
    table = in_turn(run)

    def compute() -> pd.DataFrame:
        found = attribute(run.lm, table, neurons=True)
        assert found.neurons is not None, "neurons were asked for"
        each, mean = -found.mlps, -found.neurons.mean(0)
        largest = np.abs(mean).argmax(1)
        return pd.DataFrame(
            {
                "layer": np.arange(each.shape[1]),
                "carried": each.mean(0),
                "se": each.std(0, ddof=1) / np.sqrt(len(each)),
                "neuron": largest,
                "neuron_carried": mean[np.arange(len(mean)), largest],
            }
        )

    return kept_table(run, "mlps", {"contrasts": digest_of(table)}, compute)


def agreement(run: Run) -> pd.DataFrame:
    """Rank correlations of the roads, as `screening.road_agreement`."""
    return road_agreement(roads(run).dropna(axis=1, how="all"), n_bands=run.params.n_bands)


@kept
def missed(run: Run) -> pd.DataFrame:
    """What AtP may have passed over: layer, head, estimate, upper, confidence, n_sets; of all heads but those that it
    names first."""
    table, chosen = in_turn(run), set(attributed(run))
    unverified = [variant[0] for variant in single_heads(run.lm, layers(run)) if variant[0] not in chosen]

    def compute() -> pd.DataFrame:
        found = bounded(run.lm, table, unverified, n_sets=run.params.n_sets, seed=run.params.seed)
        at, heads = np.array(found.heads).T
        named = {"layer": at, "head": heads, "estimate": found.estimate, "upper": found.upper}
        return pd.DataFrame(named).assign(confidence=found.confidence, n_sets=found.n_sets)

    matched = {"contrasts": digest_of(table), "n_sets": run.params.n_sets, "heads": unverified}
    return kept_table(run, "missed", matched, compute)
