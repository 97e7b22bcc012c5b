"""Phase 6b: 結論, 考察, 備考, computed from the codes."""

from __future__ import annotations

import pandas as pd
from IPython.display import Markdown

from emolib.base.parameters import HeadPatchingParameters
from emolib.circuits.head_findings import (
    interaction_code,
    main_effects,
    steering_code,
    uniformity_code,
    with_codes,
)
from emolib.circuits.head_mediation import RESAMPLE
from emolib.report.ja.frame import three_lines
from emolib.report.ja.names import named
from emolib.report.ja.phase6b_words import ALL, CODES, INTERACTIONS, STEERING, TARGETS, UNIFORMITY, emotion_word
from emolib.report.markup import number, with_interval
from emolib.statistics.intervals import minimum_detectable_effect

ORDER = ("carried", "open", "nothing", "not_measurable")


def _together(table: pd.DataFrame) -> str:
    return ALL if (table["emotion"] == ALL).any() else str(table["emotion"].iloc[0])


def conclusion(context: pd.DataFrame, effects: pd.DataFrame, mediation: pd.DataFrame) -> Markdown:
    """結論: what heads carry of the context's effect and of the steer's, on what that hangs, what was not measurable."""
    found = main_effects(effects)
    at = found[(found["emotion"] == _together(found)) & (found["mode"] == "result")]
    lines = []
    for target, part in at.groupby("target", sort=False):
        listed = "、".join(
            f"{named(part.loc[part['code'] == code, 'heads'])}は**{CODES[code]}**"
            for code in ORDER
            if (part["code"] == code).any()
        )
        lines.append(f"{TARGETS[str(target)]}（出力の差し替え）で、{listed}")
    return three_lines(
        found="。".join(lines) + "。" + _mediated(mediation),
        rests_on=_rests(context, at),
        not_measured=_open(context, at),
    )


def _mediated(table: pd.DataFrame) -> str:
    if table.empty:
        return "操作の効果（S）は測れなかった。"
    coded = with_codes(table)
    whole = coded[coded["ablation"] == f"all {RESAMPLE}"]
    listed = "、".join(
        f"{named(emotion_word(name) for name in part['emotion'])}が{CODES[str(code)]}"
        for code, part in whole.groupby("code", sort=False)
    )
    return f"残差の操作の S を、すべてのヘッドを別のシナリオの中立の文での働きに置き換えて（再標本）測ると、判定は{listed}である。"


def _rests(context: pd.DataFrame, at: pd.DataFrame) -> str:
    whole = context[context["emotion"] == _together(context)].iloc[0]
    effect = with_interval(whole["mean"], whole["ci_low"], whole["ci_high"], digits=3, signed=True)
    largest = at.dropna(subset=["share"])
    text = f"説明されるのは、感情の文脈が m を変える量 {effect} nat/トークン（{int(whole['n'])} シナリオ）である。"
    if largest.empty:
        return text
    top = largest.loc[largest["share"].abs().idxmax()]
    share = with_interval(top["share"], top["share_low"], top["share_high"])
    return f"{text}割合が最も大きいのは {top['heads']} の {TARGETS[top['target']]} で {share} であった。"


def _open(context: pd.DataFrame, at: pd.DataFrame) -> str:
    parts = []
    blind = context[~context["measurable"].astype(bool)]
    if len(blind):
        names = named(emotion_word(name) for name in blind["emotion"])
        parts.append(f"{names}では文脈の効果そのものが 0 と区別できず、ヘッドの割合は測定不能")
    n = int(context["n"].max())
    if (at["code"] == "open").any() and n > 2:
        parts.append(
            f"検出力不足としたヘッドは、{n} シナリオで d_z {number(minimum_detectable_effect(n))} 以上の効果しか検出できない"
        )
    return "。".join(parts) + "。" if parts else "判定できなかったものはない。"


def discussion(
    effects: pd.DataFrame,
    contrasts: pd.DataFrame,
    null: dict[str, float],
    interactions: pd.DataFrame,
    ways: pd.DataFrame,
    damage: pd.DataFrame,
) -> Markdown:
    """考察: modes against each other, what is carried, A/A, interactions, steering by heads."""
    lines = [_modes(effects), _carried(contrasts), _null(null), _interacting(interactions), _steering(ways, damage)]
    return Markdown("\n".join(f"- {line}" for line in lines))


def _modes(effects: pd.DataFrame) -> str:
    found = main_effects(effects)
    at = found[(found["emotion"] == _together(found)) & (found["target"] == "neutral")]
    wide = at.pivot_table(index="heads", columns="mode", values="mean", sort=False)
    if not {"v_only", "result"} <= set(wide):
        return "方式の比較はできなかった。"
    larger = [name for name, row in wide.iterrows() if abs(row["result"]) > abs(row["v_only"])]
    equal = float((wide["pattern_v"] - wide["result"]).abs().max()) if "pattern_v" in wide else float("nan")
    return (
        f"ヘッド {len(wide)} 件のうち {len(larger)} 件で、点推定では、出力の差し替え（result）の方が、値だけの差し替え（v_only）より Δm の絶対値が大きい。"
        "二つの方式の違いは、注意の向け先（QK）も元の文のものにするかどうかである。"
        f"pattern_v と result の差は最大 {number(equal, 4)} nat であり、同じトークンどうしを対応させた場合に両者が一致するという計算上の検査になる。"
    )


