"""Phase 7's sentences and tables about effects, power and k."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
from IPython.display import Markdown

from emolib.effects import CONTROL_FAMILIES
from emolib.phases import phase7
from emolib.phases.run import Run
from emolib.power import required_scenarios
from emolib.report.common import FAMILIES, emotion_name, metric_name, none_at_hand, tidy
from emolib.report.phase5 import KINDS as KIND_NAMES

ORDER = ("emotion", "direct_path", "pca", "probe", "subspace", "prompting")
SHOWN_K = (1, 2, 4, 8)
MEASURE_NAMES = {
    **FAMILIES,
    "sentiment": "感情価の三分類",
    "valence": "感情価",
    "politeness": "丁寧さ",
    "goemotions": "GoEmotions の 28 ラベル",
    "fluency": "流暢さ",
}


def shown_p(value: float) -> str:
    """A p value as printed; a dash where there is none."""
    if pd.isna(value):
        return "—"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def shown_number(value: float, digits: int = 2) -> str:
    """A number as printed, no -0; a dash where there is none or it has no end."""
    return "—" if pd.isna(value) or not math.isfinite(value) else f"{round(value, digits) + 0.0:.{digits}f}"


def shown_interval(value: float, low: float, high: float, digits: int = 2) -> str:
    """A number with its interval, alone where there is none."""
    if pd.isna(low) or pd.isna(high):
        return shown_number(value, digits)
    return f"{shown_number(value, digits)} [{shown_number(low, digits)}, {shown_number(high, digits)}]"


# what is read


def environment_line(run: Run) -> Markdown:
    """One line: whose results are read; no model is loaded."""
    listed = "、".join(f"`{model}`" for model in phase7.models(run))
    text = f"プロファイル `{run.params.profile}` で Phase 5 を終えたモデル: {listed}。モデルは読み込まず、保存された表だけを読む。"
    without = [model for model in phase7.models(run) if model not in phase7.vector_models(run)]
    if without:
        text += f"Phase 3 の記録がない {'、'.join(f'`{m}`' for m in without)} では、Phase 3 の主張と k を扱わない。"
    return Markdown(text)


def source_rows(run: Run) -> pd.DataFrame:
    """Per model: test scenarios, the chosen point, and how many directions each family of controls has."""
    rows = []
    for model in phase7.models(run):
        sweep = phase7.test_sweep(run, model)
        chosen = sweep[sweep["kind"] == "emotion"]
        counts = phase7.control_families(sweep)
        row = {"モデル": model, "テストシナリオ": chosen["scenario"].nunique(), "テキスト": len(sweep)}
        row |= {"層": ", ".join(map(str, sorted(set(chosen["layer"]))))}
        row |= {"α": ", ".join(f"{alpha:g}" for alpha in sorted(set(chosen["alpha"])))}
        rows.append(row | {KIND_NAMES[family]: counts.get(family, 0) for family in CONTROL_FAMILIES})
    return pd.DataFrame(rows).set_index("モデル")


def samples(run: Run) -> int:
    """Texts whose scores are analysed."""
    return sum(len(phase7.test_sweep(run, model)) for model in phase7.models(run))


# effects


def on_target(table: pd.DataFrame) -> pd.DataFrame:
    """Every kind of steer on the steered emotion's own measures, in a fixed order of kinds and emotions."""
    kept = table[table["on_target"] & table["kind"].isin(ORDER)]
    emotions = list(dict.fromkeys(kept["emotion"]))
    places = {"place": kept["kind"].map(ORDER.index), "turn": kept["emotion"].map(emotions.index)}
    return kept.assign(**places).sort_values(["model", "place", "turn"], kind="stable").drop(columns=list(places))


def _labels(table: pd.DataFrame) -> dict[str, Any]:
    return {
        "モデル": table["model"],
        "種類": table["kind"].map(lambda kind: KIND_NAMES.get(kind, kind)),
        "感情": table["emotion"].map(emotion_name),
        "指標": table["metric"].map(metric_name),
    }


