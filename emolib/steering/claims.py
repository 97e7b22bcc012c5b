"""The rule of a claim, by the continuation shift: its conditions, their tests, and the verdict as a code.

What generated texts meet is secondary and has a rule of its own (`emolib.steering.text_claims`).

A claim of an emotion and a style needs S above 0 against every other label in every measure of the style, a text
contrast beyond that of every family of control directions, and what `emolib.steering.further_conditions` adds. All
conditions must hold and none is corrected for another; the emotions of one style are a family (Holm). A verdict is said
only where the instruments passed, and that there is no effect only where its upper limit lies below a fifth of
gold's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from emolib.base.errors import UserError, shown
from emolib.directions.controls import FAMILIES
from emolib.statistics import intervals
from emolib.statistics.corrections import holm
from emolib.steering import instruments as judged
from emolib.steering.findings import NOT_SUPPORTED, SUPPORTED, UNDERPOWERED
from emolib.steering.further_conditions import (
    Further,
    further_numbers,
    further_reason,
    missing_conditions,
    needed_labels,
)
from emolib.steering.shift_measures import MEASURES
from emolib.steering.shift_tables import KEYS, check_columns
from emolib.steering.specific_shift import crossed_means, text_contrast
from emolib.steering.text_claims import FEWEST_SCENARIOS, LEVEL, rank_bar

NOT_MEASURABLE, INSTRUMENTS_MISSING = "not_measurable", "instruments_missing"
SHIFT_VERDICTS = (SUPPORTED, NOT_SUPPORTED, UNDERPOWERED, NOT_MEASURABLE, INSTRUMENTS_MISSING)
IDIOMATIC = "idiomatic"  # style of implicit texts with a stock phrase: shown, never claimed
OF_WORDS = tuple(measure for measure in MEASURES if measure != "contextual")  # what a claim about words rests on
GOLD_SHARE = 0.2
FEWEST_CONTROLS = 199  # directions per family below which whatever is found is exploration
OWN = "emotion"  # kind of the emotions' own acts
ANY = "any"  # owner of a direction that stands for every emotion
CONDITION = ["style", "emotion", "other", "measure"]
RANK_COLUMNS = ["style", "emotion", "other", "contrast", "rank_p", "n_controls", "worst_family"]


def claimed_measures(style: str) -> tuple[str, ...]:
    """What a claim rests on: on implicit texts, about the emotion, all measures; on others, about its words, not all.

    An act that moves the emotion's words in any sentence has a lexical part alone. The own contrast is always needed: S
    of two emotions is one number, which an act that does nothing would share (`emolib.steering.own_shift`).
    """
    return MEASURES if style == "implicit" else OF_WORDS


# the conditions


def shift_conditions(cells: pd.DataFrame) -> pd.DataFrame:
    """Every measure of S above 0, for each emotion against each other label and per style.

    Args:
        cells: style, prompt, text, emotion, other, measure (of `MEASURES`), specific; all parts of the design together,
            every style balanced.

    Returns:
        The columns of `CONDITION`, those of `emolib.steering.specific_shift.MEAN_COLUMNS`, low and high (95 % interval
        by t with df degrees of freedom, in the unit of S) and p, one-sided. Where nothing varies over texts and prompts
        p is that of as many equal signs as there are texts. Styles with fewer than two texts are left out.

    Raises:
        UserError: missing columns, a measure that is none, cells that are not balanced.

    >>> cells = pd.DataFrame({"prompt": list("abab"), "text": list("ccdd"), "style": "implicit", "measure": "raw"})
    >>> cells = cells.assign(emotion="joy", other="anger", specific=[1.0, 2.0, 1.5, 1.8])
    >>> shift_conditions(cells)[["mean", "df", "p"]].round(3).values.tolist()
    [[1.575, 1.0, 0.051]]
    """
    check_columns(cells, [*CONDITION, "prompt", "text", "specific"], "cells")
    unknown = sorted(set(cells["measure"]) - set(MEASURES))
    if unknown:
        raise UserError(f"expected measures {', '.join(MEASURES)}, got {shown(unknown[0])}")
    enough = cells.groupby("style")["text"].transform("nunique") >= 2
    found = crossed_means(cells[enough], CONDITION)
    flat = ~(found["se"] > intervals.ROUNDING * found["mean"].abs())
    reach = stats.t.ppf(1 - LEVEL / 2, found["df"]) * found["se"]
    by_t = stats.t.sf(found["mean"] / found["se"].where(~flat), found["df"])
    by_sign = np.where(found["mean"] > 0, 0.5 ** found["n_texts"].to_numpy(float), 1.0)
    return found.assign(low=found["mean"] - reach, high=found["mean"] + reach, p=np.where(flat, by_sign, by_t))


def mean_contrasts(table: pd.DataFrame, emotions: Sequence[str], *, beside: Sequence[str] = FAMILIES) -> pd.DataFrame:
    """The text contrast of every act, mean over the cells in which control directions stand, or all without any.

    Args:
        table: the columns of `emolib.steering.shift_tables.KEYS`, shift, kind (`emotion` or a family, other kinds are
            passed over), owner (the emotion whose norm a direction has, or `any`), index; all parts of the design,
            in which a direction's act has one name.
        emotions: the labels with acts of their own.
        beside: the kinds of the directions that stand beside them.

    Returns:
        style, emotion, other, kind, index, act, contrast (nat per token), n_texts: the emotion's own act and every
        control direction that stands for it.

    Raises:
        UserError: missing columns, cells in which an act or a label is missing.
    """
    check_columns(table, [*KEYS, "shift", "kind", "owner", "index"], "the table of shifts")
    table = table[table["kind"].isin([OWN, *beside])]
    drawn = table["kind"] != OWN
    if drawn.any():
        held = pd.MultiIndex.from_frame(table.loc[drawn, ["prompt", "text"]].drop_duplicates())
        table = table[pd.MultiIndex.from_frame(table[["prompt", "text"]]).isin(held)]
    about = table[["act", "kind", "owner", "index"]].drop_duplicates("act")
    rows = []
    for emotion in emotions:
        mine = table[table["owner"].isin([emotion, ANY])]
        for other in emotions:
            if other != emotion:
                contrast = text_contrast(mine[mine["label"].isin([emotion, other])], emotion, other)
                by_act = contrast.groupby(["style", "act"], sort=False)
                means = by_act.agg(contrast=("contrast", "mean"), n_texts=("text", "nunique")).reset_index()
                rows.append(means.merge(about, on="act").assign(emotion=emotion, other=other))
    columns = ["style", "emotion", "other", "kind", "index", "act", "contrast", "n_texts"]
    return pd.concat(rows, ignore_index=True)[columns] if rows else pd.DataFrame(columns=columns)


def shift_ranks(contrasts: pd.DataFrame) -> pd.DataFrame:
    """The rank of an emotion's own text contrast among those of every family of control directions.

    Args:
        contrasts: as `mean_contrasts` gives them.

    Returns:
        style, emotion, other, contrast (of the own act), p_<family> and n_<family> per family, rank_p (of the worst
        family), n_controls (of the smallest), worst_family; NaN, 0 and None without control directions.

    Raises:
        UserError: missing columns, a pair without a contrast of the own act.

    >>> one = {"style": "implicit", "emotion": "joy", "other": "anger"}
    >>> acts = [{"kind": "emotion", "contrast": 0.5}, *({"kind": "isotropic", "contrast": c} for c in (0.1, 0.2, 0.6))]
    >>> shift_ranks(pd.DataFrame([{**one, **act} for act in acts]))[["rank_p", "n_controls"]].values.tolist()
    [[0.5, 3.0]]
    """
    check_columns(contrasts, ["style", "emotion", "other", "kind", "contrast"], "contrasts")
    rows = []
    for pair, part in contrasts.groupby(["style", "emotion", "other"], sort=False):
        values = {kind: some["contrast"].to_numpy(float) for kind, some in part.groupby("kind", sort=False)}
        own = values.pop(OWN, np.zeros(0))
        if len(own) != 1:
            raise UserError(f"expected one contrast of the own act of {shown(pair[1])}, got {len(own)}")
        p = {family: intervals.rank_p(float(own[0]), found) for family, found in values.items()}
        worst = max(p, key=lambda family: p[family]) if p else None
        row = dict(zip(["style", "emotion", "other"], pair, strict=True)) | {"contrast": float(own[0])}
        row |= {f"p_{family}": value for family, value in p.items()}
        row |= {f"n_{family}": len(found) for family, found in values.items()}
        row |= {"rank_p": p[worst] if worst else float("nan"), "worst_family": worst}
        rows.append({**row, "n_controls": min(map(len, values.values()), default=0)})
    return pd.DataFrame(rows) if rows else pd.DataFrame(columns=RANK_COLUMNS)


# the verdicts


def shift_claims(
    conditions: pd.DataFrame,
    ranks: pd.DataFrame,
    *,
    instruments: pd.DataFrame | None = None,
    gold: pd.DataFrame | None = None,
    further: Further | None = None,
    family: Mapping[str, Sequence[float]] | None = None,
) -> pd.DataFrame:
    """One row per style and emotion: is S above 0 in everything that the claim needs, and beyond the controls?

    Args:
        conditions: as `shift_conditions` gives them; idiomatic texts are passed over.
        ranks: as `shift_ranks` gives them.
        instruments: measure, style, emotion, instrument, passed: what was judged before any claim, on validation;
            with a column verdict as `emolib.steering.instruments.admission` gives it.
        gold: style, emotion, estimate (of gold's effect in the unit of S), and other and measure where it is told apart
            by them.
        further: what else was measured; None: nothing, so that nothing is supported.
        family: per style the p values of other claims that these are corrected together with, other models' for
            example; one that is not known yet counts as 1.

    Returns:
        style, emotion, n_texts (fewest), like_valent (the labels of like valence that S was held against, by commas),
        weakest_other, weakest_measure and p (of the condition that holds least), with
        its mean, low and high, p_holm (over the emotions of the style and its `family`), rank_p (worst over other
        labels and families), n_controls, bar, those of `emolib.steering.further_conditions.further_numbers`, missing
        (conditions that were not measured, by commas), share_of_gold (the smallest upper limit of a condition,
        corrected for their number, as a share of gold's estimate; NaN without gold), exploratory (fewer than
        `FEWEST_CONTROLS` directions), verdict (of `SHIFT_VERDICTS`), reason, by_numbers and by_numbers_reason (the
        verdict that the numbers alone would give, whatever the instruments: where these were not judged it is
        exploration and no more).

    Raises:
        UserError: missing columns, an emotion for which a measure that the claim needs is missing.
    """
    check_columns(conditions, [*CONDITION, "mean", "se", "df", "low", "high", "p", "n_texts"], "conditions")
    check_columns(ranks, ["style", "emotion", "other", "rank_p", "n_controls"], "ranks")
    rows = []
    for style, of_style in conditions[conditions["style"] != IDIOMATIC].groupby("style", sort=False):
        needed = of_style[of_style["measure"].isin(claimed_measures(str(style)))]
        held = further or Further()
        found = [_claim(part, ranks, gold, held) for _, part in needed.groupby("emotion", sort=False)]
        beside = list((family or {}).get(str(style), ()))
        corrected = holm(np.array([*(row["p"] for row in found), *beside]))[: len(found)]
        for row, p_holm in zip(found, corrected, strict=True):
            row |= {"p_holm": float(p_holm), "bar": rank_bar(row["n_controls"], len(corrected) + len(beside))}
            row["exploratory"] = row["n_controls"] < FEWEST_CONTROLS
            by_numbers = _by_numbers(row)
            row["verdict"], row["reason"] = _instruments(row, instruments) or by_numbers
            row["by_numbers"], row["by_numbers_reason"] = by_numbers
        rows += found
    return pd.DataFrame(rows)


def _claim(part: pd.DataFrame, ranks: pd.DataFrame, gold: pd.DataFrame | None, further: Further) -> dict[str, Any]:
    """The numbers of one emotion and style, from all the conditions that it needs."""
    style, emotion = part["style"].iloc[0], part["emotion"].iloc[0]
    for measure in claimed_measures(style):
        if measure not in set(part["measure"]):
            raise UserError(f"expected {measure} S of {shown(emotion)} on texts of style {shown(style)}, there is none")
    others = list(dict.fromkeys(part["other"]))
    like = needed_labels(further, style, emotion, claimed_measures(style))
    every = part if like is None else pd.concat([part, like], ignore_index=True)
    weakest = every.sort_values("p", ascending=False, kind="stable").iloc[0]
    beside = ranks[(ranks["style"] == style) & (ranks["emotion"] == emotion)]
    ranked = set(part["other"]) <= set(beside["other"]) and beside["rank_p"].notna().all()
    row = {"style": style, "emotion": emotion, "n_texts": int(every["n_texts"].min())}
    row["like_valent"] = "" if like is None else ",".join(dict.fromkeys(like["other"]))
    row |= {"weakest_other": weakest["other"], "weakest_measure": weakest["measure"]}
    row |= {name: float(weakest[name]) for name in ("p", "mean", "low", "high")}
    row |= {"rank_p": float(beside["rank_p"].max()) if ranked else float("nan")}
    row |= {"n_controls": int(beside["n_controls"].min()) if ranked else 0}
    row |= further_numbers(further, style, emotion, others)
    return row | {"missing": ",".join(missing_conditions(row)), "share_of_gold": _share_of_gold(part, gold)}


def _share_of_gold(part: pd.DataFrame, gold: pd.DataFrame | None) -> float:
    """The smallest upper limit of a condition as a share of gold's estimate; NaN where gold has none above 0."""
    if gold is None:
        return float("nan")
    check_columns(gold, ["style", "emotion", "estimate"], "gold")
    keys = [name for name in CONDITION if name in gold]
    if gold.duplicated(keys).any():
        raise UserError(f"expected one estimate of gold per {', '.join(keys)}, some stand twice")
    joined = part.merge(gold[[*keys, "estimate"]], on=keys, how="left")
    upper = joined["mean"] + stats.t.ppf(1 - LEVEL / 2 / len(joined), joined["df"]) * joined["se"]
    shares = upper / joined["estimate"].where(joined["estimate"] > 0)
    return float(shares.min())


def _by_numbers(row: dict[str, Any]) -> tuple[str, str]:
    """The verdict and its reason where every instrument passed."""
    if row["n_texts"] < FEWEST_SCENARIOS:
        return UNDERPOWERED, "few_scenarios"
    if row["share_of_gold"] < GOLD_SHARE:
        return NOT_SUPPORTED, "below_gold"
    if 1 / (1 + row["n_controls"]) > row["bar"] + 1e-12:
        return UNDERPOWERED, "few_controls"
    above, beyond = row["p_holm"] <= LEVEL, row["rank_p"] <= row["bar"] + 1e-12
    if above and beyond:
        reason = further_reason(row)
        return (UNDERPOWERED, reason) if reason else (SUPPORTED, "bar_reached")
    return UNDERPOWERED, "controls_reach_it" if above else "not_above_zero"


def _instruments(row: dict[str, Any], instruments: pd.DataFrame | None) -> tuple[str, str] | None:
    """The verdict where an instrument that the claim needs failed or was not judged; None where all passed."""
    if instruments is None:
        return INSTRUMENTS_MISSING, "not_judged"
    check_columns(instruments, ["measure", "style", "emotion", "instrument", "passed"], "instruments")
    measures = claimed_measures(row["style"])
    mine = instruments[(instruments["style"] == row["style"]) & (instruments["emotion"] == row["emotion"])]
    mine = mine[mine["measure"].isin(measures)]
    refused = mine.loc[~mine["passed"].astype(bool)]
    codes = set(refused["verdict"]) if "verdict" in refused else {judged.NOT_MEASURABLE} if len(refused) else set()
    if codes - {judged.NOT_JUDGED, judged.UNDERPOWERED}:
        return NOT_MEASURABLE, "instrument_failed"
    if judged.NOT_JUDGED in codes or not set(measures) <= set(mine["measure"]):
        return INSTRUMENTS_MISSING, "not_judged"
    return (UNDERPOWERED, "instrument_underpowered") if codes else None
