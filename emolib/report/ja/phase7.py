"""Phase 7's sentences and tables about effects, power and k."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
from IPython.display import Markdown

from emolib.report.ja.every_report import (
    FAMILIES,
    STYLE_NAMES,
    emotion_name,
    markdown_table,
    metric_name,
    tidy,
)
from emolib.report.ja.phase5_words import KINDS as KIND_NAMES
from emolib.statistics.effect_sizes import CONTROL_FAMILIES
from emolib.statistics.power import required_scenarios
from emolib.steering.effects import control_counts
from emolib.steering.findings import POWER, detectable
from emolib.study.phase7_claims import study_tables
from emolib.study.run import Run

ORDER = ("emotion", "direct_path", "pca", "probe", "subspace", "prompting")
POSITIONS = {"mean": "平均", "last": "末尾"}
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


def quoted(models: list[str]) -> str:
    return "、".join(f"`{model}`" for model in models)


def nothing_of(phase: str) -> pd.DataFrame:
    """What stands in a section whose phase has not run."""
    return pd.DataFrame({"結果": [f"Phase {phase.removeprefix('phase')} の読める記録がないため、示すものがない"]})


# what is read


def environment_line(run: Run) -> Markdown:
    """Whose results are read and in what state they are; no model is loaded."""
    read = {"Phase 3": study_tables.vector_models(run), "Phase 5": study_tables.models(run)}
    listed = "、".join(f"{phase} は {quoted(names) or 'なし'}" for phase, names in read.items())
    lines = [
        f"プロファイル `{run.params.profile}` で読める記録: {listed}。モデルは読み込まず、保存された表だけを読む。"
    ]
    if run.paths.model not in study_tables.every_model(run):
        lines.append(f"この報告を作ったモデル `{run.paths.model}` 自身の読める記録はない。")
    without = [model for model in read["Phase 5"] if model not in read["Phase 3"]]
    if without:
        lines.append(f"Phase 3 の読める記録がない {quoted(without)} では、Phase 3 の主張と k を扱わない。")
    without = [model for model in read["Phase 3"] if model not in read["Phase 5"]]
    if without:
        lines.append(f"Phase 5 の読める記録がない {quoted(without)} では、Phase 3 の主張と k だけを扱う。")
    return Markdown("".join(lines + _state_lines(run)))


def _state_lines(run: Run) -> list[str]:
    """Which records do not stand for the present data and artifacts."""
    told = {
        "other": "は、今とは異なるデータ・採点器、またはこのフェーズの別の版による記録なので、読まない。",
        "behind": "は、用いた成果物の一部が記録の後で作り直されたか失われている。**結果が古い可能性がある。**",
    }
    lines = []
    for state, text in told.items():
        names = [f"`{r.model}` の Phase {r.phase[-1]}" for r in study_tables.records(run) if r.state == state]
        if names:
            lines.append(f"{'、'.join(names)} {text}")
    return lines


def settings_table(run: Run) -> Markdown:
    """実行設定: every parameter of this phase; what the results were made with is in `source_rows`."""
    values = run.params.model_dump(mode="json", include=set(type(run.params).model_fields))
    return Markdown(
        markdown_table([[f"`{name}`", f"`{_plain(v)}`"] for name, v in values.items()], ["パラメータ", "値"])
    )


def _plain(value: Any) -> str:
    if value is None:
        return "—（Phase 5 と同じ）"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def source_rows(run: Run) -> pd.DataFrame:
    """Per model: what its phases really used, by their records and tables."""
    columns = {}
    for model in study_tables.every_model(run):
        columns[model] = _vector_source(run, model) | _steering_source(run, model)
    return pd.DataFrame(columns).fillna("—").rename_axis("項目")


def _vector_source(run: Run, model: str) -> dict[str, Any]:
    record = study_tables.record_of(run, model, "phase3")
    if record is None:
        return {}
    given = record.parameters
    counts = " / ".join(str(given[f"n_{split}"]) for split in ("train", "validation", "test"))
    return {"Phase 3: シナリオ（訓練 / 検証 / テスト）": counts, "Phase 3: データ": given["dataset"]}


def _steering_source(run: Run, model: str) -> dict[str, Any]:
    record = study_tables.record_of(run, model, "phase5")
    if record is None:
        return {}
    given, sweep = record.parameters, study_tables.test_sweep(run, model)
    chosen, counts = sweep[sweep["kind"] == "emotion"], control_counts(sweep)
    style, position = given["vector_style"], given["vector_position"]
    values = {
        "テストシナリオ": chosen["scenario"].nunique(),
        "採点したテキスト": len(sweep),
        "データ": given["dataset"],
        "採点器": given["backend"],
        "ベクトルの文・位置": f"{STYLE_NAMES.get(style, style)}・{POSITIONS.get(position, position)}",
        "層": ", ".join(map(str, sorted(set(chosen["layer"])))),
        "α": ", ".join(f"{alpha:g}" for alpha in sorted(set(chosen["alpha"]))),
        "温度": f"{given['temperature']:g}" + ("（貪欲）" if not given["temperature"] else ""),
        "再抽出の回数・シード": f"{run.params.n_bootstrap or given['n_resamples']}・{given['seed']}",
        **{f"{KIND_NAMES[family]}の数": counts.get(family, 0) for family in CONTROL_FAMILIES},
    }
    return {f"Phase 5: {name}": value for name, value in values.items()}


def samples(run: Run) -> int:
    """Texts whose scores are analysed."""
    return sum(len(study_tables.test_sweep(run, model)) for model in study_tables.models(run))


# effects


def on_target(table: pd.DataFrame) -> pd.DataFrame:
    """Every kind of steer on the steered emotion's own measures, in a fixed order of kinds and emotions."""
    kept = table[table["on_target"].astype(bool) & table["kind"].isin(ORDER)]
    emotions = list(dict.fromkeys(kept["emotion"]))
    places = {"place": kept["kind"].map(ORDER.index), "turn": kept["emotion"].map(emotions.index)}
    return kept.assign(**places).sort_values(["model", "place", "turn"], kind="stable").drop(columns=list(places))


