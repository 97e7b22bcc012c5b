"""Maps between models, on made-up activations whose relation is known, and beside other programs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from made_up_anchors import anchors, coloured, isometry
from scipy.linalg import orthogonal_procrustes
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score

from emolib.base.errors import UserError
from emolib.data.activations import Activations, LayerVector
from emolib.directions.alignment import AlignmentMap, fit_alignment
from emolib.directions.layer_alignments import align_layers
from emolib.directions.vectors import cosine

METHODS = ("ridge", "procrustes", "cca")
SPACES = ("raw", "standardised")


def fitted(a: Activations, b: Activations, **given: object) -> AlignmentMap:
    return fit_alignment(a, b, **{"layer_a": 0, "layer_b": 0, **given})


def rotated_pair(n: int, d_a: int, d_b: int) -> tuple[Activations, Activations, np.ndarray]:
    turn, x = isometry(d_b, d_a), coloured(n, d_a)
    return anchors(x, "a"), anchors(x @ turn, "b"), turn


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("space", SPACES)
def test_a_rotated_and_widened_copy_is_found_again_where_raw_cosines_are_zero(method: str, space: str) -> None:
    """What a rotation leaves is a rotation only in the raw space: standardising by dimension turns it into another
    linear map, which a rotation does not reach."""
    a, b, turn = rotated_pair(2000, 72, 80)
    vectors = np.random.default_rng(5).standard_normal((6, 72))
    raw = cosine(np.pad(vectors, ((0, 0), (0, 8))), vectors @ turn)
    aligned = cosine(fitted(a, b, method=method, space=space).map(vectors), vectors @ turn)
    assert np.abs(raw).max() < 0.4 and np.abs(raw).mean() < 0.15
    if method == "procrustes" and space == "standardised":
        assert aligned.min() > 0.5
    else:
        assert aligned.min() >= 0.99


def test_a_rotation_at_full_size_widens_the_default_model_and_comes_back() -> None:
    a, b, turn = rotated_pair(1500, 576, 640)
    vectors = np.random.default_rng(5).standard_normal((4, 576))
    amap = fitted(a, b, method="procrustes", space="raw")
    assert np.abs(cosine(np.pad(vectors, ((0, 0), (0, 64))), vectors @ turn)).max() < 0.15
    assert cosine(amap.map(vectors), vectors @ turn).min() >= 0.99
    assert amap.rank == 576 and amap.r2_held_out == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_permuted_anchors_give_nothing(method: str) -> None:
    a, b, turn = rotated_pair(2000, 72, 80)
    rows = b.values["resid_pre"][:, np.random.default_rng(1).permutation(2000)]
    amap = fitted(a, replace(b, values={"resid_pre": rows}), method=method)
    vectors = np.random.default_rng(5).standard_normal((6, 72))
    assert amap.r2_held_out < 0.02 and abs(amap.cka) < 0.02
    assert np.abs(cosine(amap.map(vectors), vectors @ turn)).mean() < 0.3


def test_fewer_anchors_than_dimensions_explain_themselves_wholly_and_nothing_else() -> None:
    rng = np.random.default_rng(0)
    a, b = anchors(rng.standard_normal((80, 200)), "a"), anchors(rng.standard_normal((80, 150)), "b")
    amap = fitted(a, b, penalty=1e-6)
    assert amap.r2_in_sample == pytest.approx(1, abs=1e-6)
    assert amap.r2_held_out < 0


def splits_of(acts: Activations) -> dict[str, np.ndarray]:
    return {name: (acts.texts["split"] == name).to_numpy() for name in ("train", "validation", "test")}


def by_hand(a: Activations, b: Activations, rank: int, space: str) -> tuple[np.ndarray, np.ndarray, Callable]:
    """Both sides' coordinates on their fitting anchors' axes by an SVD of the rows, and the way back to B's space."""
    train, found, back = splits_of(a)["train"], [], None
    for acts in (a, b):
        rows = acts.values["resid_pre"][0].astype(np.float64)
        scaled = rows - rows[train].mean(axis=0)
        if space == "standardised":
            scaled = scaled / rows[train].std(axis=0)
        axes = np.linalg.svd(scaled[train], full_matrices=False)[2][:rank]
        found.append(scaled @ axes.T)
        back = (scaled, axes)
    return found[0], found[1], lambda y: (back[0], y @ back[1])


