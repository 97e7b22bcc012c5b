"""Phase 5's damage: what steering does to the text beside what is meant."""

from __future__ import annotations

import pandas as pd
from IPython.display import Markdown

from emolib.report.ja.names import emotion_name
from emolib.report.ja.phase5_words import KINDS, SHORT, share, together
from emolib.report.markup import NOTHING, number
from emolib.steering.comparisons import topic_findings
from emolib.steering.kl_lengths import KL_NAT


def table_broken(broken: pd.DataFrame) -> pd.DataFrame:
    """Broken share, NLL and repetition per kind and emotion.

    Args:
        broken: see `emolib.steering.summaries.broken_table`.
    """
    of_none = broken["emotion"].isin(["none", "any"]) | (broken["kind"] == "zero")
    cells = {
        "種類": broken["kind"].map(KINDS),
        "感情": broken["emotion"].map(emotion_name).mask(of_none, NOTHING),
        "層": broken["layer"].map(lambda layer: NOTHING if layer < 0 else str(layer)),
        "破綻率": [share(v) for v in broken["broken"]],
        "平均 NLL": [number(v) for v in broken["nll"]],
        "3-gram 反復率": [number(v) for v in broken["repetition"]],
        "テキスト数": broken["n"],
    }
    return pd.DataFrame(cells).set_index(["種類", "感情"])


def table_damage(damage: pd.DataFrame, lengths: pd.DataFrame | None) -> Markdown:
    """KL and nearness to the prompt per kind and emotion, what they amount to, and the unit of α where it is a KL.

    Args:
        damage: see `emolib.study.phase5_steering.side_effects.damage`.
        lengths: see `emolib.study.phase5_steering.strengths.kl_lengths`; None where α has another unit.
    """
    found = topic_findings(damage)
    parts = (("次トークン分布の KL", kl_rows(found)), ("続きとプロンプトの類似度", topic_rows(found)))
    unit = () if lengths is None else (("α の単位（KL 長）", length_rows(lengths)), length_sentence(lengths))
    return together(*parts, damage_sentence(found), *unit)


def length_rows(lengths: pd.DataFrame) -> pd.DataFrame:
    """What α = 1 is at every layer, and each emotion's own length; means over the parts, where several."""
    means = lengths.groupby(["layer", "emotion"], sort=False)["length"].mean().unstack()
    means = means[list(dict.fromkeys(lengths["emotion"]))].rename(columns=emotion_name)
    cells = means.map(lambda value: NOTHING if pd.isna(value) else number(value))
    cells.insert(0, "α = 1 の長さ", lengths.groupby("layer", sort=False)["unit"].mean().map(number))
    final = lengths["layer"].max()
    cells.index = ["最終残差" if layer == final else str(layer) for layer in cells.index]
    return cells.rename_axis("層")


def length_sentence(lengths: pd.DataFrame) -> str:
    """What the unit is, and where a vector has no length."""
    text = (
        f"α = 1 は、その層の各感情のベクトルが次トークン分布を平均 {KL_NAT:g} nat 動かす長さの幾何平均である"
        "（中立の訓練文の、パッチなしの続きで測る。単位は活性値の大きさ）。同じ α なら、どの層でも、どのモデルでも、"
        "分布をほぼ同じだけ動かす。"
    )
    missing = int(lengths["length"].isna().sum())
    return text + (f"{missing} 個のベクトルはこの KL に届かず、平均に入れていない。" if missing else "")


def kl_rows(found: pd.DataFrame) -> pd.DataFrame:
    """KL per kind and emotion, with the scenarios and directions that it is a mean of."""
    cells = {
        "KL（nat）": [number(v, 3) for v in found["kl"]],
        "標準誤差": [number(v, 3) for v in found["kl_se"]],
        "シナリオ数": found["n_kl"].tolist(),
        "方向の本数": found["directions"].tolist(),
    }
    return pd.DataFrame(cells, index=_kinds_and_emotions(found))


def topic_rows(found: pd.DataFrame) -> pd.DataFrame:
    """How near continuations stay to their prompts, with and without a patch, on the scenarios that have both."""
    changes = found[["topic_change", "topic_low", "topic_high"]].itertuples(index=False)
    cells = {
        "パッチなし": [number(v, 3) for v in found["topic_base"]],
        "パッチあり": [number(v, 3) for v in found["topic"]],
        "差 [95 % t 区間]": [f"{number(v, 3, signed=True)} [{number(a, 3)}, {number(b, 3)}]" for v, a, b in changes],
        "シナリオ数": found["n_topic"].tolist(),
        "方向の本数": found["directions"].tolist(),
    }
    return pd.DataFrame(cells, index=_kinds_and_emotions(found))


def _kinds_and_emotions(table: pd.DataFrame) -> pd.MultiIndex:
    emotions = table["emotion"].map({"none": NOTHING, "any": NOTHING}).fillna(table["emotion"]).map(emotion_name)
    return pd.MultiIndex.from_arrays([table["kind"].map(KINDS), emotions], names=["種類", "感情"])


def damage_sentence(found: pd.DataFrame) -> str:
    """What steering costs beside the few control directions measured, and which texts leave their prompt's topic."""
    own, controls = (found[found["kind"].isin(kinds)] for kinds in (["emotion"], list(SHORT)))
    listed = "、".join(f"{emotion_name(r['emotion'])} {number(r['kl'])}" for r in own.to_dict("records"))
    text = f"感情ベクトルの KL は、{listed} nat である。"
    if len(controls):
        ends = f"{number(controls['kl'].min())}–{number(controls['kl'].max())}"
        few = "・".join(str(count) for count in sorted(set(controls["directions"])))
        text += (
            f"対照は各群から {few} 本だけを測り、その平均は群により {ends} nat である"
            "（群全体の平均ではなく、この本数では感情ベクトルが対照より大きいかを検定できない）。"
        )
    ns = "–".join(str(n) for n in sorted({int(own["n_topic"].min()), int(own["n_topic"].max())}))
    lost = own[own["leaves_topic"].astype(bool)]
    if lost.empty:
        return text + f"続きとプロンプトの類似度（{ns} シナリオ）が、パッチなしより下がったとは言えない。"
    names = "・".join(
        f"{emotion_name(r['emotion'])}（{number(r['topic_change'], 3, signed=True)}）" for r in lost.to_dict("records")
    )
    return text + (
        f"{names}では、続きとプロンプトの類似度がパッチなしより下がった（{ns} シナリオ、95 % t 区間、補正なし）。"
        "同じ句の繰り返しでも類似度は下がりうる。"
    )
