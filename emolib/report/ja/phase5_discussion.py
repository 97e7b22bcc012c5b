"""Phase 5's 考察 and 次のアクション, computed from the claims."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from IPython.display import Markdown

from emolib.base.parameters import PatchingParameters
from emolib.report.ja.every_report import emotion_name, metric_name, number
from emolib.report.ja.phase5 import overall, verdict
from emolib.report.ja.phase5_candidates import rule_sentence
from emolib.report.ja.phase5_other_style import other_style_lines
from emolib.report.ja.phase5_robustness import (
    NO_DIFFERENCE,
    phrase_lines,
    scorer_lines,
    typical_sentence,
    unfiltered_lines,
    unit_of,
)
from emolib.scoring.goemotions import matching_labels
from emolib.statistics import intervals
from emolib.steering.candidates import ceilings
from emolib.steering.effects import control_effects
from emolib.steering.operating_point import OperatingPoint
from emolib.study import phase5_steering as study
from emolib.study.run import Run

DIRECT_SHARE = 3  # a direct path below a third of the effect is called small; no test stands behind it


def discussion(
    run: Run,
    sweep: pd.DataFrame,
    claims: pd.DataFrame,
    matrix: pd.DataFrame,
    broken: pd.DataFrame,
    other: pd.DataFrame | None,
) -> Markdown:
    """考察, computed from the claims.

    Args:
        other: `emolib.study.phase5_steering.other_style.claims`.
    """
    params = run.params
    n = int(claims["n"].iloc[0])
    lines = []
    for emotion, part in claims.groupby("emotion", sort=False):
        lines.append(f"- **{emotion_name(emotion)}: {overall(part, params)}**。")
        lines += [f"    - {_claim_sentence(row, params)}" for row in part.to_dict("records")]
    d_min = intervals.minimum_detectable_effect(n)
    lines.append(
        f"- テスト {n} シナリオの対応のある両側 t 検定（5 %）で検出力 0.8 となる最小の効果は d_z ≈ {d_min:.2f} である。"
        "二つの指標と二つの条件を同時に求める本判定の検出力はこれより低く、小さい効果は見逃しうる。"
    )
    lines += [f"- {line}" for line in other_style_lines(run, other, claims)]
    lines += unfiltered_lines(claims, params)
    lines += _choice_lines(run)
    lines += _ceiling_lines(ceilings(study.operating_points(run), study.validation_sweep(run), params.broken_margin))
    lines.append(_broken_sentence(broken, params.broken_margin))
    lines += scorer_lines(study.scorer_effects(run), params)
    lines += phrase_lines(study.stock_phrases(run))
    lines += _label_lines(study.label_changes(run))
    for metric in ("valence", "politeness/score"):
        listed = "、".join(f"{emotion_name(e)} {number(v, signed=True)}" for e, v in matrix[metric].items())
        by_chance = control_effects(sweep, run.emotions[0], metric).mean()
        lines.append(
            f"- {metric_name(metric)}の変化は {listed}（等方的な乱数方向の平均 {number(by_chance, signed=True)}）。"
        )
    lines.append("- 感情価と丁寧さの動きだけでは感情を特定できないため、判定には用いない。")
    lines.append(_direct_sentence(claims, broken, run.lm.n_layers))
    return Markdown("\n".join(lines))


def _choice_lines(run: Run) -> list[str]:
    """Where on validation the effects are large, and which measures had no say in the choice."""
    candidates = study.pareto(run)
    best = candidates.loc[candidates.groupby("emotion", sort=False)["effect"].idxmax()].to_dict("records")
    listed = "、".join(
        f"{metric_name(r['metric'])} 層 {r['layer']}・α = {r['alpha']:g}（{number(r['effect'], signed=True)}）"
        for r in best
    )
    lines = [
        f"- 検証で「自分 − 他感情の平均」が最も大きい候補は {listed}（多くの候補から最大を選んだ値であり、大きめに出る）。"
    ]
    tables = pd.concat([point.table for point in study.operating_points(run).values()])
    differences = tables[[column for column in tables if column.startswith("difference/")]].abs().max()
    silent = [metric_name(name.removeprefix("difference/")) for name in differences.index[differences < NO_DIFFERENCE]]
    if silent:
        lines.append(f"- {'・'.join(silent)}は検証のどの候補でもほとんど差がなく、動作点は他の指標で決まった。")
    return lines


def _ceiling_lines(table: pd.DataFrame) -> list[str]:
    """What the rule on broken texts allowed on validation, per part."""
    return [
        f"- {row['part'] + ': ' if row['part'] else ''}検証でのパッチなしの破綻率は {row['baseline']:.0%}、"
        f"候補の上限は {row['ceiling']:.0%} だった。{rule_sentence(row)}"
        for row in table.to_dict("records")
    ]


def _broken_sentence(broken: pd.DataFrame, margin: float) -> str:
    """The shares on test beside the unpatched texts there; the ceiling of the choice was another, on validation."""
    base = float(broken.loc[broken["kind"] == "baseline", "broken"].iloc[0])
    steered = _shares(broken, "emotion")
    listed = "、".join(f"{emotion_name(emotion)} {share:.0%}" for emotion, share in steered.items())
    text = f"- テストでの破綻率はパッチなし {base:.0%} に対して {listed} である。"
    limit = f"テストのパッチなし + {100 * margin:.0f} ポイント（{min(base + margin, 1):.0%}）"
    over = steered[steered > base + margin + 1e-9]
    if over.empty:
        return text + f"いずれも{limit}に収まる。"
    names = "・".join(emotion_name(emotion) for emotion in over.index)
    return text + (
        f"{names}は{limit}を超える。破綻したテキストは成功に数えていないが、これらの感情の操作は読める文を保ちにくい。"
    )


def _shares(broken: pd.DataFrame, kind: str) -> pd.Series:
    """Broken share by emotion over all rows of a kind: in a cross-fitted design an emotion has several layers."""
    rows = broken[broken["kind"] == kind]
    by_emotion = rows.assign(count=rows["broken"] * rows["n"]).groupby("emotion", sort=False)[["count", "n"]].sum()
    return by_emotion["count"] / by_emotion["n"]


def _claim_sentence(row: dict, params: PatchingParameters) -> str:
    unit, digits = unit_of(row["metric"])
    own, others, low, high, largest = (
        number(row[key], digits, signed=True) for key in ("own_effect", "vs_others", "ci_low", "ci_high", "random_max")
    )
    start = (
        f"{metric_name(row['metric'])}は{verdict(row, params)}。自分のベクトルで 1 テキストあたり {own}{unit or ' '}動き、"
        f"他の感情のベクトルとの差は {others}"
    )
    if row["degenerate"]:
        middle = "（0 でない差が 5 未満か、ばらつきがごく小さいため、区間は計算しない）。"
    else:
        side = "0 を含まない" if row["ci_low"] > 0 or row["ci_high"] < 0 else "0 を含む"
        middle = f"（95 % BCa 区間 {low} 〜 {high}、{side}）。"
    end = (
        f"同じノルムの対照方向（三族、各 {params.n_controls} 本）の最大は {largest}、"
        f"最も厳しい族の片側順位 p = {row['rank_p']:.4f}（基準は p ≤ {row['bar']:.4f}）。"
        f"値が下がったプロンプトは {row['wrong_way']:.0%}（破綻もそのまま数えると {row['wrong_way_unfiltered']:.0%}）。"
    )
    return start + middle + end + typical_sentence(row)


def _label_lines(table: pd.DataFrame) -> list[str]:
    """Vectors under which a label that is not their own rises most."""
    lines = []
    for emotion, row in table.iterrows():
        own, most = matching_labels(emotion), row.idxmax()
        if own and most not in own:
            best = max(own, key=row.get)
            lines.append(
                f"- {emotion_name(emotion)}ベクトルで最も増えたラベルは {most}（{number(row[most], signed=True)}）であり、"
                f"{best} は {number(row[best], signed=True)} である。"
            )
    return lines


def _direct_sentence(claims: pd.DataFrame, broken: pd.DataFrame, n_layers: int) -> str:
    """The direct path beside the vector, every text as it is, for all emotions; another vector than the chosen one."""
    rows = claims.to_dict("records")
    parts = [
        f"{metric_name(row['metric'])} {number(row['direct_path'], unit_of(row['metric'])[1], signed=True)}"
        f"（選んだ層では {number(row['own_effect_unfiltered'], unit_of(row['metric'])[1], signed=True)}）"
        for row in rows
    ]
    shares = _shares(broken, "direct_path")
    listed = "、".join(f"{emotion_name(emotion)} {share:.0%}" for emotion, share in shares.items())
    text = (
        f"- 直接経路（最終残差 {n_layers} に、その層の感情ベクトルを同じ α で加える。選んだ層のものとは別のベクトルである）"
        f"での自分の指標の変化は、破綻もそのまま数えて、{'、'.join(parts)}である（破綻率 {listed}）。"
    )
    return text + _direct_size(claims[claims["supported"]]) + _direct_ahead(rows)


def _direct_size(supported: pd.DataFrame) -> str:
    if supported.empty:
        return "支持された主張がないため、効果の経路は論じない。"
    large = supported[supported["direct_path"] >= supported["own_effect_unfiltered"] / DIRECT_SHARE]
    note = f"選んだ層での変化の 1/{DIRECT_SHARE}（便宜上の目安であり、検定ではない）"
    if len(large):
        names = "・".join(metric_name(name) for name in large["metric"])
        return f"{names}では{note}以上であり、直接経路の寄与を無視できない。"
    return (
        f"支持された指標では、いずれも{note}に満たない。このベクトルが語彙のロジットを直接押し上げる効果は小さいが、"
        "層が異なればベクトルも異なるため、選んだ層のベクトルについての経路の割合は分からない。"
    )


def _direct_ahead(rows: list[dict]) -> str:
    """Rows in which the direct path does more than the vector, broken texts as they are or as 0."""
    listed = []
    for row in rows:
        ways = {
            "破綻もそのまま": ("direct_path", "own_effect_unfiltered"),
            "破綻を 0 として": ("direct_path_counted", "own_effect"),
        }
        digits = unit_of(row["metric"])[1]
        for way, (direct, own) in ways.items():
            if round(row[direct], digits) > round(row[own], digits):
                sizes = " 対 ".join(number(row[key], digits, signed=True) for key in (direct, own))
                listed.append(f"{metric_name(row['metric'])}（{way} {sizes}）")
    return f"直接経路の方が大きいのは{'、'.join(listed)}である。" if listed else "直接経路の方が大きい指標はない。"


def next_actions(
    claims: pd.DataFrame, params: PatchingParameters, points: Mapping[str, OperatingPoint], broken: pd.DataFrame
) -> Markdown:
    """次のアクション, computed."""
    words = {emotion: overall(part, params) for emotion, part in claims.groupby("emotion", sort=False)}
    room = _with_room(broken, params.broken_margin)
    lines = []
    supported = [emotion for emotion, word in words.items() if word == "支持"]
    if supported and params.vector_style != "implicit":
        lines.append(
            f"- まず、支持された{_named(supported)}について、感情語を含まない文から作ったベクトル"
            "（`vector_style=implicit`、層と α も選び直す）でも効果が残るかを確かめる。残らなければ、語の再現と区別できない。"
        )
    if params.n_controls < 59:
        lines.append("- このプロファイルの対照方向の数では順位 p が判定基準に届かない。判定には `quick` を用いる。")
    else:
        lines += _open_lines([emotion for emotion, word in words.items() if word != "支持"], room)
    lines += _edge_lines(points, room)
    lines.append("- Phase 7 で、効果量と区間、検出力、多重比較の補正をまとめて調べる。")
    return Markdown("\n".join(lines))


def _named(emotions: list[str]) -> str:
    return "・".join(emotion_name(emotion) for emotion in emotions)


def _with_room(broken: pd.DataFrame, margin: float) -> dict[str, bool]:
    """Per emotion whether its texts on test break no more often than the margin above the unpatched allows."""
    base = float(broken.loc[broken["kind"] == "baseline", "broken"].iloc[0])
    return {emotion: bool(share <= base + margin + 1e-9) for emotion, share in _shares(broken, "emotion").items()}


def _open_lines(emotions: list[str], room: dict[str, bool]) -> list[str]:
    roomy, full = ([e for e in emotions if room[e] is has] for has in (True, False))
    lines = []
    if roomy:
        lines.append(f"- {_named(roomy)}は支持されなかった。破綻率には余裕があるため、別の層やより強い α で確かめる。")
    if full:
        lines.append(
            f"- {_named(full)}は支持されなかった。すでに破綻が多いため α は強めず、別の層、弱い α、指標の捉え方から見直す。"
        )
    return lines


def _edge_lines(points: Mapping[str, OperatingPoint], room: dict[str, bool]) -> list[str]:
    """Where a choice lies at the end of what was tried; stronger steers only where broken texts leave room."""
    lines = []
    for name, point in points.items():
        start = f"- {name + ': ' if name else ''}選ばれた"
        layers, alphas = (sorted(set(point.table[column])) for column in ("layer", "alpha"))
        if point.layer in (layers[0], layers[-1]):
            lines.append(f"{start}層 {point.layer} は試した範囲の端にある。範囲を広げて確かめる。")
        if point.alpha == alphas[-1]:
            roomy = [emotion for emotion, has in room.items() if has]
            text = f"{start} α = {point.alpha:g} は試した範囲の上端にある。"
            if not roomy:
                text += "どの感情も破綻がすでに多いため、α は広げない。"
            elif len(roomy) < len(room):
                text += f"破綻率に余裕があるのは{_named(roomy)}だけであり、より強い α はその感情に限って確かめる。"
            else:
                text += "破綻率には余裕があるため、より強い α も確かめる。"
            lines.append(text)
        elif point.alpha == alphas[0]:
            lines.append(f"{start} α = {point.alpha:g} は試した範囲の下端にある。より弱い α も確かめる。")
    return lines
