"""Phase 3's sentences and tables about the vectors and subspaces themselves."""

from __future__ import annotations

import pandas as pd
from IPython.display import Markdown

from emolib.plots import figures
from emolib.report.ja.every_report import none_at_hand
from emolib.report.ja.names import MOST_DRAWN, POSITION_NAMES, STYLE_NAMES, emotion_name
from emolib.report.markup import layers_shown, number, show, tidy, with_interval
from emolib.study.run import Run

VIEWS = {"raw": "生", "standardised": "標準化", "trimmed": "除去", "whitened": "白色化"}
FITTED_ON = {"all": "全ての文", "implicit": "暗示文だけ", "adjusted": "表層を除去"}
MOST_PAIRS = 10
MOST_NAMED = 6
LARGE_GAP = 0.15
EQUIDISTANT = 0.5  # the cosine of (a - c) and (b - c) where a, b and c are equally far from each other


def drawn(table: pd.DataFrame, column: str = "emotion") -> pd.DataFrame:
    """The rows of the first few labels: more lines than that cannot be told apart."""
    return table[table[column].isin(list(dict.fromkeys(table[column]))[:MOST_DRAWN])]


def norm_rows(table: pd.DataFrame) -> pd.DataFrame:
    """L1, L2 and L2 as a share of the residual norm; emotions down, layers across."""
    kinds = {"l1": "L1", "l2": "L2", "l2_share": "L2 / 残差"}
    return _layers_across(table.assign(emotion=table["emotion"].map(emotion_name)), "emotion", "感情", kinds, digits=3)


def position_rows(table: pd.DataFrame) -> pd.DataFrame:
    """L2 as a share of the residual norm at every position."""
    shown = table.assign(
        label=[
            f"{POSITION_NAMES[p]}・{emotion_name(e)}" for p, e in zip(table["position"], table["emotion"], strict=True)
        ]
    )
    return _layers_across(shown, "label", "位置・感情", {"l2_share": "L2 / 残差"}, digits=3)


def cosine_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Cosine of the most alike pairs in every view; pairs down, layers across."""
    if table.empty:
        return none_at_hand()
    kinds = {key: name for key, name in VIEWS.items() if key in table}
    table = table[table["pair"].isin(_most_alike(table, MOST_PAIRS))]
    return _layers_across(table.assign(pair=pair_names(table)), "pair", "組", kinds, digits=2)


def _layers_across(table: pd.DataFrame, key: str, key_name: str, kinds: dict[str, str], *, digits: int) -> pd.DataFrame:
    shown = table[table["layer"].isin(layers_shown(int(table["layer"].max())))]
    long = shown.rename(columns=kinds).melt([key, "layer"], list(kinds.values()), var_name="量")
    wide = long.pivot(index=["量", key], columns="layer", values="value")
    order = [(kind, name) for kind in kinds.values() for name in dict.fromkeys(shown[key])]
    wide = wide.reindex(pd.MultiIndex.from_tuples(order, names=["量", key_name]))
    wide.columns = [f"層 {layer}" for layer in wide.columns]
    return tidy(wide, digits=digits)


def _most_alike(table: pd.DataFrame, count: int) -> list[str]:
    """The pairs with the largest mean standardised cosine, all where they are few."""
    means = table.groupby("pair", sort=False)["standardised"].mean().abs()
    return list(means.index) if len(means) <= count else list(means.nlargest(count).index)


def cosine_curves(table: pd.DataFrame) -> pd.DataFrame:
    """Long form for the figure: layer, pair, kind, value."""
    kinds = {key: name for key, name in VIEWS.items() if key in table}
    table = table[table["pair"].isin(_most_alike(table, MOST_DRAWN // 2))]
    shown = table.assign(pair=pair_names(table)).rename(columns=kinds)
    return shown.melt(["pair", "layer"], list(kinds.values()), var_name="kind", value_name="value")


def pair_matrix(table: pd.DataFrame, value: str, diagonal: float, layers: range | None = None) -> pd.DataFrame:
    """A symmetric matrix of a pair table's column, averaged over layers (all above 0 by default).

    Without any pair there is one emotion alone, of which only the diagonal is known.
    """
    if table.empty:
        return pd.DataFrame([[diagonal]], index=["感情は一つ"], columns=["感情は一つ"])
    kept = table[table["layer"].isin(layers) if layers is not None else table["layer"] > 0]
    means = kept.groupby(["first", "second"], sort=False)[value].mean()
    names = list(dict.fromkeys(name for pair in means.index for name in pair))
    matrix = pd.DataFrame(diagonal, index=names, columns=names, dtype=float)
    for (first, second), mean in means.items():
        matrix.loc[first, second] = matrix.loc[second, first] = mean
    return matrix.rename(index=emotion_name, columns=emotion_name)


def matrix_rows(matrix: pd.DataFrame) -> pd.DataFrame:
    """The matrix rounded, as long as a page holds it."""
    return tidy(matrix.iloc[:MOST_PAIRS, :MOST_PAIRS], digits=2)


def pair_names(table: pd.DataFrame) -> list[str]:
    return [f"{emotion_name(a)}–{emotion_name(b)}" for a, b in zip(table["first"], table["second"], strict=True)]


def stability_rows(table: pd.DataFrame) -> pd.DataFrame:
    shown = table[table["layer"].isin(layers_shown(int(table["layer"].max())))].copy()
    shown["emotion"] = shown["emotion"].map(emotion_name)
    names = {
        "emotion": "感情",
        "layer": "層",
        "mean": "平均",
        "low": "95 % 下限",
        "high": "95 % 上限",
        "shuffled": "シャッフル平均",
        "shuffled_high": "シャッフル 97.5 %",
    }
    return tidy(shown, digits=2, names=names).set_index(["感情", "層"])


def separation_rows(table: pd.DataFrame, position: str = "mean") -> pd.DataFrame:
    """Every variant's layer and test AUC at one position, beside its nulls."""
    shown = table[table["position"] == position]
    rows = {
        "感情": shown["emotion"].map(emotion_name),
        "見方": shown["variant"].map(VIEWS),
        "選んだ層": shown["layer"],
        "検証 AUC": shown["validation_auc"].round(2),
        "テスト AUC [95 % 区間]": [with_interval(*v) for v in shown[["auc", "low", "high"]].to_numpy()],
        "乱数方向の 97.5 % 点": shown["random_high"].round(2),
        "シャッフルの 97.5 % 点": shown["shuffled_high"].round(2),
    }
    return pd.DataFrame(rows).set_index(["感情", "見方"])