@pytest.mark.parametrize("space", SPACES)
def test_maps_equal_those_of_scikit_learn_and_scipy(space: str) -> None:
    rng = np.random.default_rng(2)
    x = coloured(400, 30)
    y = 0.4 * x @ rng.standard_normal((30, 24)) + rng.standard_normal((400, 24))
    a, b = anchors(x, "a"), anchors(y, "b")
    on_a, on_b, back = by_hand(a, b, 16, space)
    splits = splits_of(a)
    train, test = splits["train"], splits["test"]
    ridge = fitted(a, b, space=space, rank=16)
    other = Ridge(alpha=ridge.penalty, solver="cholesky").fit(on_a[train], on_b[train])
    whole, predicted = back(other.predict(on_a))
    assert ridge.r2_held_out == pytest.approx(
        r2_score(whole[test], predicted[test], multioutput="variance_weighted"), abs=1e-6
    )
    turn, scale = orthogonal_procrustes(on_a[train][:, :8], on_b[train][:, :8])
    rotation = fitted(a, b, space=space, rank=8, method="procrustes")
    whole, predicted = back(np.pad(on_a[:, :8] @ turn * scale / (on_a[train][:, :8] ** 2).sum(), ((0, 0), (0, 8))))
    assert rotation.rank == 8
    assert rotation.r2_held_out == pytest.approx(
        r2_score(whole[test], predicted[test], multioutput="variance_weighted"), abs=1e-6
    )
    rows = a.values["resid_pre"][0].astype(np.float64)
    full = fitted(a, b, space=space, penalty=7.0)
    scales = [np.ones(30), np.ones(24)]
    if space == "standardised":
        scales = [acts.values["resid_pre"][0].astype(np.float64)[train].std(axis=0) for acts in (a, b)]
    plain = Ridge(alpha=7.0, solver="cholesky").fit(
        rows[train] / scales[0], b.values["resid_pre"][0].astype(np.float64)[train] / scales[1]
    )
    assert full.predict(rows) == pytest.approx(plain.predict(rows / scales[0]) * scales[1], abs=1e-6)
    assert full.matrix == pytest.approx(plain.coef_ * scales[1][:, None] / scales[0], abs=1e-6)


def test_canonical_pairs_equal_those_of_an_independent_route() -> None:
    """All pairs on all axes are ordinary least squares; held-out R² is that of the predictions."""
    rng = np.random.default_rng(2)
    x = rng.standard_normal((300, 8))
    y = x[:, :4] @ rng.standard_normal((4, 6)) + 0.5 * rng.standard_normal((300, 6))
    a, b = anchors(x, "a"), anchors(y, "b")
    amap = fitted(a, b, method="cca", space="raw")
    n = amap.n_canonical
    assert n is not None and 4 <= n < 6
    train, test = (splits_of(a)[name] for name in ("train", "test"))
    rows_a, rows_b = (acts.values["resid_pre"][0].astype(np.float64) for acts in (a, b))
    assert amap.r2_held_out == pytest.approx(
        r2_score(rows_b[test], amap.predict(rows_a)[test], multioutput="variance_weighted"), abs=1e-6
    )
    centred = [rows[train] - rows[train].mean(axis=0) for rows in (rows_a, rows_b)]
    q_a, q_b = (np.linalg.qr(rows)[0] for rows in centred)
    u = np.linalg.svd(q_a.T @ q_b)[0]
    found = np.linalg.lstsq(centred[0], q_a @ u[:, :n], rcond=None)[0]  # canonical variates of A
    reduced = found @ np.linalg.lstsq(centred[0] @ found, centred[1], rcond=None)[0]
    np.testing.assert_allclose(amap.matrix.T, reduced, atol=1e-6)


