"""Phase 5's verdicts and what they stand on: both conditions, the controls, broken texts, the scorers."""

from __future__ import annotations

import pandas as pd
from IPython.display import Markdown

from emolib.plots import figures
from emolib.report.ja.names import FAMILIES, emotion_name, metric_name
from emolib.report.ja.phase5_words import (
    KINDS,
    NO_INTERVAL,
    OTHERS,
    OWN,
    SHORT,
    VERDICTS,
    families_of,
    of_family,
    share,
    together,
    verdict_word,
)
from emolib.report.ja.scorer_agreement import sentence_agreement, table_agreement
from emolib.report.markup import number, show, tidy
from emolib.steering.findings import overall, unfiltered
from emolib.steering.summaries import unchanged_at_zero
from emolib.study.run import Run

NULLS = {
    "keywords": ("当該感情の語数の変化と対照方向", "Δ語数", "null"),
    "target": ("当該感情の確率の変化と対照方向", "Δ確率", "null_targets"),
}
WORST = "片側順位 p（最も厳しい対照群）"


def table_claims(found: pd.DataFrame) -> pd.DataFrame:
    """Items down, emotions and measures across; what is not defined is a dash.

    Args:
        found: see `emolib.steering.findings.findings`.
    """
    whole = overall(found)
    columns = {}
    for row in found.to_dict("records"):
        columns[metric_name(row["metric"])] = {
            "総合判定（感情ごと）": VERDICTS[whole[row["emotion"]]],
            "判定（指標ごと）": verdict_word(row),
            OWN: number(row["own_effect"], 3),
            "同、プロンプトの中央値": number(row["median"], 3),
            OTHERS: number(row["vs_others"], 3),
            "同 95 % BCa 区間": _interval(row),
            **{f"片側順位 p（{name}）": number(row[f"p_{family}"], 3) for family, name in SHORT.items()},
            WORST: number(row["rank_p"], 3),
            "当該感情の語を含むテキスト: パッチ": share(row["share"]),
            "同: パッチなし": share(row["share_baseline"]),
            "同: 対照方向の最大": share(row["share_control"]),
            "テストシナリオ数": str(row["n"]),
        }
    return pd.DataFrame(columns).rename_axis("項目")


def _interval(row: dict) -> str:
    return NO_INTERVAL if row["degenerate"] else f"[{number(row['ci_low'], 3)}, {number(row['ci_high'], 3)}]"


def figure_controls(run: Run, effects: pd.DataFrame) -> None:
    """Every emotion's own effect over the effects of its control directions, words and probabilities.

    Args:
        effects: see `emolib.steering.summaries.beside_controls`.
    """
    for family in families_of(effects):
        title, unit, file = NULLS[family]
        show(run, figures.dots_with_null(*effects_and_nulls(effects, family), figures.Axes(title, y=unit)), file)


def effects_and_nulls(effects: pd.DataFrame, family: str) -> tuple[dict, dict]:
    """Own effect, and the effects of every family of control directions, by the emotion's and the family's name."""
    own, nulls = {}, {}
    for (emotion, control), part in of_family(effects, family).groupby(["emotion", "family"], sort=False):
        name = f"{emotion_name(emotion)}<br>{SHORT[control]}"
        own[name], nulls[name] = float(part["own"].iloc[0]), part["control"].to_numpy()
    return own, nulls


# 付録: the controls


def table_controls(ranks: pd.DataFrame, norms: pd.DataFrame, sweep: pd.DataFrame) -> Markdown:
    """The controls family by family, whether they are as large as the vectors, and whether strength 0 changes nothing.

    Args:
        ranks: see `emolib.steering.summaries.family_ranks`.
        norms: see `emolib.steering.summaries.realised_norms`.
        sweep: the test rows.
    """
    return together(
        ("対照群ごとの比較", family_rows(ranks)), ("加わった量 ‖Δh‖/‖h‖", norm_rows(norms)), zero_sentence(sweep)
    )


def family_rows(ranks: pd.DataFrame) -> pd.DataFrame:
    """The largest effect, the rank p, the largest cosine and the effective number of every family of controls."""
    shown = ranks.assign(
        emotion=ranks["emotion"].map(emotion_name),
        metric=ranks["metric"].map(metric_name),
        family=ranks["family"].map(SHORT),
        **{column: [number(v, 3) for v in ranks[column]] for column in ("own", "largest", "p", "cosine")},
        effective=[
            f"{number(effective, 1)} / {int(count)}"
            for effective, count in zip(ranks["effective"], ranks["n_directions"], strict=True)
        ],
    )
    names = {"emotion": "感情", "metric": "指標", "family": "対照群", "own": OWN, "largest": "対照の最大"}
    names |= {"p": "片側順位 p", "cosine": "ベクトルとのコサイン（最大）", "effective": "実効的な本数 / 本数"}
    return shown.rename(columns=names)[list(names.values())].set_index(["感情", "指標", "対照群"])


