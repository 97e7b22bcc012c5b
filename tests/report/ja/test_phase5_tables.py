"""Phase 5's tables of changes, texts and damage on made-up numbers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from phase5_rows import REACHED, broken_table, claim, clean, found, phrase

from emolib.report.ja import phase5_damage as harm
from emolib.report.ja import phase5_effects as moved
from emolib.report.ja import phase5_other_style as reworded
from emolib.report.ja import phase5_texts as written
from emolib.steering.comparisons import topic_findings


def test_tables_of_shares_and_changes_show_japanese_names():
    shown = harm.table_broken(broken_table(gratitude=0.1, anger=-0.0))
    clean(shown)
    assert shown.loc[("パッチなし", "—"), "層"] == "—" and shown.loc[("感情ベクトル", "感謝"), "破綻率"] == "10%"
    row = {"emotion": "anger", "baseline": -0.0001, "baseline_se": 0.1, "patched": 0.5, "patched_se": 0.1}
    rows = [{**row, "metric": f"{family}/anger", "random": 0.1, "random_se": 0.0} for family in ("keywords", "target")]
    changes = pd.DataFrame(rows)
    clean(moved.table_changes(changes))
    bars = moved.change_bars(changes, "target")
    assert len(bars) == 3 and set(bars["emotion"]) == {"怒り"}
    matrix = pd.DataFrame({"keywords/anger": [-0.001], "target/anger": [0.2]}, index=["anger"])
    clean(moved.table_specificity(matrix))
    assert list(moved.family_matrix(matrix, "target").columns) == ["怒りの確率"]


def test_labels_with_one_kind_of_measure_have_no_figure_of_the_other(monkeypatch):
    drawn: list[str] = []
    monkeypatch.setattr(moved, "show", lambda run, fig, name: drawn.append(name))
    moved.figure_specificity(None, pd.DataFrame({"target/joy": [0.2], "valence": 0.1}, index=["joy"]))
    assert drawn == ["matrix_targets"]


def test_the_labels_that_move_most_are_listed_without_those_that_do_not():
    table = pd.DataFrame({"gratitude": [0.3], "annoyance": [0.2], "anger": [-0.002], "joy": [0.3]}, index=["anger"])
    shown = clean(moved.table_labels(table, count=2))
    assert "gratitude +0.30, joy +0.30" in shown and "anger -0.00" not in shown and "| 怒り |" in shown
    assert "| — | — |" in clean(moved.table_labels(table * 0))


# texts


def test_texts_of_a_model_are_escaped_and_small_changes_have_no_sign_of_their_own():
    row = {"rule": "worst", "scenario": "s1", "prompt": "a | b", "baseline": "<b>x</b>", "patched": "**y**\n`z`"}
    table = pd.DataFrame([{**row, "effect": -0.0, "shift": -0.001, "broken": True}, {**row, "effect": -2.0}])
    table = table.fillna({"broken": False, "shift": 0.5}).assign(emotion="anger")
    text = clean(written.texts(table))
    assert "<b>" not in text and "**y" not in text and "a | b" not in text and "`z" not in text
    first, second = text.splitlines()[-2:]
    assert first.startswith("| 最悪 |") and "| +0 | +0.00 | 破綻 |" in first and "| -2 | +0.50 |" in second
    empty = written.texts(table.assign(patched=" ")).data
    assert "（空）" in empty


def test_phrases_are_escaped_and_a_share_of_nothing_is_a_dash():
    shown = clean(written.table_phrases(pd.DataFrame([phrase(phrase="a_b c d", n_own=0, own_share=np.nan)])))
    assert "a&#95;b" in shown and "a_b" not in shown and "| —（0） |" in shown and "3 / 24" in shown
    assert "| — | 50% |" in written.table_phrases(pd.DataFrame([phrase(phrase="")])).data


# damage


def damage(change: float, se: float, n_topic: int = 24) -> pd.DataFrame:
    row = {"kl_se": 0.01, "topic": 0.4, "topic_base": 0.4 - change, "n_kl": 21, "n_topic": n_topic}
    own = {"kind": "emotion", "emotion": "anger", "kl": 0.5, "topic_change": change, "topic_se": se, "directions": 1}
    rows = [{**row, **own, "kind": "baseline", "emotion": "none"}, {**row, **own}]
    for kind, kl in (("isotropic", 0.1), ("covariance", 0.9)):
        control = {"kind": kind, "emotion": "any", "kl": kl, "topic_change": -0.0001, "topic_se": 0.01}
        rows.append({**row, **control, "directions": 2})
    return pd.DataFrame(rows)


def test_a_text_that_leaves_its_topic_is_named():
    lost = clean(harm.table_damage(damage(-0.2, 0.05), None))
    assert "怒り 0.50 nat" in lost and "群により 0.10–0.90 nat" in lost
    assert "怒り（-0.200）では、続きとプロンプトの類似度がパッチなしより下がった（24 シナリオ" in lost
    for change, se in ((-0.2, 0.2), (0.2, 0.01)):
        kept = clean(harm.table_damage(damage(change, se), None))
        assert "下がったとは言えない" in kept and "下がった（" not in kept


def test_a_few_directions_are_not_called_the_mean_of_their_family():
    text = clean(harm.table_damage(damage(-0.2, 0.05), None))
    assert "各群から 2 本だけを測り" in text and "群全体の平均ではなく" in text
    assert "対照" not in harm.table_damage(damage(-0.2, 0.05).iloc[:2], None).data
    rows = topic_findings(damage(-0.2, 0.05))
    for shown, n in ((harm.kl_rows(rows), 21), (harm.topic_rows(rows), 24)):
        clean(shown)
        assert shown["方向の本数"].tolist() == [1, 2, 2] and shown["シナリオ数"].tolist() == [n] * 3


@pytest.mark.parametrize(("n_topic", "cell"), [(5, "-0.200 [-0.478, 0.078]"), (24, "-0.200 [-0.407, 0.007]")])
def test_the_interval_of_a_topic_s_change_is_printed(n_topic, cell):
    assert harm.topic_rows(topic_findings(damage(-0.2, 0.1, n_topic=n_topic))).iloc[0, 2] == cell


def test_undefined_topics_are_dashes():
    clean(harm.topic_rows(topic_findings(damage(np.nan, np.nan, n_topic=0))))


# the other style


def styled(*rows: dict) -> pd.DataFrame:
    return found(*rows).assign(broken=0.25, cosine=0.5, n_fitted=12)


BOTH = [claim(), claim(metric="target/gratitude")]
HALF = [claim(), claim(metric="target/gratitude", **REACHED)]


def test_the_sentence_says_whether_a_supported_effect_survives():
    def said(other: pd.DataFrame | None, own: pd.DataFrame, style: str = "explicit") -> str:
        return clean("\n".join(reworded.other_style_lines(other, own, vector_style=style)))

    assert "表現の種類に依らない" in said(styled(*BOTH), found(*BOTH))
    lost = said(styled(*HALF), found(*BOTH))
    assert "についてのものである" in lost and "依らない" not in lost and "感謝の確率 +0.800、順位 p = 0.250" in lost
    assert "明示表現の文（感情語を含む）から作ったベクトル" in lost and lost.startswith("感謝では、暗示表現の文")
    assert "明示表現の文（感情語を含む）だけ" in said(styled(*HALF), found(*BOTH), "implicit")
    assert "両方の表現の文から" in said(styled(*HALF), found(*BOTH), "all")
    assert "すべての条件を満たした感情がない" in said(styled(*BOTH), found(*HALF))
    assert "足りず" in said(None, found(*BOTH))


def test_the_table_of_the_other_style_stands_above_its_sentence_or_is_left_out():
    rows = reworded.other_style_rows(styled(*HALF), found(*BOTH))
    clean(rows)
    assert rows["二つの条件"].tolist() == ["満たす", "満たさない"] and rows["破綻率"].tolist() == ["25%", "25%"]
    text = reworded.table_other_style(styled(*HALF), found(*BOTH), vector_style="explicit").data
    assert text.index("| 感情 |") < text.index("- 感謝では")
    assert "|" not in reworded.table_other_style(None, found(*BOTH), vector_style="explicit").data
