"""What finished phases 3 and 5 leave, made up: sweeps and tables whose truth is known, their claims and records."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import emolib
from emolib.base import store
from emolib.base.errors import UserError
from emolib.base.parameters import resolve
from emolib.base.paths import ResultPaths
from emolib.scoring.measures import measures
from emolib.steering.text_claims import claims_table
from emolib.study.identity import ModelContents
from emolib.study.run import Run

MODEL = "smollm2_135m"
EMOTIONS = ("gratitude", "anger", "apology")
METRICS = [*(f"{kind}/{emotion}" for emotion in EMOTIONS for kind in ("keywords", "target")), "valence"]
NOTHING = dict.fromkeys(EMOTIONS, 0.0)


def sweep_table(
    push: dict[str, float] = NOTHING, *, n: int = 24, n_controls: int = 59, seed: int = 0, layer: int = 5
) -> pd.DataFrame:
    """An emotion's vector adds `push` to the emotion's own two measures; everything else is noise of sd 1."""
    settings = [("baseline", "none", -1, 0.0, 0), *(("emotion", e, layer, 0.3, 0) for e in EMOTIONS)]
    settings += [(f, "any", layer, 0.3, i) for f in ("isotropic", "shuffled") for i in range(n_controls)]
    settings += [("direct_path", e, 8, 0.3, 0) for e in EMOTIONS]
    return rows_of(settings, push, n=n, seed=seed)


def rows_of(settings: list[tuple], push: dict[str, float], *, n: int, seed: int, first: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(settings, columns=["kind", "emotion", "layer", "alpha", "index"])
    table = table.loc[table.index.repeat(n)].reset_index(drop=True)
    table["scenario"] = [f"s{first + i:03d}" for i in range(n)] * len(settings)
    values = rng.normal(0, 1, (len(table), len(METRICS))) + 5
    table[METRICS] = values
    for emotion, size in push.items():
        own = (table["kind"].isin(["emotion", "pca", "prompting"])) & (table["emotion"] == emotion)
        table.loc[own, [f"keywords/{emotion}", f"target/{emotion}"]] += size
    return table.assign(split="test", unit="resid", **{"fluency/broken": False})


def add_record(model: str, phase: str, files: dict[Path, bytes], **params: object) -> ResultPaths:
    """Writes the files, and the record that the phase leaves when it has finished with these parameters."""
    run = Run(resolve("quick", model, phase, params), contents=content_of)
    for path, data in files.items():
        store.write(path, data, {})
        run.artifacts.note(path)
    run.record.write(run.artifacts.made)
    return run.paths


def content_of(given: Mapping[str, Any]) -> dict[str, str]:
    """What the model is made of; made up for a name that only these tests know."""
    try:
        return ModelContents()(given)
    except UserError:
        return {"model": given["model"], "revision": "made up", "dtype": "float32", "quantization": "none"}


def add_phase5(
    sweep: pd.DataFrame,
    model: str = MODEL,
    alternatives: pd.DataFrame | None = None,
    shift: pd.DataFrame | None = None,
    **params: object,
) -> ResultPaths:
    """What a finished Phase 5 leaves: the sweeps, its claims (those of the continuation shift, too) and its record."""
    where = ResultPaths("quick", model)
    families = [name for name in ("isotropic", "shuffled") if (sweep["kind"] == name).any()]
    claims = claims_table(sweep, measures(sweep, EMOTIONS), families=families, n_resamples=400)
    tables = {"test": sweep, "claims": claims} | ({} if alternatives is None else {"alternatives": alternatives})
    files = {where.sweep(name): store.table_bytes(table) for name, table in tables.items()}
    if shift is not None:
        files[where.shift("claims")] = store.table_bytes(shift)
    if params.get("temperature", "auto") == "auto":
        files[where.decoding()] = store.json_bytes({"temperature": 0.7, "broken": 16, "n": 24})
    return add_record(model, "phase5", files, **params)


def shift_table(verdict: str = "supported", *, p: float = 0.001, n_controls: int = 199) -> pd.DataFrame:
    """The claims of the continuation shift that a Phase 5 leaves, all alike."""
    row = {"n_texts": 24, "weakest_other": "joy", "weakest_measure": "own", "p": p, "mean": 0.1, "low": 0.05}
    row |= {"high": 0.15, "rank_p": 0.005, "n_controls": n_controls, "share_of_gold": np.nan, "p_holm": 3 * p}
    row |= {"bar": 1 / 60, "exploratory": n_controls < 199, "by_numbers": "supported", "verdict": verdict}
    row |= {"by_numbers_reason": "bar_reached", "reason": "bar_reached" if verdict == "supported" else "not_judged"}
    styles = ("explicit", "implicit")
    return pd.DataFrame([{"style": style, "emotion": emotion, **row} for style in styles for emotion in EMOTIONS])


def add_phase3(
    model: str = MODEL, *, stable: bool = True, gap: float = 0.1, found: bool = True, overlaps: bool = True
) -> ResultPaths:
    """What a finished Phase 3 leaves, with 40 / 24 / 24 scenarios."""
    where = ResultPaths("quick", model)
    tables = {where.vector_table(name): table for name, table in vector_tables(stable=stable, gap=gap).items()}
    for split in ("validation", "test") if overlaps else ():
        tables[where.subspace_table(f"overlap_{split}")] = overlap_table(0.4 if found else 0.15)
    return add_record(model, "phase3", {path: store.table_bytes(table) for path, table in tables.items()})


def vector_tables(*, stable: bool, gap: float) -> dict[str, pd.DataFrame]:
    probes, stability, information = [], [], []
    for emotion in EMOTIONS:
        for layer in range(4):
            auc = 0.9 if layer == 2 else 0.7
            for split in ("validation", "test"):
                row = {"emotion": emotion, "layer": layer, "split": split, "auc": auc}
                probes.append({**row, "shuffled_mean": 0.5, "shuffled_max": 0.6})
            low = 0.6 if stable and layer == 2 else 0.1
            null = {"shuffled": 0.0, "shuffled_high": 0.3}
            stability.append({"emotion": emotion, "layer": layer, "mean": low + 0.1, "low": low, "high": 0.8, **null})
        for source in ("residual", "words"):
            for style, count in (("all", 48), ("explicit", 24), ("implicit", 24)):
                row = {"emotion": emotion, "source": source, "style": style, "auc": 0.9, "low": 0.8, "high": 0.95}
                row |= {"shuffled_max": 0.6, "n": count, "advantage": np.nan}
                if source == "words":
                    row |= {"advantage": gap, "advantage_low": gap - 0.05, "advantage_high": gap + 0.05}
                    row |= {"advantage_p": 0.001 if gap > 0.05 else 0.4, "advantage_best_p": 0.001}
                information.append(row)
    parts = {"probes_mean": probes, "stability_mean": stability, "information": information}
    return {name: pd.DataFrame(rows) for name, rows in parts.items()}


def overlap_table(best: float) -> pd.DataFrame:
    """The excess is largest at k = 3 and within one standard error of that at k = 2."""
    excess = [best - 0.2, best - 0.01, best, best - 0.3]
    rows = [
        {"emotion": emotion, "layer": layer, "k": k + 1, "overlap": 0.3 + value, "null": 0.3, "null_high": 0.4}
        | {"null_max": 0.2, "excess": value, "se": 0.05}
        for emotion in EMOTIONS
        for layer in (1, 2)
        for k, value in enumerate(excess)
    ]
    return pd.DataFrame(rows)


def open_run(**params: object) -> Run:
    return emolib.open_run("quick", MODEL, "phase7", n_bootstrap=200, **params)


def fluke(*, moves: bool) -> pd.DataFrame:
    """Strong effects on all but the anger words, which are 0 but for one control direction's word in one text."""
    sweep = sweep_table(dict.fromkeys(EMOTIONS, 3.0))
    sweep["keywords/anger"] = 0.0
    one = (sweep["kind"] == "isotropic") & (sweep["index"] == 7) & (sweep["scenario"] == "s003")
    sweep.loc[one, "keywords/anger"] = 1.0
    if moves:
        own = (sweep["kind"] == "emotion") & (sweep["emotion"] == "anger")
        sweep.loc[own, "keywords/anger"] = np.arange(own.sum()) % 3
    return sweep
