"""Phase 6a: which heads carry what an emotional context does, by three roads.

Needs Phase 3's vectors. All heads: what they write (test texts), AtP (validation scenarios; heads are selected by it),
and on test scenarios, one emotion each in turn, exact resample ablation beside AtP and AtP*. The selected heads and as
many random ones of the same layers: every emotion, against neutral and against the other emotions, topics, other kinds
of ablation, a steer's effect, and generated texts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from emolib.base import store
from emolib.circuits.attribution import attribute, bounded
from emolib.circuits.contrasts import UNIT, context_contrasts, steer_contrasts, topic_contrasts
from emolib.circuits.direct_writes import direct_writes
from emolib.circuits.head_verdicts import head_verdicts
from emolib.circuits.screening import (
    POOLED,
    Exact,
    Head,
    exact_changes,
    head_scores,
    joint_against_sum,
    random_heads,
    road_agreement,
    single_heads,
    split_half,
)
from emolib.engine.generation import generate
from emolib.interventions import AblateHead, Steer, record_heads
from emolib.models.tokens import encode
from emolib.study.phase3_vectors import fitting
from emolib.study.run import Run, kept

OTHER_KINDS = ("mean", "zero", "context")
STEER_ALPHA = 0.3  # in bulk norms, of the exploratory (B)
ESTIMATES = ("atp", "dropped", "query", "key", "value", "query_linear", "key_linear")
N_TEXTS = 4  # prompts that are continued under each ablation


def layers(run: Run) -> list[int]:
    """Those whose heads are screened."""
    return list(range(run.lm.n_layers)) if not run.params.layers else sorted(run.params.layers)


# what is compared


def _scenarios(run: Run, split: str, count: int) -> list[str]:
    """The first scenarios of a split that have every label, in the profile's order."""
    texts = run.texts(split)
    whole = texts.groupby("scenario", sort=False)["emotion"].nunique()
    return [str(name) for name in whole.index[whole == whole.max()][:count]]


def _pool(run: Run, split: str) -> list[str]:
    """All scenarios of the data set's split that have every label: contexts and sources come from these."""
    data = run.data[run.data["split"] == split]
    counts = data.groupby("scenario")["emotion"].nunique()
    return sorted(counts.index[counts == run.data["emotion"].nunique()])


@kept
def contrasts(run: Run, split: str, count: int, others: bool = False) -> pd.DataFrame:
    """(A) on so many scenarios of a split, every emotion against neutral (and, with `others`, each other emotion)."""
    pool = _pool(run, split)
    given = {"pool": pool, "neutral": run.params.neutral, "seed": run.params.seed}
    wanted = run.emotions if others else ()
    table = context_contrasts(run.data, run.emotions, _scenarios(run, split, count), others=wanted, **given)
    return _cut(run, table)


@kept
def in_turn(run: Run) -> pd.DataFrame:
    """The test scenarios on which all heads are ablated, each with one emotion, in turn."""
    table = contrasts(run, "test", run.params.n_screened)
    names = list(dict.fromkeys(table["scenario"]))
    turn = {name: run.emotions[number % len(run.emotions)] for number, name in enumerate(names)}
    return table[table["emotion"] == table["scenario"].map(turn)].reset_index(drop=True)


def _cut(run: Run, table: pd.DataFrame) -> pd.DataFrame:
    return table if run.params.most_tokens is None else table.assign(most_tokens=run.params.most_tokens)


