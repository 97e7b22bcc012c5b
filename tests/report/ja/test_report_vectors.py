"""The reports of phases 2 and 3: every sentence says what its numbers say, and nothing where there is no number."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pandas as pd
import pytest
from IPython.display import Markdown
from planted_runs import in_two_styles, opened_run, written
from tiny import tiny_model

import emolib
from emolib.base import paths
from emolib.base.strength import STUDY_UNIT
from emolib.data.activations import Activations
from emolib.data.dataset import build_dataset
from emolib.plots import figures, views
from emolib.report import markup
from emolib.report.ja import names, phase2, phase3, phase3_discussion, phase3_geometry, phase3_models
from emolib.scoring.goemotions import LABELS
from emolib.selftest.planted import plant, planted_scenarios
from emolib.study.activation_findings import findings
from emolib.study.phase3_vectors.answers import separation_codes
from emolib.study.run import Run

NAN = float("nan")
FAST = {"backend": "lexical", "sites": ["resid_pre", "mlp_out"]}


def rows(*records: tuple, columns: str) -> pd.DataFrame:
    return pd.DataFrame(records, columns=columns.split())


def said(found: Markdown) -> str:
    return found.data


# Whole reports: every code cell of the notebook, on a run that is given


def report_of(run: Run, monkeypatch: pytest.MonkeyPatch, *, with_figures: bool = True) -> list[Any]:
    """What the cells of the phase's notebook display, in order; figures and views by their names."""
    drawn: list[Any] = []
    monkeypatch.setattr(emolib, "open_run", lambda *names, **parameters: run)
    monkeypatch.setattr(figures, "show", lambda fig, name: drawn.append((name, fig)))
    monkeypatch.setattr(views, "show", lambda view: drawn.append(("view", view)))
    space: dict[str, Any] = {}
    for cell in nbformat.read(paths.notebook_file(run.params.phase), as_version=4).cells:
        if cell.cell_type != "code" or (not with_figures and re.search(r"\.(figure_|show)", cell.source)):
            continue
        tree = ast.parse(cell.source)
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, "cell", "exec"), space)
        if last is not None:
            value = eval(compile(ast.Expression(last.value), "cell", "eval"), space)
            drawn += [] if value is None else [value]
    return drawn


def texts_in(shown: list[Any]) -> str:
    return "\n".join(item.data for item in shown if isinstance(item, Markdown))


def assert_readable(shown: list[Any]) -> None:
    """No sentence or cell holds what is no number; no table or figure holds more than can be read."""
    assert re.search(r"\bnan\b|NaN|-0\.0+(?!\d)|\binf\b", texts_in(shown)) is None, texts_in(shown)
    for table in (item for item in shown if isinstance(item, pd.DataFrame)):
        assert len(table) and len(table.columns) <= 12, table.columns
        for column in table.columns:
            values = table[column]
            if pd.api.types.is_float_dtype(values):
                assert not (np.signbit(values) & (values == 0)).any(), column
            else:
                assert not values.astype(str).str.contains(r"\bnan\b|-0\.0+(?!\d)").any(), column
    for _, fig in (item for item in shown if isinstance(item, tuple) and hasattr(item[1], "data")):
        listed = [trace for trace in fig.data if trace.name and trace.showlegend is not False]
        assert len(listed) <= 30


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EMOLIB_RESULTS", str(tmp_path / "results"))
    return tmp_path


@pytest.mark.parametrize("layers", ["0-1", "3", None])
def test_the_report_of_phase_2_reads_well_for_any_layers(elsewhere, monkeypatch, layers):
    lm = tiny_model("llama")
    counts = {"n_train": 4, "n_validation": 2, "n_test": 2}
    shown = report_of(opened_run(lm, "phase2", layers=layers, **counts, **FAST), monkeypatch)
    assert_readable(shown)
    text = texts_in(shown)
    assert ("層 0 から層 1 までに" in text) == (layers == "0-1")
    assert ("比べる層が二つない" in text) == (layers == "3")
    assert ("層 0 から層 2 までに" in text) == (layers is None)


def planted_report(folder: Path, monkeypatch: pytest.MonkeyPatch, labels: list[str]) -> list[Any]:
    planted = plant("llama", distractors=False)
    data = in_two_styles(planted_scenarios(planted, 40, seed=1))
    file = written(data[data["emotion"].isin(labels)], folder)
    counts = {"n_train": 24, "n_validation": 8, "n_test": 8}
    return report_of(opened_run(planted.lm, "phase3", dataset=str(file), **counts, **FAST), monkeypatch)


