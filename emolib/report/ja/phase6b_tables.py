"""Phase 6b's tables and figures: shares by mode, sources, ablations, A/A, interactions, steers."""

from __future__ import annotations

import pandas as pd
from IPython.display import Markdown

from emolib.circuits.head_findings import (
    interaction_code,
    main_effects,
    steering_code,
    uniformity_code,
    with_codes,
)
from emolib.plots.axes import Axes, Band
from emolib.plots.forest import forest
from emolib.report.ja.phase6b_words import (
    ALL,
    CODES,
    CONTRASTS,
    EXTENTS,
    INTERACTIONS,
    MODES,
    SOURCES,
    STEERING,
    TARGETS,
    UNIFORMITY,
    WAYS,
    ablation_word,
    emotion_word,
)
from emolib.report.markup import NOTHING, column_table, number, p_value, show, with_interval
from emolib.study.run import Run

NO_SECOND = "ヘッドが一つなので、複数のヘッドの相互作用は測れない。"
NO_S = "感情が一つしかないか、強さが届かないため、操作の効果（S）は測れない。"


def _effect(table: pd.DataFrame, name: str = "mean") -> list[str]:
    cells = table[[name, "ci_low", "ci_high"]].to_numpy(float)
    return [with_interval(*row, digits=3, signed=True) for row in cells]


def _share(table: pd.DataFrame) -> list[str]:
    cells = table[["share", "share_low", "share_high"]].to_numpy(float)
    return ["測定不能" if pd.isna(row[0]) else with_interval(*row) for row in cells]


def table_heads(table: pd.DataFrame) -> Markdown:
    """The heads in order, and where they come from."""
    origin = {"named": "指定", "ranked": "Phase 6a の順位（検証シナリオの厳密な除去）"}
    rows = {"順": range(1, len(table) + 1), "層": table["layer"], "ヘッド": table["head"]}
    return column_table({**rows, "選び方": table["origin"].map(origin)})


def table_context(table: pd.DataFrame) -> Markdown:
    """The effect of the context on m: what heads are to explain."""
    rows = {
        "感情": table["emotion"].map(emotion_word),
        "n": table["n"],
        "文脈の効果 [95 %]": _effect(table),
        "d_z": [number(value) for value in table["d_z"]],
        "p": [p_value(value) for value in table["p_t"]],
        "測れるか": ["測れる" if known else "測定不能" for known in table["measurable"]],
    }
    return column_table(rows)


def table_modes(effects: pd.DataFrame) -> Markdown:
    """The three modes side by side, all emotions together: the share of the context's effect."""
    found = main_effects(effects)
    whole = found[found["emotion"] == _together(found)]
    rows = {
        "ヘッド": whole["heads"],
        "向き": whole["target"].map(TARGETS),
        "方式": whole["mode"].map(MODES),
        "n": whole["n"],
        "Δm [95 %]": _effect(whole),
        "割合 [95 %]": _share(whole),
        "p": [p_value(value) for value in whole["p_t"]],
        "判定": whole["code"].map(CODES),
    }
    return column_table(rows)


def table_modes_by_emotion(effects: pd.DataFrame) -> Markdown:
    """The same by emotion, for the mode `result`."""
    found = main_effects(effects)
    own = found[(found["mode"] == "result") & (found["emotion"] != ALL)]
    rows = {
        "ヘッド": own["heads"],
        "向き": own["target"].map(TARGETS),
        "感情": own["emotion"].map(emotion_word),
        "n": own["n"],
        "Δm [95 %]": _effect(own),
        "割合 [95 %]": _share(own),
    }
    return column_table(rows)


def figure_modes(run: Run, effects: pd.DataFrame) -> None:
    """The shares of the three modes, one row per head and direction."""
    found = main_effects(effects)
    whole = found[found["emotion"] == _together(found)].copy()
    whole["row"] = [f"{heads} {TARGETS[target]}" for heads, target in zip(whole["heads"], whole["target"], strict=True)]
    axes = Axes(
        "文脈の効果のうちヘッドが担う割合", x="割合", names={mode: MODES[mode] for mode in whole["mode"].unique()}
    )
    fig = forest(whole, "share", "row", "mode", axes, ends=Band("share_low", "share_high"))
    show(run, fig, "head_modes")


def table_sources(effects: pd.DataFrame) -> Markdown:
    """Whose activations the heads get: what they carry."""
    chosen = effects[
        (effects["mode"] == "result") & (effects["extent"] == "whole") & (effects["emotion"] == _together(effects))
    ]
    single = chosen[~chosen["heads"].str.contains("+", regex=False)]
    coded = with_codes(single.reset_index(drop=True))
    rows = {
        "ヘッド": coded["heads"],
        "向き": coded["target"].map(TARGETS),
        "元の文": coded["source"].map(SOURCES),
        "n": coded["n"],
        "Δm [95 %]": _effect(coded),
        "割合 [95 %]": _share(coded),
        "p": [p_value(value) for value in coded["p_t"]],
    }
    return column_table(rows)


def table_contrasts(table: pd.DataFrame) -> Markdown:
    """What one source carries beyond another."""
    whole = table[(table["emotion"] == _together(table)) & (table["mode"] == "result")]
    rows = {
        "ヘッド": whole["heads"],
        "差": whole["contrast"].map(CONTRASTS),
        "n": whole["n"],
        "Δm の差 [95 %]": _effect(whole),
        "p": [p_value(value) for value in whole["p_t"]],
    }
    return column_table(rows)


