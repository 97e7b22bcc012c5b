"""Phase 5's sentences and tables on made-up numbers: every outcome of every sentence, and how numbers are written."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
from IPython.display import Markdown

from emolib.base.parameters import PatchingParameters, resolve
from emolib.plots import figures
from emolib.report.ja import phase5 as wording
from emolib.report.ja import phase5_candidates as choosing
from emolib.report.ja import phase5_damage as harm
from emolib.report.ja import phase5_discussion as closing
from emolib.report.ja import phase5_rivals as beside
from emolib.steering.operating_point import OperatingPoint
from emolib.steering.robustness import BESIDE

EMOTIONS = ("gratitude", "anger", "apology")
UNCLEAN = re.compile(r"(?<![\w.])[-−]0(\.0+)?(?![\d.])|\bnan\b|inf\b", re.IGNORECASE)


def clean(shown: Markdown | pd.DataFrame | str) -> str:
    """What the reader sees, which has no undefined number and no negative zero."""
    text = shown.data if isinstance(shown, Markdown) else shown if isinstance(shown, str) else shown.to_html()
    assert not UNCLEAN.search(text), text
    return text


def test_the_check_for_unclean_numbers_finds_them():
    for text in ("-0.00", "（-0.000 〜", "−0.0", "NaN", "= nan。", "-0", "inf"):
        assert UNCLEAN.search(text), text
    for text in ("-0.01", "1-0.5", "0.00", "+0.00", "-0.5 nat", "2026-01-02", "自−他", "financial", "-10.0"):
        assert not UNCLEAN.search(text), text


def params(**given: Any) -> PatchingParameters:
    return resolve("quick", "smollm2_135m", "phase5", given)


def claim(**given: Any) -> dict[str, Any]:
    row = {"emotion": "gratitude", "metric": "keywords/gratitude", "own_effect": 0.8, "own_effect_unfiltered": 0.9}
    row |= {"vs_others": 0.7, "ci_low": 0.4, "ci_high": 1.1, "degenerate": False, "n": 45}
    row |= {"wrong_way": 0.125, "wrong_way_unfiltered": 0.0}
    row |= {"p_isotropic": 1 / 60, "p_covariance": 1 / 60, "p_shuffled": 1 / 60, "rank_p": 1 / 60, "bar": 1 / 60}
    row |= {"max_isotropic": 0.1, "max_covariance": 0.2, "max_shuffled": 0.3, "random_max": 0.3, "direct_path": 0.01}
    row |= {"direct_path_counted": 0.01, "beats_others": True, "beats_random": True, "supported": True}
    row |= {"median": 0.5, "share": 0.5, "share_baseline": 0.0, "share_control": 0.1, "unfiltered_largest": 0.1}
    row |= given
    if row["metric"].startswith("target/"):
        row |= {"share": np.nan, "share_baseline": np.nan, "share_control": np.nan}
    return {**{f"unfiltered_{key}": row[key] for key in BESIDE}, **row}


REFUSED = {"supported": False, "beats_others": False}
FLAT = {**REFUSED, "degenerate": True, "ci_low": np.nan, "ci_high": np.nan, "vs_others": -0.001}
REACHED = {"supported": False, "beats_random": False, "rank_p": 0.25, "p_shuffled": 0.25}
WIDE = {**REFUSED, "vs_others": 0.1, "ci_low": -0.2, "ci_high": 0.4}


# verdicts


@pytest.mark.parametrize(
    ("given", "changed", "word"),
    [
        ({}, {}, "支持"),
        (REFUSED | {"ci_low": -0.5, "ci_high": -0.1, "vs_others": -0.3}, {}, "不支持"),
        (REACHED, {}, "不支持"),
        (FLAT, {}, "不支持（0 でない差が少ない）"),
        (WIDE, {}, "不支持"),
        (WIDE | {"n": 24}, {}, "検出力不足"),
        (WIDE | {"n": 24}, {"smallest_d": 0.8}, "不支持"),
        (REFUSED | {"n": 9}, {}, "検出力不足"),
        (REFUSED | {"rank_p": 1 / 6}, {"n_controls": 5}, "検出力不足"),
        ({"n": 24}, {}, "支持"),
    ],
)
def test_the_verdict_of_a_measure(given, changed, word):
    assert wording.verdict(claim(**given), params(**changed)) == word


@pytest.mark.parametrize(
    ("second", "word"), [({}, "支持"), (WIDE | {"n": 24}, "検出力不足"), (REACHED, "不支持"), (FLAT, "不支持")]
)
def test_an_emotion_is_supported_by_all_of_its_measures_or_not(second, word):
    table = pd.DataFrame([claim(n=24), claim(**{"n": 24, "metric": "target/gratitude", **second})])
    assert wording.overall(table, params()) == word
    shown = wording.overall_rows(table, params())
    assert shown.loc["感謝", "総合判定"] == word and shown.loc["感謝", "内訳"].startswith(
        "感謝の語数: 支持、感謝の確率: "
    )


def test_claims_are_listed_with_a_dash_for_what_is_not_defined():
    table = pd.DataFrame([claim(), claim(metric="target/gratitude", own_effect=-0.0001, **FLAT)])
    shown = wording.claim_rows(table, params())
    clean(shown)
    assert shown.loc["95 % BCa 下限"].tolist() == ["0.400", "—"]
    assert shown.loc["自分のベクトルによる変化"].tolist() == ["0.800", "0.000"]
    assert shown.loc["自分 − 他感情の平均", "感謝の確率"] == "-0.001" and shown.loc["テストシナリオ数"].tolist() == [
        "45",
        "45",
    ]


@pytest.mark.parametrize(
    ("given", "says", "says_not"),
    [
        (
            {},
            [
                "+0.80 語",
                "+0.40 〜 +1.10、0 を含まない",
                "p = 0.0167（基準は p ≤ 0.0167）",
                "12%（破綻もそのまま数えると 0%）",
            ],
            ["0 を含む"],
        ),
        (WIDE, ["-0.20 〜 +0.40、0 を含む", "+0.10"], ["0 を含まない"]),
        (WIDE | {"ci_low": -0.4, "ci_high": -0.2}, ["0 を含まない"], ["0 を含む"]),
        (FLAT, ["+0.00（0 でない差が 5 未満か", "区間は計算しない"], ["95 % BCa"]),
        (
            {"metric": "target/anger", "own_effect": -0.0004, "random_max": -0.0001},
            ["+0.000 動き", "+0.000、最も"],
            ["語"],
        ),
    ],
)
def test_the_sentence_of_a_claim(given, says, says_not):
    text = clean(closing._claim_sentence(claim(**given), params()))
    assert all(part in text for part in says) and not any(part in text for part in says_not), text


# broken text, reliance, labels, direct path


def broken_table(**shares: float) -> pd.DataFrame:
    rows = [("baseline", "none", -1, shares.pop("baseline", 0.05), 24)]
    rows += [("emotion", emotion, 14, share, 24) for emotion, share in shares.items()]
    rows += [("direct_path", emotion, 30, 0.5, 24) for emotion in shares]
    return pd.DataFrame(rows, columns=["kind", "emotion", "layer", "broken", "n"]).assign(nll=2.0, repetition=0.0)


def test_broken_texts_on_test_are_held_against_the_unpatched_texts_there():
    within = clean(closing._broken_sentence(broken_table(gratitude=0.15, anger=0.0), 0.1))
    assert "感謝 15%、怒り 0%" in within and "パッチなし + 10 ポイント（15%）に収まる" in within
    assert "超える" not in within and "選択時" not in within  # the ceiling of the choice was that of validation
    over = clean(closing._broken_sentence(broken_table(gratitude=0.16, anger=0.0), 0.1))
    assert "感謝はテストのパッチなし + 10 ポイント（15%）を超える" in over and "収まる" not in over


def test_the_layers_of_a_cross_fitted_design_make_one_share():
    table = broken_table(gratitude=0.0, anger=0.0)
    second = table[table["emotion"] == "gratitude"].assign(layer=18, broken=0.4, n=8)
    text = clean(closing._broken_sentence(pd.concat([table, second]), 0.04))
    assert text.count("感謝 10%") == 1 and "感謝はテストのパッチなし" in text  # 0 of 24 and 3.2 of 8 texts
    claims = pd.DataFrame([claim()])
    assert clean(closing._direct_sentence(claims, pd.concat([table, second]), 30)).count("感謝 48%") == 1


def direct(*rows: dict[str, Any]) -> str:
    broken = broken_table(gratitude=0.1, anger=0.1)
    return clean(closing._direct_sentence(pd.DataFrame(rows), broken, 30))


def test_the_direct_path_is_small_or_not_by_a_share_that_is_told():
    less = direct(claim(direct_path=-0.001), claim(**WIDE, emotion="anger", metric="target/anger", direct_path=0.02))
    assert "最終残差 30" in less and "別のベクトルである" in less and "感謝の語数 +0.00（選んだ層では +0.90）" in less
    assert "怒りの確率 +0.020" in less  # also where nothing is supported
    assert "1/3（便宜上の目安であり、検定ではない）に満たない" in less and "経路の割合は分からない" in less
    much = direct(claim(direct_path=0.31))
    assert "感謝の語数では選んだ層での変化の 1/3" in much and "無視できない" in much and "満たない" not in much
    assert "1/3" in direct(claim(direct_path=0.29)) and "無視できない" not in direct(claim(direct_path=0.29))
    none = direct(claim(**WIDE, direct_path=-0.004))
    assert "支持された主張がない" in none and "感謝の語数 +0.00" in none and "1/3" not in none


def test_a_direct_path_that_does_more_than_the_vector_is_named_like_with_like():
    row = {"metric": "target/anger", "emotion": "anger", "own_effect": 0.015, "own_effect_unfiltered": 0.056}
    more = direct(claim(**REFUSED, **row, direct_path=0.02, direct_path_counted=0.018))
    assert "直接経路の方が大きいのは怒りの確率（破綻を 0 として +0.018 対 +0.015）である" in more
    assert "破綻もそのまま +0.020" not in more
    both = direct(claim(**REFUSED, **row, direct_path=0.06, direct_path_counted=0.018))
    assert "怒りの確率（破綻もそのまま +0.060 対 +0.056）" in both
    assert "直接経路の方が大きい指標はない" in direct(
        claim(**REFUSED, **row, direct_path=0.02, direct_path_counted=0.01)
    )
    equal = claim(**(row | {"own_effect": 0.0}), direct_path=0.0, direct_path_counted=0.0001)
    assert "指標はない" in direct(equal)  # not larger as far as it is printed


def test_a_label_that_rises_more_than_the_emotions_own_is_named():
    table = pd.DataFrame(
        {"gratitude": [0.3, 0.0], "annoyance": [0.1, 0.2], "anger": [-0.001, -0.002], "joy": [0.2, 0.3]}
    )
    table.index = ["gratitude", "anger"]
    (line,) = (clean(line) for line in closing._label_lines(table))
    assert line.startswith("- 怒りベクトルで最も増えたラベルは joy（+0.30）") and "annoyance は +0.20" in line
    shown = clean(wording.largest_changes(table, count=2))
    assert "joy +0.30, annoyance +0.20" in shown and "anger -0.00" not in shown
    assert "| 怒り |" in clean(wording.largest_changes(table * 0.001)) and "—" in clean(
        wording.largest_changes(table * 0)
    )


# the operating point and what comes next


def point_of(layer: int, alpha: float, *, eligible: bool = True, score: float = 3.0) -> OperatingPoint:
    grid = [(a, b) for a in (10, 14, 18) for b in (0.2, 0.3, 0.4)]
    table = pd.DataFrame(grid, columns=["layer", "alpha"])
    table = table.assign(score=-0.001, broken=0.2, eligible=eligible, **{"difference/keywords/anger": -0.001})
    return OperatingPoint(layer, alpha, score, eligible, table)


ROOM = {"gratitude": 0.1, "anger": 0.1}


@pytest.mark.parametrize(
    ("claims", "changed", "where", "shares", "says", "says_not"),
    [
        ([claim()], {}, (14, 0.3), ROOM, ["支持された感謝について", "vector_style=implicit"], ["端にある", "届かない"]),
        ([claim()], {"vector_style": "implicit"}, (14, 0.3), ROOM, [], ["確かめる", "端にある"]),
        ([claim(**WIDE)], {}, (14, 0.3), ROOM, ["感謝は支持されなかった", "より強い α で"], ["implicit", "端にある"]),
        ([claim(**WIDE)], {}, (14, 0.3), {"gratitude": 0.3}, ["α は強めず"], ["より強い α で"]),
        ([claim()], {}, (18, 0.3), ROOM, ["層 18 は試した範囲の端"], ["α ="]),
        ([claim()], {}, (14, 0.2), ROOM, ["α = 0.2 は試した範囲の下端", "より弱い α"], ["層 14 は", "上端"]),
        ([claim()], {}, (14, 0.4), ROOM, ["α = 0.4 は試した範囲の上端", "より強い α も確かめる"], ["下端", "限って"]),
        ([claim()], {}, (14, 0.4), ROOM | {"anger": 0.3}, ["余裕があるのは感謝だけ"], ["より強い α も"]),
        ([claim()], {}, (14, 0.4), {"gratitude": 0.3}, ["α は広げない"], ["より強い α"]),
        ([claim(**WIDE)], {"n_controls": 5}, (14, 0.3), ROOM, ["判定基準に届かない"], ["支持されなかった"]),
    ],
)
def test_what_comes_next_follows_from_the_results(claims, changed, where, shares, says, says_not):
    points = {"": point_of(*where)}
    text = clean(closing.next_actions(pd.DataFrame(claims), params(**changed), points, broken_table(**shares)))
    assert all(part in text for part in says) and not any(part in text for part in says_not) and "Phase 7" in text


def test_every_parts_choice_at_the_end_of_what_was_tried_is_named():
    points = {"fold0": point_of(14, 0.3), "fold1": point_of(18, 0.2)}
    text = clean(closing.next_actions(pd.DataFrame([claim()]), params(), points, broken_table(**ROOM)))
    assert "fold1: 選ばれた層 18" in text and "fold1: 選ばれた α = 0.2" in text and "fold0" not in text


# examples


def test_texts_of_a_model_are_escaped_and_small_changes_have_no_sign_of_their_own():
    row = {"rule": "worst", "scenario": "s1", "prompt": "a | b", "baseline": "<b>x</b>", "patched": "**y**\n`z`"}
    table = pd.DataFrame(
        [{**row, "effect": -0.0, "shift": -0.001, "broken": True}, {**row, "effect": -2.0, "shift": 0.5}]
    )
    text = clean(wording.example_rows(table.fillna({"broken": False}), "anger"))
    assert "<b>" not in text and "**y" not in text and "a | b" not in text and "`z" not in text
    first, second = text.splitlines()[-2:]
    assert first.startswith("| 最悪 |") and "| +0 | +0.00 | 破綻 |" in first and "| -2 | +0.50 |" in second


# strengths


def doses(
    anger: list[float], alphas: tuple[float, ...] = (-0.3, 0.0, 0.2, 0.3), broken: list[float] | None = None
) -> pd.DataFrame:
    row = {"emotion": "anger", "metric": "keywords/anger", "se": 0.1}
    cells = zip(alphas, anger, broken or [0.0] * len(alphas), strict=True)
    return pd.DataFrame([{**row, "alpha": a, "effect": e, "unfiltered": e + 0.25, "broken": b} for a, e, b in cells])


@pytest.mark.parametrize(
    ("effects", "says", "says_not"),
    [
        (
            [-0.5, 0.0, 0.4, 0.9],
            [
                "α を 0 から 0.3 へ強めると、平均は +0.00 から +0.90 へ単調に増える",
                "破綻率 0%）では -0.50（破綻もそのまま",
            ],
            ["単調では", "読まない"],
        ),
        (
            [-0.001, 0.0, 0.9, 0.4],
            ["単調ではない（0 から最も離れるのは α = 0.2 の +0.90）", "では +0.00（"],
            ["単調に", "読まない"],
        ),
        ([0.2, 0.0, -0.4, -0.9], ["+0.00 から -0.90 へ単調に減る"], ["単調に増える", "単調では"]),
        (
            [0.2, 0.0, 0.012, 0.0],
            ["変化は最大でも +0.012 で、目安の 0.02 に届かない", "では +0.20"],
            ["単調", "破綻して数え"],
        ),
    ],
)
def test_more_strength_gives_more_effect_or_not(effects, says, says_not):
    table = doses(effects)
    text = clean(beside.dose_sentence(table))
    assert all(part in text for part in says) and not any(part in text for part in says_not), text
    assert beside.dose_sentence(table.assign(metric="valence")).data == ""
    shown = beside.dose_rows(table)
    clean(shown)
    assert list(shown.columns) == ["α = -0.3", "α = 0", "α = 0.2", "α = 0.3"] and shown.index.tolist() == [
        ("怒り", "怒りの語数")
    ]


@pytest.mark.parametrize(
    ("effects", "broken", "says", "says_not"),
    [
        (
            [-0.5, 0.0, 0.4, 0.9],
            [0.51, 0.4, 0.6, 0.5],
            [
                "α = 0.2（60%）では半分を超える",
                "増え方は読まない（破綻が半分以下の強さ: α = 0.3 の +0.90）",
                "符号は読まない",
            ],
            ["単調"],
        ),
        (
            [-0.5, 0.0, 0.4, 0.9],
            [0.5, 0.4, 0.6, 0.7],
            ["α = 0.2（60%）、0.3（70%）では", "（破綻が半分以下の強さ: なし）", "破綻率 50%）では -0.50"],
            ["単調", "符号は読まない"],
        ),
        (
            [-0.5, 0.0, 0.4, 0.9],
            [0.9, 0.5, 0.5, 0.5],
            ["単調に増える", "続きの 90% が破綻している"],
            ["増え方は読まない"],
        ),
        (
            [0.0, 0.0, 0.01, 0.0],
            [0.0, 0.0, 0.6, 0.5],
            [
                "+0.010 で、目安の 0.02 に届かない",
                "破綻して数えられないのかは分からない（破綻もそのまま数えた変化は最大 +0.26）",
            ],
            ["単調"],
        ),
    ],
)
def test_where_most_texts_are_broken_neither_course_nor_sign_is_read(effects, broken, says, says_not):
    text = clean(beside.dose_sentence(doses(effects, broken=broken)))
    assert all(part in text for part in says) and not any(part in text for part in says_not), text


def test_broken_shares_and_unfiltered_effects_stand_at_every_strength():
    shown = beside.dose_breakage_rows(doses([-0.5, 0.0, 0.4, 0.9], broken=[0.9, 0.0, 0.1, 0.2]))
    clean(shown)
    assert shown.loc[("怒り", "破綻率")].tolist() == [0.9, 0.0, 0.1, 0.2]
    assert shown.loc[("怒り", "怒りの語数（そのまま）")].tolist() == [-0.25, 0.25, 0.65, 1.15]


def test_without_the_opposite_sign_nothing_is_said_of_it():
    assert "逆向き" not in beside.dose_sentence(doses([0.0, 0.1], (0.0, 0.2))).data


def test_a_band_is_two_standard_errors_wide_and_drawn_over_alpha():
    table = beside.dose_curves(doses([-0.5, 0.0, 0.4, 0.9]), "keywords")
    np.testing.assert_allclose(table["high"] - table["low"], 2 * 1.96 * 0.1)
    assert beside.dose_curves(doses([0, 0, 0, 0]), "target").empty
    fig = figures.lines_by_strength(table, "effect", "emotion", figures.Axes("t"), band=figures.Band("low", "high"))
    line = next(trace for trace in fig.data if trace.mode == "lines+markers")
    assert list(line.x) == [-0.3, 0.0, 0.2, 0.3] and list(line.y) == [-0.5, 0.0, 0.4, 0.9]
    assert "α" in fig.layout.xaxis.title.text


def test_every_prompt_is_in_the_histogram_also_where_all_are_equal():
    for values in (np.linspace(-1, 2, 40), np.zeros(40)):
        fig = figures.histogram(
            pd.DataFrame({"effect": values, "emotion": ["anger"] * 40}), "effect", "emotion", figures.Axes("t")
        )
        (bars,) = fig.data
        edges = np.arange(bars.xbins.start, bars.xbins.end + bars.xbins.size, bars.xbins.size)
        assert np.histogram(bars.x, edges)[0].sum() == 40
        assert bars.xbins.size > 1e-3 and bars.xbins.size * 50 > np.ptp(values)


# candidates


def test_only_candidates_that_none_beats_are_listed():
    rows = [(10, 0.2, 0.1, 0.0), (14, 0.2, 0.5, 0.0), (14, 0.4, 0.9, 0.3), (18, 0.4, 0.8, 0.3), (18, 0.2, -0.001, 0.0)]
    table = pd.DataFrame(rows, columns=["layer", "alpha", "effect", "broken"])
    table = table.assign(emotion="anger", metric="target/anger")
    shown = beside.pareto_rows(table)
    clean(shown)
    assert shown.index.tolist() == [("怒り", 14, 0.2), ("怒り", 14, 0.4)]
    heat = beside.layer_heatmap(table)
    assert heat["怒り"].to_dict() == {"層 10": 0.1, "層 14": 0.9, "層 18": 0.8}
    assert beside.pareto_points(table).shape == (5, 2) and beside.pareto_hover(table)[0] == "層 10、α = 0.2"


# rivals

NO_LEAD = {"ahead": np.nan, "ahead_low": np.nan, "ahead_high": np.nan, "ahead_degenerate": np.nan}


def rival(kind: str, effect: float, **given: Any) -> dict[str, Any]:
    """A method's row; the vector that it is compared with moves the measure by 0.5 and breaks no text."""
    row = {"kind": kind, "emotion": "anger", "metric": "keywords/anger", "alpha": 0.3, "effect": effect, "base": 0.125}
    row |= {"low": effect - 0.2, "high": effect + 0.2, "degenerate": False, "vs_others": -0.001, "broken": 0.0}
    row |= {"delta_ratio": 0.3, "n": 24, "validation_gap": np.nan if kind in ("emotion", "prompting") else -0.04}
    lead = {"ahead": 0.5 - effect, "ahead_low": 0.3 - effect, "ahead_high": 0.7 - effect, "ahead_degenerate": False}
    row |= NO_LEAD if kind in ("emotion", "prompting") else lead
    row |= given
    return {"level": row["base"] + row["effect"], "broken_gap": row["broken"], **row}


