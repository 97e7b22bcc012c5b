"""Contrasts of planted scenarios, whose carrying head is known, and of bare sentences."""

from __future__ import annotations

import pandas as pd

from emolib.circuits.contrasts import COLUMNS
from emolib.selftest.planted import Planted, planted_scenarios, words

NAMES = ("gratitude", "anger")


def planted_contrasts(planted: Planted, n: int, seed: int = 0, *, null: bool = False) -> pd.DataFrame:
    """Per scenario one emotion's (in turn) text and the neutral one as contexts, and sentences that the model writes.

    Args:
        null: neutral contexts on both sides.
    """
    data = planted_scenarios(planted, 2 * n, seed).set_index(["scenario", "emotion"])["text"]
    names, rows = list(dict.fromkeys(name for name, _ in data.index)), []
    emotions = list(planted.truth.directions)
    for number in range(n):
        emotion, topic = emotions[number % len(emotions)], names[number].split("-")[0]
        first, second = words.NOUNS[topic][number % 6], words.NOUNS[topic][(number + 3) % 6]
        texts = [
            f"and {group[number % 6]} {first} with {group[(number + 2) % 6]} {second} ."
            for group in (planted.truth.outputs[emotion], words.PLAIN)
        ]
        other = data[names[n + number], "neutral"]
        rows.append(
            {
                **{"scenario": names[number], "emotion": emotion, "other": "neutral", "effect": "context"},
                **{"style": "explicit", "topic": topic, "third": names[number]},
                "prompt_with": other if null else data[names[number], emotion],
                "prompt_without": data[names[number], "neutral"],
                "text_with": texts[0],
                "text_without": texts[1],
                "source_prompt": data[names[(number + 1) % n], "neutral"],
                "source_text": f"and {words.PLAIN[0]} {words.NOUNS[topic][1]} near {words.PLAIN[3]} soup .",
            }
        )
    return pd.DataFrame(rows, columns=COLUMNS)


def few_contrasts(n: int = 2) -> pd.DataFrame:
    """Contrasts of bare sentences for models of random weights."""
    said = ["Rain fell and fell", "A cold red fence", "It is a long road", "We sat by the shop", "No cat was there"]
    rows = [
        {
            **{"scenario": f"s{number}", "emotion": NAMES[number % 2], "other": NAMES[1 - number % 2]},
            **{"effect": "context", "style": "explicit", "topic": "t", "third": "k"},
            "prompt_with": said[number],
            "prompt_without": said[number + 1] + " now",
            "text_with": "They went in, and out.",
            "text_without": "It stopped at noon!",
            "source_prompt": said[(number + 2) % 5],
            "source_text": "Her grey cat ran all night along the road.",
        }
        for number in range(n)
    ]
    return pd.DataFrame(rows, columns=COLUMNS)
