"""Phase 6a's tables."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from IPython.display import Markdown

from emolib.base.escaping import Name
from emolib.circuits.attribution_bends import CHANGES, bend_summary
from emolib.circuits.screening import LEVEL, POOLED, Exact, Head
from emolib.report.ja.names import emotion_name, metric_name, style_name
from emolib.report.ja.phase6a_words import CAUSES, KINDS, POSITIONS, REASONS, ROADS, ROLES, VERDICTS, spelled_head
from emolib.report.markup import NOTHING, markdown_table, number, p_value, with_interval
from emolib.steering.claims import NOT_MEASURABLE

MOST = 10  # heads in a ranked table
DIGITS = 3


def table_effects(exact: Exact, labels: Exact, neutral: str) -> Markdown:
    """The effects that heads are held against, before anything is ablated."""
    rows = []
    for name, found in (("全ヘッドの除去（感情を順に）", exact), ("選択ヘッドの除去", labels)):
        for (emotion, other), part in found.units.groupby(["emotion", "other"], sort=False):
            mean, se = part["base"].mean(), part["base"].sem()
            against = "中立" if other == neutral else emotion_name(str(other))
            rows.append(
                [name, emotion_name(str(emotion)), against, len(part), number(mean, DIGITS), number(se, DIGITS)]
            )
    return Markdown(
        markdown_table(rows, ["どこで", "感情", "何に対して", "シナリオ", "文脈の効果（nat/トークン）", "SE"])
    )


def table_writes(table: pd.DataFrame) -> Markdown:
    """The heads that write most along each emotion's direction."""
    rows = []
    for (style, position, emotion), part in table.groupby(["style", "position", "emotion"], sort=False):
        best = part.loc[part["written"].abs().idxmax()]
        size = number(best["written"], DIGITS, signed=True)
        rows.append(
            [
                "すべて" if style == "all" else style_name(str(style)),
                POSITIONS[str(position)],
                emotion_name(str(emotion)),
                spelled_head((int(best["layer"]), int(best["head"]))),
                f"{size}（SD {number(best['sd'], DIGITS)}）",
                number(best["cosine"], 2, signed=True),
                p_value(best["p_rotation"]),
                p_value(best["p_max"]),
                int((part["p_max"] <= 0.05).sum()),
                len(part),
            ]
        )
    header = [
        "文",
        "位置",
        "感情",
        "最大のヘッド",
        "書き込み",
        "コサイン",
        "p（回転）",
        "p（最大統計量）",
        "p ≤ 0.05",
        "ヘッド",
    ]
    return Markdown(markdown_table(rows, header))


def table_agreement(table: pd.DataFrame) -> Markdown:
    """The roads beside the exact one, over all layers and by depth."""
    rows = [
        [
            ROADS[row["estimate"]],
            f"{row['first']}–{row['last']}",
            row["n"],
            number(row["correlation"], 2, signed=True),
            number(row["size"], 2),
            number(row["same_sign"], 2),
        ]
        for row in table.to_dict("records")
    ]
    return Markdown(markdown_table(rows, ["推定", "層", "ヘッド", "順位相関", "大きさの比", "符号の一致"]))


def table_bends(bends: pd.DataFrame) -> Markdown:
    """Where first order errs: sizes over the exact change's, with one piece of the way made linear at a time."""
    rows = [
        [
            KINDS[row["kind"]],
            row["layer"],
            number(row["exact"], 4),
            *(number(row[name]) for name in CHANGES[1:]),
            f"{number(100 * row['moved'], 0)} %",
            CAUSES[row["cause"]],
        ]
        for row in bend_summary(bends).to_dict("records")
    ]
    header = [
        "除去",
        "層",
        "厳密な変化（RMS、nat/トークン）",
        "AtP",
        "初め 5 %",
        "半分まで",
        "ブロック内だけ一次",
        "後の層だけ一次",
    ]
    return Markdown(
        markdown_table(rows, [*header, "正規化の長さを固定", "残差に占める変化", "ずれの半分以上を生む部分"])
    )


def table_ranked(scores: pd.DataFrame, missed: pd.DataFrame) -> Markdown:
    """The heads whose ablation takes most from the effect, with corrected p."""
    own = scores[scores["emotion"] == POOLED].sort_values(["t", "layer", "head"], kind="stable").head(MOST)
    limits = missed.set_index(["layer", "head"])["upper"]
    rows = []
    for row in own.to_dict("records"):
        se = row["delta_std"] / row["n_samples"] ** 0.5
        upper = limits.get((row["layer"], row["head"]))
        rows.append(
            [
                spelled_head((row["layer"], row["head"])),
                number(row["delta_mean"], DIGITS, signed=True),
                number(se, DIGITS),
                row["n_samples"],
                number(row["t"], 2, signed=True),
                p_value(row["p"]),
                p_value(row["p_max"]),
                NOTHING if upper is None else number(upper, DIGITS),
            ]
        )
    header = ["ヘッド", "Δ（nat/トークン）", "SE", "シナリオ", "t", "p", "p（最大統計量）", "AtP の見落としの上限"]
    pooled = scores[scores["emotion"] == POOLED]
    sure = pooled[pooled["p_max"] <= LEVEL]
    losing = int((sure["delta_mean"] < 0).sum())
    counts = (
        f"全 {len(pooled)} ヘッドのうち、最大統計量で p ≤ 0.05 のものは、除去で効果が減るもの {losing} 個、"
        f"増えるもの {len(sure) - losing} 個。"
    )
    return Markdown(f"{markdown_table(rows, header)}\n\n{counts}")


