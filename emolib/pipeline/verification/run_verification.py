"""Phase 9: what verification finds in the run of the other phases, and whether it notices what must not pass."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from emolib.base import store
from emolib.base.errors import UserError
from emolib.base.parameters import VerificationParameters
from emolib.base.signatures import told
from emolib.pipeline.verification import alterations, report_checks, verify
from emolib.pipeline.verification.check_rows import Rows
from emolib.pipeline.verification.recompute.drawn_rows import Sampling
from emolib.pipeline.verification.run_files import PHASES, RunFiles, models_of
from emolib.study.run import Run

OWN = "phase9"


@dataclass(frozen=True)
class Verification:
    """What was found.

    Attributes:
        checks: see `emolib.pipeline.verification.verify.verify`.
        alterations: see `emolib.pipeline.verification.alterations.altered`; empty where they were not asked for.
    """

    checks: pd.DataFrame
    alterations: pd.DataFrame


@told
def verify_run(run: Run) -> Verification:
    """Checks everything that the phases before have left of this run's model, and keeps what was found.

    Reports are held against their seals and tables where this run has sealed them as it wrote them; a notebook that is
    run by hand or by a test has none.

    Args:
        run: of phase 9.

    Example:
        >>> import emolib
        >>> run = emolib.open_run("baseline_smoke", "smollm2_135m", "phase9")
        >>> found = emolib.verify_run(run)  # doctest: +SKIP
        >>> found.checks["status"].value_counts()  # doctest: +SKIP
    """
    params = run.params if isinstance(run, Run) else None
    if not isinstance(params, VerificationParameters):
        got = type(run).__name__ if params is None else params.phase
        raise UserError(
            f'expected run as an open run of phase9, got {got}; open_run(profile, model, "phase9") makes one'
        )
    files = _files(run)
    sampling = Sampling(params.share, params.least, params.seed) if params.recompute else None
    described = {artifact.place: artifact.sha256 for artifact in files.artifacts}
    reports = {phase: store.sha256_of(path) for phase in files.records if (path := files.report(phase)).is_file()}
    matched = {"files": store.digest(described), "reports": store.digest(reports), "seed": params.seed}
    drawn = [params.recompute, params.share, params.least]
    checks = run.artifacts.table(
        run.paths.verification("checks"), {**matched, "drawn": drawn}, lambda: _checks(files, sampling), model=False
    )
    if not params.alterations:
        return Verification(checks, pd.DataFrame())
    noticed = run.artifacts.table(
        run.paths.verification("alterations"), matched, lambda: alterations.altered(files, params.seed), model=False
    )
    return Verification(checks, noticed)


def _files(run: Run) -> RunFiles:
    """The files of the phases that Phase 9 reads."""
    differs = run.variant.read_by(OWN)
    places = run.paths.of_profile() if differs.name is None else run.paths
    others = tuple(model for model in models_of(places.own) if model != run.paths.model)
    phases = tuple(phase for phase in PHASES if phase != OWN)
    return RunFiles(run.params.profile, run.paths.model, differs, others, phases=phases)


def _checks(files: RunFiles, sampling: Sampling | None) -> pd.DataFrame:
    if files.of_kind("seal"):
        return verify.checked(files, sampling)
    rows = Rows("report")
    for phase in files.records:
        rows.skipped(files.report(phase), "no report of this run was sealed when it was written")
    of_reports = (report_checks.check_reports, report_checks.check_seals, report_checks.check_numbers)
    found = verify.checked(files, sampling, without=of_reports)
    told = rows.table()
    told.insert(0, "model", files.model)
    return pd.concat([found, told], ignore_index=True).astype(found.dtypes.to_dict())
