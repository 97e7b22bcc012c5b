"""What Phase 5 comes to: its verdicts and all that its conclusion, its discussion and its next steps are read from."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from emolib.base.parameters import PatchingParameters
from emolib.scoring import goemotions
from emolib.steering import candidates, comparisons
from emolib.steering.effects import control_effects
from emolib.steering.findings import findings, overall
from emolib.steering.operating_point import OperatingPoint
from emolib.steering.summaries import NO_EMOTION
from emolib.study.phase5_steering import other_style, results
from emolib.study.phase5_steering.judging import ShiftOutcome, shift_outcome
from emolib.study.phase5_steering.own_sweeps import operating_points, test_sweep
from emolib.study.phase5_steering.shift_design import unmeasurable
from emolib.study.phase5_steering.validation_sweeps import validation_sweep
from emolib.study.run import Run, kept

ROUNDING = 1e-12


@dataclass(frozen=True)
class Outcome:
    """The codes and numbers of one run.

    Attributes:
        shift: what the primary measure says; None where it cannot be measured, and then `unmeasurable` says why (see
            `shift_design.unmeasurable`). All else is of the generated texts, and secondary beside it.
        claims: `emolib.steering.findings.findings` of the generated texts' claims, with `direct_findings`.
        verdicts, unfiltered_verdicts: the verdict per emotion, with broken texts as 0 and with every text as it is.
        scorers: the same findings by each GoEmotions model alone.
        other_style: those of the vectors of the other style; None without such vectors.
        ceilings: see `emolib.steering.candidates.ceilings`.
        specificity, labels, broken, phrases: the tables of those names in `emolib.steering`.
        broken_findings: see `emolib.steering.comparisons.broken_findings`.
        other_labels: see `emolib.steering.comparisons.other_labels`.
        enough_controls: whether so many directions can reach the bar of the rank p at all.
        by_chance: mean change of valence and politeness under the isotropic directions.
    """

    params: PatchingParameters
    n_layers: int
    shift: ShiftOutcome | None
    unmeasurable: str
    points: dict[str, OperatingPoint]
    claims: pd.DataFrame
    verdicts: pd.Series
    unfiltered_verdicts: pd.Series
    scorers: pd.DataFrame
    other_style: pd.DataFrame | None
    ceilings: pd.DataFrame
    specificity: pd.DataFrame
    broken: pd.DataFrame
    broken_findings: pd.DataFrame
    phrases: pd.DataFrame
    other_labels: pd.DataFrame
    enough_controls: bool
    by_chance: dict[str, float]


@kept
def outcome(run: Run) -> Outcome:
    """What the run's sweeps come to, with every sweep that it needs made or found."""
    sweep, params = test_sweep(run), run.params
    found = comparisons.direct_findings(findings(results.claims(run), sweep, smallest_d=params.smallest_d))
    other, points, broken = other_style.claims(run), operating_points(run), results.broken_shares(run)
    own = {emotion: tuple(goemotions.matching_labels(emotion)) for emotion in run.emotions}
    chance = {m: float(control_effects(sweep, run.emotions[0], m).mean()) for m in NO_EMOTION}
    return Outcome(
        params=params,
        n_layers=run.lm.n_layers,
        shift=shift_outcome(run),
        unmeasurable=unmeasurable(run),
        points=points,
        claims=found,
        verdicts=overall(found),
        unfiltered_verdicts=overall(found, column="unfiltered_verdict"),
        scorers=findings(results.scorer_effects(run), sweep, smallest_d=params.smallest_d),
        other_style=None if other is None else findings(other, sweep, smallest_d=params.smallest_d),
        ceilings=candidates.ceilings(points, validation_sweep(run), params.broken_margin),
        specificity=results.specificity(run),
        broken=broken,
        broken_findings=comparisons.broken_findings(broken, margin=params.broken_margin),
        phrases=results.stock_phrases(run),
        other_labels=comparisons.other_labels(results.label_changes(run), own),
        enough_controls=bool((1 / (1 + found["n_controls"]) <= found["rank_bar"] + ROUNDING).all()),
        by_chance=chance,
    )
