"""Phase 4's sentences and tables on made-up numbers: every verdict, what stands where there is nothing, odd labels."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from IPython.display import Markdown

from emolib.base.parameters import AlignmentParameters, resolve
from emolib.report.ja import phase4 as say
from emolib.report.ja.phase4_words import NULLS, REASONS, VERDICTS
from emolib.steering.alignment_verdicts import ALIGNMENT_REASONS, ALIGNMENT_VERDICTS
from emolib.study.phase4_alignment.judged import NULLS as FAMILIES
from emolib.study.phase4_alignment.layers import Chosen

EMOTIONS = ("gratitude", "anger", "apology")
LABELS = ("neutral", *EMOTIONS, "joy", "<b>x</b> `y`")
AT = Chosen(12, 7, 0.51)


def params() -> AlignmentParameters:
    found = resolve("quick", "smollm2_135m", "phase4")
    assert isinstance(found, AlignmentParameters)
    return found


def verdicts(**changed: dict[str, str]) -> pd.DataFrame:
    """All labels in two styles; `changed`: verdict and reason by label."""
    rows = []
    for style in ("all", "implicit"):
        for place, label in enumerate(LABELS):
            row = {"style": style, "label": label, "margin": 0.4 + place / 100, "low": 0.2, "high": 0.6}
            row |= {"ceiling": 0.7, "ceiling_low": 0.5, "n_scenarios": 30, "hardest_null": "embeddings", "bar": 0.25}
            rows.append({**row, "verdict": "common", "reason": "above_every_null", **changed.get(label, {})})
    return pd.DataFrame(rows)


def nulls() -> pd.DataFrame:
    rows = [
        {"style": style, "label": label, "null": null, "null_mean": 0.01, "null_95": 0.1 + place / 50, "n_maps": 19}
        for style in ("all", "implicit")
        for label in LABELS
        for place, null in enumerate(NULLS)
    ]
    return pd.DataFrame(rows).assign(p=0.05)


def raw(largest: float) -> pd.DataFrame:
    return pd.DataFrame({"label": LABELS[1:], "raw": largest, "mapped": 0.8, "chance": 0.08})


def agreement() -> pd.DataFrame:
    row = {"compared": "layers", "correlation": 0.6, "p": 0.001, "ceiling": 0.8, "same_texts": 0.9}
    rows = [{**row, "given": given} for given in ("nothing", "valence", "words", "embeddings", "all")]
    return pd.DataFrame(rows).assign(n_labels=20, n_scenarios=30)


def test_every_code_has_its_word() -> None:
    assert set(VERDICTS) == set(ALIGNMENT_VERDICTS) and set(REASONS) == set(ALIGNMENT_REASONS)
    assert set(NULLS) == set(FAMILIES)


def test_the_conclusion_says_each_verdict_of_the_datas_own_emotions_and_what_it_hangs_on() -> None:
    table = verdicts(
        anger={"verdict": "underpowered", "reason": "interval_holds_the_bar"},
        apology={"verdict": "not_measurable", "reason": "own_vector_not_found"},
    )
    text = say.conclusion(table, AT, EMOTIONS).data
    assert "感謝は**共通**" in text and "怒りは**検出力不足**" in text and "謝罪は**測定不能**" in text
    assert "A の層 12 と B の層 7" in text and "学習済み埋め込みどうし（語だけ）" in text
    assert len(text.splitlines()) == 3 and "喜び" not in text
    every = say.conclusion(verdicts(), AT, EMOTIONS).data
    assert "判定できなかったものはない" in every and "検出力不足" not in every


def test_the_discussion_tells_near_zero_raw_cosines_from_larger_ones() -> None:
    near = say.discussion(verdicts(), nulls(), raw(0.05), agreement(), EMOTIONS).data
    far = say.discussion(verdicts(), nulls(), raw(0.5), agreement(), EMOTIONS).data
    assert "区別できない" in near and "区別できない" not in far
    assert "部分が残る。" in near
    nothing = agreement().assign(correlation=float("nan"), p=float("nan"))
    assert "計算できなかった" in say.discussion(verdicts(), nulls(), raw(0.05), nothing, EMOTIONS).data
    assert "順位相関" not in say.discussion(verdicts(), nulls(), raw(0.05), agreement().head(0), EMOTIONS).data


def test_next_actions_follow_from_the_reasons() -> None:
    few = say.next_actions(verdicts(anger={"verdict": "underpowered", "reason": "few_scenarios"}), params()).data
    assert "`quick` 以上" in few and "`quick` 以上" not in say.next_actions(verdicts(), params()).data


@pytest.mark.parametrize("emotion", EMOTIONS)
def test_tables_hold_every_style_of_an_emotion_and_every_null(emotion: str) -> None:
    table = say.table_verdicts(verdicts(), EMOTIONS)
    assert len(table) == 2 * len(EMOTIONS) and set(table["判定"]) == {"共通"}
    assert len(say.table_nulls(nulls(), [emotion])) == len(NULLS)
    counts = say.table_verdict_counts(verdicts())
    assert counts.loc["全体", "共通"] == len(LABELS) and list(counts.columns) == list(VERDICTS.values())
    others = say.table_other_verdicts(verdicts(), EMOTIONS)
    assert others is not None and len(others) == len(LABELS) - len(EMOTIONS)
    assert say.table_other_verdicts(verdicts()[verdicts()["label"].isin(EMOTIONS)], EMOTIONS) is None


def test_where_there_is_nothing_a_sentence_says_so() -> None:
    empty = pd.DataFrame(columns=["style", "label", "rival", "margin", "low", "high", "permuted_95"])
    for found in (
        say.table_rivals(empty),
        say.table_agreement(agreement().head(0)),
        say.table_transfer(pd.DataFrame()),
    ):
        assert isinstance(found, Markdown) and len(found.data) > 20


def transfer(**changed: float) -> pd.DataFrame:
    row = {"style": "all", "emotion": "gratitude", "other": "anger", "own": 0.2, "own_low": 0.1, "own_high": 0.3}
    row |= {"mapped": 0.1, "mapped_low": 0.05, "mapped_high": 0.15, "ratio": 0.5, "ratio_low": 0.2, "ratio_high": 0.9}
    return pd.DataFrame([{**row, "permuted_p": 0.05, "n_permuted": 19, "topic_p": np.nan, "n_topic": 0, **changed}])


def test_a_ratio_without_anything_to_compare_with_is_not_measurable() -> None:
    known, unknown = transfer(), transfer(ratio=np.nan, ratio_low=np.nan, ratio_high=np.nan)
    assert say.table_transfer(known)["比"].tolist() == ["0.50 [0.20, 0.90]"]
    assert say.table_transfer(unknown)["比"].tolist() == ["測定不能"]
    assert "転移は測定不能" in say.sentence_transfer(unknown).data
    assert "1 組のうち 1 組" in say.sentence_transfer(known).data


def test_a_label_that_a_page_would_obey_is_text() -> None:
    odd = (*EMOTIONS, "<b>x</b> `y`")
    for text in (
        say.conclusion(verdicts(), AT, odd).data,
        say.conclusion(verdicts(**{odd[-1]: {"verdict": "not_shown", "reason": "below_the_bar"}}), AT, odd).data,
    ):
        assert "<b>" not in text
    assert "&lt;b&gt;" in say.table_verdicts(verdicts(), odd).to_html()