def test_the_report_of_phase_3_says_what_was_planted(elsewhere, monkeypatch):
    shown = planted_report(elsewhere, monkeypatch, ["neutral", "gratitude", "anger", "apology"])
    assert_readable(shown)
    text = texts_in(shown)
    assert "- 感謝・怒り・謝罪: 生・標準化・除去・白色化のベクトルへの射影だけで" in text
    assert "感謝・怒り・謝罪のテスト文を対照の 97.5 % 点より良く分ける" in text
    assert "偶然の水準を上回る" in text and "偶然の水準と区別できない" not in text


def test_the_report_of_phase_3_stands_with_one_emotion(elsewhere, monkeypatch):
    shown = planted_report(elsewhere, monkeypatch, ["neutral", "anger"])
    assert_readable(shown)
    text = texts_in(shown)
    assert "比べる感情の組がない" in text and "一つしかない" in text
    assert "怒りのテスト文を対照の 97.5 % 点より良く分ける" in text


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """The model, the data set of GoEmotions' 28 labels and its counts, in a folder of their own."""
    folder = tmp_path_factory.mktemp("many")
    source = Path(__file__).parents[2] / "files" / "goemotions_labels.csv"
    build_dataset(source, folder / "labels.jsonl", labels=LABELS)
    counts = {"n_train": 8, "n_validation": 3, "n_test": 3}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMOLIB_RESULTS", str(folder / "results"))
        yield {"lm": tiny_model("llama"), "dataset": str(folder / "labels.jsonl"), "backend": "lexical", **counts}


@pytest.mark.parametrize("phase", ["phase1", "phase2"])
def test_the_reports_of_the_texts_and_activations_stand_with_28_labels(many, monkeypatch, phase):
    given = dict(many) | ({"n_folds": 2} if phase == "phase1" else {})
    run = opened_run(given.pop("lm"), phase, **given)
    assert len(run.emotions) == 27
    shown = report_of(run, monkeypatch)
    assert run.record.path.is_file()  # the last cell was reached
    assert ("このフェーズはデータセットのすべてのシナリオを調べる" in texts_in(shown)) == (phase == "phase1")
    if phase == "phase2":
        assert_readable(shown)


def test_the_report_of_phase_3_stays_readable_with_28_labels(many, monkeypatch):
    given = dict(many)
    fewer = {"n_folds": 2, "n_halves": 4, "n_shuffles": 1, "n_bootstrap": 50}
    run = opened_run(given.pop("lm"), "phase3", **fewer, **given)
    shown = report_of(run, monkeypatch)
    assert_readable(shown)
    drawn = dict(item for item in shown if isinstance(item, tuple))
    assert len({trace.legendgroup for trace in drawn["stability"].data if trace.legendgroup}) == names.MOST_DRAWN
    assert len({trace.legendgroup for trace in drawn["cosines"].data if trace.legendgroup}) == names.MOST_DRAWN // 2
    assert drawn["similarity_heatmap_avg"].data[0].z.shape == (27, 27)
    assert "シナリオが少なく" in texts_in(shown)  # three are too few for subspaces of their own


# common


@pytest.mark.parametrize(
    ("value", "options", "expected"),
    [
        (NAN, {}, "—"),
        (None, {}, "—"),
        (-0.004, {}, "0.00"),
        (-0.006, {}, "-0.01"),
        (-0.004, {"signed": True}, "+0.00"),
        (0.256, {"signed": True}, "+0.26"),
        (np.float32(12.34), {"digits": 0}, "12"),
        (-0.4, {"digits": 0}, "0"),
    ],
)
def test_a_number_in_a_sentence_is_a_dash_or_has_no_minus_before_zero(value, options, expected):
    assert markup.number(value, **options) == expected


def test_an_interval_without_a_number_is_a_dash():
    assert markup.with_interval(0.5, 0.25, 0.75) == "0.50 [0.25, 0.75]"
    assert markup.with_interval(0.001, -0.004, 0.0) == "0.00 [0.00, 0.00]"
    assert markup.with_interval(NAN, NAN, NAN) == "—"
    assert markup.with_interval(0.5, NAN, NAN) == "0.50"


