"""A text that is flagged idiomatic is not called implicit, anywhere; without flags nothing is different."""

from __future__ import annotations

import pandas as pd
import pytest

from emolib.data.styles import counts_in_its_style, of_style

TEXTS = pd.DataFrame({"style": ["explicit", "explicit", "implicit", "implicit"]}, index=[3, 5, 7, 9])
FLAGGED = TEXTS.assign(idiomatic=[False, True, False, True])


@pytest.mark.parametrize("style", ["explicit", "implicit", "none such"])
def test_without_flags_a_style_is_its_column(style):
    for texts in (TEXTS, TEXTS.assign(idiomatic=False)):
        assert of_style(texts, style).equals(texts["style"] == style)
        assert counts_in_its_style(texts).all()


def test_a_flagged_text_counts_among_all_and_is_not_implicit():
    assert of_style(FLAGGED, "all").tolist() == [True] * 4
    assert of_style(FLAGGED, "implicit").tolist() == [False, False, True, False]
    assert counts_in_its_style(FLAGGED).tolist() == [True, True, True, False]


def test_another_style_keeps_its_flagged_texts():
    assert of_style(FLAGGED, "explicit").tolist() == [True, True, False, False]


def test_a_table_without_styles_has_all_of_its_texts():
    assert of_style(pd.DataFrame({"text": ["a", "b"]}), "all").all()
