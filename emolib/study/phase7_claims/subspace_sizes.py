"""How many directions the emotions' subspaces have; `statistics/k_selection.csv`."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from emolib.directions.subspace_choice import choose_k
from emolib.study.phase3_vectors.decoding import chosen_probe_layers
from emolib.study.phase7_claims.claim_sources import places, stored, vector_models
from emolib.study.phase7_claims.statistics_files import statistics_table
from emolib.study.run import Run, kept

RULE = "smallest k whose validation excess is within one standard error (that of the best k) of the best excess"
COLUMNS = (
    *("model", "emotion", "layer", "k", "overlap", "null", "null_high", "excess", "se", "null_max"),
    *("test_overlap", "test_null", "test_null_high", "test_excess"),
    *("chosen", "chosen_k", "best_k", "best_excess", "best_se", "found", "rule"),
)


@kept
def k_selection(run: Run) -> pd.DataFrame:
    """overlap(k) of every emotion's subspace against its null, and the chosen k.

    Returns:
        Per model, emotion and k, at the layer that the probe chose on validation: overlap, null, null_high, excess and
        se (scenarios resampled), null_max, test_overlap, test_null, test_null_high, test_excess, chosen, chosen_k,
        best_k, found (the interval of the best excess lies above null_max) and rule. Empty where no model has an
        overlap table: it takes Phase 3 and two emotions.
    """
    files = {model: _files(run, model) for model in vector_models(run)}

    def compute() -> pd.DataFrame:
        parts = [_k_of(run, model) for model, found in files.items() if found]
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=COLUMNS)

    return statistics_table(
        run,
        "k_selection",
        mode="k",
        made_from=[path for found in files.values() for path in found],
        settings={"columns": list(COLUMNS)},
        compute=compute,
    )


def _files(run: Run, model: str) -> list[Path]:
    """The overlaps on validation and on test, and the probes; nothing where there is one emotion alone."""
    where = places(run, model)
    files = [where.subspace_table("overlap_validation"), where.subspace_table("overlap_test")]
    return [*files, where.vector_table("probes_mean")] if files[0].exists() else []


def _k_of(run: Run, model: str) -> pd.DataFrame:
    validation, test, probes = (stored(run, path) for path in _files(run, model))
    chosen = chosen_probe_layers(probes)
    layers = dict(zip(chosen["emotion"], chosen["layer"], strict=True))
    picked = choose_k(validation, layer_of=layers)
    picked = picked.rename(columns={"k": "chosen_k", "se": "best_se"}).drop(columns=["excess", "null_max"])
    names = {name: f"test_{name}" for name in ("overlap", "null", "null_high", "excess")}
    held_out = test.rename(columns=names)[["emotion", "layer", "k", *names.values()]]
    table = validation.merge(picked, on=["emotion", "layer"]).merge(held_out, how="left", on=["emotion", "layer", "k"])
    table = table.assign(model=model, chosen=table["k"] == table["chosen_k"], rule=RULE)
    return table[list(COLUMNS)]


def next_directions(table: pd.DataFrame) -> pd.DataFrame:
    """What one direction more than the chosen k does to the overlap, one row per model and emotion.

    Args:
        table: see `k_selection`.

    Returns:
        model, emotion, chosen_k, found; where the next k was tried also next_k, excess, next_excess, grows, and where
        it was tested test_excess, next_test_excess, test_grows, next_test_overlap, next_test_null_high and
        above_null (the next k's test overlap lies above the 97.5 % point of its null); NaN else.
    """
    rows = []
    for (model, emotion), part in table.groupby(["model", "emotion"], sort=False):
        at = part[part["chosen"].astype(bool)].iloc[0]
        row = {"model": model, "emotion": emotion, "chosen_k": int(at["chosen_k"]), "found": bool(at["found"])}
        after = part[part["k"] == at["chosen_k"] + 1]
        if len(after):
            more = after.iloc[0]
            row |= {"next_k": int(more["k"]), "excess": at["excess"], "next_excess": more["excess"]}
            row |= {"grows": bool(more["excess"] > at["excess"]), "test_excess": at["test_excess"]}
            row |= {"next_test_excess": more["test_excess"], "test_grows": more["test_excess"] > at["test_excess"]}
            row |= {"next_test_overlap": more["test_overlap"], "next_test_null_high": more["test_null_high"]}
            row["above_null"] = bool(more["test_overlap"] > more["test_null_high"])
        rows.append(row)
    return pd.DataFrame(rows)
