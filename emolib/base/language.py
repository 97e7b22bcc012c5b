"""The words that a reader sees below the reports: names of labels, styles and splits, figures, views, pages.

They stand in `params/wording/<language>.yaml`, one file per language. The reader's language is Japanese unless
`EMOLIB_LANGUAGE` names another; sentences and tables are the reports' own (`emolib/report/<language>/`).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from functools import lru_cache

from emolib.base import paths
from emolib.base.errors import UserError, nearest, shown
from emolib.base.labels import folded
from emolib.base.yaml_files import read_mapping

DEFAULT = "ja"
READ_BY_NAME = ("labels", "styles")  # what `name` knows


def languages() -> list[str]:
    """The languages that there are words in."""
    return sorted(file.stem for file in paths.params_folder("wording").glob("*.yaml"))


def current() -> str:
    """The reader's language, such as `ja`.

    Raises:
        UserError: `EMOLIB_LANGUAGE` names one without words.
    """
    chosen = os.environ.get("EMOLIB_LANGUAGE") or DEFAULT
    _file(chosen, os.environ.get("EMOLIB_ROOT"))
    return chosen


def word(key: str, **values: object) -> str:
    """The word or phrase under a dotted key in the reader's language, with `{…}` filled in from `values`.

    Raises:
        UserError: the language has no such word, or its word has a placeholder that nothing fills.
    """
    text = _entry(key)
    if not isinstance(text, str):
        raise UserError(f"expected a word under {shown(key)} in {_place()}, got {type(text).__name__}")
    try:
        return text.format(**values)
    except (KeyError, IndexError, ValueError) as error:
        raise UserError(
            f"expected only {sorted(values)} in braces under {shown(key)} in {_place()}, got {shown(text)}"
        ) from error


def words(key: str) -> dict[str, str]:
    """All words under a dotted key: the last part of each one's key → the word.

    Raises:
        UserError: the language has none there.
    """
    found = _entry(key)
    if not isinstance(found, Mapping) or not all(isinstance(value, str) for value in found.values()):
        raise UserError(f"expected words under {shown(key)} in {_place()}, got {type(found).__name__}")
    return {str(name): value for name, value in found.items()}


def names(*kinds: str) -> dict[str, str]:
    """How what the data holds reads: value → name, of the kinds `labels`, `styles`, `splits`, … in one table."""
    return {value: text for kind in kinds for value, text in words(f"names.{kind}").items()}


def name(value: str) -> str:
    """How a label or a style reads; one without a name keeps its own.

    >>> name("joy")
    'joy'
    """
    return names(*READ_BY_NAME).get(value, value)


def check_labels(labels: Iterable[str]) -> None:
    """Whether every label reads in its own way in tables and figures.

    Raises:
        UserError: two labels read alike, or one is called like what stands for styles of texts.

    >>> check_labels(["anger", "joy"])
    >>> check_labels(["anger", "all"])
    Traceback (most recent call last):
    emolib.base.errors.UserError: expected labels of texts, 'all' stands for a style of them in the tables ...
    """
    styles = names("styles", "style_choices")
    taken = {folded(word): value for value, text in styles.items() for word in (value, text)}
    seen: dict[str, str] = {}
    for label in labels:
        reads = names("labels").get(label, label)
        if folded(reads) in taken:
            raise UserError(
                f"expected labels of texts, {shown(label)} stands for a style of them in the tables "
                f"({', '.join(styles)}); rename it in the data set"
            )
        other = seen.setdefault(folded(reads), label)
        if other != label:
            raise UserError(
                f"expected labels that read differently in reports, {shown(other)} and {shown(label)} both read "
                f"{shown(reads)}; rename one in the data set"
            )


def _entry(key: str) -> object:
    found: object = _file(current(), os.environ.get("EMOLIB_ROOT"))
    for part in key.split("."):
        if not isinstance(found, Mapping) or part not in found:
            there = f"; {DEFAULT} has it" if current() != DEFAULT else ""
            raise UserError(
                f"expected the word {shown(key)} in {_place()}, it is missing{there}; languages: {languages()}"
            )
        found = found[part]
    return found


def _place() -> str:
    return f"params/wording/{current()}.yaml"


@lru_cache
def _file(language: str, root: str | None) -> object:
    """A language's words, read once per repository `root` (paths ask the environment for it): a table asks often."""
    if language not in languages():
        raise UserError(
            f"no words in the language {shown(language)} (EMOLIB_LANGUAGE): {nearest(language, languages())}"
        )
    return read_mapping(paths.params_folder("wording") / f"{language}.yaml")
