"""Phase 8's tables on circuits: what they explain, of what they consist, how they compare and hold."""

from __future__ import annotations

import pandas as pd
from IPython.display import Markdown

from emolib.report.ja.phase8_words import (
    ABLATIONS,
    AREAS,
    CLAIMS,
    EFFECTS,
    MATCHINGS,
    MEASURES,
    REASONS,
    ROLES,
    RULES,
    SETS,
    SPLITS,
    VERDICTS,
    spelled_node,
)
from emolib.report.markup import NOTHING, markdown_table, number, p_value, with_interval

DIGITS = 3
NO_CIRCUIT = Markdown("選ばれた回路がないため、ここで示すものはない。")


def table_effects(table: pd.DataFrame) -> Markdown:
    """The effects themselves: the denominators."""
    rows = [
        [
            EFFECTS[row["effect"]],
            SPLITS[row["split"]],
            row["n"],
            with_interval(row["whole"], row["low"], row["high"], digits=DIGITS, signed=True),
            "測れる" if row["code"] == "measured" else "測定不能（区間が 0 を含む）",
        ]
        for row in table.to_dict("records")
    ]
    return Markdown(
        markdown_table(rows, ["効果", "分割", "シナリオ", "大きさ [95 % 区間]（nat/トークン）", "分母として"])
    )


def table_verdicts(table: pd.DataFrame) -> pd.DataFrame:
    """The verdict on each circuit."""
    rows = [
        {
            "効果": EFFECTS[row["effect"]],
            "判定": VERDICTS[row["verdict"]],
            "理由": REASONS[row["reason"]],
            "ノード": f"{row['size']}（ヘッド {row['n_heads']}、MLP {row['n_mlps']}）/ {row['n_nodes']}",
            "検証の忠実度": number(row["chosen_at"]),
            "テストの忠実度 [95 % 区間]": with_interval(row["value"], row["low"], row["high"]),
            "無作為な集合の 95 % 点": number(row["random_95"]),
            "p（無作為）": p_value(row["p"]),
            "完全性": number(row["complete"]),
        }
        for row in table.to_dict("records")
    ]
    return pd.DataFrame(rows).set_index("効果")


def table_roles(table: pd.DataFrame) -> Markdown:
    """The nodes of each circuit, with their roles and what leaving them out costs."""
    if table.empty:
        return NO_CIRCUIT
    rows = [
        [
            EFFECTS[row["effect"]],
            spelled_node(row["node"]),
            ROLES[row["role"]],
            with_interval(row["loss"], row["low"], row["high"], signed=True),
            *(number(row[name], 2, signed=True) for name in ("direct", "received", "sent")),
            f"{number(row['score'], 4, signed=True)}",
            f"{number(100 * row['chosen'], 0)} %{'（核）' if row['core'] else ''}",
        ]
        for row in table.sort_values(["effect", "layer", "kind", "index"], kind="stable").to_dict("records")
    ]
    header = [
        "効果",
        "ノード",
        "役割",
        "外したときの損失 [95 % 区間]",
        "直接",
        "受ける",
        "渡す",
        "帰属",
        "再標本で選ばれる",
    ]
    return Markdown(markdown_table(rows, header))


def table_judged(table: pd.DataFrame, gaps: pd.DataFrame) -> Markdown:
    """Faithfulness, completeness and the residual path, and the gaps over parts of the circuit."""
    if table.empty:
        return NO_CIRCUIT
    rows = [
        [
            EFFECTS[row["effect"]],
            MEASURES[row["measure"]],
            with_interval(row["value"], row["low"], row["high"]) if row["code"] == "measured" else "測定不能",
        ]
        for row in table.to_dict("records")
    ]
    lines = [markdown_table(rows, ["効果", "量", "値 [95 % 区間]"]), ""]
    for effect, part in gaps.groupby("effect", sort=False):
        sizes = part["gap"].abs()
        lines.append(
            f"- {EFFECTS[str(effect)]}: 回路の無作為な部分 K {len(part)} 通りで、f(C∖K) − f(全体∖K) の大きさは平均 "
            f"{number(sizes.mean())}、最大 {number(sizes.max())}。"
        )
    return Markdown("\n".join(lines))


