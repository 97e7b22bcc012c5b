"""Phase 1's sentences and tables."""

from __future__ import annotations

import pandas as pd
from IPython.display import Markdown

from emolib.report.ja.every_report import none_at_hand
from emolib.report.ja.names import FAMILIES, SPLIT_NAMES, STYLE_NAMES, emotion_name, metric_name
from emolib.report.markup import tidy
from emolib.study.phase1_dataset import LEAK_LIMIT
from emolib.study.run import Run

FEATURES = {
    "surface": "(a) 代名詞・句読点・長さ",
    "function_words": "(b) 機能語",
    "opening": "(c) 冒頭 3 語",
    "keywords": "(d) 感情語リスト",
    "all_words": "(e) 全単語",
    "all_words_shuffled": "帰無（シャッフル）",
}


def count_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Scenarios per split and style (the same for every label)."""
    wide = table.pivot_table(index=["split", "style"], columns="emotion", values="texts", aggfunc="sum", sort=False)
    wide = wide.rename(columns=emotion_name)
    index = [(SPLIT_NAMES[split], STYLE_NAMES.get(style, style)) for split, style in wide.index]
    wide.index = pd.MultiIndex.from_tuples(index, names=["分割", "表現"])
    wide.columns.name = None
    return wide


def length_rows(table: pd.DataFrame) -> pd.DataFrame:
    shown = table.assign(emotion=table["emotion"].map(emotion_name), unit=table["unit"].replace("characters", "文字"))
    names = {"emotion": "ラベル", "unit": "単位", "mean": "平均", "min": "最小", "max": "最大", "sd": "標準偏差"}
    return tidy(shown, digits=1, names=names).set_index(["単位", "ラベル"])


def duplicate_rows(table: pd.DataFrame, n_texts: int, threshold: float) -> Markdown:
    exact, near = ((table["kind"] == kind).sum() for kind in ("exact", "near"))
    text = f"{n_texts} テキストのうち、同じ語の並びの組は {exact} 組、シナリオをまたぐ近似重複（語集合の一致度 {threshold:.0f} 以上）は {near} 組である。"
    if not len(table):
        return Markdown(text)
    rows = "\n".join(f"- {row.id_a} と {row.id_b}（{row.ratio:.0f}）" for row in table.head(10).itertuples())
    return Markdown(f"{text}\n\n{rows}")


def opening_rows(table: pd.DataFrame) -> pd.DataFrame:
    shown = table.assign(emotion=table["emotion"].map(emotion_name))
    names = {"emotion": "ラベル", "rank": "順位", "opening": "冒頭 3 語", "count": "回数", "share": "割合"}
    return tidy(shown, digits=3, names=names).set_index(["ラベル", "順位"])


def punctuation_rows(table: pd.DataFrame) -> pd.DataFrame:
    shown = table.assign(emotion=table["emotion"].map(emotion_name))
    names = {
        "emotion": "ラベル",
        "mark": "末尾の記号",
        "count": "回数",
        "share": "割合",
        "scenarios": "シナリオ",
        "shared": "4 文で共通",
    }
    return tidy(shown, digits=3, names=names).set_index(["ラベル", "末尾の記号"])


def keyword_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Share of texts with a word of each list, by label and style."""
    shown = table[table["style"] != "all"].assign(
        emotion=table["emotion"].map(emotion_name),
        style=table["style"].map(STYLE_NAMES),
        keywords=table["keywords"].map(lambda name: f"{emotion_name(name)}の語"),
    )
    wide = shown.pivot_table(index=["style", "emotion"], columns="keywords", values="share", sort=False)
    wide.index.names, wide.columns.name = ["表現", "ラベル"], None
    return tidy(wide, digits=2)


