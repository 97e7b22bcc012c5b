"""Phase 2's 結論 and 考察, worded from `emolib.study.activation_findings`."""

from __future__ import annotations

import pandas as pd
from IPython.display import Markdown

from emolib.base.strength import STUDY_UNIT
from emolib.report.ja.frame import three_lines
from emolib.report.ja.names import UNIT_NAMES, emotion_name, metric_name, named
from emolib.report.markup import number
from emolib.study.activation_findings import Dominance, Findings, FirstTokens, Growth, LargestDimension, NormAndScores

ACROSS_LAYERS = (
    f"加える大きさを{UNIT_NAMES[STUDY_UNIT]}（次トークン分布を一定だけ動かす長さ）でそろえる `{STUDY_UNIT}` 単位"
)
INNER = "内側の層（層 0 と最終残差を除く）"


def conclusion(found: Findings) -> Markdown:
    """結論: how uneven the residual stream is, in which layers and dimensions, and what the norm does not tell."""
    sink, dominance = found.first_tokens, found.dominance
    first = {
        "far_larger": f"先頭トークンのノルムは他のトークンの最大 {number(sink.ratio, 0)} 倍に達する",
        "alike": f"先頭トークンのノルムは他のトークンの最大でも {number(sink.ratio, 1)} 倍である",
    }.get(sink.code, "先頭以外のトークンがないため、先頭トークンとは比べられない")
    few = {
        "dominated": f"最大の 3 次元だけでエネルギー ‖h‖² の半分を超える層が {len(dominance.layers)} 層ある",
        "spread": f"最大の 3 次元が占めるエネルギー ‖h‖² の割合は最大でも {number(100 * dominance.share, 0)} % である",
    }.get(dominance.code, f"{INNER}がないため、少数の次元への集中は測れない")
    rests_on = {
        "known": f"絶対値の平均が最大の次元は、{INNER}の {number(100 * found.dimension.share, 0)} % で次元 {found.dimension.dimension} である。"
    }.get(found.dimension.code, f"{INNER}を抽出していないため、特定の次元に依るかは分からない。")
    missing = {
        "unknown": "得点の値が変わらないか採点器がないため、ノルムが感情に対応するかは測れない。",
        "by_chance": "ノルムと採点器の得点との相関は、得点を入れ替えた場合の範囲を出ない。ノルムを感情の指標とする根拠はない。",
        "weak": "ノルムと採点器の得点との相関は弱く、ノルムを感情の指標とはみなさない。",
        "beyond": "ノルムと得点との相関から、長さや話題による分は除けていない。",
    }[found.norm_and_scores.code]
    return three_lines(found=f"{first}。{few}。", rests_on=rests_on, not_measured=missing)


def discussion(found: Findings, triggers: pd.DataFrame) -> Markdown:
    """考察, worded from the findings and the table of emotion words."""
    lines = [
        _growth(found.growth),
        _first_tokens(found.first_tokens),
        _dominance(found.dominance),
        _dimension(found.dimension),
        _triggers(triggers),
        _norm_and_scores(found.norm_and_scores),
    ]
    return Markdown("\n".join(f"- {line}" for line in lines))


def _growth(found: Growth) -> str:
    """Whether norms differ by layer."""
    if found.code == "unknown":
        return "比べる層が二つないため、残差ノルムの層による違いは測っていない。"
    text = f"残差ノルムの中央値は層 {found.first} から層 {found.last} までに {number(found.factor, 1)} 倍になる。"
    if found.code == "even":
        return (
            text
            + f"両端の層の大きさは近いが、間の層の違いは表にあるとおりである。層をまたぐ掃引では、{ACROSS_LAYERS}を用いる。"
        )
    return (
        text + "同じ大きさを加えても、効き方は層によって大きく異なりうる。"
        "感情ベクトルが残差とともにどれだけ増えるかは Phase 3（L2 / 残差）で測る。"
        f"層をまたぐ掃引では、{ACROSS_LAYERS}を用いる。"
    )