def table_ablations(table: pd.DataFrame) -> Markdown:
    """By what held nodes are set to."""
    if table.empty:
        return NO_CIRCUIT
    rows = []
    for (effect, ablation), part in table.groupby(["effect", "ablation"], sort=False):
        by_set = part.set_index("set")
        told = [with_interval(*by_set.loc[name, ["faithfulness", "low", "high"]]) for name in ("circuit", "nothing")]
        rows.append([EFFECTS[str(effect)], ABLATIONS[str(ablation)], *told])
    return Markdown(markdown_table(rows, ["効果", "回路の外の値", "回路の忠実度", "空集合 f(∅)"]))


def table_areas(areas: pd.DataFrame, curves: pd.DataFrame) -> Markdown:
    """CPR and CMD by both sign rules, and the faithfulness at a few sizes."""
    if areas.empty:
        return NO_CIRCUIT
    sizes = sorted(curves["share"].round(4).unique())[1:-1]
    rows = []
    for (effect, rule), part in areas.groupby(["effect", "rule"], sort=False):
        by_name = part.set_index("measure")
        own = curves[(curves["effect"] == effect) & (curves["rule"] == rule)]
        at = {round(float(share), 4): value for share, value in zip(own["share"], own["faithfulness"], strict=True)}
        told = [with_interval(*by_name.loc[name, ["value", "low", "high"]]) for name in AREAS]
        first = [number(at[size]) if size in at else NOTHING for size in sizes[:5]]
        rows.append([EFFECTS[str(effect)], RULES[str(rule)], *told, *first])
    header = ["効果", "符号の規則", *AREAS.values(), *(f"{number(100 * size, 1)} %" for size in sizes[:5])]
    return Markdown(markdown_table(rows, header))


def table_random(table: pd.DataFrame) -> Markdown:
    """The circuit against random sets."""
    if table.empty:
        return Markdown("回路がないか、回路の外のノードが足りないため、無作為な集合とは比べられない。")
    rows = [
        [
            EFFECTS[row["effect"]],
            f"{SETS[row['set']]}（{row['size']}）",
            MATCHINGS[row["matching"]],
            number(row["faithfulness"]) if row["code"] == "measured" else "測定不能",
            number(row["random"]),
            number(row["random_95"]),
            p_value(row["p"]),
            row["n"],
            f"{number(100 * row['overlap'], 0)} %",
            f"{number(100 * row['matched'], 0)} %",
        ]
        for row in table.to_dict("records")
    ]
    header = [
        "効果",
        "集合（ノード）",
        "揃えたもの",
        "忠実度",
        "無作為の平均",
        "95 % 点",
        "p",
        "集合の数",
        "回路との重なり",
        "帰属の和が揃った割合",
    ]
    return Markdown(markdown_table(rows, header))


def table_stability(table: pd.DataFrame) -> Markdown:
    """Flips of the core's claims and of the rest's."""
    if table.empty:
        return Markdown("回路がないか、シナリオが 4 未満のため、安定性は測れない。")
    rows = [
        [
            EFFECTS[row["effect"]],
            CLAIMS[row["claims"]],
            number(row["nodes"], 1),
            NOTHING if pd.isna(row["flips"]) else f"{number(100 * row['flips'], 0)} %",
            row["n_claims"],
            row["n_scenarios"],
            row["size"],
        ]
        for row in table.to_dict("records")
    ]
    header = ["効果", "ノードの組", "平均ノード数", "反転の割合", "主張の数", "シナリオ", "選ぶ数"]
    return Markdown(markdown_table(rows, header))