def _own(table: pd.DataFrame) -> pd.DataFrame:
    shown = on_target(table)
    return shown[shown["kind"] == "emotion"]


def _labelled(shown: pd.DataFrame, columns: dict[str, Any]) -> pd.DataFrame:
    keys = {"モデル": shown["model"], "指標": shown["metric"].map(metric_name)}
    return pd.DataFrame({**keys, **columns}).set_index(list(keys))


def effect_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Effect sizes of the emotions' vectors on their own measures."""
    if table.empty:
        return nothing_of("phase5")
    shown = _own(table)
    means, sizes = (
        shown[columns].to_numpy() for columns in (["mean", "ci_low", "ci_high"], ["d_z", "d_low", "d_high"])
    )
    columns = {
        "平均差 [95 % BCa]": [shown_interval(*values, digits=3) for values in means],
        "d_z [95 % BCa]": [shown_interval(*values) for values in sizes],
        "Hedges g": [shown_number(value) for value in shown["hedges_g"]],
        "n": shown["n"],
        "0 でない差": shown["n_nonzero"],
        "縮退": ["縮退" if value else "" for value in shown["degenerate"]],
    }
    return _labelled(shown, columns)


def rival_effect_rows(table: pd.DataFrame) -> pd.DataFrame:
    """d_z of everything else that was done to the texts, measures down and kinds across."""
    sizes = on_target(table)
    cells = [
        "縮退" if degenerate else shown_interval(*values)
        for degenerate, values in zip(sizes["degenerate"], sizes[["d_z", "d_low", "d_high"]].to_numpy(), strict=True)
    ]
    return _across_kinds(sizes, cells)


def test_rows(table: pd.DataFrame) -> pd.DataFrame:
    """The p values of the emotions' vectors, raw and corrected."""
    names = {"p_t": "t 検定", "p_wilcoxon": "Wilcoxon", "p_bonferroni": "Bonferroni", "p_fdr": "BH"}
    return _p_values(table, names)


def rival_test_rows(table: pd.DataFrame) -> pd.DataFrame:
    """The t test's p, and that after BH, of everything else, measures down and kinds across."""
    shown = on_target(table)
    cells = [
        "縮退" if degenerate else f"{shown_p(p)}（{shown_p(fdr)}）"
        for degenerate, p, fdr in zip(shown["degenerate"], shown["p_t"], shown["p_fdr"], strict=True)
    ]
    return _across_kinds(shown, cells)


