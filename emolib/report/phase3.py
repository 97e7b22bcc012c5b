"""Phase 3's sentences and tables."""

from __future__ import annotations

import numpy as np
import pandas as pd
from IPython.display import Markdown

from emolib.activations import Activations
from emolib.report.common import emotion_name, metric_name, tidy


def layers_shown(n_layers: int, count: int = 7) -> list[int]:
    """A few layers, evenly spread, for the tables beside the figures."""
    return sorted({round(i * n_layers / (count - 1)) for i in range(count)})


def norm_rows(table: pd.DataFrame) -> pd.DataFrame:
    """L1, L2 and L2 as a share of the residual norm; emotions down, layers across."""
    kinds = {"l1": "L1", "l2": "L2", "l2_share": "L2 / 残差"}
    return _layers_across(table.assign(emotion=table["emotion"].map(emotion_name)), "emotion", "感情", kinds, digits=3)


def cosine_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Cosine of every pair, three ways; pairs down, layers across."""
    kinds = {"raw": "生", "standardised": "標準化", "trimmed": "除去"}
    return _layers_across(table.assign(pair=table["pair"].map(pair_name)), "pair", "組", kinds, digits=2)


def _layers_across(table: pd.DataFrame, key: str, key_name: str, kinds: dict[str, str], *, digits: int) -> pd.DataFrame:
    shown = table[table["layer"].isin(layers_shown(int(table["layer"].max())))]
    long = shown.rename(columns=kinds).melt([key, "layer"], list(kinds.values()), var_name="量")
    wide = long.pivot(index=["量", key], columns="layer", values="value")
    order = [(kind, name) for kind in kinds.values() for name in dict.fromkeys(shown[key])]
    wide = wide.reindex(pd.MultiIndex.from_tuples(order, names=["量", key_name]))
    wide.columns = [f"層 {layer}" for layer in wide.columns]
    return tidy(wide, digits=digits)


def cosine_curves(table: pd.DataFrame) -> pd.DataFrame:
    """Long form for the figure: layer, pair, kind, value."""
    kinds = {"raw": "生", "standardised": "標準化", "trimmed": "除去"}
    shown = table.assign(pair=table["pair"].map(pair_name)).rename(columns=kinds)
    return shown.melt(["pair", "layer"], list(kinds.values()), var_name="kind", value_name="value")


def component_rows(train: Activations, coordinates: np.ndarray, shares: np.ndarray, layer: int) -> pd.DataFrame:
    """Centroid of every label on the principal components, in units of each component's sd; and the variance shares."""
    scaled = coordinates / coordinates.std(axis=0)
    columns = [f"PC{i + 1}（分散 {share:.0%}）" for i, share in enumerate(shares)]
    table = pd.DataFrame(scaled, columns=columns).groupby(train.texts["emotion"].map(emotion_name), sort=False).mean()
    return tidy(table.rename_axis(f"ラベル（層 {layer}）"), digits=1)


def pair_name(pair: str) -> str:
    return "–".join(emotion_name(name) for name in pair.split("–"))


def stability_rows(table: pd.DataFrame) -> pd.DataFrame:
    shown = table[table["layer"].isin(layers_shown(int(table["layer"].max())))].copy()
    shown["emotion"] = shown["emotion"].map(emotion_name)
    names = {
        "emotion": "感情",
        "layer": "層",
        "mean": "平均",
        "low": "2.5 %",
        "high": "97.5 %",
        "shuffled": "シャッフル",
    }
    return tidy(shown, digits=2, names=names).set_index(["感情", "層"])


def probe_rows(chosen: pd.DataFrame) -> pd.DataFrame:
    names = {
        "emotion": "感情",
        "layer": "選んだ層",
        "validation_auc": "検証 AUC",
        "test_auc": "テスト AUC",
        "shuffled_mean": "シャッフル平均",
        "shuffled_max": "シャッフル最大",
    }
    return tidy(chosen.assign(emotion=chosen["emotion"].map(emotion_name)), digits=2, names=names).set_index("感情")