def test_all_pairs_of_layers_at_once_equal_pair_by_pair_in_blocks_or_whole() -> None:
    rng = np.random.default_rng(3)
    x = np.stack([coloured(700, 24, seed) for seed in range(3)])
    y = np.stack([x[i] @ rng.standard_normal((24, 20)) + rng.standard_normal((700, 20)) for i in (0, 2)])
    a, b = anchors(x, "a", layers=(0, 4, 9)), anchors(y, "b", layers=(1, 2))
    table = align_layers((a, b), rank=12, methods=METHODS, spaces=SPACES)
    parts = np.array_split(np.arange(700), 5)
    masks = [np.isin(np.arange(700), part) for part in parts]
    blocks = align_layers([(a.where(m), b.where(m)) for m in masks], rank=12, methods=METHODS, spaces=SPACES)
    numbers = [name for name in table.table if name.startswith("r2") or name == "penalty"]
    assert len(table.table) == 2 * 3 * 3 * 2
    assert blocks.table[numbers].to_numpy(float) == pytest.approx(table.table[numbers].to_numpy(float), nan_ok=True)
    for row in table.table.to_dict("records")[::5]:
        where = {"layer_a": row["layer_a"], "layer_b": row["layer_b"]}
        one = fit_alignment(a, b, **where, method=row["method"], space=row["space"], rank=None)
        same = table.map(**where, method=row["method"], space=row["space"])
        assert same.r2_held_out == row["r2_held_out"] and same.cka == pytest.approx(one.cka)
        if row["method"] == "ridge":
            one = fit_alignment(a, b, **where, space=row["space"], rank=12)
            assert one.r2_held_out == pytest.approx(row["r2_held_out"], abs=1e-9)
            assert one.matrix == pytest.approx(same.matrix, abs=1e-9)
    best = table.table[table.table["method"] == "ridge"].set_index(["space", "layer_a", "layer_b"])["r2_held_out"]
    assert best["raw", 0, 1] > best["raw", 4, 1] + 0.1 and best["raw", 9, 2] > best["raw", 0, 2] + 0.1


def test_choices_that_differ_by_the_last_digits_alone_are_settled_by_the_simplest() -> None:
    a, b, _ = rotated_pair(2000, 24, 24)  # without noise no penalty helps, and the small ones all do as well
    ridge = fitted(a, b)
    tenth, ten_times = (fitted(a, b, penalty=ridge.penalty * factor) for factor in (0.1, 10))
    reached, of_tenth, of_ten_times = (amap.fit.r2["validation"] for amap in (ridge, tenth, ten_times))
    assert of_tenth - reached < 1e-4 < of_tenth - of_ten_times
    nudged = replace(a, values={"resid_pre": a.values["resid_pre"] * np.float32(1 + 1e-6)})
    assert fitted(nudged, b).penalty == pytest.approx(ridge.penalty, rel=1e-5)


def test_a_map_states_what_it_is_and_what_the_axes_keep() -> None:
    a, b, turn = rotated_pair(600, 20, 26)
    amap = fitted(a, b, method="procrustes", space="raw", rank=5)
    assert (amap.method, amap.space, amap.rank, amap.penalty) == ("procrustes", "raw", 5, None)
    assert (amap.model_a, amap.layer_a, amap.model_b, amap.layer_b) == ("a", 0, "b", 0)
    assert amap.n_anchors == {"train": 360, "validation": 120, "test": 120}
    axes = amap.frame_a.axes
    outside = np.linalg.qr(np.column_stack([axes, np.ones(20)]))[0][:, -1]
    assert amap.kept(axes[:, 2] + outside) == pytest.approx(0.5)
    vector = LayerVector(axes[:, 0].astype(np.float32), "a", "1", 0, "mean", 1.0)
    mapped = amap.map(vector)
    assert (mapped.model, mapped.layer, mapped.position) == ("b", 0, "mean")
    assert mapped.neutral_norm == pytest.approx(np.median(b.token_norms))
    assert mapped.values == pytest.approx(amap.matrix @ axes[:, 0], abs=1e-5)
    assert amap.map(2 * axes[:, 0]) == pytest.approx(2 * amap.map(axes[:, 0]))  # no mean is added
    assert mapped.cosine(LayerVector(axes[:, 0] @ turn, "b", "1", 0, "mean", 1.0)) > 0.99