def _across_kinds(shown: pd.DataFrame, cells: list[str]) -> pd.DataFrame:
    """Cells of every kind but the emotions' own vectors, a column per kind."""
    kinds = [kind for kind in ORDER if kind != "emotion" and kind in set(shown["kind"])]
    if not kinds:
        return nothing_of("phase5")
    keyed = pd.Series(cells, index=pd.MultiIndex.from_frame(shown[["model", "metric", "kind"]])).unstack("kind")
    rows = shown.drop_duplicates(["model", "metric"])
    wide = keyed.reindex(pd.MultiIndex.from_frame(rows[["model", "metric"]]))[kinds].fillna("—")
    return _labelled(rows, {KIND_NAMES[kind]: wide[kind].to_numpy() for kind in kinds})


def rank_rows(table: pd.DataFrame) -> pd.DataFrame:
    """The emotions' vectors against every kind of controls at the same layer and strength."""
    names = {f"rank_p_{family}": KIND_NAMES[family] for family in CONTROL_FAMILIES}
    return _p_values(table, names | {"rank_p_worst": "最も厳しい対照"})


def _p_values(table: pd.DataFrame, names: dict[str, str]) -> pd.DataFrame:
    if table.empty:
        return nothing_of("phase5")
    shown = _own(table)
    columns = {title: [shown_p(value) for value in shown[name]] for name, title in names.items() if name in shown}
    return _labelled(shown, columns)


UNIT = "補正の単位（指標の種類）"


def family_rows(table: pd.DataFrame, significance: float) -> pd.DataFrame:
    """What p values of the emotions' vectors are corrected within: how many tests, and how many below the level."""
    if table.empty:
        return nothing_of("phase5")
    counted = study_tables.families(table[table["kind"] == "emotion"], significance)
    counted = counted.assign(measure=counted["measure"].map(lambda name: MEASURE_NAMES.get(name, name)))
    names = {"model": "モデル", "measure": UNIT, "tests": "検定", "degenerate": "縮退"}
    names |= {"p_t": f"p < {significance:g}", "p_bonferroni": "Bonferroni 後", "p_fdr": "BH 後"}
    return counted[list(names)].rename(columns=names).set_index(["モデル", UNIT])


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
    if table.empty:
        return nothing_of("phase5")
    wide = table.drop_duplicates(["d", "power"]).pivot(index="d", columns="power", values="n_required")
    wide.columns = [f"検出力 {power:g}" for power in wide.columns]
    return wide.rename_axis("仮定する d_z")


def detectable_rows(table: pd.DataFrame) -> pd.DataFrame:
    """What the present number of scenarios detects, per model."""
    if table.empty:
        return nothing_of("phase5")
    first = table.drop_duplicates(["model", "n", "power"])
    wide = first.pivot(index=["model", "n"], columns="power", values="detectable_d")
    wide.columns = [f"検出力 {power:g} で検出できる最小の d_z" for power in wide.columns]
    return tidy(wide, digits=2).rename_axis(["モデル", "n"])


