"""The scorers' sanity set obeys its rules: most of its texts are ones that a plain word list gets wrong."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from emolib.base import paths
from emolib.data.keywords import load_keywords

Row = dict[str, Any]

KEYS = ["id", "kind", "label", "present", "sentiment", "text"]
LISTED = ("gratitude", "anger", "apology")
LABELS = (*LISTED, "politeness")
SENTIMENTS = ("POSITIVE", "NEGATIVE", "NEUTRAL")
# the labels a kind may have and the values of `present`
KINDS: dict[str, tuple[tuple[str, ...], tuple[bool, ...]]] = {
    "negation": (LISTED, (False,)),
    "sarcasm": (LISTED, (False,)),
    "quoted": (LISTED, (False,)),
    "pity_sorry": (("apology",), (False,)),
    "thanks_in_complaint": (("gratitude",), (False,)),
    "other_sense": (LISTED, (False,)),
    "implicit": (LISTED, (True,)),
    "politeness": (("politeness",), (False, True)),
    "control": (LISTED, (False, True)),
}
HARD = tuple(kind for kind in KINDS if kind not in ("politeness", "control"))
MIN_PER_KIND = 20
MIN_WRONG = 120
WORDS = range(6, 46)


@pytest.fixture
def rows() -> list[Row]:
    lines = paths.data_file("scorer_sanity.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def words(text: str) -> list[str]:
    return re.findall(r"[\w'’-]+", text.lower())


def lexicon_is_right(row: Row) -> bool:
    """Whether 'the label is present iff one of its words occurs' gives the row's answer."""
    return (load_keywords().patterns[row["label"]].search(row["text"]) is not None) == row["present"]


def repeated(values: Iterable[Any]) -> list[Any]:
    return [value for value, times in Counter(values).items() if times > 1]


# the rules of the set: every function gives what breaks its rule


def schema(rows: list[Row]) -> list[Any]:
    return [
        row
        for row in rows
        if list(row) != KEYS
        or row["kind"] not in KINDS
        or row["label"] not in KINDS[row["kind"]][0]
        or not isinstance(row["present"], bool)
        or row["present"] not in KINDS[row["kind"]][1]
        or row["sentiment"] not in SENTIMENTS
        or row["text"] != row["text"].strip()
    ]


def ids_count_up(rows: list[Row]) -> list[Any]:
    return [row["id"] for number, row in enumerate(rows, start=1) if row["id"] != f"s{number:03d}"]


def texts_are_unique(rows: list[Row]) -> list[Any]:
    return repeated(row["text"] for row in rows)


def first_three_words_are_unique(rows: list[Row]) -> list[Any]:
    return repeated(tuple(words(row["text"])[:3]) for row in rows)


def texts_are_six_to_45_words(rows: list[Row]) -> list[Any]:
    return [row["id"] for row in rows if len(words(row["text"])) not in WORDS]


def every_kind_is_large_enough(rows: list[Row]) -> list[Any]:
    counts = Counter(row["kind"] for row in rows)
    return [kind for kind in KINDS if counts[kind] < MIN_PER_KIND]


def both_answers_are_equally_frequent(rows: list[Row]) -> list[Any]:
    """For every label of the kinds that have both: else a constant answer would beat chance there."""
    balance: Counter[tuple[str, str]] = Counter()
    for row in rows:
        if len(KINDS[row["kind"]][1]) == 2:
            balance[row["kind"], row["label"]] += 1 if row["present"] else -1
    return [pair for pair, surplus in balance.items() if surplus]


def hard_texts_mislead_the_lexicon(rows: list[Row]) -> list[Any]:
    return [row["id"] for row in rows if row["kind"] in HARD and lexicon_is_right(row)]


def controls_suit_the_lexicon(rows: list[Row]) -> list[Any]:
    return [row["id"] for row in rows if row["kind"] == "control" and not lexicon_is_right(row)]


def enough_texts_mislead_the_lexicon(rows: list[Row]) -> list[Any]:
    wrong = sum(row["label"] in LISTED and not lexicon_is_right(row) for row in rows)
    return [] if wrong >= MIN_WRONG else [wrong]


# a way to break each rule