def test_figures_between_models_are_limited_to_a_few_emotions(monkeypatch):
    drawn = []
    monkeypatch.setattr(phase3_models, "show", lambda run, fig, name: drawn.append(name))
    columns = "model_a model_b emotion layer_a layer_b cosine"
    table = rows(*((("a", "b", f"e{i}", layer, layer, 0.1)) for i in range(9) for layer in (0, 1)), columns=columns)
    phase3.figure_cross_model(None, table)
    assert drawn == [f"cross_model_e{i}" for i in range(names.MOST_DRAWN)]
    phase3.figure_cross_model(None, table.iloc[:0])
    assert len(drawn) == names.MOST_DRAWN
    assert phase3.table_cross_model(table.iloc[:0]) is None


# phase 2


NORMS = "layer median_norm bulk_norm bulk_share first_token_norm top1_share top3_share top10_share"
MASSIVE = "layer rank dimension mean_abs ratio share spread_rank"
CORRELATIONS = "score n layer strongest null median"
TRIGGERS = "emotion style texts found place"


def acts_of(layers: tuple[int, ...], *, whole: bool = True) -> Activations:
    values = np.zeros((len(layers), 1, 2), np.float32)
    texts = pd.DataFrame({"id": ["a"]})
    offsets = np.array([0, 1])
    return Activations(
        {"resid_pre": values}, texts, values[..., 0], offsets, "last", "m", "r", None if whole else layers
    )


def activations_report(
    norms: list[float],
    *,
    first: float = 1.0,
    share: float = 0.2,
    strongest: float = 0.1,
    null: float = 0.3,
    ratio: float = 9.0,
    found: int = 3,
    implicit: int = 0,
) -> str:
    layers = tuple(range(len(norms)))
    table = rows(*((n, v, v / 2, 0.5, v * first, share / 2, share, share) for n, v in enumerate(norms)), columns=NORMS)
    massive = rows(*((n, 1, 7, 1.0, ratio, 0.25, 1) for n in layers), columns=MASSIVE)
    scores = [("n_tokens", 9, 1, 0.5, 0.3, 0.2), ("target/anger", 9, 1, strongest, null, strongest)]
    triggers = [("anger", "explicit", 4, found, 0.5), ("anger", "implicit", 4, implicit, NAN)]
    correlations = rows(*scores, columns=CORRELATIONS)
    found = findings(acts_of(layers), table, correlations, massive)
    assert re.search(r"\bnan\b|-1\b", said(phase2.conclusion(found))) is None
    return said(phase2.discussion(found, rows(*triggers, columns=TRIGGERS)))


def test_growing_norms_and_even_norms_are_told_apart():
    assert "層 0 から層 2 までに 4.0 倍になる。同じ大きさ" in activations_report([1, 2, 4, 4])
    assert "層 0 から層 2 までに 0.2 倍になる。同じ大きさ" in activations_report([5, 2, 1, 9])
    assert f"`{STUDY_UNIT}` 単位" in activations_report([1, 2, 4, 4])
    assert names.UNIT_NAMES[STUDY_UNIT] in activations_report([1, 2, 4, 4])
    even = activations_report([1, 1.2, 1.1, 9])
    assert "1.1 倍になる。両端の層の大きさは近い" in even and "同じ大きさ" not in even
    assert "測っていない" in activations_report([NAN, NAN, NAN, NAN], ratio=NAN)


def test_first_tokens_are_sinks_only_where_they_are_far_larger():
    assert "40 倍に達する" in activations_report([1, 1, 1], first=40)
    plain = activations_report([1, 1, 1], first=1.1)
    assert "1.1 倍であり、桁違いに大きくはない" in plain and "達する" not in plain


def test_a_few_dimensions_dominate_only_where_they_do():
    assert "半分を超える層が 2 層ある（層 1–2 の範囲）" in activations_report([1, 1, 1, 1], share=0.6)
    spread = activations_report([1, 1, 1, 1], share=0.2)
    assert "割合は最大でも 20 % であり" in spread and "半分を超える" not in spread


def test_what_is_the_largest_dimension_is_not_said_without_inner_layers():
    assert "内側の層（層 0 と最終残差を除く）の 100 % で次元 7 である" in activations_report([1, 1, 1])
    assert "比べない" in activations_report([1, 1])
    assert "比べない" in activations_report([1, 1, 1], ratio=NAN)


