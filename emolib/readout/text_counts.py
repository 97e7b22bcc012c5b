"""Counts of what a text holds besides its emotion: numbers and the calendar, names, imperatives, requests.

The word lists are English: in another language only numbers in digits and capitals are found.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from emolib.data.keywords import straight_apostrophes

CALENDAR = ("numbers", "number_words", "dates", "weekdays", "times")
COUNTS = (*CALENDAR, "names", "imperatives", "requests")

_WORDS = {
    "number_words": """
        zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
        eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand million dozen half
        quarter third fourth fifth sixth seventh eighth ninth tenth twice thrice double couple""",
    "dates": """
        january february march april june july august september october november december spring summer autumn winter
        week weeks weekly month months monthly year years yearly yesterday today tomorrow tonight weekend weekends
        weekday weekdays christmas easter thanksgiving""",
    "weekdays": """
        monday tuesday wednesday thursday friday saturday sunday mondays tuesdays wednesdays thursdays fridays saturdays
        sundays""",
    "times": """
        o'clock noon midnight morning mornings afternoon afternoons evening evenings night nights hour hours minute
        minutes a.m p.m am pm lunchtime bedtime dinnertime dawn dusk""",
    "verbs": """
        ask be bring buy call check choose clean close come cook do don't drop drive eat enjoy fill find finish fix
        follow forget get give go grab hand hang have help hold hope keep know lay leave let let's lift listen look make
        mark meet mind move never open pack park pass pay pick place plan pour press print pull push put read remember
        rest return ride ring run save say scan see send set share show sign sit skip slide sort speak stand start stay
        step stick stop store take talk tell text throw tie touch try turn type use wait wake walk wash watch wear wipe
        work write""",
}
_LISTS = {name: frozenset(text.split()) for name, text in _WORDS.items()}
_VERBS = _LISTS.pop("verbs")
_TOKEN = re.compile(r"[ap]\.m\b|\d+(?:[:.,]\d+)*|[^\W\d_]+(?:'[^\W\d_]+)*", re.IGNORECASE)
_REQUEST = re.compile(
    r"\b(?:please|kindly|(?:could|would|can|will|won't) (?:you|we)|do you mind|mind if|(?:may|could|can) I"
    r"|let me know)\b",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"[.!?;:\u2026]+[\"'\u201d)]*\s+|\s[\u2013\u2014-]\s|\n")
_BEFORE_A_VERB = frozenset(["please", "kindly", "just", "so", "and", "then", "always", "now", "ok", "okay", "hey"])
_CLOCK = re.compile(r"\d{1,2}:\d{2}")
_DATE = re.compile(r"\d{1,2}/\d{1,2}(?:/\d{2,4})?")


def text_counts(texts: Sequence[str]) -> pd.DataFrame:
    """How often each text holds each of `COUNTS`, `[text, count]`.

    `numbers` are runs of digits (clock times are `times`), `names` capitalised words that begin no sentence and are
    neither "I" nor of the calendar, `imperatives` sentences that begin with one of about 120 bare verbs.

    >>> counts = text_counts(["Please call Ann at 9:30 on Tuesday, you two.", "It is a lamp."])
    >>> counts.loc[0, ["times", "weekdays", "names", "imperatives", "requests", "number_words"]].tolist()
    [1, 1, 1, 1, 1, 1]
    >>> int(counts.loc[1].sum())
    0
    """
    rows = [_counted(straight_apostrophes(text)) for text in texts]
    return pd.DataFrame(rows, columns=list(COUNTS)).astype(int)


def calendar_count(texts: Sequence[str]) -> np.ndarray:
    """Numbers, number words, dates, weekdays and times of every text together, `[text]`."""
    return text_counts(texts)[list(CALENDAR)].sum(axis=1).to_numpy()


def _counted(text: str) -> dict[str, int]:
    clocks, dates = len(_CLOCK.findall(text)), len(_DATE.findall(text))
    bare = _DATE.sub(" ", _CLOCK.sub(" ", text))
    tokens = _TOKEN.findall(bare)
    lower = [token.lower() for token in tokens]
    found = {name: sum(word in words for word in lower) for name, words in _LISTS.items()}
    found["numbers"] = sum(token[0].isdigit() for token in tokens)
    found["times"] += clocks
    found["dates"] += dates
    sentences = [part for part in _SENTENCE_END.split(bare) if part.strip()]
    found["names"] = sum(_names(sentence) for sentence in sentences)
    found["imperatives"] = sum(_is_imperative(sentence) for sentence in sentences)
    found["requests"] = len(_REQUEST.findall(text))
    return found


def _names(sentence: str) -> int:
    calendar = _LISTS["weekdays"] | _LISTS["dates"]
    inside = _TOKEN.findall(sentence)[1:]
    return sum(t[0].isupper() and not re.fullmatch(r"I(?:'\w+)?", t) and t.lower() not in calendar for t in inside)


def _is_imperative(sentence: str) -> bool:
    words = [token.lower() for token in _TOKEN.findall(sentence)]
    while words and words[0] in _BEFORE_A_VERB:
        words = words[1:]
    return bool(words) and words[0] in _VERBS
