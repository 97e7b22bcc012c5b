"""Subspaces on made-up residuals with a known answer, and on a tiny model."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import emolib
from emolib.activations import Activations
from emolib.errors import UserError
from emolib.extraction import extract_activations
from emolib.subspaces import fit_subspaces, leading_directions, overlap, subspace_stability

EMOTIONS = ("joy", "fear")
N, D, LAYERS = 40, 24, 3


def planted(noise: float = 0.1, seed: int = 0) -> tuple[Activations, np.ndarray]:
    """Texts whose emotions move them along two planted directions, unevenly from scenario to scenario; and these."""
    rng = np.random.default_rng(seed)
    truth = np.linalg.qr(rng.standard_normal((D, 4)))[0].T.reshape(2, 2, D)  # [emotion, direction, d]
    base = rng.standard_normal((LAYERS, N, D)) * 3
    rows, values = [], []
    for label in ("neutral", *EMOTIONS):
        moved = base + noise * rng.standard_normal((LAYERS, N, D))
        if label != "neutral":
            first, second = truth[EMOTIONS.index(label)]
            moved = moved + 2 * first + rng.standard_normal((1, N, 1)) * second
        values.append(moved)
        rows += [{"id": f"{label}{i}", "scenario": f"s{i}", "emotion": label, "text": "x"} for i in range(N)]
    stacked = np.concatenate(values, axis=1).astype(np.float32)
    texts = pd.DataFrame(rows)
    norms = np.ones((LAYERS, len(texts) * 2), np.float32)
    offsets = np.arange(0, len(texts) * 2 + 1, 2)
    return Activations({"resid_pre": stacked}, texts, norms, offsets, position="last", model="m", revision="r"), truth


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


def test_what_cannot_be_fitted_is_said_in_one_line() -> None:
    acts, _ = planted()
    with pytest.raises(UserError, match="expected k from 1 to 24"):
        fit_subspaces(acts, k=99)
    with pytest.raises(UserError, match="unknown emotion 'joi'"):
        fit_subspaces(acts, k=2)["joi"]
    with pytest.raises(UserError, match="expected k from 1 to 2"):
        fit_subspaces(acts, k=2)["joy"][0].leading(3)
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