def position_separation_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Test AUC of the raw vector of every position."""
    raw = table[table["variant"] == "raw"]
    cells = [f"{with_interval(*v[:3])}（層 {int(v[3])}）" for v in raw[["auc", "low", "high", "layer"]].to_numpy()]
    shown = raw.assign(
        cell=cells, emotion=raw["emotion"].map(emotion_name), position=raw["position"].map(POSITION_NAMES)
    )
    wide = shown.pivot(index="emotion", columns="position", values="cell")
    wide = wide.reindex(index=shown["emotion"].unique(), columns=shown["position"].unique())
    return wide.rename_axis(index="感情", columns=None)


def separation_sentence(table: pd.DataFrame) -> Markdown:
    """Which view and which position separates best, and whether anything beats its nulls."""
    mean = table[table["position"] == "mean"]
    lines = []
    for emotion, part in mean.groupby("emotion", sort=False):
        if part["low"].isna().all():
            lines.append(f"- {emotion_name(emotion)}: テスト AUC を計算できないため、判定しない。")
            continue
        above = part[part["low"] > part[["random_high", "shuffled_high"]].max(axis=1)]
        name = emotion_name(emotion)
        if above.empty:
            lines.append(f"- {name}: どの見方も、区間の下限が乱数方向・シャッフルの 97.5 % 点を上回らない。")
            continue
        views = "・".join(VIEWS[v] for v in above["variant"])
        best = part.loc[part["validation_auc"].idxmax()]
        lines.append(
            f"- {name}: {views}のベクトルへの射影だけで、見ていないシナリオの感情文と中立文を対照の 97.5 % 点より良く分ける。"
            f"検証で最良の見方は{VIEWS[best['variant']]}で、テスト AUC は {number(best['auc'])} である。"
        )
    return Markdown("\n".join(lines))


def restricted_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Vectors from implicit texts alone, or with the surface regressed out, beside those from all texts."""
    cells = [with_interval(*v) for v in table[["auc", "low", "high"]].to_numpy()]
    tested = [f"テスト: {STYLE_NAMES.get(s, s)}" for s in table["tested_on"]]
    shown = table.assign(cell=cells, tested=tested, emotion=table["emotion"].map(emotion_name))
    shown["fitted_on"] = shown["fitted_on"].map(FITTED_ON)
    keys = ["emotion", "fitted_on", "layer", "cosine"]
    shown["cosine"] = shown["cosine"].map(number)
    wide = shown.pivot(index=keys, columns="tested", values="cell").reindex(columns=list(dict.fromkeys(tested)))
    wide = wide.reindex(list(dict.fromkeys(zip(*(shown[key] for key in keys), strict=True)))).reset_index()
    wide.columns.name = None
    order = {name: i for i, name in enumerate(dict.fromkeys(shown["emotion"]))}
    wide = wide.sort_values("emotion", key=lambda c: c.map(order), kind="stable")
    names = {"emotion": "感情", "fitted_on": "作った文", "layer": "層", "cosine": "全ての文とのコサイン"}
    return wide.rename(columns=names).set_index(["感情", "作った文"]).fillna("—")