def table_selection(
    ranking: pd.DataFrame, attribution: pd.DataFrame, selection: tuple[Sequence[Head], Sequence[Head]]
) -> Markdown:
    """The heads that exact ablation selected on validation scenarios and their controls, beside what AtP says there."""
    own, estimated = (
        table[table["emotion"] == POOLED].set_index(["layer", "head"]) for table in (ranking, attribution)
    )
    place = (estimated["carried"] / estimated["se"].clip(lower=1e-12)).rank(ascending=False, method="min")
    rows = []
    for role, heads in zip(("top", "random"), selection, strict=True):
        for head in heads:
            exact, atp = own.loc[head], estimated.loc[head]
            rows.append(
                [
                    spelled_head(head),
                    ROLES[role],
                    number(exact["delta_mean"], DIGITS, signed=True),
                    number(exact["t"], 2, signed=True),
                    int(exact["n_samples"]),
                    number(-atp["carried"], DIGITS, signed=True),
                    f"{int(place[head])} / {len(place)}",
                ]
            )
    header = ["ヘッド", "役割", "検証での Δ（厳密、nat/トークン）", "t", "シナリオ", "AtP による Δ", "AtP の順位"]
    return Markdown(markdown_table(rows, header))


def table_controls(table: pd.DataFrame) -> Markdown:
    """The selected heads beside their controls on test scenarios."""
    if table.empty:
        return Markdown("同じ層にほかのヘッドがないため、対照はない。")
    rows = [
        [
            spelled_head((int(row["layer"]), int(row["head"]))),
            spelled_head((int(row["layer"]), int(row["control"]))),
            number(row["control_norm"] / row["norm"]),
            number(row["carried"], DIGITS, signed=True),
            number(row["control_carried"], DIGITS, signed=True),
            with_interval(row["difference"], row["low"], row["high"], digits=DIGITS, signed=True),
            p_value(row["p"]),
        ]
        for row in table.to_dict("records")
    ]
    header = ["ヘッド", "対照", "ノルムの比", "担う量（nat/トークン）", "対照が担う量", "差 [95 % 区間]", "p"]
    return Markdown(markdown_table(rows, header))


def table_mlps(table: pd.DataFrame) -> Markdown:
    """The MLPs that AtP says carry most, first-order alone."""
    first = table.reindex(table["carried"].abs().sort_values(ascending=False, kind="stable").index).head(MOST)
    rows = [
        [
            row["layer"],
            number(row["carried"], DIGITS, signed=True),
            number(row["se"], DIGITS),
            f"{row['neuron']}（{number(row['neuron_carried'], DIGITS, signed=True)}）",
        ]
        for row in first.to_dict("records")
    ]
    return Markdown(markdown_table(rows, ["層", "担う量の推定（nat/トークン）", "SE", "最大のニューロン"]))


def table_halves(table: pd.DataFrame) -> Markdown:
    """Whether the order of heads holds over scenarios."""
    if table.empty:
        return Markdown("シナリオが 4 未満のため、折半による信頼性は測れない。")
    row = table.iloc[0]
    interval = with_interval(row["correlation"], row["low"], row["high"])
    return Markdown(
        f"シナリオを二つに分けたときの、厳密な除去によるヘッドの順位相関は {interval}（分け方の 90 % の範囲）、"
        f"全シナリオに直すと {number(row['corrected'])} である（{int(row['n_scenarios'])} シナリオ）。"
    )


def table_missed(table: pd.DataFrame) -> Markdown:
    """How large the effect of a head that AtP passed over may be."""
    worst = table.loc[table["upper"].idxmax()]
    confidence = 100 * float(worst["confidence"])
    return Markdown(
        f"AtP が上位に挙げなかった {len(table)} ヘッドの無作為な組を {int(worst['n_sets'])} 通り厳密に除去した。"
        "ほかの無作為なヘッドと一緒に除いたときの平均の変化は、"
        f"信頼度 {confidence:.0f} % で（全ヘッド同時）、どのヘッドでも {number(worst['upper'], DIGITS)} nat/トークンを"
        f"超えない。上限が最も大きいのは {spelled_head((int(worst['layer']), int(worst['head'])))} である。"
    )


def table_kinds(table: pd.DataFrame) -> Markdown:
    """The selected and random heads by every kind of ablation."""
    rows = []
    for (layer, head, role), part in table.groupby(["layer", "head", "role"], sort=False):
        cells = part.set_index("kind")["delta_mean"]
        found = [number(cells.get(kind), DIGITS, signed=True) for kind in KINDS]
        rows.append([spelled_head((int(layer), int(head))), ROLES[str(role)], *found])
    return Markdown(markdown_table(rows, ["ヘッド", "役割", *KINDS.values()]))


