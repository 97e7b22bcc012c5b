"""Made-up results of Phase 5: claims, broken shares, points and the outcome that they make, and the check of what is
shown of them."""

from __future__ import annotations

import itertools
import re
from typing import Any

import numpy as np
import pandas as pd
from further_rows import further_of
from IPython.display import Markdown

from emolib.base.parameters import PatchingParameters, resolve
from emolib.directions.controls import FAMILIES
from emolib.steering import comparisons
from emolib.steering.claims import shift_claims, shift_conditions, shift_ranks
from emolib.steering.findings import findings, overall
from emolib.steering.further_conditions import Further
from emolib.steering.operating_point import OperatingPoint
from emolib.steering.robustness import BESIDE
from emolib.steering.shift_measures import MEASURES
from emolib.steering.shift_tables import crossed_cells
from emolib.study.phase5_steering import Outcome
from emolib.study.phase5_steering.judging import JudgedInstruments, ShiftOutcome

UNCLEAN = re.compile(r"(?<![\w.])[-−]0(\.0+)?(?![\d.])|\bnan\b|inf\b", re.IGNORECASE)
REFUSED = {"supported": False, "beats_others": False}
FLAT = {
    **REFUSED,
    "degenerate": True,
    "ci_low": np.nan,
    "ci_high": np.nan,
    "vs_others": -0.001,
    "n_nonzero": 3,
    "p_sign": 0.5,
}
REACHED = {"supported": False, "beats_random": False, "rank_p": 0.25, "p_shuffled": 0.25}
WIDE = {**REFUSED, "vs_others": 0.1, "ci_low": -0.2, "ci_high": 0.4}
ROOM = {"gratitude": 0.1, "anger": 0.1}


def clean(shown: Markdown | pd.DataFrame | str) -> str:
    """What the reader sees, which has no undefined number and no negative zero."""
    text = shown.data if isinstance(shown, Markdown) else shown if isinstance(shown, str) else shown.to_html()
    assert not UNCLEAN.search(text), text
    return text


def params(**given: Any) -> PatchingParameters:
    return resolve("quick", "smollm2_135m", "phase5", given)


def claim(**given: Any) -> dict[str, Any]:
    """A row of the claims table that reaches its bar, unless told otherwise."""
    row = {"emotion": "gratitude", "metric": "keywords/gratitude", "own_effect": 0.8, "own_effect_unfiltered": 0.9}
    row |= {"vs_others": 0.7, "ci_low": 0.4, "ci_high": 1.1, "degenerate": False, "n": 45}
    row |= {"wrong_way": 0.125, "wrong_way_unfiltered": 0.0, "n_nonzero": 45, "p_sign": 0.001, "p_flip": 0.001}
    row |= {"p_isotropic": 1 / 60, "p_covariance": 1 / 60, "p_shuffled": 1 / 60, "rank_p": 1 / 60, "bar": 1 / 60}
    row |= {"max_isotropic": 0.1, "max_covariance": 0.2, "max_shuffled": 0.3, "random_max": 0.3, "direct_path": 0.01}
    row |= {"direct_path_counted": 0.01, "beats_others": True, "beats_random": True, "supported": True}
    row |= {"median": 0.5, "share": 0.5, "share_baseline": 0.0, "share_control": 0.1, "unfiltered_largest": 0.1}
    row |= given
    if row["metric"].startswith("target/"):
        row |= {"share": np.nan, "share_baseline": np.nan, "share_control": np.nan}
    return {**{f"unfiltered_{key}": row[key] for key in BESIDE}, **row}


def controls(count: int = 59) -> pd.DataFrame:
    """The rows of a test sweep that a verdict reads: which control directions there are."""
    return pd.DataFrame([{"kind": family, "index": i} for family in FAMILIES for i in range(count)])


def found(*rows: dict[str, Any], **changed: Any) -> pd.DataFrame:
    """The claims with their verdicts; `changed` are parameters."""
    given = params(**changed)
    judged = findings(pd.DataFrame(rows), controls(given.n_controls), smallest_d=given.smallest_d)
    return comparisons.direct_findings(judged)


def scorers(**verdicts: dict[str, Any]) -> pd.DataFrame:
    """The findings by each GoEmotions model; keyword: family, value: what differs from a claim that is supported."""
    rows = [
        {**claim(metric=f"{family}/gratitude", own=0.3), **verdicts.get(family, {}), "family": family}
        for family in ("target_lexical", "target_encoder", "target")
    ]
    return findings(pd.DataFrame(rows), controls(), smallest_d=0.5)


def broken_table(**shares: float) -> pd.DataFrame:
    rows = [("baseline", "none", -1, shares.pop("baseline", 0.05), 24)]
    rows += [("emotion", emotion, 14, share, 24) for emotion, share in shares.items()]
    rows += [("direct_path", emotion, 30, 0.5, 24) for emotion in shares]
    return pd.DataFrame(rows, columns=["kind", "emotion", "layer", "broken", "n"]).assign(nll=2.0, repetition=0.0)


def point_of(layer: int = 14, alpha: float = 0.3, *, kept: int = 9, score: float = 3.0) -> OperatingPoint:
    grid = [(a, b) for a in (10, 14, 18) for b in (0.2, 0.3, 0.4)]
    table = pd.DataFrame(grid, columns=["layer", "alpha"])
    table = table.assign(score=score, broken=0.2, eligible=np.arange(len(grid)) < kept)
    return OperatingPoint(layer, alpha, score, kept > 0, table.assign(**{"difference/keywords/anger": -0.001}))