def restricted_sentence(table: pd.DataFrame) -> Markdown:
    """Whether a vector that never saw an emotion word still separates, and what taking out the surface changes."""
    lines = []
    implicit = table[(table["fitted_on"] == "implicit") & (table["tested_on"] == "implicit")]
    for row in implicit.to_dict("records"):
        if pd.isna(row["low"]):
            lines.append(f"- {emotion_name(row['emotion'])}: 暗示文での AUC を計算できないため、判定しない。")
            continue
        better = row["low"] > 0.5
        lines.append(
            f"- {emotion_name(row['emotion'])}: 暗示文だけのベクトルは、テストの暗示文を AUC "
            f"{with_interval(row['auc'], row['low'], row['high'])} で中立文と分ける。"
            + ("0.5 を上回る（乱数方向とは比べていない）。" if better else "偶然（0.5）と区別できない。")
        )
    adjusted = table[(table["fitted_on"] == "adjusted") & (table["tested_on"] == "all")]
    if adjusted.empty:
        lines.append(
            "- 代名詞・句読点・長さだけで AUC 0.65 を超えて見分けられるラベルは Phase 1 で見つからないため、表層は除去していない。"
        )
    else:
        everything = table[(table["fitted_on"] == "all") & (table["tested_on"] == "all")].set_index("emotion")["auc"]
        listed = "、".join(
            f"{emotion_name(r['emotion'])} {number(everything[r['emotion']])} → {number(r['auc'])}（コサイン {number(r['cosine'])}）"
            for r in adjusted.to_dict("records")
        )
        lines.append(
            "- Phase 1 では代名詞・句読点・長さだけでもラベルが見分けられる（AUC > 0.65）。"
            f"これらを回帰で除いた場合のテスト AUC は {listed}。"
        )
    return Markdown("\n".join(lines))


def share_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Share of the squared paired differences in the first k directions; layers across."""
    sizes = [k for k in (1, 2, 4, 8) if k in set(table["k"])]
    shown = table[table["k"].isin(sizes)].assign(emotion=table["emotion"].map(emotion_name))
    wide = shown[shown["layer"].isin(layers_shown(int(table["layer"].max())))]
    wide = wide.pivot(index=["emotion", "k"], columns="layer", values="share")
    wide.columns = [f"層 {layer}" for layer in wide.columns]
    order = pd.MultiIndex.from_product([dict.fromkeys(shown["emotion"]), sizes], names=["感情", "k"])
    return tidy(wide.reindex(order), digits=2)


def overlap_curves(table: pd.DataFrame, layers: dict[str, int]) -> pd.DataFrame:
    """Split-half overlap at each emotion's layer, for the figure over k."""
    return table[table["layer"] == table["emotion"].map(layers)]


def overlap_rows(table: pd.DataFrame, layers: dict[str, int]) -> pd.DataFrame:
    shown = overlap_curves(table, layers)
    shown = shown[shown["k"].isin((1, 2, 4, 8))].assign(emotion=shown["emotion"].map(emotion_name))
    names = {
        "emotion": "感情",
        "layer": "層",
        "mean": "分割半の重なり",
        "low": "分割の 2.5 % 点",
        "high": "分割の 97.5 % 点",
    }
    names |= {"null": "シャッフル平均", "null_high": "シャッフル 97.5 %"}
    return tidy(shown, digits=2, names=names).set_index(["感情", "k"])


def k_rows(table: pd.DataFrame) -> pd.DataFrame:
    """The chosen k, its excess on validation, and the overlap on test beside its null."""
    if table.empty:
        return none_at_hand()
    names = {
        "emotion": "感情",
        "layer": "層",
        "k": "選んだ k",
        "excess": "検証の超過",
        "best_excess": "最良の超過",
        "null_max": "超過の帰無（最大値の 97.5 % 点）",
        "test_overlap": "テストの重なり",
        "test_null": "シャッフル平均",
        "test_null_high": "シャッフル 97.5 %",
    }
    return tidy(table[list(names)].assign(emotion=table["emotion"].map(emotion_name)), digits=2, names=names).set_index(
        "感情"
    )


