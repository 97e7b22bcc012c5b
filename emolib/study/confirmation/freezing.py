"""Freezing: the choice of a finished Phase 5, the rule, and what both stand on, before any sealed text is read."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from emolib.base import paths, store
from emolib.base.errors import UserError, shown
from emolib.base.frozen_studies import Choice, Code, FrozenStudy, Rule, read_frozen, write_frozen
from emolib.base.parameters import as_overrides
from emolib.base.shell import command
from emolib.data.sealed_texts import EMOTIONS
from emolib.steering.claims import FEWEST_CONTROLS, GOLD_SHARE
from emolib.steering.text_claims import FEWEST_SCENARIOS, LEVEL
from emolib.study.confirmation.code_hashes import code_parts, data_hashes, rule_hash
from emolib.study.confirmation.frozen_vectors import vector_hashes
from emolib.study.identity import NOT_MATCHED
from emolib.study.phase5_steering import instrument_stage, like_valent
from emolib.study.phase5_steering.design import parts
from emolib.study.phase5_steering.shift_design import unmeasurable
from emolib.study.phase5_steering.shift_sweeps import shift_points
from emolib.study.phase5_steering.strengths import vectors
from emolib.study.run import Run, open_run

PHASE = "phase5"
NO_VALUE = ("profile", "model", "phase", "png", *NOT_MATCHED)  # that decide nothing


def freeze_study(
    profile: str,
    model: str,
    parameters: Mapping[str, Any] | None = None,
    *,
    overwrite: bool = False,
    output: str | Path | None = None,
) -> Path:
    """Writes what a finished Phase 5 has chosen as the model's frozen choice.

    Args:
        profile, model, parameters: of the run.
        overwrite: replace another frozen choice.
        output: another file than `params/frozen/<model>.yaml`.

    Returns:
        The file. One that says the same already is left as it is.

    Raises:
        UserError: the phase is not finished, or is stale; it lacks what a confirmation needs; another choice is frozen.
    """
    run = open_run(profile, model, PHASE, **(parameters or {}))
    require_finished(run)
    path = Path(output) if output is not None else paths.frozen_file(run.params.model)
    found = frozen_of(run)
    if path.exists():
        before = read_frozen(path)
        if before.digest == found.digest:
            return path
        if not overwrite:
            raise UserError(
                f"expected no other frozen choice in {paths.display(path)}, it has {before.told()}; this run chose "
                f"{found.told()}: --overwrite replaces it, and a confirmation that used it is told"
            )
    write_frozen(found, path)
    return path


def require_finished(run: Run) -> None:
    """Raises `UserError` where the run's phase has not finished, or not with what it has now."""
    state = run.record.state()
    if state != "done":
        what = {"missing": "it was never finished here", "stale": "it stands on other parameters, data or a model"}
        raise UserError(
            f"expected a finished Phase 5 of {shown(run.params.profile)} for {shown(run.params.model)}, {what[state]}; "
            f"run it: `{run.command}`"
        )


def frozen_of(run: Run) -> FrozenStudy:
    """What the run has chosen.

    Raises:
        UserError: a cross-fitted design, which has a choice per fold; S that cannot be measured; labels other than the
            sealed texts'; labels of like valence or instruments that are missing.
    """
    _require_whole(run)
    point, params, vecs = next(iter(shift_points(run).values())), run.params, vectors(run, parts(run)[0])
    length = None if params.unit != "kl" or vecs.kl_lengths is None else float(vecs.kl_lengths[point.layer])
    schedule = params.schedule if isinstance(params.schedule, str) else ",".join(map(str, _listed(params.schedule)))
    given = {"layer": point.layer, "alpha": point.alpha, "unit": params.unit, "kl_length": length}
    given |= {"window": params.window, "schedule": schedule}
    given |= {"vector_position": params.vector_position, "vector_style": params.vector_style}
    return FrozenStudy(
        model=params.model,
        frozen_at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        profile=params.profile,
        choice=Choice(**given),
        parameters=decisive_parameters(run),
        vectors=vector_hashes(vecs, point.layer),
        instruments=instruments_hash(run),
        rule=rule_of(run),
        code=Code(git_commit=store.environment()["git_commit"], parts=code_parts()),
        data=data_hashes(run.dataset_digest),
        weights=dict(run.lm.identity),
    )


def _listed(schedule: float | tuple[float, ...]) -> tuple[float, ...]:
    return schedule if isinstance(schedule, tuple) else (schedule,)


def _require_whole(run: Run) -> None:
    """Raises `UserError` for a run that cannot be confirmed."""
    if run.params.folds:
        raise UserError(
            f"expected one choice for all scenarios, got folds={run.params.folds} with one per fold; freeze a run with "
            "folds=0, such as that of --profile quick"
        )
    if set(run.emotions) != set(EMOTIONS) or run.params.neutral != "neutral":
        raise UserError(
            f"expected the labels {', '.join(EMOTIONS)} and neutral, as sealed texts have them, the run has "
            f"{', '.join(run.emotions)} and {run.params.neutral}"
        )
    if unmeasurable(run):
        raise UserError("expected a run in which S can be measured, it has too few scenarios; take another profile")
    if set(like_valent.wanted_labels(run)) != set(EMOTIONS) or like_valent.like_vectors(run) is None:
        raise UserError("expected vectors of labels of like valence for every emotion, the run's data gives none")


def decisive_parameters(run: Run) -> dict[str, Any]:
    """The phase's parameters that a frozen choice stands on, as JSON has them."""
    values = run.params.model_dump(mode="json")
    return {name: value for name, value in values.items() if name not in NO_VALUE}


def reopened(study: FrozenStudy) -> Run:
    """The run that a frozen choice is of."""
    return open_run(study.profile, study.model, PHASE, **as_overrides(PHASE, study.parameters))


def rule_of(run: Run) -> Rule:
    """The rule of a claim as it stands now."""
    numbers = {"level": LEVEL, "fewest_controls": FEWEST_CONTROLS, "gold_share": GOLD_SHARE}
    return Rule(
        sha256=rule_hash(),
        numbers={**numbers, "fewest_scenarios": FEWEST_SCENARIOS},
        like_valent=like_valent.wanted_labels(run),
    )


def instruments_hash(run: Run) -> str:
    """Of what was judged on validation before any claim."""
    return store.digest(instrument_stage.admissions(run).astype(object).to_dict("list"))


def freeze_command(study: FrozenStudy) -> str:
    """The command that freezes the same run anew."""
    return command(["emolib", "freeze", "--profile", study.profile, "--model", study.model])
