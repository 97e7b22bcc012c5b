"""Phase 5's vector beside other methods: where each starts and ends, which is larger, and what each costs."""

from __future__ import annotations

import numpy as np
import pandas as pd
from IPython.display import Markdown

from emolib.report.ja.names import emotion_name, metric_name
from emolib.report.ja.phase5_strengths import SMALLEST
from emolib.report.ja.phase5_words import (
    KINDS,
    MEASURES,
    OTHERS,
    between,
    points,
    share,
    sized,
    together,
)
from emolib.report.markup import NOTHING, number
from emolib.steering.comparisons import ASKING, VECTOR, decimals, lead

LARGER = {
    "vector": "感情ベクトルの方が大きい",
    "rival": "方法の方が大きい",
    "undecided": "大小は決まらない",
    "no_interval": "区間なし",
    "format": "書式だけで水準が高い",
}


def table_rivals(rivals: pd.DataFrame) -> pd.DataFrame:
    """Where every method starts, where it ends and how far that is; measures across.

    Args:
        rivals: see `emolib.steering.alternatives.rivals`, or `emolib.steering.comparisons.rival_findings` of it.
    """
    cells = {
        "なし": _numbers(rivals, "base"),
        "あり": _numbers(rivals, "level"),
        "差 [95 % BCa]": _intervals(rivals, "effect", "low", "high", "degenerate"),
    }
    return _across(rivals, cells)


def table_leads(rivals: pd.DataFrame, margin: float) -> Markdown:
    """How far the vector is ahead of every method, and what that amounts to.

    Args:
        rivals: see `emolib.steering.comparisons.rival_findings`.
        margin: how far apart broken shares on test may lie for two methods to be compared.
    """
    return together(lead_rows(rivals), rival_sentence(rivals, margin))


def lead_rows(rivals: pd.DataFrame) -> pd.DataFrame:
    """How far the vector is ahead of every method, and which of the two is larger where they can be compared."""
    others = rivals[rivals["kind"] != VECTOR]
    cells = {"ベクトル − 方法 [95 % BCa]": _leads(others), "大小": [_larger(row) for row in others.to_dict("records")]}
    return _across(others, cells)


def _larger(row: dict) -> str:
    if not row["comparable"] and row["kind"] != ASKING:
        return f"比べない（破綻率の差 {points(row['broken_gap'])} ポイント）"
    return LARGER[row["larger"]] if row["moved"] else "目安未満"


def rival_sentence(rivals: pd.DataFrame, margin: float) -> str:
    """What the vector does beside methods that break as many texts, and beside asking."""
    others = rivals[~rivals["kind"].isin([VECTOR, ASKING])]
    compared = others[others["comparable"].astype(bool) & others["moved"].astype(bool)]
    lines = []
    told = {"undecided": "差の区間が 0 を含み、大小が決まらない", "no_interval": "0 でない差が少なく、区間がない"}
    for code, text in {"vector": LARGER["vector"], "rival": LARGER["rival"], **told}.items():
        if listed := _by_metric(compared[compared["larger"] == code], leads=code not in told):
            lines.append(f"- {text}: {listed}。")
    if listed := _far(others[~others["comparable"].astype(bool)]):
        lines.append(
            f"- 破綻率が {100 * margin:.0f} ポイントを超えて離れているため比べない（括弧内は方法 − ベクトル、ポイント）: {listed}。"
        )
    lines += _still_lines(rivals) + _asked_lines(rivals)
    n = int(rivals["n"].min())
    lines.append(
        f"- {n} シナリオでは、破綻率そのものに最大 {100 * np.sqrt(0.25 / n):.0f} ポイントの標準誤差があるため、"
        f"差が {100 * margin:.0f} ポイント以内でも破綻率が等しいとは言えない。区間は多重比較の補正をしていない。"
    )
    return "\n".join(lines)


def _by_metric(rows: pd.DataFrame, *, leads: bool) -> str:
    """Methods measure by measure, each with its lead where that decides."""
    parts = []
    for metric, part in rows.groupby("metric", sort=False):
        pairs = zip(part["kind"], _leads(part), strict=True)
        listed = "・".join(f"{KINDS[kind]} {text}" if leads else KINDS[kind] for kind, text in pairs)
        parts.append(f"{metric_name(str(metric))}（{listed}）")
    return "、".join(parts)


