"""What phases read from scores: on-target columns, measures per emotion, agreement of two models."""

import numpy as np
import pandas as pd
import pytest

from emolib.base.errors import UserError
from emolib.scoring.goemotions import LABELS
from emolib.scoring.measures import agreement, measures, with_targets


def scores_of(n: int = 40, *, singles: bool = True) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    families = ["goemotions", *(["goemotions_lexical", "goemotions_encoder"] if singles else [])]
    columns = {f"{family}/{label}": rng.uniform(0, 1, n) for family in families for label in LABELS}
    columns |= {f"sentiment/{name}": rng.uniform(0, 1, n) for name in ("POSITIVE", "NEGATIVE", "NEUTRAL")}
    columns |= {"keywords/anger": rng.integers(0, 3, n)}
    return pd.DataFrame({"text": [f"text {i}" for i in range(n)], **columns})


def test_the_target_is_the_highest_of_the_emotions_labels():
    table = with_targets(scores_of(), ["anger", "apology", "joy", "boredom"])
    expected = np.maximum(table["goemotions/anger"], table["goemotions/annoyance"])
    np.testing.assert_array_equal(table["target/anger"], expected)
    assert not np.array_equal(table["target/anger"], table["goemotions/anger"])  # control: annoyance takes part
    np.testing.assert_array_equal(table["target_encoder/apology"], table["goemotions_encoder/remorse"])
    np.testing.assert_array_equal(table["target/joy"], table["goemotions/joy"])
    assert "target/boredom" not in table
    np.testing.assert_allclose(table["valence"], table["sentiment/POSITIVE"] - table["sentiment/NEGATIVE"])


def test_an_emotion_is_measured_by_its_words_and_its_labels_or_refused():
    table = with_targets(scores_of(), ["anger", "joy"])
    assert measures(table, ["anger", "joy"]) == {"anger": ["keywords/anger", "target/anger"], "joy": ["target/joy"]}
    with pytest.raises(UserError, match="nothing measures 'boredom'"):
        measures(table, ["anger", "boredom"])


def test_agreement_is_one_with_oneself_near_zero_with_chance_and_counts_a_text_once():
    table = scores_of(400)
    by_chance = agreement(with_targets(table, ["gratitude"]), ["gratitude"]).iloc[0]
    assert abs(by_chance["rank_correlation"]) < 0.15
    same = table.assign(**{f"goemotions_encoder/{label}": table[f"goemotions_lexical/{label}"] for label in LABELS})
    equal = agreement(with_targets(same, ["gratitude"]), ["gratitude"]).iloc[0]
    assert equal["rank_correlation"] == pytest.approx(1)
    assert equal["kappa"] > by_chance["kappa"] + 0.5
    twice = pd.concat([table, table], ignore_index=True)
    assert agreement(with_targets(twice, ["gratitude"]), ["gratitude"]).iloc[0]["n"] == 400


def test_one_model_alone_has_nothing_to_agree_with():
    assert agreement(with_targets(scores_of(singles=False), ["anger"]), ["anger"]).empty
