"""Figures: what is drawn of a table, what stands around it, and what is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from emolib.base.errors import UserError
from emolib.plots import figures, house_style
from emolib.plots.figures import Axes, Band, Null


def test_hover_texts_are_escaped_wrapped_and_cut() -> None:
    fig = figures.scatter(np.zeros((1, 2)), ["anger"], Axes("図"), hover=["<a href='x'>word</a> " * 100])
    text = fig.data[0].hovertext[0]
    assert "<a" not in text.replace("<br>", "")
    assert "&lt;a" in text
    assert text.count("<br>") == house_style.HOVER_LINES - 1


def test_emotions_keep_their_colours_whatever_comes_with_them() -> None:
    few, many = house_style.colours(["anger"]), house_style.colours(["baseline", "怒り", "anger", "random"])
    assert few["anger"] == many["anger"] == many["怒り"]
    assert len({many[label] for label in ("baseline", "anger", "random")}) == 3


def test_a_line_with_two_values_at_one_layer_is_refused_until_it_is_split() -> None:
    table = pd.DataFrame({"layer": [0, 0, 1, 1], "emotion": "anger", "kind": ["a", "b"] * 2, "y": [1.0, 2, 3, 4]})
    with pytest.raises(UserError, match="one row per layer and emotion"):
        figures.lines_by_layer(table, "y", "emotion", Axes(""))
    fig = figures.lines_by_layer(table, "y", "emotion", Axes(""), dash="kind")
    assert [list(trace.y) for trace in fig.data[:2]] == [[1, 3], [2, 4]]
    with pytest.raises(UserError, match="absent"):
        figures.lines_by_layer(table, "absent", "emotion", Axes(""))


def test_random_directions_are_needed_for_every_emotion() -> None:
    effects = {"anger": 1.0, "apology": 0.5}
    with pytest.raises(UserError, match="apology"):
        figures.dots_with_null(effects, {"anger": np.zeros(3)}, Axes("図", y="y"))
    fig = figures.dots_with_null(effects, {key: np.arange(3.0) for key in effects}, Axes("図", y="y"))
    assert [list(trace.y) for trace in fig.data] == [[0, 1, 2], [0, 1, 2], [1.0], [0.5]]


# ── words around the data ─────────────────────────────────────────────────────────────────────────────────────────


def test_values_read_as_their_names_and_an_axes_own_names_come_first() -> None:
    axes = Axes("", names={"mean": "平均", "anger": "いかり"})
    named = [axes.name(value) for value in ("gratitude", "implicit", "mean", "anger", "joy", 3)]
    assert named == ["感謝", "暗示表現", "平均", "いかり", "joy", "3"]
    assert axes.name(None, "auc") == "auc"


def test_titles_without_which_a_figure_knows_its_own() -> None:
    table = pd.DataFrame({"layer": [0, 1], "alpha": [0.1, 0.2], "y": [1.0, 2.0]})
    for draw, known in ((figures.lines_by_layer, "層 (layer)"), (figures.lines_by_strength, "強さ α")):
        part = table.drop(columns="layer" if draw is figures.lines_by_strength else "alpha")
        assert draw(part, "y", None, Axes("t", y="v")).layout.xaxis.title.text == known
        assert draw(part, "y", None, Axes("t", x="own")).layout.xaxis.title.text == "own"
    solid = figures.scatter(np.zeros((2, 3)), ["a", "b"], Axes("t", y="own")).layout.scene
    assert [solid[f"{axis}axis"].title.text for axis in "xyz"] == ["第1成分", "own", "第3成分"]


# ── lines ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def curves() -> pd.DataFrame:
    table = pd.DataFrame(
        {"layer": [1, 0] * 4, "emotion": ["anger"] * 4 + ["joy"] * 4, "kind": ["a", "a", "b", "b"] * 2}
    )
    return table.assign(y=np.arange(8.0), low=np.arange(8.0) - 1, high=np.arange(8.0) + 1, null=-np.arange(8.0))


def test_a_line_has_its_band_below_it_and_its_null_in_its_colour() -> None:
    table = curves()[curves()["kind"] == "a"]
    plain = figures.lines_by_layer(table, "y", "emotion", Axes(""))
    full = figures.lines_by_layer(table, "y", "emotion", Axes(""), band=Band("low", "high"), null=Null("null", "偶然"))
    assert [len(plain.data), len(full.data)] == [2, 2 * 4 + 1]  # and one entry of the legend for what is dotted
    upper, lower, line, null = full.data[:4]
    assert [list(trace.y) for trace in (upper, lower, line, null)] == [[2, 1], [0, -1], [1, 0], [-1, 0]]
    assert list(line.x) == [0, 1]  # layers in order, whatever the table's
    assert lower.fill == "tonexty" and null.line.dash == "dot" and null.line.color == line.line.color
    assert [trace.name for trace in full.data if trace.showlegend is not False] == ["怒り", "joy", "点線: 偶然"]


def test_kinds_of_lines_get_styles_that_the_legend_explains_once() -> None:
    fig = figures.lines_by_layer(curves(), "y", "emotion", Axes("", names={"a": "甲"}, log_y=True), dash="kind")
    assert [trace.line.dash for trace in fig.data[:4]] == ["solid", "dash"] * 2
    assert [trace.name for trace in fig.data if trace.showlegend is not False] == ["怒り", "joy", "甲", "b"]
    assert fig.layout.yaxis.type == "log"


def test_a_column_of_words_cannot_be_drawn() -> None:
    with pytest.raises(UserError, match="expected numbers to draw in the column 'kind'"):
        figures.lines_by_layer(curves()[:2], "kind", "emotion", Axes(""))


# ── bars, matrices, points ────────────────────────────────────────────────────────────────────────────────────────


def test_bars_have_whiskers_and_stand_side_by_side_where_there_are_several() -> None:
    table = pd.DataFrame(
        {"emotion": ["anger", "joy"] * 2, "kind": ["a", "a", "b", "b"], "y": [1.0, 2, 3, 4], "se": 0.5}
    )
    fig = figures.bars_by_label(table, "emotion", "y", "kind", Axes("", y="v"), error="se")
    assert [list(bar.x) for bar in fig.data] == [["怒り", "joy"]] * 2 and list(fig.data[1].y) == [3, 4]
    assert list(fig.data[0].error_y.array) == [0.5, 0.5] and fig.layout.barmode == "group"
    single = figures.bars_by_label(table[:2], "emotion", "y", None, Axes(""))
    assert single.data[0].error_y.array is None and single.layout.barmode == "overlay"
    assert single.data[0].marker.color[0] == house_style.EMOTION_COLOURS["anger"]


def test_a_matrix_has_white_at_zero_and_its_values_written_in_where_they_can_be_read() -> None:
    matrix = pd.DataFrame([[-0.001, 2.0], [np.nan, -0.5]], index=["anger", "joy"], columns=["explicit", "x"])
    fig = figures.heatmap(matrix, Axes("t", z="unit"))
    (drawn,) = fig.data
    assert (drawn.zmin, drawn.zmax, drawn.colorbar.title.text) == (-2.0, 2.0, "unit")
    assert list(drawn.text) == [["0.00", "2.00"], ["–", "-0.50"]]
    assert (drawn.x, drawn.y) == (("明示表現", "x"), ("怒り", "joy"))
    plain = figures.heatmap(matrix, Axes("t"), zero_centred=False).data[0]
    assert plain.zmin is None
    wide = figures.heatmap(pd.DataFrame(np.ones((2, 17))), Axes("t")).data[0]
    assert wide.text is None


def test_a_matrix_without_cells_says_so_and_one_without_numbers_is_refused() -> None:
    empty = figures.heatmap(pd.DataFrame(), Axes("t"))
    assert not empty.data and empty.layout.annotations[0].text == "該当なし"
    with pytest.raises(UserError, match="finite values for the heatmap 't'"):
        figures.heatmap(pd.DataFrame([[np.nan]]), Axes("t"))


@pytest.mark.parametrize(
    ("shape", "given", "message"),
    [
        ((3, 4), {}, r"expected coordinates \[n, 2\] or \[n, 3\], got shape \(3, 4\)"),
        ((3, 2), {"styles": ["a"]}, "one style per point, got 1 for 3 points"),
        ((3, 2), {"hover": ["a"]}, "one hover per point"),
        ((2, 2), {}, "one label per point, got 3 for 2 points"),
    ],
)
def test_points_that_do_not_fit_are_refused(shape: tuple[int, int], given: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        figures.scatter(np.zeros(shape), ["a", "b", "c"], Axes(""), **given)


def test_points_share_a_colour_by_label_and_a_symbol_by_style() -> None:
    labels, styles = ["anger", "anger", "joy"], ["explicit", "implicit", "explicit"]
    fig = figures.scatter(np.arange(6.0).reshape(3, 2), labels, Axes(""), styles=styles)
    assert [trace.name for trace in fig.data] == ["怒り・明示表現", "怒り・暗示表現", "joy・明示表現"]
    assert fig.data[0].marker.color == fig.data[1].marker.color != fig.data[2].marker.color
    assert fig.data[0].marker.symbol == fig.data[2].marker.symbol != fig.data[1].marker.symbol
    assert [(trace.x[0], trace.y[0]) for trace in fig.data] == [(0, 1), (2, 3), (4, 5)]


def test_a_share_of_zero_is_drawn_at_the_floor() -> None:
    table = pd.DataFrame({"label": "a", "predicted": [0.0001, 0.5], "observed": [0.0, 0.4]})
    _, drawn = figures.calibration(table, "label", floor=0.001, title="t").data
    assert (list(drawn.x), list(drawn.y)) == ([0.001, 0.5], [0.001, 0.4])


def test_labelled_points_have_their_names_beside_them_and_no_colour_where_nothing_is_known() -> None:
    points = np.array([[0.0, 0], [0.02, 0], [1, 1]])
    fig = figures.labelled_points(points, ["ab", "cd", "<b>"], [2.0, -1.0, np.nan], Axes("図", z="値"), unknown="不明")
    known, unknown = fig.data
    assert (known.marker.cmin, known.marker.cmax) == (-2, 2) and list(known.marker.color) == [2, -1]
    assert known.textposition[0] != known.textposition[1]  # two points that nearly meet
    assert unknown.name == "不明" and unknown.marker.colorscale is None
    with pytest.raises(UserError, match="n names and n values"):
        figures.labelled_points(points, ["ab"], [1.0, 2.0, 3.0], Axes("図"))