def _far(rows: pd.DataFrame) -> str:
    whole = rows.drop_duplicates(["emotion", "kind"])
    parts = []
    for emotion, part in whole.groupby("emotion", sort=False):
        listed = "・".join(f"{KINDS[row.kind]} {points(row.broken_gap)}" for row in part.itertuples())
        parts.append(f"{emotion_name(str(emotion))}（{listed}）")
    return "、".join(parts)


def _still_lines(rivals: pd.DataFrame) -> list[str]:
    """The measures that no method moves, apart those where it may be the breaking."""
    still = rivals[~rivals["moved"].astype(bool)]
    lines = []
    for lost, part in still.groupby(still["vector_mostly_broken"].astype(bool)):
        largest = part.assign(size=part["effect"].abs()).groupby("metric", sort=False)["size"].max()
        listed = "、".join(f"{metric_name(str(metric))}（最大 {number(size, 3)}）" for metric, size in largest.items())
        text = f"- どの方法でも変化が{SMALLEST}に届かない: {listed}。"
        if lost:
            text += (
                "感情ベクトルでは続きの半分を超えて破綻しており、効かないのか、破綻して数えられないのかは分からない。"
            )
        lines.append(text)
    return lines


def _asked_lines(rivals: pd.DataFrame) -> list[str]:
    """Asking beside the vector, unless the format alone already says it."""
    asked = rivals[(rivals["kind"] == ASKING) & rivals["moved"].astype(bool)]
    words = {
        "rival": "差の区間が重ならず、指示の方が大きい",
        "vector": "差の区間が重ならず、感情ベクトルの方が大きい",
        "undecided": "差の区間が重なり、大小は決まらない",
        "no_interval": "一方に区間がなく、比べない",
        "format": "指示のない書式だけですでに水準が高く、出発点が違うため比べない",
    }
    own = rivals[rivals["kind"] == VECTOR].set_index("metric")
    parts = []
    for code, text in words.items():
        rows = asked[asked["larger"] == code].to_dict("records")
        if rows:
            parts.append(f"{text}のは{'、'.join(_ways(row, own.loc[row['metric']]) for row in rows)}")
    if not parts:
        return []
    return [f"- 指示との比較（基準の文も書式も異なるため、対応のある差は計算しない）: {'。'.join(parts)}。"]


def _ways(row: dict, own: pd.Series) -> str:
    metric = row["metric"]
    both = (("指示", row), ("ベクトル", own))
    told = "、".join(
        f"{name} {number(way['base'], decimals(metric))} → {number(way['level'], decimals(metric))}"
        for name, way in both
    )
    return f"{metric_name(metric)}（{told}）"


# 付録: strengths


def table_rival_strengths(rivals: pd.DataFrame, equal: pd.DataFrame) -> Markdown:
    """How strong every method is, how many texts it breaks and how specific it is; then the vector at equal strength.

    Args:
        equal: see `emolib.steering.alternatives.equal_strength`.
    """
    parts: list = [("方法ごとの強さ・破綻率・特異性", strength_rows(rivals))]
    if len(equal):
        parts.append(("同じ α（同じ ‖Δh‖）での感情ベクトルと方法", equal_rows(equal)))
    return together(*parts, equal_sentence(equal))


def strength_rows(rivals: pd.DataFrame) -> pd.DataFrame:
    """How strong every method is, how many texts it breaks beside the vector, and how specific it is."""
    whole = rivals.drop_duplicates(["emotion", "kind"])
    silent, itself = whole["kind"] == ASKING, whole["kind"] == VECTOR
    gaps = {
        name: [NOTHING if no else points(gap) for no, gap in zip(itself, whole[column], strict=True)]
        for name, column in {"ベクトルとの差（ポイント）": "broken_gap", "同、検証": "validation_gap"}.items()
    }
    shown = {
        "α": [NOTHING if no else f"{round(alpha, 3):g}" for no, alpha in zip(silent, whole["alpha"], strict=True)],
        "‖Δh‖/‖h‖": [NOTHING if no else number(r) for no, r in zip(silent, whole["delta_ratio"], strict=True)],
        "破綻率": [share(value) for value in whole["broken"]],
        **gaps,
    }
    specific = _across(rivals, {OTHERS: _numbers(rivals, "vs_others", signed=True)})
    return pd.DataFrame(shown, index=_methods(whole)).loc[specific.index].join(specific)