def table_null(table: pd.DataFrame, found: dict[str, float]) -> Markdown:
    """A/A: the p values between two neutral sources, in bins, and whether they are uniform."""
    known = table["p_t"].dropna()
    counts = pd.cut(known, [0, 0.05, 0.25, 0.5, 0.75, 1.0], include_lowest=True).value_counts(sort=False)
    rows: dict[str, list[object]] = {f"p ≤ {interval.right:g}": [int(count)] for interval, count in counts.items()}
    rows |= {
        "p の数": [int(found["n"])],
        "0.05 以下の割合": [number(found["share_05"])],
        "KS の p": [p_value(found["p_ks"])],
    }
    return column_table({"帰無": ["A/A"], **rows, "判定": [UNIFORMITY[uniformity_code(found)]]})


def table_ablations(table: pd.DataFrame) -> Markdown:
    """What ablated heads take of the context's effect."""
    whole = with_codes(table[table["emotion"] == _together(table)].reset_index(drop=True))
    rows = {
        "ヘッド": whole["heads"],
        "方法": whole["mode"].map(MODES),
        "n": whole["n"],
        "文脈の効果の変化 [95 %]": _effect(whole),
        "失われた割合 [95 %]": _share(whole),
        "p": [p_value(value) for value in whole["p_t"]],
        "判定": whole["code"].map(CODES),
    }
    return column_table(rows)


def table_interactions(table: pd.DataFrame) -> Markdown:
    """Δ(AB) − Δ(A) − Δ(B) with its interval and its rank among random pairs."""
    if table.empty:
        return Markdown(NO_SECOND)
    rows = {
        "ヘッドの組": table["pair"],
        "n": table["n"],
        "Δ(A)": [number(value, 3, signed=True) for value in table["delta_a"]],
        "Δ(B)": [number(value, 3, signed=True) for value in table["delta_b"]],
        "Δ(AB)": [number(value, 3, signed=True) for value in table["delta_ab"]],
        "相互作用 [95 %]": _effect(table),
        "順位 p（ランダムな組）": [
            f"{p_value(p)}（{n} 組）" if n else NOTHING for p, n in zip(table["p_null"], table["n_null"], strict=True)
        ],
        "ランダムな組の sd": [number(value, 3) for value in table["null_sd"]],
        "判定": [INTERACTIONS[interaction_code(row)] for _, row in table.iterrows()],
    }
    return column_table(rows)


def table_mediation(table: pd.DataFrame) -> Markdown:
    """How much of the residual steer's S ablated heads take."""
    if table.empty:
        return Markdown(NO_S)
    coded = with_codes(table)
    whole = coded[["s_with", "s_low", "s_high"]].to_numpy(float)
    rows = {
        "アブレーション": coded["ablation"].map(ablation_word),
        "感情": coded["emotion"].map(emotion_word),
        "n": coded["n"],
        "S（ヘッドはそのまま）[95 %]": [with_interval(*row, digits=3, signed=True) for row in whole],
        "S（残り）": [number(value, 3, signed=True) for value in coded["s_left"]],
        "失われた S [95 %]": _effect(coded),
        "割合 [95 %]": _share(coded),
        "判定": coded["code"].map(CODES),
    }
    return column_table(rows)


def table_strengths(table: pd.DataFrame) -> Markdown:
    """The strengths at which both ways change the next token alike."""
    rows = {
        "操作": table["way"].map(WAYS),
        "感情": table["emotion"].map(emotion_word),
        "倍率": [number(value, 3) if pd.notna(value) else "届かない" for value in table["factor"]],
        "KL（nat）": [number(value, 3) for value in table["kl"]],
    }
    return column_table(rows)


def table_ways(ways: pd.DataFrame, damage: pd.DataFrame) -> Markdown:
    """Steering by heads beside the residual steer: S, broken shares, likelihood, and the published claim."""
    if ways.empty or damage.empty:
        return Markdown(NO_S)
    both = ways.merge(damage, on="emotion", suffixes=("", "_texts"))
    rows = {
        "感情": both["emotion"].map(emotion_word),
        "S: 残差": [number(value, 3, signed=True) for value in both["s_residual"]],
        "S: ヘッド": [number(value, 3, signed=True) for value in both["s_heads"]],
        "差 [95 %]": _effect(both, "difference"),
        "破綻: 残差": [number(value) for value in both["broken_residual"]],
        "破綻: ヘッド": [number(value) for value in both["broken_heads"]],
        "NLL: 残差": [number(value) for value in both["nll_residual"]],
        "NLL: ヘッド": [number(value) for value in both["nll_heads"]],
        "判定": [STEERING[steering_code(row, row)] for _, row in both.iterrows()],
    }
    return column_table(rows)


def table_extents(effects: pd.DataFrame) -> Markdown:
    """One token against thirty, and against all."""
    chosen = effects[
        (effects["mode"] == "result")
        & (effects["source"] == "same")
        & (effects["target"] == "neutral")
        & (effects["emotion"] == _together(effects))
    ]
    single = chosen[~chosen["heads"].str.contains("+", regex=False)].sort_values("heads", kind="stable")
    single = with_codes(single.reset_index(drop=True))
    rows = {
        "ヘッド": single["heads"],
        "範囲": single["extent"].map(EXTENTS),
        "n": single["n"],
        "Δm [95 %]": _effect(single),
        "割合 [95 %]": _share(single),
        "判定": single["code"].map(CODES),
    }
    return column_table(rows)


def _together(table: pd.DataFrame) -> str:
    """All emotions together; with a single one that one."""
    return ALL if (table["emotion"] == ALL).any() else str(table["emotion"].iloc[0])