def observed_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Observed effects and their post-hoc power, which only describes."""
    if table.empty:
        return nothing_of("phase5")
    first = table.drop_duplicates(["model", "emotion", "metric"])
    columns = {
        "モデル": first["model"],
        "指標": first["metric"].map(metric_name),
        "観測した d_z": [shown_number(value) for value in first["observed_d"]],
        "事後の検出力（記述のみ）": [shown_number(value) for value in first[study_tables.POST_HOC]],
    }
    return pd.DataFrame(columns).set_index(["モデル", "指標"])


def power_sentence(table: pd.DataFrame, smallest_d: float, significance: float) -> Markdown:
    """Whether the present number of scenarios detects the smallest effect of interest."""
    if table.empty:
        return Markdown("Phase 5 の読める記録がないため、今の設計の検出力は計算しない。")
    needed = required_scenarios(smallest_d, power=POWER, alpha=significance)
    lines = []
    for (model, n), _ in table.groupby(["model", "n"], sort=False):
        found = detectable(int(n), level=significance)
        reach = f"d_z = {found:.2f}" if math.isfinite(found) else "計算できないほど大きい"
        lines.append(
            f"- {model}: n = {n} で t 検定の検出力が {POWER:g} となる最小の効果は {reach}。関心のある最小の効果 {smallest_d:g} を"
            + ("検出できる。" if found <= smallest_d else f"検出するには {needed} シナリオが要る。")
        )
    lines.append(
        "- これは t 検定だけの値である。Phase 5 の主張は区間と順位 p を同時に求めるため、支持に要る効果は一般にこれより大きい。"
        "主張そのものの検出力は、真の効果を植え込んだモデルで測り、`docs/selftest.md` に示す。"
    )
    return Markdown("\n".join(lines))


# k


def k_rows(table: pd.DataFrame) -> pd.DataFrame:
    """The chosen k of every emotion, with what decides it on validation."""
    if table.empty:
        return _no_overlaps()
    shown = table[table["chosen"].astype(bool)]
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
        "帰無の超過の最大": [shown_number(value) for value in shown["null_max"]],
    }
    return pd.DataFrame(columns).set_index(["モデル", "感情"])


def test_overlap_rows(table: pd.DataFrame) -> pd.DataFrame:
    """The overlap on test at the chosen k and at the next, each with its null."""
    near = _chosen_and_next(table)
    if near.empty:
        return _no_overlaps()
    names = {
        "test_overlap": "重なり",
        "test_null": "帰無の平均",
        "test_null_high": "帰無の 97.5 %",
        "test_excess": "超過",
    }
    keys = {
        "モデル": near["model"],
        "感情": near["emotion"].map(emotion_name),
        "k": [
            f"{k}（選んだ k）" if chosen else f"{k}（次）" for k, chosen in zip(near["k"], near["chosen"], strict=True)
        ],
    }
    columns = {title: [shown_number(value) for value in near[name]] for name, title in names.items()}
    return pd.DataFrame({**keys, **columns}).set_index(list(keys))


def _chosen_and_next(table: pd.DataFrame) -> pd.DataFrame:
    return table[(table["k"] - table["chosen_k"]).isin([0, 1])]


def _no_overlaps() -> pd.DataFrame:
    return pd.DataFrame({"結果": ["Phase 3 の重なりの表がないため、示すものがない"]})


def overlap_rows(table: pd.DataFrame) -> pd.DataFrame:
    """overlap(k), its null and its standard error for a few k."""
    if table.empty:
        return _no_overlaps()
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
    """The rule, what it gives, and what the next direction adds."""
    if table.empty:
        return Markdown(
            "重なりの表がないため、k は選ばない（読める Phase 3 の記録と、帰無のための二つ以上の感情が要る）。"
        )
    lines = [
        "規則: 検証での超過（重なり − 帰無の平均）が最良の k から 1 標準誤差以内に入る最小の k を選ぶ。"
        "最良の超過が帰無の超過の最大を超えなければ、部分空間があるとは言わない。"
        "規則は小さい k を選ぶものであり、それより先の方向がないことの検定ではない。"
    ]
    for _, part in table.groupby(["model", "emotion"], sort=False):
        row = part[part["chosen"].astype(bool)].iloc[0]
        name = f"- {row['model']}・{emotion_name(row['emotion'])}: "
        if not row["found"]:
            text = f"規則は k = {row['chosen_k']} を選ぶが、超過は帰無の範囲を出ず、k に意味はない。"
            lines.append(name + text)
            continue
        lines.append(f"{name}k = {row['chosen_k']}。{_next_direction(row, part)}")
    return Markdown("\n".join(lines))


def _next_direction(row: pd.Series, part: pd.DataFrame) -> str:
    """What one more direction does to the excess, on validation and on test."""
    after = part[part["k"] == row["chosen_k"] + 1]
    if after.empty:
        return ""
    more = after.iloc[0]
    grows, test_grows = (more[name] > row[name] for name in ("excess", "test_excess"))
    change = f"（{shown_number(row['excess'])} → {shown_number(more['excess'])}）"
    text = f"検証では、k = {more['k']} まで広げても帰無に対する超過は増えない{change}。"
    if grows:
        text = f"検証では、k = {more['k']} まで広げると帰無に対する超過は増えるが{change}、1 標準誤差に収まる。"
    if pd.isna(more["test_overlap"]):
        return text
    change = f"（{shown_number(row['test_excess'])} → {shown_number(more['test_excess'])}）"
    text += f"テストでの超過{'も' if test_grows == grows else 'は'}{'増える' if test_grows else '増えない'}{change}。"
    own, null = shown_number(more["test_overlap"]), shown_number(more["test_null_high"])
    if more["test_overlap"] > more["test_null_high"]:
        return (
            f"{text}{'' if test_grows else 'ただし'}テストの k = {more['k']} の重なり {own} は帰無の 97.5 % 点 {null} を上回り、"
            "加わった方向がラベルに固有だとも無関係だとも言えない。"
        )
    return f"{text}テストの k = {more['k']} の重なり {own} は帰無の 97.5 % 点 {null} を超えない。"
