"""Continuation shifts worked out again: drawn rows of every kind of act of the stored tables, one text at a time.

A row names the scenario of its prompt, the scenario and the label of its text, and its act. The text follows the prompt
after one space; its first token and its final mark do not count.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from emolib.pipeline.verification.check_rows import BROKEN, Measured, Rows
from emolib.pipeline.verification.recompute.material import Material
from emolib.pipeline.verification.recompute.plain_model import PlainModel
from emolib.pipeline.verification.recompute.plain_writing import log_softmax
from emolib.pipeline.verification.recompute.shard_acts import PartActs, part_of, parts_of
from emolib.pipeline.verification.sweep_checks import SEEDED

NEEDED = {"prompt", "text", "label", "layer", "alpha", "n_tokens", "shift", "kind", "owner", "index"}
SHIFT = {True: 1e-3, False: 0.05}  # nat per token, by whether the model is one of float32


@dataclass(frozen=True)
class Design:
    """What rows of the tables name.

    Attributes:
        texts: scenario and label → text.
        settings: of the part's sweeps, by the part's name: template, unit, window, schedule, seed.
    """

    texts: Mapping[tuple[str, str], str]
    settings: Mapping[str, Mapping[str, Any]]
    parts: Mapping[str, PartActs]
    neutral: str

    @classmethod
    def of(cls, material: Material) -> Design:
        data = material.data
        texts = dict(zip(zip(data["scenario"], data["emotion"], strict=True), data["text"], strict=True))
        settings = {part_of(a): a.matched["settings"] for a in material.run.of_kind("shard") if a.manifest}
        neutral = str(material.parameters.get("neutral", "neutral"))
        return cls(texts, settings, parts_of(material), neutral)


def check_shifts(material: Material, rows: Rows) -> None:
    """Every drawn row's shift is that of its text under its act."""
    rows.check = "recomputed shifts"
    folder = material.run.paths.shift("").parent
    tables = {path: _table(path) for path in sorted(folder.glob(f"{material.run.model}_shift_*.parquet"))}
    if not tables:
        rows.skipped(folder, "no continuation shifts are stored")
        return
    design = Design.of(material)
    for path, table in tables.items():
        if table is None or not set(table) >= NEEDED:
            rows.skipped(path, "its rows do not name a text and an act (they are worked out from tables that do)")
            continue
        part = next((name for name in design.parts if name and f"_shift_{name}_" in path.name), "")
        found = Measured(of=len(table), tolerance=SHIFT[material.is_float32])
        for kind, some in table.groupby("kind", sort=True):
            for at in material.drawn(f"shifts {path.name} {kind}", len(some)):
                row = {str(name): value for name, value in some.iloc[at].items()}
                told = f"{row['label']} of {row['text']} after {row['prompt']} under {kind} {row['owner']}"
                try:
                    found.add(_off(material.model, design, str(row.get("part") or part), row), f"the shift of {told}")
                except BROKEN as error:
                    found.add(np.inf, f"{told} cannot be worked out again: {error}")
        rows.measured(path, found)


def _table(path: Path) -> pd.DataFrame | None:
    try:
        return pd.read_parquet(path, engine="pyarrow")
    except Exception:  # told where the file itself is read
        return None


def _off(model: PlainModel, design: Design, part: str, row: Mapping[str, Any]) -> float:
    """How far the stored shift is from the one worked out; infinite where other tokens count."""
    settings = design.settings[part]
    seed = int(settings["seed"])
    if row["kind"] in SEEDED:
        key = [seed, SEEDED[row["kind"]], int(row["layer"]), int(row["index"])]
        seed = int(np.random.SeedSequence(key).generate_state(1)[0])
    kind = str(row["kind"])
    cell = (kind, row["owner"], int(row["layer"]), float(row["alpha"]), int(row["index"]), seed, None)
    act = design.parts[part].act(cell, settings)
    plain = design.texts[row["prompt"], design.neutral]
    prompt = model.prompt_ids(settings["template"].replace("{text}", plain))
    ids = counted_ids(model, design.texts[row["text"], row["label"]])
    if len(ids) - 1 != row["n_tokens"]:
        return float("inf")
    unpatched, patched = (_mean(model.forced(prompt, ids, one)[0], ids) for one in (None, act))
    return abs(float(row["shift"]) - (patched - unpatched))


def _mean(logits: np.ndarray, ids: list[int]) -> float:
    """Mean log-probability of the tokens after the first."""
    return float(log_softmax(logits[1:-1])[np.arange(len(ids) - 1), ids[1:]].mean())


def counted_ids(model: PlainModel, text: str) -> list[int]:
    """The tokens of a text after one space, without those that begin in its final mark."""
    told = model.tokenizer(f" {text}", add_special_tokens=False, return_offsets_mapping=True)
    spaced = f" {text}"
    end = len(spaced.rstrip())
    mark = end
    while mark and unicodedata.category(spaced[mark - 1])[0] in "PZ":
        mark -= 1
    mark = mark if mark < end else len(spaced)
    ids = list(told.input_ids)
    for start, stop in reversed(told.offset_mapping):
        begins = start + len(spaced[start:stop]) - len(spaced[start:stop].lstrip())
        if min(begins, stop) < mark:
            break
        ids.pop()
    return ids
