"""The continuation shift's claims with the instruments that were judged before them, and what a run keeps of both."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from emolib.base import store
from emolib.steering.operating_point import OperatingPoint
from emolib.study.phase5_steering import instrument_stage, shift_results
from emolib.study.phase5_steering.own_sweeps import operating_points
from emolib.study.phase5_steering.shift_sweeps import measurable
from emolib.study.run import Run, kept


@dataclass(frozen=True)
class JudgedInstruments:
    """What was judged before any claim, on validation.

    Attributes:
        admission: as `emolib.steering.instruments.admission` gives it: measure (raw, adjusted, contextual and own),
            style, emotion, instrument, passed, verdict.
        gold: style, emotion, other, measure, estimate (of gold's effect in the unit of S).
    """

    admission: pd.DataFrame
    gold: pd.DataFrame


def judged_instruments(run: Run) -> JudgedInstruments | None:
    """The judged instruments of a run; None where S cannot be measured, so that there is nothing to judge."""
    if not measurable(run):
        return None
    return JudgedInstruments(instrument_stage.admissions(run), instrument_stage.gold_estimates(run))


@dataclass(frozen=True)
class ShiftOutcome:
    """What the continuation shift comes to, as codes and numbers.

    Attributes:
        conditions, ranks, claims: as the functions of `emolib.steering.shift_claims` give them.
        doses: see `emolib.study.phase5_steering.shift_results.shift_doses`.
        instruments: None where none were judged.
        points: the operating points, chosen by S.
    """

    conditions: pd.DataFrame
    ranks: pd.DataFrame
    claims: pd.DataFrame
    doses: pd.DataFrame
    instruments: JudgedInstruments | None
    points: dict[str, OperatingPoint]


@kept
def shift_outcome(run: Run) -> ShiftOutcome | None:
    """The stage's results with their verdicts; None where S cannot be measured."""
    if not measurable(run):
        return None
    return ShiftOutcome(
        conditions=shift_results.conditions(run),
        ranks=shift_results.ranks(run),
        claims=claims(run),
        doses=shift_results.shift_doses(run),
        instruments=judged_instruments(run),
        points=operating_points(run),
    )


@kept
def claims(run: Run) -> pd.DataFrame:
    """See `emolib.steering.shift_claims.shift_claims`, with the instruments that were judged."""
    found = judged_instruments(run)
    if found is None:
        return shift_results.claims(run)
    return shift_results.claims(run, instruments=found.admission, gold=found.gold)


def save(run: Run) -> None:
    """The stage's tables and its claims as artifacts; nothing where S cannot be measured."""
    if not measurable(run):
        return
    instrument_stage.save_instruments(run)
    shift_results.save(run)
    found, table = judged_instruments(run), claims(run)
    judged = None if found is None else store.digest([part.to_dict("list") for part in (found.admission, found.gold)])
    made = {name: run.artifacts.made[run.paths.shift(name)] for name in ("conditions", "ranks")}
    run.artifacts.table(
        run.paths.shift("claims"), {**made, "instruments": judged, "columns": list(table)}, lambda: table
    )
