"""Examples that an emotion is asked for with: of which scenarios they may be."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import pandas as pd

from emolib.steering.shift_tables import check_columns
from emolib.steering.third_scenarios import Wording


def example_scenarios(
    candidates: pd.DataFrame, training: pd.DataFrame, test: pd.DataFrame, *, emotions: Sequence[str]
) -> list[str]:
    """The scenarios whose texts of every emotion may stand before a prompt, in the order given.

    A model copies its prompt: a scenario is left out where it is one of the test, or where one of its texts has three
    words in a row that only its label's training texts have and that stand in a test text of the label, too.

    Args:
        candidates: scenario, emotion, text: those of which examples are taken.
        training: emotion, text: of every label, also neutral; what only one label has is told from these.
        test: scenario, emotion, text: what is measured.
        emotions: the labels of which a scenario needs a text.

    >>> columns = ["scenario", "emotion", "text"]
    >>> found = pd.DataFrame([("a", "joy", "What a great day."), ("b", "joy", "We went home.")], columns=columns)
    >>> test = pd.DataFrame([("c", "joy", "It is what a great day.")], columns=columns)
    >>> example_scenarios(found, found, test, emotions=["joy"])
    ['b']
    """
    for table, name in ((candidates, "candidates"), (test, "the test texts")):
        check_columns(table, ["scenario", "emotion", "text"], name)
    check_columns(training, ["emotion", "text"], "the training texts")
    triples = {label: Wording.of(part["text"]).triples for label, part in training.groupby("emotion", sort=False)}
    told = {
        emotion: (triples.get(emotion, frozenset()) - _of_others(triples, emotion))
        & Wording.of(test.loc[test["emotion"] == emotion, "text"]).triples
        for emotion in emotions
    }
    tested, chosen = set(test["scenario"]), []
    for scenario, part in candidates.groupby("scenario", sort=False):
        texts = dict(zip(part["emotion"], part["text"], strict=True))
        if scenario in tested or not set(emotions) <= set(texts):
            continue
        if not any(Wording.of([texts[emotion]]).triples & told[emotion] for emotion in emotions):
            chosen.append(str(scenario))
    return chosen


def _of_others(triples: dict[str, frozenset[tuple[str, str, str]]], label: str) -> frozenset[tuple[str, str, str]]:
    """What the other labels' texts have."""
    others: Collection[frozenset[tuple[str, str, str]]] = [found for name, found in triples.items() if name != label]
    return frozenset().union(*others)


def asked_template(examples: Sequence[str], template: str) -> str:
    """What a model continues where it is asked by examples: they stand before the prompt, in the prompt's own format.

    >>> asked_template(["Thank you.", "Thanks a lot."], "{text}")
    'Thank you.\\n\\nThanks a lot.\\n\\n{text}'
    """
    return template.replace("{text}", "\n\n".join([*examples, "{text}"]))
