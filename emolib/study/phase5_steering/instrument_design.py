"""What the instruments of Phase 5 read: which context stands before which text, and for which labels.

The texts are the validation texts, the prompts those of Phase 5's validation design (`shift_design`). The emotions are
one family of labels; every emotion with the labels of like valence that its scenarios have companions of is another.
In a cross-fitted design the first part stands for all: a context needs no vector, and its validation scenarios are as
many as there are in the others.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations

import pandas as pd

from emolib.base.labels import spelled
from emolib.data.companions import companions_of
from emolib.data.pairs import load_lexical
from emolib.steering.claims import IDIOMATIC
from emolib.steering.gold import ROW_COLUMNS, context_rows, gold_contexts
from emolib.steering.instruments import GOLD_LIKE
from emolib.steering.stand_ins import LIKE_VALENT, like_valent_contexts, pair_contexts
from emolib.steering.third_scenarios import third_scenarios
from emolib.study.phase5_steering.design import Part, parts
from emolib.study.phase5_steering.shift_design import ShiftDesign, counted_styles, shift_design
from emolib.study.phase5_steering.sweep_settings import template_of
from emolib.study.run import Run, kept

OWN = "own"  # name of the family of the emotions themselves
NAME_OF_KIND = {"denied": "denied", "lexical": "mention"}  # kind of pairs → what its instrument is called
USUAL_TEXTS = 24  # validation scenarios with which the following numbers hold; with others they scale alike
FEW_TEXTS = 6  # per style, that are read for what must fail, against labels of like valence, and for gold (b)
FEWEST_TEXTS = 2  # of a style, without which nothing of it can be judged
LIKE_STAND_INS = 1  # labels of like valence that stand in for an emotion
N_LEXICON = 4  # neutral training texts at whose places a context's effect on a token is taken
VALIDATION, TRAINING = "validation", "training"
TABLE_COLUMNS = [*ROW_COLUMNS, "split", "instrument", "stand_in"]


@dataclass(frozen=True)
class Family:
    """Labels that are compared with each other.

    Attributes:
        name: `own`, or the emotion to which the others are of like valence.
        pairs: label and other label of every S.
    """

    name: str
    labels: tuple[str, ...]
    pairs: tuple[tuple[str, str], ...]

    def among(self, labels: set[str]) -> list[tuple[str, str]]:
        """The pairs of which both are among these."""
        return [pair for pair in self.pairs if set(pair) <= labels]


@kept
def families(run: Run) -> tuple[Family, ...]:
    """The emotions, and each with its labels of like valence where the data set has companions."""
    own = Family(OWN, run.emotions, tuple(permutations(run.emotions, 2)))
    held = set(companions(run)["emotion"])
    found = [own]
    for emotion in run.emotions:
        known = spelled(emotion, LIKE_VALENT)
        like = tuple(name for name in LIKE_VALENT[known] if name in held) if known else ()
        if like:
            found.append(Family(emotion, (emotion, *like), tuple((emotion, other) for other in like)))
    return tuple(found)


def first_part(run: Run) -> Part:
    """The part of the design on which instruments are judged."""
    return parts(run)[0]


def validation_design(run: Run) -> ShiftDesign:
    """Phase 5's design of the validation texts, without idiomatic ones."""
    found = shift_design(run, first_part(run), VALIDATION)
    return ShiftDesign(found.cells[found.cells["style"] != IDIOMATIC], found.texts, found.prompts)


def scaled(run: Run, number: int, fewest: int) -> int:
    """A number of texts, in proportion to the profile's validation texts; at least so many."""
    share = validation_design(run).cells["text"].nunique() / USUAL_TEXTS
    return max(fewest, round(number * share))


def few(run: Run, cells: pd.DataFrame, *, fewest: int = 0) -> pd.DataFrame:
    """The first texts of each style; none where they would be too few to judge by."""
    count = scaled(run, FEW_TEXTS, fewest)
    texts = cells.drop_duplicates("text")
    first = texts.loc[texts.groupby("style").cumcount() < (0 if count < FEWEST_TEXTS else count), "text"]
    return cells[cells["text"].isin(set(first))]


def lexicon_design(run: Run) -> ShiftDesign:
    """The first of Phase 5's training texts: the neutral ones are where a token's lexical part is taken."""
    found = shift_design(run, first_part(run), TRAINING)
    return ShiftDesign(found.cells.head(scaled(run, N_LEXICON, 1)), found.texts, found.prompts)


