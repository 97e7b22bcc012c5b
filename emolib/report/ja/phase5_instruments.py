"""計器: what Phase 5's measures see where the emotion is known, what they let pass, and for what they count."""

from __future__ import annotations

import pandas as pd
from IPython.display import Markdown

from emolib.base.escaping import Name
from emolib.data.styles import EVERY
from emolib.report.ja.names import companion_name, emotion_name, emotion_names, style_name
from emolib.report.ja.phase5_shift_words import MEASURES as SHIFT_MEASURES
from emolib.report.ja.phase5_words import share, together
from emolib.report.markup import number, p_value
from emolib.steering.instruments import (
    ADMITTED,
    FAILED,
    GOLD,
    MUST_FAIL,
    NOT_JUDGED,
    NOT_MEASURABLE,
    PASSED,
    PLACEBO_BAR,
    PLACEBOS,
    UNDERPOWERED,
)

MEASURES = {
    **SHIFT_MEASURES,
    "keywords": "語数",
    "target": "GoEmotions の確率",
    "expressed": "書き手の表明",
}
INSTRUMENTS = {
    "gold_a": "正例（直前の文）",
    "gold_b": "正例（プロンプトの前の文、参考）",
    "gold_like": "正例（似た感情価のラベルに対して、参考）",
    "gold_texts": "正例（データセットのテキスト）",
    "denied": "否定された感情",
    "mention": "感じていない言及",
    "like_valent": "似た感情価の別の感情",
    "placebos": "プラセボ",
    "placebo_texts": "プラセボのテキスト",
    "placebo_acts": "プラセボの方向",
    "placebo_words": "プラセボの語",
}
VERDICTS = {
    ADMITTED: "使える",
    NOT_MEASURABLE: "測定不能",
    UNDERPOWERED: "検出力不足",
    NOT_JUDGED: "判定不能",
}
OUTCOMES = {PASSED: "通った", FAILED: "通らなかった", UNDERPOWERED: "検出力不足"}
SHIFTS = tuple(SHIFT_MEASURES)


def table_admissions(instruments: pd.DataFrame, admissions: pd.DataFrame) -> Markdown:
    """計器の判定: what counts for what, the placebos with their limit, and what that rests on.

    Args:
        instruments, admissions: see `emolib.study.phase5_steering.instrument_stage`.
    """
    parts = [("指標ごとの判定（括弧内は判定が懸かった計器）", admission_rows(admissions))]
    placebos = placebo_table(instruments)
    if len(placebos):
        parts.append((f"プラセボ: 通った割合と片側 95 % 上限（基準 {share(PLACEBO_BAR)} 以下）", placebos))
    return together(*parts, sentence_instruments(instruments, admissions))


def table_instruments(instruments: pd.DataFrame) -> Markdown:
    """計器の詳細: gold and what must fail, each by its worst pair.

    Args:
        instruments: see `emolib.study.phase5_steering.instrument_stage`.
    """
    parts: list[tuple[str, pd.DataFrame]] = []
    for names, caption in ((SHIFTS, "続きの対数確率による指標（nat/トークン）"), (None, "テキストの得点による指標")):
        of_shift = instruments["measure"].isin(SHIFTS)
        some = instruments[of_shift if names else ~of_shift]
        rows = instrument_rows(some[~some["instrument"].isin(PLACEBOS)])
        if len(rows):
            parts.append((f"{caption}: 最も弱い相手に対する値", rows))
    return together(*parts) if parts else Markdown("判定できる計器がない。")


def instrument_rows(instruments: pd.DataFrame) -> pd.DataFrame:
    """Measure, style and emotion down, instruments across; each with the estimate, p, and what came of it."""
    keys = ["measure", "style", "emotion"]
    named = [name for name in INSTRUMENTS if name in set(instruments["instrument"])]
    rows = {}
    for key, part in instruments.groupby(keys, sort=False):
        found = dict(iter(part.groupby("instrument", sort=False)))
        label = (MEASURES.get(key[0], key[0]), style_name(key[1]), emotion_name(key[2]))
        rows[label] = [
            "・".join(map(_told, found[name].to_dict("records"))) if name in found else "—" for name in named
        ]
    table = pd.DataFrame.from_dict(rows, orient="index", columns=[INSTRUMENTS[name] for name in named])
    if len(table):
        table.index = pd.MultiIndex.from_tuples(list(rows), names=["指標", "表現", "感情"])
    return table


def _told(row: dict) -> str:
    """One cell: which stand-in, against whom, how large, and whether it passed."""
    who = f"{companion_name(row['stand_in'])}: " if row["stand_in"] else ""
    other = f"対 {companion_name(row['other'])} " if row["other"] else ""
    size = f"{number(row['estimate'], 3, signed=True)}、p {_equals(row['p'])}、n {int(row['n_texts'])}"
    return f"{who}{other}{size}、{OUTCOMES[row['verdict']]}"


def _equals(p: float) -> str:
    text = p_value(p)
    return text if text.startswith("<") else f"= {text}"


def placebo_table(instruments: pd.DataFrame) -> pd.DataFrame:
    """Measure, style and kind down: how many placebos there are, how many pass, and the limit of the share."""
    some = instruments[instruments["instrument"].isin(PLACEBOS)]
    rows = [
        [
            MEASURES.get(row["measure"], row["measure"]),
            style_name(row["style"]),
            INSTRUMENTS[row["instrument"]],
            int(row["n"]),
            round(row["estimate"] * row["n"]),
            share_1(row["estimate"]),
            share_1(row["upper"]),
            "基準を超える" if row["verdict"] == PASSED else "基準以下" if row["verdict"] == FAILED else "個数不足",
        ]
        for row in some.to_dict("records")
    ]
    columns = ["指標", "表現", "種類", "個数", "通った数", "割合", "上限", "判定"]
    return pd.DataFrame(rows, columns=columns).set_index(columns[:3])


