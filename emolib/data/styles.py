"""Which texts count as a style: the one rule for every result that is told by style.

A text's style is what its column `style` says. But an implicit text that is flagged `idiomatic` holds a stock phrase of
its emotion: it is not called implicit, and it counts only where all texts do.
"""

from __future__ import annotations

import pandas as pd

EVERY, IMPLICIT, FLAG = "all", "implicit", "idiomatic"
ORDER = (IMPLICIT, "explicit")  # in which styles are told: what claims about emotion rest on comes first


def of_style(texts: pd.DataFrame, style: str) -> pd.Series:
    """Which texts count as one style, as a mask; `all` takes every text.

    Args:
        texts: a data set, or any table with its column `style`, and `idiomatic` where that is stated.
        style: a value of the column, or `all`.

    >>> texts = pd.DataFrame({"style": ["explicit", "implicit", "implicit"], "idiomatic": [False, False, True]})
    >>> of_style(texts, "implicit").tolist(), of_style(texts, "all").tolist()
    ([False, True, False], [True, True, True])
    """
    if style == EVERY:
        return pd.Series(True, index=texts.index)
    return (texts["style"] == style) & counts_in_its_style(texts)


def counts_in_its_style(texts: pd.DataFrame) -> pd.Series:
    """Which texts count in the style that they are of, as a mask: all but idiomatic ones among the implicit.

    Args:
        texts: as of `of_style`.

    >>> counts_in_its_style(pd.DataFrame({"style": ["implicit", "implicit"], "idiomatic": [False, True]})).tolist()
    [True, False]
    """
    if FLAG not in texts:
        return pd.Series(True, index=texts.index)
    return (texts["style"] != IMPLICIT) | ~texts[FLAG].astype(bool)


def opposite(style: str) -> str:
    """The style of texts beside one: `implicit`, or `explicit` where that is implicit.

    >>> opposite("all"), opposite("implicit")
    ('implicit', 'explicit')
    """
    return "explicit" if style == IMPLICIT else IMPLICIT


def in_style_order(table: pd.DataFrame) -> pd.DataFrame:
    """A table's rows with those of implicit texts first, then those of explicit ones, then others; else as they were.

    Args:
        table: with a column `style`.

    >>> in_style_order(pd.DataFrame({"style": ["all", "explicit", "implicit"], "n": [1, 2, 3]}))["n"].tolist()
    [3, 2, 1]
    """
    places = table["style"].map({style: place for place, style in enumerate(ORDER)}).fillna(len(ORDER))
    return table.loc[places.sort_values(kind="stable").index].reset_index(drop=True)
