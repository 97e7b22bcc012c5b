"""Verdicts, taken once: what a sweep's claims amount to, as codes and numbers.

Phase 5's report, Phase 7 and the stored results all take their verdicts from here, so that a row has one verdict
wherever it is read. A report words the codes and never decides.

A claim's verdict is `supported`, `not_supported` or `underpowered`, with the reason that settled it. A design could not
have told (`underpowered`) where it has fewer scenarios than an interval is worth, or fewer control directions than the
bar needs, or where the interval holds the value that it should exclude, no control reaches the effect, and the smallest
effect that the design detects is larger than the smallest effect of interest; where the interval lies above that value
and the permutation of signs does not follow; and where not even a perfect score could have been told from what it is
held against. A claim that is not supported is not refuted. Differences that hardly vary have no interval: their exact
sign test stands in its place.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import pandas as pd

from emolib.scoring.measures import SINGLES
from emolib.statistics import intervals
from emolib.steering.effects import control_counts
from emolib.steering.robustness import BESIDE
from emolib.steering.text_claims import FEWEST_SCENARIOS, LEVEL

SUPPORTED, NOT_SUPPORTED, UNDERPOWERED = "supported", "not_supported", "underpowered"
VERDICTS = (SUPPORTED, NOT_SUPPORTED, UNDERPOWERED)
REASONS = (
    *("bar_reached", "few_scenarios", "few_controls", "few_nonzero", "flat", "too_small_to_detect"),
    *("controls_reach_it", "at_ceiling", "permutation_missed", "bar_missed"),
)
WEAKEST_FIRST = (NOT_SUPPORTED, UNDERPOWERED, SUPPORTED)  # an emotion is no better than its weakest measure
POWER = 0.8  # at which the smallest detectable effect is worked out
NO_DIFFERENCE = 0.005  # in words or in probability: as good as none
LARGE_SHARE = 0.5  # of a sum that one scenario supplies, or of the texts that hold one phrase
LARGE_CHANGE, UNEQUAL = 0.1, 3  # probabilities of this size whose two models differ by such a factor are unequal
ALONE = tuple(f"target_{way}" for way in SINGLES)  # the probability by one GoEmotions model
NAN = float("nan")
TESTS = {"n_nonzero": NAN, "p_sign": NAN, "p_flip": NAN, "p_best": NAN}
ABSENT = {"rank_p": None, "rank_bar": None, "n_controls": None, "degenerate": False, **TESTS}


# one row


@cache
def detectable(n: int, *, level: float = LEVEL) -> float:
    """Smallest d_z that n scenarios detect with power 0.8; infinite where n is too small for the test.

    Args:
        level: of the two-sided test; a claim's own is that of its 95 % interval.
    """
    return float(intervals.minimum_detectable_effect(n, power=POWER, alpha=level)) if n > 2 else float("inf")


def judged(row: Mapping[str, Any], *, smallest_d: float) -> dict[str, Any]:
    """A claim of any phase with its verdict.

    Args:
        row: met (the bar is reached), low, high, reference, n (scenarios), and where there is such a thing degenerate
            with n_nonzero and p_sign, p_flip (see `emolib.statistics.exact_tests`), p_best (what a perfect score would
            get in place of p_flip) and, for claims with control directions, n_controls, rank_p and rank_bar.
        smallest_d: the smallest d_z of interest.

    Returns:
        The row with detectable_d (the smallest d_z that n scenarios detect at the level of the claim's 95 % interval),
        verdict and reason.
    """
    filled = {**ABSENT, **row, "detectable_d": detectable(int(row["n"]))}
    word, reason = verdict(filled, smallest_d)
    return {**filled, "verdict": word, "reason": reason}


def verdict(row: Mapping[str, Any], smallest_d: float) -> tuple[str, str]:
    """The verdict and its reason for a row that `judged` has filled."""
    ranked = row["rank_bar"] is not None
    if row["n"] < FEWEST_SCENARIOS:
        return UNDERPOWERED, "few_scenarios"
    if ranked and 1 / (1 + row["n_controls"]) > row["rank_bar"] + 1e-12:
        return UNDERPOWERED, "few_controls"
    if row["p_best"] > LEVEL / 2:
        return UNDERPOWERED, "at_ceiling"
    if row["met"]:
        return SUPPORTED, "bar_reached"
    if row["degenerate"] and not row["p_sign"] <= LEVEL / 2:
        return NOT_SUPPORTED, "few_nonzero" if row["n_nonzero"] < intervals.MIN_NONZERO else "flat"
    if ranked and row["rank_p"] > row["rank_bar"] + 1e-12:
        return NOT_SUPPORTED, "controls_reach_it"
    if row["low"] > row["reference"] and row["p_flip"] > LEVEL / 2:
        return UNDERPOWERED, "permutation_missed"
    holds = not (row["low"] > row["reference"] or row["high"] < row["reference"])  # also where it is undefined
    if holds and row["detectable_d"] > smallest_d:
        return UNDERPOWERED, "too_small_to_detect"
    return NOT_SUPPORTED, "bar_missed"


# the claims of a sweep


def findings(claims: pd.DataFrame, sweep: pd.DataFrame, *, smallest_d: float) -> pd.DataFrame:
    """The verdict on every row of a table of claims, and on what it hangs.

    Args:
        claims: `emolib.steering.text_claims.claims_table` or `emolib.steering.robustness.single_scorers`, with or
            without `with_robustness`.
        sweep: the test rows that the claims were made from; the control directions are counted there.
        smallest_d: the smallest d_z of interest.

    Returns:
        The table's columns and index; value, low, high and reference (of own minus others, against 0), rank_bar,
        n_controls (directions of the smallest family), met, detectable_d, verdict, reason. With the columns of
        `with_robustness` also unfiltered_verdict and unfiltered_reason (broken texts as they are), hangs_on_broken
        (these two ways of counting give different verdicts), one_scenario (one scenario supplies half or more of the
        unfiltered difference) and few_scenarios_move (it is supported though the median scenario hardly moves).
    """
    directions = min(control_counts(sweep).values(), default=0)
    rows = []
    for claim in claims.to_dict("records"):
        row = {**claim, **judged(_bar(claim, claim, directions), smallest_d=smallest_d)}
        if "unfiltered_supported" in claim:
            raw = judged(_bar(claim, unfiltered(claim), directions), smallest_d=smallest_d)
            row |= {"unfiltered_verdict": raw["verdict"], "unfiltered_reason": raw["reason"]}
            row |= {"hangs_on_broken": row["verdict"] != raw["verdict"]}
            row |= {"one_scenario": bool(claim["unfiltered_largest"] >= LARGE_SHARE)}
            row |= {"few_scenarios_move": row["verdict"] == SUPPORTED and abs(claim["median"]) < NO_DIFFERENCE}
        rows.append(row)
    return pd.DataFrame(rows, index=claims.index)


def unfiltered(claim: Mapping[str, Any]) -> dict[str, Any]:
    """A claim's numbers with broken texts as they are in place of counted as 0."""
    return {key: claim[f"unfiltered_{key}"] for key in BESIDE}


def _bar(claim: Mapping[str, Any], counted: Mapping[str, Any], directions: int) -> dict[str, Any]:
    """A claim as `judged` takes it: both conditions met, the interval of [own − others], the worst family's rank p."""
    row = {"value": counted["vs_others"], "low": counted["ci_low"], "high": counted["ci_high"], "reference": 0.0}
    row |= {"met": bool(counted["supported"]), "degenerate": bool(counted["degenerate"]), "n": int(claim["n"])}
    row |= {name: float(counted[name]) for name in ("n_nonzero", "p_sign", "p_flip")}
    return row | {"rank_p": counted["rank_p"], "rank_bar": claim["bar"], "n_controls": directions}


def overall(found: pd.DataFrame, *, column: str = "verdict") -> pd.Series:
    """The verdict per emotion, that of its weakest measure: supported only where every measure is.

    Args:
        found: rows with `emotion` and verdicts in `column` (`unfiltered_verdict`: broken texts as they are).

    Returns:
        Verdict by emotion, in the order of the rows.
    """
    by_emotion = found.groupby("emotion", sort=False)[column]
    return by_emotion.agg(lambda words: next(word for word in WEAKEST_FIRST if word in set(words)))


def emotions_with(verdicts: pd.Series, word: str) -> list[str]:
    """The emotions whose overall verdict is `word`."""
    return [str(emotion) for emotion in verdicts.index[verdicts == word]]


# what a claim hangs on


def scorer_dependence(found: pd.DataFrame) -> pd.DataFrame:
    """Whether an emotion's probability is claimed by either GoEmotions model alone as by the two together.

    Args:
        found: `findings` of `emolib.steering.robustness.single_scorers`.

    Returns:
        One row per emotion that has all three: emotion, verdict (of the measure that decides), <family>_verdict and
        <family>_own of each model alone, differs (the families whose model alone supports what the measure does not,
        or the other way round), rests_on (the family that supplies nearly all of a large change, or `neither`).
    """
    rows = []
    for emotion, part in found.groupby("emotion", sort=False):
        by_family = {row["family"]: row for row in part.to_dict("records")}
        if not {*ALONE, "target"} <= set(by_family):
            continue
        combined = by_family["target"]["verdict"]
        row = {"emotion": emotion, "verdict": combined}
        for family in ALONE:
            row |= {f"{family}_verdict": by_family[family]["verdict"], f"{family}_own": by_family[family]["own"]}
        row["differs"] = tuple(
            family for family in ALONE if (by_family[family]["verdict"] == SUPPORTED) != (combined == SUPPORTED)
        )
        row["rests_on"] = _rests_on({family: float(by_family[family]["own"]) for family in ALONE})
        rows.append(row)
    columns = [f"{family}_{what}" for family in ALONE for what in ("verdict", "own")]
    return pd.DataFrame(rows, columns=["emotion", "verdict", *columns, "differs", "rests_on"])


def _rests_on(changes: Mapping[str, float]) -> str:
    """The model under which a change is large while the other's is small or of the opposite sign."""
    lexical, encoder = (changes[family] for family in ALONE)
    small, large = sorted((lexical, encoder), key=abs)
    if abs(large) < LARGE_CHANGE or not (small * large <= 0 or abs(large) > UNEQUAL * abs(small)):
        return "neither"
    return "target_encoder" if large == encoder else "target_lexical"


def stock_phrase(phrases: pd.DataFrame) -> pd.Series:
    """Whether half or more of an emotion's successes hold one phrase, and more than of the unpatched texts their own.

    Args:
        phrases: `emolib.steering.robustness.stock_phrases`.
    """
    return (phrases["own_share"] >= LARGE_SHARE) & (phrases["own_share"] > phrases["baseline_share"])


def qualified(claims: pd.DataFrame, *, significance: float, smallest_d: float) -> pd.DataFrame:
    """What the reader of a claim of any phase has to know beside its verdict; nothing here changes one.

    Args:
        claims: rows with value, low, high, reference, detectable_d, max_p (NaN where there is none), verdict, reason.
        significance: the level of the rank p that is corrected for how many are looked at.

    Returns:
        The rows with survives_correction (the corrected rank p reaches the level), holds_reference (the interval holds
        the value that it should exclude), blind (the design does not detect the smallest effect of interest) and
        small_effect_open (not supported since a control reaches it, but with an interval around the reference, so
        that a small effect is not ruled out).
    """
    low, high, reference = (claims[name].astype(float) for name in ("low", "high", "reference"))
    holds = (low <= reference) & (high >= reference)
    return claims.assign(
        survives_correction=claims["max_p"].astype(float) <= significance,
        holds_reference=holds,
        blind=claims["detectable_d"] > smallest_d,
        small_effect_open=(claims["reason"] == "controls_reach_it") & holds,
    )
