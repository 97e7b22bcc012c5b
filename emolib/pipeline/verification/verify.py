"""`emolib verify`: every check of a run, in order, as one table.

What is recomputed (`emolib.pipeline.verification.recompute`) needs the model and takes minutes; it is asked for.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from emolib.base import paths
from emolib.base.characters import say
from emolib.base.config import load_profile
from emolib.base.errors import UserError, shown
from emolib.base.files import file_to_write
from emolib.base.writing import write_atomically
from emolib.pipeline.verification import (
    claim_checks,
    current_checks,
    file_checks,
    instrument_checks,
    lineage_checks,
    record_checks,
    report_checks,
    shift_checks,
    sweep_checks,
)
from emolib.pipeline.verification.check_rows import BROKEN, Rows, failures, lines
from emolib.pipeline.verification.recompute.drawn_rows import Sampling
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
    shift_checks.check_shift_zero,
    shift_checks.check_shift_conditions,
    shift_checks.check_shift_claims,
    instrument_checks.check_gold,
    instrument_checks.check_placebos,
    claim_checks.check_study_claims,
    report_checks.check_reports,
    report_checks.check_seals,
    report_checks.check_numbers,
    current_checks.check_current,
)


def run_check(check: Check, run: RunFiles, rows: Rows) -> None:
    """Adds what one check finds; one that comes to no end, since a file has quite another form, has failed."""
    try:
        check(run, rows)
    except BROKEN as error:
        rows.failed(run.model, f"the check came to no end: {type(error).__name__}: {error}")


def verify(
    profile: str = "quick", model: str | None = None, *, variant: str | None = None, recompute: Sampling | None = None
) -> pd.DataFrame:
    """Holds everything that a run left against everything else that it left; nothing is written.

    Args:
        profile: a name in `params/profiles/`.
        model: a name in `params/models/`, a hub id, a folder or a GGUF file; None: every model with results.
        variant: a name that `emolib variants` lists, in place of the profile.
        recompute: also works drawn rows out again by another route (`emolib.pipeline.verification.recompute`); None
            loads no weights.

    Returns:
        One row per check and file: model, check, file, status (`pass`, `fail` or `skip`), compared (values or rows that
        were looked at), told (what is wrong, or why it was not looked at); of a recomputation also of (from how many
        rows those were drawn), deviation (the largest one) and tolerance.

    Raises:
        UserError: an unknown profile, variant or model, or one without results.

    Example:
        >>> from emolib.pipeline.verification.verify import verify
        >>> verify("no-such-profile")
        Traceback (most recent call last):
        emolib.base.errors.UserError: unknown profile 'no-such-profile': ...
    """
    load_profile(profile)
    return pd.concat([checked(run, recompute) for run in opened(profile, model, variant)], ignore_index=True)


def checked(run: RunFiles, recompute: Sampling | None = None, without: Sequence[Check] = ()) -> pd.DataFrame:
    """What every check finds in one run; see `verify`."""
    found = Rows()
    for check in CHECKS:
        if check not in without:
            run_check(check, run, found)
    if recompute is not None:
        from emolib.pipeline.verification.recompute import recomputations  # brings torch and transformers

        recomputations.recompute(run, found, recompute)
    table = found.table()
    table.insert(0, "model", run.model)
    return table


def print_verification(
    profile: str, model: str | None, *, variant: str | None, json_file: str | None, recompute: Sampling | None = None
) -> bool:
    """Prints what `verify` finds, writes it to the JSON file if one is named, and says whether nothing failed.

    Raises:
        UserError: also where the JSON file's folder does not exist, before anything is looked at.
    """
    file = None if json_file is None else file_to_write(json_file)
    if file is not None and not file.parent.is_dir():
        raise UserError(f"expected --json in a folder that exists, got {shown(json_file)}; make the folder first")
    table = verify(profile, model, variant=variant, recompute=recompute)
    say(f"results in {paths.results_root()}, reports in {paths.executed_root()}")
    for line in lines(table, recomputed=recompute is not None):
        say(line)
    if file is not None:
        rows = [{name: None if value != value else value for name, value in row.items()} for row in _records(table)]
        found = {"profile": profile, "variant": variant, "rows": rows}
        write_atomically(file, (json.dumps(found, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode())
    return failures(table).empty


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]
