"""Planted leaks, duplicates and marks are found, and are not found where nothing was planted."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from emolib.base.errors import UserError
from emolib.readout import leaks, surface
from emolib.study import open_run, phase1_dataset

# none of these is a pronoun, a function word or a keyword
NOUNS = [
    f"{a}{b}" for a in ("bar", "lam", "ket", "rin", "sop") for b in ("dock", "lane", "mill", "reed", "tarn", "wick")
]


def crossed(plant=lambda emotion, words: words, *, n_scenarios=120, seed=0, styles=("unspecified",)) -> pd.DataFrame:
    """Every scenario under two labels, texts of random nouns; `plant` may change the words of a label."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(n_scenarios):
        for emotion in ("joy", "flat"):
            words = plant(emotion, [str(word) for word in rng.choice(NOUNS, size=8)])
            rows.append(
                {
                    "id": f"s{i}-{emotion}",
                    "scenario": f"s{i}",
                    "topic": "general",
                    "emotion": emotion,
                    "text": " ".join(words).capitalize() + ".",
                    "lang": "en",
                    "style": styles[i % len(styles)],
                    "split": ("train", "validation", "test")[i % 3],
                }
            )
    return pd.DataFrame(rows)


def insert(joy, flat, place):
    """Puts one word into every text of each label; words of the nouns' length (7) leave the length alone."""
    return lambda emotion, words: [*words[:place], joy if emotion == "joy" else flat, *words[place + 1 :]]


def aucs(data, **options) -> pd.Series:
    table = leaks.leak_table(data, "flat", **{"n_shuffles": 2, **options})
    return table[table["comparison"] == "joy vs flat"].set_index(["style", "features"])["auc"]["all"]


# leaks


def test_without_a_leak_no_feature_set_tells_the_labels_apart():
    found = aucs(crossed())
    assert list(found.index) == ["surface", "function_words", "opening", "keywords", "all_words", leaks.NULL]
    assert found.between(0.35, 0.65).all()


@pytest.mark.parametrize(
    ("joy", "flat", "place", "finds"),
    [
        ("you", "fog", 5, ["surface", "function_words", "all_words"]),
        ("elm", "fog", 5, ["all_words"]),
        ("because", "pumpkin", 5, ["function_words", "all_words"]),
        ("biscuit", "pumpkin", 0, ["opening", "all_words"]),
        ("biscuit", "pumpkin", 5, ["all_words"]),
        ("furious", "pumpkin", 5, ["keywords", "all_words"]),
        ("lamreed;", "lamreed,", 5, ["surface"]),
    ],
)
def test_a_planted_leak_is_found_by_those_feature_sets_alone_that_can_see_it(joy, flat, place, finds):
    found = aucs(crossed(insert(joy, flat, place))).drop(leaks.NULL)
    assert (found[finds] > 0.95).all()
    assert found.drop(finds).between(0.35, 0.65).all()


def test_shuffling_the_labels_within_scenarios_removes_a_planted_leak():
    found = aucs(crossed(insert("you", "fog", 5)), n_shuffles=5)
    assert found["all_words"] > 0.95
    assert 0.4 < found[leaks.NULL] < 0.6


def test_length_alone_is_a_leak_of_the_surface():
    longer = crossed(lambda emotion, words: words * 2 if emotion == "joy" else words)
    assert aucs(longer)["surface"] > 0.95


def test_words_that_tell_the_labels_of_one_scenario_do_not_help_in_another():
    """Six texts per scenario and label share a mark of their own; folds that split a scenario would reward it."""
    data = pd.concat([crossed(n_scenarios=40, seed=seed) for seed in range(6)], ignore_index=True)
    data["text"] = "Mark" + data["id"].str.replace("-", "") + " " + data["text"]
    assert 0.35 < aucs(data)["all_words"] < 0.65
    words, labels = leaks.feature_sets(data)["all_words"], (data["emotion"] == "joy").to_numpy()
    assert leaks.held_out_auc(words, labels, np.repeat(np.arange(6), 80)) > 0.75


