"""Phase 5's tables and sentence about what steering does to the text beside what is meant."""

from __future__ import annotations

import pandas as pd
from IPython.display import Markdown
from scipy.stats import t as student

from emolib.report.ja.every_report import emotion_name, number
from emolib.report.ja.phase5 import KINDS, SHORT


def kl_rows(table: pd.DataFrame) -> pd.DataFrame:
    """KL per kind and emotion, with the scenarios and directions that it is a mean of."""
    patched = table[table["kind"] != "baseline"]
    cells = {
        "KL（nat）": [number(v, 3) for v in patched["kl"]],
        "標準誤差": [number(v, 3) for v in patched["kl_se"]],
        "シナリオ数": patched["n_kl"].tolist(),
        "方向の本数": patched["directions"].tolist(),
    }
    return pd.DataFrame(cells, index=_kinds_and_emotions(patched))


def topic_rows(table: pd.DataFrame) -> pd.DataFrame:
    """How near continuations stay to their prompts, with and without a patch, on the scenarios that have both."""
    patched = table[table["kind"] != "baseline"]
    lows, highs = _topic_interval(patched)
    changes = zip(patched["topic_change"], lows, highs, strict=True)
    cells = {
        "パッチなし": [number(v, 3) for v in patched["topic_base"]],
        "パッチあり": [number(v, 3) for v in patched["topic"]],
        "差 [95 % t 区間]": [f"{number(v, 3, signed=True)} [{number(a, 3)}, {number(b, 3)}]" for v, a, b in changes],
        "シナリオ数": patched["n_topic"].tolist(),
        "方向の本数": patched["directions"].tolist(),
    }
    return pd.DataFrame(cells, index=_kinds_and_emotions(patched))


def _kinds_and_emotions(table: pd.DataFrame) -> pd.MultiIndex:
    emotions = table["emotion"].map({"none": "—", "any": "—"}).fillna(table["emotion"]).map(emotion_name)
    return pd.MultiIndex.from_arrays([table["kind"].map(KINDS), emotions], names=["種類", "感情"])


def _topic_interval(table: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    half = student.ppf(0.975, (table["n_topic"] - 1).clip(lower=1)) * table["topic_se"]
    return table["topic_change"] - half, table["topic_change"] + half


def damage_sentence(table: pd.DataFrame) -> Markdown:
    """What steering costs beside the few control directions measured, and which texts leave their prompt's topic."""
    own, controls = (table[table["kind"].isin(kinds)] for kinds in (["emotion"], list(SHORT)))
    listed = "、".join(f"{emotion_name(r['emotion'])} {number(r['kl'])}" for r in own.to_dict("records"))
    text = f"次トークン分布の KL は {listed} nat。"
    if len(controls):
        between = f"{number(controls['kl'].min())}–{number(controls['kl'].max())}"
        few = "・".join(str(count) for count in sorted(set(controls["directions"])))
        text += (
            f"対照は各族から {few} 本だけを測り、その平均は族により {between} nat である"
            "（族全体の平均ではなく、この本数では感情ベクトルが対照より大きいかを検定できない）。"
        )
    ns = "–".join(str(n) for n in sorted({int(own["n_topic"].min()), int(own["n_topic"].max())}))
    lost = own[_topic_interval(own)[1] < 0]
    if lost.empty:
        return Markdown(text + f"続きとプロンプトの類似度（{ns} シナリオ）が、パッチなしより下がったとは言えない。")
    names = "・".join(
        f"{emotion_name(r['emotion'])}（{number(r['topic_change'], 3, signed=True)}）" for r in lost.to_dict("records")
    )
    return Markdown(
        text
        + f"{names}では、続きとプロンプトの類似度がパッチなしより下がった（{ns} シナリオ、95 % t 区間、補正なし）。"
        "同じ句の繰り返しでも類似度は下がりうる。"
    )
