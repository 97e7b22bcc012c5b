"""Phase 2's sentences and tables."""

from __future__ import annotations

import pandas as pd
from IPython.display import Markdown

from emolib.data.activations import Activations
from emolib.report.ja.names import POSITION_NAMES, STYLE_NAMES, emotion_name, metric_name
from emolib.report.markup import layers_shown, number, tidy

SCORES = {"n_tokens": "トークン数"}
EVEN_GROWTH = 1.5  # norms of two layers within this factor are of one size
FAR_LARGER = 2.0  # what a first token's norm has to reach
WEAK = 0.3  # rank correlations up to this size


def storage_rows(table: pd.DataFrame) -> pd.DataFrame:
    """What lies on disk."""
    names = {
        "position": "位置",
        "site": "部位",
        "layers": "層",
        "texts": "テキスト",
        "rows": "行",
        "shape": "1 行の形",
        "type": "型",
        "MiB": "容量 (MiB)",
    }
    shown = table.assign(position=table["position"].map(POSITION_NAMES))
    return tidy(shown, digits=1, names=names).set_index(["位置", "部位"])


def trigger_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Texts with an emotion word, per label and style."""
    shown = table.assign(
        emotion=table["emotion"].map(emotion_name),
        style=table["style"].map(STYLE_NAMES),
        place=["—" if pd.isna(v) else f"{v:.2f}" for v in table["place"]],
    )
    names = {"emotion": "ラベル", "style": "文の種類", "texts": "テキスト数", "found": "感情語あり"}
    names["place"] = "感情語の位置（文頭 0、文末 1）"
    return shown.rename(columns=names).set_index(["ラベル", "文の種類"])


def massive_rows(table: pd.DataFrame, n_layers: int) -> pd.DataFrame:
    """The dimensions with the largest mean absolute value: number, and how many times the median dimension's."""
    shown = table[table["layer"].isin(layers_shown(n_layers))]
    cells = [f"{int(row.dimension)}（{number(row.ratio, 0)} 倍）" for row in shown.itertuples()]
    wide = shown.assign(cell=cells).pivot(index="layer", columns="rank", values="cell")
    wide.columns = [f"{rank} 位" for rank in wide.columns]
    return wide.rename_axis("層")


def cost_rows(table: pd.DataFrame) -> pd.DataFrame:
    names = {
        "texts": "テキスト",
        "tokens": "トークン",
        "seconds": "秒",
        "device": "デバイス",
        "texts_per_s": "テキスト / 秒",
    }
    return tidy(table, digits=1, names=names)


