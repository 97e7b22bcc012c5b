"""Control directions of the three families: how they are distributed, what they know of the labels, what seeds them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from emolib.base.errors import UserError
from emolib.data.activations import Activations
from emolib.directions.controls import (
    FAMILIES,
    ControlSource,
    covariance_direction,
    effective_number,
    isotropic_direction,
    shuffled_difference,
)
from emolib.directions.vectors import fit_emotion_vectors, scenario_cube
from emolib.steering.cells import SweepSettings, control_cells, control_seed

LABELS = ("neutral", "gratitude", "anger", "apology")
N_LAYERS, N_SCENARIOS, D_MODEL = 2, 16, 12
LAYER = 1


def activations(seed: int = 0) -> Activations:
    """Every label has a mean of its own, and every scenario too; the texts stand in an order of their own."""
    rng = np.random.default_rng(seed)
    texts = pd.DataFrame([(f"s{s:02d}", label) for s in range(N_SCENARIOS) for label in LABELS])
    texts = texts.set_axis(["scenario", "emotion"], axis=1).sample(frac=1, random_state=seed).reset_index(drop=True)
    means = {label: rng.normal(size=(N_LAYERS + 1, 1, D_MODEL)) for label in LABELS}
    scenes = {s: rng.normal(size=(N_LAYERS + 1, 1, D_MODEL)) for s in texts["scenario"].unique()}
    pairs = zip(texts["scenario"], texts["emotion"], strict=True)
    values = np.concatenate([3 * means[e] + scenes[s] for s, e in pairs], axis=1) + rng.normal(size=(1, 1, D_MODEL))
    values = (values + rng.normal(scale=0.3, size=values.shape)).astype(np.float32)
    offsets = np.arange(0, 3 * len(texts) + 1, 3)
    norms = rng.uniform(1, 2, (N_LAYERS + 1, offsets[-1]))
    return Activations({"resid_pre": values}, texts, norms, offsets, "mean", "made-up", "0")


@pytest.fixture(scope="module")
def source() -> ControlSource:
    rng = np.random.default_rng(1)
    spread = rng.normal(size=(D_MODEL, D_MODEL)) + np.diag(np.linspace(0, 6, D_MODEL))
    return ControlSource({LAYER: rng.normal(size=(200, D_MODEL)) @ spread + 5}, activations())


def drawn(direction: Callable[[int], np.ndarray], count: int) -> np.ndarray:
    return np.stack([direction(seed) for seed in range(count)]).astype(np.float64)


def scatter_by_tyler(directions: np.ndarray) -> np.ndarray:
    """The covariance, up to its scale, of the normal distribution whose draws point this way (Tyler 1987)."""
    d = directions.shape[1]
    found = np.eye(d)
    for _ in range(100):
        weights = d / np.einsum("ni,ij,nj->n", directions, np.linalg.inv(found), directions)
        found = (directions * weights[:, None]).T @ directions / len(directions)
        found *= d / np.trace(found)
    return found


# what a direction is


@pytest.mark.parametrize("family", FAMILIES)
def test_a_direction_has_unit_norm_and_its_seed_alone_decides_it(source, family):
    first, again, other = (source.direction(family, LAYER, seed) for seed in (3, 3, 4))
    assert first.shape == (D_MODEL,) and first.dtype == np.float32
    assert np.linalg.norm(first) == pytest.approx(1, abs=1e-6)
    np.testing.assert_array_equal(first, again)
    assert abs(first @ other) < 0.999


def test_families_and_layers_differ(source):
    wider = replace(source, tokens={**source.tokens, 2: source.tokens[LAYER][:, ::-1]})
    found = [wider.direction(family, LAYER, 3) for family in FAMILIES]
    cosines = np.abs(np.stack(found) @ np.stack(found).T)[np.triu_indices(3, 1)]
    assert (cosines < 0.99).all()
    for family in ("covariance", "shuffled"):
        assert abs(wider.direction(family, 2, 3) @ wider.direction(family, LAYER, 3)) < 0.99


def test_isotropic_directions_are_uniform_on_the_sphere():
    n, d = 3000, 8
    directions = drawn(lambda seed: isotropic_direction(d, seed), n)
    rng = np.random.default_rng(0)
    turned = np.linalg.qr(rng.normal(size=(d, d)))[0]
    from_a_cube = rng.uniform(-1, 1, (n, d))
    from_a_cube /= np.linalg.norm(from_a_cube, axis=1, keepdims=True)
    squares = stats.beta(0.5, (d - 1) / 2)  # of one coordinate of a uniform direction, in any axes
    for axes in (np.eye(d), turned):
        assert stats.kstest((directions @ axes)[:, 0] ** 2, squares.cdf).pvalue > 0.01
    assert stats.kstest(from_a_cube[:, 0] ** 2, squares.cdf).pvalue < 1e-3  # control: the same second moments
    np.testing.assert_allclose(directions.T @ directions / n, np.eye(d) / d, atol=0.02)
    assert np.abs(directions.mean(0)).max() < 4 / np.sqrt(n * d)


def test_covariance_directions_follow_the_covariance_of_the_tokens_and_isotropic_ones_do_not():
    rng = np.random.default_rng(2)
    d = 5
    tokens = rng.normal(size=(150, d)) @ (rng.normal(size=(d, d)) + np.diag([0, 1, 2, 3, 4])) + 10
    wanted = np.cov(tokens.T)
    wanted *= d / np.trace(wanted)
    found, plain = (
        scatter_by_tyler(drawn(direction, 4000))
        for direction in (lambda s: covariance_direction(tokens, s), lambda s: isotropic_direction(d, s))
    )
    assert np.abs(found - wanted).max() < 0.08 * wanted.max()
    assert np.abs(plain - wanted).max() > 0.3 * wanted.max()
    uncentred = tokens.T @ tokens
    uncentred *= d / np.trace(uncentred)
    assert np.abs(found - uncentred).max() > 0.5 * wanted.max()  # the mean of the tokens plays no part


def permuted_fit(train, seed: int):
    """The first emotion's vector, fitted on labels permuted as `shuffled_difference` permutes them."""
    _, scenarios, emotions = scenario_cube(train, "neutral")
    names = ["neutral", *emotions]
    places = np.random.default_rng(seed).permuted(np.tile(np.arange(4), (len(scenarios), 1)), axis=1)
    new = {(s, names[old]): names[i] for s, row in zip(scenarios, places, strict=True) for i, old in enumerate(row)}
    relabelled = [new[pair] for pair in zip(train.texts["scenario"], train.texts["emotion"], strict=True)]
    return fit_emotion_vectors(replace(train, texts=train.texts.assign(emotion=relabelled)))[emotions[0]][LAYER]