FLAT_RIVAL = {"degenerate": True, "low": np.nan, "high": np.nan}
FLAT_LEAD = {"ahead_degenerate": True, "ahead_low": np.nan, "ahead_high": np.nan}


def test_methods_stand_side_by_side_with_a_dash_where_prompting_has_nothing():
    rows = [
        rival("emotion", 0.5),
        rival("pca", -0.001, **FLAT_RIVAL, broken=0.125),
        rival("prompting", 4.0, **FLAT_RIVAL, delta_ratio=np.nan, base=0.75),
    ]
    table = pd.DataFrame([*rows, rival("emotion", 0.0125, metric="target/anger")])
    levels = beside.rival_level_rows(table)
    clean(levels)
    assert levels["語数: 差 [95 % BCa]"].tolist() == ["+0.50 [0.30, 0.70]", "+0.00（区間なし）", "+4.00（区間なし）"]
    assert levels["語数: なし"].tolist() == ["0.12", "0.12", "0.75"]
    assert levels["語数: あり"].tolist() == ["0.62", "0.12", "4.75"]
    assert levels["確率: 差 [95 % BCa]"].tolist() == ["+0.013 [-0.188, 0.213]", "—", "—"]
    strength = beside.rival_strength_rows(table)
    clean(strength)
    assert strength["α"].tolist() == ["0.3", "0.3", "—"] and strength["‖Δh‖/‖h‖"].tolist() == ["0.30", "0.30", "—"]
    assert strength["破綻率"].tolist() == ["0%", "12%", "0%"]
    assert strength["ベクトルとの差（ポイント）"].tolist() == ["—", "+12", "+0"]
    assert strength["同、検証"].tolist() == ["—", "-4", "—"]
    lead = beside.rival_lead_rows(table)
    clean(lead)
    assert lead["語数: ベクトル − 方法 [95 % BCa]"].to_dict() == {("怒り", "主成分方向"): "+0.50 [0.30, 0.70]"}


