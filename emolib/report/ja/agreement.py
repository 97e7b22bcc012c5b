"""How far the two GoEmotions models agree on the same texts: the table and what it says about the scores."""

from __future__ import annotations

import pandas as pd
from IPython.display import Markdown

from emolib.report.ja.names import emotion_name


def agreement_rows(table: pd.DataFrame) -> pd.DataFrame:
    """How far the two GoEmotions models agree on the texts; what is not defined is a dash."""
    names = {
        "emotion": "感情",
        "kappa": "Cohen の κ",
        "rank_correlation": "順位相関",
        "share_a": "「あり」の割合（n-gram）",
        "share_b": "「あり」の割合（エンコーダ）",
        "n_present": "いずれかが「あり」とした数",
        "n": "テキスト数",
    }
    shown = table.assign(emotion=table["emotion"].map(emotion_name)).set_index("emotion")
    for column in ("kappa", "rank_correlation", "share_a", "share_b"):
        shown[column] = ["—" if pd.isna(v) else f"{v:.2f}" for v in shown[column]]
    return shown.rename(columns=names).rename_axis("感情")


def agreement_sentence(table: pd.DataFrame) -> Markdown:
    """What the agreement of the two models says about the scores."""
    if table.empty:
        return Markdown("この採点器には分類器が一つしかないため、一致は計算できない。")
    known = table[table["n_present"] >= FEWEST_PRESENT].dropna(subset=["kappa"])
    rare = [
        emotion_name(row["emotion"]) for row in table.to_dict("records") if row["emotion"] not in set(known["emotion"])
    ]
    low = known[known["kappa"] < LOW_KAPPA]
    lines = []
    if len(known):
        listed = "、".join(f"{emotion_name(row['emotion'])} κ = {row['kappa']:.2f}" for row in known.to_dict("records"))
        lines.append(f"二つの分類器の一致は {listed}。")
    if len(known) and low.empty:
        lines.append(
            f"いずれも κ ≥ {LOW_KAPPA} であり、二つの分類器の有無の判断はおおむね一致する（同じ注釈で学習しているため、共通の誤りは除けない）。"
        )
    if len(low):
        names = "・".join(emotion_name(e) for e in low["emotion"])
        lines.append(f"{names}は κ < {LOW_KAPPA} で、分類器の種類によって判断が分かれる。その感情の確率は慎重に読む。")
        never = low[low[["share_a", "share_b"]].min(axis=1) == 0]
        if len(never):
            lines.append(
                f"{'・'.join(emotion_name(e) for e in never['emotion'])}では一方の分類器がどのテキストにも「あり」と判定しないため、κ は定義上 0 になる。"
                "表の順位相関が高ければ、順序は似ているが、閾値を超えるかどうかで分かれている。"
            )
    if rare:
        lines.append(
            f"{'・'.join(rare)}は、「あり」とされたテキストが {FEWEST_PRESENT} に満たず、κ からは何も言えない。"
        )
    return Markdown("".join(lines))