def test_the_norm_is_no_sign_of_emotion_unless_the_numbers_say_so():
    assert "根拠はない" in activations_report([1, 1, 1], strongest=-0.2, null=0.3)
    weak = activations_report([1, 1, 1], strongest=-0.25, null=0.2)
    assert "怒りの確率は入れ替えたときの最大値の 97.5 % 点を超えるが、相関は弱く" in weak
    strong = activations_report([1, 1, 1], strongest=0.8, null=0.2)
    assert "超える。ただし" in strong and "弱く" not in strong
    unknown = activations_report([1, 1, 1], strongest=NAN, null=NAN)
    assert "測っていない" in unknown and "nan" not in unknown


def test_triggers_in_implicit_texts_are_told():
    assert "暗示表現の文では 0 件であり、感情語の位置のベクトルは明示表現の文だけから" in activations_report([1, 1, 1])
    assert "暗示表現の文では 2 件であり、暗示表現の文にも語が残っている" in activations_report([1, 1, 1], implicit=2)
    none = activations_report([1, 1, 1], found=0)
    assert "どのテキストにも" in none and "暗示表現の文では" not in none


def test_tables_of_a_few_layers_are_not_empty():
    layers = range(1, 41, 2)  # 20 layers, none of them even
    table = rows(*((n, 1.0, 0.7, 0.7, 1.0, 0.1, 0.2, 0.3) for n in layers), columns=NORMS)
    assert phase2.table_norms(table).index.tolist() == [1, 5, 9, 13, 17, 21, 25, 29, 33, 37]
    massive = rows((14, 1, 3, 1.0, NAN, 0.1, 1), columns=MASSIVE)
    assert phase2.table_dimensions(massive).to_numpy().tolist() == [["3（— 倍）"]]
    triggers = phase2.table_triggers(rows(("anger", "implicit", 4, 0, NAN), columns=TRIGGERS))
    assert triggers.iloc[0].tolist() == [4, 0, "—"]


# phase 3: vectors


SEPARATION = "position emotion variant layer validation_auc auc low high random_high shuffled_high"
RESTRICTED = "emotion fitted_on layer cosine tested_on auc low high n"


def separations(low: float, random: float, shuffled: float) -> pd.DataFrame:
    both = [("mean", "anger", v, 3, 0.9, low + 0.05, low, 1.0, random, shuffled) for v in ("raw", "whitened")]
    return rows(*both, columns=SEPARATION)


@pytest.mark.parametrize(
    ("low", "random", "shuffled", "expected"),
    [
        (0.8, 0.7, 0.7, "生・白色化のベクトルへの射影だけで"),
        (0.8, 0.7, 0.9, "どの表し方も、区間の下限が"),
        (0.8, 0.9, 0.7, "どの表し方も、区間の下限が"),
        (0.8, 0.8, 0.7, "どの表し方も、区間の下限が"),
        (NAN, 0.7, 0.7, "計算できないため、判定しない"),
    ],
)
def test_a_vector_separates_only_above_both_nulls(low, random, shuffled, expected):
    table = separations(low, random, shuffled)
    assert expected in said(phase3.sentence_separation(table))
    closing = phase3_discussion._separation_line(separation_codes(table[table["variant"] == "raw"]))
    passed = "怒りのテスト文を対照の 97.5 % 点より良く分ける" in closing
    assert passed == (expected[0] == "生")
    assert "nan" not in said(phase3.sentence_separation(table)) + closing


def test_what_implicit_texts_and_the_surface_tell_is_said_both_ways():
    def restricted(low: float, *more: tuple) -> str:
        own = [
            ("anger", "all", 3, 1.0, "all", 0.9, 0.8, 1.0, 16),
            ("anger", "implicit", 2, -0.001, "implicit", 0.6, low, 0.8, 8),
        ]
        return said(phase3.sentence_restricted(rows(*own, *more, columns=RESTRICTED)))

    assert "0.5 を上回る" in restricted(0.55) and "表層は除去していない" in restricted(0.55)
    assert "偶然（0.5）と区別できない" in restricted(0.4)
    assert "判定しない" in restricted(NAN) and "区別できない" not in restricted(NAN)
    adjusted = restricted(0.55, ("anger", "adjusted", 3, -0.003, "all", 0.7, 0.6, 0.8, 16))
    assert "怒り 0.90 → 0.70（コサイン 0.00）" in adjusted and "除去していない" not in adjusted