def test_emotions_are_not_mixed_up_in_a_table_of_methods():
    other = {"emotion": "apology", "metric": "keywords/apology"}
    table = pd.DataFrame(
        [rival("emotion", 0.5), rival("emotion", 0.7, **other), rival("pca", 0.1), rival("pca", 0.2, **other)]
    )
    shown = beside.rival_level_rows(table)
    assert [index[0] for index in shown.index] == ["怒り", "怒り", "謝罪", "謝罪"]
    assert [cell[:5] for cell in shown["語数: 差 [95 % BCa]"]] == ["+0.50", "+0.10", "+0.70", "+0.20"]


@pytest.mark.parametrize(
    ("rows", "says", "says_not"),
    [
        (
            [rival("emotion", 0.01), rival("pca", -0.015)],
            ["どの方法でも、変化の絶対値は 0.02 に満たない（最大 0.015）"],
            ["より大きい", "決まらない", "半分を超える"],
        ),
        (
            [rival("emotion", 0.01, broken=0.6, broken_gap=0.0), rival("pca", 0.0)],
            ["0.02 に満たない", "半分を超える続きが破綻しており、効かないのか"],
            [],
        ),
        (
            [rival("emotion", 0.5), rival("pca", 0.1)],
            [
                "10 ポイント以内の方法は主成分方向 +0。",
                "感情ベクトルは主成分方向より大きい（対応のある差 +0.40 [0.20, 0.60]）",
            ],
            ["決まらない", "比べない"],
        ),
        ([rival("emotion", 0.5), rival("pca", 0.9)], ["主成分方向は感情ベクトルより大きい"], ["感情ベクトルは主成分"]),
        ([rival("emotion", 0.5), rival("pca", 0.4)], ["主成分方向との大小は決まらない"], ["より大きい"]),
        (
            [rival("emotion", 0.5), rival("pca", 0.1, **FLAT_LEAD)],
            ["主成分方向との差は +0.40（0 でない差が少なく、区間なし）"],
            ["より大きい"],
        ),
        (
            [rival("emotion", 0.5), rival("pca", 0.1, broken=0.1), rival("subspace", 0.0, broken=0.125)],
            ["主成分方向 +10。", "破綻率が離れているため比べないのは部分空間への移動 +12。", "主成分方向より大きい"],
            ["部分空間への移動より大きい"],
        ),
        (
            [rival("emotion", 0.5), rival("pca", 0.1, broken_gap=-0.125)],
            ["以内の方法はなく（主成分方向 -12）、大小を比べない"],
            ["より大きい", "決まらない"],
        ),
    ],
)
def test_the_vector_is_compared_only_with_methods_that_break_about_as_many_texts(rows, says, says_not):
    text = clean(beside.rival_sentence(pd.DataFrame(rows), 0.1))
    assert all(part in text for part in says) and not any(part in text for part in says_not), text
    assert "24 シナリオでは、破綻率そのものに最大 10 ポイントの標準誤差がある" in text