def first_of(rows: list[Row], kind: str) -> Row:
    return next(row for row in rows if row["kind"] == kind)


def swap_two_keys(rows: list[Row]) -> None:
    rows[0]["id"] = rows[0].pop("id")


def mislabel_pity(rows: list[Row]) -> None:
    first_of(rows, "pity_sorry")["label"] = "anger"


def write_present_as_a_number(rows: list[Row]) -> None:
    rows[0]["present"] = 0


def invent_a_sentiment(rows: list[Row]) -> None:
    rows[0]["sentiment"] = "MIXED"


def repeat_an_id(rows: list[Row]) -> None:
    rows[1]["id"] = rows[0]["id"]


def repeat_a_text(rows: list[Row]) -> None:
    rows[1]["text"] = rows[0]["text"]


def share_an_opening(rows: list[Row]) -> None:
    rows[1]["text"] = " ".join(words(rows[0]["text"])[:3]).upper() + ", said somebody on the tram."


def shorten_a_text(rows: list[Row]) -> None:
    rows[0]["text"] = "I feel no gratitude here."


def lengthen_a_text(rows: list[Row]) -> None:
    rows[0]["text"] += " and on" * 30


def thin_out_a_kind(rows: list[Row]) -> None:
    kept = [row for row in rows if row["kind"] == "other_sense"][: MIN_PER_KIND - 1]
    rows[:] = [row for row in rows if row["kind"] != "other_sense"] + kept


def flip_a_politeness_answer(rows: list[Row]) -> None:
    row = first_of(rows, "politeness")
    row["present"] = not row["present"]


def add_a_text_without_the_word(rows: list[Row]) -> None:
    first_of(rows, "pity_sorry")["text"] = "Poor you, that cold sounds perfectly miserable."


def put_the_word_into_an_implicit_text(rows: list[Row]) -> None:
    first_of(rows, "implicit")["text"] += " Thanks!"


def put_the_word_into_an_absent_control(rows: list[Row]) -> None:
    row = next(row for row in rows if row["kind"] == "control" and not row["present"])
    row.update(label="anger", text="The angry baker opens at nine on weekdays.")


def keep_the_controls_alone(rows: list[Row]) -> None:
    rows[:] = [row for row in rows if row["kind"] == "control"]


BROKEN_BY: list[tuple[Callable[[list[Row]], list[Any]], Callable[[list[Row]], None]]] = [
    (schema, swap_two_keys),
    (schema, mislabel_pity),
    (schema, write_present_as_a_number),
    (schema, invent_a_sentiment),
    (ids_count_up, repeat_an_id),
    (texts_are_unique, repeat_a_text),
    (first_three_words_are_unique, share_an_opening),
    (texts_are_six_to_45_words, shorten_a_text),
    (texts_are_six_to_45_words, lengthen_a_text),
    (every_kind_is_large_enough, thin_out_a_kind),
    (both_answers_are_equally_frequent, flip_a_politeness_answer),
    (hard_texts_mislead_the_lexicon, add_a_text_without_the_word),
    (hard_texts_mislead_the_lexicon, put_the_word_into_an_implicit_text),
    (controls_suit_the_lexicon, put_the_word_into_an_absent_control),
    (enough_texts_mislead_the_lexicon, keep_the_controls_alone),
]
RULES = list(dict.fromkeys(rule for rule, _ in BROKEN_BY))


def named(function: Callable[..., Any]) -> str:
    return function.__name__


@pytest.mark.parametrize("rule", RULES, ids=named)
def test_the_set_obeys_its_rule(rows: list[Row], rule: Callable[[list[Row]], list[Any]]) -> None:
    assert rule(rows) == []


@pytest.mark.parametrize(("rule", "change"), BROKEN_BY, ids=named)
def test_a_rule_notices_a_set_that_breaks_it(
    rows: list[Row], rule: Callable[[list[Row]], list[Any]], change: Callable[[list[Row]], None]
) -> None:
    change(rows)
    assert rule(rows) != []


def test_every_label_and_sentiment_occurs(rows: list[Row]) -> None:
    assert {row["label"] for row in rows} == set(LABELS)
    assert {row["sentiment"] for row in rows} == set(SENTIMENTS)
