"""Scores worked out again: of drawn texts, one at a time, without the cache of scores.

Emotion words are counted by expressions written here, sentiment is VADER's own package and its mapping, what a text's
tokens say of fluency is counted anew, and every target is taken from the labels' columns. The trained scorers
(politeness, GoEmotions, expressed) have no second implementation: they score each text alone, which shows that neither
its neighbours nor the cache have a part in its scores.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np
import pandas as pd
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from emolib.base import files, paths
from emolib.base.yaml_files import read_mapping
from emolib.pipeline.verification.check_rows import Measured, Rows
from emolib.pipeline.verification.recompute.material import Material
from emolib.pipeline.verification.recompute.texts import strata

TOLERANCE = 1e-4  # of a probability or a score
MATCHING = {"anger": ("anger", "annoyance"), "apology": ("remorse",)}  # GoEmotions' labels for the project's
REACH = 3  # words before a word within which a negation counts
CLAUSE_END = re.compile(r"[.!?;:,()\n\u2013\u2014\u2026]|\bbut\b", re.IGNORECASE)


def check_scores(material: Material, rows: Rows) -> None:
    """Scores of drawn texts of the data set and of every kind of every sweep."""
    rows.check = "recomputed scores"
    for artifact in material.run.of_kind("dataset scores"):
        held = material.run.table(artifact)
        found = Measured(of=len(held), tolerance=TOLERANCE)
        for _, part in held.groupby(["split", "emotion"], sort=True):
            drawn = material.drawn(f"scores {part.iloc[0]['split']} {part.iloc[0]['emotion']}", len(part))
            _compare(material, part.iloc[drawn], found)
        rows.measured(artifact.path, found)
    for name, places in strata(material).items():
        found = Measured(of=len(places), tolerance=TOLERANCE)
        for at in material.drawn(f"texts {name}", len(places)):
            artifact, place = places[at]
            _compare(material, material.run.table(artifact).iloc[[place]], found, fluency=True)
        rows.measured(name, found)
    for artifact in (a for a in material.run.artifacts if a.said.get("whole")):
        held = material.run.table(artifact)
        found = Measured(of=len(held), tolerance=TOLERANCE)
        for told, off in _targets(held):
            found.add(off, told)
        found.compared = len(held)  # every row was, in every target at once
        rows.measured(artifact.path, found)


def _compare(material: Material, held: pd.DataFrame, found: Measured, *, fluency: bool = False) -> None:
    """Every score of some rows; the largest deviation of a row is the row's."""
    for row in held.to_dict("records"):
        text = str(row["text"])
        wanted: dict[str, float] = {**_counts(text), **_sentiment(text)}
        wanted |= dict(_trained(text, str(material.parameters.get("backend", "bundled"))))
        if fluency:
            wanted |= _fluency(material.model.text_ids(text))
        shared = [name for name in wanted if name in row]
        off = max((abs(float(row[name]) - wanted[name]) for name in shared), default=np.inf)
        worst = max(shared, key=lambda name: abs(float(row[name]) - wanted[name]), default="every score")
        found.add(off, f"{worst} of {row.get('row_id', row.get('id'))}")


def _targets(held: pd.DataFrame) -> Iterator[tuple[str, float]]:
    """Every target is the highest probability of its labels, valence P(POSITIVE) − P(NEGATIVE)."""
    for name in held.filter(regex=r"^target(_\w+)?/").columns:
        family, emotion = str(name).split("/", 1)
        labels = [f"goemotions{family.removeprefix('target')}/{label}" for label in MATCHING.get(emotion, (emotion,))]
        if set(labels) <= set(held):
            yield str(name), float((held[labels].max(axis=1) - held[name]).abs().max())
    if "valence" in held:
        off = held["sentiment/POSITIVE"] - held["sentiment/NEGATIVE"] - held["valence"]
        yield "valence", float(off.abs().max())


# each score of one text


@cache
def _lists() -> dict[str, re.Pattern[str]]:
    """The emotions' words, the negations and the phrases that keep their word though a negation is in them."""
    found = read_mapping(paths.params_folder("keywords") / "en.yaml")
    named = {f"keywords/{label}": words for label, words in found["labels"].items()}
    named |= {"kept": found["kept"], "negations": found["negations"]}
    return {name: _any_of(words) for name, words in named.items()}


def _any_of(phrases: Sequence[str]) -> re.Pattern[str]:
    """Any of the phrases as whole words; `*` stands for any ending, `n't` follows a word without a gap."""
    parts = [
        r"\s+".join(re.escape(word).replace(r"\*", r"\w*") for word in phrase.split())
        for phrase in sorted(phrases, key=len, reverse=True)
    ]
    return re.compile("|".join(r"n't\b" if part == "n't" else rf"\b{part}\b" for part in parts), re.IGNORECASE)


def _counts(text: str) -> dict[str, float]:
    """`keywords/<label>`: words of the list that no negation among the three words before them takes back."""
    plain = text.replace("\u2019", "'").replace("\u2018", "'").replace("\u02bc", "'")
    lists = _lists()
    return {
        name: float(sum(not _taken_back(plain, *match.span()) for match in pattern.finditer(plain)))
        for name, pattern in lists.items()
        if name.startswith("keywords/")
    }


def _taken_back(text: str, start: int, stop: int) -> bool:
    clause = max((end.end() for end in CLAUSE_END.finditer(text, 0, start)), default=0)
    before = [word.start() for word in re.finditer(r"\S+", text[clause:start])][-REACH:]
    if not before:
        return False
    kept = [phrase.span() for phrase in _lists()["kept"].finditer(text[clause:stop])]
    negations = [word.span() for word in _lists()["negations"].finditer(text[clause:start], before[0])]
    return any(not any(low <= at and end <= high for low, high in kept) for at, end in negations)


def _sentiment(text: str) -> dict[str, float]:
    """VADER's compound, and the fitted probabilities of its positive and negative part."""
    mapping = files.read_json(paths.params_folder("scorers") / "sentiment.json", kind=dict)
    compound = _vader().polarity_scores(text)["compound"]
    parts = np.array([max(compound, 0.0), max(-compound, 0.0)])
    powers = np.exp(np.array(mapping["weights"]) @ parts + np.array(mapping["bias"]))
    shares = {f"sentiment/{name}": float(p) for name, p in zip(mapping["classes"], powers / powers.sum(), strict=True)}
    return {**shares, "sentiment/compound": float(compound)}


@cache
def _vader() -> SentimentIntensityAnalyzer:
    return SentimentIntensityAnalyzer()


@cache
def _trained(text: str, backend: str) -> tuple[tuple[str, float], ...]:
    """The scorers that were trained, asked for this text alone."""
    from emolib.scoring import score_texts

    (row,) = score_texts([text], backend=backend).to_dict("records")
    own = ("keywords/", "sentiment/") if backend != "huggingface" else ("keywords/",)
    return tuple((str(name), float(value)) for name, value in row.items() if not str(name).startswith(own))


def _fluency(ids: Sequence[int]) -> dict[str, float]:
    """What a text's tokens say of it."""
    return {
        "fluency/length": float(len(ids)),
        "fluency/repetition": _repeated(ids, 3),
        "fluency/distinct_2": 1 - _repeated(ids, 2),
    }


def _repeated(ids: Sequence[int], n: int) -> float:
    counts = Counter(tuple(ids[at : at + n]) for at in range(len(ids) - n + 1))
    total = sum(counts.values())
    return (total - len(counts)) / total if total else 0.0