def subspace_sentence(table: pd.DataFrame, topics: pd.DataFrame) -> Markdown:
    """What the subspaces hold, from the chosen k and from plain PCA."""
    lines = []
    if table.empty and topics["emotion"].nunique() > 1:
        lines.append("- 検証またはテストのシナリオが少なく、そこから部分空間を作れないため、k は選ばない。")
    elif table.empty:
        lines.append(
            "- 中立のほかに感情が一つしかない。二つのラベルの入れ替えは差の符号を変えるだけで、部分空間の帰無にならないため、k は選ばない。"
        )
    for row in table.to_dict("records"):
        name = emotion_name(row["emotion"])
        if not row["found"]:
            lines.append(
                f"- {name}: 検証シナリオとの重なりは、入れ替えたラベルの範囲を出ない。"
                "ラベルに固有の部分空間があるとは言えず、k に意味はない。"
            )
            continue
        if pd.isna(row["test_overlap"]):
            lines.append(f"- {name}: 規則が選ぶ k は {row['k']}。テストでの重なりは計算できないため、判定しない。")
            continue
        beyond = row["test_overlap"] > row["test_null_high"]
        lines.append(
            f"- {name}: 規則が選ぶ k は {row['k']}。テストシナリオの部分空間との重なりは {number(row['test_overlap'])} で、"
            f"シャッフルの 97.5 % 点 {number(row['test_null_high'])} を{'上回る' if beyond else '上回らない'}。"
        )
    first = topics[topics["k"] == 1]
    if len(first):
        shared, own = first["with_neutral"].mean(), first["with_differences"].mean()
        lines.append(
            f"- 参考: ラベルごとの素の主成分（第 1 成分）は、中立文の第 1 成分と平均 {number(shared)}、差の第 1 方向と平均 {number(own)} 重なる。"
            + (
                "素の主成分は、感情による差よりも、中立文にもある変動に近い（帰無とは比べていない）。"
                if shared > own
                else ""
            )
        )
    return Markdown("\n".join(lines))


