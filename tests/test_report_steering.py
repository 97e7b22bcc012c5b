"""Phase 5's sentences and tables on made-up numbers: every outcome of every sentence, and how numbers are written."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
from IPython.display import Markdown

from emolib import figures
from emolib.claims import OperatingPoint
from emolib.config import PatchingParameters, resolve
from emolib.report import phase5 as wording
from emolib.report import phase5_discussion as closing
from emolib.report import rivals as beside

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
    row |= {"beats_others": True, "beats_random": True, "supported": True}
    return row | given


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
    assert shown.loc["自−他", "感謝の確率"] == "-0.001" and shown.loc["テストシナリオ数"].tolist() == ["45", "45"]


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


def test_broken_texts_are_within_the_limit_or_named():
    within = clean(closing._broken_sentence(broken_table(gratitude=0.15, anger=0.0), 0.1))
    assert "感謝 15%、怒り 0%" in within and "収まる" in within and "超えた" not in within
    over = clean(closing._broken_sentence(broken_table(gratitude=0.16, anger=0.0), 0.1))
    assert "感謝は選択時の上限（パッチなし + 10 ポイント）をテストでは超えた" in over and "収まる" not in over


def test_the_layers_of_a_cross_fitted_design_make_one_share():
    table = broken_table(gratitude=0.0, anger=0.0)
    second = table[table["emotion"] == "gratitude"].assign(layer=18, broken=0.4, n=8)
    text = clean(closing._broken_sentence(pd.concat([table, second]), 0.04))
    assert text.count("感謝 10%") == 1 and "感謝は選択時の上限" in text  # 0 of 24 and 3.2 of 8 texts
    claims = pd.DataFrame([claim()])
    assert clean(closing._direct_sentence(claims, pd.concat([table, second]), 30)).count("感謝 48%") == 1


def test_the_direct_path_explains_the_effect_or_does_not_or_is_not_discussed():
    broken = broken_table(gratitude=0.1, anger=0.1)
    less = clean(closing._direct_sentence(pd.DataFrame([claim(direct_path=-0.001)]), broken, 30))
    assert "最終残差 30" in less and "感謝の語数 +0.00（選んだ層では +0.90）" in less and "説明しにくい" in less
    much = clean(closing._direct_sentence(pd.DataFrame([claim(direct_path=0.31)]), broken, 30))
    assert "無視できず" in much and "説明しにくい" not in much and "破綻率 感謝 50%" in much
    none = clean(closing._direct_sentence(pd.DataFrame([claim(**WIDE, direct_path=-0.004)]), broken, 30))
    assert "支持された主張がない" in none and "最大 +0.00" in none and "無視できず" not in none


def scorer_rows(lexical: float, encoder: float) -> pd.DataFrame:
    families = {"target_lexical": lexical, "target_encoder": encoder, "target": (lexical + encoder) / 2}
    rows = [{"emotion": "anger", "family": name, "own": own, "vs_others": own} for name, own in families.items()]
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("lexical", "encoder", "which"),
    [
        (0.02, 0.3, "エンコーダ"),
        (0.3, -0.001, "n-gram"),
        (0.2, 0.3, None),
        (0.001, 0.09, None),
        (-0.1, -0.5, "エンコーダ"),
    ],
)
def test_models_that_disagree_are_named(lexical, encoder, which):
    table = scorer_rows(lexical, encoder)
    clean(wording.scorer_effect_rows(table))
    lines = [clean(line) for line in closing._reliance_lines(table)]
    assert len(lines) == (which is not None) and all(f"この指標の値は{which}に大きく依る" in line for line in lines)
    assert closing._reliance_lines(table[table["family"] != "target_encoder"]) == []


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


def test_the_operating_point_says_whether_it_keeps_to_the_rule():
    kept = clean(wording.chosen_point(point_of(14, 0.3, score=-0.001), 0.1, 0.1))
    assert (
        "層 14、α = 0.3" in kept and "選択基準 0.00" in kept and "最大 20%" in kept and "満たす点はなかった" not in kept
    )
    missed = clean(wording.chosen_point(point_of(14, 0.3, eligible=False), 0.1, 0.1))
    assert "満たす点はなかった" in missed and "割り引いて読む" in missed
    validation = pd.DataFrame({"part": ["fold0", "fold1"], "kind": "baseline", "fluency/broken": [0.0, 1.0]})
    folds = clean(
        wording.chosen_points({"fold0": point_of(14, 0.3), "fold1": point_of(18, 0.2)}, validation, 0.1)
    ).splitlines()
    assert (
        [line[:9] for line in folds] == ["- fold0: ", "- fold1: "] and "（0%）" in folds[0] and "（100%）" in folds[1]
    )


def test_candidates_and_grids_are_tidy():
    shown = wording.candidates(point_of(14, 0.3))
    clean(shown)
    assert shown.index.tolist()[:2] == [(10, 0.2), (10, 0.3)] and "怒りの語数 自−他" in shown
    assert list(wording.score_grid(point_of(14, 0.3)).columns) == ["α = 0.2", "α = 0.3", "α = 0.4"]
    assert set(wording.layer_curves(point_of(14, 0.3))["emotion"]) == {"anger"}


@pytest.mark.parametrize(
    ("claims", "changed", "where", "says", "says_not"),
    [
        ([claim()], {}, (14, 0.3), [], ["支持されなかった", "端にある", "届かない"]),
        ([claim(**WIDE)], {}, (14, 0.3), ["感謝は支持されなかった"], ["端にある"]),
        ([claim()], {}, (18, 0.3), ["層 18 は試した範囲の端"], ["α ="]),
        ([claim()], {}, (14, 0.2), ["α = 0.2 は試した範囲の端"], ["層 14 は"]),
        ([claim(**WIDE)], {"n_controls": 5}, (14, 0.3), ["判定基準に届かない"], ["支持されなかった"]),
    ],
)
def test_what_comes_next_follows_from_the_results(claims, changed, where, says, says_not):
    text = clean(closing.next_actions(pd.DataFrame(claims), params(**changed), point_of(*where)))
    assert all(part in text for part in says) and not any(part in text for part in says_not) and "Phase 7" in text


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


def doses(anger: list[float], alphas: tuple[float, ...] = (-0.3, 0.0, 0.2, 0.3)) -> pd.DataFrame:
    row = {"emotion": "anger", "metric": "keywords/anger", "se": 0.1, "broken": 0.0}
    return pd.DataFrame([{**row, "alpha": a, "effect": e} for a, e in zip(alphas, anger, strict=True)])


@pytest.mark.parametrize(
    ("effects", "says", "says_not"),
    [
        ([-0.5, 0.0, 0.4, 0.9], ["α とともに単調に増える", "（α = -0.3）では -0.50"], ["単調には"]),
        ([-0.001, 0.0, 0.9, 0.4], ["単調には増えない", "では +0.00"], ["単調に増える"]),
        ([0.2, 0.0, 0.01, 0.0], ["ほとんど動かない（最大 +0.01）", "では +0.20"], ["単調に"]),
    ],
)
def test_more_strength_gives_more_effect_or_not(effects, says, says_not):
    table = doses(effects)
    text = clean(beside.dose_sentence(table))
    assert all(part in text for part in says) and not any(part in text for part in says_not)
    assert beside.dose_sentence(table.assign(metric="valence")).data == ""
    shown = beside.dose_rows(table)
    clean(shown)
    assert list(shown.columns) == ["α = -0.3", "α = 0", "α = 0.2", "α = 0.3"] and shown.index.tolist() == [
        ("怒り", "怒りの語数")
    ]


def test_without_the_opposite_sign_nothing_is_said_of_it():
    assert "逆向き" not in beside.dose_sentence(doses([0.0, 0.1], (0.0, 0.2))).data


def test_a_band_is_two_standard_errors_wide_and_drawn_over_alpha():
    table = beside.dose_curves(doses([-0.5, 0.0, 0.4, 0.9]), "keywords")
    np.testing.assert_allclose(table["high"] - table["low"], 2 * 1.96 * 0.1)
    assert beside.dose_curves(doses([0, 0, 0, 0]), "target").empty
    fig = figures.lines_by_strength(table, "effect", "emotion", low="low", high="high", title="t", y_title="y")
    line = next(trace for trace in fig.data if trace.mode == "lines+markers")
    assert list(line.x) == [-0.3, 0.0, 0.2, 0.3] and list(line.y) == [-0.5, 0.0, 0.4, 0.9]
    assert "α" in fig.layout.xaxis.title.text


def test_every_prompt_is_in_the_histogram_also_where_all_are_equal():
    titles = {"title": "t", "x_title": "x", "y_title": "y"}
    for values in (np.linspace(-1, 2, 40), np.zeros(40)):
        fig = figures.histogram(
            pd.DataFrame({"effect": values, "emotion": ["anger"] * 40}), "effect", "emotion", **titles
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


def rival(kind: str, effect: float, **given: Any) -> dict[str, Any]:
    row = {"kind": kind, "emotion": "anger", "metric": "keywords/anger", "alpha": 0.3, "effect": effect}
    row |= {"low": effect - 0.2, "high": effect + 0.2, "degenerate": False, "vs_others": -0.001, "broken": 0.0}
    return {**row, "delta_ratio": 0.3, "n": 24, **given}


FLAT_RIVAL = {"degenerate": True, "low": np.nan, "high": np.nan}


def test_rivals_stand_side_by_side_with_a_dash_where_prompting_has_nothing():
    table = pd.DataFrame(
        [
            rival("emotion", 0.5),
            rival("pca", -0.001, **FLAT_RIVAL),
            rival("prompting", 4.0, **FLAT_RIVAL, delta_ratio=np.nan),
        ]
    )
    shown = beside.rival_rows(table)
    clean(shown)
    assert shown["効果 [95 % BCa]"].tolist() == ["0.50 [0.30, 0.70]", "0.00（区間なし）", "4.00（区間なし）"]
    assert shown["α"].tolist() == ["0.3", "0.3", "—"] and shown["‖Δh‖/‖h‖"].tolist() == ["0.30", "0.30", "—"]


@pytest.mark.parametrize(
    ("rows", "says", "says_not"),
    [
        ([rival("emotion", 0.01), rival("pca", -0.3)], ["どの方法でもほとんど動かない"], ["最も大きい"]),
        ([rival("emotion", 0.5), rival("pca", 0.6)], ["最も大きいのは主成分方向（+0.60）"], ["指示は"]),
        (
            [rival("emotion", 0.5), rival("prompting", 2.0)],
            ["指示の方が大きい（区間は重ならない）"],
            ["ベクトルの方が"],
        ),
        (
            [rival("emotion", 2.5), rival("prompting", 1.0)],
            ["ベクトルの方が大きい（区間は重ならない）"],
            ["指示の方が"],
        ),
        ([rival("emotion", 0.5), rival("prompting", 0.6)], ["区間は重なる（差の検定はしていない）"], ["方が大きい"]),
        ([rival("emotion", 0.5), rival("prompting", 2.0, **FLAT_RIVAL)], ["指示（プロンプト）（+2.00）"], ["指示は +"]),
        ([rival("emotion", 0.5), rival("prompting", -0.001, low=-0.1, high=0.1)], ["指示は +0.00"], ["区間は重なる"]),
    ],
)
def test_which_way_moves_a_measure_most(rows, says, says_not):
    text = clean(beside.rival_sentence(pd.DataFrame(rows)))
    assert all(part in text for part in says) and not any(part in text for part in says_not), text
    assert text.splitlines()[-1].endswith("大きさの比較は目安である。")


# families, norms, damage


def test_families_and_norms_are_named():
    row = {"emotion": "anger", "metric": "keywords/anger", "own": -0.0001, "largest": 0.1, "p": 0.5, "cosine": 0.2}
    shown = beside.family_rows(pd.DataFrame([{**row, "family": family} for family in wording.SHORT]))
    clean(shown)
    assert [index[2] for index in shown.index] == ["等方", "共分散", "シャッフル"]
    norms = pd.DataFrame({"kind": list(wording.KINDS)[1:6], "mean": 0.3, "min": -0.0, "max": 0.31, "size": 9})
    clean(beside.norm_rows(norms))
    assert set(beside.norm_rows(norms).index) == {wording.KINDS[kind] for kind in norms["kind"]}


def damage(change: float, se: float) -> pd.DataFrame:
    row = {"kl_se": 0.01, "topic": 0.4, "n": 24}
    rows = [{"kind": "emotion", "emotion": "anger", "kl": 0.5, "topic_change": change, "topic_se": se, **row}]
    for kind, kl in (("isotropic", 0.1), ("covariance", 0.9)):
        rows.append({"kind": kind, "emotion": "any", "kl": kl, "topic_change": -0.0001, "topic_se": 0.01, **row})
    return pd.DataFrame(rows)


def test_a_text_that_leaves_its_topic_is_named():
    lost = clean(beside.damage_sentence(damage(-0.2, 0.05)))
    assert (
        "怒り 0.50 nat" in lost
        and "0.10–0.90 nat" in lost
        and "怒り（-0.20）では" in lost
        and "パッチなしより下がった" in lost
    )
    for change, se in ((-0.2, 0.2), (0.2, 0.01)):
        kept = clean(beside.damage_sentence(damage(change, se)))
        assert "下がったとは言えない" in kept and "下がった（" not in kept
    clean(beside.damage_rows(damage(-0.2, 0.05)))


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