def table_joint(table: pd.DataFrame) -> Markdown:
    """Several heads at once against the sum of each alone."""
    if table.empty:
        return Markdown("選択したヘッドが一つのため、同時の除去はない。")
    rows = [
        [
            f"{ROLES[row['heads']]} {row['k']} 個",
            number(row["joint"], DIGITS, signed=True),
            number(row["total"], DIGITS, signed=True),
            with_interval(row["interaction"], row["low"], row["high"], digits=DIGITS, signed=True),
            VERDICTS[NOT_MEASURABLE] if pd.isna(row["share"]) else f"{number(100 * row['share'], 0)} %",
        ]
        for row in table.to_dict("records")
    ]
    return Markdown(markdown_table(rows, ["ヘッド", "同時の除去", "個別の和", "差 [95 % 区間]", "失われた割合"]))


def table_steer(exact: Exact | None, selection: tuple[Sequence[Head], Sequence[Head]]) -> Markdown:
    """(B): what the heads carry of a steer's effect on S; exploration."""
    if exact is None:
        return Markdown("感情が一つのため、S は測れない。")
    values = exact.by_scenario()
    base = exact.units.groupby("scenario")["base"].mean()
    start = number(base.mean(), DIGITS, signed=True)
    rows = [["（除去なしの S）", "", start, number(base.sem(), DIGITS)]]
    for role, heads in zip(("top", "random"), selection, strict=True):
        for head in heads:
            own = values[exact.variants.index((head,))]
            change = number(own.mean(), DIGITS, signed=True)
            rows.append([spelled_head(head), ROLES[role], change, number(own.sem(), DIGITS)])
    return Markdown(markdown_table(rows, ["ヘッド", "役割", "S の変化（nat/トークン）", "SE"]))


def table_verdicts(table: pd.DataFrame) -> Markdown:
    """The verdict on every selected head and emotion."""
    rows = []
    for row in table.to_dict("records"):
        measurable = row["verdict"] != NOT_MEASURABLE
        control = NOTHING if row["control"] < 0 else number(row["control_carried"], DIGITS, signed=True)
        rows.append(
            [
                spelled_head((row["layer"], row["head"])),
                emotion_name(row["emotion"]),
                VERDICTS[row["verdict"]],
                REASONS[row["reason"]],
                with_interval(row["carried"], row["low"], row["high"], digits=DIGITS, signed=True),
                f"{number(100 * row['part'], 0)} %" if measurable else VERDICTS[NOT_MEASURABLE],
                p_value(row["p_max"]),
                p_value(row["p_holm"]),
                emotion_name(row["weakest_label"]) if row["weakest_label"] else NOTHING,
                p_value(row["label_p"]),
                p_value(row["topic_p"]),
                control,
                p_value(row["control_p"]),
            ]
        )
    header = ["ヘッド", "感情", "判定", "理由", "担う量 [95 % 区間]", "効果に対する割合", "p（全ヘッド）", "p（Holm）"]
    header += ["最も弱い相手", "その p", "話題との p", "対照が担う量", "対照との p"]
    return Markdown(markdown_table(rows, header))


def table_text_changes(table: pd.DataFrame) -> Markdown:
    """Generated texts: the metrics that each head's ablation changes most, of those that it changes; secondary."""
    known = table[table["delta_mean"].notna() & ~table["metric"].str.startswith(("goemotions_", "target_"))]
    rows = []
    for (layer, head, role), part in known.groupby(["layer", "head", "role"], sort=False):
        size = part["delta_mean"].abs()
        spread = (size / part["delta_std"].where(part["delta_std"] > 0)).round(2)  # where one text alone changed: equal
        ranks = pd.DataFrame({"spread": spread, "size": size})[spread > 0]
        order = ranks.sort_values(["spread", "size"], ascending=False, kind="stable").index[:3]
        told = [
            f"{metric_name(part.loc[i, 'metric'])} {number(part.loc[i, 'delta_mean'], DIGITS, signed=True)}"
            for i in order
        ]
        rows.append([spelled_head((int(layer), int(head))), ROLES[str(role)], *told, *[NOTHING] * (3 - len(told))])
    return Markdown(markdown_table(rows, ["ヘッド", "役割", "変化が揃う指標 1", "2", "3"]))


def table_texts(table: pd.DataFrame) -> Markdown:
    """The first prompt's continuations; as they came."""
    first = table[table["prompt"] == table["prompt"].iloc[0]]
    rows = [
        [
            "除去なし" if row["role"] == "none" else spelled_head((row["layer"], row["head"])),
            ROLES[row["role"]],
            Name(row["text"].strip()),
        ]
        for row in first.to_dict("records")
    ]
    return Markdown(f"文脈: {Name(table['prompt'].iloc[0])}\n\n{markdown_table(rows, ['ヘッド', '役割', '続き'])}")