def test_a_wider_margin_compares_more_methods():
    table = pd.DataFrame([rival("emotion", 0.5), rival("pca", 0.1, broken=0.25)])
    assert "大小を比べない" in beside.rival_sentence(table, 0.1).data
    wide = beside.rival_sentence(table, 0.3).data
    assert "感情ベクトルは主成分方向より大きい" in wide and "30 ポイント以内の方法は主成分方向 +25" in wide


@pytest.mark.parametrize(
    ("asked", "vector", "says", "says_not"),
    [
        (rival("prompting", 2.0), {}, ["区間は重ならず、指示の方が大きい"], ["ベクトルの方が"]),
        (rival("prompting", -1.0), {}, ["区間は重ならず、ベクトルの方が大きい"], ["指示の方が"]),
        (
            rival("prompting", 0.6),
            {},
            [
                "指示は 0.12 → 0.72（+0.60）、ベクトルは 0.12 → 0.62（+0.50）で、",
                "差の区間は重なる（差の検定はしていない）",
            ],
            ["方が大きい"],
        ),
        (rival("prompting", 2.0, **FLAT_RIVAL), {}, ["一方に区間がないため比べない"], ["方が大きい", "重なる"]),
        (rival("prompting", -0.001, high=0.4), {}, ["（+0.00）、ベクトル", "差の区間は重なる"], ["方が大きい"]),
        (
            rival("prompting", 0.03, base=0.47),
            {"base": 0.03},
            [
                "指示がなくても水準 0.47 に達している（ベクトルの基準は 0.03）",
                "指示ありは 0.50、ベクトルありは 0.53 だが",
                "差（指示 +0.03、ベクトル +0.50）どうしは比べられない",
            ],
            ["区間は重なる", "方が大きい"],
        ),
        (rival("prompting", 2.0, base=0.3), {"base": 0.125}, ["指示の方が大きい"], ["比べられない"]),  # not 3 times
        (rival("prompting", 2.0, base=0.09), {"base": 0.01}, ["指示の方が大きい"], ["比べられない"]),  # too little
    ],
)
def test_asking_is_compared_unless_the_format_alone_says_it_already(asked, vector, says, says_not):
    table = pd.DataFrame([rival("emotion", 0.5, **vector), asked])
    text = clean(beside.rival_sentence(table, 0.1))
    assert all(part in text for part in says) and not any(part in text for part in says_not), text


