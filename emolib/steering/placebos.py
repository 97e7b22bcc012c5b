"""Placebos: texts, acts and words that hold no emotion. A rule that lets them pass measures something else.

*Texts*: pairs that differ in topic, length, punctuation, frequency, courtesy or calendar alone, in place of the texts
of two labels. *Acts*: directions of topics, words, formality and valence (`placebo_acts`) in place of emotions' acts.
*Words*: the commonest words of steered texts that are no emotion words, in place of emotion words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from math import perm

import numpy as np
import pandas as pd

from emolib.base import arguments
from emolib.base.errors import UserError, shown
from emolib.data.keywords import load_cues, load_keywords
from emolib.data.valence import human_valence
from emolib.readout.surface import words
from emolib.steering.instruments import judged_pairs, passes
from emolib.steering.shift_tables import CELL
from emolib.steering.specific_shift import STRENGTH, text_contrast

Others = Mapping[str, Sequence[str]]
ROLES = ("a", "b")
_CELLS = [*CELL, *STRENGTH]


def placebo_text_rows(pairs: pd.DataFrame) -> pd.DataFrame:
    """The pairs as texts of a design: a pair stands for a scenario, its roles for labels, its kind for the style.

    Args:
        pairs: as `emolib.data.pairs.load_placebo` gives them.

    Returns:
        Columns scenario, label, style, words, as `shift_tables.shift_rows` takes them. Cross prompts with the pairs
        kind by kind.
    """
    named = {"pair": "scenario", "role": "label", "kind": "style", "text": "words"}
    return pairs.rename(columns=named)[list(named.values())].reset_index(drop=True)


def placebo_text_passes(
    table: pd.DataFrame,
    others: Others,
    *,
    n_halvings: int = 3,
    own: bool = False,
    seed: int = 0,
    value: str = "shift",
) -> pd.DataFrame:
    """Whether an emotion's act passes the whole rule on texts that differ in something else.

    A placebo is an emotion, a kind of difference, one of its two directions (a for b, b for a) and one half of the
    kind's pairs; every halving is a new one at random. The acts are the emotions' own.

    Args:
        table: as `shift_tables.shift_table` gives it for the rows of `placebo_text_rows` under the emotions' acts.
        others: per emotion the labels whose acts it is held against.
        n_halvings: six kinds, three emotions and three halvings are 216 placebos.
        own: by the own contrast (`own_shift`) instead of S; it needs a third label's act.
        seed: of the halvings.
        value: the column of the shift.

    Returns:
        emotion, kind, direction, halving, half, passed.

    Raises:
        UserError: as `specific_shift.text_contrast`; an act that is missing.
    """
    contrast = _by_act(table, *ROLES, value)
    generator = np.random.default_rng(seed)
    parts = []
    for kind, part in contrast.groupby("style", sort=False):
        cells = _differences(part, others, own)
        names = np.array(sorted(cells["text"].unique()))
        for halving in range(n_halvings):
            first = set(generator.permutation(names)[: len(names) // 2])
            inside = cells["text"].isin(first)
            for half, some in enumerate((cells[inside], cells[~inside])):
                for direction, sign in (("a_for_b", 1.0), ("b_for_a", -1.0)):
                    key = {"kind": kind, "direction": direction, "halving": halving, "half": half}
                    parts.append(some.assign(specific=some["specific"] * sign, **key))
    return _judged(pd.concat(parts, ignore_index=True), ["emotion", "kind", "direction", "halving", "half"])


def placebo_act_passes(
    table: pd.DataFrame | Mapping[tuple[str, str], pd.DataFrame],
    placebos: Collection[str],
    others: Others,
    *,
    n: int = 200,
    keep_others: bool = False,
    own: bool = False,
    seed: int = 0,
    value: str = "shift",
) -> pd.DataFrame:
    """Whether directions that hold no emotion pass the whole rule in place of emotions' acts.

    Each placebo draws different directions for an emotion and for every label that it is held against, none twice, and
    is judged on the emotions' texts, style by style. Emotions take turns.

    Args:
        table: as `shift_tables.shift_table` gives it, texts of all labels under the placebo acts; or one per pair of
            an emotion and another label, where the measure is another for each pair.
        placebos: names of those acts.
        others: per emotion the labels that it is held against.
        n: how many placebos per style; fewer where there are not so many different draws.
        keep_others: leave the others' own acts in place, and put one direction for the emotion's alone. S is symmetric,
            so it credits such a direction with what the others' acts do: this shows how often.
        own: by the own contrast (`own_shift`) instead of S: against what stands in for the labels that the emotion is
            not held against.
        seed: of the draws.
        value: the column of the shift.

    Returns:
        style, emotion, draw, passed.

    Raises:
        UserError: fewer placebos than labels, as `specific_shift.text_contrast`; an act that is missing.
    """
    names = list(dict.fromkeys(placebos))
    needed = 1 if keep_others else 1 + max(len(some) for some in others.values())
    if len(names) < needed:
        raise UserError(f"expected at least {needed} placebo acts, one per label, got {len(names)}")
    drawn = _drawn(names, others, n, keep_others, np.random.default_rng(seed))
    parts = []
    for emotion, some in others.items():
        for other in some:
            given = table if isinstance(table, pd.DataFrame) else table[emotion, other]
            beside = [label for label in some if label != other] if own else [other]
            chosen = {
                draw: (acts[emotion], [acts.get(label, label) for label in beside])
                for draw, acts in drawn[emotion].items()
            }
            cells = _under(_by_act(given, emotion, other, value), chosen)
            parts.append(cells.assign(emotion=emotion, other=other))
    return _judged(pd.concat(parts, ignore_index=True), ["style", "emotion", "draw"])


def _drawn(
    names: Sequence[str], others: Others, n: int, keep_others: bool, generator: np.random.Generator
) -> dict[str, dict[int, dict[str, str]]]:
    """Per emotion and number of a draw, which direction stands for which label; no draw twice. Emotions take turns."""
    emotions = list(others)
    found: dict[str, dict[int, dict[str, str]]] = {emotion: {} for emotion in emotions}
    for place, emotion in enumerate(emotions):
        labels = (emotion, *([] if keep_others else others[emotion]))
        seen: set[tuple[str, ...]] = set()
        most = perm(len(names), len(labels))
        for draw in range(place, n, len(emotions)):
            if len(seen) == most:
                break
            while (one := tuple(names[i] for i in generator.permutation(len(names))[: len(labels)])) in seen:
                pass
            seen.add(one)
            found[emotion][draw] = dict(zip(labels, one, strict=True))
    return found


def placebo_words(texts: Sequence[str], n: int, *, labels: Collection[str] = (), language: str = "en") -> list[str]:
    """The commonest words of some texts that are no emotion words, function words among them.

    A word is an emotion word where a keyword list or a list of stock phrases has it, where it is one of `labels`, or
    where the lexicon of word valences rates it.

    Args:
        texts: such as steered texts of validation scenarios; an empty one has no words.
        n: how many words at most, the commonest first; equals by the alphabet.
        labels: further words that are names of emotions.
        language: of the keyword lists.

    >>> placebo_words(["Thanks so much, so kind", "So the bus was late"], 3)
    ['so', 'bus', 'late']
    """
    n = arguments.whole_number("n", n, least=1)
    counts = Counter(word for text in arguments.texts(texts, empty=True) for word in words(text))
    lists = [load_keywords(language), load_cues(language)]
    ordered = sorted(counts, key=lambda word: (-counts[word], word))
    named = set(labels) | set(human_valence(ordered))
    found = []
    for word in ordered:
        in_a_list = any(pattern.fullmatch(word) for some in lists for pattern in some.patterns.values())
        if word not in named and not in_a_list:
            found.append(word)
        if len(found) == n:
            break
    return found


def word_counts(texts: Sequence[str], chosen: Sequence[str]) -> pd.DataFrame:
    """How often each of some words stands in each text, `[text, word]`: what a list of that one word would count.

    >>> word_counts(["So late, so dark"], ["so", "bus"]).values.tolist()
    [[2, 0]]
    """
    rows = [Counter(words(text)) for text in arguments.texts(texts, empty=True)]
    return pd.DataFrame([[row[word] for word in chosen] for row in rows], columns=list(chosen))


def _by_act(table: pd.DataFrame, one: str, other: str, value: str) -> pd.DataFrame:
    """The contrast of two labels' texts in every cell, a column per act."""
    contrast = text_contrast(table, one, other, value=value)
    return contrast.set_index([*_CELLS, "act"])["contrast"].unstack("act")