def norm_rows(norms: pd.DataFrame) -> pd.DataFrame:
    """‖Δh‖/‖h‖ as it came out, per kind."""
    names = {"kind": "種類", "mean": "平均", "min": "最小", "max": "最大", "size": "テキスト数"}
    shown = norms.assign(
        kind=norms["kind"].map(KINDS), **{c: [number(v, 3) for v in norms[c]] for c in ("mean", "min", "max")}
    )
    return shown.rename(columns=names).set_index("種類")


def zero_sentence(sweep: pd.DataFrame) -> str:
    """Whether a steer of strength 0 leaves every text as it was."""
    same, n = unchanged_at_zero(sweep)
    text = f"強さ 0（α = 0）のパッチを通した {n} 件のテキストのうち、パッチなしと一致したのは {same} 件である。"
    return text + ("" if same == n else "一致しないテキストがあるため、数値を用いる前に原因を調べる。")


# 付録: broken texts as they are


def table_unfiltered(found: pd.DataFrame, matrix: pd.DataFrame) -> Markdown:
    """The claims with both ways of counting broken texts, and the specificity matrix of every text as it is.

    Args:
        matrix: `emolib.steering.summaries.specificity_matrix` with `counted=False`.
    """
    caption = "判定の二つの条件（0: 破綻したテキストを 0 と数える、そのまま: 破綻したテキストもそのまま数える）"
    return together((caption, unfiltered_rows(found)), ("特異性行列（そのまま）", _matrix_rows(matrix)))


def unfiltered_rows(found: pd.DataFrame) -> pd.DataFrame:
    """Items down, emotions and measures across, each item counted in both ways."""
    columns = {}
    for row in found.to_dict("records"):
        raw = {**unfiltered(row), "verdict": row["unfiltered_verdict"], "reason": row["unfiltered_reason"]}
        pairs = {
            "判定": (verdict_word(row), verdict_word(raw)),
            OWN: (number(row["own_effect"], 3), number(row["own_effect_unfiltered"], 3)),
            OTHERS: (number(row["vs_others"], 3), number(raw["vs_others"], 3)),
            "同 95 % BCa 区間": (_interval(row), _interval(raw)),
            WORST: (number(row["rank_p"], 3), number(raw["rank_p"], 3)),
            "値が下がったプロンプトの割合": (share(row["wrong_way"]), share(row["wrong_way_unfiltered"])),
            "直接経路での変化": (number(row["direct_path_counted"], 3), number(row["direct_path"], 3)),
        }
        ways = ("0", "そのまま")
        columns[metric_name(row["metric"])] = {
            f"{item}（{way}）": value for item, both in pairs.items() for way, value in zip(ways, both, strict=True)
        }
    return pd.DataFrame(columns).rename_axis("項目")


def _matrix_rows(matrix: pd.DataFrame) -> pd.DataFrame:
    shown = matrix.rename(index=emotion_name, columns=metric_name).rename_axis("操作した感情")
    return shown.map(number)


# 付録: the scorers


def table_scorers(scorers: pd.DataFrame, agreement: pd.DataFrame) -> Markdown:
    """The effect by each GoEmotions model with the verdict that it alone would give, and how far the two agree.

    Args:
        scorers: `emolib.steering.findings.findings` of `emolib.steering.robustness.single_scorers`.
        agreement: see `emolib.steering.summaries.scorer_agreement`.
    """
    parts = [("分類器ごとの効果", scorer_rows(scorers))] if len(scorers) else []
    if len(agreement):
        parts.append(("有無の判断の一致", table_agreement(agreement)))
    return together(*parts, sentence_agreement(agreement))


def scorer_rows(scorers: pd.DataFrame) -> pd.DataFrame:
    """One row per emotion and model."""
    rows = [
        {
            "感情": emotion_name(row["emotion"]),
            "分類器": FAMILIES[row["family"]],
            OWN: number(row["own"], 3),
            OTHERS: number(row["vs_others"], 3),
            "95 % BCa 区間": _interval(row),
            WORST: number(row["rank_p"], 3),
            "これだけでの判定": verdict_word(row),
        }
        for row in scorers.to_dict("records")
    ]
    return tidy(pd.DataFrame(rows)).set_index(["感情", "分類器"])