def share_1(value: float) -> str:
    """A share as a percentage with one digit."""
    return f"{100 * value:.1f} %"


def admission_rows(admissions: pd.DataFrame) -> pd.DataFrame:
    """Measures and styles down, emotions across."""
    keys = list(dict.fromkeys(zip(admissions["measure"], admissions["style"], strict=True)))
    emotions = list(dict.fromkeys(admissions["emotion"]))
    told = {
        (row["measure"], row["style"], row["emotion"]): _verdict(row["verdict"], row["instrument"])
        for row in admissions.to_dict("records")
    }
    rows = [[told.get((*key, emotion), "—") for emotion in emotions] for key in keys]
    table = pd.DataFrame(rows, columns=[emotion_name(emotion) for emotion in emotions])
    table.index = pd.MultiIndex.from_tuples(
        [(MEASURES.get(measure, measure), style_name(style)) for measure, style in keys], names=["指標", "表現"]
    )
    return table


def _verdict(verdict: str, instrument: str) -> str:
    word = VERDICTS[verdict]
    return f"{word}（{INSTRUMENTS[instrument]}）" if instrument else word


def sentence_instruments(instruments: pd.DataFrame, admissions: pd.DataFrame) -> Markdown:
    """What the table says: for what S counts, by what it fails, and what the placebos show."""
    lines = []
    for style in dict.fromkeys(admissions["style"]):
        mine = admissions[(admissions["style"] == style) & admissions["measure"].isin(SHIFTS)]
        if len(mine):
            lines.append(f"- {style_name(style)}: {_by_verdict(mine)}。")
    texts = admissions[~admissions["measure"].isin(SHIFTS)]
    if len(texts):
        found = [
            f"{style_name(str(style))}では{_by_verdict(mine)}" for style, mine in texts.groupby("style", sort=False)
        ]
        lines.append(f"- テキストの得点: {'。'.join(found)}。")
    lines += _gold_lines(instruments) + _false_lines(instruments) + _placebo_lines(instruments)
    return Markdown("\n".join(lines))


def _by_verdict(admissions: pd.DataFrame) -> str:
    """`S は感謝で使え、…` in groups of measures with the same emotions."""
    parts = []
    for measure, some in admissions.groupby("measure", sort=False):
        by_word = some.groupby("verdict", sort=False)["emotion"].apply(list)
        listed = "、".join(f"{emotion_names(names)}で{VERDICTS[str(word)]}" for word, names in by_word.items())
        parts.append(f"{MEASURES.get(str(measure), Name(str(measure)))}は{listed}")
    return "、".join(parts)


def _gold_lines(instruments: pd.DataFrame) -> list[str]:
    """How many of gold's rows passed, per measure."""
    lines = []
    for instrument in GOLD:
        mine = instruments[instruments["instrument"] == instrument]
        if mine.empty:
            continue
        parts = []
        for measure, some in mine.groupby("measure", sort=False):
            named = MEASURES.get(str(measure), Name(str(measure)))
            parts.append(f"{named}は {len(some)} 通りのうち {int((some['verdict'] == PASSED).sum())}")
        lines.append(f"- {INSTRUMENTS[instrument]}を通ったのは、{'、'.join(parts)}である（表現と感情の組。値は付録）。")
    return lines


def _false_lines(instruments: pd.DataFrame) -> list[str]:
    """What passed though it must not."""
    mine = instruments[instruments["instrument"].isin(MUST_FAIL)]
    if mine.empty:
        return []
    let = mine[mine["passed"]]
    lines = [f"- 通ってはならない文脈 {len(mine)} 通りのうち {len(let)} が通った。"]
    for instrument, some in let.groupby("instrument", sort=False):
        rows = [
            f"{MEASURES.get(row['measure'], row['measure'])}・{style_name(row['style'])}・{emotion_name(row['emotion'])}"
            + (f"（{companion_name(row['stand_in'])}）" if row["stand_in"] else "")
            for row in some.to_dict("records")
        ]
        lines.append(f"  {INSTRUMENTS[str(instrument)]}: {'、'.join(rows)}。")
    return lines


def _placebo_lines(instruments: pd.DataFrame) -> list[str]:
    """Which shares of placebos have a limit above the bar."""
    mine = instruments[instruments["instrument"].isin(PLACEBOS)]
    if mine.empty:
        return []
    worst = mine.loc[mine["upper"].idxmax()]
    where = f"{MEASURES.get(worst['measure'], worst['measure'])}・{_style(worst['style'])}の{INSTRUMENTS[worst['instrument']]}"
    above = int((mine["verdict"] == PASSED).sum())
    return [
        f"- プラセボは {len(mine)} 組のうち {above} 組で上限が {share(PLACEBO_BAR)} を超えた。"
        f"上限が最も大きいのは{where}で、{int(worst['n'])} 個のうち {round(worst['estimate'] * worst['n'])} 個が通り、"
        f"上限は {share_1(worst['upper'])} である。"
    ]


def _style(style: str) -> str:
    return "全表現" if style == EVERY else f"{style_name(style)}"
