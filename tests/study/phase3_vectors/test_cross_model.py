"""Pairs of models of one profile: whether they compare, by what, and what the report says, on planted results."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from planted_runs import opened_run
from tiny import tiny_model

from emolib.base import store, tensor_files
from emolib.report.ja import phase3
from emolib.study.phase3_vectors import cross_model, fitting, geometry
from emolib.study.run import Run

SMALL = {"sites": ["resid_pre"], "n_geometry": 4, "n_train": 4, "backend": "lexical"}
LABELS = [f"label{i}" for i in range(12)]
OWN = "smollm2_135m"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """One whose own vectors and dissimilarities are planted, as those of the models beside it."""
    monkeypatch.setenv("EMOLIB_RESULTS", str(tmp_path / "results"))
    monkeypatch.setattr(fitting, "vectors", lambda run, position: None)
    monkeypatch.setattr(geometry, "label_dissimilarities", lambda run: None)
    return opened_run(tiny_model("llama"), "phase3", **SMALL)


def model_beside(
    run: Run, name: str, width: int, *, revision: str = "", emotions: tuple[str, ...] = ("anger",)
) -> None:
    rng = np.random.default_rng(width + len(name))
    tensors = {f"vector/{e}": rng.standard_normal((5, width)).astype(np.float32) for e in emotions}
    about = {"model": name, "revision": revision or name, "emotions": ",".join(emotions)}
    path = run.paths.of_model(name).vectors("mean")
    store.write(path, tensor_files.tensor_bytes(tensors, about), {"step": 1})


def labels_beside(
    run: Run, name: str, values: np.ndarray, *, n_layers: int = 4, reliability: float = 0.9, texts: str = "t"
) -> None:
    """The model's table: these values at the middle layer, others elsewhere."""
    rows = []
    for layer in range(-1, n_layers + 1):
        here = values if layer == n_layers // 2 else np.random.default_rng(layer + 5).permutation(values)
        for (first, second), value in zip(combinations(LABELS, 2), here, strict=True):
            rows.append({"layer": layer, "first": first, "second": second, "dissimilarity": value})
    table = pd.DataFrame(rows).assign(reliability=reliability)
    matched = {"texts": texts, "labels": "l"}
    store.write(run.paths.of_model(name).companion_table("dissimilarities"), store.table_bytes(table), matched)


def values(seed: int, like: np.ndarray | None = None) -> np.ndarray:
    own = np.random.default_rng(seed).uniform(0, 2, 66)
    return own if like is None else 0.9 * like + 0.1 * own


def pair(table: pd.DataFrame, a: str, b: str) -> dict:
    (row,) = [r for r in cross_model.pairs_of(table).to_dict("records") if {r["model_a"], r["model_b"]} == {a, b}]
    return row


def test_every_pair_is_told_and_the_reason_with_it(run: Run) -> None:
    model_beside(run, OWN, 576)
    model_beside(run, "gemma3_270m", 640)
    model_beside(run, "second", 576)
    model_beside(run, "again", 576, revision=OWN)
    model_beside(run, "foreign", 576, emotions=("joy",))
    table = cross_model.cross_model(run)
    assert len(cross_model.pairs_of(table)) == 10
    found = {b: pair(table, OWN, b)["comparable"] for b in ("gemma3_270m", "second", "again", "foreign")}
    assert found == {
        "gemma3_270m": "other_width",
        "second": "other_model",
        "again": "same_model",
        "foreign": "no_shared_label",
    }
    cosines = cross_model.cosines_of(table)
    assert set(cosines["comparable"]) == {"other_model", "same_model"} and (cosines["emotion"] == "anger").all()
    warned = table.groupby("comparable")["warning"].unique().to_dict()
    assert {code: list(found) for code, found in warned.items()} == {k: [v] for k, v in cross_model.WARNINGS.items()}
    read = pd.read_csv(run.paths.cross_model_table())
    assert read["comparable"].tolist() == table["comparable"].tolist()

    said = phase3.sentence_cross_model(table).data
    (line,) = [line for line in said.splitlines() if OWN in line and "gemma3_270m" in line]
    assert "幅が違う（640 と 576）" in line and "コサインは存在しない" in line and "比較もない" in line
    shown = phase3.table_cross_model(table).reset_index()
    told = shown[shown["モデル A"].isin([OWN, "gemma3_270m"]) & shown["モデル B"].isin([OWN, "gemma3_270m"])]
    assert told["生のコサイン"].tolist() == ["計算できない（幅が違う）"] and told["層平均コサイン"].tolist() == ["—"]
    assert shown.loc[shown["生のコサイン"] == "比較できる（同じ重み）", "感情"].tolist() == ["怒り"]


def test_two_widths_alone_are_told_without_a_warning_about_cosines(run: Run) -> None:
    model_beside(run, OWN, 576)
    assert cross_model.cross_model(run).empty
    model_beside(run, "gemma3_270m", 640)
    table = cross_model.cross_model(run)
    assert len(table) == 1 and "警告" not in phase3.sentence_cross_model(table).data
    phase3.figure_cross_model(run, table)  # nothing to draw
    assert not list(run.paths.root.rglob("*cross_model_*.html"))


def test_labels_compare_across_widths_at_half_of_each_depth(run: Run) -> None:
    model_beside(run, OWN, 576)
    model_beside(run, "gemma3_270m", 640)
    model_beside(run, "unlike", 768)
    own = values(1)
    labels_beside(run, OWN, own, n_layers=30, reliability=0.81)
    labels_beside(run, "gemma3_270m", values(2, like=own), n_layers=18, reliability=0.9)
    labels_beside(run, "unlike", values(3))
    table = cross_model.cross_model(run)
    row, other = pair(table, OWN, "gemma3_270m"), pair(table, OWN, "unlike")
    assert {(row["model_a"], row["layer_a"]), (row["model_b"], row["layer_b"])} == {(OWN, 15), ("gemma3_270m", 9)}
    assert (row["labels"], row["n_labels"], row["comparable"]) == ("alike", 12, "other_width")
    assert row["label_correlation"] > 0.9 and row["label_p"] < 0.001
    assert row["label_ceiling"] == pytest.approx(np.sqrt(0.81 * 0.9))
    assert other["labels"] == "not_told" and abs(other["label_correlation"]) < 0.5 and other["label_p"] > 0.05
    said = phase3.sentence_cross_model(table).data
    assert "12 ラベルの非類似度（層 9 と層 15）は、並べ替えたラベルより似ている" in said
    assert "p < 0.001" in said and "区別できない" in said and "差は検定していない" in said


@pytest.mark.parametrize(
    ("about", "code", "words"),
    [
        ({"reliability": 0.5}, "unmeasurable", "測定できない"),
        ({"texts": "others"}, "other_texts", "別の文による"),
        (None, "no_table", "両方には揃っていない"),
    ],
)
def test_labels_that_cannot_be_compared_say_why(run: Run, about: dict | None, code: str, words: str) -> None:
    model_beside(run, OWN, 576)
    model_beside(run, "gemma3_270m", 640)
    labels_beside(run, OWN, values(1))
    if about is not None:
        labels_beside(run, "gemma3_270m", values(1), **about)
    table = cross_model.cross_model(run)
    assert pair(table, OWN, "gemma3_270m")["labels"] == code
    said = phase3.sentence_cross_model(table).data
    assert words in said and "並べ替えより似ている" not in said
