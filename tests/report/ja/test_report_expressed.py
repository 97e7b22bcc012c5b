"""Phase 1's words about `expressed`: each bar met and missed, few texts, no such scorer."""

from __future__ import annotations

import pandas as pd
import pytest

from emolib.report.ja.phase1_expressed import (
    WITHOUT,
    sentence_expressed,
    table_expressed,
    table_kinds,
    table_misleading,
    table_readers,
)
from emolib.scoring.expressed import EMOTIONS
from emolib.scoring.sanity import ABSENT, BALANCED, HARD


def quality(anger: float = 0.86) -> pd.DataFrame:
    table = pd.DataFrame({"emotion": EMOTIONS, "n": 600, "balanced": [0.9, anger, 0.91], "own_n": 200})
    return table.assign(own_balanced=table["balanced"], everyday=0.9, model=0.8)


def checked(expressed: float = 0.82) -> pd.DataFrame:
    columns = {ABSENT: [0.83, 0.5], "goemotions bundled": [0.5, 0.4], "expressed": [0.85, expressed], "sentiment": 0.3}
    return pd.DataFrame(columns, index=[HARD, BALANCED]).assign(sentiment=[0.3, float("nan")])


def readers(n_present: int = 30, between: float = 0.7, own: float = 0.65) -> pd.DataFrame:
    rows = []
    for emotion in EMOTIONS:
        for scorer, kappa in (
            ("readers", between),
            ("keywords", 0.3),
            ("goemotions bundled", 0.45),
            ("expressed", own),
        ):
            row = {"emotion": emotion, "scorer": scorer, "n": 200, "n_present": n_present, "kappa": kappa}
            rows.append({**row, "low": kappa - 0.1, "high": kappa + 0.1, "balanced_accuracy": 0.8})
    return pd.DataFrame(rows)


def said(**given: pd.DataFrame) -> str:
    tables = {"quality": quality(), "checked": checked(), "readers": readers(), **given}
    return str(sentence_expressed(tables["quality"], tables["checked"], tables["readers"]).data)


def test_bars_that_are_met_are_told_with_their_figures():
    text = said()
    assert "感謝 0.900、怒り 0.860、謝罪 0.910 で、基準 0.850 にいずれも届く" in text
    assert "正答率は 0.85 で、常に「なし」と答える場合（0.83）を上回る" in text
    assert "均衡正答率は 0.82（常に「なし」なら 0.50）で、基準 0.80 に届く" in text
    assert "最も高いもので 0.40" in text
    assert "読み手どうしの κ は 0.70、expressed と読み手の多数との κ は 0.65 [0.55, 0.75]" in text
    assert text.count("最も読み手に近いのは結合（0.45）である。") == 3
    assert text.count("どちらも基準 0.6 に届く（expressed の区間は基準を含む）。") == 3


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"quality": quality(0.8)}, "基準 0.850 に怒りは届かない"),
        ({"checked": checked(0.7)}, "均衡正答率は 0.70（常に「なし」なら 0.50）で、基準 0.80 に届かない"),
        ({"readers": readers(own=0.5)}, "読み手どうしは基準 0.6 に届くが、expressed は届かない"),
        ({"readers": readers(between=0.5, own=0.5)}, "どちらも基準 0.6 に届かない。"),
        ({"readers": readers(between=0.5)}, "読み手どうしは基準 0.6 に届かず、expressed は届く（区間は基準を含む）。"),
        ({"readers": readers(own=0.75)}, "どちらも基準 0.6 に届く。"),
        ({"readers": readers(own=0.4)}, "（0.45）で、expressed より読み手に近い"),
        ({"readers": readers(n_present=4)}, "「あり」とした生成文は 4 件しかなく、κ からは何も言えない"),
    ],
)
def test_bars_that_are_missed_are_told(given: dict[str, pd.DataFrame], told: str):
    assert told in said(**given) and told not in said()


def test_without_the_scorer_one_sentence_stands():
    assert sentence_expressed(None, None, None).data == WITHOUT == table_expressed(None).data
    assert [str(table(None).data) for table in (table_kinds, table_misleading, table_readers)] == ["", "", ""]


def test_tables_name_everything_in_japanese():
    kinds = pd.DataFrame({"kind": ["said", "pity"], **{e: [0.9, float("nan")] for e in EMOTIONS}})
    kinds = kinds.assign(**{f"n_{e}": [10, 0] for e in EMOTIONS})
    shown = table_kinds(kinds)
    assert shown.index.tolist() == ["語で述べる", "同情・残念"] and shown.iloc[0].tolist() == ["0.90（10）"] * 3
    assert shown.iloc[1].tolist() == ["—"] * 3
    misleading = table_misleading(checked())
    assert misleading.index.tolist()[-1] == "対照以外のすべて（均衡正答率）" and misleading.iloc[1, -1] == "—"
    assert not any(name.isascii() and name != "expressed" for name in map(str, misleading.columns))
    assert table_readers(readers()).loc[("怒り", "結合"), "κ（95 % 区間）"].startswith("0.45")
    assert table_expressed(quality()).loc["怒り", "均衡正答率"] == 0.86
