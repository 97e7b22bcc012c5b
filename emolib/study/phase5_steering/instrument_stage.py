"""Instruments before claims: what Phase 5's measures see where the emotion is known, and what they let pass.

Gold and what must fail need no vector (`instrument_gold`, `instrument_texts`) and can be judged before anything is
chosen; placebo acts and words (`instrument_placebos`) are read at the point that S has chosen on validation texts.
"""

from __future__ import annotations

import pandas as pd

from emolib.data.styles import in_style_order
from emolib.steering.instruments import (
    COLUMNS,
    NEEDED,
    admission,
    instrument_table,
    judged_pairs,
    placebo_rows,
)
from emolib.steering.shift_measures import MEASURES
from emolib.study.phase5_steering.instrument_design import FEWEST_TEXTS
from emolib.study.phase5_steering.instrument_gold import gold_cells
from emolib.study.phase5_steering.instrument_placebos import PLACEBO_COLUMNS, act_placebos, text_placebos
from emolib.study.phase5_steering.instrument_texts import GOLD_TEXTS, score_placebos, text_cells, word_placebos
from emolib.study.phase5_steering.shift_sweeps import measurable
from emolib.study.run import Run, kept


@kept
def gold_pairs(run: Run) -> pd.DataFrame:
    """Every emotion against every other label by gold and by what must fail; nothing of a steer is in it.

    Returns:
        `emolib.steering.instruments.PAIR_COLUMNS`. Empty for a single emotion, which has nothing to be held against;
        styles with fewer than two texts are left out.
    """
    cells = pd.concat([gold_cells(run), text_cells(run)] if measurable(run) else [text_cells(run)], ignore_index=True)
    keys = ["measure", "style", "emotion", "other", "instrument", "stand_in"]
    few = cells.groupby(keys)["text"].transform("nunique") < FEWEST_TEXTS
    return judged_pairs(cells[~few])


@kept
def placebos(run: Run) -> pd.DataFrame:
    """Every placebo and whether it passes.

    Returns:
        `instrument_placebos.PLACEBO_COLUMNS`.
    """
    if not measurable(run):
        return pd.DataFrame(columns=PLACEBO_COLUMNS)
    tables = [text_placebos(run), act_placebos(run), word_placebos(run), score_placebos(run)]
    held = [table for table in tables if len(table)]
    found = pd.concat(held, ignore_index=True) if held else tables[0]
    return found.astype({"passed": bool, "number": int})


@kept
def instruments(run: Run) -> pd.DataFrame:
    """What every instrument says of every measure, style and emotion, and how many placebos pass.

    Beware: `passed` says that the rule let it pass, which gold must and the others must not.

    Returns:
        `emolib.steering.instruments.COLUMNS`.
    """
    table = pd.concat([instrument_table(gold_pairs(run)), placebo_rows(placebos(run))], ignore_index=True)
    return _by_measure(table[COLUMNS])


@kept
def admissions(run: Run) -> pd.DataFrame:
    """For which styles and emotions a measure counts; see `emolib.steering.instruments.admission`.

    Of a text score gold is the data set's own texts; of S all instruments are asked.

    Returns:
        measure, style, emotion, instrument, passed, verdict.
    """
    judged, tried = instrument_table(gold_pairs(run)), placebos(run)
    of_shifts = judged["measure"].isin(MEASURES)
    found = [
        admission(judged[of_shifts], tried, needed=NEEDED),
        admission(judged[~of_shifts], tried, needed=(GOLD_TEXTS,)),
    ]
    return _by_measure(pd.concat(found, ignore_index=True))


def _by_measure(table: pd.DataFrame) -> pd.DataFrame:
    """The rows measure by measure as they come, within each in the order of the styles."""
    return pd.concat(
        [in_style_order(part) for _, part in table.groupby("measure", sort=False)] or [table], ignore_index=True
    )


def gold_estimates(run: Run) -> pd.DataFrame:
    """Gold's effect per measure, style, emotion and other label, as `steering.claims.shift_claims` takes it.

    Returns:
        measure, style, emotion, other, estimate (nat per token).
    """
    pairs = gold_pairs(run)
    return pairs.loc[pairs["instrument"] == "gold_a", ["measure", "style", "emotion", "other", "estimate"]]


def save_instruments(run: Run) -> None:
    """The tables as artifacts."""
    tables = {"instruments": instruments(run), "instruments_admission": admissions(run)}
    tables |= {"instruments_pairs": gold_pairs(run), "instruments_placebos": placebos(run)}
    paths = {run.paths.instruments(name): table for name, table in tables.items()}
    made = {path: sha for path, sha in run.artifacts.made.items() if path.parent == run.paths.instruments().parent}
    parts = sorted(sha for path, sha in made.items() if path not in paths)
    chosen = sorted(sha for path, sha in run.artifacts.made.items() if "_sweep_validation" in path.name)
    for path, table in paths.items():
        run.artifacts.table(path, {"parts": parts, "written": chosen}, lambda table=table: table)
