"""Probes on planted activations: what was put in is read, the source that carries it wins, and chance stays chance."""

from __future__ import annotations

from dataclasses import replace
from math import erf

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from emolib.base.errors import UserError
from emolib.data.activations import Activations
from emolib.readout import information, probe_sources, probes
from emolib.statistics import auc

LAYERS, D_MODEL = 3, 24
SPLITS = {"train": 160, "validation": 40, "test": 60}
VOCABULARY = [f"word{i:02}" for i in range(30)]
RNG = np.random.default_rng


def planted(
    directions: dict[str, float] | None = None,
    *,
    word: str | None = None,
    emotions: tuple[str, ...] = ("anger",),
    at_layers: tuple[int, ...] = (2, 3),
    padding: int = 0,
    seed: int = 0,
) -> dict[str, Activations]:
    """Activations per split; each style's emotions may be moved along its own axis, or carry a word of their own.

    Args:
        directions: style → index of the axis that carries the emotion there (a shared index is a shared direction).
        word: a word that nine of ten emotional texts contain and no neutral one; of six letters, as all others are.
        padding: how many words longer an emotional text is.
    """
    rng = RNG(seed)
    rows, values = [], []
    for split, count in SPLITS.items():
        for scenario in range(count):
            style = ("explicit", "implicit")[scenario % 2]
            for emotion in rng.permutation(["neutral", *emotions]):
                moved = emotion != "neutral"
                said = list(rng.choice(VOCABULARY, 8 + padding * moved))
                if word and moved and rng.random() < 0.9:
                    said[int(rng.integers(len(said)))] = word
                noise = rng.standard_normal((LAYERS + 1, D_MODEL))
                if directions and moved:
                    noise[list(at_layers), directions[style]] += 4
                values.append(noise)
                name = f"{split}-{scenario}"
                texts = {"text": " ".join(said), "n_tokens": len(said), "style": style}
                rows.append({"id": f"{name}-{emotion}", "scenario": name, "emotion": emotion, "split": split, **texts})
    table = pd.DataFrame(rows)
    resid = np.stack(values, axis=1).astype(np.float32)
    offsets = np.arange(len(table) + 1)
    acts = Activations({"resid_pre": resid}, table, np.linalg.norm(resid, axis=2), offsets, "mean", "planted", "r0")
    return {split: acts.where(table["split"] == split) for split in SPLITS}


def noise_like(sets: dict[str, Activations], seed: int = 9) -> list[np.ndarray]:
    """Embeddings `[text, 12]` that know nothing."""
    rng = RNG(seed)
    return [rng.standard_normal((len(part.texts), 12)) for part in sets.values()]


def informed(sets: dict[str, Activations], **options) -> pd.DataFrame:
    options = {"embedding": noise_like(sets), "n_shuffles": 5, "n_resamples": 500, **options}
    return information.information_table(*sets.values(), **options)


def of(table: pd.DataFrame, source: str, style: str = "all") -> pd.Series:
    return table[(table["source"] == source) & (table["style"] == style)].iloc[0]


