"""The continuation shift's claims with the instruments that were judged before them, and what a run keeps of both."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from emolib.base import store
from emolib.steering.further_conditions import Further
from emolib.steering.operating_point import OperatingPoint
from emolib.study.phase5_steering import (
    concepts,
    equal_kl,
    identifiability,
    instrument_stage,
    like_valent,
    shift_results,
)
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
        conditions, ranks, claims: as the functions of `emolib.steering.claims` give them.
        doses: see `emolib.study.phase5_steering.shift_results.shift_doses`.
        instruments: None where none were judged.
        points: the operating points, chosen by S.
        further: what a claim needs beyond the study's own labels and directions of the same norm.
        equal_kl: see `emolib.study.phase5_steering.equal_kl.equal_kl_table`.
        survival: see `emolib.steering.perturbations.survival`.
    """

    conditions: pd.DataFrame
    ranks: pd.DataFrame
    claims: pd.DataFrame
    doses: pd.DataFrame
    instruments: JudgedInstruments | None
    points: dict[str, OperatingPoint]
    further: Further
    equal_kl: pd.DataFrame
    survival: pd.DataFrame


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
        further=further(run),
        equal_kl=equal_kl.equal_kl_table(run),
        survival=identifiability.survival_table(run),
    )


@kept
def further(run: Run) -> Further:
    """What a claim needs beyond the study's own labels and directions of the same norm."""
    return Further(
        labels=like_valent.wanted_labels(run),
        like_valent=like_valent.like_conditions(run),
        concepts=concepts.concept_contrasts(run),
        equal_kl=equal_kl.equal_kl_ranks(run),
    )


@kept
def claims(run: Run) -> pd.DataFrame:
    """See `emolib.steering.claims.shift_claims`, with the instruments that were judged."""
    found = judged_instruments(run)
    if found is None:
        return shift_results.claims(run)
    return shift_results.claims(run, instruments=found.admission, gold=found.gold, further=further(run))


def save(run: Run) -> None:
    """The stage's tables and its claims as artifacts; nothing where S cannot be measured."""
    if not measurable(run):
        return
    instrument_stage.save_instruments(run)
    shift_results.save(run)
    made = {name: run.artifacts.made[run.paths.shift(name)] for name in ("conditions", "ranks")}
    made |= _save_further(run)
    found, table = judged_instruments(run), claims(run)
    judged = None if found is None else store.digest([part.to_dict("list") for part in (found.admission, found.gold)])
    run.artifacts.table(
        run.paths.shift("claims"), {**made, "instruments": judged, "columns": list(table)}, lambda: table
    )


def _save_further(run: Run) -> dict[str, str]:
    """The tables of the further conditions that could be measured, and of the perturbations, as artifacts."""
    held = further(run)
    tables = {"like_conditions": held.like_valent, "concepts": held.concepts, "equal_kl_ranks": held.equal_kl}
    tables["survival"] = identifiability.survival_table(run)
    of_them = ("like_", "concept", "equal_kl", "test_like", "test_concepts", "test_equal_kl", "test_perturbed")
    paths = {run.paths.shift(name): table for name, table in tables.items() if table is not None}
    parts = {
        path.name: sha
        for path, sha in run.artifacts.made.items()
        if path not in paths and path.stem.partition("_shift_")[2].removeprefix("fold0_").startswith(of_them)
    }
    chosen = {path.name: sha for path, sha in run.artifacts.made.items() if path.stem.endswith("test_emotion")}
    for path, table in paths.items():
        run.artifacts.table(path, {"parts": parts, "emotion": chosen}, lambda table=table: table)
    return {path.name: run.artifacts.made[path] for path in paths}
