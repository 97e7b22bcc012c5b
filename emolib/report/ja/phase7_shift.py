"""Phase 7 on the claims of the continuation shift: what Phase 5 said, and what the families over all models add."""

from __future__ import annotations

import pandas as pd

from emolib.base.escaping import Name
from emolib.report.ja.names import emotion_names
from emolib.report.ja.phase5_shift_words import VERDICTS, text_style
from emolib.report.ja.phase7_words import FAMILY_NAMES, SHIFT
from emolib.report.markup import p_value
from emolib.steering.text_claims import LEVEL


def shift_found(rows: pd.DataFrame) -> str:
    """One model's verdicts, style by style."""
    parts = []
    for measure, part in rows.groupby("measure", sort=False):
        told = "、".join(
            f"{emotion_names(group['emotion'])}は「{VERDICTS[str(code)]}」"
            for code, group in part.groupby("verdict", sort=False)
        )
        parts.append(f"{text_style(str(measure).removeprefix(SHIFT))}の文で{told}")
    return f"操作の主張（Phase 5、継続シフト）は、{'、'.join(parts)}"


def shift_lines(rows: pd.DataFrame) -> list[str]:
    """How many claims each family has over all models, and how many p its correction leaves."""
    lines = []
    for family, part in rows.groupby("family", sort=False):
        if family not in FAMILY_NAMES or part["p_holm"].isna().all():
            continue
        left = int((part["p_holm"] <= LEVEL).sum())
        smallest = p_value(float(part["p_holm"].min()))
        models = "・".join(f"{Name(model)}" for model in dict.fromkeys(part["model"]))
        lines.append(
            f"- 継続シフトの検定の族「{FAMILY_NAMES[str(family)]}」は {len(part)} 件（モデルは {models}）である。"
            f"族の全体で Holm 補正した片側 p が {LEVEL:g} 以下のものは {left} 件（最小 {smallest}）。判定は Phase 5 のものをそのまま用いる。"
        )
    aside = int((rows["family"] == "exploration").sum()) if len(rows) else 0
    if aside:
        lines.append(f"- 乱数重みのモデルなど、族に数えない継続シフトの結果 {aside} 件は探索である。")
    return lines
