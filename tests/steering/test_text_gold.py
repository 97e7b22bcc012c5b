"""Gold for text scores: the data set's own texts in place of the steered ones."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from emolib.base.errors import UserError
from emolib.data.dataset import load_dataset
from emolib.data.keywords import load_keywords
from emolib.steering.instruments import instrument_table, judged_pairs
from emolib.steering.text_gold import CELL_COLUMNS, text_score_cells

OWN = ("gratitude", "anger", "apology")


@pytest.fixture(scope="module")
def keyword_scores() -> pd.DataFrame:
    """The data set's validation texts with the counts of the keyword lists."""
    data = load_dataset().query("split == 'validation'").reset_index(drop=True)
    lists = load_keywords()
    counts = {f"keywords/{label}": [lists.count(text, label) for text in data["text"]] for label in OWN}
    return data.assign(**counts)


def verdicts(scores: pd.DataFrame, measures: dict[str, list[str]]) -> pd.DataFrame:
    cells = text_score_cells(scores, measures).assign(instrument="gold_texts")
    return instrument_table(judged_pairs(cells)).set_index(["style", "emotion"])


def test_word_counts_see_explicit_texts_and_not_implicit_ones(keyword_scores: pd.DataFrame) -> None:
    found = verdicts(keyword_scores, {label: [f"keywords/{label}"] for label in OWN})
    print(found[["n", "estimate", "se", "p", "passed", "verdict"]].to_string())
    assert found.loc["explicit", "passed"].all(), "every text changed by exactly one word is evidence"
    assert not found.loc["implicit", "passed"].any() and (found.loc["implicit", "verdict"] == "failed").all()


def test_another_emotion_s_words_are_no_gold(keyword_scores: pd.DataFrame) -> None:
    found = verdicts(keyword_scores, {"gratitude": ["keywords/anger"], "anger": ["keywords/anger"]})
    assert not found.loc[("explicit", "gratitude"), "passed"] and found.loc[("explicit", "anger"), "passed"]


def test_differences_are_those_of_the_scenario_s_texts(keyword_scores: pd.DataFrame) -> None:
    measures = {"gratitude": ["score"], "anger": ["score"]}
    scores = keyword_scores.assign(score=np.random.default_rng(0).standard_normal(len(keyword_scores)))
    cells = text_score_cells(scores, measures)
    assert cells.columns.tolist() == CELL_COLUMNS and set(cells["other"]) == {"neutral", "anger", "gratitude"}
    row = cells.iloc[5]
    of_label = scores[scores["scenario"] == row["text"]].set_index("emotion")["score"]
    assert row["specific"] == pytest.approx(of_label[row["emotion"]] - of_label[row["other"]])
    assert cells.groupby(["emotion", "other"])["text"].nunique().eq(45).all()


def test_bad_scores_are_told(keyword_scores: pd.DataFrame) -> None:
    measures = {"gratitude": ["keywords/gratitude"], "anger": ["keywords/gratitude"]}
    with pytest.raises(UserError, match="lacks one"):
        text_score_cells(keyword_scores[1:], measures)
    with pytest.raises(UserError, match="there is no score"):
        text_score_cells(keyword_scores, {"gratitude": ["score"]})
    with pytest.raises(UserError, match="label 'joy'"):
        text_score_cells(keyword_scores, measures, others={"gratitude": ["joy"], "anger": []})
