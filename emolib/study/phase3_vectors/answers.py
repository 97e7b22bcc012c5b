"""What Phase 3's tables say about its questions, as codes and numbers. Its bars are applied here.

Every table comes back with a column `code`. `unknown` always means that the numbers it rests on are missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from emolib.steering.text_claims import LEVEL

CHANCE = 0.5  # AUC
LARGE_GAP = 0.15  # between a raw cosine and one that large dimensions do not make
EQUIDISTANT = 0.5  # the cosine of (a - c) and (b - c) where a, b and c are equally far from each other
NEAR_CEILING = 0.99  # AUC whose interval is narrow because nothing is left to swap
AT_THE_WORD = 2.0  # times the text's mean projection: from there on it stands at the emotion word
UNKNOWN = "unknown"


# vectors


def separation_codes(table: pd.DataFrame) -> pd.DataFrame:
    """`chosen_separation`: `above` where the interval lies above both nulls, else `not_above`."""
    nulls = table[["random_high", "shuffled_high"]].max(axis=1)
    return _coded(table, table["low"], np.where(table["low"] > nulls, "above", "not_above"))


def restricted_codes(table: pd.DataFrame) -> pd.DataFrame:
    """`restricted_table`: `above_chance` where the interval lies above 0.5, else `chance`."""
    return _coded(table, table["low"], np.where(table["low"] > CHANCE, "above_chance", "chance"))


@dataclass(frozen=True)
class CosineFinding:
    """The mean cosine between emotion vectors over the layers from `first` to `last`.

    Attributes:
        means: per view (raw, standardised, trimmed, whitened).
        apart: the views whose mean differs from the raw one by more than `LARGE_GAP`.
        code: `few_dimensions` where there are such views, else `alike`; `unknown` where no two emotions are compared.
        closer: whether the standardised mean is above that of labels at equal distances.
    """

    code: str
    first: int
    last: int
    means: Mapping[str, float]
    apart: tuple[str, ...]
    closer: bool


def middle_layers(n_layers: int) -> tuple[int, int]:
    """The middle third."""
    return n_layers // 3, 2 * n_layers // 3


def cosine_finding(table: pd.DataFrame, layers: tuple[int, int]) -> CosineFinding:
    """How alike the vectors are in these layers, and whether a few dimensions make it so."""
    inner = table[table["layer"].between(*layers)]
    views = [key for key in ("raw", "standardised", "trimmed", "whitened") if key in inner]
    means = inner[views].mean()
    if inner.empty or means[["raw", "standardised", "trimmed"]].isna().any():
        return CosineFinding(UNKNOWN, *layers, {}, (), False)
    apart = tuple(key for key in ("standardised", "trimmed") if abs(means["raw"] - means[key]) > LARGE_GAP)
    code = "few_dimensions" if apart else "alike"
    return CosineFinding(code, *layers, means.to_dict(), apart, bool(means["standardised"] > EQUIDISTANT))


def stability_codes(table: pd.DataFrame, chosen: Mapping[str, int]) -> pd.DataFrame:
    """One row per emotion of `split_half_stability`, at the layer that validation chose; where it chose none, at the
    layer above 0 at which it is largest.

    Returns:
        emotion, layer, by_validation, mean, low, high, shuffled_high, n_met of n_known layers above 0, failed (the
        layers that miss the bar) and code: `above` where the interval lies above the shuffles, else `not_above`.
    """
    rows = []
    for emotion, part in table.groupby("emotion", sort=False):
        measured = part.dropna(subset=["mean", "low", "shuffled_high"])
        known = measured[measured["layer"] > 0]
        if known.empty:
            rows.append({"emotion": emotion, "code": UNKNOWN})
            continue
        at = measured[measured["layer"] == chosen.get(emotion)]
        row = at.iloc[0] if len(at) else known.loc[known["mean"].idxmax()]
        above = known["low"] > known["shuffled_high"]
        rows.append(
            {
                **row[["emotion", "layer", "mean", "low", "high", "shuffled_high"]].to_dict(),
                "by_validation": bool(len(at)),
                "n_met": int(above.sum()),
                "n_known": len(known),
                "failed": tuple(int(layer) for layer in known.loc[~above, "layer"]),
                "code": "above" if row["low"] > row["shuffled_high"] else "not_above",
            }
        )
    return pd.DataFrame(rows)


# what can be read out


def probe_codes(chosen: pd.DataFrame) -> pd.DataFrame:
    """`chosen_probe_layers`: `above` where the test AUC exceeds the largest of shuffled labels, else `not_above`."""
    above = np.where(chosen["test_auc"] > chosen["shuffled_max"], "above", "not_above")
    return _coded(chosen, chosen["test_auc"] + chosen["shuffled_max"], above)


def information_codes(table: pd.DataFrame) -> pd.DataFrame:
    """The residual stream against the bag of words in all and in implicit texts.

    Returns:
        `information_table`'s rows of the bag of words with code, `more` or `less` by the interval of the advantage and,
        for `more`, by the permutation of the two scores' ranks too; `no_room` where a score without errors could not be
        told from the words; else `no_difference`; and near_ceiling: whether the residual's own AUC leaves next to
        nothing to resample.
    """
    own = table[table["source"] == "residual"].set_index(["emotion", "style"])["auc"]
    words = table[(table["source"] == "words") & table["style"].isin(["all", "implicit"])]
    low, high = words["advantage_low"], words["advantage_high"]
    more = (low > 0) & ~(words["advantage_p"] > LEVEL / 2)
    code = np.where(more, "more", np.where(high < 0, "less", "no_difference"))
    code = np.where(words["advantage_best_p"] > LEVEL / 2, "no_room", code)
    ceiling = [own.get((e, s), np.nan) >= NEAR_CEILING for e, s in zip(words["emotion"], words["style"], strict=True)]
    return _coded(words, low, code).assign(near_ceiling=ceiling)


def shuffled_codes(table: pd.DataFrame) -> pd.DataFrame:
    """The residual stream's probes over all styles: `above` the largest AUC of shuffled labels, else `not_above`."""
    own = table[(table["source"] == "residual") & (table["style"] == "all")]
    code = np.where(own["auc"] > own["shuffled_max"], "above", "not_above")
    return _coded(own, own["auc"] + own["shuffled_max"], code)


