"""Phase 1's tables and sentences about classifier (a) per style and about the search for leaks."""

from __future__ import annotations

import pandas as pd
from IPython.display import Markdown

from emolib.base.escaping import Name
from emolib.readout.leak_search import unexplained
from emolib.report.ja.names import emotion_name, style_name
from emolib.report.markup import number, tidy
from emolib.study.phase1_dataset import CALENDAR_GATE, GATE, gate_findings

TEXTS = {"every": "すべて", "minimal": "ミニマルペア", "other": "ミニマルペア以外"}
KINDS = {"word": "語", "pair": "2 語の並び", "tags": "品詞などの並び", "characters": "文字・数え上げ"}
MEASURES = {"surface": "(a) 表層", "calendar": "数・暦の語の数だけ"}


def table_gates(table: pd.DataFrame) -> pd.DataFrame:
    """AUC against neutral with its interval, by style, kind of scenario and label."""
    shown = table.dropna(subset="auc")
    shown = shown.assign(
        value=[f"{number(r.auc)} [{number(r.low)}, {number(r.high)}]" for r in shown.itertuples()],
        style=shown["style"].map(style_name),
        texts=shown["texts"].map(TEXTS),
        emotion=shown["emotion"].map(emotion_name),
        features=shown["features"].map(MEASURES),
    )
    index = ["style", "texts", "emotion"]
    wide = shown.pivot_table(index=[*index, "n"], columns="features", values="value", aggfunc="first", sort=False)
    wide = wide.reset_index("n")
    wide.index.names, wide.columns.name = ["表現", "シナリオ", "感情（対 中立）"], None
    return wide.rename(columns={"n": "テキスト数"})


def sentence_gates(table: pd.DataFrame) -> Markdown:
    """Whether the texts pass the two gates."""
    found = gate_findings(table)
    if found.surface_passes is None:
        return Markdown("シナリオが少なく、表現ごとの AUC は求められない（測定できない）。")
    low, high = CALENDAR_GATE
    parts = table[(table["texts"] != "every") & (table["features"] == "surface") & (table["auc"] > GATE)]
    surface = f"(a) の AUC は、感情と表現のどの組でも基準 {GATE} 以下である（最大 {number(found.surface)}）。"
    if not found.surface_passes:
        surface = f"(a) の AUC は最大 {number(found.surface)} で、基準 {GATE} を超える組がある。"
    calendar = (
        f"数・日付・曜日・時刻の語の数だけによる AUC は、0.5 から最も離れた組で {number(found.calendar)} であり、"
        f"基準の範囲 {low:.2f}–{high:.2f} に{'収まる' if found.calendar_passes else '収まらない'}。"
    )
    listed = "、".join(
        f"{emotion_name(r.emotion)}（{style_name(r.style)}、{TEXTS[r.texts]}）{number(r.auc)}"
        for r in parts.itertuples()
    )
    beside = f"判定は「すべて」の行の点の値による。分けた行では {listed} が {GATE} を超える。" if listed else ""
    return Markdown(surface + beside + calendar)


def table_search(table: pd.DataFrame) -> pd.DataFrame | Markdown:
    """The confirmed features; without one, a sentence."""
    shown = table[table["confirmed"].astype(bool)]
    if shown.empty:
        return Markdown("確かめられた手がかりはない。")
    shown = shown.assign(
        emotion=shown["emotion"].map(emotion_name),
        kind=shown["kind"].map(KINDS),
        feature=[str(Name(feature)) for feature in shown["feature"]],
        own_word=shown["own_word"].map({True: "はい", False: "いいえ"}),
    )
    names = {"emotion": "感情", "kind": "種類", "feature": "手がかり", "own_word": "感情語を含む"}
    names |= {"held_share": "感情の文での割合", "held_neutral": "中立の文での割合", "auc": "AUC", "p_holm": "p（Holm）"}
    return tidy(shown[list(names)], digits=3, names=names).set_index(["感情", "手がかり"])


def sentence_search(table: pd.DataFrame) -> Markdown:
    """How many features were tested and confirmed, and which of them are no part of the emotion's words."""
    if table.empty:
        return Markdown("学習用か、それ以外のシナリオがなく、探索はできない（測定できない）。")
    tested = table.groupby("emotion", sort=False).size()
    confirmed, other = int(table["confirmed"].sum()), unexplained(table)
    text = f"感情ごとに最大 {tested.max()} 個、合わせて {len(table)} 個を調べ、{confirmed} 組（感情と手がかり）が選ぶのに使わないシナリオでも確かめられた。"
    if other.empty:
        return Markdown(text + "そのうち、感情語を含まないものはない。")
    lines = [
        f"- {emotion_name(emotion)}: "
        + "、".join(f"{Name(r.feature)}（AUC {number(r.auc)}）" for r in part.itertuples())
        for emotion, part in other.groupby("emotion", sort=False)
    ]
    worst = float((other["auc"] - 0.5).abs().max())
    text += (
        f"そのうち {len(other)} 組（異なる手がかりは {other['feature'].nunique()} 個）は感情語を含まない。単独での AUC の 0.5 からの差は最大 "
        f"{number(worst)} だが、合わせた効果は測っていない。以降の結果はこれらの語の差を含みうる。AUC が 0.5 より小さいものは中立の文に多い。"
        "確かめられなかった手がかりがないとは言えない。\n\n"
    )
    return Markdown(text + "\n".join(lines))