def test_restricted_rows_keep_the_order_of_the_emotions():
    table = rows(
        ("gratitude", "all", 3, 1.0, "all", 0.9, 0.8, 1.0, 16),
        ("gratitude", "adjusted", 3, -0.001, "all", 0.9, 0.8, 1.0, 16),
        ("anger", "all", 1, 1.0, "all", 0.7, 0.6, 0.8, 16),
        ("anger", "all", 1, 1.0, "implicit", 0.7, 0.6, 0.8, 16),
        columns=RESTRICTED,
    )
    shown = phase3.table_restricted(table)
    assert shown.index.tolist() == [("感謝", "全ての文"), ("感謝", "表層を除去"), ("怒り", "全ての文")]
    assert shown.iloc[1].tolist() == [3, "0.00", "0.90 [0.80, 1.00]", "—"]


COSINES = "pair first second layer raw standardised trimmed"
STABILITY = "emotion layer mean low high shuffled shuffled_high"


def vectors_report(raw: float, standardised: float, trimmed: float, *, low: float = 0.4, style: float = 0.5) -> str:
    cosines = rows(*(("anger–joy", "anger", "joy", n, raw, standardised, trimmed) for n in range(4)), columns=COSINES)
    stability = rows(*(("anger", n, low + 0.1, low, low + 0.2, 0.0, 0.2) for n in range(4)), columns=STABILITY)
    styles = rows(*(("anger", n, style) for n in range(4)), columns="emotion layer cosine")
    return said(phase3.discussion_vectors(cosines, stability, separations(0.8, 0.7, 0.7), styles))


def test_cosines_are_read_by_what_few_dimensions_do_to_them():
    near = vectors_report(0.4, 0.4, 0.4)
    assert "生・標準化・除去は近く" in near and "等距離" not in near
    assert "生の値と標準化・除去後の値の差が大きく" in vectors_report(0.9, 0.4, 0.4)
    only = vectors_report(0.9, 0.85, 0.4)
    assert "生の値と除去後の値の差が大きく" in only and "近く、" not in only
    assert "互いに等距離でもコサインは 0.5" in vectors_report(0.6, 0.6, 0.6)
    unknown = vectors_report(NAN, NAN, NAN)
    assert "何も言えない" in unknown and "nan" not in unknown
    assert "怒り -0.00" not in vectors_report(0.1, 0.1, 0.1, style=-0.001)


def test_stability_is_above_chance_only_where_its_interval_is():
    assert "偶然の水準を上回る" in vectors_report(0.4, 0.4, 0.4, low=0.3)
    assert "偶然の水準と区別できない" in vectors_report(0.4, 0.4, 0.4, low=0.1)
    unknown = vectors_report(0.4, 0.4, 0.4, low=NAN)
    assert "計算できないため、判定しない" in unknown and "偶然" not in unknown.split("分割半")[1]


K = "emotion layer k excess best_k best_excess se null_max found test_overlap test_null test_null_high"
TOPICS = "emotion layer k with_neutral with_differences"


def k_report(found: bool, overlap: float, *, neutral: float = 0.8) -> str:
    table = rows(("anger", 3, 2, 0.4, 3, 0.5, 0.1, 0.3, found, overlap, 0.2, 0.4), columns=K)
    topics = rows(("anger", 3, 1, neutral, 0.3), ("joy", 3, 1, neutral, 0.3), columns=TOPICS)
    return said(phase3.sentence_subspaces(table, topics))


def test_a_subspace_is_claimed_only_beyond_its_nulls():
    assert "規則が選ぶ k は 2" in k_report(True, 0.6) and "を上回る" in k_report(True, 0.6)
    assert "を上回らない" in k_report(True, 0.3)
    assert "判定しない" in k_report(True, NAN) and "上回" not in k_report(True, NAN)
    none = k_report(False, 0.6)
    assert "k に意味はない" in none and "規則が選ぶ" not in none
    assert "中立文にもある変動に近い" in k_report(True, 0.6) and "中立文にもある変動" not in k_report(
        True, 0.6, neutral=0.1
    )


