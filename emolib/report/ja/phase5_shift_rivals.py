"""Phase 5's vectors beside a trained direction and asking by examples: S and generated texts, and who is ahead."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from IPython.display import Markdown

from emolib.base.escaping import Name
from emolib.report.ja.names import emotion_name, metric_name
from emolib.report.ja.phase5_shift_words import MEASURES, WHY_NOT, text_style
from emolib.report.ja.phase5_words import between, points, share, sized, together
from emolib.report.markup import NOTHING, number, p_value, with_interval
from emolib.steering.comparisons import ASKING, VECTOR
from emolib.steering.kl_search import TOLERANCE
from emolib.steering.shift_leads import AHEAD, BEHIND, EVERY, TRAINED
from emolib.study.phase5_steering import Outcome
from emolib.study.phase5_steering.shift_rivals import ShiftRivals

DIGITS = 3
METHODS = {VECTOR: "感情ベクトル", TRAINED: "学習した方向", ASKING: "例文による指示"}
LARGER = {
    AHEAD: "感情ベクトルの方が大きい",
    BEHIND: "方法の方が大きい",
    "undecided": "大小は決まらない",
    "no_interval": "区間なし",
    "not_compared": "破綻率が離れているため比べない",
}
NONE_TO_COMPARE = (
    "エンジンが重みを読めないモデルか、訓練シナリオまたは KL を測る続きが足りないため、"
    "学習した方向とも例文による指示とも比べられない。"
)


def table_shift_rivals(rivals: ShiftRivals | None, outcome: Outcome) -> Markdown:
    """S and the generated texts of every method with the vectors' lead, the doses with their KL, and who is ahead."""
    if outcome.shift is None:
        return Markdown(WHY_NOT[outcome.unmeasurable])
    if rivals is None:
        return Markdown(NONE_TO_COMPARE)
    parts: list[Any] = [rival_sentences(rivals, outcome.params.broken_margin), ("強さと KL", dose_rows(rivals))]
    for style, part in rivals.leads.groupby("style", sort=False):
        n = int(part["n_texts"].min())
        parts.append((f"S: {text_style(str(style))}（{n} シナリオの文、nat/トークン）", lead_rows(part)))
    parts.append(("生成したテキスト（破綻したテキストは 0 とする）", text_rows(rivals.texts)))
    return together(*parts)


def dose_rows(rivals: ShiftRivals) -> pd.DataFrame:
    """What every method was set to, and how far it moves the next token beside the steer."""
    rows = []
    for row in rivals.doses.to_dict("records"):
        asked = row["method"] == ASKING
        rows.append(
            {
                "感情": emotion_name(row["emotion"]),
                "方法": METHODS[row["method"]],
                "強さ": f"例文 {int(row['dose'])} 件" if asked else f"α = {row['dose']:.3g}",
                "KL（nat）": number(row["kl"], DIGITS),
                "操作の KL との比": number(row["kl"] / row["wanted"], 2),
            }
        )
    return pd.DataFrame(rows).sort_values("感情", kind="stable", key=_first_seen).set_index(["感情", "方法"])


def _first_seen(names: pd.Series) -> pd.Series:
    return pd.Series(pd.factorize(names)[0], index=names.index)


def lead_rows(leads: pd.DataFrame) -> pd.DataFrame:
    """One style: measures and emotions down, methods and the vectors' lead across."""
    rows = []
    for (measure, emotion), part in leads.groupby(["measure", "emotion"], sort=False):
        row: dict[str, Any] = {"量": MEASURES[str(measure)], "感情": _emotion(str(emotion))}
        by_method = part.set_index("method").to_dict("index")
        row |= {name: number(by_method[code]["mean"], DIGITS, signed=True) for code, name in _present(part).items()}
        for code, name in _present(part).items():
            if code != VECTOR:
                row[f"ベクトル − {name}（両側 p）"] = _lead(by_method[code])
        rows.append(row)
    return pd.DataFrame(rows).set_index(["量", "感情"])


def _present(part: pd.DataFrame) -> dict[str, str]:
    return {code: name for code, name in METHODS.items() if code in set(part["method"])}


def _emotion(emotion: str) -> Name:
    return Name("全感情の平均") if emotion == EVERY else emotion_name(emotion)


def _lead(row: Mapping[str, Any]) -> str:
    told = with_interval(row["ahead"], row["low"], row["high"], digits=DIGITS, signed=True)
    return f"{told}（p {p_value(row['p'])}）"


def text_rows(texts: pd.DataFrame) -> pd.DataFrame:
    """Emotions, measures and methods down: the effect, the broken share and the vectors' lead."""
    rows = []
    for row in texts.to_dict("records"):
        own = row["method"] == VECTOR
        given = {"missing": bool(row["ahead_degenerate"])} if not own else {}
        lead = NOTHING if own else between(row["metric"], row["ahead"], row["ahead_low"], row["ahead_high"], **given)
        rows.append(
            {
                "感情": emotion_name(row["emotion"]),
                "指標": metric_name(row["metric"]),
                "方法": METHODS[row["method"]],
                "変化": sized(row["metric"], row["effect"]),
                "破綻率": share(row["broken"]),
                "ベクトル − 方法 [95 % BCa]": lead,
                "大小": NOTHING if own else LARGER[row["larger"]],
            }
        )
    return pd.DataFrame(rows).set_index(["感情", "指標", "方法"])