def effect_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Effect sizes of every kind of steer on its own measures."""
    shown = on_target(table)
    columns = {
        "平均差 [95 % BCa]": [
            shown_interval(*values, digits=3) for values in shown[["mean", "ci_low", "ci_high"]].to_numpy()
        ],
        "d_z [95 % BCa]": [shown_interval(*values) for values in shown[["d_z", "d_low", "d_high"]].to_numpy()],
        "Hedges g": [shown_number(value) for value in shown["hedges_g"]],
        "n": shown["n"],
        "0 でない差": shown["n_nonzero"],
        "縮退": ["縮退" if value else "" for value in shown["degenerate"]],
    }
    return pd.DataFrame({**_labels(shown), **columns}).set_index(["モデル", "種類", "感情", "指標"])


def test_rows(table: pd.DataFrame) -> pd.DataFrame:
    """The p values of the same rows, raw and corrected."""
    names = {"p_t": "t 検定", "p_wilcoxon": "Wilcoxon", "p_bonferroni": "Bonferroni", "p_fdr": "BH"}
    return _p_values(on_target(table), names)


def rank_rows(table: pd.DataFrame) -> pd.DataFrame:
    """The emotions' vectors against every family of controls at the same layer and strength."""
    names = {f"rank_p_{family}": KIND_NAMES[family] for family in CONTROL_FAMILIES}
    names["rank_p_worst"] = "最も厳しい族"
    shown = on_target(table)
    return _p_values(shown[shown["kind"] == "emotion"], names)


def _p_values(shown: pd.DataFrame, names: dict[str, str]) -> pd.DataFrame:
    columns = {title: [shown_p(value) for value in shown[name]] for name, title in names.items() if name in shown}
    return pd.DataFrame({**_labels(shown), **columns}).set_index(["モデル", "種類", "感情", "指標"])


def family_rows(table: pd.DataFrame, significance: float) -> pd.DataFrame:
    """The named families of the emotions' vectors: how many tests, and how many below the level, raw and corrected."""
    counted = phase7.families(table[table["kind"] == "emotion"], significance)
    counted = counted.assign(measure=counted["measure"].map(lambda name: MEASURE_NAMES.get(name, name)))
    names = {"model": "モデル", "measure": "族（指標の種類）", "tests": "検定", "degenerate": "縮退"}
    names |= {"p_t": f"p < {significance:g}", "p_bonferroni": "Bonferroni 後", "p_fdr": "BH 後"}
    return counted[list(names)].rename(columns=names).set_index(["モデル", "族（指標の種類）"])


def forest_table(table: pd.DataFrame) -> pd.DataFrame:
    """What the forest plot draws: d_z of every kind on its own measures; a row without d_z stays empty."""
    shown = on_target(table)
    several = shown["model"].nunique() > 1
    labels = [
        (f"{row['model']} " if several else "") + metric_name(row["metric"])
        for row in shown[["model", "metric"]].to_dict("records")
    ]
    return shown.assign(label=labels, kind=shown["kind"].map(KIND_NAMES)).drop_duplicates(["label", "kind"])


# power


def required_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Scenarios that assumed effects need."""
    wide = table.drop_duplicates(["d", "power"]).pivot(index="d", columns="power", values="n_required")
    wide.columns = [f"検出力 {power:g}" for power in wide.columns]
    return wide.rename_axis("仮定する d_z")


def detectable_rows(table: pd.DataFrame) -> pd.DataFrame:
    """What the present number of scenarios detects, per model."""
    first = table.drop_duplicates(["model", "n", "power"])
    wide = first.pivot(index=["model", "n"], columns="power", values="detectable_d")
    wide.columns = [f"検出力 {power:g} で検出できる最小の d_z" for power in wide.columns]
    return tidy(wide, digits=2).rename_axis(["モデル", "n"])


def observed_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Observed effects and their post-hoc power, which only describes."""
    first = table.drop_duplicates(["model", "emotion", "metric"])
    columns = {
        "モデル": first["model"],
        "指標": first["metric"].map(metric_name),
        "観測した d_z": [shown_number(value) for value in first["observed_d"]],
        "事後の検出力（記述のみ）": [shown_number(value) for value in first[phase7.POST_HOC]],
    }
    return pd.DataFrame(columns).set_index(["モデル", "指標"])