def cross_model_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Mean and largest raw cosine per pair of models and emotion; the whole table is in the CSV file."""
    if table.empty:
        return none_at_hand()
    groups = table.assign(emotion=table["emotion"].map(emotion_name)).groupby(
        ["model_a", "model_b", "emotion"], sort=False
    )
    shown = groups.agg(mean=("cosine", "mean"), largest=("cosine", lambda c: c.abs().max()), chance=("chance", "first"))
    names = {"mean": "層平均コサイン", "largest": "絶対値の最大", "chance": "乱数方向の 95 % が下回る値"}
    return tidy(shown, digits=3, names=names).rename_axis(["モデル A", "モデル B", "感情"])


def show_cross_model(run: Run, table: pd.DataFrame) -> None:
    """A figure for each of the first few emotions of the raw cosines between models; none where there is one model."""
    pairs = table.assign(pair=table["model_a"] + " – " + table["model_b"], layer=table["layer_a"])
    for emotion in list(dict.fromkeys(pairs["emotion"]))[:MOST_DRAWN]:
        part = pairs[pairs["emotion"] == emotion]
        title = f"モデルどうしの生のコサイン（{emotion_name(emotion)}、座標をそろえていない）"
        fig = figures.lines_by_layer(part, "cosine", "pair", figures.Axes(title, y="コサイン"))
        show(run, fig, f"cross_model_{emotion}")


def cross_model_sentence(table: pd.DataFrame) -> Markdown:
    """The warning that goes with raw cosines between models."""
    if table.empty:
        return Markdown("このプロファイルには、同じ `d_model` でベクトルを作ったモデルが他にない。比較は行っていない。")
    return Markdown(
        "**警告**: 二つのモデルの座標は別々に決まっており、生のコサインは比較にならない。"
        "値が 0 に近くても「共通の方向がない」ことにはならず（回転した同じモデルでも 0 になる）、"
        "座標をそろえる Phase 4 だけがこの問いに答える。"
    )


def discussion(
    cosines: pd.DataFrame, stability: pd.DataFrame, separation: pd.DataFrame, styles: pd.DataFrame
) -> Markdown:
    """考察 about the vectors, computed from the tables."""
    last = int(stability["layer"].max())
    middle = (last // 3, 2 * last // 3)
    lines = _cosine_sentences(cosines, middle)
    raw = separation[(separation["variant"] == "raw") & (separation["position"] == "mean")]
    layers = raw.dropna(subset=["layer"]).set_index("emotion")["layer"].to_dict()
    lines += [_stability_sentence(e, part, layers.get(e)) for e, part in stability.groupby("emotion", sort=False)]
    inner = styles[styles["layer"].between(*middle)]
    if len(inner):
        agreement = inner.groupby("emotion", sort=False)["cosine"].mean()
        listed = "、".join(f"{emotion_name(e)} {number(v)}" for e, v in agreement.items())
        lines.append(
            f"- 明示文だけ・暗示文だけから作ったベクトルの中間層でのコサインは {listed}。"
            "感情語の有無に依らない成分がどれだけあるかの目安である（両者の標本誤差だけでも 1 より小さくなる）。"
        )
    lines.append(_raw_separation_sentence(separation))
    return Markdown("\n".join(lines))


def _cosine_sentences(cosines: pd.DataFrame, middle: tuple[int, int]) -> list[str]:
    """How alike the vectors are in the middle layers, and whether a few dimensions make it so."""
    inner = cosines[cosines["layer"].between(*middle)]
    means = inner[[key for key in VIEWS if key in inner]].mean()
    if inner.empty or means[["raw", "standardised", "trimmed"]].isna().any():
        return ["- 比べる感情の組がないため、感情ベクトルどうしのコサインからは何も言えない。"]
    listed = "、".join(f"{VIEWS[key]} {number(value)}" for key, value in means.items())
    apart = [VIEWS[key] for key in ("standardised", "trimmed") if abs(means["raw"] - means[key]) > LARGE_GAP]
    lines = [
        f"- 中間の層（{middle[0]}–{middle[1]}）での感情ベクトル間コサインの平均は、{listed} である。"
        + (
            f"生の値と{'・'.join(apart)}後の値の差が大きく、生の値だけで感情どうしの近さを読むことはできない。"
            if apart
            else "生・標準化・除去は近く、少数の次元が値を作っているわけではない。"
        )
    ]
    if means["standardised"] > EQUIDISTANT:
        lines.append(
            f"- 標準化しても感情どうしのコサインは {number(means['standardised'])} である。どのベクトルも同じ中立の平均を引くため、"
            f"ラベルの平均が互いに等距離でもコサインは {EQUIDISTANT:g} になる。それを上回る分だけ、感情の平均どうしは中立よりも互いに近い。"
            "この共通の成分が感情一般か、中立文の書き方かは区別できない。Phase 5 では、他の感情のベクトルとの差を主張の条件とする。"
        )
    return lines


def _stability_sentence(emotion: str, table: pd.DataFrame, layer: float | None) -> str:
    """One emotion's split-half cosine at the layer that validation chose, beside shuffled labels, and where it fails."""
    known = table[table["layer"] > 0].dropna(subset=["mean", "low", "shuffled_high"])
    if known.empty:
        return f"- {emotion_name(emotion)}: 分割半の安定性は計算できないため、判定しない。"
    at = known[known["layer"] == layer]
    row, how = (at.iloc[0], "検証で選んだ") if len(at) else (known.loc[known["mean"].idxmax()], "最大となる")
    above = known["low"] > known["shuffled_high"]
    text = (
        f"- {emotion_name(emotion)}: {how}層 {int(row['layer'])} での分割半の安定性は "
        f"{with_interval(row['mean'], row['low'], row['high'])}、シャッフルの 97.5 % 点は {number(row['shuffled_high'])}。"
        + ("偶然の水準を上回る。" if row["low"] > row["shuffled_high"] else "偶然の水準と区別できない。")
        + f"基準を満たすのは {len(known)} 層中 {int(above.sum())} 層である。"
    )
    failed = [str(int(number)) for number in known.loc[~above, "layer"]]
    return text + (f"満たさない層: {', '.join(failed)}。" if 0 < len(failed) <= MOST_NAMED else "")


def _raw_separation_sentence(table: pd.DataFrame) -> str:
    """Whether the plain vectors at the mean tell test texts apart, and what that does not mean."""
    raw = table[(table["variant"] == "raw") & (table["position"] == "mean")].dropna(subset=["low"])
    if raw.empty:
        return "- 生のベクトルへの射影のテスト AUC は計算できないため、判定しない。"
    passed = raw[raw["low"] > raw[["random_high", "shuffled_high"]].max(axis=1)]
    names = "・".join(emotion_name(e) for e in passed["emotion"])
    return (
        f"- 生のベクトルへの射影だけで、{names}のテスト文を対照の 97.5 % 点より良く分ける。"
        if len(passed)
        else "- 生のベクトルへの射影は、どの感情のテスト文も対照の 97.5 % 点より良く分けない。"
    ) + "分けられることは、モデルがその方向を使うことを意味しない。因果は Phase 5 で問う。"
