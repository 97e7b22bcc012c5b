"""What the claims of a sweep hang on: the rule about broken texts, a few prompts, one scorer, one phrase."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from emolib.data.keywords import straight_apostrophes
from emolib.directions.controls import FAMILIES
from emolib.scoring.measures import SINGLES
from emolib.steering.effects import effects, specific_difference, success
from emolib.steering.text_claims import claims_table

PHRASE, OPENING = 4, 3  # words
BESIDE = (
    *("vs_others", "ci_low", "ci_high", "degenerate", "n_nonzero", "p_sign", "p_flip", "rank_p", "random_max"),
    *("beats_others", "supported"),
)


def with_robustness(
    table: pd.DataFrame, sweep: pd.DataFrame, measures: Mapping[str, Sequence[str]], **given: Any
) -> pd.DataFrame:
    """The claims with what the same conditions give where broken texts count as they are, and with typical texts.

    Args:
        table: `emolib.steering.text_claims.claims_table` of the sweep.
        given: the further arguments it was made with.

    Returns:
        Besides the table's columns: `unfiltered_<column>` of `BESIDE`; unfiltered_largest (share of the sum of the
        unfiltered specific differences that the largest scenario supplies); median (of the effect over scenarios);
        share, share_baseline and share_control (of the texts, those with at least one own word that are not broken:
        steered, unpatched, and under the control direction with most of them; NaN for other measures).
    """
    raw = sweep.assign(**{"fluency/broken": False})
    unfiltered = claims_table(raw, measures, **given)[list(BESIDE)].add_prefix("unfiltered_")
    steered = raw[raw["kind"] == "emotion"]
    rows = []
    for emotion, metric in zip(table["emotion"], table["metric"], strict=True):
        difference = specific_difference(steered, emotion, metric, list(measures))
        largest = difference.max() / difference.sum() if difference.sum() > 0 else float("nan")
        row = {"unfiltered_largest": float(largest)}
        row["median"] = float(effects(sweep, "emotion", emotion, metric).median())
        rows.append(row | _shares(sweep, emotion, metric))
    return pd.concat([table, unfiltered, pd.DataFrame(rows)], axis=1)


def _shares(sweep: pd.DataFrame, emotion: str, metric: str) -> dict[str, float]:
    if not metric.startswith("keywords/"):
        return dict.fromkeys(("share", "share_baseline", "share_control"), float("nan"))
    holds = success(sweep, metric) > 0
    own = (sweep["kind"] == "emotion") & (sweep["emotion"] == emotion)
    drawn = sweep["kind"].isin(FAMILIES) & sweep["emotion"].isin(["any", emotion])
    by_direction = holds[drawn].groupby([sweep.loc[drawn, "kind"], sweep.loc[drawn, "index"]]).mean()
    unpatched = holds[sweep["kind"] == "baseline"].mean()
    found = {"share": holds[own].mean(), "share_baseline": unpatched, "share_control": by_direction.max()}
    return {name: float(value) for name, value in found.items()}


def single_scorers(sweep: pd.DataFrame, measures: Mapping[str, Sequence[str]], **given: Any) -> pd.DataFrame:
    """Both conditions for the probability by each GoEmotions model alone and by the measure that decides.

    The bar is that of the claims: looking at the same texts by one model at a time adds no claim.

    Args:
        given: further arguments of `emolib.steering.text_claims.claims_table`.

    Returns:
        Its columns, own_effect as own, and family (`target_lexical`, `target_encoder`, `target`).
    """
    families = (*(f"target_{way}" for way in SINGLES), "target")
    wanted = {e: [f"{family}/{e}" for family in families if f"{family}/{e}" in sweep] for e in measures}
    n_tests = sum(len(names) for names in measures.values())
    table = claims_table(sweep, wanted, n_tests=n_tests, **given).rename(columns={"own_effect": "own"})
    if table.empty:
        return pd.DataFrame(columns=["emotion", "metric", "family", "own", "vs_others"])
    return table.assign(family=table["metric"].str.partition("/")[0])


def stock_phrases(sweep: pd.DataFrame, emotions: Sequence[str]) -> pd.DataFrame:
    """Whether an emotion's texts are one phrase: the commonest run of four words, and how many openings there are.

    A text counts once for a run, however often it holds it; of equally common runs the one met first is taken.

    Returns:
        emotion, phrase, share (of the steered texts that hold it), baseline (of the unpatched), baseline_phrase and
        baseline_share (the unpatched texts' own commonest), openings and baseline_openings (different first three
        words), n, n_own and own_share (texts with an own word that are not broken, and the share that hold the phrase;
        NaN where there are none).
    """
    base = sweep.loc[sweep["kind"] == "baseline", "text"]
    base_phrase, base_share = _commonest(base)
    rows = []
    for emotion in emotions:
        own = sweep[(sweep["kind"] == "emotion") & (sweep["emotion"] == emotion)]
        phrase, share = _commonest(own["text"])
        metric = f"keywords/{emotion}"
        good = own.loc[success(own, metric) > 0, "text"] if metric in own else own["text"].iloc[:0]
        row = {"emotion": emotion, "phrase": phrase, "share": share, "baseline": _share_with(base, phrase)}
        row |= {"baseline_phrase": base_phrase, "baseline_share": base_share, "n": len(own)}
        row |= {"openings": _openings(own["text"]), "baseline_openings": _openings(base)}
        rows.append({**row, "n_own": len(good), "own_share": _share_with(good, phrase)})
    return pd.DataFrame(rows)


def _words(text: str) -> list[str]:
    return re.findall(r"[\w']+", straight_apostrophes(text).lower())


def _runs(text: str) -> list[str]:
    """Every run of four words once, in order."""
    words = _words(text)
    return list(dict.fromkeys(" ".join(words[i : i + PHRASE]) for i in range(len(words) - PHRASE + 1)))


def _commonest(texts: pd.Series) -> tuple[str, float]:
    counts = Counter(run for text in texts for run in _runs(text))
    if not counts:
        return "", 0.0
    phrase, count = counts.most_common(1)[0]  # in the order met where counts are equal
    return phrase, count / len(texts)


def _share_with(texts: pd.Series, phrase: str) -> float:
    return float(pd.Series([bool(phrase) and phrase in _runs(text) for text in texts], dtype=float).mean())


def _openings(texts: pd.Series) -> int:
    return len({tuple(_words(text)[:OPENING]) for text in texts})
