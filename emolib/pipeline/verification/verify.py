"""`emolib verify`: every check of a run, in order, as one table."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from emolib.base.config import load_profile
from emolib.pipeline.verification import (
    claim_checks,
    file_checks,
    lineage_checks,
    record_checks,
    report_checks,
    sweep_checks,
)
from emolib.pipeline.verification.rows import BROKEN, Rows
from emolib.pipeline.verification.run_files import RunFiles, opened

Check = Callable[[RunFiles, Rows], None]
CHECKS: tuple[Check, ...] = (
    file_checks.check_manifests,
    file_checks.check_hashes,
    file_checks.check_schemas,
    record_checks.check_records,
    record_checks.check_leftovers,
    record_checks.check_parameters,
    record_checks.check_content,
    record_checks.check_sources,
    lineage_checks.check_lineage,
    lineage_checks.check_limits,
    sweep_checks.check_shards,
    sweep_checks.check_sweeps,
    sweep_checks.check_zero,
    sweep_checks.check_controls,
    claim_checks.check_operating_point,
    claim_checks.check_claims,
    claim_checks.check_study_claims,
    report_checks.check_reports,
    report_checks.check_seals,
    report_checks.check_numbers,
)


def verify(profile: str = "quick", model: str | None = None, *, variant: str | None = None) -> pd.DataFrame:
    """Holds everything that a run left against everything else that it left; nothing is loaded or written.

    Args:
        profile: a name in `params/profiles/`.
        model: a name in `params/models/`, a hub id, a folder or a GGUF file; None: every model with results.
        variant: a name that `emolib variants` lists, in place of the profile.

    Returns:
        One row per check and file: model, check, file, status (`pass`, `fail` or `skip`), compared (values or rows that
        were looked at), told (what is wrong, or why it was not looked at).

    Raises:
        UserError: an unknown profile, variant or model, or one without results.

    Example:
        >>> from emolib.pipeline.verification.verify import verify
        >>> verify("no-such-profile")
        Traceback (most recent call last):
        emolib.base.errors.UserError: unknown profile 'no-such-profile': ...
    """
    load_profile(profile)
    parts = []
    for run in opened(profile, model, variant):
        found = Rows()
        for check in CHECKS:
            try:
                check(run, found)
            except BROKEN as error:  # a file of such another form that the check cannot look at it; told by name above
                found.failed(run.model, f"the check came to no end: {type(error).__name__}: {error}")
        parts.append(found.table().assign(model=run.model))
    table = pd.concat(parts, ignore_index=True)
    return table[["model", *(name for name in table if name != "model")]]
