"""Counts emotion words: lists per label and language in `params/keywords/`, with inflection and negation."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd

from emolib.base import paths, store
from emolib.base.errors import UserError, nearest, shown
from emolib.base.labels import spelled
from emolib.base.yaml_files import read_mapping

NEGATION_REACH = 3
_APOSTROPHES = str.maketrans({"\u2019": "'", "\u2018": "'", "\u02bc": "'"})
# A negation does not reach over these. "but" is one of them: what follows it contrasts with what was negated
# ("not angry but sorry", "nothing but gratitude").
_CLAUSE_END = re.compile(r"[.!?;:,()\n\u2013\u2014\u2026]|\bbut\b", re.IGNORECASE)


def straight_apostrophes(text: str) -> str:
    """The text with typographic apostrophes as `'`; its length stays the same."""
    return text.translate(_APOSTROPHES)


@dataclass(frozen=True)
class KeywordList:
    """The compiled word lists of one language."""

    language: str
    patterns: dict[str, re.Pattern[str]]
    negations: re.Pattern[str]
    kept: re.Pattern[str]

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(self.patterns)

    def label_of(self, label: str) -> str | None:
        """The label whose list stands for this one, however it is spelled; None where there is none."""
        return spelled(label, self.patterns)

    def find(self, text: str, label: str) -> list[tuple[int, int]]:
        """Character spans of the label's words in a text, negated ones left out."""
        name = label if label in self.patterns else self.label_of(label)
        if name is None:
            raise UserError(f"no keyword list for label {shown(label)}: {nearest(label, self.patterns)}")
        text = straight_apostrophes(text)
        return [match.span() for match in self.patterns[name].finditer(text) if not self._negated(text, match)]

    def digest(self) -> str:
        """Hash of every list: what is counted with other lists is another result."""
        parts = {
            **{label: p.pattern for label, p in self.patterns.items()},
            "": [self.negations.pattern, self.kept.pattern],
        }
        return store.digest(parts)

    def count(self, text: str, label: str) -> int:
        """How many of the label's words a text holds, negated ones left out."""
        return len(self.find(text, label))

    def _negated(self, text: str, match: re.Match[str]) -> bool:
        """Whether one of the few words before the match, in its clause, negates it and is not part of a kept phrase."""
        start = max((end.end() for end in _CLAUSE_END.finditer(text, 0, match.start())), default=0)
        near = list(re.finditer(r"\S+", text[start : match.start()]))[-NEGATION_REACH:]
        if not near:
            return False
        kept = [phrase.span() for phrase in self.kept.finditer(text[start : match.end()])]
        return any(
            not any(first <= word.start() and word.end() <= last for first, last in kept)
            for word in self.negations.finditer(text[start : match.start()], near[0].start())
        )


def _expression(phrase: str) -> str:
    words = [re.escape(word).replace(r"\*", r"\w*") for word in phrase.split()]
    return r"\s+".join(words)


def _any_of(phrases: list[str]) -> re.Pattern[str]:
    """Matches any of the phrases, the longest first; nothing where there are none."""
    body = "|".join(_expression(phrase) for phrase in sorted(phrases, key=len, reverse=True)) or "(?!)"
    return re.compile(rf"\b(?:{body})\b", re.IGNORECASE)


@lru_cache(maxsize=8)
def load_keywords(language: str = "en") -> KeywordList:
    """The word lists in `params/keywords/<language>.yaml`.

    Raises:
        UserError: no file for the language, or a list that holds something else than words.
    """
    return _load("keywords", language)


@lru_cache(maxsize=8)
def load_cues(language: str = "en") -> KeywordList:
    """The stock phrases in `params/cues/<language>.yaml` that give a label away without a word of its list.

    Raises:
        UserError: as `load_keywords`.

    >>> load_cues().count("The nerve of him!", "anger")
    1
    """
    return _load("cues", language)


def _load(folder: str, language: str) -> KeywordList:
    # among those that are there: a data set's language is no part of a path
    known = {file.stem: file for file in paths.params_folder(folder).glob("*.yaml")}
    if language not in known:
        raise UserError(f"no keyword lists for language {shown(language)}: {nearest(language, known)}")
    path = known[language]
    lists = read_mapping(path)
    if not isinstance(lists.get("labels"), dict):
        raise UserError(f"expected `labels` with a list of words each in {paths.display(path)}, found none")
    negations = [word for word in _phrases(lists, "negations", path) if word != "n't"]
    return KeywordList(
        language=language,
        patterns={label: _any_of(_phrases(lists["labels"], label, path)) for label in lists["labels"]},
        # "n't" has no word boundary before it
        negations=re.compile(rf"{_any_of(negations).pattern}|n't\b", re.IGNORECASE),
        kept=_any_of(_phrases(lists, "kept", path)),
    )


def _phrases(lists: dict[str, Any], name: str, path: Path) -> list[str]:
    """A list of the file. Checked: a number, for example, is no word."""
    phrases = lists.get(name, [])
    if not isinstance(phrases, list) or not all(isinstance(p, str) and p.strip() for p in phrases):
        raise UserError(
            f"expected a list of words under {shown(name)} in {paths.display(path)}, got {shown(phrases)}; "
            "put quotes around numbers and true or false"
        )
    return phrases


def keyword_digest(data: pd.DataFrame) -> str:
    """The hash of the word lists of a data set's languages: what is found with other lists is another result."""
    return store.digest([load_keywords(language).digest() for language in sorted(set(data["lang"]))])
