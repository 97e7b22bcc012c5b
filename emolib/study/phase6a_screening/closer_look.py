"""Phase 6a's closer look at the selected heads, beside random ones of the same layers and norms."""

from __future__ import annotations

import numpy as np
import pandas as pd

from emolib.circuits.contrasts import steer_contrasts, topic_contrasts
from emolib.circuits.head_verdicts import HeadEvidence, head_verdicts
from emolib.circuits.screening import LEAST_CHANGE, POOLED, Exact, Head, joint_against_sum
from emolib.engine.generation import generate
from emolib.interventions import AblateHead, record_heads
from emolib.models.tokens import encode
from emolib.scoring import version_of
from emolib.study.phase6a_screening.all_roads import all_heads, controls, kept_exact, scores, selection
from emolib.study.phase6a_screening.contrast_design import (
    contrasts,
    cut,
    digest_of,
    in_turn,
    kept_table,
    pool_of,
    scenarios_of,
    steers,
)
from emolib.study.run import Run, kept

OTHER_KINDS = ("mean", "zero", "context")
N_TEXTS = 4  # prompts that are continued under each ablation


@kept
def chosen_heads(run: Run, family: str) -> Exact:
    """The selected and the random heads: on every emotion against neutral and the others (`labels`), on `topics`, or
    under `steer`s."""
    top, control = selection(run)
    singles = [(head,) for head in (*top, *control)]
    count = run.params.n_confirmed
    if family == "topics":
        pool = pool_of(run, "test")
        names = scenarios_of(run, "test", count)
        table = topic_contrasts(run.data, names, pool=pool, neutral=run.params.neutral, seed=run.params.seed)
        if table.empty:  # no scenario whose topic another one has without sharing a word
            return Exact(table.assign(base=0.0), tuple(singles), np.zeros((0, len(singles))))
        return kept_exact(run, "exact_topics", cut(run, table), singles)
    if family == "steer":
        table = steer_contrasts(
            run.data,
            run.emotions,
            scenarios_of(run, "test", min(count, run.params.n_screened)),
            pool=pool_of(run, "validation"),
            neutral=run.params.neutral,
            seed=run.params.seed,
        )
        return kept_exact(run, "exact_steer", cut(run, table), singles, acts=steers(run))
    return kept_exact(run, "exact_labels", contrasts(run, "test", count, others=True), singles)


def steer_effect(run: Run) -> Exact | None:
    """(B) of the selected and random heads; None where a single emotion has no S."""
    return chosen_heads(run, "steer") if len(run.emotions) > 1 else None


@kept
def other_kinds(run: Run) -> pd.DataFrame:
    """The selected and random heads by every kind of ablation: layer, head, role, kind, delta_mean, delta_std, n."""
    top, control = selection(run)
    singles, table = [(head,) for head in (*top, *control)], in_turn(run)
    whole = all_heads(run)
    rows = []
    for kind in ("resample", *OTHER_KINDS):
        found = whole if kind == "resample" else kept_exact(run, f"exact_{kind}", table, singles, kind=kind)
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
    sizes = range(2, len(top) + 1)
    variants = [top[:k] for k in sizes] + ([control] if len(control) > 1 else [])
    if not variants:
        return pd.DataFrame(columns=["heads", "k"])
    found = joint_against_sum(kept_exact(run, "exact_joint", in_turn(run), variants), all_heads(run))
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

    evidence = HeadEvidence(own, other, topics if len(topics.units) > 1 else None, controls(run))

    def compute() -> pd.DataFrame:
        parts = [head_verdicts(given, emotion, evidence, seed=run.params.seed) for emotion in run.emotions]
        return pd.concat(parts, ignore_index=True)

    matched = {"labels": digest_of(pd.DataFrame(labels.changes)), "topics": digest_of(pd.DataFrame(topics.changes))}
    matched["controls"] = digest_of(pd.DataFrame([[*head, *other] for head, other in controls(run).items()]))
    return kept_table(run, "verdicts", {**matched, "p_max": {f"{a}:{b}": p for (a, b), p in given.items()}}, compute)


def _part(exact: Exact, rows: np.ndarray) -> Exact:
    return Exact(exact.units[rows].reset_index(drop=True), exact.variants, exact.changes[rows], exact.kind)


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

    matched = {"contrasts": digest_of(table), "chosen_heads": [list(h) for h in heads if h]}
    matched["scorers"] = version_of(run.params.backend)
    return kept_table(run, "texts", {**matched, "max_new_tokens": run.params.max_new_tokens}, compute)


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
        change = change.where(~(change.abs() < LEAST_CHANGE), 0.0)  # of equal texts scores differ by rounding alone
        for metric in metrics:
            own = change[metric].dropna()
            named = {"layer": layer, "head": head, "role": role, "metric": metric}
            rows.append({**named, "delta_mean": own.mean(), "delta_std": own.std(ddof=1), "n_samples": len(own)})
    return pd.DataFrame(rows)