def without_label_means(train):
    values = {site: layers.copy() for site, layers in train.values.items()}
    labels = train.texts["emotion"].to_numpy()
    for layers in values.values():
        for label in set(labels):
            layers[:, labels == label] -= layers[:, labels == label].mean(axis=1, keepdims=True)
    return replace(train, values=values)


def test_a_shuffled_direction_is_the_fit_on_permuted_labels_without_the_labels_means(source):
    found = source.direction("shuffled", LAYER, seed=5)
    assert found @ permuted_fit(without_label_means(source.train), 5).direction == pytest.approx(1, abs=1e-5)
    assert found @ permuted_fit(source.train, 5).direction < 0.999  # control: the means do matter


def test_a_shuffled_direction_holds_nothing_of_emotions_that_texts_differ_by():
    """Texts that differ by emotion and hardly otherwise: a plain permutation gives the emotions back."""
    rng = np.random.default_rng(0)
    means = 10 * rng.normal(size=(4, 30))
    cube = means + 0.1 * rng.normal(size=(40, 4, 30))
    plane = np.linalg.qr((means - means.mean(0)).T)[0][:, :3]

    def share(difference: np.ndarray) -> float:
        return float(np.linalg.norm(plane.T @ difference) / np.linalg.norm(difference))

    shares = [share(shuffled_difference(cube, seed)) for seed in range(200)]
    assert np.mean(np.square(shares)) == pytest.approx(3 / 30, abs=0.03)  # as much as any direction holds of a plane
    places = rng.permuted(np.tile(np.arange(4), (40, 1)), axis=1)
    texts = cube[np.arange(40)[:, None], places]
    assert share(texts[:, 1].mean(0) - texts[:, 0].mean(0)) > 0.9  # control