def score_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Mean scores per style and label of the texts."""
    shown = table.assign(
        emotion=table["emotion"].map(emotion_name), style=table["style"].map(lambda v: STYLE_NAMES.get(v, v))
    )
    names = {c: metric_name(c) for c in table if "/" in c or c == "valence"}
    return tidy(shown, digits=2, names={**names, "style": "表現", "emotion": "ラベル"}).set_index(["表現", "ラベル"])


def scorer_rows(table: pd.DataFrame) -> pd.DataFrame:
    """AUC of every scorer against the neutral texts."""
    if table.empty:
        return none_at_hand()
    shown = table.assign(
        emotion=table["emotion"].map(emotion_name),
        style=table["style"].map(lambda v: STYLE_NAMES.get(v, v)),
        family=table["family"].map(FAMILIES),
    )
    names = {
        "style": "表現",
        "emotion": "感情",
        "family": "採点器",
        "n": "テキスト数",
        "auc": "AUC",
        "null": "帰無の 97.5 % 点",
    }
    return tidy(shown, digits=2, names=names).set_index(["表現", "感情", "採点器"])


def scorer_bars(table: pd.DataFrame) -> pd.DataFrame:
    """For the figure: style and emotion, family, AUC."""
    place = [_place(row.emotion, row.style) for row in table.itertuples()]
    return pd.DataFrame({"place": place, "family": table["family"].map(FAMILIES), "auc": table["auc"].astype(float)})


WAYS = {"lexical": "n-gram", "encoder": "エンコーダ", "bundled": "結合（判定に使う値）"}


def quality_rows(table: pd.DataFrame) -> pd.DataFrame:
    """How good the bundled GoEmotions models are on that data set's dev split."""
    if table.empty:
        return none_at_hand()
    names = {
        "label": "ラベル",
        "way": "分類器",
        "n": "正例の数",
        "precision": "適合率",
        "recall": "再現率",
        "f1": "F1",
        "ece": "期待較正誤差",
        "brier_skill": "Brier スキル",
    }
    return tidy(table.assign(way=table["way"].map(WAYS)), digits=3, names=names).set_index(["ラベル", "分類器"])


def calibration_curves(table: pd.DataFrame) -> pd.DataFrame:
    """For the figure: the measure that decides, label by label."""
    return table if table.empty else table[table["way"] == "bundled"]


def scorer_sentence(table: pd.DataFrame, means: pd.DataFrame) -> Markdown:
    """Where the scorers see the emotion and where they do not, computed."""
    if table.empty:
        return Markdown(
            "- どの感情にも、語の一覧（`params/keywords/`）も、同じ名の GoEmotions ラベルもない。採点器では測れないため、"
            "Phase 5 は語の一覧を加えるまで止まる。"
        )
    main = table[table["family"] == ("target" if "target" in set(table["family"]) else "keywords")]
    parts = []
    for style, part in main.groupby("style", sort=False):
        listed = "、".join(f"{emotion_name(row.emotion)} {row.auc:.2f}" for row in part.itertuples())
        parts.append(f"{STYLE_NAMES.get(style, style)}では {listed}")
    lines = [f"- 判定に使う値で中立と見分ける AUC は、{'。'.join(parts)} である。"]
    unseen = main[main["auc"] <= main["null"]]
    if len(unseen):
        places = "・".join(_place(row.emotion, row.style) for row in unseen.itertuples())
        lines.append(f"- {places}では帰無の 97.5 % 点を上回らず、中立とさえ見分けない。")
    lines += _mean_lines(means)
    lines.append("- Phase 5 の指標は主に明示的な言い回しを測る。得点が動かないことは、感情が動かないことを意味しない。")
    return Markdown("\n".join(lines))


def _mean_lines(means: pd.DataFrame) -> list[str]:
    """The mean of each emotion's own probability, and where another emotion's is higher."""
    targets = [column for column in means if column.startswith("target/")]
    lines = []
    for style, part in means.groupby("style", sort=False):
        listed, beaten = [], []
        for row in part.to_dict("records"):
            own = f"target/{row['emotion']}"
            if own not in targets:
                continue
            listed.append(f"{emotion_name(row['emotion'])} {row[own]:.2f}")
            highest = max(targets, key=row.get)
            if highest != own:
                beaten.append(
                    f"{emotion_name(row['emotion'])}の文では{metric_name(highest)}（{row[highest]:.2f}）の方が高い"
                )
        if not listed:
            continue
        text = f"- {STYLE_NAMES.get(style, style)}の文での自分の感情の確率の平均は {'、'.join(listed)}。"
        lines.append(text + ("。".join(beaten) + "。" if beaten else "どのラベルでも自分の感情の確率が最も高い。"))
    return lines


