"""Tables about vectors: against the same numbers by hand, and against what must not be found."""

from dataclasses import replace

import numpy as np
import pytest
from planted_activations import D_MODEL, LAYERS, planted
from sklearn.metrics import roc_auc_score

from emolib.base.errors import UserError
from emolib.directions import vector_tables, vectors


def halves(acts):
    train = (acts.texts["split"] == "train").to_numpy()
    return acts.where(train), acts.where(~train)


def test_trimming_standardising_and_whitening_undo_a_massive_dimension():
    acts, _ = planted()
    acts.values["resid_pre"][:, :, 0] *= 100  # one dimension of huge spread, which says nothing about emotion
    vecs = vectors.fit_emotion_vectors(acts, whiten=True)
    row = vector_tables.cosine_table(vecs).query("layer == 3").iloc[0]
    assert abs(row["raw"]) > 0.8 > 0.5 > abs(row["trimmed"])
    assert abs(row["standardised"]) < 0.6 and abs(row["whitened"]) < 0.6
    assert vectors.massive_dimensions(vecs, 3)[0] == 0


def test_cosines_cover_every_pair_and_equal_those_by_hand():
    acts, _ = planted()
    vecs = vectors.fit_emotion_vectors(acts, whiten=True)
    vecs = replace(vecs, values=vecs.values | {"joy": vecs.values["anger"] + vecs.values["gratitude"]})
    vecs = replace(vecs, whitened=vecs.whitened | {"joy": vecs.whitened["anger"] + vecs.whitened["gratitude"]})
    table = vector_tables.cosine_table(vecs)
    assert table["pair"].drop_duplicates().tolist() == ["gratitude–anger", "gratitude–joy", "anger–joy"]
    assert len(table) == 3 * (LAYERS + 1)
    row = table.query("pair == 'anger–joy' and layer == 2").iloc[0]
    a, b, sd = vecs.values["anger"][2], vecs.values["joy"][2], vecs.pooled_sd[2]
    keep = np.argsort(sd)[:-3]
    expected = [vectors.cosine(a, b), vectors.cosine(a / sd, b / sd), vectors.cosine(a[keep], b[keep])]
    expected.append(vectors.cosine(vecs.whitened["anger"][2], vecs.whitened["joy"][2]))
    np.testing.assert_allclose(row[["raw", "standardised", "trimmed", "whitened"]].astype(float), expected, atol=1e-5)
    assert "whitened" not in vector_tables.cosine_table(vectors.fit_emotion_vectors(acts))


def test_norms_are_those_of_the_vectors_and_shares_of_the_neutral_norm():
    acts, _ = planted()
    vecs = vectors.fit_emotion_vectors(acts)
    row = vector_tables.norm_table(vecs).query("emotion == 'anger' and layer == 1").iloc[0]
    assert row["l2"] == pytest.approx(vecs["anger"][1].norm, rel=1e-5)
    assert row["l1"] == pytest.approx(np.abs(vecs.values["anger"][1]).sum(), rel=1e-5)
    assert row["l2_share"] == pytest.approx(row["l2"] / vecs.neutral_norms[1])
    assert row["l1"] > 1.5 * row["l2"]


def test_distances_are_those_between_label_means_with_neutral_among_them():
    acts, _ = planted()
    vecs = vectors.fit_emotion_vectors(acts)
    table = vector_tables.distance_table(vecs)
    assert table["pair"].drop_duplicates().tolist() == ["neutral–gratitude", "neutral–anger", "gratitude–anger"]
    means = {name: acts.values["resid_pre"][1, acts.texts["emotion"] == name].mean(0) for name in acts.texts["emotion"]}
    for pair, part in table[table["layer"] == 1].groupby("pair"):
        first, second = pair.split("–")
        assert part["distance"].item() == pytest.approx(np.linalg.norm(means[first] - means[second]), rel=1e-4)
        assert part["share"].item() == pytest.approx(part["distance"].item() / vecs.neutral_norms[1])
    by_layer = table.groupby("layer")["distance"].mean()
    assert by_layer[0] < 0.6 * by_layer[1:].min()  # nothing was planted at layer 0
    assert "calm–anger" in set(vector_tables.distance_table(vecs, neutral="calm")["pair"])