def at_equal_strength(*leads: tuple[float, float, float]) -> pd.DataFrame:
    row = {"kind": "probe", "emotion": "anger", "metric": "keywords/anger", "alpha": 0.2, "own": -0.001, "rival": 0.4}
    row |= {"own_broken": 0.25, "rival_broken": 0.5, "n": 24}
    cells = [{"ahead": lead, "ahead_low": low, "ahead_high": high} for lead, low, high in leads]
    return pd.DataFrame([{**row, **cell, "ahead_degenerate": bool(np.isnan(cell["ahead_low"]))} for cell in cells])


def test_at_an_equal_strength_the_larger_of_two_is_named_only_where_the_interval_says_so():
    probe = wording.KINDS["probe"]
    shown = beside.equal_strength_rows(at_equal_strength((-0.4, -0.6, -0.2)))
    clean(shown)
    assert shown.iloc[0].tolist() == ["0.2", "25% / 50%", "+0.00 / +0.40", "-0.40 [-0.60, -0.20]"]
    behind = clean(beside.equal_strength_sentence(at_equal_strength((-0.4, -0.6, -0.2), (-0.1, -0.3, 0.1))))
    assert f"感情ベクトルより大きい方法: 怒りの語数の{probe}（α = 0.2、差 -0.40 [-0.60, -0.20]）。" in behind
    assert "感情ベクトルの方が大きい: どの組でも、そうとは言えない" in behind
    assert "残る 1 組" in behind and "点推定で方法の方が大きいのは 2 組のうち 2 組" in behind
    ahead = clean(beside.equal_strength_sentence(at_equal_strength((0.4, 0.2, 0.6), (-0.4, np.nan, np.nan))))
    assert f"感情ベクトルの方が大きい: 怒りの語数の{probe}" in ahead and "残る 1 組" in ahead
    assert "より大きい方法: どの組でも" in ahead
    assert "該当なし" in clean(beside.equal_strength_rows(pd.DataFrame()))
    assert "組がない" in clean(beside.equal_strength_sentence(pd.DataFrame()))