def _table(run: Run, name: str, matched: Mapping[str, Any], compute: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    given = {"seed": run.params.seed, "layers": layers(run), **matched}
    return run.artifacts.table(run.paths.screening(name), given, compute)


def _written(table: pd.DataFrame) -> str:
    return store.digest(table.to_dict("list"))


# road (i)


@kept
def writes(run: Run) -> pd.DataFrame:
    """Road (i) on the test texts; as `emolib.circuits.direct_writes.direct_writes`."""
    position, params = run.params.vector_position, run.params
    texts = run.texts("test").reset_index(drop=True)
    matched = {"texts": _written(texts[["id", "text"]]), "n_null": params.n_null, **fitting.inputs(run, position)}

    def compute() -> pd.DataFrame:
        vecs, train = fitting.vectors(run, position), fitting.training(run, position)
        given = {"neutral": params.neutral, "n_null": params.n_null, "seed": params.seed}
        found = direct_writes(run.lm, texts, vecs, train, **given)
        return found[found["layer"].isin(layers(run))].reset_index(drop=True)

    return _table(run, "direct", matched, compute)


# road (ii)


@kept
def validation_scores(run: Run) -> pd.DataFrame:
    """AtP of every head on validation scenarios: layer, head, emotion (and `all`), carried (minus the estimated change,
    nat per token), se over scenarios, n_scenarios."""
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

    return _table(run, "attribution_validation", {"contrasts": _written(table)}, compute)


@kept
def selection(run: Run) -> tuple[tuple[Head, ...], tuple[Head, ...]]:
    """The heads that AtP on validation scenarios names first (by mean over its standard error), in layers in which it
    may be trusted, and as many random ones of the same layers."""
    scores = validation_scores(run)
    own = scores[(scores["emotion"] == POOLED) & (scores["layer"] >= run.params.first_trusted)]
    own = own if len(own) else scores[scores["emotion"] == POOLED]
    ranked = own.assign(t=own["carried"] / own["se"].clip(lower=1e-12)).sort_values("t", ascending=False, kind="stable")
    top = [(int(a), int(b)) for a, b in ranked[["layer", "head"]].head(run.params.n_top).to_numpy()]
    return tuple(top), tuple(random_heads(top, run.lm.n_heads, run.params.seed))


@kept
def roads(run: Run) -> pd.DataFrame:
    """Every head on the test contrasts in turn: exact, and every estimate; as `screening.road_table`."""
    exact, table = all_heads(run), in_turn(run)

    def compute() -> pd.DataFrame:
        wanted = ("first_order", "star", *(("integrated",) if run.params.steps else ()))
        found = attribute(run.lm, table, wanted, steps=max(run.params.steps, 1), layers=layers(run))
        at, heads = np.array([variant[0] for variant in exact.variants]).T
        rows = pd.DataFrame({"layer": at, "head": heads, "exact": exact.changes.mean(0)})
        for name in ESTIMATES:
            rows[name] = found.heads[name].mean(0)[at, heads]
        rows["integrated"] = found.heads["integrated"].mean(0)[at, heads] if run.params.steps else np.nan
        return rows

    table_ = _table(run, "roads", {"contrasts": _written(table), "steps": run.params.steps}, compute)
    written = writes(run)
    mean = written[(written["position"] == "mean") & (written["style"] == "all")].groupby(["layer", "head"])["written"]
    return table_.merge((-mean.mean()).rename("direct").reset_index(), on=["layer", "head"], how="left")


def agreement(run: Run) -> pd.DataFrame:
    """Rank correlations of the roads, as `screening.road_agreement`."""
    return road_agreement(roads(run).dropna(axis=1, how="all"), n_bands=run.params.n_bands)


@kept
def missed(run: Run) -> pd.DataFrame:
    """What AtP may have passed over: layer, head, estimate, upper, confidence, n_sets; of all heads not selected."""
    table, chosen = in_turn(run), set(selection(run)[0])
    unverified = [variant[0] for variant in single_heads(run.lm, layers(run)) if variant[0] not in chosen]

    def compute() -> pd.DataFrame:
        found = bounded(run.lm, table, unverified, n_sets=run.params.n_sets, seed=run.params.seed)
        at, heads = np.array(found.heads).T
        named = {"layer": at, "head": heads, "estimate": found.estimate, "upper": found.upper}
        return pd.DataFrame(named).assign(confidence=found.confidence, n_sets=found.n_sets)

    matched = {"contrasts": _written(table), "n_sets": run.params.n_sets, "heads": unverified}
    return _table(run, "missed", matched, compute)


# road (iii)


def _exact(run: Run, name: str, table: pd.DataFrame, variants: Sequence[Sequence[Head]], **more: Any) -> Exact:
    """Exact ablations, stored as one row per contrast and variant."""
    kind = more.get("kind", "resample")
    acts = more.get("acts")

    def compute() -> pd.DataFrame:
        found = exact_changes(run.lm, table, variants, kind=kind, acts=acts)
        numbers = np.arange(len(variants))
        rows = found.units[[*UNIT, "base"]].loc[np.repeat(found.units.index, len(variants))].reset_index(drop=True)
        heads = [",".join(f"{a}:{b}" for a, b in variant) for variant in variants]
        return rows.assign(
            kind=kind,
            variant=np.tile(numbers, len(found.units)),
            heads=np.tile(np.array(heads, dtype=object), len(found.units)),
            change=found.changes.ravel(),
        )

    matched = {"contrasts": _written(table), "variants": [list(map(list, one)) for one in variants], "kind": kind}
    if acts is not None:
        matched["acts"] = [act.fingerprint() for act in acts.values()]
    stored = _table(run, name, matched, compute)
    base = stored["base"].to_numpy().reshape(len(table), -1)[:, 0]
    changes = stored["change"].to_numpy().reshape(len(table), -1)
    return Exact(table.reset_index(drop=True).assign(base=base), tuple(map(tuple, variants)), changes, kind)


@kept
def all_heads(run: Run) -> Exact:
    """Resample ablation of every head on the test contrasts in turn."""
    return _exact(run, "exact_all", in_turn(run), single_heads(run.lm, layers(run)))


@kept
def scores(run: Run) -> pd.DataFrame:
    """`screening.head_scores` of all heads, emotions together; and `head_scores_<model>.json` beside it."""
    found = head_scores(all_heads(run), emotions=[], seed=run.params.seed)
    run.artifacts.obtain(
        run.paths.head_scores(), {"scores": _written(found)}, lambda: store.json_bytes(_first_layout(run, found))
    )
    return found


def _first_layout(run: Run, found: pd.DataFrame) -> dict[str, Any]:
    """The first study's JSON."""
    exact = all_heads(run)
    kept_columns = ["layer", "head", "metric", "delta_mean", "delta_std", "n_samples"]
    samples = [
        {"layer": head[0], "head": head[1], "scenario": scenario, "delta": round(float(change), 7)}
        for place, (head,) in enumerate(exact.variants)
        for scenario, change in zip(exact.units["scenario"], exact.changes[:, place], strict=True)
    ]
    return {
        **{"profile": run.params.profile, "model": run.params.model, "layers": layers(run)},
        "prompts": exact.units["prompt_with"].tolist(),
        "sequence_length": int(max(len(ids) for ids in encode(run.lm, exact.units["prompt_with"].tolist()))),
        "head_scores": found[kept_columns].to_dict("records"),
        "head_samples": samples,
    }


def halves(run: Run) -> pd.DataFrame:
    """Split-half reliability of the order of heads; empty with fewer than four scenarios."""
    exact = all_heads(run)
    return split_half(exact, seed=run.params.seed) if exact.units["scenario"].nunique() >= 4 else pd.DataFrame()


@kept
def chosen_heads(run: Run, family: str) -> Exact:
    """The selected and the random heads: on every emotion against neutral and the others (`labels`), on `topics`, or
    under `steer`s."""
    top, control = selection(run)
    singles = [(head,) for head in (*top, *control)]
    count = run.params.n_confirmed
    if family == "topics":
        pool = _pool(run, "test")
        names = _scenarios(run, "test", count)
        table = topic_contrasts(run.data, names, pool=pool, neutral=run.params.neutral, seed=run.params.seed)
        return _exact(run, "exact_topics", _cut(run, table), singles)
    if family == "steer":
        table = steer_contrasts(
            run.data,
            run.emotions,
            _scenarios(run, "test", min(count, run.params.n_screened)),
            pool=_pool(run, "validation"),
            neutral=run.params.neutral,
            seed=run.params.seed,
        )
        return _exact(run, "exact_steer", _cut(run, table), singles, acts=steers(run))
    return _exact(run, "exact_labels", contrasts(run, "test", count, others=True), singles)


def steer_effect(run: Run) -> Exact | None:
    """(B) of the selected and random heads; None where a single emotion has no S."""
    return chosen_heads(run, "steer") if len(run.emotions) > 1 else None


def shown_text(run: Run, emotional: bool) -> str:
    """The first context in turn and what follows it; or its neutral counterpart with the same text behind."""
    first = in_turn(run).iloc[0]
    return f"{first['prompt_with' if emotional else 'prompt_without']} {first['text_with']}"


def steers(run: Run) -> dict[str, Steer]:
    """The exploratory steers of (B), at the middle layer."""
    vecs, layer = fitting.vectors(run, run.params.vector_position), run.lm.n_layers // 2
    return {emotion: Steer(layer, vecs[emotion][layer], STEER_ALPHA, unit="bulk") for emotion in run.emotions}


@kept
def other_kinds(run: Run) -> pd.DataFrame:
    """The selected and random heads by every kind of ablation: layer, head, role, kind, delta_mean, delta_std, n."""
    top, control = selection(run)
    singles, table = [(head,) for head in (*top, *control)], in_turn(run)
    whole = all_heads(run)
    rows = []
    for kind in ("resample", *OTHER_KINDS):
        found = whole if kind == "resample" else _exact(run, f"exact_{kind}", table, singles, kind=kind)
        values = found.by_scenario()
        for head in (*top, *control):
            own = values[found.variants.index((head,))]
            rows.append(
                {
                    **{"layer": head[0], "head": head[1], "role": "top" if head in top else "random", "kind": kind},
                    **{"delta_mean": own.mean(), "delta_std": own.std(ddof=1), "n": len(own)},
                }
            )
    return pd.DataFrame(rows)


@kept
def joint(run: Run) -> pd.DataFrame:
    """Ablating the first k selected heads, and the random ones, at once against the sum."""
    top, control = selection(run)
    sizes = sorted({2, len(top)} & set(range(2, len(top) + 1)))
    variants = [top[:k] for k in sizes] + ([control] if len(control) > 1 else [])
    if not variants:
        return pd.DataFrame(columns=["heads", "k", "joint", "total", "interaction", "se", "share"])
    found = joint_against_sum(_exact(run, "exact_joint", in_turn(run), variants), all_heads(run))
    return found.assign(heads=["top"] * len(sizes) + ["random"] * (len(variants) - len(sizes)))


@kept
def verdicts(run: Run) -> pd.DataFrame:
    """The verdict on every selected head and emotion, see `emolib.circuits.head_verdicts`."""
    top, _ = selection(run)
    found = scores(run)
    pooled = found[found["emotion"] == POOLED].set_index(["layer", "head"])["p_max"]
    labels, topics, neutral = chosen_heads(run, "labels"), chosen_heads(run, "topics"), run.params.neutral
    here = (labels.units["other"] == neutral).to_numpy()
    own, other = (_part(labels, rows) for rows in (here, ~here))
    given = {head: float(pooled[head]) for head in top}

    def compute() -> pd.DataFrame:
        parts = [
            head_verdicts(given, emotion, own, other, topics if len(topics.units) > 1 else None, seed=run.params.seed)
            for emotion in run.emotions
        ]
        return pd.concat(parts, ignore_index=True)

    matched = {"labels": _written(pd.DataFrame(labels.changes)), "topics": _written(pd.DataFrame(topics.changes))}
    return _table(run, "verdicts", {**matched, "p_max": {f"{a}:{b}": p for (a, b), p in given.items()}}, compute)


def _part(exact: Exact, rows: np.ndarray) -> Exact:
    return Exact(exact.units[rows].reset_index(drop=True), exact.variants, exact.changes[rows], exact.kind)


# generated texts


@kept
def texts(run: Run) -> pd.DataFrame:
    """Greedy continuations of neutral test texts behind emotional ones, unpatched and with each selected or random head
    resampled, with every metric: emotion, prompt, layer, head (-1: unpatched), role, text, then the metrics."""
    top, control = selection(run)
    heads: list[Head | None] = [None, *top, *control]
    table = in_turn(run).head(N_TEXTS)

    def compute() -> pd.DataFrame:
        joined = [f"{a} {b}" for a, b in zip(table["source_prompt"], table["source_text"], strict=True)]
        records = record_heads(run.lm, joined, [head for head in heads if head is not None])
        n_prompt = [len(ids) for ids in encode(run.lm, table["source_prompt"].tolist())]
        rows = [(unit, head) for head in heads for unit in range(len(table))]
        acts = [
            None if head is None else AblateHead(*head, "resample", source=records[u], source_prompt=n_prompt[u])
            for u, head in rows
        ]
        prompts = [table["prompt_with"].iloc[unit] for unit, _ in rows]
        outs = generate(run.lm, prompts, acts, max_new_tokens=run.params.max_new_tokens)
        found = pd.DataFrame(
            {
                "emotion": [table["emotion"].iloc[unit] for unit, _ in rows],
                "prompt": prompts,
                "layer": [-1 if head is None else head[0] for _, head in rows],
                "head": [-1 if head is None else head[1] for _, head in rows],
                "role": ["none" if h is None else "top" if h in top else "random" for _, h in rows],
                "text": [out.text for out in outs],
            }
        )
        return run.scored(found)

    matched = {"contrasts": _written(table), "heads": [list(h) for h in heads if h], "scorers": run.params.backend}
    return _table(run, "texts", {**matched, "max_new_tokens": run.params.max_new_tokens}, compute)


def text_changes(run: Run) -> pd.DataFrame:
    """Mean change of every metric by ablating each head: layer, head, role, metric, delta_mean, delta_std,
    n_samples."""
    table = texts(run)
    fixed = ["emotion", "prompt", "layer", "head", "role", "text"]
    metrics = [name for name in table if name not in fixed]
    plain = table[table["role"] == "none"].set_index(["emotion", "prompt"])[metrics]
    rows = []
    for (layer, head, role), part in table[table["role"] != "none"].groupby(["layer", "head", "role"], sort=True):
        change = part.set_index(["emotion", "prompt"])[metrics] - plain
        for metric in metrics:
            own = change[metric].dropna()
            named = {"layer": layer, "head": head, "role": role, "metric": metric}
            rows.append({**named, "delta_mean": own.mean(), "delta_std": own.std(ddof=1), "n_samples": len(own)})
    return pd.DataFrame(rows)


def samples(run: Run) -> int:
    """Contrasts that were looked at."""
    return len(contrasts(run, "validation", run.params.n_attributed)) + len(in_turn(run))
