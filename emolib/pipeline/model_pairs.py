"""Runs what is about two models: the phases that either of them lacks, then those of the pair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from emolib.base.errors import UserError, nearest, shown
from emolib.base.parameters import check_known, parameter_names
from emolib.pipeline.phases import PhaseStatus, check_data, open_runs, run_phases, status
from emolib.study import NEEDS, OF_PAIRS


def phases_before(wanted: Sequence[str]) -> list[str]:
    """The phases of one model that these phases of a pair need, those first that the others need.

    >>> phases_before(["phase4"])
    ['phase1', 'phase2', 'phase3']
    """
    found: list[str] = []
    for phase in wanted:
        for needed in NEEDS[phase]:
            found += [one for one in (*phases_before([needed]), needed) if one not in found]
    return found


def run_pair(
    profile: str,
    a: str,
    b: str,
    *,
    phases: Sequence[str] | None = None,
    parameters: Mapping[str, Any] | None = None,
    force: bool = False,
) -> list[Path]:
    """Executes the notebooks about two models and returns the executed copies.

    Args:
        phases: of those that are about two models; None takes all.
        parameters: of these phases; what the earlier ones know of them goes to these, too.
        force: compute what is about the pair again; what the models' own phases have finished is kept.

    Raises:
        UserError: a phase that is about one model, or what `run_phases` refuses.
    """
    wanted, given = list(phases or OF_PAIRS), dict(parameters or {})
    for phase in wanted:
        if phase not in OF_PAIRS:
            raise UserError(
                f"expected a phase about two models with --pair, got {shown(phase)}: {nearest(phase, OF_PAIRS)}"
            )
    check_known(given, wanted)
    check_data(open_runs(profile, a, wanted, {**given, "other": b}))  # before the first of the models' own phases
    before = phases_before(wanted)
    own = {name for phase in before for name in parameter_names(phase)}
    for model in dict.fromkeys((a, b)):
        run_phases(profile, model, phases=before, parameters={k: v for k, v in given.items() if k in own})
    return run_phases(profile, a, phases=wanted, parameters={**given, "other": b}, force=force)


def pair_status(profile: str, a: str, b: str, given: Mapping[str, Any] | None = None) -> list[PhaseStatus]:
    """The state of the phases of either model that a pair needs, and of its own.

    Raises:
        UserError: an unknown name, or parameters of no such phase.
    """
    values = dict(given or {})
    check_known(values, OF_PAIRS)
    before = phases_before(OF_PAIRS)
    own = {name for phase in before for name in parameter_names(phase)}
    models = [status(profile, model, {k: v for k, v in values.items() if k in own}, phases=before) for model in (a, b)]
    return [*models[0], *models[1], *status(profile, a, {**values, "other": b}, phases=OF_PAIRS)]
