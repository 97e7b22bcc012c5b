"""How many rows a run generates at once: as its parameters say, or as many as are fast and fit, kept to by the run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import torch

from emolib.base import files, store
from emolib.base.errors import shown
from emolib.engine.memory import BatchShape
from emolib.engine.planning import largest_useful_batch
from emolib.models.tokens import encode
from emolib.study.artifacts import STEP
from emolib.study.run import Run


def generation_batch(run: Run, prompts: pd.DataFrame) -> int:
    """Rows generated at once for these prompts.

    A resumed run reads the number again, so that it ends with the same texts to the last near tie; a variant takes the
    profile's, so that nothing but its values differs.
    """
    given = run.params.generation_batch
    if given != "auto":
        return given
    width = max(len(ids) for ids in encode(run.lm, prompts["text"].tolist()))
    where = {
        **run.lm.identity,
        "device": str(run.lm.device),
        "threads": torch.get_num_threads(),
        "width": -(-width // 16) * 16,
        "max_new_tokens": run.params.max_new_tokens,
        "window": run.params.window,
    }
    path = run.paths.batch_size()
    known = _known(path)
    for entry in [*_known(run.paths.of_profile().batch_size()), *known]:
        if entry["where"] == where:
            return entry["rows"]
    rows = largest_useful_batch(run.lm, BatchShape(where["width"], run.params.max_new_tokens, run.params.window))
    store.write(path, store.json_bytes([*known, {"where": where, "rows": rows}]), {"step": STEP})
    return rows


def _known(path: Path) -> list[dict[str, Any]]:
    """What was chosen before: where, and how many rows."""
    if store.read_manifest(path) is None or files.kind_of(path) == "missing":  # none, or what a killed run left
        return []
    known = store.read_json(path, kind=list)
    for entry in known:
        if not isinstance(entry, dict) or not isinstance(entry.get("rows"), int) or "where" not in entry:
            raise store.unusable(path, "batch sizes", shown(entry))
    return known
