"""The instruments' table and what is said of it follow from the numbers."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
from phase5_rows import clean

from emolib.report.ja import phase5_instruments as told
from emolib.steering.instruments import COLUMNS, admission, placebo_rows

NUMBERS = {"n": 12, "n_texts": 12.0, "n_prompts": 12.0, "estimate": 0.21, "sd": 0.3, "se": 0.1, "t": 2.1, "df": 11.0}
NUMBERS |= {"p": 0.03, "upper": 0.4, "gold": 0.21}


def row(instrument: str, verdict: str, **more: Any) -> dict[str, Any]:
    own = {"measure": "raw", "style": "implicit", "emotion": "anger", "stand_in": "", "other": "apology"}
    passed = verdict == "passed"
    return {**own, **NUMBERS, "instrument": instrument, "passed": passed, "verdict": verdict, **more}


def tables(*rows: dict[str, Any], n_passed: int = 3, needed: tuple[str, ...] | None = None) -> tuple[Any, Any]:
    placebos = pd.DataFrame({"measure": "raw", "style": "all", "instrument": "placebo_texts"}, index=range(200))
    placebos["passed"] = [i < n_passed for i in range(200)]
    judged = pd.DataFrame(list(rows), columns=COLUMNS)
    given = {} if needed is None else {"needed": needed}
    return pd.concat([judged, placebo_rows(placebos)], ignore_index=True), admission(judged, placebos, **given)


WHOLE = (
    row("gold_a", "passed"),
    row("denied", "failed", estimate=-0.02, p=0.7),
    row("mention", "failed", estimate=0.01, p=0.4),
    row("like_valent", "failed", stand_in="sadness", other="sadness", estimate=-0.004, p=0.52),
)


def test_the_table_names_the_worst_pair_and_what_came_of_it() -> None:
    instruments, admitted = tables(*WHOLE)
    table = told.instrument_rows(instruments[instruments["instrument"] != "placebo_texts"])
    cells = table.loc[("S（未補正）", "暗示表現", "怒り")]
    assert cells["正例（直前の文）"] == "対 謝罪 +0.210、p = 0.030、n 12、通った"
    assert cells["似た感情価の別の感情"].startswith("悲しみ: 対 悲しみ -0.004、p = 0.520")
    assert cells["否定された感情"].endswith("通らなかった")
    placebos = told.placebo_table(instruments).iloc[0]
    assert (placebos["個数"], placebos["通った数"], placebos["割合"]) == (200, 3, "1.5 %")
    assert placebos["上限"] == "3.8 %" and placebos["判定"] == "基準以下"
    assert told.admission_rows(admitted).loc[("S（未補正）", "暗示表現"), "怒り"] == "使える"


@pytest.mark.parametrize(
    ("changed", "n_passed", "word", "said"),
    [
        ((), 3, "使える", ["怒りで使える", "4 通りのうち", "1 通りのうち 1である", "1 組のうち 0 組"]),
        (
            (row("gold_a", "failed", estimate=-0.01, p=0.6),),
            3,
            "測定不能（正例（直前の文））",
            ["怒りで測定不能", "1 通りのうち 0である"],
        ),
        (
            (row("like_valent", "passed", stand_in="sadness", other="sadness"),),
            3,
            "測定不能（似た感情価の別の感情）",
            ["3 通りのうち 1 が通った", "S（未補正）・暗示表現・怒り（悲しみ）"],
        ),
        ((), 30, "測定不能（プラセボ）", ["1 組のうち 1 組", "200 個のうち 30 個", "上限は 19.8 %"]),
        ((row("mention", "underpowered"),), 3, "検出力不足（感じていない言及）", ["怒りで検出力不足"]),
    ],
)
def test_what_is_said_follows_from_the_numbers(
    changed: tuple[dict[str, Any], ...], n_passed: int, word: str, said: list[str]
) -> None:
    replaced = {one["instrument"] for one in changed}
    rows = [one for one in WHOLE if one["instrument"] not in replaced]
    instruments, admitted = tables(*rows, *changed, n_passed=n_passed)
    assert told.admission_rows(admitted).iloc[0, 0] == word
    text = clean(told.sentence_instruments(instruments, admitted).data)
    missing = [part for part in said if part not in text and part != "4 通りのうち"]
    assert not missing, text


def test_an_instrument_that_is_missing_is_named() -> None:
    instruments, admitted = tables(*WHOLE[:2])
    assert told.admission_rows(admitted).iloc[0, 0] == "判定不能（感じていない言及）"
    assert "怒りで判定不能" in clean(told.table_admissions(instruments, admitted).data)


def test_scores_of_texts_have_a_table_of_their_own() -> None:
    own = {"measure": "keywords", "n_prompts": float("nan")}
    instruments, _admitted = tables(*WHOLE, row("gold_texts", "failed", **own, estimate=0.0, p=1.0))
    text = clean(told.table_instruments(instruments).data)
    assert "テキストの得点による指標" in text and "語数" in text and "正例（データセットのテキスト）" in text