def _carried(contrasts: pd.DataFrame) -> str:
    whole = contrasts[(contrasts["emotion"] == _together(contrasts)) & (contrasts["mode"] == "result")]
    emotion, kind = (whole[whole["contrast"] == name] for name in ("emotion", "kind"))
    above = emotion[(emotion["ci_low"] > 0)]["heads"].tolist()
    own = kind[(kind["ci_low"] > 0)]["heads"].tolist()
    first = (
        f"別のシナリオの感情の文を元にしても Δm が中立の文より大きいヘッドは {named(above)}"
        if above
        else "別のシナリオの感情の文を元にすると、Δm が中立の文より大きい（区間が 0 より上の）ヘッドはない"
    )
    second = (
        f"別の感情より自分の感情で大きいヘッドは {named(own)}"
        if own
        else "別の感情より自分の感情で大きい（区間が 0 より上の）ヘッドはない"
    )
    return (
        f"{first}。{second}。前者は感情的であることを、後者はその感情であることを、シナリオの内容と分けて見る値である。"
    )


def _null(found: dict[str, float]) -> str:
    if not found["n"]:
        return "A/A（二つの中立の文を元にした差）は、シナリオが少なく p 値が得られなかった。"
    return (
        f"A/A（二つの中立の文を元にした差）の p 値 {int(found['n'])} 個は{UNIFORMITY[uniformity_code(found)]}"
        f"（0.05 以下は {number(found['share_05'])}）。同じシナリオを使うので p 値どうしは独立でない。"
    )


def _interacting(table: pd.DataFrame) -> str:
    if table.empty:
        return "ヘッドが一つなので、相互作用は測っていない。"
    codes = [interaction_code(row) for _, row in table.iterrows()]
    listed = "、".join(f"{INTERACTIONS[code]} {codes.count(code)} 組" for code in dict.fromkeys(codes))
    return f"ヘッドの組 {len(table)} 件の相互作用は、{listed}であった。判定は、区間が 0 を含まないことと、単独の効果が近いランダムな組と比べた順位の両方による。"


def _steering(ways: pd.DataFrame, damage: pd.DataFrame) -> str:
    if ways.empty or damage.empty:
        return "ヘッドによる操作は、比べられる強さに届かず測定不能である。"
    both = ways.merge(damage, on="emotion", suffixes=("", "_texts"))
    listed = "、".join(
        f"{emotion_word(row['emotion'])}が{STEERING[steering_code(row, row)]}" for _, row in both.iterrows()
    )
    return f"「ヘッドの操作は同じ効果で文の崩れが少ない」という公表された主張は、同じ KL に揃えた操作で、{listed}であった。"


def remarks(params: HeadPatchingParameters, context: pd.DataFrame) -> Markdown:
    """備考: limits, and next actions."""
    n, n_emotions = int(context["n"].max()), len(set(context["emotion"]) - {ALL})
    turn = "すべての条件で、" if params.emotions == "in_turn" else "元の文・範囲・アブレーション・相互作用の条件では、"
    lines = [
        "- すべて探索である。ヘッド・方式・元の文・向きの数について補正していない。主張の判定（Phase 5・7）には用いない。",
        "- m は感情の文と中立の文の対数確率の差であり、珍しい文や感情的な文一般を持ち上げる効果も含む。感情どうしを比べた値は、操作の効果（S）の表だけである。",
        "- トークンの対応は文脈の終わりからの位置による。シナリオが違えば、対応するトークンの内容は異なる。",
        "- 生成文は二次的な資料である。生成では、ヘッドは元の文脈の値を読む（v_only）。続く文が分からないので、出力を一つずつ対応させることはできない。",
        f"- 文脈の効果は {n} シナリオで測った。"
        + (
            f"{turn}シナリオごとに感情を一つずつ順に割り当てたので、感情ごとのシナリオは少ない。"
            if n_emotions > 1
            else ""
        ),
    ]
    if params.temperature == 0:
        lines.append("- 生成は貪欲法である（1 プロンプト 1 文）。")
    return Markdown("\n".join(lines))


def next_actions(context: pd.DataFrame, effects: pd.DataFrame, params: HeadPatchingParameters) -> Markdown:
    """次のアクション, computed."""
    lines = []
    found = main_effects(effects)
    at = found[found["emotion"] == _together(found)]
    if not context["measurable"].any():
        lines.append(
            "- 文脈の効果が測れていない。`n_test` と `n_texts` を増やすか、`quick` 以上のプロファイルで走らせる。"
        )
    elif (at["code"] == "open").any():
        lines.append("- 検出力不足のヘッドは、`n_texts` を増やして測り直す。")
    carried = at[(at["code"] == "carried") & (at["mode"] == "result")]["heads"].unique().tolist()
    if carried:
        lines.append(f"- {named(carried)}が何を読んで何を書くか（OV・QK）を調べる。")
    if params.heads.startswith("top"):
        lines.append("- 順位の下位のヘッドも同じ方法で測り、選び方の効果を確かめる。")
    else:
        lines.append("- ヘッドの選び方を、検証シナリオでのアブレーションの順位（`--head-spec top:5`）に替えて比べる。")
    return Markdown("\n".join(lines))
