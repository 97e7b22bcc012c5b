"""Phase 5's 考察 and 次のアクション, computed from the claims."""

from __future__ import annotations

import pandas as pd
from IPython.display import Markdown

from emolib import statistics
from emolib.claims import OperatingPoint
from emolib.config import PatchingParameters
from emolib.phases import phase5, steering
from emolib.phases.run import Run
from emolib.report.common import emotion_name, metric_name, number
from emolib.report.phase5 import overall, verdict
from emolib.scoring.goemotions import matching_labels

NO_DIFFERENCE = 0.005  # in words or in probability
LARGE_CHANGE, UNEQUAL = 0.1, 3  # probabilities whose models differ by such a factor are spoken of


def discussion(
    run: Run, sweep: pd.DataFrame, claims: pd.DataFrame, matrix: pd.DataFrame, broken: pd.DataFrame
) -> Markdown:
    """考察, computed from the claims."""
    params = run.params
    n = int(claims["n"].iloc[0])
    lines = []
    for emotion, part in claims.groupby("emotion", sort=False):
        lines.append(f"- **{emotion_name(emotion)}: {overall(part, params)}**。")
        lines += [f"    - {_claim_sentence(row, params)}" for row in part.to_dict("records")]
    d_min = statistics.minimum_detectable_effect(n)
    lines.append(
        f"- テスト {n} シナリオの対応のある両側 t 検定（5 %）で検出力 0.8 となる最小の効果は d_z ≈ {d_min:.2f} である。"
        "二つの指標と二つの条件を同時に求める本判定の検出力はこれより低く、小さい効果は見逃しうる。"
    )
    lines += _choice_lines(run)
    lines.append(_broken_sentence(broken, params.broken_margin))
    lines += _reliance_lines(steering.scorer_effects(run, sweep))
    lines += _label_lines(steering.label_changes(run, sweep))
    for metric in ("valence", "politeness/score"):
        listed = "、".join(f"{emotion_name(e)} {number(v, signed=True)}" for e, v in matrix[metric].items())
        by_chance = steering.control_effects(sweep, run.emotions[0], metric).mean()
        lines.append(
            f"- {metric_name(metric)}の変化は {listed}（等方的な乱数方向の平均 {number(by_chance, signed=True)}）。"
        )
    lines.append("- 感情価と丁寧さの動きだけでは感情を特定できないため、判定には用いない。")
    lines.append(_direct_sentence(claims, broken, run.lm.n_layers))
    return Markdown("\n".join(lines))


def _choice_lines(run: Run) -> list[str]:
    """Where on validation the effects are large, and which measures had no say in the choice."""
    candidates = steering.pareto(run, phase5.validation_sweep(run))
    best = candidates.loc[candidates.groupby("emotion", sort=False)["effect"].idxmax()].to_dict("records")
    listed = "、".join(
        f"{metric_name(r['metric'])} 層 {r['layer']}・α = {r['alpha']:g}（{number(r['effect'], signed=True)}）"
        for r in best
    )
    lines = [f"- 検証で自−他が最も大きい候補は {listed}（多くの候補から最大を選んだ値であり、大きめに出る）。"]
    tables = pd.concat([point.table for point in phase5.operating_points(run).values()])
    differences = tables[[column for column in tables if column.startswith("difference/")]].abs().max()
    silent = [metric_name(name.removeprefix("difference/")) for name in differences.index[differences < NO_DIFFERENCE]]
    if silent:
        lines.append(f"- {'・'.join(silent)}は検証のどの候補でもほとんど差がなく、動作点は他の指標で決まった。")
    return lines


def _broken_sentence(broken: pd.DataFrame, margin: float) -> str:
    base = float(broken.loc[broken["kind"] == "baseline", "broken"].iloc[0])
    steered = _shares(broken, "emotion")
    listed = "、".join(f"{emotion_name(emotion)} {share:.0%}" for emotion, share in steered.items())
    text = f"- テストでの破綻率はパッチなし {base:.0%} に対して {listed} である。"
    over = steered[steered > base + margin + 1e-9]
    if over.empty:
        return text + f"選択時の上限（パッチなし + {100 * margin:.0f} ポイント）に収まる。"
    names = "・".join(emotion_name(emotion) for emotion in over.index)
    return text + (
        f"{names}は選択時の上限（パッチなし + {100 * margin:.0f} ポイント）をテストでは超えた。"
        "破綻したテキストは成功に数えていないが、これらの感情の操作は読める文を保ちにくい。"
    )