def norm_rows(table: pd.DataFrame) -> pd.DataFrame:
    names = {
        "layer": "層",
        "median_norm": "ノルム中央値",
        "first_token_norm": "先頭トークンのノルム",
        "top1_share": "最大 1 次元の割合",
        "top3_share": "最大 3 次元の割合",
        "top10_share": "最大 10 次元の割合",
    }
    every = max(1, len(table) // 10)
    return tidy(table.iloc[::every], digits=3, names=names).set_index("層")


def norm_curves(table: pd.DataFrame) -> pd.DataFrame:
    """Long form for the figure: layer, kind, value."""
    names = {"median_norm": "中央値（先頭以外）", "first_token_norm": "先頭トークン"}
    return table.rename(columns=names).melt("layer", list(names.values()), var_name="kind", value_name="value")


def correlation_rows(table: pd.DataFrame) -> pd.DataFrame:
    """How the norm goes with each score."""
    shown = table.assign(score=[SCORES.get(name) or metric_name(name) for name in table["score"]])
    names = {
        "score": "得点",
        "n": "テキスト数",
        "layer": "|順位相関| が最大の層",
        "strongest": "その層の順位相関",
        "null": "最大値の帰無の 97.5 % 点",
        "median": "順位相関の全層の中央値",
    }
    return tidy(shown, digits=2, names=names).set_index("得点")


def share_curves(table: pd.DataFrame) -> pd.DataFrame:
    names = {f"top{count}_share": f"最大 {count} 次元" for count in (1, 3, 10)}
    return table.rename(columns=names).melt("layer", list(names.values()), var_name="kind", value_name="value")


def _correlation_sentence(table: pd.DataFrame) -> str:
    """Whether the norm follows an emotion's score, over the maximum that chance gives."""
    lengths = table.loc[table["score"] == "n_tokens", "strongest"]
    others = table[table["score"] != "n_tokens"].dropna(subset=["strongest", "null"])
    if others.empty:
        return "- ノルムと採点器の得点との順位相関は、計算できる得点がないため測っていない。"
    size = others["strongest"].abs()
    beyond = others[size > others["null"]]
    text = (
        f"- ノルムと採点器の得点との順位相関は、層を選んだ後でも絶対値 {number(size.max())} 以下、"
        f"全層の中央値は絶対値 {number(others['median'].abs().max())} 以下である"
        f"（トークン数とは最大 {number(lengths.max(), signed=True)}）。"
    )
    if beyond.empty:
        return text + "どれも、得点を入れ替えたときの最大値の範囲にあり、ノルムを感情の指標とする根拠はない。"
    text += f"{'・'.join(metric_name(name) for name in beyond['score'])}は入れ替えたときの最大値の 97.5 % 点を超える"
    if beyond["strongest"].abs().max() <= WEAK:
        return text + "が、相関は弱く、ノルムを感情の指標とはみなさない。"
    return text + "。ただし層を選んだ値であり、テキストの長さや話題の違いによる相関も除いていない。"


def _massive_sentence(massive: pd.DataFrame) -> str:
    """Whether the same few dimensions are the largest in most layers."""
    first = massive[massive["rank"] == 1].dropna(subset=["ratio"])
    if first.empty:
        return "- 内側の層が抽出した層にないため、絶対値の平均が最大の次元は比べない。"
    counts = first["dimension"].value_counts()
    top, share = int(counts.index[0]), counts.iloc[0] / len(first)
    largest = first.loc[first["ratio"].idxmax()]
    return (
        f"- 絶対値の平均が最大の次元は、内側の層の {share:.0%} で次元 {top} である。"
        f"最も極端なのは層 {int(largest['layer'])} の次元 {int(largest['dimension'])} で、中央の次元の {largest['ratio']:.0f} 倍、"
        f"‖h‖² の {largest['share']:.0%} を占める。"
    )


def _trigger_sentence(triggers: pd.DataFrame) -> str:
    """Whether emotion words occur where they should, and nowhere else."""
    labelled = triggers[triggers["found"] > 0]
    if labelled.empty:
        return "- どのテキストにも、語の一覧にある自分の感情の語がない。感情語の位置のベクトルは作らない。"
    implicit = triggers[(triggers["style"] == "implicit")]
    listed = "、".join(
        f"{emotion_name(e)} {int(p['found'].sum())}/{int(p['texts'].sum())}"
        for e, p in labelled.groupby("emotion", sort=False)
    )
    text = f"- 感情語があるテキストは {listed}。"
    if len(implicit):
        count = int(implicit["found"].sum())
        text += f"暗示文では {count} であり、" + (
            "感情語の位置のベクトルは明示文だけから作られる。" if count == 0 else "暗示文にも語が残っている。"
        )
    return text


def _growth_sentence(table: pd.DataFrame) -> str:
    """Whether norms differ by layer."""
    first, last = (int(table["layer"].iloc[i]) for i in (0, -1))
    growth = float(table["median_norm"].iloc[-1] / table["median_norm"].iloc[0])
    if first == last or pd.isna(growth):
        return "- 比べる層が二つないため、残差ノルムの層による違いは測っていない。"
    text = f"- 残差ノルムの中央値は層 {first} から層 {last} までに {number(growth, 1)} 倍になる。"
    if 1 / EVEN_GROWTH < growth < EVEN_GROWTH:
        return (
            text
            + "両端の層の大きさは近いが、間の層の違いは表にあるとおりである。層をまたぐ掃引では `resid` 単位を用いる。"
        )
    return (
        text + "同じ大きさを加えても、効き方は層によって大きく異なりうる。"
        "感情ベクトルが残差とともにどれだけ増えるかは Phase 3（L2 / 残差）で測る。層をまたぐ掃引では、残差に対する割合をそろえる `resid` 単位を用いる。"
    )


def _first_token_sentence(table: pd.DataFrame) -> str:
    """Whether first tokens are attention sinks, whose norm is of another size."""
    ratio = (table["first_token_norm"] / table["median_norm"]).dropna()
    if ratio.empty:
        return "- 先頭以外のトークンがないため、先頭トークンのノルムは比べない。"
    layer, largest = int(table.loc[ratio.idxmax(), "layer"]), float(ratio.max())
    if largest >= FAR_LARGER:
        return (
            f"- 先頭トークンのノルムは層 {layer} で他のトークンの {number(largest, 0)} 倍に達する。"
            "先頭トークンは平均にもパッチにも含めない。"
        )
    return (
        f"- 先頭トークンのノルムは、最大の層 {layer} でも他のトークンの {number(largest, 1)} 倍であり、桁違いに大きくはない。"
        "それでも、どのモデルも同じに扱うため、先頭トークンは平均にもパッチにも含めない。"
    )


def _share_sentence(table: pd.DataFrame) -> str:
    """Whether a few dimensions hold most of ‖h‖²."""
    known = table.dropna(subset=["top3_share"])
    if known.empty:
        return "- 内側の層が抽出した層にないため、少数の次元が占めるエネルギーは比べない。"
    dominated = known[known["top3_share"] > 0.5]
    if len(dominated):
        layers = dominated["layer"]
        return (
            f"- 最大 3 次元がエネルギー ‖h‖² の半分を超える層が {len(dominated)} 層ある（層 {layers.min()}–{layers.max()} の範囲）。"
            "最終トークンの活性どうしの生のコサイン類似度は、この少数の次元に左右される。平均どうしの差である感情ベクトルでもそうかは、Phase 3 で生・標準化・除去を並べて確かめる。"
        )
    share = float(known["top3_share"].max())
    return f"- 最大 3 次元が占めるエネルギーの割合は最大でも {share:.0%} であり、少数の次元による支配は見られない。"


def discussion(
    acts: Activations,
    table: pd.DataFrame,
    correlations: pd.DataFrame,
    massive: pd.DataFrame,
    triggers: pd.DataFrame,
) -> Markdown:
    """考察, computed from the tables."""
    # of all layers the last, the final residual, is of a kind of its own, as is layer 0, the embedding
    blocks = acts.layer_numbers[:-1] if acts.layers is None else acts.layer_numbers
    inner = [layer for layer in blocks if layer > 0]
    lines = [_growth_sentence(table[table["layer"].isin(blocks)]), _first_token_sentence(table)]
    lines += [_share_sentence(table[table["layer"].isin(inner)])]
    lines += [_massive_sentence(massive[massive["layer"].isin(inner)])]
    lines += [_trigger_sentence(triggers), _correlation_sentence(correlations)]
    return Markdown("\n".join(lines))
