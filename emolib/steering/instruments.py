"""Instruments before claims: whether a measure sees an emotion where it is, and none where it is not.

One rule for gold, for what must fail and for placebos: an emotion passes where its cells are above 0 against every
other label (all must hold, so nothing is corrected: Berger 1982). What a wide interval leaves open is `underpowered`.
A measure counts for a style only where gold passed, what must fail did not, and few enough placebos did.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import comb
from typing import Any

import numpy as np
import pandas as pd
from scipy import special, stats

from emolib.base import arguments
from emolib.base.errors import UserError, shown
from emolib.data.styles import EVERY
from emolib.statistics.intervals import MIN_NONZERO
from emolib.steering.shift_tables import check_columns
from emolib.steering.specific_shift import crossed_numbers

LEVEL = 0.05  # one-sided
SMALLEST = 0.4  # of the texts' standard deviation: the smallest effect that a sealed set is sized for
ROUNDING = 1e-9  # nat, or points of a score: what arithmetic alone makes of two equal numbers
PLACEBO_BAR, FEWEST_PLACEBOS = 0.08, 200
GOLD, GOLD_LIKE = ("gold_a", "gold_texts"), "gold_like"
GOLD_REPORTED = ("gold_b", GOLD_LIKE)  # before the prompt; against labels of like valence
MUST_FAIL = ("denied", "mention", "like_valent")
PLACEBOS = ("placebo_texts", "placebo_acts", "placebo_words")
NEEDED = ("gold_a", *MUST_FAIL)
PASSED, FAILED, UNDERPOWERED = "passed", "failed", "underpowered"
ADMITTED, NOT_MEASURABLE, NOT_JUDGED = "admitted", "not_measurable", "not_judged"
GROUP = ["measure", "style", "emotion", "instrument", "stand_in"]
NUMBERS = ["n", "n_texts", "n_prompts", "estimate", "sd", "se", "t", "df", "p", "upper"]
PAIR_COLUMNS = [*GROUP, "other", *NUMBERS, "verdict"]
COLUMNS = [*GROUP, "other", *NUMBERS, "gold", "passed", "verdict"]


def effect(cells: pd.DataFrame, *, value: str = "specific") -> dict[str, float]:
    """The mean of some cells and its one-sided test against 0.

    With prompts, texts and prompts are two crossed random factors (V_text + V_prompt − V_cell, `crossed_mean`); with a
    column `third` the contexts' scenarios are a third one, and V_third − V_cell is added where it is above 0. Without
    prompts a row is a scenario. Where nothing varies, or fewer than 5 scenarios differ from 0, the exact sign test over
    the scenarios takes the place of t: a constant difference is evidence.

    Args:
        cells: columns text, the value, and prompt and third where there are some; a row per cell.

    Returns:
        `NUMBERS`: estimate, sd (of the texts' means), se and upper (the one-sided 95 % limit) in the unit of the value,
        n of cells.

    Raises:
        UserError: fewer than two texts or prompts, a cell that stands twice, a value that is no number.

    >>> cells = pd.DataFrame({"text": list("abcdef"), "specific": [1.0] * 6})
    >>> found = effect(cells)
    >>> found["estimate"], found["se"], found["p"]
    (1.0, 0.0, 0.015625)
    """
    check_columns(cells, ["text", value], "cells")
    return _Cells.of(cells, value).effect(np.arange(len(cells)))


@dataclass(frozen=True)
class _Cells:
    """The cells of many effects as numbers: of every factor a whole number per cell, -1 where it has none."""

    values: np.ndarray
    codes: Mapping[str, np.ndarray]
    value: str

    @classmethod
    def of(cls, cells: pd.DataFrame, value: str) -> _Cells:
        codes = {name: pd.factorize(cells[name])[0] for name in ("text", "prompt", "third") if name in cells}
        return cls(cells[value].to_numpy(float), codes, value)

    def effect(self, places: np.ndarray) -> dict[str, float]:
        """See `effect`."""
        values = self.values[places]
        codes = {name: of_name[places] for name, of_name in self.codes.items()}
        codes = {name: of_name for name, of_name in codes.items() if name == "text" or (of_name >= 0).all()}
        numbers = _crossed(values, codes, self.value) if "prompt" in codes else _paired(values, codes, self.value)
        held = np.unique(codes["text"], return_inverse=True)[1]
        means = np.bincount(held, weights=values) / np.bincount(held)
        means = np.where(np.abs(means) <= ROUNDING, 0.0, means)
        estimate, se, df = numbers["estimate"], numbers["se"], numbers["df"]
        t = estimate / se if se > ROUNDING else float("nan")
        if np.isnan(t):  # no more signs than the smaller factor has levels
            p = _sign_test(means[: min(numbers["n_texts"], numbers["n_prompts"] or numbers["n_texts"])])
        elif int((means != 0).sum()) < MIN_NONZERO:
            p = _sign_test(means)
        else:
            p = float(special.stdtr(df, -t))
        upper = estimate + float(special.stdtrit(df, 1 - LEVEL)) * se
        return {**numbers, "sd": float(means.std(ddof=1)), "t": t, "p": p, "upper": upper}


def judged_pairs(cells: pd.DataFrame, *, value: str = "specific", reach: float | None = None) -> pd.DataFrame:
    """Every emotion against every other label, by every instrument.

    `passed`: p at most 0.05. `failed`: not passed, and even the upper limit is below the effect that matters.
    `underpowered`: neither.

    Args:
        cells: columns measure, style, emotion, other, instrument, text, the value, and prompt, third and stand_in (what
            stood in for the emotion) where there are some.
        reach: the effect that matters, in the unit of the value; None takes `SMALLEST` of the texts' standard
            deviation.

    Returns:
        `PAIR_COLUMNS`.

    Raises:
        UserError: missing columns; as `effect`.
    """
    check_columns(cells, ["measure", "style", "emotion", "other", "instrument", "text", value], "cells")
    given = cells if "stand_in" in cells else cells.assign(stand_in="")
    rows = []
    numbers = _Cells.of(given, value)
    groups = given.groupby([*GROUP, "other"], sort=False)
    for key, places in groups.indices.items():
        found = numbers.effect(places)
        limit = SMALLEST * found["sd"] if reach is None else reach
        below = found["upper"] < limit or found["upper"] <= ROUNDING
        verdict = PASSED if found["p"] <= LEVEL else FAILED if below else UNDERPOWERED
        rows.append({**dict(zip([*GROUP, "other"], key, strict=True)), **found, "verdict": verdict})
    return pd.DataFrame(rows, columns=PAIR_COLUMNS)


def instrument_table(pairs: pd.DataFrame) -> pd.DataFrame:
    """The whole rule: an emotion by its worst pair.

    What must fail is `underpowered` where an effect as large as gold's in the same pair would not have passed there
    either: then its failing says nothing.

    Args:
        pairs: `PAIR_COLUMNS`, gold's among them.

    Returns:
        `COLUMNS`, a row per measure, style, emotion, instrument and stand-in: the numbers of the worst pair, gold's
        estimate in that pair (NaN where there is none), whether all pairs passed (as gold must, and what must fail must
        not), and the verdict.

    Raises:
        UserError: missing columns.
    """
    check_columns(pairs, PAIR_COLUMNS, "pairs")
    is_gold = pairs["instrument"].isin([*GOLD, GOLD_LIKE])
    keys = ["measure", "style", "emotion", "other"]
    gold = pairs[is_gold].drop_duplicates(keys).set_index(keys)["estimate"].to_dict()
    rows = []
    for _, part in pairs.groupby(GROUP, sort=False):
        worst = part.iloc[int(part["p"].to_numpy().argmax())].to_dict()
        passed = bool((part["verdict"] == PASSED).all())
        reference = gold.get(tuple(worst[name] for name in keys), float("nan"))
        if passed:
            verdict = PASSED
        elif worst["instrument"] in MUST_FAIL:
            seen = worst["se"] <= ROUNDING or stats.t.sf(reference / worst["se"], worst["df"]) <= LEVEL
            verdict = FAILED if seen else UNDERPOWERED
        else:
            verdict = FAILED if (part["verdict"] == FAILED).any() else UNDERPOWERED
        rows.append({**worst, "gold": reference, "passed": passed, "verdict": verdict})
    return pd.DataFrame(rows, columns=COLUMNS)


def passes(pairs: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Whether each of many placebos passes the whole rule.

    Args:
        pairs: columns of `by`, other, verdict; a row per other label.

    Returns:
        The columns of `by`, and passed.
    """
    check_columns(pairs, [*by, "other", "verdict"], "pairs")
    all_passed = pairs["verdict"].eq(PASSED).groupby([pairs[name] for name in by], sort=False).all()
    return all_passed.rename("passed").reset_index()


def share_bound(n_passed: int, n: int) -> float:
    """The one-sided 95 % upper limit of a share (Clopper and Pearson 1934).

    >>> round(share_bound(9, 200), 4), round(share_bound(10, 200), 4)
    (0.0772, 0.0833)
    """
    n = arguments.whole_number("n", n, least=1)
    n_passed = arguments.whole_number("n_passed", n_passed, least=0, most=n)
    found = stats.binomtest(n_passed, n, alternative="less").proportion_ci(1 - LEVEL, method="exact")
    return float(found.high)


def placebo_rows(placebos: pd.DataFrame) -> pd.DataFrame:
    """How many placebos pass, per measure and style and per instrument, as rows beside those of `instrument_table`.

    Their tests share texts, prompts and acts: the limit takes them as independent.

    Args:
        placebos: columns measure, style, instrument (of `PLACEBOS`), passed; a row per placebo. Placebos of all styles
            bear the style `all`.

    Returns:
        `COLUMNS`: n of placebos, estimate the share that passes, upper its limit; passed where the limit is above 8 %;
        the verdict `passed`, `failed`, or `underpowered` where fewer than 200 were tried and the share itself is not
        above 8 %.

    Raises:
        UserError: missing columns, another instrument.
    """
    check_columns(placebos, ["measure", "style", "instrument", "passed"], "placebos")
    other = set(placebos["instrument"]) - set(PLACEBOS)
    if other:
        raise UserError(f"expected instruments of {', '.join(PLACEBOS)}, got {shown(sorted(other)[0])}")
    rows = []
    for (measure, style, instrument), part in placebos.groupby(["measure", "style", "instrument"], sort=False):
        row = {"measure": measure, "style": style, "emotion": EVERY, "instrument": instrument, "stand_in": ""}
        rows.append({**row, "other": "", **_share(part["passed"])})
    return pd.DataFrame(rows, columns=COLUMNS)


def admission(instruments: pd.DataFrame, placebos: pd.DataFrame, *, needed: Collection[str] = NEEDED) -> pd.DataFrame:
    """For which styles and emotions a measure counts.

    Args:
        instruments: `COLUMNS`, as `instrument_table` gives it.
        placebos: as of `placebo_rows`; those of a style and those of all styles are judged together.
        needed: instruments without which nothing is admitted; for text scores `gold_texts` alone.

    Returns:
        measure, style, emotion, the instrument that it hangs on (empty where admitted), passed (whether it is
        admitted) and the verdict: `not_judged` an instrument is missing, `not_measurable` gold failed, or something
        passed that must not; `underpowered` gold, something that must fail or the number of placebos leaves it open;
        `admitted`.

    Raises:
        UserError: missing columns.
    """
    check_columns(instruments, COLUMNS, "instruments")
    check_columns(placebos, ["measure", "style", "instrument", "passed"], "placebos")
    rows = []
    for (measure, style, emotion), part in instruments.groupby(["measure", "style", "emotion"], sort=False):
        tried = placebos[(placebos["measure"] == measure) & placebos["style"].isin([style, EVERY])]
        found = {str(name): list(some) for name, some in part.groupby("instrument", sort=False)["verdict"]}
        found["placebos"] = [_share(tried["passed"])["verdict"]] if len(tried) else []
        verdict, instrument = _admitted(found, needed)
        row = {"measure": measure, "style": style, "emotion": emotion, "instrument": instrument}
        rows.append({**row, "passed": verdict == ADMITTED, "verdict": verdict})
    return pd.DataFrame(rows, columns=["measure", "style", "emotion", "instrument", "passed", "verdict"])


def _admitted(found: Mapping[str, Sequence[str]], needed: Collection[str]) -> tuple[str, str]:
    """The verdict on a measure from the verdicts of its instruments, and the one that it hangs on."""
    missing = [name for name in (*needed, "placebos") if not found.get(name)]
    if missing:
        return NOT_JUDGED, missing[0]
    golds = [name for name in GOLD if found.get(name)]
    others = [name for name in (*MUST_FAIL, "placebos") if found.get(name)]
    for names, bad in ((golds, FAILED), (others, PASSED)):
        for name in names:
            if bad in found[name]:
                return NOT_MEASURABLE, name
    for name in (*golds, *others):
        if UNDERPOWERED in found[name]:
            return UNDERPOWERED, name
    return ADMITTED, ""


def _share(passed: Iterable[bool]) -> dict[str, Any]:
    flags = np.asarray(list(passed), dtype=bool)
    share, upper = float(flags.mean()), share_bound(int(flags.sum()), len(flags))
    bad = upper > PLACEBO_BAR
    few = len(flags) < FEWEST_PLACEBOS and share <= PLACEBO_BAR
    verdict = UNDERPOWERED if few else PASSED if bad else FAILED
    nothing = dict.fromkeys(["sd", "se", "t", "df", "p", "gold"], float("nan"))
    return {"n": len(flags), "estimate": share, "upper": upper, **nothing, "passed": bad, "verdict": verdict}


def _crossed(values: np.ndarray, codes: Mapping[str, np.ndarray], value: str) -> dict[str, float]:
    found = crossed_numbers(values, codes["text"], codes["prompt"], value=value, balanced=False)
    variance, df = max(found["variance"], found["v_cell"]), found["df"]
    if "third" in codes:
        held = np.unique(codes["third"], return_inverse=True)[1]
        sums = np.bincount(held, weights=values - found["mean"])
        if len(sums) > 1:
            v_third = float((sums**2).sum() / len(values) ** 2 * len(sums) / (len(sums) - 1))
            variance += max(v_third - found["v_cell"], 0.0)
            df = min(df, len(sums) - 1)
    return {
        "n": found["n_cells"],
        "n_texts": found["n_texts"],
        "n_prompts": found["n_prompts"],
        "estimate": found["mean"],
        "se": float(np.sqrt(variance)),
        "df": df,
    }


def _paired(values: np.ndarray, codes: Mapping[str, np.ndarray], value: str) -> dict[str, float]:
    if len(values) < 2 or not np.isfinite(values).all() or len(np.unique(codes["text"])) < len(values):
        raise UserError(f"expected a finite {value} for each of at least two scenarios, one row each")
    n, se = len(values), float(values.std(ddof=1) / np.sqrt(len(values)))
    return {"n": n, "n_texts": n, "n_prompts": 0, "estimate": float(values.mean()), "se": se, "df": n - 1}


def _sign_test(differences: np.ndarray) -> float:
    """One-sided exact p of so many positive among the non-zero ones; 1 where all are 0."""
    up, n = int((differences > 0).sum()), int((differences != 0).sum())
    return sum(comb(n, k) for k in range(up, n + 1)) / 2**n if n else 1.0
