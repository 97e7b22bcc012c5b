"""How often the rule of S claims an emotion where an act does something else, and where it moves the emotion."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from emolib.selftest.planted.planting import Form
from emolib.selftest.processes import Mapping, one_by_one
from emolib.selftest.rows import Row, at_least, at_most, slack
from emolib.selftest.shifts import KINDS, DataSet, Judged, Sizes, build_model, claimed, judge, make_plant
from emolib.selftest.shifts.small_texts import EXPLICIT, IMPLICIT
from emolib.selftest.shifts.small_words import EMOTIONS, LABELS
from emolib.selftest.shifts.steadier_texts import steadier_claims
from emolib.steering.shift_findings import measures_above
from emolib.steering.shift_measures import MEASURES

PER_MODEL = 5  # data sets that share a model
SEEDS = 40_000_000  # apart from those that plants were sized with
POSITIVE, AS_WORDS = "emotion", "words"
NULL_BAR, CLAIM_BAR = 0.045, 0.9  # 9 of 200, and what has to be claimed
PHRASE_SPARE = 2.4  # scenarios written over those read, where every second one holds a phrase
UNFLAGGED = "phrase, not told from other texts"
GENERATED = "steadier, generated texts"
MANY_THIRDS = "emotion, all labels' acts as third acts"
REPORTED = (MANY_THIRDS, UNFLAGGED, GENERATED)  # without a bar
PLANTED = {MANY_THIRDS: "emotion", UNFLAGGED: "phrase", GENERATED: "steadier"}
NULLS = tuple(kind for kind in KINDS if kind != POSITIVE)


def null_act_table(
    form: Form, kind: str, *, repeats: int, seed: int = 0, mapped: Mapping = one_by_one, sizes: Sizes | None = None
) -> pd.DataFrame:
    """One row per emotion, style and seeded data set of a plant.

    Args:
        kind: of `emolib.selftest.shifts.KINDS`; `MANY_THIRDS`: the own contrast is held against all labels' acts;
            `UNFLAGGED`: texts with the phrase stay among the implicit ones; `GENERATED`: whether a score that every
            text has meets the rule of generated texts.
        repeats: data sets; `PER_MODEL` of them share a model, each has texts, vectors and directions of its own.
        sizes: of a data set; None takes the full ones.

    Returns:
        data_set, style, emotion, claimed, reason, d_z (of raw S over texts, mean over other emotions), n_texts, and per
        measure `above/<measure>`: S above 0 against every other emotion. Of `GENERATED` the first four alone.
    """
    numbers = np.arange(repeats)
    parts = [numbers[numbers // PER_MODEL == model].tolist() for model in range(-(-repeats // PER_MODEL))]
    one = partial(_of_model, form, kind, seed, sizes or Sizes())
    return pd.concat(mapped(one, parts), ignore_index=True)


def _of_model(form: Form, kind: str, seed: int, sizes: Sizes, numbers: Sequence[int]) -> pd.DataFrame:
    """The data sets of one model."""
    planted = PLANTED.get(kind, kind)
    if planted == "phrase":
        sizes = replace(sizes, spare=PHRASE_SPARE)
    first = SEEDS + 1_000_000 * seed + 10_000 * list(KINDS).index(planted)
    model_seed = first + numbers[0]
    plant = make_plant(planted, model_seed)
    lm = build_model(form, plant, model_seed)
    found = []
    for number in numbers:
        explicit = kind == AS_WORDS and number % len(EMOTIONS) == 0  # each answers for three emotions
        styles = (IMPLICIT, EXPLICIT) if explicit else (IMPLICIT,)
        data = DataSet(lm, plant, first + number, styles, sizes, flagged=kind == "phrase")
        thirds = LABELS if kind == MANY_THIRDS else ()
        record = _of_generated(data) if kind == GENERATED else _record(judge(data, thirds=thirds))
        found.append(record.assign(data_set=number))
    return pd.concat(found, ignore_index=True)


def _of_generated(data: DataSet) -> pd.DataFrame:
    """Which emotions' acts a score that every text has meets the conditions of generated texts under."""
    claims = steadier_claims(data)
    return pd.DataFrame({"style": IMPLICIT, "emotion": claims["emotion"], "claimed": claims["supported"].astype(bool)})