# families, norms, damage


def test_families_and_norms_are_named():
    row = {"emotion": "anger", "metric": "keywords/anger", "own": -0.0001, "largest": 0.1, "p": 0.5, "cosine": 0.2}
    shown = beside.family_rows(pd.DataFrame([{**row, "family": family} for family in wording.SHORT]))
    clean(shown)
    assert [index[2] for index in shown.index] == ["等方", "共分散", "シャッフル"]
    norms = pd.DataFrame({"kind": list(wording.KINDS)[1:6], "mean": 0.3, "min": -0.0, "max": 0.31, "size": 9})
    clean(beside.norm_rows(norms))
    assert set(beside.norm_rows(norms).index) == {wording.KINDS[kind] for kind in norms["kind"]}


def damage(change: float, se: float, n_topic: int = 24) -> pd.DataFrame:
    row = {"kl_se": 0.01, "topic": 0.4, "topic_base": 0.4 - change, "n_kl": 21, "n_topic": n_topic}
    own = {"kind": "emotion", "emotion": "anger", "kl": 0.5, "topic_change": change, "topic_se": se, "directions": 1}
    rows = [{**row, **own, "kind": "baseline", "emotion": "none"}, {**row, **own}]
    for kind, kl in (("isotropic", 0.1), ("covariance", 0.9)):
        control = {"kind": kind, "emotion": "any", "kl": kl, "topic_change": -0.0001, "topic_se": 0.01}
        rows.append({**row, **control, "directions": 2})
    return pd.DataFrame(rows)


