"""What Phase 7's claims, reasons and bars are called, and what stands where there is nothing to show."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pandas as pd
from IPython.display import Markdown

from emolib.base.escaping import Name, code_span
from emolib.report.ja.names import FAMILIES, metric_name, named, style_name
from emolib.report.ja.phase5_shift_words import REASONS as OF_SHIFT
from emolib.report.ja.phase5_shift_words import text_style
from emolib.report.markup import NOTHING
from emolib.steering.text_claims import FEWEST_SCENARIOS

POSITIONS = {"mean": "平均", "last": "末尾"}
MEASURE_NAMES = {
    **FAMILIES,
    "sentiment": "感情価の三分類",
    "valence": "感情価",
    "politeness": "丁寧さ",
    "goemotions": "GoEmotions の 28 ラベル",
    "fluency": "流暢さ",
}
REASONS = {
    "bar_reached": "基準を満たす",
    "few_scenarios": f"シナリオが {FEWEST_SCENARIOS} 未満",
    "few_controls": "対照の数では順位 p が基準に届かない",
    "few_nonzero": "0 でない差が少ない",
    "flat": "差にばらつきがほとんどなく、符号検定が水準に届かない",
    "too_small_to_detect": "区間が基準値を含み、この n では関心のある最小の効果を検出できない",
    "controls_reach_it": "対照の中に同じかそれ以上動かす方向があり、順位 p が基準を超える",
    "at_ceiling": "誤りのない得点でも比べる相手と区別できない（天井）",
    "permutation_missed": "区間は基準を満たすが、並べ替えの p が届かない",
    "bar_missed": "基準を満たさない",
}
SHIFT_REASONS = {**OF_SHIFT, **REASONS}
FAMILY_NAMES = {"implicit": "主要（暗示表現）", "explicit": "感情の語（明示表現）", "exploration": "探索"}
SHIFT = "shift/"  # beginning of the measure of a claim of the continuation shift; its style follows
CLAIMS = {
    "stability": "ベクトルは標本を替えても同じ方向を向く",
    "separation": "ベクトルへの射影が、見ていない文を分ける",
    "readout": "残差ストリームから感情の文と中立の文を見分けられる",
    "beyond_words": "残差ストリームは bag of words を超える情報をもつ（全体）",
    "beyond_words_implicit": "残差ストリームは bag of words を超える情報をもつ（暗示表現）",
    "subspace": "ラベルに固有の部分空間がある",
    "steering": "当該感情のベクトルが、他の感情のベクトルや対照方向よりも、生成したテキストの当該感情の指標を多く動かす（二次的）",
    "shift": "当該感情のベクトルが、他の感情のベクトルや対照方向よりも、当該感情の文を続きとして起こりやすくする（継続シフト）",
}
BARS = {
    "stability": "分割半コサインの 95 % 区間 > シャッフルの 97.5 % 点",
    "separation": "テスト AUC の 95 % 区間 > ランダム方向とシャッフルの 97.5 % 点",
    "readout": "プローブのテスト AUC の 95 % 区間 > シャッフルの最大",
    "beyond_words": "AUC の差の 95 % 区間 > 0、かつ順位の並べ替えの p ≤ 0.025",
    "beyond_words_implicit": "AUC の差の 95 % 区間 > 0、かつ順位の並べ替えの p ≤ 0.025",
    "subspace": "検証の超過の最良の 95 % 区間 > シャッフルの超過の最大の 97.5 % 点",
    "steering": "［当該感情 − 他の感情］の 95 % BCa 区間 > 0（45 シナリオ以下では符号反転の p ≤ 0.025 も）、"
    "かつ最も厳しい対照の順位 p ≤ 基準",
    "shift": "計器の合格、他のどの感情に対しても必要なすべての量で S > 0（片側、Holm）、かつ最も厳しい対照の順位 p ≤ 基準",
}
DEGENERATE = "縮退"


def quoted(models: Iterable[str]) -> str:
    return "、".join(map(code_span, models))


def listed(values: Iterable[str]) -> str:
    """Names in one breath, each once."""
    return named(dict.fromkeys(values))


def measure_name(name: str) -> Name:
    """A claim's measure as printed: a metric, a layer, a k, or an AUC."""
    if name in ("auc", "auc_difference"):
        return Name({"auc": "AUC", "auc_difference": "AUC の差"}[name])
    if name.startswith(SHIFT):
        return Name("S（" + text_style(name.removeprefix(SHIFT)) + "）")
    return Name(name.replace("layer", "層")) if name.startswith("layer") else metric_name(name)


def texts_named(style: str, position: str) -> Name:
    """Which texts, and which position in them, vectors are fitted on."""
    return Name(style_name(style) + "・" + POSITIONS.get(position, position))


def of_total(count: int, total: int) -> str:
    """`count` of `total` cases in words."""
    if count == total:
        return f"{total} 件すべて" if total > 1 else "1 件"
    return f"{total} 件のうち {count} 件"


# in place of an empty table


def nothing(why: str) -> Markdown:
    """The sentence that stands where a table would be empty."""
    return Markdown(f"表は示さない（{why}）。")


def nothing_of(phase: str) -> Markdown:
    """What stands in a section whose phase has not run."""
    return nothing(f"Phase {phase.removeprefix('phase')} の読める記録がない")


def unless_blank(table: pd.DataFrame, columns: Sequence[str], why: str) -> pd.DataFrame | Markdown:
    """The table, or one sentence where none of these columns has anything to read."""
    blank = table[list(columns)].isin([NOTHING, DEGENERATE, ""]).all(axis=None)
    return nothing(why) if blank else table


def by_model(table: pd.DataFrame, columns: dict[str, Sequence]) -> pd.DataFrame:
    """Columns beside the model and the measure of every row."""
    keys = {"モデル": table["model"], "指標": table["metric"].map(metric_name)}
    return pd.DataFrame({**keys, **columns}).set_index(list(keys))