def test_pairs_are_limited_to_the_most_alike(monkeypatch):
    drawn: list = []
    pairs = [
        (f"a{i}–b{i}", f"a{i}", f"b{i}", layer, 0.0, i / 40 * (-1) ** i, 0.0) for i in range(30) for layer in range(3)
    ]
    table = rows(*pairs, columns=COSINES)
    shown = phase3.table_cosines(table)
    assert len(shown) == 3 * phase3_geometry.MOST_PAIRS
    assert {name for _, name in shown.index} == {f"a{i}–b{i}" for i in range(20, 30)}
    monkeypatch.setattr(phase3_geometry, "show", lambda run, fig, name: drawn.append(fig))
    phase3.figure_cosines(None, table)
    listed = {trace.legendgroup for trace in drawn[0].data if trace.legendgroup}
    assert listed == {f"a{i}–b{i}" for i in (27, 28, 29)}
    assert phase3.table_similarity(table).shape == (phase3_geometry.MOST_PAIRS, phase3_geometry.MOST_PAIRS)
    assert len(set(phase3_geometry.drawn(table, "pair")["pair"])) == names.MOST_DRAWN


# phase 3: what is read out


INFORMATION = (
    "emotion source style layer c auc low high shuffled_mean shuffled_max advantage advantage_low advantage_high "
    "advantage_p advantage_best_p n"
)


def information_report(
    low: float, high: float, *, auc: float = 0.9, shuffled: float = 0.7, p: float = 0.01, best: float = 0.001
) -> str:
    middle = (low + high) / 2
    own = ("anger", "residual", "all", 3, 0.01, auc, 0.8, 1.0, 0.5, shuffled, NAN, NAN, NAN, NAN, NAN, 16)
    bag = ("anger", "words", "all", None, 0.01, 0.7, 0.6, 0.8, 0.5, 0.7, middle, low, high, p, best, 16)
    return said(phase3.sentence_information(rows(own, bag, columns=INFORMATION)))


def test_more_than_the_words_is_claimed_only_where_the_interval_is_beyond_zero():
    assert information_report(0.05, 0.3).splitlines()[0].endswith("0.025 以下で、基準を満たす。")
    assert "検出できない" in information_report(0.05, 0.3, p=0.03)
    assert "誤りのない得点でも" in information_report(0.05, 0.3, best=0.03)
    assert "AUC が 1 に近いときの区間は狭い" in information_report(0.05, 0.3, auc=1.0)
    assert "AUC が 1 に近い" not in information_report(0.05, 0.3)
    assert "劣る" in information_report(-0.3, -0.05)
    between = information_report(-0.004, 0.1)
    assert "検出できない" in between and "[-0.004, +0.100]" in between
    unknown = information_report(NAN, NAN)
    assert "差は計算できないため、判定しない" in unknown and "検出できない" not in unknown
    assert "どの感情でも" in information_report(0.05, 0.3)
    doubtful = information_report(0.05, 0.3, shuffled=0.95)
    assert "怒り 0.90（シャッフルの最大 0.95）で、" in doubtful and "の最大を上回らない" in doubtful
    assert "どの感情でも" not in information_report(0.05, 0.3, auc=NAN)


CROSS = "emotion source trained_on tested_on layer auc low high shuffled_max n"


def test_a_probe_carries_over_only_above_chance_and_its_shuffles():
    def crossed(auc: float, low: float, shuffled: float) -> str:
        ways = [("residual", auc, low, 1.0, shuffled), ("words", 0.6, 0.4, 0.8, 0.6)]
        table = rows(*(("anger", s, "explicit", "implicit", 3, a, b, c, d, 9) for s, a, b, c, d in ways), columns=CROSS)
        return said(phase3.sentence_cross_style(table))

    assert "怒り（明示表現→暗示表現、9 文、AUC 0.90 [0.80, 1.00]" in crossed(0.9, 0.8, 0.7)
    assert "別の表現の文にも通じる。" in crossed(0.9, 0.8, 0.7)
    assert "通じるとは言えない" in crossed(0.9, 0.4, 0.7)
    assert "通じるとは言えない" in crossed(0.9, 0.8, 0.95)
    assert "判定しない" in crossed(NAN, NAN, 0.7) and "通じる" not in crossed(NAN, NAN, 0.7)
    empty = pd.DataFrame(columns=CROSS.split())
    assert "行っていない" in said(phase3.sentence_cross_style(empty))
    assert phase3.table_cross_style(empty) is None


def projections(own: float, null: float, *others: float) -> pd.DataFrame:
    names = ["anger", *(f"other{i}" for i in range(len(others)))]
    columns = " ".join(["emotion layer n", *(f"target/{name}" for name in names), "valence null"])
    return rows(("anger", 3, 16, own, *others, -0.001, null), columns=columns)


