"""Phase 9: what the table of checks comes to; the names here are what its notebook calls.

The checks themselves are made by `emolib.verify_run`. Here they are counted and grouped, and it is decided what counts
as passed, how much was worked out again, and how near a deviation came to its tolerance.
"""

from __future__ import annotations

import pandas as pd

OF_REPORTS = ("report", "seal", "numbers")  # of files outside the results
OF_INSTRUMENTS = ("gold", "placebos")
RECOMPUTED = "recomputed"  # how the names of recomputations begin
STATES = ("pass", "fail", "skip")
NEAR = (0.01, 0.1, 0.5, 1.0)  # shares of a tolerance that a deviation is told by
NEGATIVE, FAULT = "negative", "fault"


def of_files(checks: pd.DataFrame) -> pd.DataFrame:
    """The checks of what lies among the results, nothing of it worked out again."""
    return checks[~checks["check"].isin(OF_REPORTS) & ~_is_recomputed(checks)].reset_index(drop=True)


def of_reports(checks: pd.DataFrame) -> pd.DataFrame:
    """The checks of executed reports."""
    return checks[checks["check"].isin(OF_REPORTS)].reset_index(drop=True)


def recomputed(checks: pd.DataFrame) -> pd.DataFrame:
    """What was worked out again."""
    return checks[_is_recomputed(checks)].reset_index(drop=True)


def _is_recomputed(checks: pd.DataFrame) -> pd.Series:
    return checks["check"].str.startswith(RECOMPUTED)


def counts(checks: pd.DataFrame) -> pd.DataFrame:
    """How many files passed, failed or were skipped, by check and in the order in which they were made.

    Returns:
        check, files, pass, fail, skip.
    """
    rows = []
    for check in dict.fromkeys(checks["check"]):
        part = checks[checks["check"] == check]
        held = {state: int((part["status"] == state).sum()) for state in STATES}
        rows.append({"check": check, "files": part["file"].nunique(), **held})
    return pd.DataFrame(rows, columns=["check", "files", *STATES])


def drawn(checks: pd.DataFrame) -> pd.DataFrame:
    """Of every recomputation: rows worked out again, of how many, and how near the worst came to its tolerance.

    Returns:
        check, files, rows, of, share, near (the smallest of `NEAR` that the worst deviation keeps to; infinite where
        it keeps to none), tolerance, fail, skip.
    """
    found = recomputed(checks)
    rows = []
    for check in dict.fromkeys(found["check"]):
        part = found[found["check"] == check]
        known = part[part["tolerance"].notna()].drop_duplicates("file")
        compared, of = int(known["compared"].sum()), int(known["of"].sum())
        near = max((nearness(*pair) for pair in known[["deviation", "tolerance"]].itertuples(index=False)), default=0.0)
        row = {"check": check, "files": len(known), "rows": compared, "of": of, "share": compared / of if of else 0.0}
        row |= {"near": near, "tolerance": float(known["tolerance"].max()) if len(known) else float("nan")}
        rows.append({**row, **{state: int((part["status"] == state).sum()) for state in ("fail", "skip")}})
    columns = ["check", "files", "rows", "of", "share", "near", "tolerance", "fail", "skip"]
    return pd.DataFrame(rows, columns=columns)


def nearness(deviation: float, tolerance: float) -> float:
    """The smallest share of `NEAR` of the tolerance that a deviation keeps to.

    >>> nearness(0.0, 1e-3), nearness(2e-4, 1e-3), nearness(2e-3, 1e-3), nearness(0.0, 0.0)
    (0.01, 0.5, inf, 0.01)
    """
    return next((share for share in NEAR if deviation <= share * tolerance), float("inf"))


def rate(alterations: pd.DataFrame, group: str) -> tuple[int, int]:
    """How many alterations of a group were noticed, and how many could be made."""
    part = alterations[alterations["group"] == group] if len(alterations) else alterations
    made = part[part["status"] != "skip"] if len(part) else part
    return int((made["status"] == "pass").sum()) if len(made) else 0, len(made)


def samples(checks: pd.DataFrame) -> int:
    """Rows that were worked out again."""
    return int(drawn(checks)["rows"].sum())