def power_sentence(table: pd.DataFrame, smallest_d: float, significance: float) -> Markdown:
    """Whether the present number of scenarios detects the smallest effect of interest."""
    needed = required_scenarios(smallest_d, power=phase7.POWER, alpha=significance)
    lines = []
    for (model, n), _ in table.groupby(["model", "n"], sort=False):
        found = phase7.detectable(int(n), significance)
        reach = f"d_z = {found:.2f}" if math.isfinite(found) else "計算できないほど大きい"
        lines.append(
            f"- {model}: n = {n} で検出力 {phase7.POWER:g} となる最小の効果は {reach}。関心のある最小の効果 {smallest_d:g} を"
            + ("検出できる。" if found <= smallest_d else f"検出するには {needed} シナリオが要る。")
        )
    return Markdown("\n".join(lines))


# k


def k_rows(table: pd.DataFrame) -> pd.DataFrame:
    """The chosen k of every emotion with what decides it."""
    if table.empty:
        return none_at_hand()
    shown = table[table["chosen"]]
    columns = {
        "モデル": shown["model"],
        "感情": shown["emotion"].map(emotion_name),
        "層": shown["layer"],
        "選んだ k": shown["chosen_k"],
        "超過 ± SE": [f"{shown_number(a)} ± {shown_number(b)}" for a, b in shown[["excess", "se"]].to_numpy()],
        "最良の超過（k）": [
            f"{shown_number(row['best_excess'])}（{row['best_k']}）"
            for row in shown[["best_excess", "best_k"]].to_dict("records")
        ],
        "帰無の最大": [shown_number(value) for value in shown["null_max"]],
        "テストの重なり": [shown_number(value) for value in shown["test_overlap"]],
        "テストの帰無 97.5 %": [shown_number(value) for value in shown["test_null_high"]],
    }
    return pd.DataFrame(columns).set_index(["モデル", "感情"])


def overlap_rows(table: pd.DataFrame) -> pd.DataFrame:
    """overlap(k), its null and its standard error for a few k."""
    if table.empty:
        return none_at_hand()
    shown = table[table["k"].isin(SHOWN_K)]
    names = {"overlap": "重なり", "null": "帰無の平均", "null_high": "帰無の 97.5 %", "se": "SE"}
    keys = {"モデル": shown["model"], "感情": shown["emotion"].map(emotion_name), "k": shown["k"]}
    return tidy(shown[list(names)].rename(columns=names).assign(**keys), digits=2).set_index(list(keys))


def excess_table(table: pd.DataFrame) -> pd.DataFrame:
    """For the figure: the excess over the null by k, a series per emotion (and model where there are several)."""
    several = table["model"].nunique() > 1
    rows = table[["model", "emotion"]].to_dict("records")
    series = [f"{r['model']} {emotion_name(r['emotion'])}" if several else r["emotion"] for r in rows]
    return table.assign(series=series).astype({"k": int, "excess": float, "se": float})


def k_sentence(table: pd.DataFrame) -> Markdown:
    """The rule, and what it gives."""
    if table.empty:
        return Markdown("部分空間の帰無には感情が二つ以上要る。重なりの表がないため、k は選ばない。")
    lines = [
        "規則: 検証での超過（重なり − 帰無の平均）が最良の k から 1 標準誤差以内に入る最小の k を選ぶ。"
        "最良の超過が帰無の最大を超えなければ、部分空間があるとは言わない。"
    ]
    for row in table[table["chosen"]].to_dict("records"):
        name = f"{row['model']}・{emotion_name(row['emotion'])}"
        if row["found"]:
            text = f"- {name}: k = {row['chosen_k']}。"
            if row["chosen_k"] == 1:
                text += "一つの方向だけがラベルに固有であり、二つ目以降の証拠はない。"
            lines.append(text)
        else:
            lines.append(f"- {name}: 規則は k = {row['chosen_k']} を選ぶが、超過は帰無の範囲を出ず、k に意味はない。")
    return Markdown("\n".join(lines))
