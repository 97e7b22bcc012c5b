"""The tables that Phase 7 writes as CSV, and how they are read back to the very digits."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from emolib.base import store
from emolib.study.phase7_claims.claim_sources import stored
from emolib.study.run import Run

# columns that hold names: a label may be called `1` or `True`
TEXT = ("model", "kind", "emotion", "metric", "measure", "family", "other", "style", "claim")


def statistics_table(
    run: Run,
    name: str,
    *,
    mode: str,
    made_from: Sequence[Path],
    settings: Mapping[str, Any],
    compute: Callable[[], pd.DataFrame],
) -> pd.DataFrame:
    """A table kept as `statistics/<name>.csv` and read back; only computed where its mode is not asked for.

    Args:
        mode: of the parameter `modes`.
        made_from: the artifacts of other phases that it is made from.
        settings: what else decides its values.
    """
    if mode not in run.params.modes:
        return compute()
    for path in made_from:
        stored(run, path)
    matched = {"sources": {path.name: run.artifacts.made[path] for path in made_from}, **settings}
    return kept_csv(run, name, matched, lambda: csv_bytes(compute()))


def kept_csv(run: Run, name: str, matched: Mapping[str, Any], data: Callable[[], bytes]) -> pd.DataFrame:
    """`statistics/<name>.csv`, found or written, and read back."""
    return read_csv(run.artifacts.obtain(run.paths.statistics(f"{name}.csv"), matched, data, model=False))


def csv_bytes(table: pd.DataFrame) -> bytes:
    """All digits: what is read back is what was computed."""
    return table.to_csv(index=False).encode()


def read_csv(path: Path) -> pd.DataFrame:
    """The table as it was written; only an empty field is missing (a label may be called `null`)."""
    store.check(path)
    # the python engine alone reads back the very digits with every pandas
    data = io.BytesIO(path.read_bytes())
    return pd.read_csv(data, keep_default_na=False, na_values=[""], engine="python", dtype=dict.fromkeys(TEXT, str))