def test_a_text_that_leaves_its_topic_is_named():
    lost = clean(harm.damage_sentence(damage(-0.2, 0.05)))
    assert "怒り 0.50 nat" in lost and "族により 0.10–0.90 nat" in lost
    assert "怒り（-0.200）では、続きとプロンプトの類似度がパッチなしより下がった（24 シナリオ" in lost
    for change, se in ((-0.2, 0.2), (0.2, 0.01)):
        kept = clean(harm.damage_sentence(damage(change, se)))
        assert "下がったとは言えない" in kept and "下がった（" not in kept


def test_the_interval_of_a_topic_s_change_has_the_degrees_of_freedom_of_the_texts_that_are_there():
    assert "下がった（24 シナリオ" in harm.damage_sentence(damage(-0.2, 0.09)).data  # 2.07 standard errors
    assert "下がったとは言えない" in harm.damage_sentence(damage(-0.2, 0.09, n_topic=5)).data  # 2.78
    assert harm.topic_rows(damage(-0.2, 0.1, n_topic=5)).iloc[0, 2] == "-0.200 [-0.478, 0.078]"
    clean(harm.topic_rows(damage(np.nan, np.nan, n_topic=0)))


def test_a_few_directions_are_not_called_the_mean_of_their_family():
    text = clean(harm.damage_sentence(damage(-0.2, 0.05)))
    assert "各族から 2 本だけを測り" in text and "族全体の平均ではなく" in text
    assert "対照" not in harm.damage_sentence(damage(-0.2, 0.05).iloc[:2]).data
    for shown, n in ((harm.kl_rows(damage(-0.2, 0.05)), 21), (harm.topic_rows(damage(-0.2, 0.05)), 24)):
        clean(shown)
        assert shown["方向の本数"].tolist() == [1, 2, 2] and shown["シナリオ数"].tolist() == [n] * 3


