"""The sealed texts of a confirmation: read, checked, and what of them may carry a claim about an emotion.

A JSONL file in the data set's layout, kept outside the repository. A scenario with all nine labels (the study's four
and the five of like valence) gives the texts that are read; one with a neutral text alone is of the prompt pool, which
shares no scenario with them. The file's splits mean nothing here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from emolib.base import paths, store
from emolib.base.errors import UserError, shown
from emolib.data.companions import LABELS as COMPANIONS
from emolib.data.completion import completed
from emolib.data.keywords import load_cues, load_keywords
from emolib.data.near_copies import near_copies, texts_of_folder, trigrams
from emolib.data.problems import Problems
from emolib.data.row_files import existing_file, read_rows
from emolib.data.styles import IMPLICIT

NEUTRAL = "neutral"
EMOTIONS = ("gratitude", "anger", "apology")
LABELS = (*EMOTIONS, *COMPANIONS["five"], NEUTRAL)
FEWEST_IMPLICIT = 96  # scenarios: d_z 0.4 at a sixth of the level needs 80
FEWEST_PROMPTS = 24
FEWEST_OF_A_MOCK = 2  # prompts
APART = "sealed:"  # begins the names of sealed texts and scenarios where they are read beside the project's
SEEN_TWICE = 2  # training texts of one label, and of no other, by which a 3-gram gives the label away
STEMS = {  # words of the labels that have no list of their own
    "joy": r"joy\w*",
    "admiration": r"admir\w*",
    "sadness": r"sad|sadly|sadness|sadden\w*",
    "fear": r"fear\w*|afraid|scared",
    "embarrassment": r"embarrass\w*",
}


@dataclass(frozen=True)
class SealedTexts:
    """What a sealed file holds.

    Attributes:
        texts: a row per text of the scenarios with all nine labels, those that were set aside left out; the names of
            texts and scenarios begin with `APART`.
        prompts: the neutral texts of the prompt pool.
        sha256: of the file.
        set_aside: scenario, emotion, why (`word`, `phrase` or `shared`): implicit scenarios with a text that holds a
            word of its label, a listed phrase, or a 3-gram that training texts of its label alone have, twice or more.
        n_shared_once: implicit scenarios that are kept though a 3-gram of theirs is in one training text of the label
            and in none of the others.
    """

    texts: pd.DataFrame = field(repr=False)
    prompts: pd.DataFrame = field(repr=False)
    sha256: str
    set_aside: pd.DataFrame = field(repr=False)
    n_shared_once: int

    def scenarios(self, style: str = IMPLICIT) -> list[str]:
        """The scenarios of a style whose texts are read, in the file's order."""
        return list(dict.fromkeys(self.texts.loc[self.texts["style"] == style, "scenario"]))


def read_sealed(path: str | Path, training: pd.DataFrame, *, mock: int | None = None) -> SealedTexts:
    """Reads a sealed file and refuses one that cannot carry a confirmation.

    Args:
        path: a .jsonl file.
        training: the data set's training texts, with emotion and text.
        mock: None for a sealed file. For a rehearsal so many implicit scenarios are enough, and texts of the project's
            own files may stand in it.

    Raises:
        UserError: names every fault: rows that the data set's own checks refuse, a label that is none, a scenario that
            has neither all labels nor a neutral text alone, that is of several styles or of another language; too few
            implicit scenarios without cues, or prompts; a text that is in the project's data or nearly so, or a prompt
            that is nearly one of the texts.
    """
    file = existing_file(path)
    if file.suffix.lower() != ".jsonl":
        raise UserError(
            f"expected a sealed .jsonl file, got {shown(file.name)}; convert it with `emolib build-dataset`"
        )
    problems = Problems(file.name)
    rows = read_rows(file, problems)
    _check_given(rows, problems)
    table = completed(rows, problems, neutral=NEUTRAL, labels=LABELS)
    texts, prompts = _parted(table, problems)
    problems.raise_if_any()
    aside, n_once = _set_aside(texts, training)
    texts = texts[~texts["scenario"].isin(set(aside["scenario"]))].reset_index(drop=True)
    found = SealedTexts(_apart(texts), _apart(prompts), store.sha256_of(file), aside, n_once)
    fewest = (FEWEST_IMPLICIT, FEWEST_PROMPTS) if mock is None else (mock, FEWEST_OF_A_MOCK)
    _check_counts(found, problems, *fewest)
    _check_copies(found, problems, project=mock is None)
    problems.raise_if_any()
    return found


def _apart(table: pd.DataFrame) -> pd.DataFrame:
    """The same texts under names that no text of the project has."""
    return table.assign(**{name: APART + table[name] for name in ("id", "scenario")})