def changed(acts: Activations, values: np.ndarray) -> Activations:
    return replace(acts, values={"resid_pre": values.astype(np.float32)})


def in_split(acts: Activations, name: str) -> Activations:
    return replace(acts, texts=acts.texts.assign(split=name))


REFUSED: dict[str, tuple[Callable, str]] = {
    "no activations": (lambda a, b: fitted(a, None), "expected acts_b from extract_anchors"),
    "other number of rows": (lambda a, b: fitted(a, b.where(np.arange(60) > 3)), "same anchors twice"),
    "other order": (
        lambda a, b: fitted(a, replace(b, texts=b.texts.assign(id=b.texts["id"][::-1].to_numpy()))),
        "same order",
    ),
    "no split": (lambda a, b: fitted(replace(a, texts=a.texts.drop(columns="split")), b), "column 'split'"),
    "strange split": (lambda a, b: fitted(in_split(a, "fit"), in_split(b, "fit")), "expected the splits train"),
    "one split": (lambda a, b: fitted(in_split(a, "train"), in_split(b, "train")), "anchors of the split validation"),
    "no layer": (lambda a, b: fitted(a, b, layer_b=7), "layer 7 of resid_pre"),
    "no method": (lambda a, b: fitted(a, b, method="rigde"), "did you mean 'ridge'"),
    "no space": (lambda a, b: fitted(a, b, space="white"), "space"),
    "no rank": (lambda a, b: fitted(a, b, rank=0), "rank"),
    "no penalty": (lambda a, b: fitted(a, b, penalty=-1), "penalty"),
    "penalty of another method": (lambda a, b: fitted(a, b, method="cca", penalty=1), "method ridge alone"),
    "not finite": (lambda a, b: fitted(changed(a, np.full((1, 60, 8), np.inf)), b), "not finite"),
    "constant source": (lambda a, b: fitted(changed(a, np.ones((1, 60, 8))), b), "at layer 0 of a"),
    "constant target": (lambda a, b: fitted(a, changed(b, np.ones((1, 60, 9)))), "at layer 0 of b"),
    "a generator": (lambda a, b: align_layers(pair for pair in [(a, b)]), "gone through twice"),
    "no blocks": (lambda a, b: align_layers([]), "at least one block"),
    "other model's vector": (
        lambda a, b: fitted(a, b).map(LayerVector(np.ones(9), "b", "1", 0, "mean", 1.0)),
        "which this map begins at",
    ),
    "other width": (lambda a, b: fitted(a, b).map(np.ones(9)), "expected vectors of 8 dimensions"),
    "vector not finite": (lambda a, b: fitted(a, b).map(np.full(8, np.nan)), "finite numbers"),
    "share of nothing": (lambda a, b: fitted(a, b).kept(np.zeros(8)), "other than zero"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_mapped_is_told_in_one_line(case: str) -> None:
    rng = np.random.default_rng(0)
    a, b = anchors(rng.standard_normal((60, 8)), "a"), anchors(rng.standard_normal((60, 9)), "b")
    work, words = REFUSED[case]
    with pytest.raises(UserError, match=words) as told:
        work(a, b)
    assert "\n" not in str(told.value)


def test_dimensions_that_do_not_vary_are_left_alone() -> None:
    a, b, _ = rotated_pair(300, 10, 12)
    still = a.values["resid_pre"].copy()
    still[..., 4] = 17.0
    for space in SPACES:
        amap = fitted(changed(a, still), b, space=space)
        assert np.isfinite(amap.matrix).all() and np.abs(amap.matrix[:, 4]).max() < 1e-9