def phrase(**given: Any) -> dict[str, Any]:
    row = {"emotion": "gratitude", "phrase": "thank you so much", "share": 0.5, "baseline": 0.25, "n": 24}
    row |= {"baseline_phrase": "what a nice day", "baseline_share": 0.25, "openings": 3, "baseline_openings": 20}
    return {**row, "n_own": 8, "own_share": 0.25, **given}


def outcome_of(*rows: dict[str, Any], **given: Any) -> Outcome:
    """An outcome with these claims; `given` replaces its parts, and `changed` its parameters."""
    changed = given.pop("changed", {})
    claims = found(*(rows or (claim(),)), **changed)
    broken = given.pop("broken", broken_table(**dict.fromkeys(claims["emotion"], 0.1)))
    emotions = list(dict.fromkeys(claims["emotion"]))
    ceiling = {"part": "", "baseline": 0.1, "ceiling": 0.2, "kept": 6, "tried": 9, "broken": 0.2}
    parts = {
        "shift": None,
        "unmeasurable": "one_emotion",
        "points": {"": point_of()},
        "scorers": scorers(),
        "other_style": None,
        "ceilings": pd.DataFrame([{**ceiling, "narrows": True, "allows_most": False}]),
        "specificity": pd.DataFrame({"valence": -0.0001, "politeness/score": 0.2}, index=emotions),
        "phrases": pd.DataFrame([phrase()]),
        "other_labels": pd.DataFrame(columns=["emotion", "label", "change", "own_label", "own_change"]),
        "enough_controls": params(**changed).n_controls >= 59,
        "by_chance": {"valence": 0.1, "politeness/score": -0.0001},
    }
    return Outcome(
        params=params(**changed),
        n_layers=30,
        claims=claims,
        verdicts=overall(claims),
        unfiltered_verdicts=overall(claims, column="unfiltered_verdict"),
        broken=broken,
        broken_findings=comparisons.broken_findings(broken, margin=0.1),
        **{**parts, **given},
    )


def shift_of(
    *,
    size: float = 0.3,
    styles: tuple[str, ...] = ("explicit", "implicit"),
    n_texts: int = 24,
    n_controls: int = 59,
    judged: bool = False,
    failed: str = "",
    idle: str = "",
    further: Further | None = None,
) -> ShiftOutcome:
    """What the continuation shift of two emotions' claims comes to, of three emotions.

    Args:
        size: S of every emotion against every other, in nat per token.
        judged: whether instruments were, of which that of the measure `failed` did not pass.
        idle: an emotion whose own contrast is 0.
        further: None takes one in which everything holds.
    """
    emotions, rng = ("gratitude", "anger", "apology"), np.random.default_rng(0)
    cells, contrasts, doses = [], [], []
    for style in styles:
        design = crossed_cells([f"p{i}" for i in range(n_texts)], [f"{style} {i}" for i in range(n_texts)])
        for one, other in itertools.permutations(emotions, 2):
            pair = {"style": style, "emotion": one, "other": other}
            for measure in MEASURES:
                mean = 0.0 if measure == "own" and one == idle else size
                values = mean + 0.1 * rng.standard_normal(len(design))
                cells.append(design.assign(specific=values, measure=measure, **pair))
            contrasts.append({**pair, "kind": "emotion", "contrast": size})
            drawn = [(family, i) for family in FAMILIES for i in range(n_controls)]
            contrasts += [{**pair, "kind": family, "contrast": 0.01 * rng.standard_normal()} for family, _ in drawn]
        for emotion, alpha in itertools.product(emotions, (-0.3, 0.1, 0.3)):
            row = {"style": style, "emotion": emotion, "alpha": alpha, "mean": size * alpha, "se": 0.01, "df": 23}
            doses.append({**row, "kl": abs(alpha)})
    conditions, ranks = shift_conditions(pd.concat(cells)), shift_ranks(pd.DataFrame(contrasts))
    instruments = None
    if judged:
        keys = list(itertools.product(MEASURES, styles, emotions))
        table = pd.DataFrame(keys, columns=["measure", "style", "emotion"]).assign(instrument="")
        table = table.assign(passed=table["measure"] != failed)
        verdicts = np.where(table["passed"], "admitted", "not_measurable")
        gold = pd.DataFrame(list(itertools.product(styles, emotions)), columns=["style", "emotion"])
        instruments = JudgedInstruments(table.assign(verdict=verdicts), gold.assign(estimate=0.2))
    given = {} if instruments is None else {"instruments": instruments.admission, "gold": instruments.gold}
    further = further_of(styles) if further is None else further
    claims = shift_claims(conditions, ranks, **given, further=further)
    parts = {"instruments": instruments, "points": {"": point_of()}, "further": further}
    parts |= {"equal_kl": searched(emotions), "survival": surviving(styles, emotions, size)}
    return ShiftOutcome(conditions, ranks, claims, pd.DataFrame(doses), **parts)


def searched(emotions: tuple[str, ...]) -> pd.DataFrame:
    """Strengths of equal KL, one of which was not reached."""
    keys = list(itertools.product(FAMILIES, range(2), emotions))
    table = pd.DataFrame(keys, columns=["family", "index", "emotion"]).assign(start=1.0, alpha=1.5, kl=0.1, wanted=0.1)
    return table.assign(reached=table.index > 0, steps=2)


def surviving(styles: tuple[str, ...], emotions: tuple[str, ...], size: float) -> pd.DataFrame:
    """Half of every emotion's effect is left at any angle."""
    keys = itertools.product(styles, emotions, (0.0, 45.0))
    rows = [
        {"style": s, "emotion": e, "degrees": d, "specific": size / 2 if d else size, "left": 0.5 if d else 1.0}
        for s, e, d in keys
    ]
    return pd.DataFrame(rows).assign(least=0.4, most=0.6, n=2)