def test_a_projection_is_specific_only_where_no_other_score_follows_it_more():
    def sentence(*values: float) -> str:
        return said(phase3.sentence_projections(projections(*values)))

    assert "他の感情の確率との相関より大きい" in sentence(0.6, 0.2, 0.3)
    assert "特異的とは言えない" in sentence(0.6, 0.2, 0.7)
    assert "入れ替えた得点と区別できない" in sentence(0.1, 0.2, 0.05)
    assert "当該感情の得点との順位相関: 怒り +0.00" in sentence(-0.001, 0.2, 0.05)
    assert "比べる他の感情の得点がない" in sentence(0.6, 0.2) and "より大きい" not in sentence(0.6, 0.2)
    assert "相関は測れない" in sentence(NAN, NAN, 0.3) and "nan" not in sentence(NAN, NAN, 0.3)
    unscored = projections(0.6, 0.2, 0.3).drop(columns="target/anger")
    assert "相関は測れない" in said(phase3.sentence_projections(unscored))


def test_many_scores_are_shown_as_the_own_and_the_highest_of_the_others():
    few = phase3.table_projections(projections(0.6, 0.2, 0.1, 0.7))
    assert [c for c in few if "確率" in c] == ["怒りの確率", "other0の確率", "other1の確率"]
    many = phase3.table_projections(projections(0.6, 0.2, *(i / 20 for i in range(9))))
    assert many.loc["怒り", "当該感情の得点"] == 0.6
    assert many.loc["怒り", "他で最大の得点"] == "other8の確率 0.40"
    assert len(many.columns) < 8 and many.loc["怒り", "感情価"] == 0


def test_people_s_labels_are_found_only_above_a_half():
    def corpus(auc: float, low: float) -> str:
        table = projections(0.6, 0.2).assign(n_human=9, human_auc=auc, human_low=low, human_high=1.0)
        assert len(phase3.table_corpus(table)) == 1
        return said(phase3.sentence_corpus(table, "x"))

    assert "0.5 を上回る" in corpus(0.8, 0.6)
    assert "0.5 と区別できない" in corpus(0.6, 0.45)
    assert "その文がない" in corpus(NAN, NAN) and "nan" not in corpus(NAN, NAN)
    without = projections(0.6, 0.2).assign(n_human=0)
    assert "その文がない" in said(phase3.sentence_corpus(without, "x"))
    assert "人のラベルがある文" in phase3.table_corpus(without)


def test_what_stands_at_the_word_is_said_both_ways():
    def tokens(at_word: float, overall: float, share: float = 0.2) -> str:
        table = rows(("anger", 3, 9, at_word, overall, share), columns="emotion layer n at_word overall share")
        return said(phase3.sentence_tokens(table))

    assert "怒りの射影は、感情語の位置で文の平均の 2 倍を超える" in tokens(0.5, 0.2)
    assert "ただし文全体の射影の合計のうち、感情語の 1 トークンが占めるのは 20 % で、残りは" in tokens(0.5, 0.2)
    mostly = tokens(0.5, 0.2, 0.6)
    assert "感情語そのものがその多くを担う" in mostly and "ただし" not in mostly
    assert "集中してはいない" in tokens(0.3, 0.2) and "集中してはいない" in tokens(0.3, -0.2)
    assert "計算できない" in tokens(NAN, NAN) and "集中" not in tokens(NAN, NAN)


def concluded(chosen: pd.DataFrame, *, gap: float = 0.1, k: int = 1, found: bool = True, other: float = 0.1) -> str:
    """Phase 3's closing sentences about what can be read out."""
    cells = [
        ("anger", "words", style, None, 0.01, 0.7, 0.6, 0.8, 0.5, 0.7, gap, gap, 0.2, 0.01, 0.001, 16)
        for style in STYLES
    ]
    table = rows(("anger", 3, k, 0.4, k, 0.4, 0.1, 0.2, found, 0.6, 0.3, 0.4), columns=K)
    along = rows(("anger", 3, 16, 0.3, other, 0.2), columns="emotion layer n target/anger target/joy null")
    return said(phase3.discussion_decoding(chosen, 8, rows(*cells, columns=INFORMATION), table, along))


STYLES = ("all", "implicit")


