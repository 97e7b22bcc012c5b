"""Phase 5's tables and sentences about what its claims hang on."""

from __future__ import annotations

import pandas as pd
from IPython.display import Markdown

from emolib.base.parameters import PatchingParameters
from emolib.report.ja.every_report import (
    FAMILIES,
    emotion_name,
    escape,
    markdown_table,
    metric_name,
    none_at_hand,
    number,
)
from emolib.report.ja.phase5 import overall, unfiltered, verdict
from emolib.steering.robustness import OPENING, PHRASE

NO_DIFFERENCE = 0.005  # in words or in probability
LARGE_SHARE = 0.5  # of a sum that one prompt supplies, or of the texts that hold one phrase
LARGE_CHANGE, UNEQUAL = 0.1, 3  # probabilities whose models differ by such a factor are spoken of
ALONE = {family: FAMILIES[family] for family in ("target_lexical", "target_encoder")}


def unit_of(metric: str) -> tuple[str, int]:
    """The unit that follows a number of this measure, and its digits."""
    return (" 語", 2) if metric.startswith("keywords/") else ("", 3)


def typical_rows(claims: pd.DataFrame) -> pd.DataFrame:
    """Mean and median effect, and the share of texts with an own word; what is not defined is a dash."""
    shown = {
        "指標": claims["metric"].map(metric_name),
        "変化の平均": [number(v, 3) for v in claims["own_effect"]],
        "変化の中央値（プロンプト）": [number(v, 3) for v in claims["median"]],
    }
    names = {"share": "パッチ", "share_baseline": "パッチなし", "share_control": "対照方向の最大"}
    for column, name in names.items():
        shown[f"語を含む割合: {name}"] = [_percent(v) for v in claims[column]]
    return pd.DataFrame(shown).set_index("指標")


def _percent(share: float) -> str:
    return "—" if pd.isna(share) else f"{share:.0%}"


def typical_sentence(row: dict) -> str:
    """What the mean of a measure leaves out: the median prompt, and how many texts hold a word at all."""
    unit, digits = unit_of(row["metric"])
    text = f"プロンプトごとの変化の中央値は {number(row['median'], digits, signed=True)}{unit}"
    if not pd.isna(row["share"]):
        text += (
            f"、自分の語を一つでも含む（破綻していない）テキストは {row['share']:.0%}"
            f"（パッチなし {row['share_baseline']:.0%}、対照方向の最大 {row['share_control']:.0%}）"
        )
    text += "。"
    if row["supported"] and abs(row["median"]) < NO_DIFFERENCE:
        text += "中央値がほぼ 0 なので、平均の変化は半数以下のプロンプトによる。"
    return text


# the rule on broken texts


def unfiltered_lines(claims: pd.DataFrame, params: PatchingParameters) -> list[str]:
    """Where the verdict hangs on counting broken texts as 0, and where it does not."""
    lines, kept = [], []
    for row in claims.to_dict("records"):
        raw = unfiltered(row)
        words = [verdict(one, params).split("（")[0] for one in (row, raw)]
        if words[0] != words[1]:
            lines.append(_hanging_line(row, raw, words))
        elif row["supported"]:
            kept.append(f"{metric_name(row['metric'])} {_conditions(raw)}")
    for emotion, part in claims.groupby("emotion", sort=False):
        raw = pd.DataFrame([unfiltered(row) for row in part.to_dict("records")])
        before, after = overall(part, params), overall(raw, params)
        if before != after:
            lines.append(
                f"- {emotion_name(emotion)}の総合判定は、破綻したテキストもそのまま数えると「{after}」になる。"
            )
    if kept:
        lines.append(f"- 破綻したテキストをそのまま数えても、次の支持は変わらない: {'、'.join(kept)}。")
    return lines


def _hanging_line(row: dict, raw: dict, words: list[str]) -> str:
    text = (
        f"- {metric_name(row['metric'])}の判定は破綻の規則に依る。破綻したテキストを 0 とすれば「{words[0]}」、"
        f"そのまま数えれば「{words[1]}」である（そのままの値は {_conditions(raw)}）。"
    )
    if row["unfiltered_largest"] >= LARGE_SHARE:
        text += f"ただし、その差の合計の {row['unfiltered_largest']:.0%} は一つのプロンプトによる。"
    return text


def _conditions(row: dict) -> str:
    _, digits = unit_of(row["metric"])
    mean, low, high = (number(row[key], digits) for key in ("vs_others", "ci_low", "ci_high"))
    interval = "区間なし" if row["degenerate"] else f"[{low}, {high}]"
    return f"自分 − 他感情 {mean} {interval}、順位 p = {row['rank_p']:.4f}"


# the scorers