def cross_style_codes(table: pd.DataFrame) -> pd.DataFrame:
    """The residual stream's probes on the style that they were not trained on.

    Returns:
        Their rows with words (the bag of words' AUC) and code: `words_too` and `beyond_words` where the probe carries
        over (its interval lies above 0.5 and its AUC above the shuffles'), by whether the bag of words does as well;
        else `not_carried`.
    """
    keys = ["emotion", "trained_on", "tested_on"]
    crossed = (table["trained_on"] != "all") & (table["trained_on"] != table["tested_on"])
    own = table[crossed & (table["source"] == "residual")]
    words = table[table["source"] == "words"].drop_duplicates(keys).set_index(keys)["auc"]
    known = [words.get(tuple(row), np.nan) for row in own[keys].to_numpy()]
    own = own.assign(words=np.array(known, dtype=float))
    carried = (own["low"] > CHANCE) & (own["auc"] > own["shuffled_max"])
    code = np.where(carried, np.where(own["auc"] <= own["words"], "words_too", "beyond_words"), "not_carried")
    return _coded(own, own["auc"] + own["low"], code)


# subspaces, projections, tokens


def subspace_codes(table: pd.DataFrame) -> pd.DataFrame:
    """`chosen_k`: `no_subspace` on validation, else whether the overlap on test is `above` its shuffles."""
    if table.empty:
        return table.assign(code=[])
    beyond = np.where(table["test_overlap"] > table["test_null_high"], "above", "not_above")
    coded = _coded(table, table["test_overlap"], beyond)
    return coded.assign(code=np.where(table["found"].astype(bool), coded["code"], "no_subspace"))


def projection_codes(table: pd.DataFrame) -> pd.DataFrame:
    """Whether each projection follows its own emotion's score.

    Returns:
        emotion, own and null (correlation with the own score, and its 97.5th percentile by chance), other and
        other_value (whose score follows it most among the others), mixed (whether that is at least as much) and code:
        `chance`, `other_more`, `alone` (no other to compare with) or `own_most`.
    """
    targets = [column for column in table if column.startswith("target/")]
    rows = []
    for row in table.to_dict("records"):
        own, null = row.get(f"target/{row['emotion']}"), row.get("null")
        others = {c: row[c] for c in targets if c != f"target/{row['emotion']}" and not pd.isna(row[c])}
        strongest = max(others, key=others.get, default=None)
        found = {"emotion": row["emotion"], "own": own, "null": null, "other": strongest}
        found["other_value"] = others.get(strongest, float("nan"))
        found["mixed"] = bool(own is not None and found["other_value"] >= own)
        rows.append({**found, "code": _projection_code(own, null, found["other_value"])})
    return pd.DataFrame(rows, columns=["emotion", "own", "null", "other", "other_value", "mixed", "code"])


def _projection_code(own: float | None, null: float | None, other: float) -> str:
    if pd.isna(own) or pd.isna(null):
        return UNKNOWN
    if own <= null:
        return "chance"
    if pd.isna(other):
        return "alone"
    return "other_more" if other >= own else "own_most"


def corpus_codes(table: pd.DataFrame) -> pd.DataFrame:
    """People's labels: `above_chance` where the interval of the AUC lies above 0.5, else `chance`."""
    if "human_auc" not in table:
        return table.assign(code=UNKNOWN)
    return _coded(table, table["human_auc"], np.where(table["human_low"] > CHANCE, "above_chance", "chance"))


def token_codes(table: pd.DataFrame) -> pd.DataFrame:
    """`trigger_projections`: `at_word` where the projection stands at the emotion word, else `spread`."""
    at_word = np.where(table["at_word"] > AT_THE_WORD * table["overall"].abs(), "at_word", "spread")
    return _coded(table, table["at_word"] + table["overall"], at_word)


def topics_nearer(topics: pd.DataFrame) -> tuple[float, float] | None:
    """Mean overlap of each label's first plain principal component with the neutral one's and with the first direction
    of the differences; None where there is none."""
    first = topics[topics["k"] == 1]
    return (float(first["with_neutral"].mean()), float(first["with_differences"].mean())) if len(first) else None


def _coded(table: pd.DataFrame, needed: pd.Series, code: np.ndarray) -> pd.DataFrame:
    """The table with its codes, `unknown` where what they need is missing."""
    return table.assign(code=np.where(needed.isna(), UNKNOWN, code))
