"""Phase 1's tables and sentences about blind readings, shared word sequences, companions and pairs."""

from __future__ import annotations

import pandas as pd
from IPython.display import Markdown

from emolib.base.escaping import Name
from emolib.report.ja.names import companion_name, emotion_name, named, style_name
from emolib.report.markup import number, tidy, with_interval
from emolib.study.text_answers import AGREEMENT_BARS, CUE_BAR, Readings

UNRATED = "評定なし"
NOT_STATED = "このデータセットは、ミニマルペアかどうかを記していない。"
NOT_APPLICABLE = "このデータセットは同梱のものではないため、対象外である。"
FILES = {"companions": "追加のラベル", "lexical": "語の対", "placebo": "プラセボの対"}
KINDS = {
    "five": "五つのラベル（120 シナリオ）",
    "fifteen": "十五のラベル（30 シナリオ）",
    "lexical: with": "感情語があり、感情はない",
    "lexical: without": "同じ文で、別の語",
    "denied: denied": "感情を否定する",
    "denied: felt": "感情がある",
    "topic": "話題",
    "length": "長さ",
    "punctuation": "句読点",
    "frequency": "語の頻度",
    "courtesy": "丁寧さ",
    "calendar": "数・暦",
}


def table_readings(found: Readings | None) -> pd.DataFrame | Markdown:
    """Per label: texts, those read, and the share read as intended with its interval."""
    if found is None:
        return Markdown(NOT_APPLICABLE)
    table = found.agreement.reset_index()
    rows = {
        "ラベル": table["emotion"].map(companion_name),
        "テキスト数": table["n_texts"],
        "読んだ数": table["n_read"],
        "一致": [with_interval(r.agreed, r.low, r.high) for r in table.itertuples()],
        "注記のある数": table["remarks"],
    }
    return pd.DataFrame(rows).set_index("ラベル")


def sentence_readings(found: Readings | None, *, kind: str = "dataset") -> Markdown:
    """The agreement against its bar, and the confusions."""
    if found is None:
        return Markdown("")
    bar = AGREEMENT_BARS[kind]
    text = (
        f"{found.n_texts} テキストのうち、現在の文面で読まれた {found.n_read} テキストについて、"
        f"{found.n_choices} 個のラベルから選んだ読み手の答えは {number(100 * found.share, 1)} % で意図したラベルと一致し、"
        f"基準 {number(100 * bar, 0)} % に{'達する' if found.passes else '達しない'}。"
        "読み手は書き手と同じ種類の言語モデルであり、人が読んでも同じになるとは限らない。"
    )
    pairs = "、".join(
        f"{companion_name(r.emotion)}を{companion_name(r.label)}と読んだもの {r.n}"
        for r in found.confusions.head(10).itertuples()
    )
    return Markdown(text + (f"取り違えは、{pairs} である。" if pairs else "取り違えはない。"))


def sentence_cues(found: Readings | None) -> Markdown:
    """How many implicit texts hold a phrase that a reader named."""
    if found is None or found.cues is None:
        return Markdown("")
    listed = "、".join(f"{emotion_name(name)} {number(100 * r['share'], 0)} %" for name, r in found.cues.iterrows())
    over = [str(emotion_name(name)) for name, r in found.cues.iterrows() if r["share"] > CUE_BAR]
    text = f"読み手が、それだけで感情と分かる句を挙げた暗示表現の文の割合は、{listed} である。"
    weak = "、".join(
        f"{emotion_name(name)} {number(100 * r['share_with_weak'], 0)} %" for name, r in found.cues.iterrows()
    )
    text += f"読み手が弱いと記した句も数えると、{weak} である。"
    bar = f"目標は弱い句を除いて {number(100 * CUE_BAR, 0)} % 以下であり、"
    if over:
        return Markdown(f"{text}{bar}{named(over)}では達していない。これらの文への効果は、句への効果でありうる。")
    return Markdown(f"{text}{bar}どの感情でも達している。")


def table_listed(table: pd.DataFrame) -> pd.DataFrame | Markdown:
    """Share of implicit texts with a stock phrase of the lists."""
    if table.empty:
        return Markdown("英語の暗示表現の文がないため、対象外である。")
    shown = table.assign(emotion=table["emotion"].map(emotion_name))
    names = {"emotion": "ラベル", "n": "暗示表現の文", "with_cue": "決まり文句を含む", "share": "割合"}
    names |= {"flagged": "うち印のあるもの"}
    return tidy(shown[list(names)], digits=2, names=names).set_index("ラベル")


def table_sequences(table: pd.DataFrame) -> pd.DataFrame:
    """Share of implicit test texts with a word sequence of one label's training texts alone."""
    shown = table.reset_index().assign(emotion=lambda t: t["emotion"].map(emotion_name))
    names = {"emotion": "ラベル", "n": "テスト文", "same": "同じラベル", "other": "ほかのラベル（平均）"}
    return tidy(shown, digits=2, names=names).set_index("ラベル")


def table_minimal_pairs(table: pd.DataFrame | None) -> pd.DataFrame | Markdown:
    """Scenarios that are minimal pairs, per style, and idiomatic texts."""
    if table is None:
        return Markdown(NOT_STATED)
    shown = table.reset_index().assign(style=lambda t: t["style"].map(style_name))
    if "minimal" not in shown:
        shown.insert(2, "minimal", "記載なし")
    names = {"style": "表現", "scenarios": "シナリオ", "minimal": "ミニマルペア", "idiomatic": "決まり文句の残る文"}
    return shown.rename(columns=names).set_index("表現")


def table_beside(table: pd.DataFrame | None) -> pd.DataFrame | Markdown:
    """Companions and pairs: how many texts, and how many hold an emotion word."""
    if table is None:
        return Markdown(NOT_APPLICABLE)
    shown = table.assign(file=table["file"].map(FILES), kind=table["kind"].map(KINDS))
    names = {"file": "種類", "kind": "内訳", "n": "テキスト数", "holds": "感情語を含む割合"}
    return tidy(shown, digits=2, names=names).set_index(["種類", "内訳"])


def table_words(table: pd.DataFrame) -> pd.DataFrame:
    """Labels by what people say of their words; those that nobody rated are told."""
    unrated = table["word"].isna()
    rows = {
        "ラベル": table["label"].map(companion_name),
        "評定された語": [
            UNRATED if missing else Name(word) for word, missing in zip(table["word"], unrated, strict=True)
        ],
        "感情価の平均": [number(value, 1, signed=True) for value in table["mean"]],
        "標準偏差": [number(value) for value in table["sd"]],
    }
    return pd.DataFrame(rows).set_index("ラベル")


def table_placebo(table: pd.DataFrame | None) -> pd.DataFrame | Markdown:
    """In what the two texts of a placebo pair differ."""
    if table is None:
        return Markdown(NOT_APPLICABLE)
    shown = table.assign(kind=table["kind"].map(KINDS))
    names = {"kind": "変えたもの", "pairs": "対の数", "characters": "文字の差", "words": "語数の差"}
    names |= {"marks": "句読点の差", "calendar": "数・暦の語の差", "shared": "共通する語の割合"}
    return tidy(shown[list(names)], digits=2, names=names).set_index("変えたもの")
