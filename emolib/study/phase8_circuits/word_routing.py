"""Which heads look at an emotion's word, and what it costs when they no longer read it."""

from __future__ import annotations

import pandas as pd

from emolib.base import store
from emolib.base.errors import UserError
from emolib.circuits.contrasts import context_contrasts
from emolib.circuits.control_heads import other_heads
from emolib.circuits.edge_effects import EdgeRow, edge_effects
from emolib.circuits.qk_routing import RoutingPair, qk_routing, routing_max_p, routing_pairs
from emolib.circuits.screening import Head
from emolib.engine.continuation import continuation_shift
from emolib.models.tokens import encode
from emolib.statistics.intervals import paired_effects
from emolib.study.phase6a_screening.contrast_design import pool_of
from emolib.study.phase8_circuits.chosen_circuits import scenarios
from emolib.study.phase8_circuits.reading_weights import frequencies, kept_table, language_of, words
from emolib.study.run import Run, kept

FEWEST_SCENARIOS = 6  # below that no test by sign flips
ROUTED = ["layer", "head", "n", "score", "attention", "t", "p"]
CUT = ["layer", "head", "role", "form", "n", "whole", "mean", "ci_low", "ci_high", "p_t"]


@kept
def pairs(run: Run) -> list[RoutingPair]:
    """Validation texts beside themselves with another content word in the emotion's word's place; none where no text
    has such a word of one token."""
    data = run.data[(run.data["split"] == "validation") & (run.data["emotion"] != run.params.neutral)]
    found = _pairs_of(run, data)
    kept_of: dict[str, int] = {}
    chosen = []
    for pair in found:
        kept_of[pair.emotion] = kept_of.get(pair.emotion, 0) + 1
        if kept_of[pair.emotion] <= run.params.n_texts:
            chosen.append(pair)
    return chosen


def _pairs_of(run: Run, texts: pd.DataFrame) -> list[RoutingPair]:
    given = {"seed": run.params.seed, "language": language_of(run)}
    try:
        return routing_pairs(run.lm, texts.reset_index(drop=True), words(run), frequencies(run), **given)
    except UserError:  # no text has a trigger of one token: the report says so
        return []


@kept
def routing(run: Run) -> pd.DataFrame:
    """Every head's routing to the emotion's word against another content word at its place: `ROUTED`, p corrected for
    all heads; no rows with fewer than six scenarios."""
    some = pairs(run)

    def compute() -> pd.DataFrame:
        if len({pair.name for pair in some}) < FEWEST_SCENARIOS:
            return pd.DataFrame(columns=ROUTED)
        return routing_max_p(qk_routing(run.lm, some), seed=run.params.seed)[ROUTED]

    return kept_table(run, "qk_routing", {"pairs": _digest(some)}, compute)


def _digest(some: list[RoutingPair]) -> str:
    return store.digest([[list(pair.ids), list(pair.matched_ids), pair.key, pair.query, pair.name] for pair in some])


@kept
def routing_heads(run: Run) -> tuple[tuple[Head, ...], tuple[Head, ...]]:
    """The heads that look most at the emotion's word, and as many random ones of the same layers."""
    table = routing(run)
    ranked = table.sort_values(["t", "layer", "head"], ascending=[False, True, True], kind="stable")
    top = [(int(a), int(b)) for a, b in ranked[["layer", "head"]].head(run.params.n_edges).to_numpy()]
    return tuple(top), tuple(other_heads(top, run.lm.n_heads, run.params.seed)) if top else ()


@kept
def cut_edges(run: Run) -> pd.DataFrame:
    """What m loses on test scenarios when heads no longer read the emotion's word of the context: `CUT`.

    `form` is `cut` (nothing is read there) or `frozen` (what the head has there behind another content word); layer -1
    is all selected heads together. No rows where nothing was selected or fewer than two contexts have such a word.
    """
    top, control = routing_heads(run)
    rows = _edge_rows(run) if top else {}

    def compute() -> pd.DataFrame:
        found, whole = [], _whole(run) if rows else float("nan")
        for form, some in rows.items():
            for role, heads in (("top", top), ("random", control)):
                table = edge_effects(run.lm, some, heads)
                for (layer, head), part in table.groupby(["layer", "head"], sort=False):
                    effects = paired_effects(part["effect"].to_numpy()[None], seed=run.params.seed).iloc[0]
                    told = {"layer": layer, "head": head, "role": role, "form": form, "n": len(part)}
                    named = {name: effects[name] for name in ("mean", "ci_low", "ci_high", "p_t")}
                    found.append({**told, "whole": whole, **named})
        return pd.DataFrame(found, columns=CUT)

    matched = {
        "heads": [list(head) for head in (*top, *control)],
        "rows": store.digest([str(r) for r in rows.values()]),
    }
    return kept_table(run, "cut_edges", matched, compute)


@kept
def _contexts(run: Run) -> pd.DataFrame:
    """Test contrasts, every emotion."""
    chosen, pool = scenarios(run, "test", run.params.n_judged), pool_of(run, "test")
    given = {"pool": pool, "neutral": run.params.neutral, "seed": run.params.seed}
    return context_contrasts(run.data, run.emotions, chosen, **given)


@kept
def _edge_rows(run: Run) -> dict[str, list[EdgeRow]]:
    table = _contexts(run)
    texts = table.assign(text=table["prompt_with"], lang=language_of(run))[["scenario", "emotion", "text", "lang"]]
    of = {(pair.name, pair.emotion): pair for pair in _pairs_of(run, texts)}
    rows: dict[str, list[EdgeRow]] = {"cut": [], "frozen": []}
    seen = set()
    for unit in table.to_dict("records"):
        pair = of.get((unit["scenario"], unit["emotion"]))
        if pair is None or unit["scenario"] in seen:
            continue
        matched = run.lm.tokenizer.decode(pair.matched_ids, skip_special_tokens=True)
        if tuple(encode(run.lm, [matched])[0]) != pair.matched_ids:
            continue  # not the same tokens when read again
        seen.add(unit["scenario"])
        for text, weight in (("text_with", 1.0), ("text_without", -1.0)):
            told = {"scenario": unit["scenario"], "prompt": unit["prompt_with"], "text": unit[text]}
            rows["cut"].append(EdgeRow(**told, weight=weight, key=pair.key))
            rows["frozen"].append(EdgeRow(**told, weight=weight, key=pair.key, matched=matched))
    return rows if len(seen) > 1 else {}


def _whole(run: Run) -> float:
    """The context's mean effect on m in the scenarios whose edges are cut."""
    table, rows = _contexts(run), _edge_rows(run)["cut"]
    named = {(row.scenario, row.prompt) for row in rows}
    some = table[[pair in named for pair in zip(table["scenario"], table["prompt_with"], strict=True)]]
    total = 0.0
    for prompt, sign in (("prompt_with", 1.0), ("prompt_without", -1.0)):
        for text in ("text_with", "text_without"):
            weight = sign if text == "text_with" else -sign
            shift = continuation_shift(run.lm, some[prompt].tolist(), some[text].tolist(), [None] * len(some))
            total += weight * float(shift["logprob_unpatched"].mean())
    return total


__all__ = ["cut_edges", "pairs", "routing", "routing_heads"]
