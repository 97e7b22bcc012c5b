"""Phase 4 on tiny models: a rotated copy is found again, another model is not; what is judged fitted nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from model_folders import save_model
from tiny import byte_tokenizer

from emolib.base.errors import UserError
from emolib.models.loading import load_model
from emolib.models.rotated import rotated_network
from emolib.study import phase2_activations
from emolib.study.phase4_alignment import anchor_texts as texts_of_anchors
from emolib.study.phase4_alignment import judged, layers, sides
from emolib.study.run import Run, open_run

SMALL = {"n_train": 6, "n_validation": 4, "n_test": 4, "n_geometry": 10, "n_anchor_texts": 30, "n_maps": 19}
SMALL |= {"n_random_models": 2, "n_splits": 2, "rank": 48, "sites": "resid_pre"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("pairs")
    save_model(place / "first", "llama")
    save_model(place / "other", "gpt2")
    rotated_network(load_model(str(place / "first"), device="cpu"), d_model=64).save_pretrained(place / "turned")
    byte_tokenizer().save_pretrained(place / "turned")
    return place


def opened(folder: Path, b: str, **given: object) -> Run:
    return open_run("baseline_smoke", str(folder / "first"), "phase4", other=str(folder / b), **{**SMALL, **given})


@pytest.fixture(scope="module")
def results(folder: Path) -> pytest.MonkeyPatch:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMOLIB_RESULTS", str(folder / "results"))
        yield patch


@pytest.fixture(scope="module")
def turned(folder: Path, results: pytest.MonkeyPatch) -> Run:
    return opened(folder, "turned")


@pytest.fixture(scope="module")
def other(folder: Path, results: pytest.MonkeyPatch) -> Run:
    return opened(folder, "other")


def test_a_rotated_copy_is_unlike_in_raw_coordinates_and_the_same_once_it_is_mapped(turned: Run) -> None:
    raw = turned.study.raw_table(turned)
    assert raw["raw"].abs().mean() < 0.25 and raw["mapped"].min() > 0.99
    table = turned.study.method_table(turned).set_index(["space", "method"])
    turn = ("standardised", "procrustes")  # once every dimension has been divided by its sd, it is no rotation any more
    assert (table["r2_held_out"].drop(turn) > 0.99).all() and table["r2_held_out"][turn] > 0.9
    assert (table["kept"] > 0.999).all()
    margins = turned.study.margin_table(turned)
    np.testing.assert_allclose(margins["margin"], margins["ceiling_b"], atol=0.02)


def test_another_model_is_not_found_as_well_as_the_copy(turned: Run, other: Run) -> None:
    found = {
        name: run.study.method_table(run).set_index(["space", "method"])
        for name, run in {"turned": turned, "other": other}.items()
    }
    assert (found["other"]["r2_held_out"] < found["turned"]["r2_held_out"]).all()
    assert found["other"]["margin"].mean() < found["turned"]["margin"].mean()


def test_every_null_stands_beside_every_label_and_decides_the_bar(turned: Run) -> None:
    nulls, verdicts = turned.study.null_table(turned), turned.study.verdicts(turned)
    assert set(nulls["null"]) == set(judged.NULLS)
    assert len(nulls) == len(judged.NULLS) * len(verdicts)
    largest = nulls.groupby(["style", "label"], sort=False)["null_95"].max()
    np.testing.assert_allclose(
        verdicts.set_index(["style", "label"])["bar"],
        largest[list(zip(verdicts["style"], verdicts["label"], strict=True))],
    )
    assert (nulls.loc[nulls["null"] == "permuted", "n_maps"] == SMALL["n_maps"]).all()
    permuted = nulls[(nulls["null"] == "permuted") & (nulls["style"] == "all")].set_index("label")["null_mean"]
    own = verdicts[verdicts["style"] == "all"].set_index("label")["margin"]
    assert permuted.abs().mean() < own.mean()


def test_the_texts_of_the_anchors_made_nothing_that_is_judged(turned: Run) -> None:
    anchors = set(texts_of_anchors.anchor_texts(turned)["text"])
    a = sides.pair(turned).a
    assert anchors and not anchors & set(phase2_activations.texts(a)["text"])
    assert not anchors & set(sides.label_texts(a)["text"])
    table = sides.anchors(turned)
    by_word = table.groupby("word")["split"].nunique()
    assert (by_word == 1).all(), "a word type lies in one split"


def test_the_layers_are_those_of_the_largest_validation_margin(turned: Run) -> None:
    table, at = layers.layer_table(turned), layers.chosen(turned)
    inner = table[table["layer_a"].between(1, 2) & table["layer_b"].between(1, 2)]
    assert at.margin == inner["validation_margin"].max()
    found = inner[(inner["layer_a"] == at.layer_a) & (inner["layer_b"] == at.layer_b)]["validation_margin"]
    assert at.margin in found.tolist()


def test_permuted_anchors_explain_nothing_and_still_fit_their_own(turned: Run) -> None:
    curve = turned.study.curve(turned)
    assert (curve["permuted_held_out"] < 0.2).all() and (curve["r2_held_out"] > curve["permuted_held_out"]).all()


def test_what_is_compared_without_a_map_and_by_subspaces_is_the_same_in_the_copy(turned: Run) -> None:
    agreement = turned.study.agreement_table(turned)
    at = agreement[(agreement["compared"] == "layers") & (agreement["given"] == "nothing")].iloc[0]
    assert at["same_texts"] > 0.999 and abs(at["correlation"] - at["ceiling"]) < 0.2
    overlaps = turned.study.overlap_table(turned)
    first = overlaps[overlaps["k"] == 1]
    np.testing.assert_allclose(first["after"], first["ceiling"], atol=0.1)
    assert overlaps["before"].isna().all(), "no overlap exists between models of different width"


def test_a_second_run_finds_everything_and_says_the_same(folder: Path, turned: Run) -> None:
    before = turned.study.verdicts(turned)
    again = opened(folder, "turned")
    assert again.study.verdicts(again).equals(before)
    made = again.paths.alignment("verdicts")
    assert made in again.artifacts.made and made not in again.artifacts.computed


def test_further_texts_of_a_file_become_anchors(folder: Path, results: pytest.MonkeyPatch) -> None:
    file = folder / "neutral.txt"
    file.write_text("The shelf by the door holds two maps.\n\nA tram stops at the corner.\n", encoding="utf-8")
    run = opened(folder, "turned", anchor_texts=str(file), n_anchor_texts=500)
    table = texts_of_anchors.anchor_texts(run)
    assert table["source"].value_counts()["given"] == 2
    assert run.variant.name is not None, "other anchors are another result"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("texts.csv", "text\nA lamp.", "in a .txt or .jsonl file"),
        ("texts.jsonl", '{"words": "A lamp."}\n', "row 1"),
        ("empty.txt", "\n", "found none"),
    ],
)
def test_files_that_hold_no_texts_are_refused(tmp_path: Path, name: str, content: str, words: str) -> None:
    file = tmp_path / name
    file.write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=words):
        texts_of_anchors.read_texts(file)
