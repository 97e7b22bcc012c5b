"""Phase 7: how many scenarios effects need, and what the present number detects."""

from __future__ import annotations

import math

import pandas as pd
from IPython.display import Markdown

from emolib.base.escaping import Name
from emolib.report.ja.names import metric_name
from emolib.report.ja.phase7_words import nothing_of, unless_blank
from emolib.report.markup import number, tidy
from emolib.steering.findings import POWER
from emolib.study.phase7_claims.design_power import POST_HOC


def table_required(power: pd.DataFrame) -> pd.DataFrame | Markdown:
    """Scenarios that assumed effects need."""
    if power.empty:
        return nothing_of("phase5")
    wide = power.drop_duplicates(["d", "power"]).pivot(index="d", columns="power", values="n_required")
    wide.columns = [f"検出力 {value:g}" for value in wide.columns]
    return wide.rename_axis("仮定する d_z")


def table_detectable(power: pd.DataFrame) -> pd.DataFrame | Markdown:
    """What the present number of scenarios detects, per model."""
    if power.empty:
        return nothing_of("phase5")
    first = power.drop_duplicates(["model", "n", "power"])
    wide = first.pivot(index=["model", "n"], columns="power", values="detectable_d")
    wide.columns = [f"検出力 {value:g} で検出できる最小の d_z" for value in wide.columns]
    return tidy(wide, digits=2).rename_axis(["モデル", "n"])


def table_observed(power: pd.DataFrame) -> pd.DataFrame | Markdown:
    """Observed effects and their post-hoc power, which only describes."""
    if power.empty:
        return nothing_of("phase5")
    first = power.drop_duplicates(["model", "emotion", "metric"])
    values = {
        "観測した d_z": [number(value) for value in first["observed_d"]],
        "事後の検出力（記述のみ）": [number(value) for value in first[POST_HOC]],
    }
    keys = {"モデル": first["model"], "指標": first["metric"].map(metric_name)}
    table = pd.DataFrame({**keys, **values}).set_index(list(keys))
    return unless_blank(table, list(values), "すべて縮退しており、観測した d_z がない")


def sentence_power(detectable: pd.DataFrame, smallest_d: float) -> Markdown:
    """Whether the present number of scenarios detects the smallest effect of interest.

    Args:
        detectable: see `emolib.study.phase7_claims.detectable_effects`.
    """
    if detectable.empty:
        return Markdown("Phase 5 の読める記録がないため、今の設計の検出力は計算しない。")
    lines = []
    for row in detectable.to_dict("records"):
        found = row["detectable_d"]
        reach = f"d_z = {found:.2f}" if math.isfinite(found) else "計算できないほど大きい"
        told = "検出できる。" if row["detects"] else f"検出するには {row['n_required']} シナリオが要る。"
        lines.append(
            f"- {Name(row['model'])}: n = {row['n']} で t 検定の検出力が {POWER:g} となる最小の効果は {reach}。"
            f"関心のある最小の効果 {smallest_d:g} を{told}"
        )
    lines.append(
        "- これは t 検定だけの値である。Phase 5 の主張は区間と順位 p を同時に求めるため、支持に要る効果は一般にこれより大きい。"
        "主張そのものの検出力は、真の効果を植え込んだモデルで測り、`docs/selftest.md` に示す。"
    )
    return Markdown("\n".join(lines))