# who is ahead


def rival_sentences(rivals: ShiftRivals, margin: float) -> str:
    """Who is ahead by S, style by style; then the doses, the training and the generated texts."""
    lines = [_ahead_line(rivals.leads, style) for style in dict.fromkeys(rivals.leads["style"])]
    lines += [_kl_line(rivals), _training_line(rivals), *_text_lines(rivals.texts, margin)]
    lines.append("- 区間と p は多重比較の補正をしていない。ここからは何も選ばず、判定にも用いない。")
    return "\n".join(line for line in lines if line)


def _ahead_line(leads: pd.DataFrame, style: str) -> str:
    """One style: S (raw) over all emotions, and in which other measures the same holds."""
    mine = leads[(leads["style"] == style) & (leads["emotion"] == EVERY)]
    told = []
    for method in (name for name in METHODS if name in set(mine["method"]) and name != VECTOR):
        rows = mine[mine["method"] == method].set_index("measure").to_dict("index")
        raw = rows["raw"]
        text = f"{_who(raw['larger'], METHODS[method])}（ベクトル − {METHODS[method]} は {_lead(raw)}）"
        same = [MEASURES[code] for code, row in rows.items() if code != "raw" and row["larger"] == raw["larger"]]
        rest = {code: row for code, row in rows.items() if code != "raw" and row["larger"] != raw["larger"]}
        if same:
            text += f"。{'・'.join(same)}でも同じである"
        for code, row in rest.items():
            text += f"。{MEASURES[code]}では{_who(row['larger'], METHODS[method])}"
        told.append(text)
    return f"- **{text_style(style)}の S（全感情の平均）**: {'。'.join(told)}。"


def _who(larger: str, method: str) -> str:
    """The one that is larger, in words."""
    words = {AHEAD: f"感情ベクトルが{method}を上回る", BEHIND: f"{method}が感情ベクトルを上回る"}
    return words.get(larger, f"感情ベクトルと{method}の大小は決まらない")


def _kl_line(rivals: ShiftRivals) -> str:
    """How near the doses come to the steer's KL."""
    told = []
    for method, part in rivals.doses[rivals.doses["method"] != VECTOR].groupby("method", sort=False):
        ratio = part["kl"] / part["wanted"]
        text = f"{METHODS[str(method)]}の KL は操作の {number(ratio.min(), 2)}〜{number(ratio.max(), 2)} 倍"
        unequal = "" if part["equal"].all() else f"（± {share(TOLERANCE)} を外れ、**等しい KL での比較ではない**）"
        told.append(text + unequal)
    return (
        f"- {'、'.join(told)}である。例文の数は検証の KL が操作に最も近いものを選ぶが、書式の変化だけでも KL は生じる。"
    )


def _training_line(rivals: ShiftRivals) -> str:
    """What training came to, and how near it lies to the mean difference."""
    if rivals.trained is None:
        return "- 学習した方向は、このモデルかデータでは求められない。"
    told = [
        f"{emotion_name(row.direction)} {row.step} 歩（コサイン {number(row.cosine, 2, signed=True)}、"
        f"訓練に使わない訓練シナリオでの増分 {number(row.gain, DIGITS, signed=True)} nat/トークン）"
        for row in rivals.trained.itertuples()
    ]
    return f"- 学習した方向が採った歩数と、感情ベクトルとのコサイン: {'、'.join(told)}。"


def _text_lines(texts: pd.DataFrame, margin: float) -> list[str]:
    """Which measures of the generated texts are larger under whom, and whose broken shares lie too far apart."""
    lines = []
    for method, part in texts[texts["method"] != VECTOR].groupby("method", sort=False):
        counts = part["larger"].value_counts()
        told = "、".join(f"「{LARGER[code]}」{counts[code]}" for code in LARGER if code in counts)
        lines.append(f"- 生成したテキスト（{METHODS[str(method)]}、{len(part)} 個の指標）: {told}。")
    own = texts[texts["method"] == VECTOR].drop_duplicates("emotion").set_index("emotion")["broken"]
    once = texts[texts["method"] != VECTOR].drop_duplicates(["emotion", "method"])
    gaps = once.assign(gap=once["broken"] - once["emotion"].map(own))
    far = gaps[gaps["gap"].abs() > margin + 1e-9]
    if len(far):
        listed = "、".join(
            f"{emotion_name(row.emotion)}の{METHODS[row.method]} {points(row.gap)}" for row in far.itertuples()
        )
        lines.append(f"- 破綻率が {points(margin)[1:]} ポイントを超えて離れている（方法 − ベクトル）: {listed}。")
    return lines
