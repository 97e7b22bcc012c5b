"""Phase 7's effect sizes, tests and ranks."""

from __future__ import annotations

import pandas as pd
from IPython.display import Markdown

from emolib.plots import figures
from emolib.report.ja.names import metric_name
from emolib.report.ja.phase5_words import KINDS
from emolib.report.ja.phase7_words import DEGENERATE, MEASURE_NAMES, by_model, nothing, nothing_of, unless_blank
from emolib.report.markup import NOTHING, number, p_value, show, with_interval
from emolib.statistics.effect_sizes import CONTROL_FAMILIES
from emolib.study.run import Run

ORDER = ("emotion", "direct_path", "pca", "probe", "subspace", "prompting")
TESTS = {
    **{"p_t": "t 検定", "p_wilcoxon": "Wilcoxon", "p_sign": "符号検定", "p_flip": "符号反転"},
    **{"p_bonferroni": "Bonferroni", "p_fdr": "BH"},
}
UNIT = "補正の単位（指標の種類）"
ALL_DEGENERATE = "すべて縮退しており、効果量と区間を計算しない"


def on_target(effects: pd.DataFrame) -> pd.DataFrame:
    """Every kind of steer on the steered emotion's own measures, in a fixed order of kinds and emotions."""
    kept = effects[effects["on_target"].astype(bool) & effects["kind"].isin(ORDER)]
    emotions = list(dict.fromkeys(kept["emotion"]))
    places = {"place": kept["kind"].map(ORDER.index), "turn": kept["emotion"].map(emotions.index)}
    return kept.assign(**places).sort_values(["model", "place", "turn"], kind="stable").drop(columns=list(places))


def _own(effects: pd.DataFrame) -> pd.DataFrame:
    shown = on_target(effects)
    return shown[shown["kind"] == "emotion"]


def table_effects(effects: pd.DataFrame) -> pd.DataFrame | Markdown:
    """Effect sizes of the emotions' vectors on their own measures."""
    if effects.empty:
        return nothing_of("phase5")
    shown = _own(effects)
    means, sizes = (
        shown[columns].to_numpy() for columns in (["mean", "ci_low", "ci_high"], ["d_z", "d_low", "d_high"])
    )
    columns = {
        "平均差 [95 % BCa]": [with_interval(*values, digits=3) for values in means],
        "d_z [95 % BCa]": [with_interval(*values) for values in sizes],
        "Hedges g": [number(value) for value in shown["hedges_g"]],
        "n": shown["n"],
        "0 でない差": shown["n_nonzero"],
        DEGENERATE: [DEGENERATE if value else "" for value in shown["degenerate"]],
    }
    return by_model(shown, columns)


def table_other_effects(effects: pd.DataFrame) -> pd.DataFrame | Markdown:
    """d_z of everything else that was done to the texts, measures down and kinds across."""
    shown = on_target(effects)
    cells = [
        DEGENERATE if degenerate else with_interval(*values)
        for degenerate, values in zip(shown["degenerate"], shown[["d_z", "d_low", "d_high"]].to_numpy(), strict=True)
    ]
    return _across_kinds(shown, cells)


def table_tests(effects: pd.DataFrame) -> pd.DataFrame | Markdown:
    """The p values of the emotions' vectors, raw and corrected."""
    return _p_values(effects, TESTS)


def table_other_tests(effects: pd.DataFrame) -> pd.DataFrame | Markdown:
    """The t test's p, and that after BH, of everything else, measures down and kinds across."""
    shown = on_target(effects)
    cells = [
        DEGENERATE if degenerate else f"{p_value(p)}（{p_value(fdr)}）"
        for degenerate, p, fdr in zip(shown["degenerate"], shown["p_t"], shown["p_fdr"], strict=True)
    ]
    return _across_kinds(shown, cells)


def _across_kinds(shown: pd.DataFrame, cells: list[str]) -> pd.DataFrame | Markdown:
    """Cells of every kind but the emotions' own vectors, a column per kind."""
    kinds = [kind for kind in ORDER if kind != "emotion" and kind in set(shown["kind"])]
    if not kinds:
        return nothing_of("phase5")
    keyed = pd.Series(cells, index=pd.MultiIndex.from_frame(shown[["model", "metric", "kind"]])).unstack("kind")
    rows = shown.drop_duplicates(["model", "metric"])
    wide = keyed.reindex(pd.MultiIndex.from_frame(rows[["model", "metric"]]))[kinds].fillna(NOTHING)
    columns = {KINDS[kind]: wide[kind].to_numpy() for kind in kinds}
    return unless_blank(by_model(rows, columns), list(columns), ALL_DEGENERATE)


def table_ranks(effects: pd.DataFrame) -> pd.DataFrame | Markdown:
    """The emotions' vectors against every family of controls at the same layer and strength."""
    names = {f"rank_p_{family}": KINDS[family] for family in CONTROL_FAMILIES}
    return _p_values(effects, names | {"rank_p_worst": "最も厳しい対照群"})


def _p_values(effects: pd.DataFrame, names: dict[str, str]) -> pd.DataFrame | Markdown:
    if effects.empty:
        return nothing_of("phase5")
    shown = _own(effects)
    known = {title: shown[name] for name, title in names.items() if name in shown}
    if all((values.isna() | (values == 1)).all() for values in known.values()):
        return nothing("どの p も 1 であるか、計算できない")
    columns = {title: [p_value(value) for value in values] for title, values in known.items()}
    return by_model(shown, columns)


def table_families(counted: pd.DataFrame, significance: float) -> pd.DataFrame | Markdown:
    """What p values of the emotions' vectors are corrected within: how many tests, and how many below the level.

    Args:
        counted: `emolib.study.phase7_claims.families` of the emotions' vectors.
    """
    if counted.empty:
        return nothing_of("phase5")
    if (counted["tests"] == counted["degenerate"]).all():
        return nothing(f"{counted['tests'].sum()} 件の比較が{ALL_DEGENERATE}")
    counted = counted.assign(measure=counted["measure"].map(lambda name: MEASURE_NAMES.get(name, name)))
    names = {"model": "モデル", "measure": UNIT, "tests": "検定", "degenerate": DEGENERATE}
    names |= {"p_t": f"p < {significance:g}", "p_bonferroni": "Bonferroni 後", "p_fdr": "BH 後"}
    return counted[list(names)].rename(columns=names).set_index(["モデル", UNIT])


def figure_effects(run: Run, effects: pd.DataFrame) -> None:
    """d_z of every kind on the emotions' own measures."""
    axes = figures.Axes("当該感情の指標への効果（95 % BCa 区間）", x="d_z")
    ends = figures.Band("d_low", "d_high")
    drawn = figures.forest(forest_rows(effects), x="d_z", label="label", colour="kind", axes=axes, ends=ends)
    show(run, drawn, "effect_forest")


def forest_rows(effects: pd.DataFrame) -> pd.DataFrame:
    """What the forest plot draws; a row without d_z stays empty."""
    shown = on_target(effects)
    several = shown["model"].nunique() > 1
    labels = [
        (f"{row['model']} " if several else "") + metric_name(row["metric"])
        for row in shown[["model", "metric"]].to_dict("records")
    ]
    return shown.assign(label=labels, kind=shown["kind"].map(KINDS)).drop_duplicates(["label", "kind"])
