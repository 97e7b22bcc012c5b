"""Any label set, and texts that share no scenario: blocks stand in for scenarios, up to vectors and subspaces."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from emolib.base.errors import UserError
from emolib.data.activations import Activations
from emolib.data.dataset import build_dataset, load_dataset, paired, select_scenarios
from emolib.directions.stability import split_half_stability
from emolib.directions.subspaces import fit_subspaces
from emolib.directions.vector_tables import cosine_table
from emolib.directions.vectors import fit_emotion_vectors, scenario_cube
from emolib.engine.extraction import extract_activations
from emolib.models.language_model import LanguageModel
from emolib.scoring.goemotions import LABELS

FILE = Path(__file__).parents[1] / "files" / "goemotions_labels.csv"
COMPLETE = {"train": 8, "validation": 3, "test": 3}  # 60/20/20 of 14 blocks
Build = Callable[..., pd.DataFrame]


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return pd.read_csv(FILE)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    return build_dataset(FILE, tmp_path_factory.mktemp("any") / "out.jsonl", labels=LABELS)


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """`build_dataset` of a table."""

    def built(rows: pd.DataFrame, **options: object) -> pd.DataFrame:
        rows.to_csv(tmp_path / "mine.csv", index=False)
        return build_dataset(tmp_path / "mine.csv", tmp_path / "out.jsonl", **options)

    return built


@pytest.fixture(scope="module")
def train(data: pd.DataFrame, tiny_models: dict[str, LanguageModel]) -> Activations:
    texts = select_scenarios(data, "train", COMPLETE["train"])
    # the mean: most texts end with the same mark, which is the same vector at layer 0
    return extract_activations(tiny_models["llama"], texts, positions="mean")


def complete_blocks(data: pd.DataFrame) -> dict[str, int]:
    """How many scenarios of every split have every label."""
    full = data.groupby(["split", "scenario"])["emotion"].nunique() == data["emotion"].nunique()
    return full.groupby("split").sum().to_dict()


def partners(data: pd.DataFrame) -> set[frozenset[str]]:
    """Which texts stand together, whatever the blocks are called."""
    return {frozenset(texts) for _, texts in data.groupby("scenario")["text"]}


# the file


def test_the_file_has_fourteen_different_texts_of_comment_length_for_each_of_the_28_labels(rows):
    assert tuple(rows) == ("text", "emotion")
    assert rows["emotion"].value_counts().to_dict() == dict.fromkeys(LABELS, 14)
    assert rows["text"].str.lower().is_unique
    assert rows["text"].str.split().str.len().between(6, 25).all()


def test_a_label_that_is_not_allowed_is_named(build, rows):
    with pytest.raises(UserError, match="label 'admiration' is not one of"):
        build(rows, labels=LABELS[1:])
    assert len(build(rows, labels=LABELS)) == 392


# blocks


def test_texts_without_scenarios_form_blocks_with_one_text_of_every_label(data, rows):
    pd.testing.assert_frame_equal(data[["text", "emotion"]], rows, check_dtype=False)
    assert (data.groupby("scenario")["emotion"].agg(["size", "nunique"]) == 28).all(axis=None)
    expected = {f"unpaired-{split}-{n:04d}" for split, count in COMPLETE.items() for n in range(1, count + 1)}
    assert set(data["scenario"]) == expected
    assert (data["scenario"].str.split("-").str[1] == data["split"]).all()
    assert set(data["style"]) == {"unspecified"}


def test_only_blocks_are_not_paired(data, build, rows):
    assert paired(load_dataset())
    assert not paired(data)
    assert not paired(data[data["split"] == "test"])
    subjects = rows.groupby("emotion").cumcount().map("subject-{}".format)
    assert paired(build(rows.assign(scenario=subjects)))
    assert paired(build(rows.assign(scenario="unpaired-" + subjects)))  # only like the name of a block


def test_a_file_with_scenarios_keeps_them(build, rows):
    subjects = rows.groupby("emotion").cumcount().map("subject-{}".format)
    assert build(rows.assign(scenario=subjects))["scenario"].tolist() == subjects.tolist()


def test_rows_without_a_scenario_are_their_own_where_other_rows_give_one(build, rows):
    some = rows.groupby("emotion").cumcount().map("subject-{}".format).where(rows["emotion"] != "joy")
    built = build(rows.assign(scenario=some))
    assert built.loc[some.notna(), "scenario"].tolist() == some.dropna().tolist()
    assert built.loc[some.isna(), "scenario"].str.fullmatch(r"s-[0-9a-f]{10}").all()
    assert built.loc[some.isna(), "scenario"].is_unique
    assert complete_blocks(built) == {"train": 0, "validation": 0, "test": 0}


@pytest.mark.parametrize("nothing", ["", "  ", None])
def test_an_empty_scenario_column_is_as_good_as_none(build, rows, data, nothing):
    pd.testing.assert_frame_equal(build(rows.assign(scenario=nothing)), data)


def test_blocks_depend_on_the_seed_and_not_on_the_order_of_the_rows(build, rows, data):
    shuffled = build(rows.sample(frac=1, random_state=3))
    merged = data.merge(shuffled, on="text", suffixes=("", "_shuffled"))
    assert (merged["scenario"] == merged["scenario_shuffled"]).all()
    other = build(rows, seed=1)
    assert complete_blocks(other) == COMPLETE
    assert partners(other).isdisjoint(partners(data))


def test_a_built_file_keeps_its_blocks_when_it_is_loaded_and_built_again(data, build):
    pd.testing.assert_frame_equal(build(data, seed=5), data)
    pd.testing.assert_frame_equal(load_dataset(FILE), data)


def test_blocks_stay_within_the_splits_that_are_given(build, rows):
    given = rows.groupby("emotion").cumcount().map(lambda i: "test" if i < 5 else "validation" if i < 9 else "train")
    built = build(rows.assign(split=given))
    assert built["split"].tolist() == given.tolist()
    assert (built.groupby("scenario")["split"].nunique() == 1).all()
    assert complete_blocks(built) == {"train": 5, "validation": 4, "test": 5}


def test_rows_that_give_no_split_share_no_block_with_those_that_do(build, rows):
    given = rows.groupby("emotion").cumcount().map(lambda i: "test" if i < 4 else "")
    built = build(rows.assign(split=given))
    assert (built.assign(given=given).groupby("scenario")["given"].nunique() == 1).all()
    assert complete_blocks(built) == {"train": 6, "validation": 2, "test": 6}  # 4 given, 60/20/20 of the other 10


def test_a_label_that_lacks_a_text_in_a_split_leaves_one_block_incomplete(build, rows, data):
    without = build(data.drop(columns="scenario").drop(index=data.index[data["split"] == "validation"][0]))
    assert complete_blocks(data)["validation"] == 3
    assert complete_blocks(without) == {**COMPLETE, "validation": 2}
    assert len(without) == 391
    with pytest.raises(UserError, match="the data set has 2"):
        select_scenarios(without, "validation", 3)


def test_left_over_texts_stay_in_blocks_with_fewer_labels(build, rows):
    more = pd.DataFrame({"text": [f"Platform {i} is past the kiosk." for i in range(100)], "emotion": "neutral"})
    built = build(pd.concat([rows, more]))
    assert len(built) == 492
    assert complete_blocks(built) == COMPLETE
    sizes = built.groupby("scenario")["emotion"].agg(["size", "nunique"])
    assert sizes.value_counts().to_dict() == {(28, 28): 14, (1, 1): 100}
    assert built.groupby("scenario")["split"].first().value_counts().to_dict() == {
        "train": 68,
        "validation": 23,
        "test": 23,
    }


def test_blocks_keep_to_one_style_where_the_file_gives_styles(build, rows):
    styles = rows.groupby("emotion").cumcount().map(lambda i: "explicit" if i % 2 else "implicit")
    built = build(rows.assign(style=styles))
    assert built["style"].tolist() == styles.tolist()
    assert (built.groupby("scenario")["style"].nunique() == 1).all()
    assert complete_blocks(built) == COMPLETE


@pytest.mark.parametrize(("split", "count"), COMPLETE.items())
def test_selection_takes_complete_blocks_of_a_split(data, split, count):
    chosen = select_scenarios(data, split, count)
    assert chosen["scenario"].nunique() == count and len(chosen) == 28 * count
    assert set(chosen["split"]) == {split}
    assert set(select_scenarios(data, split, 2)["scenario"]) < set(chosen["scenario"])
    with pytest.raises(UserError, match=f"the data set has {count}"):
        select_scenarios(data, split, count + 1)


# what is fitted on them


def test_vectors_of_27_emotions_are_differences_of_label_means(train):
    vecs = fit_emotion_vectors(train)
    assert vecs.emotions == LABELS[:-1]
    labels = train.texts["emotion"].to_numpy()
    resid = train.values["resid_pre"]
    for emotion in ("grief", "realization"):
        expected = resid[:, labels == emotion].mean(1) - resid[:, labels == "neutral"].mean(1)
        np.testing.assert_allclose(vecs.values[emotion], expected, atol=1e-5)
        assert np.abs(vecs.values[emotion]).max() > 1e-2


def test_every_layer_has_the_cosines_of_351_pairs(train):
    table = cosine_table(fit_emotion_vectors(train))
    assert table.groupby("layer")["pair"].nunique().to_dict() == dict.fromkeys(range(train.n_layers + 1), 351)
    assert table[["raw", "standardised", "trimmed"]].abs().le(1 + 1e-6).all(axis=None)
    fewer = train.where((train.texts["emotion"] != "joy").to_numpy())
    assert set(cosine_table(fit_emotion_vectors(fewer)).groupby("layer")["pair"].nunique()) == {325}


def test_subspaces_are_fitted_on_the_blocks(train):
    subs = fit_subspaces(train, k=4)
    assert tuple(subs) == LABELS[:-1]
    for emotion in subs:
        basis = subs.bases[emotion]
        np.testing.assert_allclose(basis.transpose(0, 2, 1) @ basis, np.broadcast_to(np.eye(4), (4, 4, 4)), atol=1e-4)
    with pytest.raises(UserError, match="k from 1 to 8"):
        fit_subspaces(train, k=9)


def test_blocks_are_what_paired_statistics_need(train):
    cube, scenarios, emotions = scenario_cube(train, "neutral")
    assert cube.shape == (train.n_layers + 1, 8, 28, train.d_model)
    assert len(scenarios) == 8 and tuple(emotions) == LABELS[:-1]
    assert np.isfinite(split_half_stability(train, n_halves=4)[["mean", "shuffled"]]).all(axis=None)
    alone = replace(train, texts=train.texts.assign(scenario=train.texts["id"]))
    with pytest.raises(UserError, match="found 0"):
        fit_subspaces(alone, k=4)