def _place(emotion: str, style: str) -> str:
    return f"{emotion_name(emotion)}（{STYLE_NAMES.get(style, style)}）"


def leak_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Held-out AUC against neutral, by feature set and style."""
    shown = _against_neutral(table)
    wide = shown.pivot_table(index=["style", "comparison"], columns="features", values="auc", sort=False)
    wide.index.names, wide.columns.name = ["表現", "感情（対 中立）"], None
    return tidy(wide[list(FEATURES.values())], digits=2)


def leak_bars(table: pd.DataFrame) -> pd.DataFrame:
    """For the figure: the AUC against neutral in all styles together."""
    return _against_neutral(table[table["style"] == "all"])


def _against_neutral(table: pd.DataFrame) -> pd.DataFrame:
    shown = table[~table["comparison"].str.endswith(" vs rest")].copy()
    shown["comparison"] = shown["comparison"].map(lambda name: emotion_name(name.split(" vs ")[0]))
    shown["features"] = shown["features"].map(FEATURES)
    shown["style"] = shown["style"].map(lambda name: STYLE_NAMES.get(name, name))
    return shown


def discussion(run: Run, leaks: pd.DataFrame, lengths: pd.DataFrame, adjusted: bool) -> Markdown:
    """考察, computed from the tables."""
    tokens = lengths[lengths["unit"] != "characters"]
    spread = tokens["mean"].max() / tokens["mean"].min() - 1
    lines = [f"- トークン長の平均は、最も長いラベルと最も短いラベルで {spread:.1%} 違う。"]
    surface = leaks[leaks["features"] == "surface"]
    worst = surface.loc[surface["auc"].idxmax()]
    lines.append(
        f"- 代名詞・句読点・長さだけからの AUC は最大 {worst['auc']:.2f}（{_comparison(worst)}）である。"
        + (
            f"基準 {LEAK_LIMIT} を超えるため、以降のフェーズではこれらを回帰で除いたベクトルも報告する必要がある。"
            if adjusted
            else f"基準 {LEAK_LIMIT} 以下であり、以降のフェーズで表層の補正は必要としない。"
        )
    )
    for features in ("function_words", "opening"):
        part = leaks[(leaks["features"] == features) & (leaks["style"] == "all")]
        part = part[~part["comparison"].str.endswith(" vs rest")]
        line = (
            f"- {FEATURES[features]} からの中立に対する AUC は {part['auc'].min():.2f}–{part['auc'].max():.2f} である。"
        )
        if part["auc"].max() > LEAK_LIMIT:
            line += (
                "感情の言い回しはこれらの語を含む（理由を述べる for、悔いを述べる should have など）ため、"
                "感情と切り離して統制することはできない。活性の差の一部はこうした言い回しの差である。"
            )
        lines.append(line)
    for style in ("explicit", "implicit"):
        part = leaks[(leaks["style"] == style) & ~leaks["comparison"].str.endswith(" vs rest")]
        if part["auc"].notna().any():
            key, every = (part[part["features"] == name]["auc"].mean() for name in ("keywords", "all_words"))
            lines.append(
                f"- {STYLE_NAMES[style]}の文では、中立に対する AUC の平均は感情語リスト {key:.2f}、全単語 {every:.2f} である。"
            )
    lines.append(
        "- 全単語の AUC が 0.5 を超えるのは当然であり（感情は言葉で表される）、問題にすべきは (a) である。"
        "暗示文で感情語リストの AUC が 0.5 に近いことは、以降の結果が語の一覧だけでは説明できないかを調べる足場になる。"
    )
    return Markdown("\n".join(lines))


def _comparison(row: pd.Series) -> str:
    positive, other = row["comparison"].split(" vs ")
    against = "他の全ラベル" if other == "rest" else emotion_name(other)
    return f"{emotion_name(positive)} 対 {against}、{STYLE_NAMES.get(row['style'], row['style'])}"