def scored(n_scenarios: int = 30, seed: int = 0, *, ties: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores, labels and scenarios; some scenarios have one label only."""
    rng = RNG(seed)
    truth = rng.random(3 * n_scenarios) < 0.4
    scores = truth + 1.5 * rng.standard_normal(len(truth))
    return (np.round(scores) if ties else scores), truth, np.repeat([f"s{i}" for i in range(n_scenarios)], 3)


# the probe


@pytest.mark.parametrize(
    ("directions", "low", "high"), [({"explicit": 0, "implicit": 0}, 0.9, 1.0), (None, 0.25, 0.75)]
)
def test_the_probe_reads_a_planted_direction_and_stays_at_chance_without_one(directions, low, high):
    sets = planted(directions)
    table = probes.probe_table(sets["train"], {"test": sets["test"]}, n_shuffles=3)
    assert list(table.columns) == ["emotion", "layer", "split", "auc", "shuffled_mean", "shuffled_max"]
    inner = table.loc[table["layer"] >= 2, "auc"]
    assert low <= inner.min() and inner.max() <= high
    assert table.loc[table["layer"] < 2, "auc"].between(0.25, 0.75).all()
    assert 0.2 < table["shuffled_mean"].mean() < 0.8


@pytest.mark.parametrize(("texts", "features"), [(60, 200), (200, 30)])
def test_a_probe_in_the_row_space_scores_texts_as_the_probe_on_all_features_does(texts, features):
    rng = RNG(0)
    x, other = rng.standard_normal((texts, features)) * 5 + 2, rng.standard_normal((50, features))
    x[:, 3] = 7.0  # a constant feature has no spread to divide by
    y = rng.random(texts) < 0.5
    fit_on, test_on = probe_sources.row_space(x, other)
    full = make_pipeline(StandardScaler(), probes.logistic(0.01)).fit(x, y).decision_function(other)
    reduced = probes.logistic(0.01).fit(fit_on, y).decision_function(test_on)
    assert fit_on.shape[1] <= min(texts, features)
    np.testing.assert_allclose(reduced, full, atol=1e-8)
    assert np.abs(probes.logistic(1.0).fit(fit_on, y).decision_function(test_on) - full).max() > 0.1

    cut = probes.logistic(0.01).fit(fit_on[:, :-5], y).decision_function(test_on[:, :-5])
    assert np.abs(cut - full).max() > 1e-3  # fewer coordinates than the row space are not enough


def test_the_penalised_intercept_changes_nothing_where_both_labels_are_equally_frequent():
    rng = RNG(1)
    y = np.tile([True, False], 40)
    x, other = rng.standard_normal((80, 200)) + y[:, None] * 0.3, rng.standard_normal((200, 200))
    fit_on, test_on = probe_sources.row_space(x, other)
    ours = probes.logistic(0.01).fit(fit_on, y).decision_function(test_on)
    free = LogisticRegression(C=0.01, solver="lbfgs", tol=1e-10, max_iter=1000).fit(fit_on, y)
    assert np.corrcoef(ours, free.decision_function(test_on))[0, 1] > 0.9999


# intervals


@pytest.mark.parametrize("ties", [False, True])
def test_the_auc_is_the_one_of_scikit_learn(ties):
    scores, truth, scenarios = scored(ties=ties)
    area, low, high = auc.auc_interval(scores, truth, scenarios)
    assert area == pytest.approx(roc_auc_score(truth, scores), abs=1e-12)
    assert low < area < high
    other = RNG(5).standard_normal(len(truth))
    difference, *_ = auc.auc_difference(scores, other, truth, scenarios)
    assert difference == pytest.approx(roc_auc_score(truth, scores) - roc_auc_score(truth, other), abs=1e-12)


def test_the_resamples_are_those_of_a_plain_loop_over_drawn_scenarios():
    scores, truth, scenarios = scored(12, ties=True)
    truth, codes = auc._checked(truth, scenarios, scores)
    weights = auc._scenario_weights(12, 50, seed=3)
    tables = auc._pair_counts(scores, truth, codes), auc._pair_totals(truth, codes)
    fast = auc._resampled(*tables, weights)
    slow = []
    for drawn in weights.astype(int):
        rows = np.concatenate([np.tile(np.flatnonzero(codes == s), times) for s, times in enumerate(drawn)])
        slow.append(roc_auc_score(truth[rows], scores[rows]))
    np.testing.assert_allclose(fast, slow, atol=1e-12)
    ends = auc.auc_interval(scores, truth, scenarios, n_resamples=50, seed=3)[1:]
    np.testing.assert_allclose(ends, np.quantile(slow, [0.025, 0.975]), atol=1e-12)
    assert auc.auc_interval(scores, truth, scenarios, n_resamples=50, seed=4)[1:] != ends


def test_both_scores_of_a_difference_meet_the_same_resamples():
    scores, truth, scenarios = scored()
    assert auc.auc_difference(scores, scores, truth, scenarios) == (0.0, 0.0, 0.0)
    told = auc.auc_interval(scores, truth, scenarios)
    against_chance = auc.auc_difference(scores, np.zeros(len(scores)), truth, scenarios)
    assert against_chance == pytest.approx([end - 0.5 for end in told])
    nearly = scores + 0.05 * RNG(2).standard_normal(len(scores))
    _, low, high = auc.auc_difference(scores, nearly, truth, scenarios)
    assert high - low < 0.3 * (told[2] - told[1])


def test_duplicating_every_text_of_a_scenario_does_not_narrow_the_interval():
    scores, truth, scenarios = scored()
    single = auc.auc_interval(scores, truth, scenarios)
    doubled = [np.tile(column, 4) for column in (scores, truth, scenarios)]
    assert auc.auc_interval(*doubled) == pytest.approx(single)
    as_if_independent = auc.auc_interval(*doubled[:2], np.arange(len(doubled[0])))
    assert as_if_independent[2] - as_if_independent[1] < 0.7 * (single[2] - single[1])


def test_the_interval_covers_the_true_auc_when_whole_scenarios_are_drawn():
    rng = RNG(0)
    between, shift, repeats = 1.5, 1.2, 200
    true = 0.5 * (1 + erf(shift / np.sqrt(2 * (1 + between**2)) / np.sqrt(2)))
    truth, scenarios = np.repeat(np.arange(50) % 2 == 0, 4), np.repeat(np.arange(50), 4)
    covered = {"scenario": 0, "text": 0}
    for repeat in range(repeats):
        own = rng.standard_normal(50)[scenarios] * between
        scores = shift * truth + own + rng.standard_normal(len(truth))
        for unit, drawn in (("scenario", scenarios), ("text", np.arange(len(truth)))):
            _, low, high = auc.auc_interval(scores, truth, drawn, n_resamples=300, seed=repeat)
            covered[unit] += low <= true <= high
    assert covered["scenario"] / repeats >= 0.9
    assert covered["text"] / repeats < 0.8  # texts of a scenario are not independent


def test_resamples_without_a_pair_are_left_out():
    truth, scenarios = np.array([True, False, False, False]), np.array(["a", "b", "c", "d"])
    scores = np.array([0.5, 0.1, 0.9, 0.2])
    codes = auc._checked(truth, scenarios, scores)[1]
    tables = auc._pair_counts(scores, truth, codes), auc._pair_totals(truth, codes)
    weights = auc._scenario_weights(4, 200, 0)
    drawn = auc._resampled(*tables, weights)
    assert (np.isnan(drawn) == (weights[:, 0] == 0) | (weights[:, 0] == 4)).all() and np.isnan(drawn).any()
    area, low, high = auc.auc_interval(scores, truth, scenarios, n_resamples=200)
    assert area == pytest.approx(2 / 3) and 0 <= low <= area <= high <= 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"truth": np.ones(6, bool)}, "both labels, got 6 positive of 6"),
        ({"truth": np.zeros(6, bool)}, "both labels, got 0 positive of 6"),
        ({"scenarios": ["a"] * 6}, "at least 2 scenarios"),
        ({"scenarios": ["a", "b"]}, "one score, label and scenario per text"),
        ({"scores": np.full(6, np.nan)}, "not finite"),
        ({"n_resamples": 0}, "at least 1 resample"),
    ],
)
def test_an_interval_of_what_has_none_is_refused(change, message):
    asked = {"scores": np.arange(6.0), "truth": np.arange(6) > 2, "scenarios": list("aabbcc"), "n_resamples": 20}
    auc.auc_interval(**asked)
    with pytest.raises(UserError, match=message):
        auc.auc_interval(**{**asked, **change})


# residual stream against words


def test_a_direction_that_no_word_carries_gives_the_residual_stream_the_advantage():
    table = informed(planted({"explicit": 0, "implicit": 0}))
    assert tuple(table.columns) == information.INFORMATION_COLUMNS
    residual = of(table, "residual")
    assert residual["auc"] > 0.95 and residual["auc"] > residual["shuffled_max"]
    assert residual["layer"] >= 2 and residual["c"] == 0.01 and np.isnan(residual["advantage"])
    for source in ("embedding", "words", "length"):
        row = of(table, source)
        assert row["advantage_low"] > 0 and 0.25 < row["auc"] < 0.75
        assert row["advantage"] == pytest.approx(residual["auc"] - row["auc"])
        assert pd.isna(row["layer"]) and row["c"] in probe_sources.PENALTIES


def test_an_emotion_that_a_word_alone_carries_gives_the_words_the_advantage():
    table = informed(planted(word="raging"))
    words = of(table, "words")
    assert words["auc"] > 0.8 and words["auc"] > words["shuffled_max"] and words["advantage_high"] < 0
    length = of(table, "length")
    assert length["advantage_low"] < 0 < length["advantage_high"]  # neither knows anything


def test_embedding_and_length_are_read_where_they_carry_the_label():
    sets = planted(padding=4)
    told = [3.0 * (part.texts["emotion"] == "anger").to_numpy()[:, None] for part in sets.values()]
    embedding = [known + rows for known, rows in zip(told, noise_like(sets), strict=True)]
    table = informed(sets, embedding=embedding)
    for source in ("embedding", "length"):
        assert of(table, source)["auc"] > 0.95 and of(table, source)["advantage_high"] < 0
    misplaced = informed(sets, embedding=[*embedding[:2], embedding[2][::-1]])  # not in the order of the texts
    assert of(misplaced, "embedding")["auc"] < 0.75


def test_noise_stays_at_chance_in_every_source_and_style():
    table = informed(planted(emotions=("anger", "apology")), n_shuffles=20)
    assert set(table["style"]) == {"all", "explicit", "implicit"}
    assert (table["low"] <= table["auc"]).all() and (table["auc"] <= table["high"]).all()
    whole = table[table["style"] == "all"]
    # of 8 rows by chance a few in a hundred miss 0.5, and one in 21 exceeds the best of 20 shuffles
    assert ((whole["low"] <= 0.5) & (whole["high"] >= 0.5)).sum() >= 6
    assert (whole["auc"] <= whole["shuffled_max"]).sum() >= 6
    assert whole["shuffled_mean"].between(0.4, 0.6).all()
    assert whole["n"].eq(2 * SPLITS["test"]).all()
    assert table.loc[table["style"] != "all", "n"].eq(SPLITS["test"]).all()


def test_the_layer_is_chosen_on_validation_and_the_lowest_of_equals_taken():
    sets = planted({"explicit": 0, "implicit": 0}, at_layers=(2,))
    assert of(informed(sets), "residual")["layer"] == 2
    assert of(informed(sets, layers=[0, 1]), "residual")["auc"] < 0.75
    for part in sets.values():
        part.values["resid_pre"][1] = part.values["resid_pre"][2]
    assert of(informed(sets), "residual")["layer"] == 1
    assert of(informed(sets, layers=[3, 2, 1]), "residual")["layer"] == 1


def with_labels_swapped(part: Activations, share: float = 0.5) -> Activations:
    texts = part.texts.copy()
    swapped = texts["scenario"].isin(texts["scenario"].unique()[: int(share * texts["scenario"].nunique())])
    other = {"neutral": "anger", "anger": "neutral"}
    texts["emotion"] = texts["emotion"].where(~swapped, texts["emotion"].map(other))
    return replace(part, texts=texts)


def test_test_labels_choose_neither_layer_nor_penalty():
    sets = planted({"explicit": 0, "implicit": 0}, word="raging")
    table = informed(sets)
    permuted = informed({**sets, "test": with_labels_swapped(sets["test"])})
    pd.testing.assert_frame_equal(permuted[["layer", "c"]], table[["layer", "c"]])
    assert of(permuted, "residual")["auc"] < of(table, "residual")["auc"] - 0.3
    misled = informed({**sets, "validation": with_labels_swapped(sets["validation"], 1.0)})
    assert of(misled, "residual")["layer"] < 2  # validation labels do choose


def with_ending(part: Activations, angry: str, calm: str) -> Activations:
    ending = np.where(part.texts["emotion"] == "anger", angry, calm)
    return replace(part, texts=part.texts.assign(text=part.texts["text"] + " " + ending))


def word_features(train: Activations, test: Activations) -> list[np.ndarray]:
    return next(probe_sources._words([train, test, test], []))[1]


def test_words_that_no_training_text_has_are_not_learned_from_test_texts():
    told, silent = planted(word="raging"), planted()
    assert of(informed({**silent, "test": told["test"]}), "words")["auc"] < 0.75
    assert of(informed(told), "words")["auc"] > 0.8
    first, second = (word_features(silent["train"], test)[0] for test in (silent["test"], told["test"]))
    np.testing.assert_array_equal(first, second)
    assert word_features(told["train"], silent["test"])[0].shape != first.shape


@pytest.mark.parametrize(("angry", "calm"), [("I", "a"), ("not so", "so not"), ("don't", "do")])
def test_letters_order_and_contractions_are_words_too(angry, calm):
    told = {split: with_ending(part, angry, calm) for split, part in planted().items()}
    silent = {split: with_ending(part, angry, angry) for split, part in planted().items()}
    assert of(informed(told), "words")["auc"] > 0.95
    assert of(informed(silent), "words")["auc"] < 0.75


def test_case_says_nothing():
    shouted = {split: with_ending(part, "Now", "now") for split, part in planted().items()}
    assert of(informed(shouted), "words")["auc"] < 0.75


def test_the_residual_probe_is_that_of_the_probe_table_whatever_the_scale_of_a_dimension():
    sets = planted({"explicit": 0, "implicit": 0})
    before = of(informed(sets), "residual")
    for part in sets.values():
        part.values["resid_pre"][:, :, 0] *= 1e-3
        part.values["resid_pre"][:, :, 5] *= 1e3
    residual = of(informed(sets), "residual")
    by_layer = probes.probe_table(sets["train"], {"test": sets["test"]}, n_shuffles=1).set_index("layer")["auc"]
    assert residual["auc"] == pytest.approx(by_layer[residual["layer"]], abs=1e-3)
    assert residual["auc"] == pytest.approx(before["auc"], abs=1e-3)
    assert by_layer[0] < 0.75 < residual["auc"]


def test_the_table_repeats_with_its_seed_and_not_with_another():
    sets = planted()
    pd.testing.assert_frame_equal(informed(sets), informed(sets))
    first, second = informed(sets), informed(sets, seed=1)
    pd.testing.assert_series_equal(first["auc"], second["auc"])
    for source in ("residual", "embedding", "words"):
        assert of(first, source)["shuffled_mean"] != of(second, source)["shuffled_mean"]
        assert of(first, source)["low"] != of(second, source)["low"]


def test_a_style_with_too_few_scenarios_is_not_tested_on_its_own():
    sets = planted({"explicit": 0, "implicit": 0})
    texts = sets["test"].texts
    rare = texts["style"].eq("implicit") & ~texts["scenario"].isin(["test-1", "test-3", "test-5"])
    few = {**sets, "test": sets["test"].where(~rare)}
    assert set(informed(few)["style"]) == {"all", "explicit"}
    assert information.cross_style_table(*few.values(), n_shuffles=2).empty
    assert set(informed(sets)["style"]) == {"all", "explicit", "implicit"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"neutral": "neutrla"}, "did you mean 'neutral'"),
        ({"layers": [LAYERS + 1]}, f"expected layers in 0-{LAYERS}"),
        ({"layers": []}, f"expected layers in 0-{LAYERS}"),
        ({"embedding": [np.zeros((3, 2))] * 3}, "expected embeddings"),
        ({"embedding": [np.zeros((3, 2))] * 2}, "expected embeddings"),
        ({"n_shuffles": 0}, "at least 1 label shuffle"),
        ({"n_resamples": 0}, "at least 1 resample"),
    ],
)
def test_what_cannot_be_asked_for_is_refused(change, message):
    with pytest.raises(UserError, match=message):
        informed(planted(), **change)


def test_sets_that_leak_or_lack_a_label_are_refused():
    sets = planted()
    with pytest.raises(UserError, match="validation and test share 40, such as 'validation-0'"):
        informed({**sets, "test": sets["validation"]})
    calm = sets["test"].where(sets["test"].texts["emotion"] == "neutral")
    with pytest.raises(UserError, match="'anger' and 'neutral' in the test set"):
        informed({**sets, "test": calm})
    with pytest.raises(UserError, match="at least one label beside 'neutral'"):
        informed({**sets, "train": sets["train"].where(sets["train"].texts["emotion"] == "neutral")})
    texts = sets["train"].texts
    apart = (texts["emotion"] == "anger") == texts["scenario"].str[-1].isin(list("02468"))
    with pytest.raises(UserError, match="a training scenario that has both"):
        informed({**sets, "train": sets["train"].where(apart)})
    sets["train"].values["resid_pre"][0, 0, 0] = np.inf
    with pytest.raises(UserError, match="not finite"):
        informed(sets)


# across styles


def crossed(sets: dict[str, Activations], **options) -> pd.DataFrame:
    table = information.cross_style_table(*sets.values(), **{"n_shuffles": 5, "n_resamples": 500, **options})
    return table.set_index(["source", "trained_on", "tested_on"])


def test_a_direction_that_both_styles_share_transfers_and_one_of_each_style_does_not():
    shared = crossed(planted({"explicit": 0, "implicit": 0})).loc["residual"]
    own = crossed(planted({"explicit": 0, "implicit": 1})).loc["residual"]
    for trained_on, tested_on in (("explicit", "implicit"), ("implicit", "explicit")):
        assert shared.loc[(trained_on, tested_on), "low"] > 0.85
        assert own.loc[(trained_on, trained_on), "low"] > 0.85
        assert own.loc[(trained_on, tested_on), "high"] < own.loc[(trained_on, trained_on), "low"]
        assert own.loc[(trained_on, tested_on), "auc"] < 0.85
        assert own.loc[("all", tested_on), "low"] > 0.75  # trained on both, each is read


def test_the_words_of_one_style_say_nothing_about_a_style_that_lacks_them():
    sets = planted(word="raging")
    for part in sets.values():
        plain = part.texts["text"].str.replace("raging", "word00")
        part.texts["text"] = part.texts["text"].where(part.texts["style"] == "explicit", plain)
    words = crossed(sets).loc["words"]
    assert words.loc[("explicit", "explicit"), "auc"] > 0.8
    assert words.loc[("explicit", "implicit"), "auc"] < 0.75
    assert words["layer"].isna().all()


def test_the_layer_is_chosen_on_validation_texts_of_the_style_trained_on():
    sets = planted({"explicit": 0, "implicit": 0}, at_layers=(2, 3))
    for part in sets.values():  # each style keeps its direction at one layer only
        for layer, style in ((2, "implicit"), (3, "explicit")):
            away = (part.texts["style"] == style).to_numpy()
            part.values["resid_pre"][layer, away] = RNG(layer).standard_normal((away.sum(), D_MODEL))
    layers = crossed(sets).loc["residual"]["layer"]
    assert (layers["explicit"] == 2).all() and (layers["implicit"] == 3).all()


def test_the_cross_style_table_has_a_row_per_pair_and_is_empty_where_a_style_is_missing():
    sets = planted(emotions=("anger", "apology"))
    table = information.cross_style_table(*sets.values(), n_shuffles=2, n_resamples=100)
    assert tuple(table.columns) == information.CROSS_STYLE_COLUMNS and len(table) == 2 * 2 * 3 * 2
    assert table["n"].eq(SPLITS["test"]).all() and table["auc"].between(0.2, 0.8).all()
    for name, part in sets.items():
        plain = {**sets, name: part.where(part.texts["style"] == "explicit")}
        missing = information.cross_style_table(*plain.values(), n_shuffles=2)
        assert missing.empty and tuple(missing.columns) == information.CROSS_STYLE_COLUMNS
    one_lacks_it = sets["train"].texts.eval("style == 'implicit' and emotion == 'apology'")
    part = {**sets, "train": sets["train"].where(~one_lacks_it)}
    assert set(information.cross_style_table(*part.values(), n_shuffles=2, n_resamples=100)["emotion"]) == {"anger"}


def test_the_gap_between_two_kinds_of_scenarios_is_that_of_their_aucs_and_each_kind_is_drawn_on_its_own():
    scores, truth, scenarios = scored(20)
    first = np.isin(scenarios, np.unique(scenarios)[:8])
    alone = [auc.auc_interval(scores[kept], truth[kept], scenarios[kept]) for kept in (first, ~first)]
    gap, low, high = auc.auc_gap(scores, truth, scenarios, first)
    assert gap == pytest.approx(alone[0][0] - alone[1][0], abs=1e-12) and low < gap < high
    widths = [top - bottom for _, bottom, top in alone]
    assert high - low == pytest.approx(np.hypot(*widths), rel=0.25)  # independent: variances add
    turned = auc.auc_gap(scores, truth, scenarios, ~first)
    assert turned == pytest.approx((-gap, -high, -low), abs=0.05)


def test_a_gap_needs_scenarios_of_one_kind_each_and_two_of_either():
    scores, truth, scenarios = scored(20)
    names = np.unique(scenarios)
    first = np.isin(scenarios, names[:8])
    first[np.flatnonzero(scenarios == names[0])[0]] = False
    with pytest.raises(UserError, match="one kind each"):
        auc.auc_gap(scores, truth, scenarios, first)
    with pytest.raises(UserError, match="at least 2 scenarios"):
        auc.auc_gap(scores, truth, scenarios, scenarios == names[0])
