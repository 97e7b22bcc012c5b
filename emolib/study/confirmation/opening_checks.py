"""What must hold before sealed texts may be read: the frozen choice still stands for this code, these data, this model
and these vectors, and nobody has opened the texts with another choice."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from emolib.base import paths, store
from emolib.base.errors import UserError, shown
from emolib.base.frozen_studies import ConfirmationParameters, FrozenStudy, read_frozen
from emolib.base.given_paths import located
from emolib.base.shell import command
from emolib.data.sealed_texts import SealedTexts, read_sealed
from emolib.study.confirmation.code_hashes import code_parts, data_hashes, rule_hash
from emolib.study.confirmation.freezing import freeze_command, instruments_hash, reopened, require_finished
from emolib.study.confirmation.frozen_vectors import TOLERANCE, vector_distance, vector_hashes
from emolib.study.confirmation.openings import Opening, earlier, opening_of, read_openings
from emolib.study.phase5_steering.design import parts
from emolib.study.phase5_steering.strengths import vectors
from emolib.study.run import Run

ASKED = ("n_controls", "n_control_texts", "n_text_controls", "n_samples", "temperature")  # beside the choice


@dataclass(frozen=True)
class Ready:
    """What may be opened.

    Attributes:
        study: the frozen choice.
        base: the run that it is of.
        sealed: the texts, read by nobody but the checks.
        opening: this opening.
        before: the opening because of which this one confirms nothing; None where there is none.
    """

    study: FrozenStudy
    base: Run
    sealed: SealedTexts
    opening: Opening
    before: Opening | None


def checked(params: ConfirmationParameters, *, base: Run | None = None) -> Ready:
    """Everything that can be told without the model's weights.

    Args:
        base: the run that the frozen choice is of; None finds it by what was frozen.

    Raises:
        UserError: no frozen choice for the model, one that is no longer what it was made from, a run that is not
            finished, a fault of the sealed file, or texts that were opened with another choice before.
    """
    study = read_frozen(frozen_path(params))
    if study.model != params.model:
        raise UserError(
            f"expected a frozen choice of {shown(params.model)}, got one of {shown(study.model)}; give another"
        )
    _require_same_code(study)
    run = base
    if run is None:
        run = reopened(study)
        require_finished(run)
    _require_same(study, "data", data_hashes(run.dataset_digest), study.data)
    _require_same(study, "model", dict(run.model_content(run.params.model_dump(mode="json"))), study.weights)
    training = run.data[run.data["split"] == "train"]
    sealed = read_sealed(located(params.sealed), training, mock=params.rehearsal)
    asked = store.digest(params.model_dump(mode="json", include=set(ASKED)))
    mine = opening_of(study, sealed.sha256, rehearsal=params.rehearsal is not None, asked=asked)
    openings = read_openings(log_of(run, params))
    before = earlier(mine, study, openings)
    if before is not None and not params.again:
        raise UserError(
            f"opened on {before.opened_at} with another choice ({before.model}: {before.told}; texts "
            f"{before.sealed[:12]}…): what is found now confirms nothing; -p again=true finds it all the same, as "
            "exploration"
        )
    _require_same_request(mine, openings)
    return Ready(study, run, sealed, mine, before)


def frozen_path(params: ConfirmationParameters) -> Path:
    """The file of the frozen choice.

    Raises:
        UserError: there is none.
    """
    path = located(params.frozen) if params.frozen else paths.frozen_file(params.model)
    if not path.is_file():
        again = command(["emolib", "freeze", "--model", params.model])
        raise UserError(
            f"expected the frozen choice of {shown(params.model)} in {paths.display(path)}, found none; sealed texts "
            f"are opened after it was made and committed: `{again}`"
        )
    return path


def log_of(run: Run, params: ConfirmationParameters) -> Path:
    """The log of all openings, or of all rehearsals."""
    if params.rehearsal is None:
        return paths.openings_file()
    return paths.ResultPaths(paths.CONFIRMATION, run.paths.model, results=run.paths.results).rehearsals()


def _require_same_code(study: FrozenStudy) -> None:
    now = code_parts()
    changed = sorted(
        name for name in now.keys() | study.code.parts.keys() if now.get(name) != study.code.parts.get(name)
    )
    if changed or rule_hash() != study.rule.sha256:
        at = f"check out {study.code.git_commit[:12]}" if study.code.git_commit else "go back to that code"
        rule = "" if rule_hash() == study.rule.sha256 else "; the rule of a claim is among it"
        raise UserError(
            f"expected the code that was frozen {study.frozen_at}, it has changed in {', '.join(changed)}{rule}; {at}, "
            f"or freeze anew before anything is opened: `{freeze_command(study)} --overwrite`"
        )


def _require_same(study: FrozenStudy, what: str, now: dict[str, str], then: dict[str, str]) -> None:
    changed = sorted(name for name in now.keys() | then.keys() if now.get(name) != then.get(name))
    if changed:
        raise UserError(
            f"expected the {what} that were frozen {study.frozen_at}, {', '.join(changed)} changed since; put it "
            f"back, or freeze anew before anything is opened: `{freeze_command(study)} --overwrite`"
        )


def _require_same_request(mine: Opening, openings: list[Opening]) -> None:
    """More directions or samples until something comes out would be a choice, too."""
    for one in openings:
        if one.of(mine) and one.rehearsal == mine.rehearsal and one.asked != mine.asked:
            raise UserError(
                f"opened on {one.opened_at} with another number of control directions, texts or samples; give the same "
                "again: other ones would be another choice"
            )


def require_same_vectors(ready: Ready) -> float:
    """How far the vectors of the run at hand are from those that were frozen; loads the model.

    Raises:
        UserError: farther than rounding goes, or instruments that say something else.
    """
    study, base = ready.study, ready.base
    now = vector_hashes(vectors(base, parts(base)[0]), study.choice.layer)
    distance = vector_distance(study.vectors, now)
    anew = f"nothing is opened yet: freeze anew, `{freeze_command(study)} --overwrite`"
    if distance > TOLERANCE:
        raise UserError(
            f"expected the vectors that were frozen {study.frozen_at} within {TOLERANCE:g}, they differ by "
            f"{distance:.2g}; {anew}"
        )
    if instruments_hash(base) != study.instruments:
        raise UserError(
            f"expected the instruments as they were judged {study.frozen_at}, they say otherwise here; {anew}"
        )
    return distance
