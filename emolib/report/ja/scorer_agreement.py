"""How far the two GoEmotions models agree on the same texts: the table and what it says about the scores."""

from __future__ import annotations

import pandas as pd
from IPython.display import Markdown

from emolib.report.ja.names import emotion_name, emotion_names
from emolib.report.markup import number
from emolib.scoring.measures import FEWEST_PRESENT, LOW_KAPPA, agreement_codes


def table_agreement(table: pd.DataFrame) -> pd.DataFrame | None:
    """How far the two GoEmotions models agree on the texts; what is not defined is a dash.

    None where the backend has one model alone (`sentence_agreement` says so).
    """
    if table.empty:
        return None
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
        shown[column] = [number(value) for value in shown[column]]
    return shown.rename(columns=names).rename_axis("感情")


def sentence_agreement(table: pd.DataFrame) -> Markdown:
    """What the agreement of the two models says about the scores."""
    if table.empty:
        return Markdown("この採点器には分類器が一つしかないため、一致は計算できない。")
    coded = agreement_codes(table)
    emotions = {code: emotion_names(part["emotion"]) for code, part in coded.groupby("code", sort=False)}
    known = coded[coded["code"] != "few"].to_dict("records")
    low = emotion_names(row["emotion"] for row in known if row["code"] != "agree")
    lines = []
    if known:
        listed = "、".join(f"{emotion_name(row['emotion'])} κ = {number(row['kappa'])}" for row in known)
        lines.append(f"二つの分類器の一致は {listed}。")
    if known and not low:
        lines.append(
            f"いずれも κ ≥ {LOW_KAPPA} であり、二つの分類器の有無の判断はおおむね一致する（同じ注釈で学習しているため、共通の誤りは除けない）。"
        )
    if low:
        lines.append(f"{low}は κ < {LOW_KAPPA} で、分類器の種類によって判断が分かれる。その感情の確率は慎重に読む。")
    if "one_sided" in emotions:
        lines.append(
            f"{emotions['one_sided']}では一方の分類器がどのテキストにも「あり」と判定しないため、κ は定義上 0 になる。"
            "表の順位相関が高ければ、順序は似ているが、閾値を超えるかどうかで分かれている。"
        )
    if "few" in emotions:
        lines.append(
            f"{emotions['few']}は、「あり」とされたテキストが {FEWEST_PRESENT} に満たず、κ からは何も言えない。"
        )
    return Markdown("".join(lines))
