"""The report of phase 1: what the surface tells, what the scorers see, and how far the two classifiers agree."""

from __future__ import annotations

import pandas as pd
import pytest
from IPython.display import Markdown

from emolib.report.ja import phase1, phase1_leaks, phase1_scorers
from emolib.scoring import goemotions
from emolib.study.phase1_dataset import LEAK_LIMIT, deciding, highest_scores, surface_leak, wording_leaks

SEEN = ["style", "emotion", "family", "n", "auc", "null", "seen"]
NAN = float("nan")


def said(found: Markdown) -> str:
    return found.data


def leaks(surface: float, words: float = 0.9, lists: float = 1.0) -> pd.DataFrame:
    given = {"surface": surface, "function_words": words, "opening": 0.6, "keywords": lists, "all_words": 0.97}
    rows = [
        {"comparison": name, "features": features, "style": style, "auc": auc - 0.01 * (name == "anger vs rest")}
        for name in ("anger vs neutral", "anger vs rest")
        for style in ("all", "explicit", "implicit")
        for features, auc in (given | {"all_words_shuffled": 0.5}).items()
    ]
    return pd.DataFrame(rows)


def seen(*known: bool, family: str = "target") -> pd.DataFrame:
    rows = [("implicit", f"e{i}", family, 9, 0.7, 0.6, above) for i, above in enumerate(known)]
    return pd.DataFrame(rows, columns=SEEN)


@pytest.mark.parametrize(
    ("auc", "expected"), [(0.6, "回帰による補正を要する 0.65 以下である"), (0.7, "を超える。以降")]
)
def test_the_conclusion_is_about_the_surface(auc, expected):
    told = said(phase1.conclusion(leaks(auc), seen(True)))
    assert f"最大 {auc:.2f}（怒り 対 中立、全体）" in told and expected in told
    assert surface_leak(leaks(auc)).exceeds == (auc > LEAK_LIMIT)
    assert len(told.splitlines()) == 3
    assert "ただし機能語だけでも、感情と中立を AUC 0.90–0.90（全体）で見分けられる" in told
    tame = said(phase1.conclusion(leaks(auc, words=0.6), seen(True)))
    assert "見分ける AUC は 0.60–0.60（全体）である" in tame and "見分けられる（" not in tame


def test_the_largest_leak_may_be_against_all_other_labels():
    table = leaks(0.6)
    table.loc[(table["comparison"] == "anger vs rest") & (table["features"] == "surface"), "auc"] = 0.64
    assert "怒り 対 他の全ラベル" in said(phase1.conclusion(table, seen(True)))


def test_what_the_scorers_do_not_see_is_said_in_the_conclusion():
    assert "e1（暗示表現）を中立と見分けず" in said(phase1.conclusion(leaks(0.6), seen(True, False)))
    every = said(phase1.conclusion(leaks(0.6), seen(True, True)))
    assert "見分けず" not in every and "組はない" in every
    assert "対応する採点器がない" in said(phase1.conclusion(leaks(0.6), seen()))


def test_words_alone_decide_where_no_probability_does():
    both = pd.concat([seen(True, family="keywords"), seen(False)])
    assert deciding(both)["family"].tolist() == ["target"]
    assert deciding(seen(True, family="keywords"))["family"].tolist() == ["keywords"]


def test_styles_of_expression_that_leak_are_explained_once():
    lengths = pd.DataFrame({"unit": ["characters", "m", "m"], "mean": [99.0, 10.0, 11.0]})
    told = said(phase1.discussion(leaks(0.6), lengths))
    assert "最も短いラベルで 10.0 % 違う" in told and told.count("言い回しの差が含まれうる") == 1
    assert "明示表現の文では感情語の一覧 1.00" in told and "暗示表現の文では" in told
    tame = said(phase1.discussion(leaks(0.6, words=0.6), lengths))
    assert "言い回しの差が含まれうる" not in tame and not wording_leaks(leaks(0.6, words=0.6))["exceeds"].any()


def test_an_emotion_whose_texts_score_higher_on_another_is_named():
    means = pd.DataFrame(
        {"style": ["implicit"] * 2, "emotion": ["anger", "apology"], "target/anger": [0.2, 0.3], "target/apology": 0.1}
    )
    assert highest_scores(means)["highest"].tolist() == ["anger", "anger"]
    told = said(phase1.sentence_scorers(seen(True), means))
    assert "謝罪の文では怒りの確率（0.30）の方が高い" in told and "怒りの文では" not in told
    alone = said(phase1.sentence_scorers(seen(True), means.assign(**{"target/apology": 0.9}).iloc[1:]))
    assert "どのラベルでも当該感情の確率が最も高い" in alone


def test_it_says_so_where_no_scorer_measures_any_label(monkeypatch):
    drawn: list[str] = []
    for module in (phase1_scorers, phase1_leaks):
        monkeypatch.setattr(module, "show", lambda run, fig, name: drawn.append(name))
    empty = seen()
    assert phase1.table_scorers(empty) is None and len(phase1.table_scorers(seen(True))) == 1
    told = said(phase1.sentence_scorers(empty, pd.DataFrame({"style": ["unspecified"], "emotion": ["thanks"]})))
    assert "採点器では測れない" in told and "params/keywords/" in told
    assert "示さない" in said(phase1.table_quality(goemotions.dev_quality([])))
    assert len(phase1.table_quality(goemotions.dev_quality(["joy"]))) == 3
    phase1.figure_scorers(None, empty)
    phase1.figure_calibration(None, goemotions.dev_calibration([]))
    phase1.figure_leaks(None, leaks(0.6))
    assert drawn == ["scorers", "calibration", "leaks"]


AGREEMENT = ["emotion", "kappa", "rank_correlation", "share_a", "share_b", "n_present", "n"]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (("anger", 0.8, 0.5, 0.1, 0.1, 50, 90), "いずれも κ ≥ 0.4"),
        (("anger", 0.2, 0.5, 0.1, 0.1, 50, 90), "怒りは κ < 0.4 で、"),
        (("anger", 0.0, 0.5, 0.0, 0.1, 50, 90), "怒りでは一方の分類器がどのテキストにも"),
        (("anger", 0.8, 0.5, 0.1, 0.1, 9, 90), "怒りは、「あり」とされたテキストが 10 に満たず"),
        (("anger", NAN, 0.5, 0.1, 0.1, 50, 90), "怒りは、「あり」とされたテキストが 10 に満たず"),
    ],
)
def test_agreement_of_the_classifiers_is_said_by_its_code(row, expected):
    table = pd.DataFrame([row], columns=AGREEMENT)
    told = said(phase1.sentence_agreement(table))
    assert expected in told and "nan" not in told
    assert ("おおむね一致" in told) == (expected[0] == "い")
    assert len(phase1.table_agreement(table)) == 1


def test_one_classifier_alone_agrees_with_nobody():
    none = pd.DataFrame(columns=AGREEMENT)
    assert phase1.table_agreement(none) is None and "一致は計算できない" in said(phase1.sentence_agreement(none))
