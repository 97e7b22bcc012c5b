"""Which heads are meant: named, in ranges, or the first of a ranking."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from emolib.base.errors import UserError
from emolib.circuits.head_choices import choose_heads, top_count

RANKING = pd.DataFrame({"layer": [0, 3, 3, 7], "head": [1, 5, 2, 0], "t": [0.1, -4.0, -4.0, -3.0]})


def test_heads_are_named_in_ranges_or_ranked() -> None:
    assert choose_heads("3:5,7:2") == ((3, 5), (7, 2))
    assert choose_heads("0:0-11") == tuple((0, head) for head in range(12))
    assert choose_heads(" 2:1-1 , 0:3-4, 2:1 ") == ((2, 1), (0, 3), (0, 4))
    assert choose_heads([(3, 5)]) == ((3, 5),)
    assert choose_heads("top:3", RANKING) == ((3, 2), (3, 5), (7, 0)), "what is taken away most, ties by place"
    assert choose_heads("top:1", RANKING.iloc[::-1]) == ((3, 2),), "the ranking's own order decides nothing"
    both = pd.concat([RANKING.assign(emotion="all"), RANKING.assign(emotion="anger", t=-RANKING["t"])])
    assert choose_heads("top:1", both) == ((3, 2),)
    assert top_count("3:5") is None and top_count(" top : 2 ") == 2


@pytest.mark.parametrize(
    "heads",
    ["3", "3:5;7:2", "3:5-2", "3:a", "3:5,", "", "3-4:1", "3:0-99999", "top", "top:0", "top:x", "top:-1", "top3"],
)
def test_other_forms_are_refused_in_one_line(heads: str) -> None:
    with pytest.raises(UserError, match=r"expected (heads such as 3:5,7:2|top:N)") as told:
        choose_heads(heads, RANKING)
    assert "\n" not in str(told.value)


def test_a_ranking_that_is_missing_too_short_or_not_finite_is_refused() -> None:
    for ranking, named in (
        (None, "there is none; name heads"),
        (RANKING.head(1), "at least 2 heads"),
        (RANKING.assign(t=np.nan), "finite t values"),
        (RANKING.drop(columns="t"), "there is no t"),
        (pd.concat([RANKING, RANKING]), "different rows"),
    ):
        with pytest.raises(UserError, match=named):
            choose_heads("top:2", ranking)