@kept
def context_table(run: Run, family: Family) -> pd.DataFrame:
    """Every row that is read for a family's instruments.

    Returns:
        `TABLE_COLUMNS`: those of `emolib.steering.gold.context_rows` with the prompts in the run's format, the split
        of the continuation (`validation`; `training`: neutral texts), the instrument and what stands in; empty where
        no validation scenario has texts of all labels.
    """
    found = []
    for split, design in ((VALIDATION, validation_design(run)), (TRAINING, lexicon_design(run))):
        labels = family.labels if split == VALIDATION else (run.params.neutral,)
        if split == VALIDATION and len(labels) < 3:
            labels = (*labels, run.params.neutral)  # a third one, from which shifts are predicted
        cells = _with_thirds(run, family, design.cells)
        some = few(run, cells) if split == VALIDATION else cells
        for instrument, stand_in, place, contexts in _contexts(run, family, cells, some):
            if len(contexts) and (place == "a" or split == VALIDATION):
                rows = context_rows(
                    contexts, companion_texts(run), labels, positions=[place], neutral=run.params.neutral
                )
                found.append(rows.assign(split=split, instrument=instrument, stand_in=stand_in))
    if not any((rows["split"] == VALIDATION).any() for rows in found):
        return pd.DataFrame(columns=TABLE_COLUMNS)
    table = pd.concat(found, ignore_index=True)
    template = template_of(run)
    for column in ("prompt_with", "prompt_without"):
        table[column] = [template.replace("{text}", prompt) for prompt in table[column]]
    return table[TABLE_COLUMNS]


def left_out(run: Run, family: Family) -> float:
    """The share of the family's validation cells that have no third scenario."""
    cells = _of_family(run, family, validation_design(run).cells)
    return 1 - len(_with_thirds(run, family, cells)) / len(cells) if len(cells) else float("nan")


def _contexts(
    run: Run, family: Family, cells: pd.DataFrame, some: pd.DataFrame
) -> Iterator[tuple[str, str, str, pd.DataFrame]]:
    """Instrument, what stands in, the contexts' place, and the contexts: gold for all cells, the rest for some."""
    data, given = companion_texts(run), {"neutral": run.params.neutral}
    if family.name == OWN:
        yield "gold_a", "", "a", gold_contexts(cells, data, family.labels, **given)
        yield "gold_b", "", "b", gold_contexts(some, data, family.labels, **given)
        pairs = emotion_pairs(run)
        for kind, name in NAME_OF_KIND.items():
            held = set(pairs.loc[pairs["kind"] == kind, "emotion"])
            labels = [label for label in family.labels if label in held]
            if len(labels) > 1 and len(some):
                found = pair_contexts(some, data, pairs, labels, kind=kind, seed=run.params.seed, **given)
                yield name, "", "a", found.contexts
        return
    yield GOLD_LIKE, "", "a", gold_contexts(some, data, family.labels, **given)
    emotion, *like = family.labels
    for one in like[:LIKE_STAND_INS] if len(some) else ():
        fourth = {"pool": _pool(run), "seed": run.params.seed + 1}
        found = like_valent_contexts(some, data, family.labels, emotion, one, **fourth, **given)
        yield "like_valent", one, "a", found.contexts


# the texts


@kept
def companions(run: Run) -> pd.DataFrame:
    """The companions of like valence; none where the data set is another than theirs."""
    found = companions_of(run.data)
    return run.data.head(0) if found is None else found[found["set"] == "five"]


@kept
def companion_texts(run: Run) -> pd.DataFrame:
    """The data set's texts and the companions', with the style that counts."""
    columns = ["scenario", "emotion", "style", "text"]
    both = pd.concat([run.data[columns], companions(run)[columns]], ignore_index=True)
    return both.assign(style=both["scenario"].map(counted_styles(run.data)))


@kept
def emotion_pairs(run: Run) -> pd.DataFrame:
    """Denied and mentioned emotions under the labels of the run; none in another language than English."""
    pairs = load_lexical()
    if not english(run):
        return pairs.head(0)
    return pairs.assign(emotion=[spelled(name, run.emotions) or name for name in pairs["emotion"]])


def _of_family(run: Run, family: Family, cells: pd.DataFrame) -> pd.DataFrame:
    """The cells whose text's scenario has texts of all labels of the family."""
    texts = companion_texts(run)
    held = texts[texts["emotion"].isin(family.labels)].groupby("scenario")["emotion"].nunique()
    return cells[cells["text"].isin(held.index[held == len(family.labels)])]


def _with_thirds(run: Run, family: Family, cells: pd.DataFrame) -> pd.DataFrame:
    """The cells that have a third scenario, with it. Training texts need the emotions' texts alone."""
    of_validation = cells["text"].isin(first_part(run).validation).all()
    chosen = _of_family(run, family, cells) if of_validation else cells
    pool, texts = _pool(run), companion_texts(run)
    wanted = {*family.labels, run.params.neutral}
    whole = texts[texts["scenario"].isin(pool) & texts["emotion"].isin(wanted)].groupby("scenario")["emotion"].nunique()
    if chosen.empty or not (whole == len(wanted)).any():
        return chosen.head(0).assign(third="")
    given = {"pool": pool, "neutral": run.params.neutral, "seed": run.params.seed}
    return third_scenarios(chosen[["prompt", "text"]], texts, family.labels, **given).cells


def _pool(run: Run) -> list[str]:
    """Scenarios from which contexts come: those of the validation split, also ones that the profile leaves unused."""
    part = first_part(run)
    if part.name:
        return sorted(part.validation)
    return sorted(set(run.data.loc[run.data["split"] == VALIDATION, "scenario"]))


def english(run: Run) -> bool:
    """Whether the data set is in the language of the project's pairs."""
    return set(run.data["lang"]) == {"en"}
