"""Phase 7's 結論 and 考察, computed from the claims, what qualifies them, and the effects."""

from __future__ import annotations

from typing import Any

import pandas as pd
from IPython.display import Markdown

from emolib.base.escaping import Name
from emolib.base.parameters import StatisticsParameters
from emolib.report.ja.frame import three_lines
from emolib.report.ja.names import emotion_name, emotion_names
from emolib.report.ja.phase5_shift_words import VERDICTS
from emolib.report.ja.phase5_words import KINDS
from emolib.report.ja.phase5_words import VERDICTS as OF_TEXTS
from emolib.report.ja.phase7_shift import shift_found, shift_lines
from emolib.report.ja.phase7_words import CLAIMS, SHIFT_REASONS, listed, measure_name, of_total
from emolib.report.markup import number, p_value
from emolib.steering.findings import (
    NOT_SUPPORTED,
    POWER,
    SUPPORTED,
    UNDERPOWERED,
    emotions_with,
    overall,
    qualified,
)
from emolib.steering.text_claims import LEVEL

NO_SIZE = {"few_nonzero": "0 でない差が少ない", "flat": "差にばらつきがほとんどなく、符号検定も水準に届かない"}
NO_STEERING = "Phase 5 の読める記録がないため、操作についての主張はない"


def conclusion(claims: pd.DataFrame, params: StatisticsParameters) -> Markdown:
    """結論: what is supported, on what that hangs, and what could not be told."""
    rows = qualified(claims, significance=params.significance, smallest_d=params.smallest_d)
    parts = [_found(str(model), part) for model, part in rows.groupby("model", sort=False)]
    return three_lines(found="".join(parts), rests_on=_rests_on(rows), not_measured=_not_measured(rows))


def _found(model: str, rows: pd.DataFrame) -> str:
    """One model: how many of Phase 3's claims, and which emotions steer."""
    vectors, steering, shift = _kinds(rows)
    parts = []
    if len(vectors):
        parts.append(f"ベクトルの主張（Phase 3）は、{_supported_of(vectors)}")
    if len(shift):
        parts.append(shift_found(shift))
    if len(steering):
        held = emotions_with(overall(steering), SUPPORTED)
        parts.append(
            f"生成したテキスト（Phase 5、二次的）の指標がすべて条件を満たす感情は{emotion_names(held) if held else 'ない'}"
        )
    return f"{Name(model)}: {'。'.join(parts)}。"