def test_shuffled_directions_hold_no_emotion_in_expectation(source):
    truth = fit_emotion_vectors(source.train)
    directions = drawn(lambda seed: source.direction("shuffled", LAYER, seed), 600)
    for emotion in truth.emotions:
        cosines = directions @ truth[emotion][LAYER].direction
        assert abs(cosines.mean()) < 4 * cosines.std() / np.sqrt(len(cosines))
    unshuffled = source.train.values["resid_pre"][LAYER]
    labels = source.train.texts["emotion"].to_numpy()
    plain = unshuffled[labels == "anger"].mean(0) - unshuffled[labels == "neutral"].mean(0)
    assert plain @ truth["anger"][LAYER].direction / np.linalg.norm(plain) == pytest.approx(1, abs=1e-5)  # control


def test_every_scenario_keeps_its_texts_when_labels_are_shuffled():
    cube = np.random.default_rng(0).normal(size=(6, 4, 3))
    apart = cube + 100 * np.arange(6)[:, None, None]  # differences within a scenario do not see what it has in common
    for seed in range(20):
        np.testing.assert_allclose(shuffled_difference(apart, seed), shuffled_difference(cube, seed), atol=1e-9)


# seeds


def test_seeds_depend_on_the_direction_alone_and_never_coincide():
    seeds = {
        (family, layer, index): control_seed(0, family, layer, index)
        for family in FAMILIES
        for layer in range(4)
        for index in range(50)
    }
    assert len(set(seeds.values())) == len(seeds)
    assert seeds["shuffled", 2, 7] == control_seed(0, "shuffled", 2, 7) != control_seed(1, "shuffled", 2, 7)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_direction_does_not_depend_on_what_was_drawn_before_it(family):
    vecs = fit_emotion_vectors(activations())

    def deltas(indices: list[int]) -> dict[int, np.ndarray]:
        tokens = {LAYER: np.random.default_rng(1).normal(size=(50, D_MODEL))}
        own = ControlSource(tokens, activations())
        cells = [
            c for i in indices for c in control_cells(vecs, LAYER, 0.3, i, SweepSettings(unit="resid"), family, own)
        ]
        return {cell.index: cell.act.delta() for cell in cells}

    one, many = deltas([4]), deltas([9, 0, 4, 2])
    np.testing.assert_array_equal(one[4], many[4])
    assert not np.allclose(many[9], many[4])


# mistakes


def constant(acts: Activations) -> Activations:
    return replace(acts, values={"resid_pre": np.ones_like(acts.values["resid_pre"])})


@pytest.mark.parametrize(
    ("change", "family", "layer", "message"),
    [
        ({}, "covarience", LAYER, "unknown family of controls 'covarience'.*covariance"),
        ({}, "covariance", 2, "tokens of layer 2"),
        ({"tokens": {LAYER: np.ones((1, D_MODEL))}}, "covariance", LAYER, "at least 2 tokens"),
        ({"tokens": {LAYER: np.ones((9, D_MODEL))}}, "covariance", LAYER, "do not vary"),
        ({"train": constant(activations())}, "shuffled", LAYER, "do not vary"),
        ({"neutral": "calm"}, "shuffled", LAYER, "no texts with the neutral label 'calm'"),
    ],
)
def test_a_mistake_is_told_in_one_line(source, change, family, layer, message):
    with pytest.raises(UserError, match=message) as found:
        replace(source, **change).direction(family, layer, 0)
    assert "\n" not in str(found.value)


def test_directions_along_few_axes_are_worth_fewer_than_there_are():
    generator = np.random.default_rng(0)
    free = generator.standard_normal((20, 400))
    low = generator.standard_normal((20, 3)) @ generator.standard_normal((3, 400))
    rank = [effective_number(rows / np.linalg.norm(rows, axis=1, keepdims=True)) for rows in (free, low)]
    assert 18 < rank[0] <= 20 and rank[1] <= 3
    assert effective_number(np.ones((5, 4))) == pytest.approx(1)
    with pytest.raises(UserError, match="not zero"):
        effective_number(np.zeros((2, 4)))