def test_the_auc_equals_scikit_learns_cross_validated_one():
    data = crossed(lambda emotion, words: [*words, "you"] if emotion == "joy" and words[0] < "m" else words)
    values = leaks.feature_sets(data)["surface"]
    labels = (data["emotion"] == "joy").to_numpy()
    model = make_pipeline(StandardScaler(), LogisticRegression(solver="liblinear"))
    folds = GroupKFold(5, shuffle=True, random_state=3)
    scores = cross_val_predict(model, values, labels, groups=data["scenario"], cv=folds, method="decision_function")
    assert aucs(data, seed=3)["surface"] == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert 0.55 < roc_auc_score(labels, scores) < 0.95


def test_every_label_meets_the_neutral_one_and_the_rest_in_every_style():
    data = crossed(styles=("explicit", "implicit"))
    table = leaks.leak_table(data, "flat", n_shuffles=1)
    assert list(table) == ["comparison", "features", "style", "auc", "n"]
    assert not table.duplicated(["comparison", "features", "style"]).any()
    assert set(table["comparison"]) == {"joy vs flat", "joy vs rest", "flat vs rest"}
    assert table.groupby("style")["n"].first().to_dict() == {"all": 240, "explicit": 120, "implicit": 120}
    assert table["auc"].notna().all()


def test_the_leak_table_is_silent_and_depends_on_its_seed_alone(capfd):
    data = crossed()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first, again, other = (leaks.leak_table(data, "flat", seed=seed) for seed in (0, 0, 1))
    assert capfd.readouterr() == ("", "")
    pd.testing.assert_frame_equal(first, again)
    assert not first["auc"].equals(other["auc"])


def test_a_style_with_too_few_scenarios_gives_nan_and_a_data_set_with_too_few_is_refused():
    data = crossed(n_scenarios=12)
    data["style"] = np.where(data["scenario"].isin(["s0", "s1"]), "explicit", "implicit")
    by_style = leaks.leak_table(data, "flat", n_shuffles=1).groupby("style")["auc"]
    assert by_style.apply(lambda auc: auc.isna().all()).to_dict() == {"all": False, "explicit": True, "implicit": False}
    with pytest.raises(UserError, match="expected at least 13 scenarios"):
        leaks.leak_table(data, "flat", n_folds=13)
    with pytest.raises(UserError, match="neutral label 'calm', found flat, joy"):
        leaks.leak_table(data, "calm")


def test_a_scenario_lies_in_one_fold():
    data = crossed()
    folds = pd.Series(leaks.scenario_folds(data["scenario"], 4, seed=1))
    assert (folds.groupby(data["scenario"]).nunique() == 1).all()
    assert folds.groupby(folds).size().to_dict() == {0: 60, 1: 60, 2: 60, 3: 60}


def test_shuffling_keeps_every_scenarios_labels_and_moves_single_texts_among_themselves():
    scenarios = pd.Series([*np.repeat([f"s{i}" for i in range(50)], 2), *(f"alone{i}" for i in range(40))])
    labels = np.array([*["joy", "flat"] * 50, *["joy"] * 20, *["flat"] * 20], dtype=object)
    shuffled = leaks.shuffled_within(labels, scenarios, np.random.default_rng(0))
    crossed_part = pd.Series(shuffled[:100]).groupby(scenarios[:100]).nunique()
    assert (crossed_part == 2).all()
    assert 30 < (shuffled[:100] != labels[:100]).sum() < 70
    assert sorted(shuffled[100:]) == sorted(labels[100:])
    assert (shuffled[100:] != labels[100:]).any()


def test_contractions_are_taken_apart_into_their_words():
    assert surface.word_parts("I don\u2019t think we're off; can't he?") == [
        *("i", "do", "n't", "think", "we", "'re", "off", "ca", "n't", "he"),
    ]
    assert surface.words("I don\u2019t.") == ["i", "don't"]


def test_the_function_words_hold_no_emotion_word():
    from emolib.data.keywords import load_keywords

    lists = load_keywords()
    assert not [word for word in leaks.FUNCTION_WORDS for label in lists.labels if lists.count(word, label)]
    assert {"i", "you", "because", "n't"} <= set(leaks.FUNCTION_WORDS)
    assert len(set(leaks.FUNCTION_WORDS)) == len(leaks.FUNCTION_WORDS)


# duplicates

LAMP = "The brass lamp in the hallway fell over during the storm last night."
PIANO = "Nine people carried a grand piano up to the fourth floor."