def _check_given(rows: pd.DataFrame, problems: Problems) -> None:
    """What the data set's own reader would fill in must be there."""
    for name in ("scenario", "style"):
        values = rows[name] if name in rows else pd.Series("", index=rows.index)
        for number in rows.loc[values.isna() | (values.astype(str).str.strip() == ""), "_row"].tolist():
            problems.add(number, f"expected a {name}, got none")


def _parted(table: pd.DataFrame, problems: Problems) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The texts of whole scenarios, and the prompts."""
    whole, pool = [], []
    for scenario, part in table.groupby("scenario", sort=False):
        labels, where = part["emotion"].tolist(), f"scenario {scenario}"
        if labels == [NEUTRAL]:
            pool.append(scenario)
            continue
        whole.append(scenario)
        missing = [label for label in LABELS if label not in labels]
        if missing or len(labels) > len(LABELS):
            problems.add(where, f"expected one text of each of {len(LABELS)} labels, {_counted(labels, missing)}")
        for name, allowed in (("style", ("implicit", "explicit")), ("lang", ("en",))):
            if (said := set(part[name])) - set(allowed) or len(said) > 1:
                problems.add(where, f"expected one {name} of {' or '.join(allowed)}, got {', '.join(sorted(said))}")
    held = [table[table["scenario"].isin(names)].reset_index(drop=True) for names in (whole, pool)]
    return held[0], held[1]


def _counted(labels: list[str], missing: list[str]) -> str:
    twice = sorted({label for label in labels if labels.count(label) > 1})
    return f"missing: {', '.join(missing) or 'none'}; several: {', '.join(twice) or 'none'}"


# cues


def _set_aside(texts: pd.DataFrame, training: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """The implicit scenarios with a cue, and how many others share a 3-gram with one training text of the label."""
    words, phrases, seen = load_keywords(), load_cues(), _seen_by_label(training)
    rows, once = [], set()
    for row in texts[texts["style"] == IMPLICIT].to_dict("records"):
        label, text = row["emotion"], row["text"]
        if label == NEUTRAL:
            continue
        counts = [count for one in trigrams(text) if (count := _alone(seen.get(one, {}), label))]
        listed = label in words.patterns and words.count(text, label) > 0
        named = label in STEMS and re.search(rf"\b(?:{STEMS[label]})\b", text, re.IGNORECASE) is not None
        phrased = label in phrases.patterns and phrases.count(text, label) > 0
        why = "word" if listed or named else "phrase" if phrased else ""
        why = why or ("shared" if max(counts, default=0) >= SEEN_TWICE else "")
        if why:
            rows.append({"scenario": row["scenario"], "emotion": label, "why": why})
        elif counts:
            once.add(row["scenario"])
    aside = pd.DataFrame(rows, columns=["scenario", "emotion", "why"])
    return aside, len(once - set(aside["scenario"]))


def _seen_by_label(training: pd.DataFrame) -> dict[tuple[str, str, str], dict[str, int]]:
    """In how many training texts of each label a 3-gram is."""
    seen: dict[tuple[str, str, str], dict[str, int]] = {}
    for label, text in zip(training["emotion"], training["text"], strict=True):
        for one in trigrams(text):
            by_label = seen.setdefault(one, {})
            by_label[label] = by_label.get(label, 0) + 1
    return seen


def _alone(by_label: dict[str, int], label: str) -> int:
    """In how many texts of the label a 3-gram is, where it is in none of another; else 0."""
    return by_label[label] if set(by_label) == {label} else 0


# what would make it no confirmation


def _check_counts(found: SealedTexts, problems: Problems, fewest: int, fewest_prompts: int) -> None:
    counts = {
        "implicit scenarios without a cue": (len(found.scenarios()), fewest),
        "scenarios with a neutral text alone, for the prompts": (len(found.prompts), fewest_prompts),
    }
    for what, (count, least) in counts.items():
        if count < least:
            aside = found.set_aside["scenario"].nunique()
            note = f" ({aside} were set aside for a cue)" if aside and "cue" in what else ""
            problems.add("the file", f"expected at least {least} {what}, got {count}{note}")


def _check_copies(found: SealedTexts, problems: Problems, *, project: bool) -> None:
    texts, prompts = found.texts["text"].tolist(), found.prompts["text"].tolist()
    names = [*found.texts["id"], *found.prompts["id"]]
    for place, other in near_copies(prompts, texts):
        problems.add(f"id {found.prompts['id'].iloc[place]}", f"is nearly the text {found.texts['id'].iloc[other]}")
    if not project:
        return
    others = texts_of_folder(paths.data_file().parent)
    for place, other in near_copies([*texts, *prompts], [text for text, _ in others]):
        problems.add(f"id {names[place]}", f"is in data/{others[other][1]} or nearly so: {shown(others[other][0], 60)}")
