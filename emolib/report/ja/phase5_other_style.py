"""Phase 5's table and sentence about vectors of the other style of texts."""

from __future__ import annotations

import pandas as pd
from IPython.display import Markdown

from emolib.report.ja.every_report import emotion_name, metric_name, none_at_hand, number
from emolib.study.phase5_steering import other_style
from emolib.study.run import Run

NAMES = {"explicit": "明示文（感情語を含む文）", "implicit": "暗示文（感情語を含まない文）"}


def other_style_rows(table: pd.DataFrame | None, own: pd.DataFrame) -> pd.DataFrame:
    """Both conditions for those vectors, beside the effect of the sweep's own."""
    if table is None:
        return none_at_hand()
    rows = {
        "感情": table["emotion"].map(emotion_name),
        "指標": table["metric"].map(metric_name),
        "このベクトル": [number(v, 3, signed=True) for v in table["own_effect"]],
        "本判定のベクトル": [number(v, 3, signed=True) for v in own["own_effect"]],
        "自分 − 他感情の平均 [95 % BCa]": [_interval(row) for row in table.to_dict("records")],
        "最も厳しい順位 p": [f"{v:.3f}" for v in table["rank_p"]],
        "二条件": ["満たす" if met else "満たさない" for met in table["supported"]],
        "破綻率": [f"{share:.0%}" for share in table["broken"]],
        "二つのコサイン": [number(v) for v in table["cosine"]],
    }
    return pd.DataFrame(rows).set_index(["感情", "指標"])


def _interval(row: dict) -> str:
    between = "区間なし" if row["degenerate"] else f"{number(row['ci_low'], 3)}, {number(row['ci_high'], 3)}"
    return f"{number(row['vs_others'], 3, signed=True)} [{between}]"


def other_style_sentence(run: Run, table: pd.DataFrame | None, own: pd.DataFrame) -> Markdown:
    """Whether what the sweep's own vectors do is done by those of the other style too."""
    return Markdown("\n".join(f"- {line}" for line in other_style_lines(run, table, own)))


def other_style_lines(run: Run, table: pd.DataFrame | None, own: pd.DataFrame) -> list[str]:
    """The same as lines for 考察."""
    name = NAMES[other_style.style(run)]
    if table is None:
        return [f"{name}の訓練シナリオが足りず、それだけから作ったベクトルとは比べていない。"]
    counts = "・".join(str(n) for n in sorted(set(table["n_fitted"])))
    start = f"同じ層・同じノルムで、{name}だけ（訓練 {counts} シナリオ）から作ったベクトル"
    held = [e for e, part in own.groupby("emotion", sort=False) if part["supported"].all()]
    if not held:
        return [f"{start}では、{_list(table)}。支持された感情がないため、効果が文体に依るかは論じない。"]
    lines = []
    for emotion in held:
        part = table[table["emotion"] == emotion]
        text = f"{emotion_name(emotion)}: {start}では、{_list(part)}。"
        if part["supported"].all():
            text += "どの指標も二条件を満たし、この設定では効果は文体に依らない。"
        else:
            text += f"二条件を満たさない指標があり、支持は{_bound(run)}ベクトルについてのものにとどまる。"
        lines.append(text)
    return lines


def _bound(run: Run) -> str:
    return f"{NAMES[run.params.vector_style]}から作った" if run.params.vector_style in NAMES else "両方の文体から作った"


def _list(table: pd.DataFrame) -> str:
    return "、".join(
        f"{metric_name(row['metric'])}の変化は {number(row['own_effect'], 3, signed=True)}"
        f"（順位 p = {row['rank_p']:.3f}、コサイン {number(row['cosine'])}）"
        for row in table.to_dict("records")
    )
