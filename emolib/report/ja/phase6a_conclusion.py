"""Phase 6a: 結論, 考察 and 次のアクション, computed from the verdicts and the roads."""

from __future__ import annotations

import pandas as pd
from IPython.display import Markdown

from emolib.circuits.attribution_bends import bend_summary
from emolib.circuits.screening import LEVEL, POOLED
from emolib.report.ja.frame import three_lines
from emolib.report.ja.names import emotion_name
from emolib.report.ja.phase6a_words import CAUSES, JOINT, REASONS, ROADS, VERDICTS, spelled_head
from emolib.report.markup import number, p_value
from emolib.steering.claims import NOT_MEASURABLE
from emolib.steering.findings import SUPPORTED, UNDERPOWERED


def conclusion(verdicts: pd.DataFrame, scores: pd.DataFrame, agreement: pd.DataFrame) -> Markdown:
    """結論: the verdicts, on what they hang, what could not be told."""
    parts = []
    for emotion, part in verdicts.groupby("emotion", sort=False):
        told = [
            f"{'・'.join(spelled_head(head) for head in some[['layer', 'head']].itertuples(index=False, name=None))} は"
            f"**{VERDICTS[str(code)]}**"
            for code, some in part.groupby("verdict", sort=False)
        ]
        parts.append(f"{emotion_name(str(emotion))}の文脈の効果を担うヘッドとして、{'、'.join(told)}")
    return three_lines(
        found="。".join(parts) + "。", rests_on=_rests_on(scores, agreement), not_measured=_open(verdicts)
    )


def _rests_on(scores: pd.DataFrame, agreement: pd.DataFrame) -> str:
    own = scores[scores["emotion"] == POOLED]
    best = own.loc[own["p_max"].idxmin()]
    sure = own[own["p_max"] <= LEVEL]
    losing = int((sure["delta_mean"] < 0).sum())
    side = "効果が減る向き" if best["delta_mean"] < 0 else "効果が増える向き"
    line = (
        f"検証シナリオの厳密な除去で選び、テストの {int(best['n_samples'])} シナリオで {len(own)} ヘッドを一つずつ厳密に除去した。"
        f"全ヘッドの最大統計量で p ≤ 0.05 のヘッドは、除去で効果が減るものが {losing} 個、増えるものが {len(sure) - losing} 個"
        f"（最小の p は {p_value(best['p_max'])}、{spelled_head((int(best['layer']), int(best['head'])))}、{side}）。"
    )
    whole = agreement[agreement["estimate"] == "atp"]
    if whole.empty:
        return line
    return f"{line}AtP と厳密な除去の順位相関は、全層で {number(whole['correlation'].iloc[0], signed=True)}。"


def _open(verdicts: pd.DataFrame) -> str:
    parts = []
    for code in (NOT_MEASURABLE, UNDERPOWERED):
        some = verdicts[verdicts["verdict"] == code]
        if len(some):
            reasons = "、".join(REASONS[reason] for reason in dict.fromkeys(some["reason"]))
            parts.append(f"{len(some)} 件（ヘッド × 感情）は{VERDICTS[code]}（{reasons}）")
    return "。".join(parts) + "。" if parts else "判定できなかったものはない。"


def discussion(
    agreement: pd.DataFrame, bends: pd.DataFrame, missed: pd.DataFrame, joint: pd.DataFrame, verdicts: pd.DataFrame
) -> Markdown:
    """考察: where each road may be trusted and why not, what may be missed, backup, what the verdicts hang on."""
    lines = [*_trust_lines(agreement), *_bend_lines(bends), _missed_line(missed)]
    lines += [*_joint_lines(joint), _verdict_line(verdicts)]
    return Markdown("\n".join(f"- {line}" for line in lines))


def _trust_lines(agreement: pd.DataFrame) -> list[str]:
    lines = []
    whole = (agreement["first"] == agreement["first"].min()) & (agreement["last"] == agreement["last"].max())
    for estimate, part in agreement.groupby("estimate", sort=False):
        bands = part[~whole[part.index]]
        if estimate not in ("atp", "integrated", "direct") or bands.empty:
            continue
        told = "、".join(
            f"層 {row.first}–{row.last} で {number(row.correlation, signed=True)}（大きさの比 {number(row.size)}）"
            for row in bands.itertuples(index=False)
        )
        lines.append(f"{ROADS[str(estimate)]}と厳密な除去の順位相関は、{told}。")
    return lines


def _bend_lines(bends: pd.DataFrame) -> list[str]:
    """Where first order errs, as the sizes of the parts say."""
    lines = []
    for row in bend_summary(bends).to_dict("records"):
        told = f"{row['kind']} の除去では、層 {row['layer']} の AtP は厳密な変化の {number(row['first_order'])} 倍の大きさである"
        if row["cause"] == "agrees":
            lines.append(f"{told}。")
            continue
        lines.append(
            f"{told}（道のりの初め 5 % では {number(row['start'])} 倍、半分まででは {number(row['half'])} 倍）。"
            f"ずれの半分以上（対数）を単独で生む部分: {CAUSES[row['cause']]}。ヘッドの除去は、正規化が読む残差の "
            f"{number(100 * row['moved'], 0)} % の大きさを動かす。"
        )
    return lines


def _missed_line(missed: pd.DataFrame) -> str:
    worst = missed["upper"].max()
    return (
        f"AtP が選ばなかったヘッドの変化の上限は {number(worst, 3)} nat/トークンである。これは、ほかの無作為なヘッドと一緒に"
        "除去したときの平均についての上限であり、単独の除去についてのものではない。"
    )


def _joint_lines(joint: pd.DataFrame) -> list[str]:
    top = joint[joint["heads"] == "top"] if len(joint) else joint
    if top.empty:
        return []
    row = top.iloc[-1]
    change = f"選択した {int(row['k'])} ヘッドを同時に除くと、効果は {number(row['joint'], 3, signed=True)} nat/トークン変わる"
    share = "" if pd.isna(row["share"]) else f"（効果の {number(100 * row['share'], 0)} % が失われる）"
    return [f"{change}{share}。個別の和と比べると、{JOINT[str(row['code'])]}。"]


def _verdict_line(verdicts: pd.DataFrame) -> str:
    supported = verdicts[verdicts["verdict"] == SUPPORTED]
    if supported.empty:
        return "支持されたヘッドはない。ここで示した順位は探索であり、主張ではない。"
    heads = "、".join(
        f"{spelled_head((row.layer, row.head))}（{emotion_name(row.emotion)}、効果の {number(100 * row.part, 0)} %）"
        for row in supported.itertuples(index=False)
    )
    return f"支持されたのは {heads} である。文脈の効果についての主張であり、生成文についてのものではない。"


def next_actions(verdicts: pd.DataFrame) -> Markdown:
    """次のアクション, computed."""
    lines = []
    if (verdicts["verdict"] == UNDERPOWERED).any():
        lines.append("- 検出力不足のヘッドは、`n_confirmed` と `n_screened` を増やして確かめる。")
    if (verdicts["verdict"] == NOT_MEASURABLE).any():
        lines.append("- 文脈の効果が確かめられない感情は、先に Phase 5 の計器（正例）の結果を確かめる。")
    lines.append("- 選択したヘッドを Phase 6b（head patching）に渡し、値と注意パターンのどちらが担うかを調べる。")
    return Markdown("\n".join(lines))
