"""How pleasant people find the word for a label: ratings of VADER's lexicon, read from the package that carries it.

C. J. Hutto and E. E. Gilbert, "VADER: A Parsimonious Rule-based Model for Sentiment Analysis of Social Media Text",
ICWSM 2014: ten raters per word, from -4 (extremely negative) to 4 (extremely positive), seen without any context.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from importlib.resources import files
from typing import NamedTuple

from emolib.base.labels import folded

RATERS = 10
FORMS = {"curiosity": "curious"}  # a label that the lexicon lacks → a form of the same word that it has


class Valence(NamedTuple):
    """One word's ratings.

    Attributes:
        word: that was rated: the label itself, or the form that stands for it.
        mean: of the ten ratings, -4 to 4.
        sd: their standard deviation (divided by n).
    """

    word: str
    mean: float
    sd: float


def human_valence(labels: Iterable[str]) -> dict[str, Valence]:
    """The ratings of the labels' words; a label whose word nobody rated is left out.

    Nothing is made up for such a label: no synonym, no neutral zero.

    Args:
        labels: such as a data set's.

    >>> human_valence(["joy", "curiosity", "disapproval"])
    {'joy': Valence(word='joy', mean=2.8, sd=0.74833), 'curiosity': Valence(word='curious', mean=1.3, sd=0.78102)}
    """
    lexicon = _lexicon()
    words = {label: [folded(label), FORMS.get(folded(label), "")] for label in labels}
    found = {label: next((word for word in forms if word in lexicon), None) for label, forms in words.items()}
    return {label: Valence(word, *lexicon[word]) for label, word in found.items() if word is not None}


@lru_cache(maxsize=1)
def _lexicon() -> dict[str, tuple[float, float]]:
    """Word → mean and standard deviation of its ratings."""
    text = files("vaderSentiment").joinpath("vader_lexicon.txt").read_text(encoding="utf-8")
    rows = (line.split("\t") for line in text.splitlines() if line.strip())
    return {word: (float(mean), float(sd)) for word, mean, sd, *_ in rows}
