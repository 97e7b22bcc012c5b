"""Phase 8: 結論, 考察 and 次のアクション, computed from the verdicts and the tables."""

from __future__ import annotations

import pandas as pd
from IPython.display import Markdown

from emolib.report.ja.frame import three_lines
from emolib.report.ja.names import emotion_name
from emolib.report.ja.phase6a_words import spelled_head
from emolib.report.ja.phase8_words import EFFECTS, REASONS, ROLES, VERDICTS, spelled_node
from emolib.report.markup import number, p_value, with_interval
from emolib.steering.claims import NOT_MEASURABLE
from emolib.steering.findings import NOT_SUPPORTED, SUPPORTED, UNDERPOWERED

LEVEL = 0.05
PATHS = {
    "context": "0 から離れるものは、回路ではなく置き換えそのものが m を動かしている。",
    "steer": "操作が残差の経路だけで届く分を含む。",
}
MOST_FLIPS = 0.1  # that a node called core may have


def conclusion(verdicts: pd.DataFrame, largest: pd.DataFrame, routing: pd.DataFrame) -> Markdown:
    """結論: the verdicts on both circuits, on what they hang, what could not be told."""
    return three_lines(
        found="".join(_found(row) for row in verdicts.to_dict("records")),
        rests_on=_rests_on(verdicts, largest),
        not_measured=_not_measured(verdicts, largest, routing),
    )


def _found(row: dict) -> str:
    line = f"{EFFECTS[row['effect']]}を少数のノードの回路が説明することは**{VERDICTS[row['verdict']]}**（{REASONS[row['reason']]}）。"
    if row["verdict"] == NOT_MEASURABLE or not row["size"]:
        return line
    share = with_interval(row["value"], row["low"], row["high"])
    return f"{line}{row['size']} ノード（全 {row['n_nodes']}）のテストの忠実度は {share}。"


def _rests_on(verdicts: pd.DataFrame, largest: pd.DataFrame) -> str:
    parts = [
        f"{EFFECTS[row['effect']]}はテスト {row['n']} シナリオ、無作為な集合との p は {p_value(row['p'])}"
        for row in verdicts.to_dict("records")
        if row["verdict"] != NOT_MEASURABLE
    ]
    own = _own_gain(largest)
    best = own.loc[own["p"].idxmin()]
    floor = 1 / (1 + int(best["n_controls"]))
    few = f"対照 {int(best['n_controls'])} 本では p が 0.05 に届かない。" if floor > LEVEL else ""
    parts.append(
        f"{few}重みでは、自分の方向を写す利得が残差の共分散の対照を超えるヘッドは感情ごとに最大 {int(own['n_beyond'].max())} 個"
        f"（最小の p は {p_value(best['p'])}、{emotion_name(best['emotion'])}の {spelled_head((int(best['layer']), int(best['head'])))}）"
    )
    return "。".join(parts) + "。"


def _own_gain(largest: pd.DataFrame) -> pd.DataFrame:
    table = largest[(largest["target"] == "self") & (largest["measure"] == "gain")]
    return table[table["family"] == "covariance"]


def _not_measured(verdicts: pd.DataFrame, largest: pd.DataFrame, routing: pd.DataFrame) -> str:
    parts = [
        f"{EFFECTS[row['effect']]}の回路は{VERDICTS[row['verdict']]}（{REASONS[row['reason']]}）"
        for row in verdicts.to_dict("records")
        if row["verdict"] in (NOT_MEASURABLE, UNDERPOWERED)
    ]
    if "context" not in set(verdicts["effect"]):
        parts.append("続く文と語の重ならない文脈が足りず、文脈の効果の回路は測れない")
    if "steer" not in set(verdicts["effect"]):
        parts.append("感情が一つのため S はなく、操作の効果の回路は測れない")
    if "topic" not in set(largest["family"]):
        parts.append("話題のベクトルは、話題ごとの中立文が足りず比べていない")
    if routing.empty:
        parts.append("感情語への注意は、一トークンの感情語をもつ文が足りず測れない")
    parts.append("三つ以上のノードをつなぐ経路と、感情ごとの回路は調べていない")
    return "。".join(parts) + "。"


def discussion(
    verdicts: pd.DataFrame, roles: pd.DataFrame, ablations: pd.DataFrame, stability: pd.DataFrame, cut: pd.DataFrame
) -> Markdown:
    """考察: what each verdict hangs on, what the ablation does, roles, stability, edges to the emotion's word."""
    lines = [_verdict_line(row) for row in verdicts.to_dict("records")]
    lines += [*_ablation_lines(ablations), *_role_lines(roles), *_shared_lines(roles)]
    lines += [*_stability_lines(stability), *_cut_lines(cut)]
    return Markdown("\n".join(f"- {line}" for line in lines))


def _verdict_line(row: dict) -> str:
    name, reason = EFFECTS[row["effect"]], REASONS[row["reason"]]
    if row["verdict"] == NOT_MEASURABLE:
        return f"{name}は、{reason}ため、何も言えない。回路がないことも意味しない。"
    if row["verdict"] == SUPPORTED:
        return (
            f"{name}の {row['size']} ノードは、テストでも効果の {number(100 * row['value'], 0)} % を担い、判定に使った無作為な"
            f"集合（95 % 点 {number(row['random_95'])}）を超える。生成文についての主張ではない。"
        )
    if row["verdict"] == NOT_SUPPORTED:
        return f"{name}は小さな回路に収まらない（{reason}）。効果は、ここで許した数より多くのノードに分かれている。"
    return (
        f"{name}の {row['size']} ノードの忠実度は {number(row['value'])} であるが、{reason}。無作為な集合の 95 % 点は "
        f"{number(row['random_95'])} である。"
    )


