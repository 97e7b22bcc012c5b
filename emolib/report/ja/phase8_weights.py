"""Phase 8's tables on weights and attention: OV, promoted tokens, routing, composition, MLPs and neurons."""

from __future__ import annotations

import pandas as pd
from IPython.display import Markdown

from emolib.base.escaping import Name
from emolib.circuits.reconstruction import TOLERANCE
from emolib.report.ja.names import emotion_name
from emolib.report.ja.phase6a_words import spelled_head
from emolib.report.ja.phase8_words import CHECKS, FAMILIES, FORMS, KINDS, SELECTED, TARGETS
from emolib.report.markup import NOTHING, markdown_table, number, p_value, with_interval

DIGITS = 3
MOST = 8  # rows of a ranked table


def _head(row: dict) -> str:
    return spelled_head((int(row["layer"]), int(row["head"])))


def table_reconstruction(table: pd.DataFrame) -> Markdown:
    """Whether each check's largest difference is below what rounding explains; where not, how large and in which layer."""
    rows = []
    for check, part in table.groupby("check", sort=False):
        worst = part.loc[part["error"].idxmax()]
        small = worst["error"] < TOLERANCE
        told = f"{TOLERANCE:g} 未満" if small else f"{worst['error']:.1e}（層 {int(worst['layer'])}）"
        rows.append([CHECKS[str(check)], told, len(part)])
    return Markdown(markdown_table(rows, ["照合", "最大の差", "層の数"]))


def table_ov(table: pd.DataFrame) -> Markdown:
    """The head that stands out most, as a maximum over all heads."""
    rows = []
    gains = table[table["measure"] == "gain"]
    cosines = table[table["measure"] == "cosine"].set_index(["emotion", "target", "family"])
    for row in gains.sort_values(["target", "family"], kind="stable").to_dict("records"):
        other = cosines.loc[(row["emotion"], row["target"], row["family"])]
        rows.append(
            [
                emotion_name(row["emotion"]),
                TARGETS[row["target"]],
                f"{FAMILIES[row['family']]}（{row['n_controls']}、実効 {number(row['n_effective'], 1)}）",
                _head(row),
                f"{number(row['value'], 2, signed=True)}（z {number(row['z'], 1)}）",
                p_value(row["p"]),
                row["n_beyond"],
                _head(other.to_dict()),
                f"{number(other['value'], 2, signed=True)}（z {number(other['z'], 1)}）",
                p_value(other["p"]),
                other["n_beyond"],
            ]
        )
    header = ["感情", "射影先", "対照（本数）", "利得が最大のヘッド", "利得", "p（最大）", "p ≤ 0.05"]
    header += ["コサインが最大のヘッド", "コサイン", "p（最大）", "p ≤ 0.05"]
    return Markdown(markdown_table(rows, header))


def table_lists(table: pd.DataFrame) -> Markdown:
    """Of every emotion read, the head that promotes each list's words most."""
    if table.empty:
        return Markdown("語の一覧をもつ感情がないため、一覧の語の促進は測れない。")
    rows = [
        [
            emotion_name(row["emotion"]),
            emotion_name(row["list"]),
            _head(row),
            number(row["difference"], DIGITS, signed=True),
            number(row["z"], 1, signed=True),
            p_value(row["p"]),
            row["n_tokens"],
        ]
        for row in table.to_dict("records")
    ]
    return Markdown(
        markdown_table(
            rows,
            [
                "読む感情",
                "語の一覧",
                "最大のヘッド",
                "ロジットの差（読んだ単位長さあたり）",
                "z",
                "p（全ヘッド）",
                "語数",
            ],
        )
    )


def table_tokens(table: pd.DataFrame) -> Markdown:
    """The first tokens that each head promotes, per emotion read; as the tokenizer spells them."""
    rows = []
    for (layer, head), part in table.groupby(["layer", "head"], sort=False):
        for emotion, some in part.groupby("emotion", sort=False):
            told = "、".join(f"{Name(token.strip() or repr(token))}" for token in some.sort_values("rank")["token"])
            rows.append([spelled_head((int(layer), int(head))), emotion_name(str(emotion)), told])
    return Markdown(markdown_table(rows, ["ヘッド", "読む感情", "促進するトークン（上位）"]))


