"""Phase 5's 次のアクション, computed from the run's outcome."""

from __future__ import annotations

from IPython.display import Markdown

from emolib.report.ja.names import emotion_names
from emolib.steering.candidates import edges
from emolib.steering.claims import FEWEST_CONTROLS, INSTRUMENTS_MISSING, NOT_MEASURABLE
from emolib.steering.findings import SUPPORTED, emotions_with
from emolib.study.phase5_steering import Outcome


def next_actions(outcome: Outcome) -> Markdown:
    """次のアクション, computed."""
    lines = _shift_lines(outcome) if outcome.shift is not None else _text_lines(outcome)
    lines += _edge_lines(outcome)
    lines.append("- Phase 7 で、効果量と区間、検出力、多重比較の補正をまとめて調べる。")
    return Markdown("\n".join(lines))


def _shift_lines(outcome: Outcome) -> list[str]:
    """What would settle what S leaves open."""
    assert outcome.shift is not None
    claims, lines = outcome.shift.claims, []
    if (claims["verdict"] == INSTRUMENTS_MISSING).any():
        lines.append(
            "- まず計器（正例・失敗すべき文脈・プラセボ）を検証シナリオで判定する。合格しない量では何も主張しない。"
        )
    if (claims["verdict"] == NOT_MEASURABLE).any():
        lines.append(
            "- 計器が不合格だった感情と表現では、正例が S に現れない原因（モデル、文の長さ、文脈の置き方）を調べる。"
        )
    reasons = set(claims["by_numbers_reason"])
    if reasons & {"few_scenarios", "few_controls"}:
        lines.append("- このプロファイルは配線の確認用であり、条件に届きえない。判定には `quick` 以上を用いる。")
    if claims["exploratory"].any():
        lines.append(
            f"- 主張には、各群 {FEWEST_CONTROLS} 本以上の対照方向（`n_controls`）と、封をしたテストの文で確かめる。"
        )
    implicit = claims[claims["style"] == "implicit"]
    lost = implicit[
        (implicit["by_numbers"] != SUPPORTED) & ~implicit["by_numbers_reason"].isin(["few_scenarios", "few_controls"])
    ]
    if len(lost) and outcome.params.vector_style != "implicit":
        lines.append(
            f"- 暗示表現で条件を満たさない{emotion_names(lost['emotion'])}について、暗示表現の文から作ったベクトル"
            "（`vector_style=implicit`、層と α も選び直す）で S を測る。"
        )
    return lines


def _text_lines(outcome: Outcome) -> list[str]:
    """The same where the generated texts are all there is."""
    met = emotions_with(outcome.verdicts, SUPPORTED)
    lines = []
    if met and outcome.params.vector_style != "implicit":
        lines.append(
            f"- まず、条件を満たした{emotion_names(met)}について、暗示表現の文（感情語を含まない）から作ったベクトル"
            "（`vector_style=implicit`、層と α も選び直す）でも効果が残るかを確かめる。残らなければ、語の再現と区別できない。"
        )
    if not outcome.enough_controls:
        return [*lines, "- このプロファイルの対照方向の数では順位 p が判定基準に届かない。判定には `quick` を用いる。"]
    return lines + _open_lines([e for e in map(str, outcome.verdicts.index) if e not in met], outcome)


def _with_room(outcome: Outcome, emotions: list[str], *, room: bool) -> list[str]:
    within = outcome.broken_findings["within"].astype(bool)
    return [emotion for emotion in emotions if bool(within[emotion]) is room]


def _open_lines(emotions: list[str], outcome: Outcome) -> list[str]:
    lines = []
    if roomy := _with_room(outcome, emotions, room=True):
        lines.append(
            f"- {emotion_names(roomy)}は条件を満たさなかった。破綻率には余裕があるため、別の層や、より強い α で確かめる。"
        )
    if full := _with_room(outcome, emotions, room=False):
        lines.append(
            f"- {emotion_names(full)}は条件を満たさなかった。すでに破綻が多いため α は強めず、別の層、弱い α、指標の捉え方から見直す。"
        )
    return lines


def _edge_lines(outcome: Outcome) -> list[str]:
    """Where a choice lies at the end of what was tried; stronger steers only where broken texts leave room."""
    lines = []
    emotions = [str(emotion) for emotion in outcome.broken_findings.index]
    roomy = _with_room(outcome, emotions, room=True)
    for row in edges(outcome.points).to_dict("records"):
        start = f"- {row['part'] + ': ' if row['part'] else ''}選ばれた"
        if row["layer_at_edge"]:
            lines.append(f"{start}層 {row['layer']} は試した範囲の端にある。範囲を広げて確かめる。")
        if row["alpha_at"] == "top":
            text = f"{start} α = {row['alpha']:g} は試した範囲の上端にある。"
            if not roomy:
                text += "どの感情も破綻がすでに多いため、α は広げない。"
            elif len(roomy) < len(emotions):
                text += (
                    f"破綻率に余裕があるのは{emotion_names(roomy)}だけであり、より強い α はその感情に限って確かめる。"
                )
            else:
                text += "破綻率には余裕があるため、より強い α も確かめる。"
            lines.append(text)
        elif row["alpha_at"] == "bottom":
            lines.append(f"{start} α = {row['alpha']:g} は試した範囲の下端にある。より弱い α も確かめる。")
    return lines