def _ablation_lines(table: pd.DataFrame) -> list[str]:
    lines = []
    for effect, part in table[table["set"] == "circuit"].groupby("effect", sort=False):
        values = part.set_index("ablation")["faithfulness"]
        nothing = table[(table["effect"] == effect) & (table["set"] == "nothing")].set_index("ablation")["faithfulness"]
        if values.isna().all():
            continue
        lines.append(
            f"{EFFECTS[str(effect)]}の忠実度は、回路の外を resample にすると {number(values['resample'])}、効果のないときの値で "
            f"{number(values['own'])}、平均で {number(values['mean'])}、ゼロで {number(values['zero'])} である。空集合では順に "
            f"{'、'.join(number(nothing[name]) for name in ('resample', 'own', 'mean', 'zero'))} で、"
            f"{PATHS[str(effect)]}"
        )
    return lines


def _role_lines(table: pd.DataFrame) -> list[str]:
    lines = []
    for effect, part in table.groupby("effect", sort=False):
        told = [
            f"{ROLES[role]}は {'・'.join(spelled_node(name) for name in part.loc[part['role'] == role, 'node'])}"
            for role in ROLES
            if (part["role"] == role).any()
        ]
        lines.append(f"{EFFECTS[str(effect)]}の役割: {'、'.join(told)}。")
    return lines


def _shared_lines(table: pd.DataFrame) -> list[str]:
    by_effect = [set(part["node"]) for _, part in table.groupby("effect")]
    if len(by_effect) < 2:
        return []
    shared = sorted(set.intersection(*by_effect))
    if not shared:
        return ["二つの効果の回路に、共通のノードはない。"]
    return [f"二つの効果の回路に共通するノードは {len(shared)} 個（{'・'.join(map(spelled_node, shared))}）である。"]


def _stability_lines(table: pd.DataFrame) -> list[str]:
    lines = []
    for effect, part in table.groupby("effect", sort=False):
        by_claim = part.set_index("claims")
        core, rest = (by_claim.loc[name, "flips"] for name in ("core", "rest"))
        name = EFFECTS[str(effect)]
        if pd.isna(core):
            lines.append(
                f"{name}では、半分のシナリオの再標本でほぼ必ず選ばれるノード（核）がない。個々のノードの名は主張しない。"
            )
            continue
        kept = (
            "目標（10 % 未満）を満たす"
            if core < MOST_FLIPS
            else "目標（10 % 未満）を満たさず、個々のノードの名は主張しない"
        )
        beside = "" if pd.isna(rest) else f"、残りは {number(100 * rest, 0)} %"
        lines.append(f"{name}では、別の半分のシナリオで核の主張の {number(100 * core, 0)} % が反転し、{kept}{beside}。")
    return lines


def _cut_lines(table: pd.DataFrame) -> list[str]:
    together = table[(table["layer"] < 0) & (table["form"] == "frozen")]
    if together.empty:
        return []
    by_role = together.set_index("role")
    own = by_role.loc["top"]
    told = with_interval(own["mean"], own["ci_low"], own["ci_high"], digits=3, signed=True)
    line = f"感情語を最もよく見るヘッドに、同時に別の内容語の値を読ませると、m は {told} nat/トークン変わる"
    if "random" in by_role.index:
        other = by_role.loc["random"]
        line += f"（無作為なヘッドでは {with_interval(other['mean'], other['ci_low'], other['ci_high'], digits=3, signed=True)}）"
    carried = own["ci_high"] < 0
    return [f"{line}。{'注意は効果の一部を運ぶ' if carried else '見ることと運ぶことは別であり、運ぶとは言えない'}。"]


def next_actions(verdicts: pd.DataFrame, stability: pd.DataFrame) -> Markdown:
    """次のアクション, computed."""
    codes = set(verdicts["verdict"])
    lines = []
    if NOT_MEASURABLE in codes:
        lines.append(
            "- 効果が確かめられない側は、`n_chosen` と `n_judged` を増やし、Phase 5 の計器（正例）の結果を先に見る。"
        )
    if UNDERPOWERED in codes:
        lines.append("- 検出力不足の回路は、`n_judged` と `n_random` を増やして確かめる。")
    if NOT_SUPPORTED in codes:
        lines.append("- `most_nodes` を増やすか、MLP をニューロンの組に分けて、どの大きさで基準に届くかを見る。")
    if (stability["flips"] > MOST_FLIPS).any():
        lines.append("- 反転の多いノードは、`n_attributed` を増やして選び直す。")
    if (verdicts["n_heads"] > 0).any():
        lines.append(
            "- 書き込みと読み出しのヘッドを `emolib run --phase phase6b --head-spec` に渡し、値と注意パターンのどちらが担うかを調べる。"
        )
    lines.append("- 別のモデルで同じ回路の選び方を繰り返し、判定と役割の並びが保たれるかを見る。")
    return Markdown("\n".join(lines))