def test_the_hypotheses_are_answered_one_by_one():
    chosen = rows(
        ("anger", 3, 0.9, 0.9, 0.5, 0.7), columns="emotion layer validation_auc test_auc shuffled_mean shuffled_max"
    )
    met = concluded(chosen)
    assert "全体では怒りが基準を満たす、暗示表現の文では怒りが基準を満たす。" in met and "仮説は支持されない" not in met
    missed = concluded(chosen, gap=-0.1)
    assert "暗示表現の文ではどの感情でも差を検出できない" in missed and "仮説は支持されない" in missed
    assert "二つ目以降の方向がラベルに固有だという証拠はない" in met
    assert "二つ目" not in concluded(chosen, k=3) and "怒り（k = 3）で基準を満たす" in concluded(chosen, k=3)
    assert "確かめられない" in concluded(chosen, found=False)
    assert "当該感情より大きいことはない" in met and "特異的とは言えない" in concluded(chosen, other=0.4)


def test_a_probe_is_above_its_shuffles_only_where_it_is():
    def probe(auc: float, shuffled: float) -> str:
        names = "emotion layer validation_auc test_auc shuffled_mean shuffled_max"
        chosen = rows(("anger", 3, 0.9, auc, 0.5, shuffled), columns=names)
        return concluded(chosen).split("- 語を超える情報")[0]

    assert "最大を上回る: 怒り 0.90（層 3、シャッフルの最大 0.70）" in probe(0.9, 0.7)
    assert "最大を上回らない: 怒り 0.90（層 3、シャッフルの最大 0.90）" in probe(0.9, 0.9)
    assert "判定しない" in probe(NAN, 0.7) and "上回" not in probe(NAN, 0.7)


def phase_3_concluded(
    low: float, *, gap: float = 0.1, other: float = 0.1, k: bool = True, stable: float = 0.5, shuffled: float = 0.7
) -> str:
    own = ("anger", "residual", "all", 3, 0.01, 0.9, 0.8, 1.0, 0.5, shuffled, NAN, NAN, NAN, NAN, NAN, 16)
    cells = [
        ("anger", "words", style, None, 0.01, 0.7, 0.6, 0.8, 0.5, 0.7, gap, gap, 0.2, 0.01, 0.001, 16)
        for style in STYLES
    ]
    table = rows(("anger", 3, 1, 0.4, 1, 0.4, 0.1, 0.2, True, 0.6, 0.3, 0.4), columns=K) if k else pd.DataFrame()
    along = rows(("anger", 3, 16, 0.3, other, 0.2), columns="emotion layer n target/anger target/joy null")
    information = rows(own, *cells, columns=INFORMATION)
    halves = rows(("anger", 3, 0.6, stable, 0.7, 0.0, 0.2), columns=STABILITY)
    return said(phase3.conclusion(separations(low, 0.7, 0.7), halves, information, table, along))


def test_the_conclusion_of_phase_3_says_what_was_found_on_what_it_hangs_and_what_is_missing():
    told = phase_3_concluded(0.8)
    assert [line.split("**")[1] for line in told.splitlines()] == ["分かったこと", "何に依るか", "測れなかったこと"]
    assert "怒りの生のベクトルは、見ていないシナリオの感情文と中立文を対照より良く分ける" in told
    assert "暗示表現の文では怒りが基準を満たす" in told and "判定に必要な数値はそろっている" in told
    assert "どの感情でも言えない" in phase_3_concluded(0.6)
    assert "どの感情でも差を検出できない" in phase_3_concluded(0.8, gap=-0.1)
    assert "特異的とは言えない" in phase_3_concluded(0.8, other=0.4) and "特異的" not in told
    assert "分割半の安定性は、怒りで偶然の水準を上回る。" in told
    assert "分割半の安定性は、怒りで偶然の水準と区別できない。" in phase_3_concluded(0.8, stable=0.1)
    assert "安定性" not in phase_3_concluded(0.8, stable=NAN)
    assert "別に引いたシャッフル" not in told and "ただし怒りのプローブ" in phase_3_concluded(0.8, shuffled=0.95)
    assert "基準を満たす。一つの方向であり" in told and "どれも一つ" not in told
    unknown = phase_3_concluded(NAN, gap=NAN, k=False)
    assert "怒りの分離、部分空間の次元 k" in unknown and "暗示表現の文での語を超える情報" in unknown


def test_a_table_of_nothing_but_ones_is_a_sentence():
    ones = rows(("mean", "anger", "raw", 3, 1.0, 1.0, 1.0, 1.0, 0.8, 0.8), columns=SEPARATION)
    assert "どの行でも 1.00" in said(phase3.table_separation_positions(ones))
    assert len(phase3.table_separation_positions(ones.assign(low=0.9))) == 1
