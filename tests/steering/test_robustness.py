"""What claims hang on, on made-up sweeps: broken texts, single prompts, one scorer, one phrase."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from emolib.base.parameters import resolve
from emolib.steering.findings import findings, stock_phrase, unfiltered
from emolib.steering.robustness import BESIDE, single_scorers, stock_phrases, with_robustness
from emolib.steering.text_claims import claims_table

EMOTIONS = ("gratitude", "anger")
FAMILIES = ("isotropic", "covariance", "shuffled")
KINDS = ("keywords", "target", "target_lexical", "target_encoder")
MEASURES = {emotion: [f"keywords/{emotion}", f"target/{emotion}"] for emotion in EMOTIONS}
GIVEN = {"families": FAMILIES, "n_resamples": 300}
N = 24
WAVE = 0.1 * np.cos(np.arange(N))
PARAMS = resolve("quick", "smollm2_135m", "phase5", {})


def rows(kind: str, emotion: str, index: int = 0, *, plus: float = 0.0, text: str = "") -> pd.DataFrame:
    """One text per scenario; `plus` is added to all measures of the emotion."""
    table = pd.DataFrame({"scenario": [f"s{i:02d}" for i in range(N)], "kind": kind, "emotion": emotion})
    values = {
        f"{family}/{e}": 0.5 + WAVE + (plus * (1 + WAVE) if e == emotion else 0) for family in KINDS for e in EMOTIONS
    }
    return table.assign(index=index, text=text, **{"fluency/broken": False}, **values)


def sweep_of() -> pd.DataFrame:
    parts = [rows("baseline", "none"), *(rows("emotion", emotion, plus=1.0) for emotion in EMOTIONS)]
    parts += [rows(family, "any", i) for family in FAMILIES for i in range(59)]
    return pd.concat(parts, ignore_index=True)


def judged(sweep: pd.DataFrame) -> pd.DataFrame:
    return with_robustness(claims_table(sweep, MEASURES, **GIVEN), sweep, MEASURES, **GIVEN)


def decided(table: pd.DataFrame, sweep: pd.DataFrame) -> pd.DataFrame:
    return findings(table, sweep, smallest_d=PARAMS.smallest_d)


def own(sweep: pd.DataFrame, emotion: str = "gratitude") -> pd.Series:
    return (sweep["kind"] == "emotion") & (sweep["emotion"] == emotion)


def row_of(table: pd.DataFrame, metric: str) -> dict[str, Any]:
    return table.set_index("metric", drop=False).loc[metric].to_dict()


# the rule on broken texts


def test_without_broken_texts_both_verdicts_are_one():
    table = judged(sweep_of())
    for name in BESIDE:
        assert (table[name] == table[f"unfiltered_{name}"]).all()
    found = decided(table, sweep_of())
    assert not found["hangs_on_broken"].any() and (found["unfiltered_verdict"] == "supported").all()


def test_a_verdict_that_hangs_on_the_rule_is_told_with_what_the_other_says():
    sweep = sweep_of()
    sweep.loc[sweep.index[own(sweep)][:23], "fluency/broken"] = True
    table = judged(sweep)
    row = row_of(table, "keywords/gratitude")
    assert not row["supported"] and row["unfiltered_supported"] and unfiltered(row)["supported"]
    assert row["unfiltered_vs_others"] == pytest.approx(row_of(judged(sweep_of()), "keywords/gratitude")["vs_others"])
    found = decided(table, sweep)
    hangs = found.set_index("metric")["hangs_on_broken"]
    assert hangs["keywords/gratitude"] and not hangs["keywords/anger"] and not found["one_scenario"].any()


# typical texts


def test_shares_count_texts_that_hold_a_word_and_are_whole():
    sweep = sweep_of()
    words = "keywords/gratitude"
    sweep[words] = 0.0
    at = sweep.index[own(sweep)]
    sweep.loc[at[:12], words] = 3.0
    sweep.loc[at[:6], "fluency/broken"] = True
    sweep.loc[sweep.index[sweep["kind"] == "baseline"][:1], words] = 1.0
    best = (sweep["kind"] == "shuffled") & (sweep["index"] == 7)
    sweep.loc[sweep.index[best][:3], words] = 1.0
    row = row_of(judged(sweep), words)
    assert (row["share"], row["share_baseline"], row["share_control"]) == (0.25, 1 / N, 3 / N)
    assert row["median"] == 0 and row["own_effect"] > 0.5


def test_shares_are_of_words_alone():
    table = judged(sweep_of())
    shares = table.set_index("metric")[["share", "share_baseline", "share_control"]]
    assert shares.loc["target/gratitude"].isna().all() and (shares.loc["keywords/gratitude"] == 1).all()


# scorers


def scorers(**changed: float) -> pd.DataFrame:
    sweep = sweep_of()
    for name, plus in changed.items():
        sweep.loc[own(sweep), f"{name}/gratitude"] = 0.5 + WAVE + plus * (1 + WAVE)
    return single_scorers(sweep, MEASURES, **GIVEN)


def test_each_scorer_alone_is_held_to_both_conditions_and_the_claims_bar():
    table = scorers(target_lexical=0.0)
    verdicts = decided(table, sweep_of()).set_index("metric")["verdict"]
    assert verdicts["target_encoder/gratitude"] == verdicts["target/gratitude"] == "supported"
    assert verdicts["target_lexical/gratitude"] == "not_supported"
    assert (verdicts[verdicts.index.str.endswith("anger")] == "supported").all()
    assert (table["bar"] == claims_table(sweep_of(), MEASURES, **GIVEN)["bar"].iloc[0]).all()


def test_one_scorer_alone_has_nothing_to_be_compared_with():
    sweep = sweep_of()
    table = single_scorers(sweep.drop(columns=[c for c in sweep if c.startswith("target_")]), MEASURES, **GIVEN)
    assert set(table["family"]) == {"target"}
    none = single_scorers(sweep.drop(columns=[c for c in sweep if c.startswith("target")]), MEASURES, **GIVEN)
    assert none.empty


# stock phrases


def texts_of(steered: list[str], unpatched: list[str], words: list[int], broken: int = 0) -> pd.DataFrame:
    base = pd.DataFrame({"kind": "baseline", "emotion": "none", "text": unpatched, "keywords/anger": 0})
    own = pd.DataFrame({"kind": "emotion", "emotion": "anger", "text": steered, "keywords/anger": words})
    own["fluency/broken"] = np.arange(len(own)) < broken
    return pd.concat([base.assign(**{"fluency/broken": False}), own], ignore_index=True)


STOCK = ["I’m so angry at you. I'm so angry at you.", "i'm SO angry at *them*", "What a nice day it is", "I am furious"]
PLAIN = ["What a nice day it is", "What a nice day, again", "no", "I'm so angry at this"]


def test_a_phrase_counts_once_per_text_whatever_its_case_and_marks():
    (row,) = stock_phrases(texts_of(STOCK, PLAIN, [2, 1, 0, 1]), ["anger"]).to_dict("records")
    assert row["phrase"] == "i'm so angry at" and row["share"] == 0.5 and row["baseline"] == 0.25
    assert row["baseline_phrase"] == "what a nice day" and row["baseline_share"] == 0.5
    assert (row["openings"], row["baseline_openings"], row["n"]) == (3, 3, 4)
    assert row["n_own"] == 3 and row["own_share"] == pytest.approx(2 / 3)


def test_broken_texts_are_no_success_of_a_phrase():
    (row,) = stock_phrases(texts_of(STOCK, PLAIN, [2, 1, 0, 1], broken=2), ["anger"]).to_dict("records")
    assert row["share"] == 0.5 and row["n_own"] == 1 and row["own_share"] == 0


def test_success_that_is_mostly_one_phrase_is_stock():
    stock = {}
    for name, words in {"most": [2, 1, 0, 1], "none": [0, 0, 0, 0]}.items():
        stock[name] = bool(stock_phrase(stock_phrases(texts_of(STOCK, PLAIN, words), ["anger"])).iloc[0])
    assert stock == {"most": True, "none": False}


def test_texts_without_a_run_of_words_have_no_phrase():
    (row,) = stock_phrases(texts_of(["no"], ["yes"], [0]), ["anger"]).to_dict("records")
    assert row["phrase"] == "" and row["share"] == 0 and row["n_own"] == 0