def pair(first, second, *, same_scenario=False) -> pd.DataFrame:
    data = crossed(n_scenarios=2)
    rows = data.index[:2] if same_scenario else data.index[[0, 2]]
    data.loc[rows, "text"] = [first, second]
    return data


def test_a_planted_near_duplicate_across_scenarios_is_found_and_an_unrelated_pair_is_not():
    found = surface.duplicates(pair(LAMP, LAMP.replace("last night", "yesterday")), 85.0)
    assert found[["kind", "id_a", "id_b"]].values.tolist() == [["near", "s0-joy", "s1-joy"]]
    assert 85 <= found["ratio"].iloc[0] < 100
    assert surface.duplicates(pair(LAMP, PIANO), 85.0).empty


def test_the_threshold_decides_what_is_near():
    data = pair(LAMP, LAMP.replace("last night", "yesterday"))
    ratio = surface.duplicates(data, 85.0)["ratio"].iloc[0]
    assert len(surface.duplicates(data, ratio)) == 1
    assert surface.duplicates(data, ratio + 0.01).empty


def test_texts_of_one_scenario_may_resemble_but_not_repeat_each_other():
    near = pair(LAMP, LAMP.replace("last night", "yesterday"), same_scenario=True)
    assert surface.duplicates(near, 85.0).empty
    exact = surface.duplicates(pair(LAMP, LAMP.upper().replace(".", "!"), same_scenario=True), 85.0)
    assert exact[["kind", "ratio", "id_a", "id_b"]].values.tolist() == [["exact", 100.0, "s0-joy", "s0-flat"]]


def test_pairs_are_the_same_in_small_blocks_as_in_one(monkeypatch):
    data = crossed(n_scenarios=20)
    whole = surface.duplicates(data, 40.0)
    monkeypatch.setattr(surface, "BLOCK", 7)
    assert len(whole) > 20
    pd.testing.assert_frame_equal(surface.duplicates(data, 40.0), whole)


@pytest.mark.parametrize("threshold", [0.0, -1.0, 101.0])
def test_a_threshold_out_of_range_is_refused(threshold):
    with pytest.raises(UserError, match="token-set ratio"):
        surface.duplicates(crossed(n_scenarios=2), threshold)


# tables


def test_counts_add_up_to_the_data_set():
    data = crossed(styles=("explicit", "implicit"))
    table = surface.label_counts(data)
    assert table["texts"].sum() == len(data) and (table["texts"] == table["scenarios"]).all()
    assert table["split"].drop_duplicates().tolist() == ["train", "validation", "test"]
    assert surface.label_counts(data.iloc[1:])["texts"].sum() == len(data) - 1


def test_lengths_are_those_of_every_tokenizer():
    data = crossed(lambda emotion, words: words * 2 if emotion == "joy" else words)
    table = surface.length_table(data, {"words": lambda texts: [len(text.split()) for text in texts]})
    by = table.set_index(["unit", "emotion"])
    assert by.loc["words", ["mean", "min", "max", "sd"]].values.tolist() == [[16, 16, 16, 0], [8, 8, 8, 0]]
    characters = data.loc[data["emotion"] == "flat", "text"].str.len()
    row = by.loc[("characters", "flat")]
    assert row[["n", "mean", "min", "max", "sd"]].tolist() == pytest.approx(
        [len(characters), characters.mean(), characters.min(), characters.max(), characters.std()]
    )


def test_a_frequent_opening_is_listed_with_its_share():
    table = surface.opening_table(
        crossed(lambda emotion, words: ["It", "isn't", "me", *words] if emotion == "joy" else words)
    )
    first = table[table["rank"] == 1].set_index("emotion")
    assert first.loc["joy", "opening"] == "it isn't me"
    assert first.loc["joy", "share"] == 1.0
    assert first.loc["flat", "share"] < 0.1
    assert (
        surface.opening_table(crossed(insert("Well", "Then", 0)), n=1, top=1).set_index("emotion").loc["joy", "count"]
        == 120
    )


