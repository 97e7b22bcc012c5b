"""Gold and placebos as rows that pass or fail, and whether what is claimed keeps to them.

Written from what the documents say, without the code that makes the tables. A measure counts for a style and an emotion
where gold passes, what must fail does not, and the one-sided 95 % limit of the share of placebos that pass (Clopper and
Pearson 1934) is at most 8 % of at least 200. Where one of these is not so, nothing may be claimed by the measure.
"""

from __future__ import annotations

import pandas as pd
from scipy import stats

from emolib.pipeline.verification.check_rows import BROKEN, Rows
from emolib.pipeline.verification.run_files import RunFiles
from emolib.pipeline.verification.shift_checks import NEEDED, OF_WORDS

BAR, FEWEST = 0.08, 200
GOLD, MUST_FAIL = ("gold_a", "gold_texts"), ("denied", "mention", "like_valent")
CLAIMING = ("supported", "not_supported")
EVERY = "all"
KEY = ["measure", "style", "emotion"]


def check_gold(run: RunFiles, rows: Rows) -> None:
    """Gold passes for a measure, a style and an emotion, and what must fail fails; or nothing is claimed by it."""
    rows.check = "gold"
    tables = _tables(run, "instruments", "instruments, what counts")
    if tables is None:
        return
    judged, counted = tables
    claimed = _claimed(run)
    for key, part in judged[judged["instrument"].isin([*GOLD, *MUST_FAIL])].groupby(KEY, sort=False):
        measure, style, emotion = (str(name) for name in key)
        told = f"{measure}, {style}, {emotion}"
        held = counted[(counted[KEY] == list(key)).all(axis=1)]
        if len(held) != 1:
            rows.failed(told, "it is not among what counts")
            continue
        bad = _against(part)
        if bad and bool(held["passed"].iloc[0]):
            rows.failed(told, f"it counts though {bad}", len(part))
        elif bad and (style, emotion, measure) in claimed:
            rows.failed(told, f"a claim rests on it though {bad}", len(part))
        else:
            rows.passed(told, len(part), f"{bad}; nothing is claimed by it" if bad else "")


def _against(part: pd.DataFrame) -> str:
    """Which instrument speaks against a measure; nothing where all went as they must."""
    for name, verdict in zip(part["instrument"], part["verdict"], strict=True):
        if verdict != ("passed" if name in GOLD else "failed"):
            return f"{name} {verdict}" if verdict != "underpowered" else f"{name} is open"
    return ""


def check_placebos(run: RunFiles, rows: Rows) -> None:
    """Few enough of enough placebos pass, by measure and style; or nothing is claimed by the measure there."""
    rows.check = "placebos"
    tables = _tables(run, "placebos", "instruments, what counts")
    if tables is None:
        return
    placebos, counted = tables
    claimed = _claimed(run)
    for (measure, style), part in counted.groupby(["measure", "style"], sort=False):
        tried = placebos[(placebos["measure"] == measure) & placebos["style"].isin([style, EVERY])]
        n, n_passed = len(tried), int(tried["passed"].sum())
        limit = float(stats.beta.ppf(0.95, n_passed + 1, n - n_passed)) if n_passed < n else 1.0
        bad = n < FEWEST or limit > BAR
        counts = f"{n_passed} of {n} placebos pass, at most {limit:.3f} of all"
        name = f"{measure}, {style}"
        resting = [str(e) for e in part["emotion"] if (style, e, measure) in claimed]
        if bad and part["passed"].any():
            rows.failed(name, f"it counts though {counts}", n)
        elif bad and resting:
            rows.failed(name, f"a claim on {resting[0]} rests on it though {counts}", n)
        else:
            rows.passed(name, n, f"{counts}; nothing is claimed by it" if bad else counts)


def _tables(run: RunFiles, *kinds: str) -> list[pd.DataFrame] | None:
    """The tables of a run that has judged instruments; none of a run without."""
    found = [run.of_kind(kind) for kind in kinds]
    return [run.table(artifacts[0]) for artifacts in found] if all(found) else None


def _claimed(run: RunFiles) -> set[tuple[str, str, str]]:
    """(style, emotion, measure) that a claim of the continuation shift rests on."""
    found = set()
    for artifact in run.of_kind("shift claims"):
        try:
            claims = run.table(artifact)
            said = claims[claims["verdict"].isin(CLAIMING)]
            pairs = list(zip(said["style"].astype(str), said["emotion"].astype(str), strict=True))
        except BROKEN:  # told by the check of claims
            continue
        found |= {(style, emotion, m) for style, emotion in pairs for m in NEEDED.get(style, OF_WORDS)}
    return found