def scorer_effect_rows(table: pd.DataFrame, params: PatchingParameters) -> pd.DataFrame:
    """The effect by each GoEmotions model, with the verdict that it alone would give."""
    rows = [
        {
            "感情": emotion_name(row["emotion"]),
            "分類器": FAMILIES[row["family"]],
            "自分のベクトルによる変化": number(row["own"], 3),
            "自分 − 他感情の平均": number(row["vs_others"], 3),
            "95 % BCa": "—" if row["degenerate"] else f"[{number(row['ci_low'], 3)}, {number(row['ci_high'], 3)}]",
            "片側順位 p（最も厳しい族）": number(row["rank_p"], 3),
            "これだけでの判定": verdict(row, params),
        }
        for row in table.to_dict("records")
    ]
    if not rows:
        return none_at_hand()
    return pd.DataFrame(rows).set_index(["感情", "分類器"])


def scorer_lines(table: pd.DataFrame, params: PatchingParameters) -> list[str]:
    """Where one GoEmotions model alone gives another verdict than the measure, and where their sizes differ much."""
    lines = []
    for emotion, part in table.groupby("emotion", sort=False):
        by_family = {row["family"]: row for row in part.to_dict("records")}
        if {*ALONE, "target"} <= set(by_family):
            lines += _alone_lines(emotion, by_family, params) + _size_lines(emotion, by_family)
    return lines


def _alone_lines(emotion: str, rows: dict[str, dict], params: PatchingParameters) -> list[str]:
    combined = verdict(rows["target"], params).split("（")[0]
    alone = {name: verdict(rows[family], params).split("（")[0] for family, name in ALONE.items()}
    other = [f"{name}だけでは「{word}」" for name, word in alone.items() if (word == "支持") != (combined == "支持")]
    start = f"- {emotion_name(emotion)}の確率は結合した値で「{combined}」"
    if other:
        return [f"{start}だが、{'、'.join(other)}である。判定は分類器の選び方に依る。"]
    return [f"{start}であり、二つの分類器のどちらだけでも支持になる。"] if combined == "支持" else []


def _size_lines(emotion: str, rows: dict[str, dict]) -> list[str]:
    lexical, encoder = (rows[family]["own"] for family in ALONE)
    small, large = sorted((lexical, encoder), key=abs)
    if abs(large) < LARGE_CHANGE or not (small * large <= 0 or abs(large) > UNEQUAL * abs(small)):
        return []
    which = ALONE["target_encoder" if large == encoder else "target_lexical"]
    return [
        f"- {emotion_name(emotion)}の確率の変化は n-gram {number(lexical, signed=True)}、"
        f"エンコーダ {number(encoder, signed=True)} であり、この指標の値は{which}に大きく依る。"
    ]


# stock phrases


def phrase_rows(table: pd.DataFrame) -> Markdown:
    """The commonest run of words per emotion; the model's text is escaped."""
    rows = [
        [
            emotion_name(row["emotion"]),
            _quoted(row["phrase"]),
            f"{row['share']:.0%}",
            f"{row['baseline']:.0%}",
            f"{_percent(row['own_share'])}（{row['n_own']}）",
            f"{_quoted(row['baseline_phrase'])} {row['baseline_share']:.0%}",
            f"{row['openings']} / {row['n']}",
            row["baseline_openings"],
        ]
        for row in table.to_dict("records")
    ]
    header = [
        "操作した感情",
        f"最も多い {PHRASE} 語の並び",
        "含む割合",
        "同（パッチなし）",
        "自分の語を含む破綻していないテキストでの割合（n）",
    ]
    header += ["パッチなしで最も多い並びと割合", f"書き出し {OPENING} 語の種類 / テキスト数", "同（パッチなしの種類）"]
    return Markdown(markdown_table(rows, header))


def _quoted(phrase: str) -> str:
    return f"「{escape(phrase)}」" if phrase else "—"


def phrase_lines(table: pd.DataFrame) -> list[str]:
    """How much of an emotion's texts, and of what counts as its success, is one phrase."""
    lines = []
    for row in table[table["phrase"] != ""].to_dict("records"):
        text = (
            f"- {emotion_name(row['emotion'])}ベクトルのテキストの {row['share']:.0%} は同じ {PHRASE} 語の並び{_quoted(row['phrase'])}を含む"
            f"（パッチなしでは {row['baseline']:.0%}、パッチなしで最も多い並びは {row['baseline_share']:.0%}）。"
        )
        if row["n_own"]:
            text += f"自分の語を含む破綻していない {row['n_own']} テキストでは {row['own_share']:.0%} である。"
        lines.append(text)
    stock = table[(table["own_share"] >= LARGE_SHARE) & (table["own_share"] > table["baseline_share"])]
    if len(stock):
        names = "・".join(emotion_name(e) for e in stock["emotion"])
        lines.append(
            f"- {names}では、語数の成功（自分の語を含む破綻していないテキスト）の半数以上が同じ並びを含む。"
            "定型句を引き出したことと感情を操作したことは、ここの指標では区別できない。"
        )
    return lines