def _first_tokens(found: FirstTokens) -> str:
    """Whether first tokens are attention sinks, whose norm is of another size."""
    if found.code == "unknown":
        return "先頭以外のトークンがないため、先頭トークンのノルムは比べない。"
    if found.code == "far_larger":
        return (
            f"先頭トークンのノルムは層 {found.layer} で他のトークンの {number(found.ratio, 0)} 倍に達する。"
            "先頭トークンは平均にもパッチにも含めない。"
        )
    return (
        f"先頭トークンのノルムは、最大の層 {found.layer} でも他のトークンの {number(found.ratio, 1)} 倍であり、桁違いに大きくはない。"
        "それでも、どのモデルも同じに扱うため、先頭トークンは平均にもパッチにも含めない。"
    )


def _dominance(found: Dominance) -> str:
    """Whether a few dimensions hold most of ‖h‖²."""
    if found.code == "unknown":
        return f"{INNER}が抽出した層にないため、少数の次元が占めるエネルギーは比べない。"
    if found.code == "spread":
        return f"最大の 3 次元が占めるエネルギー ‖h‖² の割合は最大でも {number(100 * found.share, 0)} % であり、少数の次元による支配は見られない。"
    return (
        f"最大の 3 次元だけでエネルギー ‖h‖² の半分を超える層が {len(found.layers)} 層ある（層 {min(found.layers)}–{max(found.layers)} の範囲）。"
        "最終トークンの活性どうしの生のコサイン類似度は、この少数の次元に左右される。平均どうしの差である感情ベクトルでもそうかは、Phase 3 で生・標準化・除去を並べて確かめる。"
    )


def _dimension(found: LargestDimension) -> str:
    """Whether the same few dimensions are the largest in most layers."""
    if found.code == "unknown":
        return f"{INNER}が抽出した層にないため、絶対値の平均が最大の次元は比べない。"
    return (
        f"絶対値の平均が最大の次元は、{INNER}の {number(100 * found.share, 0)} % で次元 {found.dimension} である。"
        f"最も極端なのは層 {found.extreme_layer} の次元 {found.extreme_dimension} で、中央の次元の {number(found.ratio, 0)} 倍、"
        f"‖h‖² の {number(100 * found.energy, 0)} % を占める。"
    )


def _triggers(triggers: pd.DataFrame) -> str:
    """Whether emotion words occur where they should, and nowhere else."""
    labelled = triggers[triggers["found"] > 0]
    if labelled.empty:
        return "どのテキストにも、語の一覧にある当該感情の語がない。感情語の位置のベクトルは作らない。"
    implicit = triggers[triggers["style"] == "implicit"]
    listed = "、".join(
        f"{emotion_name(e)} {int(p['found'].sum())}/{int(p['texts'].sum())}"
        for e, p in labelled.groupby("emotion", sort=False)
    )
    text = f"感情語があるテキストは {listed}。"
    if len(implicit):
        count = int(implicit["found"].sum())
        text += f"暗示表現の文では {count} 件であり、" + (
            "感情語の位置のベクトルは明示表現の文だけから作られる。"
            if count == 0
            else "暗示表現の文にも語が残っている。"
        )
    return text


def _norm_and_scores(found: NormAndScores) -> str:
    """Whether the norm follows an emotion's score, over the maximum that chance gives."""
    if found.code == "unknown":
        return "ノルムと採点器の得点との順位相関は、計算できる得点がないため測っていない。"
    text = (
        f"ノルムと採点器の得点との順位相関は、層を選んだ後でも絶対値 {number(found.strongest)} 以下、"
        f"全層の中央値は絶対値 {number(found.median)} 以下である"
        f"（トークン数とは最大 {number(found.length, signed=True)}）。"
    )
    if found.code == "by_chance":
        return text + "採点器の得点はどれも、入れ替えたときの最大値の範囲にあり、ノルムを感情の指標とする根拠はない。"
    text += f"{named(map(metric_name, found.beyond))}は入れ替えたときの最大値の 97.5 % 点を超える"
    if found.code == "weak":
        return text + "が、相関は弱く、ノルムを感情の指標とはみなさない。"
    return text + "。ただし層を選んだ値であり、テキストの長さや話題の違いによる相関も除いていない。"