def _record(judged: Judged) -> pd.DataFrame:
    """What is said of every emotion and style of one data set."""
    above = measures_above(judged.conditions).set_index(["style", "emotion", "measure"])["above"]
    raw = judged.cells[judged.cells["measure"] == "raw"]
    texts = raw.groupby(["style", "emotion", "other", "text"])["specific"].mean()
    pairs = texts.groupby(["style", "emotion", "other"])
    d_z = (pairs.mean() / pairs.std()).groupby(["style", "emotion"]).mean()
    rows: list[dict[str, Any]] = []
    for style in dict.fromkeys(judged.claims["style"]):
        supported = claimed(judged.claims, style)
        mine = judged.claims[judged.claims["style"] == style].set_index("emotion")
        for emotion in EMOTIONS:
            row = {"style": style, "emotion": emotion, "claimed": bool(supported[emotion])}
            row |= {"reason": mine.loc[emotion, "by_numbers_reason"], "n_texts": int(mine.loc[emotion, "n_texts"])}
            row |= {"d_z": float(d_z[style, emotion])}
            rows.append(row | {f"above/{name}": bool(above[style, emotion, name]) for name in MEASURES})
    return pd.DataFrame(rows)


def data_sets_of(kind: str, repeats: int) -> int:
    """How many data sets answer `repeats` questions: where something is to be claimed, each answers three; what has no
    bar is looked at in a tenth of them.

    >>> data_sets_of("emotion", 200), data_sets_of("valence", 200), data_sets_of(UNFLAGGED, 200)
    (67, 200, 20)
    """
    if kind in REPORTED:
        return -(-repeats // 10)
    return -(-repeats // len(EMOTIONS)) if kind == POSITIVE else repeats


def null_act_rows(form: str, kind: str, table: pd.DataFrame) -> Iterator[Row]:
    """The bars of one plant, and whether there was anything to be wrong about."""
    implicit = table[table["style"] == IMPLICIT]
    name = f"S, {kind}"
    if kind == POSITIVE:
        yield Row(form, f"{name}: d_z of raw S", float(implicit["d_z"].mean()))
        bar = CLAIM_BAR - slack(CLAIM_BAR, len(implicit))
        yield at_least(form, f"{name}: emotions claimed in implicit texts", float(implicit["claimed"].mean()), bar)
        for reason, share in implicit.loc[~implicit["claimed"], "reason"].value_counts().items():
            yield Row(form, f"{name}: not claimed, {reason}", float(share / len(implicit)))
        return
    if kind == MANY_THIRDS:
        yield Row(form, f"{name}: emotions claimed in implicit texts", float(implicit["claimed"].mean()))
        return
    wrong = implicit.groupby("data_set")["claimed"].any()
    share = float(wrong.mean())
    if kind in REPORTED:
        what = "a constant score meets the rule" if kind == GENERATED else "any claim about emotion"
        yield Row(form, f"{name}: data sets in which {what}", share)
        return
    bar = NULL_BAR + slack(NULL_BAR, len(wrong))
    yield at_most(form, f"{name}: data sets with any claim about emotion", share, bar)
    for measure in MEASURES:
        value = float(implicit[f"above/{measure}"].mean())
        yield Row(form, f"{name}: emotions whose {measure} S is above the others'", value)
    if kind == AS_WORDS:
        explicit = table[table["style"] == EXPLICIT]
        bar = CLAIM_BAR - slack(CLAIM_BAR, len(explicit))
        yield at_least(form, f"{name}: emotions claimed as words", float(explicit["claimed"].mean()), bar)
