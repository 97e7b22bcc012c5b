"""Matched minus mismatched, ranks and overlaps of mapped vectors, beside maps that know nothing of the pairing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from made_up_anchors import anchors, coloured, isometry

from emolib.base.errors import UserError
from emolib.data.activations import Activations
from emolib.directions.alignment import AlignmentMap, fit_alignment
from emolib.directions.map_judgement import (
    mapped_overlaps,
    margin_intervals,
    match_cosines,
    matched_minus_mismatched,
    native_ranks,
    null_table,
    retrieval_table,
    rival_margins,
)
from emolib.directions.map_nulls import permuted_images, random_images

LABELS = ["joy", "fear", "pride", "anger", "calm"]
METHODS = ("ridge", "procrustes", "cca")
D_A, D_B = 30, 36


def pair(n: int = 900) -> tuple[Activations, Activations, np.ndarray]:
    """B is A in other coordinates, and noise."""
    turn, x = isometry(D_B, D_A), coloured(n, D_A)
    noise = 0.05 * np.random.default_rng(7).standard_normal((n, D_B))
    return anchors(x, "a"), anchors(x @ turn + noise, "b"), turn


def vectors() -> np.ndarray:
    """Emotions of A that have most of their length in common, as differences to neutral texts do."""
    rng = np.random.default_rng(9)
    return 3 * rng.standard_normal(D_A) + rng.standard_normal((len(LABELS), D_A))


def margins(mapped: np.ndarray, native: np.ndarray) -> np.ndarray:
    return matched_minus_mismatched(match_cosines(mapped, native))


def test_a_bare_cosine_does_not_tell_labels_apart_and_the_margin_does() -> None:
    a, b, turn = pair()
    amap = fit_alignment(a, b, layer_a=0, layer_b=0)
    mapped, native = amap.map(vectors()), vectors() @ turn
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (mapped, native)]
    bare = unit[0] @ unit[1].T
    assert bare.min() > 0.7  # another emotion's vector, too
    assert margins(mapped, native).min() > 0.9
    assert margins(mapped[[1, 2, 3, 4, 0]], native).max() < 0.1  # every emotion took another's vector
    assert native_ranks(match_cosines(mapped, native)).tolist() == [1] * 5


@pytest.mark.parametrize("method", METHODS)
def test_maps_that_know_nothing_reach_no_margin(method: str) -> None:
    a, b, turn = pair()
    amap = fit_alignment(a, b, layer_a=0, layer_b=0, method=method, space="raw")
    native = vectors() @ turn
    nulls = {
        "permuted": margins(permuted_images(a, b, amap, vectors(), n_maps=60), native),
        "random": margins(random_images(amap, vectors(), n_maps=60), native),
    }
    found = null_table(margins(amap.map(vectors()), native), nulls, LABELS)
    assert found["null"].value_counts().to_dict() == {"permuted": 5, "random": 5}
    assert (found["p"] == 1 / 61).all() and (found["observed"] > found["null_95"] + 0.2).all()
    assert all(abs(values.mean()) < 0.15 for values in nulls.values())


@pytest.mark.parametrize("method", METHODS)
def test_a_permuted_map_is_the_map_of_the_permuted_anchors(method: str) -> None:
    """By the plain route: fit anew what was permuted, with the rank and penalty of the map."""
    a, b, _ = pair(300)
    amap = fit_alignment(a, b, layer_a=0, layer_b=0, method=method)
    train = np.flatnonzero(a.texts["split"] == "train")
    order = np.random.default_rng([4, 0]).permutation(len(train))
    rows = b.values["resid_pre"].copy()
    rows[:, train] = rows[:, train[order]]
    given = {"penalty": amap.penalty} if method == "ridge" else {"rank": amap.rank}
    again = fit_alignment(a, replace(b, values={"resid_pre": rows}), layer_a=0, layer_b=0, method=method, **given)
    images = permuted_images(a, b, amap, vectors(), n_maps=2, seed=4)
    if method == "cca":  # which chooses its pairs anew
        return_to = again.n_canonical
        assert return_to is not None and images.shape == (2, 5, D_B)
        return
    np.testing.assert_allclose(images[0], again.map(vectors()), rtol=1e-4, atol=1e-5)
    assert not np.allclose(images[0], images[1])


def test_random_turns_keep_the_map_s_strengths_and_do_not_depend_on_their_number() -> None:
    a, b, _ = pair(400)
    amap = fit_alignment(a, b, layer_a=0, layer_b=0, method="procrustes", space="raw")
    few, many = random_images(amap, vectors(), n_maps=2), random_images(amap, vectors(), n_maps=4)
    np.testing.assert_array_equal(few, many[:2])
    own = amap.map(vectors())
    np.testing.assert_allclose(many[3] @ many[3].T, own @ own.T, rtol=1e-6)  # a rotation keeps all inner products
    more = np.random.default_rng(0).standard_normal((D_A + 4, D_A))  # more vectors than dimensions
    np.testing.assert_allclose(
        random_images(amap, more, n_maps=1)[0] @ random_images(amap, more, n_maps=1)[0].T,
        amap.map(more) @ amap.map(more).T,
        atol=1e-6,
    )


def test_ranks_count_further_candidates_and_a_tie_is_no_hit() -> None:
    native = np.eye(4)[:3]
    cosines = match_cosines(native, native, others=np.stack([native[0], -native[1]]))
    table = retrieval_table(cosines, ["a", "b", "c"], ["copy of a", "not b"])
    assert table["rank"].tolist() == [2, 1, 1] and (table["n_candidates"] == 5).all()
    assert table["nearest_other"][0] == "copy of a"
    assert table["margin"].to_numpy() == pytest.approx(matched_minus_mismatched(cosines))
    single = rival_margins(cosines, ["a", "b", "c"], {"a": ["b", "c"]})
    assert single["a", "b"] == pytest.approx(1.5) and set(single) == {("a", "b"), ("a", "c")}


def test_a_mapped_subspace_overlaps_with_its_own_and_not_before() -> None:
    a, b, turn = pair()
    rng = np.random.default_rng(1)
    basis = np.linalg.qr(rng.standard_normal((D_A, 3)))[0]
    amap = fit_alignment(a, b, layer_a=0, layer_b=0)
    own = mapped_overlaps(amap, basis, turn.T @ basis)
    other = mapped_overlaps(amap, basis, np.linalg.qr(rng.standard_normal((D_B, 3)))[0])
    assert own["k"].tolist() == [1, 2, 3] and own["before"].isna().all()
    assert own["after"].min() > 0.95 and own["after_standardised"].min() > 0.9
    assert other["after"].max() < 0.5
    same = np.linalg.qr(rng.standard_normal((D_A, D_A)))[0]
    x = coloured(900, D_A)
    square = fit_alignment(anchors(x, "a"), anchors(x @ same.T, "b"), layer_a=0, layer_b=0)
    found = mapped_overlaps(square, basis, same @ basis)
    assert found["before"].max() < 0.5 and found["after"].min() > 0.95


def test_an_interval_over_scenarios_holds_the_margin_of_other_scenarios() -> None:
    a, b, turn = pair()
    amap = fit_alignment(a, b, layer_a=0, layer_b=0)
    truth = vectors()
    noise = {"same": truth, "another's": truth[[1, 2, 3, 4, 0]]}
    for name, mapped_to in noise.items():
        expected, inside, low = [], [], []
        for seed in range(60):
            rng = np.random.default_rng(seed)
            first = truth + 2 * rng.standard_normal((24, *truth.shape))
            second = (mapped_to + 2 * rng.standard_normal((24, *truth.shape))) @ turn
            found = margin_intervals(amap, first, second)
            expected.append(found[:, 0])
            inside.append(found)
            low.append(found[:, 1])
        centre = np.mean(expected, axis=0)
        covered = [(of[:, 1] <= centre) & (centre <= of[:, 2]) for of in inside]
        assert 0.85 <= np.mean(covered) <= 1
        assert (np.min(low) > 0.3) if name == "same" else (np.mean(np.array(low) > 0) < 0.05)


def test_sets_of_native_vectors_are_taken_one_by_one() -> None:
    rng = np.random.default_rng(0)
    mapped, native = rng.standard_normal((2, 3, 5, 7)), rng.standard_normal((2, 3, 5, 7))
    found = match_cosines(mapped, native, others=rng.standard_normal((2, 7)))
    assert found.shape == (2, 3, 5, 7)
    np.testing.assert_allclose(found[1, 2, :, :5], match_cosines(mapped[1, 2], native[1, 2]))


REFUSED: dict[str, tuple[Callable[[AlignmentMap, Activations, Activations], object], str]] = {
    "one label": (lambda m, a, b: match_cosines(np.ones((1, 4)), np.ones((1, 4))), "2 or more labels"),
    "other labels": (lambda m, a, b: match_cosines(np.ones((3, 4)), np.ones((2, 4))), "same 2 or more labels"),
    "other width": (lambda m, a, b: match_cosines(np.eye(4), np.eye(4), others=np.ones((1, 3))), "others"),
    "no scale": (lambda m, a, b: match_cosines(np.eye(4), np.eye(4), scale=np.zeros(4)), "positive scale"),
    "not finite": (lambda m, a, b: match_cosines(np.full((2, 4), np.nan), np.eye(4)[:2]), "finite"),
    "two scenarios": (
        lambda m, a, b: margin_intervals(m, np.ones((2, 3, D_A)), np.ones((2, 3, D_B))),
        "3 or more scenarios",
    ),
    "other scenarios": (
        lambda m, a, b: margin_intervals(m, np.ones((5, 3, D_A)), np.ones((4, 3, D_B))),
        "same 3 or more scenarios",
    ),
    "no null": (lambda m, a, b: null_table(np.ones(2), {}, ["a", "b"]), "at least one null"),
    "null of other labels": (lambda m, a, b: null_table(np.ones(2), {"p": np.ones((5, 3))}, ["a", "b"]), "maps"),
    "unknown rival": (lambda m, a, b: rival_margins(np.eye(2), ["a", "b"], {"a": ["c"]}), "unknown label 'c'"),
    "vectors of B": (lambda m, a, b: random_images(m, np.ones((2, D_B))), "expected vectors \\[label, 30\\]"),
    "no maps": (lambda m, a, b: random_images(m, np.ones((2, D_A)), n_maps=0), "n_maps"),
    "no map": (lambda m, a, b: random_images(np.eye(3), np.ones((2, D_A))), "fit_alignment"),
    "other anchors": (
        lambda m, a, b: permuted_images(
            a.where(a.texts.index < 200), b.where(b.texts.index < 200), m, np.ones((2, 30))
        ),
        "fitting anchors",
    ),
    "other models": (lambda m, a, b: permuted_images(b, a, m, np.ones((2, D_A))), "fitting anchors"),
    "other bases": (lambda m, a, b: mapped_overlaps(m, np.eye(D_A)[:, :2], np.eye(D_B)[:, :3]), "bases"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_judged_is_told_in_one_line(case: str) -> None:
    a, b, _ = pair(300)
    work, words = REFUSED[case]
    with pytest.raises(UserError, match=words) as told:
        work(fit_alignment(a, b, layer_a=0, layer_b=0), a, b)
    assert "\n" not in str(told.value)