def _differences(contrast: pd.DataFrame, others: Others, own: bool) -> pd.DataFrame:
    """S, or the own contrast, of every emotion against the others."""
    parts = []
    for emotion, some in others.items():
        for other in some:
            thirds = [act for act in contrast if act not in (emotion, other)]
            cells = _difference(contrast, emotion, thirds if own else [other]).reset_index()
            parts.append(cells.assign(emotion=emotion, other=other))
    return pd.concat(parts, ignore_index=True)


def _difference(contrast: pd.DataFrame, act: str, beside: Sequence[str]) -> pd.Series:
    """The contrast of every cell under an act minus its mean under others."""
    return _under(contrast, {0: (act, beside)}).set_index(contrast.index)["specific"]


def _under(contrast: pd.DataFrame, chosen: Mapping[int, tuple[str, Sequence[str]]]) -> pd.DataFrame:
    """The cells of a table with a column per act, once per draw: the contrast under an act minus its mean under others.

    Args:
        chosen: by the draw's number the act, and the others.
    """
    values, place = contrast.to_numpy(float), {name: i for i, name in enumerate(contrast.columns)}
    whole = ~np.isnan(values).any(axis=0)
    columns = []
    for act, beside in chosen.values():
        if not beside:
            raise UserError(f"expected an act of a third label beside {shown(act)}, there is none")
        for name in (act, *beside):
            if name not in place or not whole[place[name]]:
                raise UserError(f"expected the act {shown(name)} in every cell, it is missing in some")
        columns.append(values[:, place[act]] - values[:, [place[name] for name in beside]].mean(axis=1))
    cells = contrast.index.to_frame(index=False)
    repeated = cells.iloc[np.tile(np.arange(len(cells)), len(columns))].reset_index(drop=True)
    specific = np.concatenate(columns) if columns else np.zeros(0)
    return repeated.assign(specific=specific, draw=np.repeat(np.array(list(chosen), dtype=int), len(cells)))


def _judged(cells: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Whether each placebo passes, which the columns `by` tell apart."""
    number = cells.groupby(by, sort=False).ngroup()
    pairs = judged_pairs(cells.assign(measure="", instrument="", stand_in=number))
    told = cells.assign(stand_in=number).drop_duplicates("stand_in")[["stand_in", *by]]
    found = told.merge(passes(pairs, ["stand_in"]), on="stand_in", validate="one_to_one")
    return found[[*by, "passed"]]
