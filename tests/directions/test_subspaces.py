"""Subspaces on made-up residuals with a known answer, and on a tiny model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import emolib
from emolib.base.errors import UserError
from emolib.data.activations import Activations
from emolib.directions.subspace_choice import choose_k
from emolib.directions.subspace_null import overlap_excess
from emolib.directions.subspaces import (
    fit_subspaces,
    leading_directions,
    overlap,
    overlaps_from_gram,
    pair_gram,
    pca_overlap_table,
    principal_subspaces,
    subspace_stability,
    text_gram,
)
from emolib.engine.extraction import extract_activations

EMOTIONS = ("joy", "fear")
N, D, LAYERS = 40, 24, 3


def made_up(values: dict[str, np.ndarray], prefix: str = "s") -> Activations:
    """Activations from label → `[layer, scenario, d]`."""
    rows = [
        {"id": f"{prefix}{label}{i}", "scenario": f"{prefix}{i}", "emotion": label, "text": "x"}
        for label, of_label in values.items()
        for i in range(of_label.shape[1])
    ]
    stacked = np.concatenate(list(values.values()), axis=1).astype(np.float32)
    norms, offsets = np.ones((len(stacked), len(rows) * 2), np.float32), np.arange(0, len(rows) * 2 + 1, 2)
    texts = pd.DataFrame(rows)
    return Activations({"resid_pre": stacked}, texts, norms, offsets, position="last", model="m", revision="r")


def planted(noise: float = 0.1, seed: int = 0) -> tuple[Activations, np.ndarray]:
    """Texts whose emotions move them along two planted directions, unevenly from scenario to scenario; and these."""
    rng = np.random.default_rng(seed)
    truth = np.linalg.qr(rng.standard_normal((D, 4)))[0].T.reshape(2, 2, D)  # [emotion, direction, d]
    base = rng.standard_normal((LAYERS, N, D)) * 3
    values = {}
    for label in ("neutral", *EMOTIONS):
        values[label] = base + noise * rng.standard_normal((LAYERS, N, D))
        if label != "neutral":
            first, second = truth[EMOTIONS.index(label)]
            values[label] = values[label] + 2 * first + rng.standard_normal((1, N, 1)) * second
    return made_up(values), truth


def ranked(
    prefix: str, n: int, seed: int, *, signal: float = 2.0, noise: float = 0.2, topics: float = 0.0
) -> Activations:
    """Joy differs from neutral along two directions (in each scenario by another amount), fear along one, calm not.

    `topics` is the size of what a scenario adds to all its texts, along three directions that all sets share.
    """
    rng = np.random.default_rng(seed)
    base = rng.standard_normal((2, n, 60)) * 3
    values = {label: base + noise * rng.standard_normal(base.shape) for label in ("neutral", "joy", "fear", "calm")}
    values["joy"][..., :2] += signal * rng.standard_normal((1, n, 2))
    values["fear"][..., 2] += signal * rng.standard_normal((1, n))
    added = topics * rng.standard_normal((2, n, 3))
    for of_label in values.values():
        of_label[..., 10:13] += added
    return made_up(values, prefix)


def without_signal(prefix: str, n: int, seed: int) -> Activations:
    return ranked(prefix, n, seed, signal=0.0, noise=1.0)


def labelled(acts: Activations) -> np.ndarray:
    """`[layer, scenario, label, d]` of texts that come label by label."""
    labels = acts.texts["emotion"].nunique()
    values = acts.values["resid_pre"]
    return values.reshape(len(values), labels, -1, values.shape[2]).transpose(0, 2, 1, 3)


def test_planted_directions_are_found_and_keep_nearly_all_of_the_differences() -> None:
    acts, truth = planted()
    subs = fit_subspaces(acts, k=4)
    for i, emotion in enumerate(EMOTIONS):
        for layer in range(LAYERS):
            found = subs[emotion][layer].leading(2)
            assert overlap(found.basis, truth[i].T)[-1] > 0.95
            assert overlap(found.basis, truth[1 - i].T)[-1] < 0.1  # control: the other emotion's plane
        assert (subs.shares[emotion][:, 1] > 0.9).all() and (subs.shares[emotion][:, 0] < 0.95).all()
        assert (np.diff(subs.shares[emotion], axis=1) >= 0).all()
    assert subs.k == 4 and list(subs) == list(EMOTIONS)


def test_bases_are_orthonormal_and_the_targets_are_where_the_emotions_texts_lie() -> None:
    acts, _ = planted()
    subs = fit_subspaces(acts, k=3)
    joy = acts.where(acts.texts["emotion"] == "joy").values["resid_pre"]
    for layer, part in enumerate(subs["joy"]):
        np.testing.assert_allclose(part.basis.T @ part.basis, np.eye(3), atol=1e-5)
        np.testing.assert_allclose(part.target, (joy[layer] @ part.basis).mean(0), atol=1e-4)
        assert part.target[0] > part.neutral[0]  # the first direction points to the emotion


def test_overlap_is_one_with_oneself_zero_with_the_complement_and_k_over_d_by_chance() -> None:
    rng = np.random.default_rng(0)
    whole = np.linalg.qr(rng.standard_normal((60, 60)))[0]
    np.testing.assert_allclose(overlap(whole[:, :5], whole[:, :5]), 1, atol=1e-6)
    np.testing.assert_allclose(overlap(whole[:, :5], whole[:, 5:10]), 0, atol=1e-6)
    turned = whole[:, :5] @ np.linalg.qr(rng.standard_normal((5, 5)))[0]
    assert overlap(whole[:, :5], turned)[-1] == pytest.approx(1)
    assert overlap(whole[:, :5], turned)[0] < 0.99  # control: a smaller k sees the turn
    by_chance = [overlap(whole[:, :5], np.linalg.qr(rng.standard_normal((60, 5)))[0])[-1] for _ in range(200)]
    assert np.mean(by_chance) == pytest.approx(5 / 60, rel=0.1)


def test_halves_agree_on_what_is_planted_and_not_on_noise() -> None:
    real = subspace_stability(planted()[0], k=3, n_halves=10).set_index(["emotion", "layer", "k"])
    noise = subspace_stability(planted(noise=5.0)[0], k=3, n_halves=10).set_index(["emotion", "layer", "k"])
    assert (real.xs(2, level="k")["mean"] > 0.9).all()
    assert (noise.xs(2, level="k")["mean"] < 0.5).all()
    assert len(real) == len(EMOTIONS) * LAYERS * 3


def test_swapping_a_label_with_neutral_alone_would_be_no_null() -> None:
    """Why the null permutes all labels: the sign of a difference does not change its directions."""
    acts, _ = planted()
    cube = acts.values["resid_pre"].reshape(LAYERS, 3, N, D)
    differences = cube[:, 1] - cube[:, 0]
    flipped = differences * np.random.default_rng(0).choice([-1, 1], (1, N, 1))
    same, turned = (leading_directions(part, 2)[0] for part in (differences, flipped))
    np.testing.assert_allclose(overlap(same, turned), 1, atol=1e-5)


def plain_overlap(differences: np.ndarray, first: int, k: int) -> np.ndarray:
    one, other = (leading_directions(part[None], k)[0][0] for part in (differences[:first], differences[first:]))
    return overlap(one, other)


def test_gram_route_equals_the_plain_route_on_true_permuted_and_resampled_scenarios() -> None:
    rng = np.random.default_rng(0)
    cube = labelled(ranked("s", 30, seed=1))[0]
    rows = np.arange(120).reshape(30, 4)
    for _ in range(5):
        order = rng.permuted(np.tile(np.arange(4), (30, 1)), axis=1)
        mixed = np.take_along_axis(cube, order[..., None], axis=1)
        gram = pair_gram(text_gram(cube), np.take_along_axis(rows, order, 1)[:, 1], rows[np.arange(30), order[:, 0]])
        differences = mixed[:, 1] - mixed[:, 0]
        found = overlaps_from_gram(gram, 18, 5)
        np.testing.assert_allclose(found, plain_overlap(differences, 18, 5), atol=1e-4)
        drawn = np.concatenate([rng.multinomial(18, [1 / 18] * 18), rng.multinomial(12, [1 / 12] * 12)])
        weighted = overlaps_from_gram(gram * np.sqrt(np.outer(drawn, drawn)), 18, 5)
        again = plain_overlap(np.repeat(differences, drawn, axis=0), 18, 5)
        np.testing.assert_allclose(weighted, again, atol=1e-4)
        assert np.abs(weighted - found).max() > 0.01  # control: a resample is not the sample


def test_directions_that_are_not_there_overlap_with_nothing() -> None:
    rng = np.random.default_rng(0)
    line = rng.standard_normal((10, 1)) * np.eye(12)[:1]
    np.testing.assert_allclose(overlaps_from_gram(line @ line.T, 5, 3), [1, 1 / 2, 1 / 3])
    np.testing.assert_array_equal(overlaps_from_gram(np.zeros((10, 10)), 5, 3), 0)


def test_stability_by_gram_matrices_equals_fitting_every_half() -> None:
    acts, _ = planted(noise=1.0)
    found = subspace_stability(acts, k=3, n_halves=4, seed=7)
    rng, cube = np.random.default_rng(7), labelled(acts)
    cube = cube[:, sorted(range(N), key=lambda i: f"s{i}")]  # the library's order of scenarios
    real, null = [], []
    for _ in range(4):
        order = rng.permutation(N)
        labels = rng.permuted(np.tile(np.arange(3), (N, 1)), axis=1)
        mixed = np.take_along_axis(cube, labels[None, :, :, None], axis=2)
        for into, texts in ((real, cube), (null, mixed)):
            differences = (texts[:, :, 1] - texts[:, :, 0])[:, order]
            into.append([plain_overlap(layer, N // 2, 3) for layer in differences])
    joy = found[found["emotion"] == "joy"]
    np.testing.assert_allclose(joy["mean"], np.mean(real, axis=0).ravel(), atol=1e-4)
    np.testing.assert_allclose(joy["null"], np.mean(null, axis=0).ravel(), atol=1e-4)
    assert list(found["emotion"].drop_duplicates()) == list(EMOTIONS)


def test_as_many_directions_are_chosen_as_were_planted() -> None:
    table = overlap_excess(ranked("s", 40, 0), ranked("v", 24, 1))
    chosen = choose_k(table, layer_of=1).set_index("emotion")
    assert chosen["k"]["joy"] == 2 and chosen["k"]["fear"] == 1
    # calm differs from neutral by noise alone; the permuted labels mix joy and fear, so that joy's two directions
    # beat their own null (at k = 2) but not the largest excess over all k that chance gives
    assert chosen["found"]["fear"] and not chosen["found"]["calm"]
    own = table[(table["emotion"] == "joy") & (table["layer"] == 1)].set_index("k").loc[2]
    assert own["overlap"] > own["null_high"] and chosen["best_excess"]["joy"] < chosen["null_max"]["joy"]
    assert (table["se"] > 0).all() and (table["k"].max() == 8)
    one = table.set_index(["emotion", "layer", "k"]).loc[("joy", 1, 2)]
    assert one["excess"] == pytest.approx(one["overlap"] - one["null"])


def test_overlap_of_two_sets_is_that_of_the_subspaces_fitted_on_them() -> None:
    train, validation = ranked("s", 30, 0), ranked("v", 20, 1)
    table = overlap_excess(train, validation, k_max=3, n_null=1, n_resamples=2)
    mine, other = fit_subspaces(train, k=3), fit_subspaces(validation, k=3)
    for emotion, rows in table.groupby("emotion"):
        own = overlap(mine.bases[emotion], other.bases[emotion])
        np.testing.assert_allclose(rows["overlap"], own.ravel(), atol=1e-4)
    assert (
        overlap(mine.bases["joy"], other.bases["fear"]).max() < 0.1 < table.query("emotion == 'joy'")["overlap"].min()
    )


def test_labels_that_carry_nothing_overlap_as_much_as_permuted_ones() -> None:
    runs = [(without_signal("s", 40, 2 * i), without_signal("v", 24, 2 * i + 1)) for i in range(6)]
    tables = [overlap_excess(*run, n_null=60, n_resamples=30) for run in runs]
    excess = pd.concat(tables).groupby("k")["excess"].mean()
    planted_excess = overlap_excess(ranked("s", 40, 0), ranked("v", 24, 1), n_resamples=2)
    assert excess.abs().max() < 0.02
    assert planted_excess.query("emotion == 'joy'").groupby("k")["excess"].mean()[2] > 0.2  # control
    found = [choose_k(table, layer_of=layer)["found"].mean() for table in tables for layer in (0, 1)]
    assert np.mean(found) < 0.3


def test_null_permutes_within_scenarios() -> None:
    """What a whole scenario adds to all its texts reaches neither the overlap nor its null."""
    plain, moved = ((ranked("s", 20, 0, topics=size), ranked("v", 12, 1, topics=size)) for size in (0.0, 50.0))
    found, shifted = (overlap_excess(*sets, n_null=5, n_resamples=5) for sets in (plain, moved))
    pd.testing.assert_frame_equal(found, shifted, atol=1e-3, rtol=0)
    # Control: labels permuted across scenarios would see the topics.
    across = [replace(acts, texts=acts.texts.assign(scenario=_rolled(acts.texts))) for acts in moved]
    mixed = overlap_excess(*across, n_null=5, n_resamples=2)
    null_of_three = [table.loc[table["k"] == 3, "null"].mean() for table in (mixed, shifted)]
    assert null_of_three[0] > 0.9 and null_of_three[1] < 0.7


def _rolled(texts: pd.DataFrame) -> np.ndarray:
    """Scenario names shifted by another step for every label."""
    names = texts["scenario"].to_numpy().reshape(4, -1)
    return np.stack([np.roll(of_label, step) for step, of_label in enumerate(names)]).ravel()


def test_chosen_layers_and_label_order_do_not_change_the_numbers() -> None:
    train, validation = ranked("s", 12, 0), ranked("v", 10, 1)
    whole = overlap_excess(train, validation, n_null=3, n_resamples=3)
    part = overlap_excess(train, validation, n_null=3, n_resamples=3, layers=[1])
    pd.testing.assert_frame_equal(part, whole[whole["layer"] == 1].reset_index(drop=True))
    assert whole["k"].max() == 5  # half of the smaller set
    backwards = np.arange(40)[::-1]
    turned = replace(
        validation,
        values={"resid_pre": validation.values["resid_pre"][:, backwards]},
        texts=validation.texts.iloc[backwards].reset_index(drop=True),
    )
    again = overlap_excess(train, turned, n_null=3, n_resamples=3)
    np.testing.assert_allclose(again["overlap"], whole["overlap"], atol=1e-9)
    other = overlap_excess(train, validation, n_null=3, n_resamples=3, seed=1)
    assert not np.allclose(other["null"], whole["null"])  # control: the seed matters


def test_standard_error_is_the_spread_over_fresh_scenarios() -> None:
    def joy_plane(n: int, seed: int) -> pd.DataFrame:
        sets = ranked("s", n, 2 * seed, noise=0.5), ranked("v", n, 2 * seed + 1, noise=0.5)
        table = overlap_excess(*sets, k_max=2, n_null=1, n_resamples=30)
        return table.query("emotion == 'joy' and k == 2")

    draws = pd.concat([joy_plane(20, seed) for seed in range(40)])
    ratio = draws["se"].mean() / draws.groupby("layer")["overlap"].std().mean()
    assert 0.7 < ratio < 2.2
    assert joy_plane(80, 0)["se"].mean() < draws["se"].mean() / 1.5  # control: it falls with the number of scenarios


def test_choice_is_the_smallest_k_within_one_standard_error() -> None:
    table = pd.DataFrame({"emotion": "joy", "layer": 4, "k": [1, 2, 3, 4], "excess": [0.10, 0.42, 0.50, 0.45]})
    table = table.assign(overlap=[0.2, 0.6, 0.7, 0.7], null=0.2, null_high=0.65, null_max=0.45, se=[0.5, 0.2, 0.1, 0.0])
    row = choose_k(table, layer_of={"joy": 4}).iloc[0]
    assert (row["k"], row["best_k"], row["se"]) == (2, 3, 0.1)
    assert not row["found"]  # its interval, 0.30 to 0.70, holds the null's 0.45
    assert choose_k(table.assign(null_max=0.29), layer_of=4)["found"][0]
    assert choose_k(table.assign(se=0.01), layer_of=4)["k"][0] == 3
    assert not choose_k(table.assign(null_max=0.55), layer_of=4)["found"][0]


def test_no_difference_at_all_is_no_subspace() -> None:
    """As at layer 0 where all texts of a scenario end in the same token."""
    rng = np.random.default_rng(0)
    same = [dict.fromkeys(("neutral", "joy", "fear"), values) for values in rng.standard_normal((2, 1, 12, 20))]
    table = overlap_excess(made_up(same[0], "s"), made_up(same[1], "v"), n_null=3, n_resamples=3)
    assert (table[["overlap", "null", "null_high", "excess", "se"]] == 0).all(axis=None)
    assert not choose_k(table, layer_of=0)["found"].any()


def test_pca_subspaces_hold_topics_where_paired_differences_hold_the_emotion() -> None:
    rng = np.random.default_rng(0)
    topics = rng.standard_normal((2, N, 3)) @ np.eye(30)[:3] * 5
    values = {label: topics + 0.1 * rng.standard_normal(topics.shape) for label in ("neutral", *EMOTIONS)}
    values["joy"][..., 10] += 1 + rng.standard_normal((2, N))
    acts = made_up(values)
    bases = principal_subspaces(acts, k=3)
    assert list(bases) == ["neutral", "joy", "fear"] and bases["joy"].shape == (2, 30, 3)
    np.testing.assert_allclose(bases["joy"][0].T @ bases["joy"][0], np.eye(3), atol=1e-5)
    joy = pca_overlap_table(acts, k=3).query("emotion == 'joy' and k == 3")
    assert (joy["with_neutral"] > 0.95).all() and (joy["with_differences"] < 0.3).all()
    values = {label: of_label - topics for label, of_label in values.items()}  # control: no topics left
    joy = pca_overlap_table(made_up(values), k=1).query("emotion == 'joy'")
    assert (joy["with_neutral"] < 0.3).all() and (joy["with_differences"] > 0.9).all()


def test_pca_directions_beyond_the_rank_are_left_out() -> None:
    rng = np.random.default_rng(0)
    marks = np.eye(20)[rng.integers(0, 2, 12)][None]  # two final tokens in all: one direction of variance
    table = pca_overlap_table(made_up({"neutral": marks, "joy": marks}), k=3)
    np.testing.assert_allclose(table["with_neutral"], [1, 1 / 2, 1 / 3], atol=1e-6)
    np.testing.assert_array_equal(table["with_differences"], 0)


def test_sets_that_do_not_fit_together_are_refused_in_one_line() -> None:
    train, validation = ranked("s", 12, 0), ranked("v", 10, 1)
    few = validation.where(validation.texts["emotion"] != "calm")
    pairs = [
        (validation, train, {"k_max": 0}, "expected k_max from 1 to 60"),
        (validation, train, {"layers": [2]}, "expected layers from 0 to 1, got 2"),
        (validation, train, {"layers": []}, "at least one layer"),
        (validation, train, {"n_null": 0}, "n_null of at least 1"),
        (validation, train, {"neutral": "neutra"}, "did you mean 'neutral'"),
        (train, train, {}, "no scenario in both sets, got 12, such as 's0'"),
        (train, few, {}, "expected the same labels in both sets"),
        (train, replace(validation, revision="other"), {}, "expected two sets of one model"),
        *[
            (
                *(part.where(part.texts["emotion"].isin(["neutral", "joy"])) for part in (train, validation)),
                {},
                "at least two labels",
            )
        ],
    ]
    for first, second, numbers, message in pairs:
        with pytest.raises(UserError, match=message) as raised:
            overlap_excess(first, second, **numbers)
        assert "\n" not in str(raised.value)
    validation.values["resid_pre"][0, 0, 0] = np.nan
    with pytest.raises(UserError, match="not finite"):
        overlap_excess(train, validation)


def test_a_choice_that_the_table_cannot_answer_is_refused_in_one_line() -> None:
    table = overlap_excess(ranked("s", 8, 0), ranked("v", 8, 1), n_null=1, n_resamples=2)
    asked = [
        ({"joy": 0, "fear": 0}, "got none for calm"),
        ({"joy": 0, "fear": 0, "calm": 0, "joi": 1}, "unknown emotion 'joi'"),
        (7, "no layer 7 in the table for 'joy': it has 0, 1"),
    ]
    for layer_of, message in asked:
        with pytest.raises(UserError, match=message):
            choose_k(table, layer_of=layer_of)
    with pytest.raises(UserError, match="without the columns null_max"):
        choose_k(table.drop(columns="null_max"), layer_of=0)


def test_what_cannot_be_fitted_is_said_in_one_line() -> None:
    acts, _ = planted()
    with pytest.raises(UserError, match="expected k from 1 to 24"):
        fit_subspaces(acts, k=99)
    with pytest.raises(UserError, match="unknown emotion 'joi'"):
        fit_subspaces(acts, k=2)["joi"]
    with pytest.raises(UserError, match="expected k from 1 to 2"):
        fit_subspaces(acts, k=2)["joy"][0].leading(3)
    with pytest.raises(UserError, match="did you mean 'neutral'"):
        fit_subspaces(acts, k=2, neutral="neutrl")
    with pytest.raises(UserError, match="expected k from 1 to 24"):
        principal_subspaces(acts, k=25)
    with pytest.raises(UserError, match="at least 4 scenarios"):
        fit_subspaces(acts.where(acts.texts["scenario"].isin(["s1", "s2"])), k=1)


def test_a_fitted_subspace_steers_a_model(tiny_models) -> None:
    lm = tiny_models["llama"]
    words = {"neutral": "The door is", "joy": "What a happy"}
    rows = [
        {"id": f"{label}{i}", "scenario": f"s{i}", "emotion": label, "text": f"{start} {'abcdef'[i]}."}
        for label, start in words.items()
        for i in range(6)
    ]
    subs = fit_subspaces(extract_activations(lm, pd.DataFrame(rows), positions="mean"), k=2)
    part = subs["joy"][1]
    act = emolib.SubspaceSteer(1, part.basis, part.target, alpha=1.0)
    moved, plain = emolib.generate(lm, ["The door"] * 2, [act, None], max_new_tokens=3)
    assert moved.delta_ratio > 0 and plain.delta_ratio == 0
