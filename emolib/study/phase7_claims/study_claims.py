"""What a study may claim: every claim of phases 3 and 5 with the bar that was set beforehand, where its numbers lie,
and its verdict: Phase 5's own for S, else by `emolib.steering.findings`; `statistics/claims.csv`.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from emolib.base import store
from emolib.steering.findings import TESTS, judged
from emolib.study.phase7_claims.claim_sources import steered_models, vector_models
from emolib.study.phase7_claims.claims_of_shifts import EXPLORATION, corrected, shift_claims
from emolib.study.phase7_claims.statistics_files import csv_bytes, kept_csv
from emolib.study.phase7_claims.steering_claims import steering_claims
from emolib.study.phase7_claims.vector_claims import vector_claims
from emolib.study.run import Run, kept

BARS = {
    "stability": "95 % interval of the split-half cosine above the 97.5 % point of shuffled labels",
    "separation": "95 % interval of the vector's test AUC above the 97.5 % points of random directions and of shuffles",
    "readout": "95 % interval of the probe's test AUC above the largest AUC of shuffled labels",
    "beyond_words": "95 % interval of [AUC of the residual stream - AUC of a bag of words] above 0 and permutation of "
    "the two scores' ranks p at most 0.025, all texts; none where a perfect score could not be told from the words",
    "beyond_words_implicit": "the same on implicit texts",
    "subspace": "95 % interval of the best validation excess of the overlap above the 97.5 % point of the largest "
    "excess of shuffled labels",
    "steering": "95 % BCa interval of [own vector - other vectors] above 0 and, at up to 45 scenarios, permutation of "
    "signs p at most 0.025 (exact sign test where it hardly varies), and the rank p of the worst control family at "
    "most its bar",
    "shift": "S above 0 against every other emotion and labels of like valence by every measure (one-sided, Holm over "
    "the emotions of the style), the rank p of the worst control family at most its bar at equal norm and at equal KL, "
    "no vector of another concept with as large a text contrast, and instruments that were judged before and passed",
}
ABSENT = (
    "rank_p",
    "rank_bar",
    "max_p",
    "max_family",
    "max_at",
    "max_z",
    "n_controls",
    "p",
    "by_numbers",
    "by_numbers_reason",
)
COLUMNS = (
    *("phase", "claim", "model", "emotion", "measure", "bar", "value", "low", "high", "reference", "n"),
    *("detectable_d", "rank_p", "rank_bar", "max_p", "max_family", "max_at", "max_z", "max_left_out", "n_controls"),
    *("degenerate", *TESTS, "family", "p", "p_holm", "exploratory", "by_numbers", "by_numbers_reason"),
    *("verdict", "reason", "artifact"),
)


@kept
def claims(run: Run) -> pd.DataFrame:
    """Every claim of every model, the ones that failed included.

    Returns:
        phase, claim, model, emotion, measure; bar (in words), value with low and high, reference (what the interval has
        to exclude), n (scenarios), detectable_d; rank_p, rank_bar, n_controls (claims with control directions); max_p,
        max_family, max_at, max_z, max_left_out (see `corrected_ranks`); degenerate, n_nonzero, p_sign, p_flip
        and p_best (see `emolib.steering.findings.judged`); family (`implicit`: the primary
        one, `explicit`, or `exploration`: all but the claims of the continuation shift), p (one-sided, of the condition
        that holds least) and p_holm (over the family's emotions and models), exploratory (whatever it says is
        exploration), by_numbers and by_numbers_reason (see `emolib.steering.claims`); verdict, reason, artifact.
        A claim of the continuation shift has Phase 5's verdict, and no detectable_d: its texts and prompts are crossed.
    """
    rows = [row for model in vector_models(run) for row in vector_claims(run, model)]
    for model in steered_models(run):
        rows += [*shift_claims(run, model), *steering_claims(run, model)]
    smallest_d = run.params.smallest_d
    table = pd.DataFrame([_with_verdict(row, smallest_d) for row in rows], columns=list(COLUMNS))
    table["p_holm"] = corrected(table)
    data = csv_bytes(table)
    matched = {"claims": store.digest(data.decode()), "smallest_d": smallest_d}
    return kept_csv(run, "claims", matched, lambda: data)


def _with_verdict(row: dict[str, Any], smallest_d: float) -> dict[str, Any]:
    unmarked = {"max_left_out": False, "family": EXPLORATION, "exploratory": True}
    filled = {**dict.fromkeys(ABSENT), **TESTS, **unmarked, **row, "bar": BARS[row["claim"]]}
    if row["claim"] == "shift":
        return {**filled, "detectable_d": float("nan")}
    return judged(filled, smallest_d=smallest_d)