def test_a_mark_that_one_label_changes_is_not_shared_within_its_scenarios():
    data = crossed()
    table = surface.punctuation_table(data)
    assert table[["mark", "count", "share", "scenarios", "shared"]].values.tolist() == [[".", 120, 1.0, 120, 120]] * 2
    data.loc[data["id"] == "s5-joy", "text"] += "!"
    changed = surface.punctuation_table(data).set_index(["emotion", "mark"])[["scenarios", "shared"]]
    assert changed.loc[("joy", ".!")].tolist() == [1, 0]
    assert changed.loc[("joy", ".")].tolist() == [119, 119]
    assert changed.loc[("flat", ".")].tolist() == [120, 119]


def test_a_final_mark_is_all_the_punctuation_after_the_last_word():
    assert [surface.final_mark(text) for text in ("Go.", "Go?! ", "\u201cGo.\u201d", "Go", "A. b")] == [
        *(".", "?!", ".\u201d", "", ""),
    ]


def test_keyword_rates_follow_the_planted_share_per_style():
    planted = iter([True, False] * 60)
    data = crossed(
        lambda emotion, words: [*words, "grateful"] if emotion == "joy" and next(planted) else words,
        styles=("explicit", "implicit"),
    )
    rates = surface.keyword_rates(data).set_index(["emotion", "style", "keywords"])["share"]
    assert rates["joy", "all", "gratitude"] == 0.5
    assert rates["joy", "explicit", "gratitude"] == 1.0
    assert rates["joy", "implicit", "gratitude"] == 0.0
    assert rates["flat", "all", "gratitude"] == rates["joy", "all", "anger"] == 0.0


# the phase


@pytest.fixture
def phase_run(tmp_path, monkeypatch):
    """Opens phase 1 on a data set of the test's own, with results in a folder of its own."""
    monkeypatch.setenv("EMOLIB_RESULTS", str(tmp_path / "results"))

    def open_on(data, **params):
        path = tmp_path / "mine.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in data.to_dict("records")), encoding="utf-8")
        return open_run("baseline_smoke", "smollm2_135m", "phase1", dataset=str(path), neutral="flat", **params)

    return open_on


def test_later_phases_are_adjusted_only_where_the_surface_leaks(phase_run):
    assert phase1_dataset.adjusted(phase_run(crossed(insert("you", "fog", 5)))) is True
    assert phase1_dataset.adjusted(phase_run(crossed(insert("elm", "fog", 5)))) is False


def test_every_table_of_the_phase_is_stored_and_found_again(phase_run, monkeypatch):
    steps = [
        phase1_dataset.counts,
        phase1_dataset.duplicate_pairs,
        phase1_dataset.openings,
        phase1_dataset.punctuation,
        phase1_dataset.keyword_rates,
        phase1_dataset.leaks,
    ]
    data = crossed(n_scenarios=20)
    run = phase_run(data)
    first = [step(run) for step in steps]
    assert len(run.artifacts.made) == len(steps)
    for name in ("label_counts", "duplicates", "opening_table", "punctuation_table", "keyword_rates"):
        monkeypatch.setattr(surface, name, lambda *_, **__: pytest.fail("computed again"))
    monkeypatch.setattr(phase1_dataset, "leak_table", lambda *_, **__: pytest.fail("computed again"))
    again = phase_run(data)
    for step, table in zip(steps, first, strict=True):
        pd.testing.assert_frame_equal(step(again), table)
    assert "lm" not in run.__dict__
    with pytest.raises(pytest.fail.Exception, match="computed again"):
        phase1_dataset.duplicate_pairs(phase_run(data, near_duplicate=50.0))
    with pytest.raises(pytest.fail.Exception, match="computed again"):
        phase1_dataset.counts(phase_run(crossed(n_scenarios=19)))


def test_lengths_count_the_tokens_of_the_runs_model(phase_run):
    run = phase_run(crossed(n_scenarios=6))
    table = phase1_dataset.lengths(run).set_index(["unit", "emotion"])
    texts = run.data.loc[run.data["emotion"] == "joy", "text"]
    counts = [len(run.lm.tokenizer.tokenize(text)) for text in texts]
    assert table.loc[("smollm2_135m", "joy"), "mean"] == pytest.approx(np.mean(counts))
    assert table.loc[("characters", "joy"), "mean"] > table.loc[("smollm2_135m", "joy"), "mean"]
