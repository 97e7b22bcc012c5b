"""The words of the small language that the nulls of S are planted in: ordinary words in three places, in turn."""

from __future__ import annotations

from emolib.selftest.planted.words import SPECIAL

EMOTIONS = ("gratitude", "anger", "apology")
LIKE = {"gratitude": ("joy", "admiration"), "anger": ("sadness", "fear"), "apology": ("sadness", "embarrassment")}
LABELS = (*EMOTIONS, "joy", "admiration", "sadness", "fear", "embarrassment")
NEUTRAL = "neutral"

# A text takes one word of every place in turn. Every label has words of its own number in each place.
PLACES = (
    ["found", "left", "moved", "brought", "saw", "used", "checked", "shared", "cleaned", "opened"],
    ["kettle", "desk", "fence", "train", "lesson", "clinic", "spoon", "report", "hedge", "ticket"],
    ["outside", "early", "upstairs", "late", "indoors", "twice", "nearby", "monday", "tuesday", "friday"],
)
CALENDAR = tuple(PLACES[2][7:])  # stand among the words of their place as the others do
FELT = {  # a word that says the label; stands in explicit texts, in a word's place
    **{"gratitude": "thankful", "anger": "furious", "apology": "sorry", "joy": "delighted", "admiration": "awed"},
    **{"sadness": "gloomy", "fear": "afraid", "embarrassment": "ashamed"},
}
MENTION = {  # the label's name, which a sentence may hold though nobody feels anything
    **{"gratitude": "gratitude", "anger": "anger", "apology": "apology", "joy": "joy", "admiration": "admiration"},
    **{"sadness": "sadness", "fear": "fear", "embarrassment": "embarrassment"},
}
MARK = "."
ORDINARY = tuple(word for place in PLACES for word in place)
WORDS = (*ORDINARY, *FELT.values(), *MENTION.values(), MARK)  # all that have a place of their own in the stream
VOCABULARY = (*SPECIAL, *WORDS)


def place_of(word: str) -> int:
    """Which place a word stands in, 0 to 2; names and felt words stand in the last one, the mark in the first."""
    return next((i for i, place in enumerate(PLACES) if word in place), 0 if word == MARK else 2)
