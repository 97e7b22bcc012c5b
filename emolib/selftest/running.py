"""The whole self-test: every row, in the order in which it is measured."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from functools import partial

import pandas as pd

from emolib.base import arguments
from emolib.base.characters import say
from emolib.base.errors import UserError, nearest, shown
from emolib.base.files import file_to_write
from emolib.base.parameter_types import LARGEST_SEED
from emolib.base.writing import write_atomically
from emolib.directions.controls import FAMILIES
from emolib.selftest.claim_power import CONDITIONS, claim_power
from emolib.selftest.false_claims import NULLS, null_table, share_of_small
from emolib.selftest.null_acts import REPORTED, data_sets_of, null_act_rows, null_act_table
from emolib.selftest.planted.forms import WIDTHS
from emolib.selftest.planted.planting import Form
from emolib.selftest.processes import Mapping, available_cores, side_by_side
from emolib.selftest.rows import FULL, WIDTH, Row, at_least, at_most, slack, within
from emolib.selftest.shifts import KINDS
from emolib.selftest.truth import truth_rows
from emolib.statistics.intervals import minimum_detectable_effect
from emolib.statistics.power import achieved_power

N_TEST = 24
ERROR_RATE, ERROR_BAR = 0.05, 0.08
INTERVAL_RATE, INTERVAL_BAR = 0.105, 0.15  # three emotions, each above 0 in 3.5 % by chance (docs/statistics.md)
LARGE, LARGE_POWER = 0.8, 0.9
DETECTABLE_POWER, DETECTABLE_MARGIN = 0.8, 0.07
VARYING = 0.8
FEWEST = 6  # below it a share says nothing
MOST_REPEATS = 100_000
TEXT_SHARE = 0.3  # of the repeats, for the secondary rule of generated texts; its bars give way by `rows.slack`
EVERY_PART, SHIFT, TEXTS = "all", "shift", "texts"
PARTS = (EVERY_PART, SHIFT, TEXTS)


def run_selftest(
    forms: Sequence[str] = tuple(WIDTHS),
    *,
    repeats: int = 20,
    seed: int = 0,
    processes: int | None = None,
    part: str = EVERY_PART,
) -> Iterator[Row]:
    """Measures every row of the table, one form after the other, and gives each as it is found.

    Args:
        forms: of `emolib.selftest.planted.plant`.
        part: of `PARTS`: `shift` (claims by S), `texts` (the secondary rule of generated texts, with `TEXT_SHARE` of
            the repeats, and heads and directions), or all of it.
        repeats: data sets per form for every share; the stated bars hold at 200, with fewer they give way by
            `emolib.selftest.rows.slack`.
        processes: data sets at once; one per available core if not given.

    Raises:
        UserError: an unknown form, fewer than 6 repeats, or a negative seed.
    """
    for form in forms:
        if form not in WIDTHS:
            raise UserError(f"unknown form {shown(form)}: {nearest(form, WIDTHS)}")
    arguments.one_of("part", part, PARTS)
    repeats = arguments.whole_number("repeats", repeats, least=FEWEST, most=MOST_REPEATS)
    seed = arguments.whole_number("seed", seed, least=0, most=LARGEST_SEED)
    return _rows(forms, repeats, seed, available_cores() if processes is None else processes, part)


def _rows(forms: Sequence[Form], repeats: int, seed: int, processes: int, part: str) -> Iterator[Row]:
    with side_by_side(processes) as mapped:
        if part != TEXTS:
            for form in forms:
                yield from _shift_rows(form, repeats, seed, mapped)
        if part != SHIFT:
            for form in forms:
                yield from _text_rows(form, text_repeats(repeats), seed, mapped)


def text_repeats(repeats: int) -> int:
    """Data sets per share of the secondary rule of generated texts.

    >>> text_repeats(200), text_repeats(10)
    (60, 6)
    """
    return max(FEWEST, round(TEXT_SHARE * repeats))


def _shift_rows(form: Form, repeats: int, seed: int, mapped: Mapping) -> Iterator[Row]:
    """What is claimed by S, plant by plant."""
    for kind in (*KINDS, *REPORTED):
        n = data_sets_of(kind, repeats)
        yield from null_act_rows(form, kind, null_act_table(form, kind, repeats=n, seed=seed, mapped=mapped))


def _text_rows(form: Form, repeats: int, seed: int, mapped: Mapping) -> Iterator[Row]:
    """The truth of a planted circuit, and what is said of generated texts."""
    sizes = (LARGE, minimum_detectable_effect(N_TEST))
    for rows in mapped(partial(truth_rows, seed=seed), [form]):
        yield from rows
    for kind in NULLS:
        yield from null_rows(form, kind, null_table(form, kind, repeats=repeats, seed=seed, mapped=mapped))
    yield from power_rows(form, claim_power(form, sizes, repeats=repeats, seed=seed, mapped=mapped))


def print_selftest(
    forms: Sequence[str] | None, *, repeats: int, seed: int, json_file: str | None, part: str = EVERY_PART
) -> bool:
    """Prints every row as it is found, and says whether every bar was met.

    Raises:
        UserError: also where the JSON file's folder does not exist, before anything is measured.
    """
    file = None if json_file is None else file_to_write(json_file)
    if file is not None and not file.parent.is_dir():
        raise UserError(f"expected --json in a folder that exists, got {shown(json_file)}; make the folder first")
    rows, begun = [], time.monotonic()
    for row in run_selftest(forms or tuple(WIDTHS), repeats=repeats, seed=seed, part=part):
        say(row.line())
        rows.append(row)
    say(closing_line(rows, repeats))
    if file is not None:
        seconds = round(time.monotonic() - begun, 1)
        found = {"repeats": repeats, "seed": seed, "part": part, "seconds": seconds}
        found["rows"] = [row.as_dict() for row in rows]
        write_atomically(file, (json.dumps(found, indent=1) + "\n").encode())
    return not any(row.met is False for row in rows)


def null_rows(form: str, kind: str, table: pd.DataFrame) -> Iterator[Row]:
    """The error rate, and whether there was anything to be wrong about."""
    n, name = len(table), f"null, {kind}"
    bar = ERROR_BAR + slack(ERROR_RATE, n)
    yield at_most(form, f"{name}: data sets with any claim", float(table["any_supported"].mean()), bar)
    yield at_least(form, f"{name}: differences that vary", float(table["varies"].mean()), VARYING - slack(VARYING, n))
    yield Row(form, f"{name}: standard deviation of the mean difference", float(table["effect"].std(ddof=1)))
    bar = INTERVAL_BAR + slack(INTERVAL_RATE, n)
    yield at_most(form, f"{name}: data sets with any interval above 0", float(table["any_interval"].mean()), bar)
    for family in FAMILIES:
        yield Row(form, f"{name}: rank p at most 0.05, {family} controls", share_of_small(table[family]))


def power_rows(form: str, table: pd.DataFrame) -> Iterator[Row]:
    """What passes at d_z = 0.8, and at the size that reports call the smallest detectable."""
    for row in table.to_dict("records"):
        d_z, n, large = row["d_z"], row["n"], row["d_z"] == LARGE
        yield Row(form, f"d_z {d_z:.2f}: d_z measured on the data sets' own differences", row["measured"])
        expected = float(achieved_power(row["measured"], N_TEST))
        yield Row(form, f"d_z {d_z:.2f}: power of the t test on normal differences of that size", expected)
        for condition in CONDITIONS:
            name = f"d_z {d_z:.2f}: share that passes, {condition.replace('_', ' ')}"
            value = row[condition]
            if condition == "claim" and large:
                yield at_least(form, name, value, LARGE_POWER - slack(LARGE_POWER, n))
            elif condition in ("claim", "t_test") and not large:
                margin = DETECTABLE_MARGIN + slack(DETECTABLE_POWER, n)
                yield within(form, name, value, DETECTABLE_POWER, margin)
            else:
                yield Row(form, name, value)


def closing_line(rows: Sequence[Row], repeats: int) -> str:
    """How many bars were missed, and what the bars mean at this number of repeats."""
    missed, barred = sum(row.met is False for row in rows), sum(row.met is not None for row in rows)
    verdict = "every bar was met" if not missed else f"{missed} of {barred} bars were missed"
    if repeats >= FULL:
        of_texts = text_repeats(repeats)
        widened = "" if of_texts >= FULL else f"; those of generated texts give way as with {of_texts} repeats"
        return f"{verdict}, at the stated bars{widened}"
    return (
        f"{verdict}; with {repeats} repeats bars on shares give way by {WIDTH} binomial standard errors less those of "
        f"{FULL} repeats, so --repeats {FULL} is the full check"
    )