def _shares(broken: pd.DataFrame, kind: str) -> pd.Series:
    """Broken share by emotion over all rows of a kind: in a cross-fitted design an emotion has several layers."""
    rows = broken[broken["kind"] == kind]
    by_emotion = rows.assign(count=rows["broken"] * rows["n"]).groupby("emotion", sort=False)[["count", "n"]].sum()
    return by_emotion["count"] / by_emotion["n"]


def _claim_sentence(row: dict, params: PatchingParameters) -> str:
    words = row["metric"].startswith("keywords/")
    unit, digits = (" 語", 2) if words else (" ", 3)
    own, others, low, high, largest = (
        number(row[key], digits, signed=True) for key in ("own_effect", "vs_others", "ci_low", "ci_high", "random_max")
    )
    start = (
        f"{metric_name(row['metric'])}は{verdict(row, params)}。自分のベクトルで 1 テキストあたり {own}{unit}動き、"
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
        f"減ったプロンプトは {row['wrong_way']:.0%}（破綻もそのまま数えると {row['wrong_way_unfiltered']:.0%}）。"
    )
    return start + middle + end


def _reliance_lines(table: pd.DataFrame) -> list[str]:
    """Where the two GoEmotions models see effects of very different size."""
    lines = []
    for emotion, part in table.groupby("emotion", sort=False):
        own = part.set_index("family")["own"]
        if not {"target_lexical", "target_encoder"} <= set(own.index):
            continue
        small, large = sorted((own["target_lexical"], own["target_encoder"]), key=abs)
        if abs(large) >= LARGE_CHANGE and (small * large <= 0 or abs(large) > UNEQUAL * abs(small)):
            which = "エンコーダ" if large == own["target_encoder"] else "n-gram"
            lines.append(
                f"- {emotion_name(emotion)}の確率の変化は n-gram {number(own['target_lexical'], signed=True)}、"
                f"エンコーダ {number(own['target_encoder'], signed=True)} であり、この指標の値は{which}に大きく依る。"
            )
    return lines


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
    supported = claims[claims["supported"]]
    text = f"- 直接経路（最終残差 {n_layers} に、その層の感情ベクトルを同じ α で加える）での自分の指標の変化は、破綻もそのまま数えて、"
    if supported.empty:
        return (
            text + f"最大 {number(claims['direct_path'].max(), signed=True)} である。"
            "支持された主張がないため、効果の経路は論じない。"
        )
    parts = [
        f"{metric_name(row['metric'])} {number(row['direct_path'], signed=True)}"
        f"（選んだ層では {number(row['own_effect_unfiltered'], signed=True)}）"
        for row in supported.to_dict("records")
    ]
    shares = _shares(broken, "direct_path")[list(dict.fromkeys(supported["emotion"]))]
    listed = "、".join(f"{emotion_name(emotion)} {share:.0%}" for emotion, share in shares.items())
    text += f"{'、'.join(parts)}である（破綻率 {listed}）。"
    if (supported["direct_path"] < supported["own_effect_unfiltered"] / 3).all():
        return text + (
            "語彙への直接の押し上げだけでは効果を説明しにくい。"
            "ただし層が異なればベクトルも異なるため、経路の割合までは分からない。"
        )
    return text + "直接経路の寄与が無視できず、後段の計算を通るという解釈は支持されない。"


def next_actions(claims: pd.DataFrame, params: PatchingParameters, point: OperatingPoint) -> Markdown:
    """次のアクション, computed."""
    lines = []
    open_claims = [e for e, part in claims.groupby("emotion", sort=False) if overall(part, params) != "支持"]
    if open_claims and params.n_controls >= 59:
        names = "・".join(emotion_name(e) for e in open_claims)
        lines.append(f"- {names}は支持されなかった。暗示文から作ったベクトルや別の層の範囲で確かめる。")
    if params.n_controls < 59:
        lines.append("- このプロファイルの対照方向の数では順位 p が判定基準に届かない。判定には `quick` を用いる。")
    tried = sorted(set(point.table["layer"]))
    if point.layer in (tried[0], tried[-1]):
        lines.append(f"- 選ばれた層 {point.layer} は試した範囲の端にある。範囲を広げて確かめる。")
    strengths = sorted(set(point.table["alpha"]))
    if point.alpha in (strengths[0], strengths[-1]):
        lines.append(f"- 選ばれた α = {point.alpha:g} は試した範囲の端にある。範囲を広げて確かめる。")
    lines.append("- Phase 7 で、効果量と区間、検出力、多重比較の補正をまとめて調べる。")
    return Markdown("\n".join(lines))