def projection_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Rank correlations of the projections with the scores, emotions down."""
    names = {"emotion": "ベクトル", "layer": "層", "n": "テキスト数", "null": "帰無の 97.5 % 点"}
    names |= {column: metric_name(column) for column in table if "/" in column or column == "valence"}
    shown = table.assign(emotion=table["emotion"].map(emotion_name))
    return tidy(shown, digits=2, names=names).set_index("ベクトル")


def projection_sentence(table: pd.DataFrame) -> Markdown:
    """Whether each projection follows its own emotion more than the others, computed."""
    targets = [column for column in table if column.startswith("target/")]
    lines = []
    for row in table.to_dict("records"):
        own = row.get(f"target/{row['emotion']}")
        if own is None or pd.isna(own):
            continue
        name = emotion_name(row["emotion"])
        others = {c: row[c] for c in targets if c != f"target/{row['emotion']}" and not pd.isna(row[c])}
        strongest = max(others, key=others.get, default=None)
        text = f"- {name}: 自分の得点との順位相関 {own:+.2f}（帰無の 97.5 % 点 {row['null']:.2f}）。"
        if own <= row["null"]:
            text += "入れ替えた得点と区別できない。"
        elif strongest is not None and others[strongest] >= own:
            text += f"{metric_name(strongest)}との相関 {others[strongest]:+.2f} の方が大きく、特異的とは言えない。"
        else:
            text += "他の感情の確率との相関より大きい（差の検定はしていない）。"
        lines.append(text)
    return Markdown("\n".join(lines))


def discussion(
    cosines: pd.DataFrame, stability: pd.DataFrame, chosen: pd.DataFrame, styles: pd.DataFrame, n_test: int
) -> Markdown:
    """考察, computed from the tables."""
    lines = []
    last = int(cosines["layer"].max())
    middle = cosines[(cosines["layer"] >= last // 3) & (cosines["layer"] <= 2 * last // 3)]
    means = middle[["raw", "standardised", "trimmed"]].mean()
    lines.append(
        f"- 中間の層（{last // 3}–{2 * last // 3}）での感情ベクトル間コサインの平均は、生 {means['raw']:.2f}、標準化 {means['standardised']:.2f}、"
        f"最大次元の除去後 {means['trimmed']:.2f} である。"
        + (
            "生の値と標準化後の値の差が大きく、生の値だけで「感情どうしは似ている」と読むことはできない。"
            if abs(means["raw"] - means["standardised"]) > 0.15
            else "三つの見方は近く、少数の次元が値を作っているわけではない。"
        )
    )
    if means["standardised"] > 0.5:
        lines.append(
            "- 標準化しても感情どうしのコサインは高い。三つのベクトルは「中立でない」という共通の成分を大きくもち、"
            "感情ごとの違いは残りの成分にある。Phase 5 では、他の感情のベクトルとの差を主張の条件とする。"
        )
    for emotion, part in stability.groupby("emotion", sort=False):
        inner = part[part["layer"] > 0]
        best = inner.loc[inner["mean"].idxmax()]
        beats = best["low"] > best["shuffled"]
        lines.append(
            f"- {emotion_name(emotion)}: 分割半の安定性は層 {int(best['layer'])} で最大 {best['mean']:.2f}"
            f"（無作為分割の 95 % 範囲 {best['low']:.2f}–{best['high']:.2f}、シャッフル {round(best['shuffled'], 2) + 0.0:.2f}）。"
            + ("偶然の水準を上回る。" if beats else "偶然の水準と区別できない。")
        )
    for row in chosen.to_dict("records"):
        verdict = "上回る" if row["test_auc"] > row["shuffled_max"] else "上回らない"
        lines.append(
            f"- {emotion_name(row['emotion'])}: 検証で選んだ層 {row['layer']} の探針はテスト {n_test} シナリオで AUC {row['test_auc']:.2f} を示し、"
            f"シャッフルの最大 {row['shuffled_max']:.2f} を{verdict}。"
        )
    inner = styles[(styles["layer"] >= last // 3) & (styles["layer"] <= 2 * last // 3)]
    agreement = inner.groupby("emotion", sort=False)["cosine"].mean()
    listed = "、".join(f"{emotion_name(e)} {v:.2f}" for e, v in agreement.items())
    lines.append(
        f"- 明示文だけ・暗示文だけから作ったベクトルの中間層でのコサインは {listed}。"
        "感情語の有無に依らない成分がどれだけあるかの目安である（両者の標本誤差だけでも 1 より小さくなる）。"
    )
    lines.append(
        "- 探針の AUC は読み出せることを示すだけで、モデルがその方向を使うことは示さない。因果は Phase 5 で問う。"
    )
    return Markdown("\n".join(lines))
