"""Phase 4: 結論, 考察 and 次のアクション, computed from the verdicts."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from IPython.display import Markdown

from emolib.base.parameters import AlignmentParameters
from emolib.report.ja.frame import three_lines
from emolib.report.ja.phase4_words import ALL, NULLS, VERDICTS, labels_named, style_words
from emolib.report.markup import number, p_value
from emolib.steering.alignment_verdicts import COMMON, NOT_SHOWN
from emolib.steering.claims import NOT_MEASURABLE
from emolib.steering.findings import UNDERPOWERED
from emolib.study.phase4_alignment.layers import Chosen


def conclusion(table: pd.DataFrame, at: Chosen, emotions: Sequence[str]) -> Markdown:
    """結論: the verdicts on the data's emotions, on what they hang, and what could not be told."""
    own = table[table["label"].isin(list(emotions))]
    whole = own[own["style"] == ALL]
    found = "。".join(
        f"{labels_named(part['label'].tolist())}は**{VERDICTS[str(code)]}**"
        for code, part in whole.groupby("verdict", sort=False)
    )
    styles = [
        f"{style_words(str(style))}だけでは{_codes(part)}"
        for style, part in own[own["style"] != ALL].groupby("style", sort=False)
    ]
    rests = f"A の層 {at.layer_a} と B の層 {at.layer_b} の組。{_hardest(whole)}"
    return three_lines(
        found="。".join([found, *styles]) + "。",
        rests_on=rests,
        not_measured=_open(own),
    )


def _codes(part: pd.DataFrame) -> str:
    return "、".join(
        f"{labels_named(some['label'].tolist())}が{VERDICTS[str(code)]}"
        for code, some in part.groupby("verdict", sort=False)
    )


def _hardest(whole: pd.DataFrame) -> str:
    """Which null the bar came from."""
    parts = [
        f"{labels_named(part['label'].tolist())}の基準値は「{NULLS[str(null)]}」で決まった"
        for null, part in whole.groupby("hardest_null", sort=False)
    ]
    return "。".join(parts) + "。"


def _open(own: pd.DataFrame) -> str:
    """What no verdict was possible on."""
    parts = []
    for code in (NOT_MEASURABLE, UNDERPOWERED):
        some = own[own["verdict"] == code]
        if len(some):
            listed = [
                f"{style_words(str(style))}の{labels_named(part['label'].tolist())}"
                for style, part in some.groupby("style", sort=False)
            ]
            parts.append(f"{'、'.join(listed)}は{VERDICTS[code]}")
    return "。".join(parts) + "。" if parts else "判定できなかったものはない。"


def discussion(
    table: pd.DataFrame, nulls: pd.DataFrame, raw: pd.DataFrame, agreement: pd.DataFrame, emotions: Sequence[str]
) -> Markdown:
    """考察: raw and mapped coordinates, what the nulls leave, words and contexts, the tables without a map."""
    lines = [_raw_line(raw, emotions), _null_line(table, nulls, emotions), _label_line(table)]
    lines += _agreement_lines(agreement)
    return Markdown("\n".join(f"- {line}" for line in lines))


def _raw_line(raw: pd.DataFrame, emotions: Sequence[str]) -> str:
    own = raw[raw["label"].isin(list(emotions))]
    largest, chance = float(own["raw"].abs().max()), float(own["chance"].iloc[0])
    near = "ランダムな方向どうしと区別できない" if largest <= chance else "ランダムな方向どうしよりは大きい"
    return (
        f"生の座標での感情ベクトルのコサインは、絶対値で最大 {number(largest, 3)} であり、{near}（目安 {number(chance, 3)}）。"
        "これは構造が違うことを意味しない。座標の取り方が違うだけの写し（`rotated`）でも同じ値になる。"
    )


def _null_line(table: pd.DataFrame, nulls: pd.DataFrame, emotions: Sequence[str]) -> str:
    margins = table.loc[(table["style"] == ALL) & table["label"].isin(list(emotions)), "margin"].astype(float)
    own = nulls[(nulls["style"] == ALL) & nulls["label"].isin(list(emotions))]
    largest = own.groupby("null", sort=False)["null_95"].max()
    listed = "、".join(f"{NULLS[str(name)]} {number(value)}" for name, value in largest.items())
    return (
        f"一致 − 不一致は、データの感情で {number(margins.min())} から {number(margins.max())} であった。"
        f"帰無の 95 % 点は、最も大きい感情で、{listed} である。"
        "埋め込みどうしの値を超えない分は、感情の表現ではなく語の対応で説明できる。"
    )


def _label_line(table: pd.DataFrame) -> str:
    whole = table[table["style"] == ALL]
    counts = {code: int((whole["verdict"] == code).sum()) for code in (COMMON, NOT_SHOWN, UNDERPOWERED, NOT_MEASURABLE)}
    listed = "、".join(f"{VERDICTS[code]} {count}" for code, count in counts.items())
    return f"すべてのラベル {len(whole)} 件では、{listed} であった。"


def _agreement_lines(agreement: pd.DataFrame) -> list[str]:
    at = agreement[agreement["compared"] == "layers"].set_index("given") if len(agreement) else agreement
    if not len(at):
        return []
    plain, rest = at.loc["nothing"], at.loc["all"]
    line = (
        f"写像を使わずに、ラベルどうしの非類似度の順位相関を互いに素なシナリオで取ると {number(plain['correlation'])}（p "
        f"{p_value(plain['p'])}、天井 {number(plain['ceiling'])}）である。"
    )
    if pd.isna(rest["correlation"]):
        return [line + "感情価・語・埋め込みを除いた偏相関は計算できなかった。"]
    left = "残る" if rest["p"] <= 0.05 else "残るとは言えない"
    return [
        f"{line}感情価・語・学習済み埋め込みを除いた偏相関は {number(rest['correlation'])}（p {p_value(rest['p'])}）で、"
        f"語と感情価のほかに共通する部分が{left}。"
    ]


def next_actions(table: pd.DataFrame, params: AlignmentParameters) -> Markdown:
    """次のアクション, computed."""
    reasons, lines = set(table["reason"]), []
    if "few_scenarios" in reasons:
        lines.append("- シナリオが少なく判定できないものがある。`quick` 以上のプロファイルで走らせる。")
    if reasons & {"interval_holds_the_bar", "ceiling_below_the_bar"}:
        lines.append("- 検出力不足のものには、同じラベルのシナリオを増やすか、`--anchor-texts` で中立文を増やす。")
    if "own_vector_not_found" in reasons:
        lines.append("- 測定不能のラベルは、モデル自身のベクトルが再現しない。先に Phase 3 の安定性を確かめる。")
    if (table["verdict"] == COMMON).any():
        lines.append(
            "- 共通とされたベクトルの操作の転移を、`n_transfer_texts` と `n_transfer_maps` を増やして確かめる。"
        )
    lines.append("- 逆向き（B から A）と、ほかのモデルの組でも同じかを確かめる。")
    return Markdown("\n".join(lines))