def equal_rows(equal: pd.DataFrame) -> pd.DataFrame:
    """The vector and another direction at an equal α; measures across."""
    whole = equal.drop_duplicates(["emotion", "kind"])
    shown = {
        "α": [f"{round(alpha, 3):g}" for alpha in whole["alpha"]],
        "破綻率（ベクトル / 方法）": [f"{share(r.own_broken)} / {share(r.rival_broken)}" for r in whole.itertuples()],
    }
    pairs = zip(_numbers(equal, "own", signed=True), _numbers(equal, "rival", signed=True), strict=True)
    sizes = _across(equal, {"ベクトル / 方法": [" / ".join(pair) for pair in pairs], "差 [95 % BCa]": _leads(equal)})
    return pd.DataFrame(shown, index=_methods(whole)).loc[sizes.index].join(sizes)


def equal_sentence(equal: pd.DataFrame) -> str:
    """Where the vector or the other direction is larger at an equal α."""
    if equal.empty:
        return "同じ α で比べられる組がない。"
    larger = lead(equal)
    words = {"rival": "方法の方が大きい", "vector": "感情ベクトルの方が大きい"}
    told = [f"{text}のは{_pairs(equal[larger == code])}" for code, text in words.items() if (larger == code).any()]
    rest = int((~larger.isin(list(words))).sum())
    start = f"同じ α で比べた {len(equal)} 組のうち、" + ("、".join(told) + "である。" if told else "")
    behind = int((equal["ahead"] < 0).sum())
    return start + (
        f"{'残る ' if told else ''}{rest} 組は区間が 0 を含むか、区間がない"
        f"（点推定で方法の方が大きいのは全 {len(equal)} 組のうち {behind} 組）。区間は多重比較の補正をしていない。"
    )


def _pairs(rows: pd.DataFrame) -> str:
    return "、".join(
        f"{metric_name(row['metric'])}の{KINDS[row['kind']]}"
        f"（α = {round(row['alpha'], 3):g}、差 {sized(row['metric'], row['ahead'])}）"
        for row in rows.to_dict("records")
    )


# cells


def _across(rivals: pd.DataFrame, cells: dict[str, list[str]]) -> pd.DataFrame:
    """Emotions and methods down, every kind of measure with its columns across; a dash where one is missing."""
    index = _methods(rivals)
    long = pd.DataFrame(cells, index=index)
    family = rivals["metric"].str.partition("/")[0].to_numpy()
    parts = [long[family == name].add_prefix(f"{shown}: ") for name, shown in MEASURES.items() if name in family]
    order = [(e, k) for e in dict.fromkeys(index.get_level_values(0)) for k in KINDS.values() if (e, k) in index]
    return pd.concat([part.reindex(order) for part in parts], axis=1).fillna(NOTHING)


def _methods(rivals: pd.DataFrame) -> pd.MultiIndex:
    columns = [rivals["emotion"].map(emotion_name), rivals["kind"].map(KINDS)]
    return pd.MultiIndex.from_arrays(columns, names=["感情", "方法"])


def _numbers(rivals: pd.DataFrame, column: str, *, signed: bool = False) -> list[str]:
    pairs = zip(rivals["metric"], rivals[column], strict=True)
    return [number(value, decimals(metric), signed=signed) for metric, value in pairs]


def _intervals(rivals: pd.DataFrame, value: str, low: str, high: str, degenerate: str) -> list[str]:
    cells = []
    for metric, mean, a, b, no in rivals[["metric", value, low, high, degenerate]].itertuples(index=False):
        cells.append(NOTHING if pd.isna(mean) else between(metric, mean, a, b, missing=bool(no)))
    return cells


def _leads(rivals: pd.DataFrame) -> list[str]:
    return _intervals(rivals, "ahead", "ahead_low", "ahead_high", "ahead_degenerate")