def table_routing(table: pd.DataFrame) -> Markdown:
    """The heads that look most at the emotion's word."""
    if table.empty:
        return Markdown("一トークンの感情語をもつ文が 6 シナリオに満たないため、感情語への注意は測れない。")
    first = table.sort_values(["t", "layer", "head"], ascending=[False, True, True], kind="stable").head(MOST)
    rows = [
        [
            _head(row),
            number(row["score"], 2, signed=True),
            number(row["attention"], DIGITS, signed=True),
            number(row["t"], 1, signed=True),
            p_value(row["p"]),
            int(row["n"]),
        ]
        for row in first.to_dict("records")
    ]
    header = ["ヘッド", "スコアの差（nat）", "注意の差", "t", "p（全ヘッド）", "文"]
    count = f"p ≤ 0.05 のヘッドは {int((table['p'] <= 0.05).sum())} 個（{len(table)} 個のうち）。"
    return Markdown(f"{markdown_table(rows, header)}\n\n{count}")


def table_cut(table: pd.DataFrame) -> Markdown:
    """What m loses without the edge to the emotion's word."""
    if table.empty:
        return Markdown("一トークンの感情語をもつ文脈がテストに 2 つ以上ないため、辺の切断は測れない。")
    whole = f"切断しないときの文脈の効果は {number(table['whole'].iloc[0], DIGITS, signed=True)} nat/トークン。"
    rows = [
        [
            "すべて同時" if row["layer"] < 0 else _head(row),
            SELECTED[row["role"]],
            FORMS[row["form"]],
            with_interval(row["mean"], row["ci_low"], row["ci_high"], digits=DIGITS, signed=True),
            p_value(row["p_t"]),
            row["n"],
        ]
        for row in table.to_dict("records")
    ]
    header = ["ヘッド", "役割", "操作", "m の変化 [95 % 区間]（nat/トークン）", "p（t）", "シナリオ"]
    return Markdown(f"{whole}\n\n{markdown_table(rows, header)}")


def table_composition(table: pd.DataFrame) -> Markdown:
    """The pairs of heads whose matrices are most aligned."""
    if table.empty:
        return Markdown("異なる層のヘッドの組がないため、合成は測れない。")
    first = table.sort_values("z", ascending=False, kind="stable").head(MOST)
    rows = [
        [
            _head(row),
            spelled_head((row["reader_layer"], row["reader_head"])),
            KINDS[row["kind"]],
            number(row["score"], DIGITS),
            number(row["expected"], DIGITS),
            number(row["z"], 1, signed=True),
        ]
        for row in first.to_dict("records")
    ]
    return Markdown(markdown_table(rows, ["書くヘッド", "読むヘッド", "経路", "スコア", "帰無の期待値", "z"]))


def table_mlps(table: pd.DataFrame) -> pd.DataFrame:
    """Per emotion the MLP that adds most along its direction."""
    family = "covariance"
    rows = []
    for emotion, part in table.groupby("emotion", sort=False):
        best = part.loc[part["contribution"].idxmax()]
        rows.append(
            {
                "感情": emotion_name(str(emotion)),
                "最大の層": int(best["layer"]),
                "寄与": number(best["contribution"], DIGITS, signed=True),
                "対照（共分散）の平均": number(best[f"mean_{family}"], DIGITS, signed=True),
                "p（全層）": p_value(best[f"p_{family}"]),
                "p ≤ 0.05": int((part[f"p_{family}"] <= 0.05).sum()),
                "層": len(part),
            }
        )
    return pd.DataFrame(rows).set_index("感情")


def table_neurons(table: pd.DataFrame) -> Markdown:
    """The neurons that add most along each emotion's direction."""
    rows = []
    for emotion, part in table.groupby("emotion", sort=False):
        first = part.sort_values("contribution", ascending=False, kind="stable").head(3)
        told = [
            f"{int(row['layer'])}.{int(row['neuron'])}（{number(row['contribution'], DIGITS, signed=True)}、"
            f"コサイン {number(row['cosine'], 2, signed=True)}）"
            for row in first.to_dict("records")
        ]
        rows.append([emotion_name(str(emotion)), *told, *[NOTHING] * (3 - len(told))])
    return Markdown(markdown_table(rows, ["感情", "1", "2", "3"]))