def _kinds(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """The claims about vectors, about generated texts, and of the continuation shift."""
    return rows[rows["phase"] == "phase3"], rows[rows["claim"] == "steering"], rows[rows["claim"] == "shift"]


def _supported_of(rows: pd.DataFrame) -> str:
    held = int((rows["verdict"] == SUPPORTED).sum())
    if not held:
        return f"{len(rows)} 件のうち支持されたものはない"
    return f"{of_total(held, len(rows))}が支持された"


def _rests_on(rows: pd.DataFrame) -> str:
    """What the supported claims would not stand without."""
    supported = rows[rows["verdict"] == SUPPORTED]
    if supported.empty:
        return "支持された主張がないため、支持が何に依るかは述べない。"
    parts = []
    _, steering, shift = _kinds(supported)
    if len(shift):
        lost = shift[~(shift["p_holm"] <= LEVEL)]
        parts.append(
            f"継続シフトの支持のうち、族の全モデルで補正すると{listed(map(claim_name, lost.to_dict('records')))}が水準に届かない。"
            if len(lost)
            else "継続シフトの支持は、族の全モデルで補正しても残る。"
        )
    if len(steering):
        lost = steering[~steering["survives_correction"]]
        parts.append(
            f"条件を満たした生成テキストの指標のうち、感情と指標の数で補正すると{listed(lost['measure'].map(measure_name))}が水準に届かない。"
            if len(lost)
            else "生成テキストの指標が満たした条件は、感情と指標の数で補正しても残る。"
        )
    texts = supported[supported["claim"].isin(["separation", "readout"])]
    if len(texts):
        beyond = supported["claim"].isin(["beyond_words", "beyond_words_implicit"]).sum()
        parts.append(
            f"文を見分ける主張の支持は、bag of words を超える情報の主張（支持 {beyond} 件）と合わせて読む。"
            if beyond
            else "文を見分ける主張の支持は、bag of words を超える情報を示していない。"
        )
    blind = supported["blind"].sum()
    if blind:
        parts.append(f"支持の {of_total(int(blind), len(supported))}は、関心のある最小の効果を検出できない設計で得た。")
    return "".join(parts) or "区間・対照・補正のどれについても、支持を弱めるものはない。"


def _not_measured(rows: pd.DataFrame) -> str:
    unclear = rows[rows["verdict"] == UNDERPOWERED]
    if unclear.empty:
        return "検出力不足の主張はない。"
    reasons = "、".join(
        f"{SHIFT_REASONS[reason]} {len(part)} 件" for reason, part in unclear.groupby("reason", sort=False)
    )
    return f"主張 {of_total(len(unclear), len(rows))}が検出力不足である（理由: {reasons}）。"


# 考察


def discussion(
    effects: pd.DataFrame,
    claims: pd.DataFrame,
    grounds: pd.DataFrame,
    families: pd.DataFrame,
    params: StatisticsParameters,
) -> Markdown:
    """考察, computed from the claims, what they rest on, and the effects.

    Args:
        grounds: see `emolib.study.phase7_claims.grounds`.
        families: `emolib.study.phase7_claims.families` of the emotions' vectors.
    """
    rows = qualified(claims, significance=params.significance, smallest_d=params.smallest_d)
    lines = ["- 判定は主張の種類ごとに数える。種類によって根拠の強さが違うため、合計は示さない。"]
    for model, part in rows.groupby("model", sort=False):
        own = grounds[grounds["model"] == model] if len(grounds) else grounds
        lines += _model_lines(str(model), part, own)
    _, steering, shift = _kinds(rows)
    lines += shift_lines(shift)
    lines += _correction_lines(steering, params.significance) if len(steering) else [f"- {NO_STEERING}。"]
    lines += _unclear_lines(rows) + _missed_lines(rows[rows["verdict"] == NOT_SUPPORTED])
    lines += _blind_lines(steering[steering["verdict"] == SUPPORTED], params.smallest_d)
    lines += [] if effects.empty else _family_lines(families, params.significance)
    return Markdown("\n".join(lines))


def _model_lines(model: str, rows: pd.DataFrame, grounds: pd.DataFrame) -> list[str]:
    """Per claim: how many of each verdict, about which emotions (and measures), and what qualifies it."""
    lines = [f"- **{Name(model)}**"]
    for claim, part in rows.groupby("claim", sort=False):
        verdicts = OF_TEXTS if claim == "steering" else VERDICTS
        texts = [
            f"{word} {len(group)}（{listed(_named(str(claim), group))}）"
            for code, word in verdicts.items()
            if len(group := part[part["verdict"] == code])
        ]
        lines.append(f"    - {CLAIMS[claim]} — {'、'.join(texts)}。{_caveat(str(claim), part, grounds)}")
        if claim == "steering":
            whole = overall(part)
            words = [
                f"{OF_TEXTS[code]}: {emotion_names(at)}" for code in OF_TEXTS if (at := emotions_with(whole, code))
            ]
            lines.append(
                f"    - 感情ごとの総合判定（すべての指標が満たすときだけ「条件を満たす」） — {'、'.join(words)}。"
            )
    return lines


def _named(claim: str, rows: pd.DataFrame) -> list[Name]:
    """What the claims are about: measures of texts, emotions and styles, or emotions."""
    if claim == "steering":
        return [measure_name(measure) for measure in rows["measure"]]
    if claim == "shift":
        return [claim_name(row) for row in rows.to_dict("records")]
    return [emotion_name(emotion) for emotion in rows["emotion"]]


def _caveat(claim: str, rows: pd.DataFrame, grounds: pd.DataFrame) -> str:
    """What the reader of a supported claim has to know beside it."""
    supported = rows[rows["verdict"] == SUPPORTED]
    if claim in ("separation", "readout"):
        return _words_caveat(grounds) if len(supported) else ""
    if claim == "beyond_words" and len(supported):
        ends = "・".join(number(low, 3) for low in supported["low"])
        many = f"（検定は {len(rows)} 件）" if len(rows) > 1 else ""
        return f"支持した区間の下限は {ends} で、検定の数の補正はしていない{many}。"
    if claim == "beyond_words_implicit" and supported.empty:
        return "感情語のない文では、語を超える情報があるとは一つも示せていない。"
    if claim == "subspace" and (around := int((rows["holds_reference"] & (rows["value"] > rows["reference"])).sum())):
        return f"{of_total(around, len(rows))}で、点推定は基準値を上回るが、95 % 区間が基準値を含むため、支持としない。"
    return ""


def _words_caveat(grounds: pd.DataFrame) -> str:
    """How far the words of the test texts alone would have told."""
    shares, words = grounds["explicit_share"].dropna(), grounds["words"].dropna()
    if shares.empty or not shares.max() > 0 or words.empty:
        return ""
    text = f"ただしテスト文の {_span(100 * shares, 0)} % は感情語を含む明示表現の文であり、bag of words の AUC も {_span(words)} である"
    implicit = grounds["words_implicit"].dropna()
    return text + (f"（暗示表現の文だけでは {_span(implicit)}）。" if len(implicit) else "。")


def _span(values: pd.Series, digits: int = 2) -> str:
    ends = [number(value, digits) for value in (values.min(), values.max())]
    return "〜".join(dict.fromkeys(ends))


def _correction_lines(steering: pd.DataFrame, significance: float) -> list[str]:
    """Whether the supported steering claims survive the correction for how many are looked at, and what set it."""
    supported = steering[steering["verdict"] == SUPPORTED]
    if supported.empty:
        return ["- 生成したテキスト（Phase 5）の指標で条件を満たしたものはない。"]
    lost = supported[~supported["survives_correction"]]
    text = (
        f"- 感情と指標の数で補正した順位 p（最大統計量）は、条件を満たした生成テキストの指標 "
        f"{of_total(len(supported) - len(lost), len(supported))}で {significance:g} 以下である。"
    )
    if len(lost):
        text += f"{listed(lost['measure'].map(measure_name))}は補正後の水準に届かず、割り引いて読む。"
    return [text, *(line for _, part in steering.groupby("model", sort=False) for line in _maximum_lines(part))]


def _maximum_lines(steering: pd.DataFrame) -> list[str]:
    """One model: what took no part in the maximum, and where the largest control lies."""
    left_out, kept = (steering[steering["max_left_out"].astype(bool) == out] for out in (True, False))
    text = f"- {Name(steering['model'].iloc[0])} の最大統計量: "
    if len(left_out):
        text += (
            f"縮退した{listed(left_out['measure'].map(measure_name))}は最大から除き、残る {len(kept)} 組でとった"
            "（ほとんど動かない指標では、一つの文に語が一つ出ただけで大きな z になる）。"
        )
    else:
        text += f"縮退した組はなく、{len(kept)} 組すべてでとった。"
    known = kept.dropna(subset=["max_z"])
    if known.empty:
        return []
    for (family, at), part in known.groupby(["max_family", "max_at"], sort=False):
        who = "" if len(part) == len(known) else f"{listed(part['measure'].map(measure_name))}の p では、"
        z = part["max_z"].iloc[0]
        text += f"{who}最大を決めた対照は{KINDS[family]}、指標は{measure_name(at)}（z = {z:.1f}）である。"
    return [text]


def _unclear_lines(rows: pd.DataFrame) -> list[str]:
    """Why the design could not tell."""
    unclear = rows[rows["verdict"] == UNDERPOWERED]
    return [
        f"- 検出力不足の {of_total(len(part), len(unclear))}の理由は「{SHIFT_REASONS[reason]}」である。"
        for reason, part in unclear.groupby("reason", sort=False)
    ]


def _missed_lines(missed: pd.DataFrame) -> list[str]:
    """That a missed bar is no refutation."""
    if missed.empty:
        return []
    lines = [
        f"- 不支持（生成テキストでは「条件を満たさない」）の {len(missed)} 件は、事前の基準を満たさなかったという意味であり、効果がないことの証明ではない。"
    ]
    for reason, part in missed[missed["reason"].isin(["few_nonzero", "flat"])].groupby("reason", sort=False):
        lines.append(
            f"- {listed(map(claim_name, part.to_dict('records')))}では{NO_SIZE[str(reason)]}ため、効果量と区間を計算しない。"
        )
    lines += [
        f"- {claim_name(row)}は、順位 p が基準を超え（{p_value(row['rank_p'])}）、区間も 0 を含む。規則では不支持だが、"
        f"この n では d_z < {row['detectable_d']:.2f} の効果は検出力 {POWER:g} に届かず、小さい効果の有無は分からない。"
        for row in missed[missed["small_effect_open"]].to_dict("records")
    ]
    return lines


def claim_name(row: dict[str, Any]) -> Name:
    """A claim in one breath: its measure, or the emotion and what is claimed."""
    if row["claim"] == "steering":
        return measure_name(row["measure"])
    if row["claim"] == "shift":
        return Name(emotion_name(row["emotion"]) + "の" + measure_name(row["measure"]))
    return Name(emotion_name(row["emotion"]) + ": " + CLAIMS[row["claim"]])


def _blind_lines(supported: pd.DataFrame, smallest_d: float) -> list[str]:
    """That an effect found by a design that is too small is likely to be told too large."""
    blind = int(supported["blind"].sum())
    if not blind:
        return []
    return [
        f"- 条件を満たした生成テキストの指標 {of_total(blind, len(supported))}は、d_z = {smallest_d:g} を検出力 {POWER:g} で検出できない設計で得た。"
        "このような設計で有意になった効果の大きさは、真の値より大きめに出やすい。"
    ]


def _family_lines(families: pd.DataFrame, significance: float) -> list[str]:
    """How many of all comparisons remain after correction."""
    total = families[["tests", "degenerate", "p_t", "p_bonferroni", "p_fdr"]].sum()
    tested = total["tests"] - total["degenerate"]
    if not tested:
        return [f"- 感情ベクトルの全指標 {total['tests']} 件の比較は、すべて縮退している。"]
    return [
        f"- 感情ベクトルの全指標 {total['tests']} 件の比較のうち、縮退は {total['degenerate']} 件、p < {significance:g} は "
        f"{total['p_t']} 件、補正の単位ごとに補正した後は Bonferroni {total['p_bonferroni']} 件、BH {total['p_fdr']} 件である。"
        f"何も起きていなければ p < {significance:g} は約 {significance * tested:.0f} 件と見込まれる。"
        "ただし指標は互いに重なり、同じノルムの対照方向でも多くの指標が動きうるため、この数は感情への特異性の証拠ではない。"
    ]
