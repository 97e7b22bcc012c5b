"""Phase 5's strengths in words: courses are grouped, and nothing is read where most texts are broken."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from phase5_rows import clean

from emolib.report.ja import phase5_strengths as told


def doses(
    anger: list[float], alphas: tuple[float, ...] = (-0.3, 0.0, 0.2, 0.3), broken: list[float] | None = None
) -> pd.DataFrame:
    row = {"emotion": "anger", "metric": "keywords/anger", "se": 0.1}
    cells = zip(alphas, anger, broken or [0.0] * len(alphas), strict=True)
    return pd.DataFrame([{**row, "alpha": a, "effect": e, "unfiltered": e + 0.25, "broken": b} for a, e, b in cells])


@pytest.mark.parametrize(
    ("effects", "broken", "says", "says_not"),
    [
        (
            [-0.5, 0.0, 0.4, 0.9],
            None,
            ["強めるほど増える（横ばいを含む）: 怒りの語数（α = 0.3 で +0.90 語）", "怒りの語数 -0.50 語（-0.25、0%）"],
            ["単調では", "読まない"],
        ),
        (
            [-0.001, 0.0, 0.9, 0.4],
            None,
            ["単調ではない: 怒りの語数（0 から最も離れるのは α = 0.2 の +0.90 語）", "怒りの語数 +0.00 語"],
            ["増える", "読まない"],
        ),
        (
            [0.2, 0.0, -0.4, -0.9],
            None,
            ["強めるほど減る（横ばいを含む）: 怒りの語数（α = 0.3 で -0.90 語）"],
            ["増える", "単調では"],
        ),
        (
            [0.2, 0.0, 0.012, 0.0],
            None,
            ["目安の 0.02（語数なら 1 テキストあたり 0.02 語", "に届かない: 怒りの語数（最大 +0.012）", "+0.20 語"],
            ["単調", "破綻して数え"],
        ),
        (
            [-0.5, 0.0, 0.4, 0.9],
            [0.51, 0.4, 0.6, 0.5],
            [
                "増え方を読まない: 怒りの語数（破綻したのは α = 0.2（60%）、それ以外の強さでは α = 0.3 の +0.90 語）",
                "符号を読まないのは怒りの語数（51%）である",
            ],
            ["単調", "-0.50"],
        ),
        (
            [-0.5, 0.0, 0.4, 0.9],
            [0.5, 0.4, 0.6, 0.7],
            ["α = 0.2（60%）・0.3（70%）、それ以外の強さでは なし", "怒りの語数 -0.50 語（-0.25、50%）"],
            ["符号を読まない"],
        ),
        (
            [-0.5, 0.0, 0.4, 0.9],
            [0.4, 0.6, 0.2, 0.1],
            ["破綻したのは α = 0（60%）、それ以外の強さでは α = 0.2 の +0.40 語、α = 0.3 の +0.90 語"],
            ["α = 、"],
        ),
        (
            [0.0, 0.0, 0.01, 0.0],
            [0.0, 0.0, 0.6, 0.5],
            ["破綻して数えられないのかは分からない: 怒りの語数（最大 +0.010、破綻もそのまま数えると最大 +0.26）"],
            ["単調"],
        ),
    ],
)
def test_what_strength_does_is_told_where_enough_texts_are_whole(effects, broken, says, says_not):
    text = clean(told.dose_sentence(doses(effects, broken=broken)))
    assert all(part in text for part in says) and not any(part in text for part in says_not), text


def test_measures_of_one_course_stand_in_one_line():
    words, rises = doses([0.0, 0.0, 0.4, 0.9]), {"metric": "target/anger"}
    text = told.dose_sentence(pd.concat([words, words.assign(**rises)], ignore_index=True))
    assert text.count("強めるほど増える") == 1 and text.count("逆向き") == 1
    assert told.dose_sentence(words.assign(metric="valence")) == ""


def test_strengths_stand_across_and_broken_shares_above_the_unfiltered_changes():
    table = doses([-0.001, 0.0, 0.4, 0.9], broken=[0.25, 0.0, 0.0, 0.5])
    shown, breakage = told.dose_rows(table), told.breakage_rows(table)
    clean(shown), clean(breakage)
    assert list(shown.columns) == ["α = -0.3", "α = 0", "α = 0.2", "α = 0.3"]
    assert shown.index.tolist() == [("怒り", "怒りの語数")] and shown.iloc[0].tolist() == [
        "+0.00",
        "+0.00",
        "+0.40",
        "+0.90",
    ]
    assert breakage.index.tolist() == [("怒り", "破綻率"), ("怒り", "怒りの語数")]
    assert breakage.loc[("怒り", "破綻率")].tolist() == ["25%", "0%", "0%", "50%"]
    both = clean(told.table_doses(table))
    assert both.count("**") == 4 and both.index("破綻したテキストを 0") < both.index("そのまま数えた変化")


def test_the_two_tables_of_several_measures_keep_their_digits():
    words = doses([0.0, 0.0, 0.4, 0.9])
    table = pd.concat([words, words.assign(metric="target/anger", effect=0.0126)], ignore_index=True)
    assert told.dose_rows(table)["α = 0.3"].tolist() == ["+0.90", "+0.013"]


def test_without_the_opposite_sign_nothing_is_said_of_it():
    assert "逆向き" not in told.dose_sentence(doses([0.0, 0.1], (0.0, 0.2)))


def test_a_band_is_two_standard_errors_wide_and_drawn_over_alpha(monkeypatch):
    drawn: list = []
    monkeypatch.setattr(told, "show", lambda run, fig, name: drawn.append((name, fig)))
    told.figure_doses(None, doses([-0.5, 0.0, 0.4, 0.9]))
    ((name, fig),) = drawn
    line = next(trace for trace in fig.data if trace.mode == "lines+markers")
    assert name == "dose" and list(line.x) == [-0.3, 0.0, 0.2, 0.3] and list(line.y) == [-0.5, 0.0, 0.4, 0.9]
    upper, lower = (trace.y for trace in fig.data if trace.mode == "lines")
    np.testing.assert_allclose(np.subtract(upper, lower), 2 * 1.96 * 0.1)
    assert "α" in fig.layout.xaxis.title.text