def test_separations_are_the_areas_under_the_curve_of_the_projections():
    acts, _ = planted()
    acts.values["resid_pre"][:] = np.round(acts.values["resid_pre"])  # ties
    train, test = halves(acts)
    vecs = vectors.fit_emotion_vectors(train, whiten=True)
    table = vector_tables.separation_table(vecs, {"train": train, "test": test})
    assert len(table) == 2 * (LAYERS + 1) * 2 * 4
    assert table["emotion"].tolist() == sorted(table["emotion"], reverse=True) and table["layer"][:8].eq(0).all()
    for row in table[table["layer"] == 2].itertuples():
        part = {"train": train, "test": test}[row.split]
        part = part.where(part.texts["emotion"].isin([row.emotion, "neutral"]))
        direction = vectors.projection_direction(vecs, row.emotion, 2, row.variant)
        truth = part.texts["emotion"] == row.emotion
        assert row.auc == pytest.approx(roc_auc_score(truth, part.values["resid_pre"][2].astype(float) @ direction))


def test_only_where_a_direction_is_planted_does_the_projection_separate_held_out_texts():
    acts, _ = planted(4.0)
    acts.values["resid_pre"][:, :, :2] *= 2  # what `trimmed` leaves out
    acts.values["resid_pre"][:, :, 15] *= 2
    train, test = halves(acts)
    table = vector_tables.separation_table(vectors.fit_emotion_vectors(train, whiten=True), {"test": test})
    assert table.query("layer > 0")["auc"].min() > 0.9
    assert table.query("layer == 0")["auc"].between(0.15, 0.85).all()


def test_views_that_weigh_dimensions_separate_where_a_massive_one_drowns_the_raw_projection():
    acts, _ = planted(4.0)
    acts.values["resid_pre"][:, :, :2] *= 300
    acts.values["resid_pre"][:, :, 15] *= 300
    train, test = halves(acts)
    table = vector_tables.separation_table(vectors.fit_emotion_vectors(train, whiten=True), {"test": test})
    auc = table.query("layer > 0").groupby("variant")["auc"].mean()
    assert auc["raw"] < 0.75 < 0.9 < auc[["standardised", "trimmed", "whitened"]].min()


def test_a_separation_needs_the_same_model_and_every_label():
    train, test = halves(planted()[0])
    vecs = vectors.fit_emotion_vectors(train)
    assert set(vector_tables.separation_table(vecs, {"test": test})["variant"]) == {"raw", "standardised", "trimmed"}
    with pytest.raises(UserError, match="expected activations of planted r0 in 'test', got other"):
        vector_tables.separation_table(vecs, {"test": replace(test, model="other")})
    with pytest.raises(UserError, match="no texts of 'anger' in 'test'"):
        vector_tables.separation_table(vecs, {"test": test.where(test.texts["emotion"] != "anger")})


def test_massive_dimensions_are_named_with_their_size():
    acts, _ = planted()
    resid = acts.values["resid_pre"]
    resid[:, :, 7] = 500 + 0.01 * resid[:, :, 7]  # large but the same everywhere
    resid[2:, :, 11] *= 40  # large by its spread
    table = vector_tables.massive_table(acts, count=2)
    first = table[table["rank"] == 1]
    assert first["dimension"].eq(7).all() and first["spread_rank"].eq(D_MODEL).all()
    second = table.query("layer == 3 and rank == 2").iloc[0]
    assert second["dimension"] == 11 and second["spread_rank"] == 1
    x = resid[3].astype(float)
    assert second["ratio"] == pytest.approx(np.abs(x[:, 11]).mean() / np.median(np.abs(x).mean(0)))
    assert second["share"] == pytest.approx((x[:, 11] ** 2).mean() / (x**2).sum(1).mean())
    assert table.query("layer == 1 and rank == 2")["ratio"].item() < 5  # no second one there
    assert vector_tables.massive_table(acts, [4], count=5)["rank"].tolist() == [1, 2, 3, 4, 5]
    with pytest.raises(UserError, match="layer 5 is out of range"):
        vector_tables.massive_table(acts, [5])