def test_tables_of_shares_and_changes_show_japanese_names():
    shown = wording.broken_rows(broken_table(gratitude=0.1, anger=-0.0))
    clean(shown)
    assert shown.loc[("パッチなし", "—"), "層"] == "—" and shown.loc[("感情ベクトル", "感謝"), "破綻率"] == 0.1
    row = {"emotion": "anger", "baseline": -0.0001, "baseline_se": 0.1, "patched": 0.5, "patched_se": 0.1}
    rows = [{**row, "metric": f"{family}/anger", "random": 0.1, "random_se": 0.0} for family in ("keywords", "target")]
    changes = pd.DataFrame(rows)
    clean(wording.change_rows(changes))
    bars = wording.change_bars(changes, "target")
    assert len(bars) == 3 and set(bars["emotion"]) == {"怒り"}
    matrix = pd.DataFrame({"keywords/anger": [-0.001], "target/anger": [0.2]}, index=["anger"])
    clean(wording.matrix(matrix))
    assert list(wording.family_matrix(matrix, "target").columns) == ["怒りの確率"]


def test_texts_under_a_steer_of_strength_zero_are_counted_against_the_unpatched_ones():
    rows = [
        {"kind": kind, "scenario": f"s{i}", "sample": 0, "text": str(i)}
        for kind in ("baseline", "zero")
        for i in (1, 2)
    ]
    sweep = pd.DataFrame(rows)
    assert "2 テキストのうち、パッチなしと一致したのは 2" in beside.zero_sentence(sweep).data
    sweep.loc[3, "text"] = "another"
    said = beside.zero_sentence(sweep).data
    assert "一致したのは 1" in said and "原因を調べる" in said


def test_labels_with_one_kind_of_measure_leave_the_other_s_tables_and_figures_empty():
    one = {"metric": ["target/joy"], "emotion": "joy", "layer": 3, "alpha": 0.2}
    means = pd.DataFrame({**one, "baseline": 0.1, "baseline_se": 0.01, "mean": 0.3, "se": 0.02})
    assert choosing.layer_rows(means, "keywords").iloc[0, 0] == "該当なし"
    assert "0.300" in choosing.layer_rows(means, "target").iloc[0, 1]
    matrix = pd.DataFrame({"target/joy": [0.2]}, index=["joy"])
    empty, drawn = (
        figures.heatmap(wording.family_matrix(matrix, name), figures.Axes("")) for name in ("keywords", "target")
    )
    assert not empty.data and empty.layout.annotations[0].text == "該当なし" and len(drawn.data) == 1
