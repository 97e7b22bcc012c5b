"""A planted marker is found and confirmed; labels shuffled within scenarios confirm nothing; counts are right."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from emolib.data.dataset import load_dataset
from emolib.readout.leak_search import COLUMNS, FEWEST_SCENARIOS, TOP, coarse_tags, leak_search, unexplained
from emolib.readout.surface_gate import gate_table
from emolib.readout.text_counts import COUNTS, calendar_count, text_counts

DATA = load_dataset()


def with_weekday(data: pd.DataFrame, share: float = 1.0) -> pd.DataFrame:
    """The data set with "on Monday" put into a share of its neutral texts, by scenario."""
    number = pd.factorize(data["scenario"])[0]
    chosen = (data["emotion"] == "neutral") & (number % 100 < 100 * share)
    text = data["text"].where(~chosen, data["text"].str.replace(r"([.?!])$", r" on Monday\1", regex=True))
    return data.assign(text=text)


def shuffled(data: pd.DataFrame, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    drawn = data.groupby("scenario", sort=False)["emotion"].transform(lambda part: rng.permutation(part.to_numpy()))
    return data.assign(emotion=drawn)


def test_a_weekday_in_neutral_texts_is_found_confirmed_and_no_emotion_word() -> None:
    found = leak_search(with_weekday(DATA), "neutral")
    assert list(found.columns) == COLUMNS and (found.groupby("emotion").size() == TOP).all()
    left = unexplained(found)
    for emotion in ("gratitude", "anger", "apology"):
        rows = left[left["emotion"] == emotion].set_index("feature")
        for feature in ("monday", "on monday", "<weekdays>"):
            assert rows.loc[feature, "held_neutral"] == 1 and rows.loc[feature, "auc"] < 0.05
            assert rows.loc[feature, "n"] == (DATA.drop_duplicates("scenario")["split"] != "train").sum()


def test_a_marker_of_a_third_of_the_neutral_texts_is_found_too() -> None:
    found = unexplained(leak_search(with_weekday(DATA, 0.33), "neutral"))
    assert {"gratitude", "anger", "apology"} == set(found.loc[found["feature"] == "monday", "emotion"])


def test_labels_shuffled_within_scenarios_confirm_next_to_nothing() -> None:
    confirmed = [int(leak_search(shuffled(DATA, seed), "neutral")["confirmed"].sum()) for seed in range(6)]
    assert sum(confirmed) <= 3, confirmed  # 18 families at a level of 0.05
    planted = leak_search(shuffled(with_weekday(DATA), 0), "neutral")
    assert not planted.loc[planted["feature"] == "monday", "confirmed"].any()


def test_words_of_the_lists_are_called_so() -> None:
    found = leak_search(DATA, "neutral")
    assert found.loc[found["feature"] == "sorry", "own_word"].all()
    assert not found.loc[found["feature"] == "the", "own_word"].any()
    assert found["p_holm"].ge(found["p"]).all() and found.loc[found["confirmed"], "p_holm"].lt(0.05).all()


def test_shares_and_p_are_those_counted_by_hand() -> None:
    rows = []
    for i in range(40):
        has = i % 4 != 0  # three of four joyful texts hold it, one of four flat ones
        rows.append((f"s{i}", "joy", "train" if i < 20 else "test", "a lantern hill" if has else "a river hill"))
        rows.append((f"s{i}", "flat", "train" if i < 20 else "test", "a river hill" if has else "a lantern hill"))
    data = pd.DataFrame(rows, columns=["scenario", "emotion", "split", "text"]).assign(lang="en")
    row = leak_search(data, "flat").set_index("feature").loc["lantern"]
    assert (row["train_share"], row["train_neutral"], row["held_share"], row["auc"]) == (0.75, 0.25, 0.75, 0.75)
    assert row["p"] == pytest.approx(_binomial_tail(15, 20))


def _binomial_tail(least: int, n: int) -> float:
    from math import comb

    return sum(comb(n, k) for k in range(least, n + 1)) / 2**n


def test_a_data_set_without_held_out_scenarios_or_with_few_gives_nothing() -> None:
    assert leak_search(DATA[DATA["split"] == "train"], "neutral").empty
    few = DATA[DATA["scenario"].isin(DATA["scenario"].unique()[: FEWEST_SCENARIOS - 1])]
    assert leak_search(few, "neutral").empty


def test_tags_are_coarse() -> None:
    assert coarse_tags("She's been waiting for our longest ladders") == [
        *("<she>", "'s", "been", "<-ing>", "for", "<we>", "<-est>", "<-s>")
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Call Ann at 9:30 on Tuesday.", {"imperatives": 1, "names": 1, "times": 1, "weekdays": 1}),
        ("We met on 3/14 and paid 20 dollars.", {"dates": 1, "numbers": 1}),
        ("Could you keep the two keys, please?", {"requests": 2, "number_words": 1}),
        ("I think May is nice.", {"names": 1}),
        ("The lamp is green.", {}),
        ("Tomorrow morning, Bea.", {"dates": 1, "times": 1, "names": 1}),
    ],
)
def test_counts(text: str, expected: dict[str, int]) -> None:
    found = text_counts([text]).loc[0]
    assert {name: found[name] for name in COUNTS if found[name]} == expected
    calendar = ("numbers", "number_words", "dates", "weekdays", "times")
    assert calendar_count([text])[0] == sum(expected.get(name, 0) for name in calendar)


def test_the_gate_sees_a_calendar_and_not_where_there_is_none() -> None:
    small = DATA[DATA["emotion"].isin(["anger", "neutral"])]
    plain = gate_table(small, "neutral").set_index(["style", "texts", "features"])
    planted = gate_table(with_weekday(small), "neutral").set_index(["style", "texts", "features"])
    assert set(plain.reset_index()["texts"]) == {"every", "minimal", "other"}
    for style in ("all", "explicit", "implicit"):
        assert 0.4 <= plain.loc[(style, "every", "calendar"), "auc"] <= 0.6
        assert planted.loc[(style, "every", "calendar"), "auc"] < 0.1
        assert planted.loc[(style, "every", "surface"), "auc"] > 0.95
        row = plain.loc[(style, "every", "surface")]
        assert row["low"] < row["auc"] < row["high"] and row["auc"] <= 0.66


def test_the_gate_of_too_few_scenarios_is_not_a_number() -> None:
    few = DATA[DATA["scenario"].isin(DATA["scenario"].unique()[:6])]
    table = gate_table(few, "neutral")
    assert table.loc[table["features"] == "surface", "auc"].isna().all()
