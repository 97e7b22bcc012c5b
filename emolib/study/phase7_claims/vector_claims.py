"""The claims about vectors: stability, separation, what is read out, what lies beyond words, and subspaces."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from emolib.base import paths
from emolib.directions.subspace_choice import NORMAL
from emolib.steering.text_claims import LEVEL
from emolib.study.phase3_vectors.decoding import chosen_probe_layers
from emolib.study.phase7_claims.claim_sources import places, source_of, stored, vector_models
from emolib.study.phase7_claims.subspace_sizes import k_selection
from emolib.study.run import Run


def vector_claims(run: Run, model: str) -> list[dict[str, Any]]:
    """Stability, read-out and what lies beyond words at each emotion's layer (chosen on validation), and subspaces.

    Stability belongs to the vector: its layer is the one at which the vector itself tells texts apart best on
    validation, as in Phase 3's report; where that was not stored, the probe's.
    """
    where = places(run, model)
    given = source_of(run, model, "phase3").parameters
    chosen = _raw_separation(run, model)
    own_layers = {} if chosen is None else chosen.set_index("emotion")["layer"].to_dict()
    files = {name: where.vector_table(name) for name in ("probes_mean", "stability_mean", "information")}
    probes, stability, information = (stored(run, path) for path in files.values())
    rows = []
    for emotion, probe_layer in chosen_probe_layers(probes)[["emotion", "layer"]].itertuples(index=False):
        layer = int(own_layers.get(emotion, probe_layer))
        at = stability[(stability["emotion"] == emotion) & (stability["layer"] == layer)].iloc[0]
        found = {"value": at["mean"], "low": at["low"], "high": at["high"], "reference": at["shuffled_high"]}
        row = claim_row("stability", model, emotion, f"layer {layer}", files["stability_mean"])
        rows.append(row | found | {"n": given["n_train"], "met": bool(at["low"] > at["shuffled_high"])})
        rows += _information_claims(model, emotion, information, files["information"])
    rows += _separation_claims(run, model, given["n_test"])
    return rows + _subspace_claims(run, model, min(given["n_train"], given["n_validation"]))


def claim_row(claim: str, model: str, emotion: str, measure: str, path: Path, phase: str = "phase3") -> dict[str, Any]:
    """What names a claim, and the artifact that its numbers come from."""
    named = {"phase": phase, "claim": claim, "model": model, "emotion": emotion, "measure": measure}
    return {**named, "artifact": paths.display(path)}


def _information_claims(model: str, emotion: str, table: pd.DataFrame, path: Path) -> list[dict[str, Any]]:
    own = table[table["emotion"] == emotion].set_index(["source", "style"])
    wanted = {
        "readout": ("residual", "all", ("auc", "low", "high"), "shuffled_max"),
        "beyond_words": ("words", "all", ("advantage", "advantage_low", "advantage_high"), None),
        "beyond_words_implicit": ("words", "implicit", ("advantage", "advantage_low", "advantage_high"), None),
    }
    rows = []
    for claim, (source, style, columns, null) in wanted.items():
        if (source, style) not in own.index:
            continue
        at = own.loc[(source, style)]
        value, low, high = (float(at[column]) for column in columns)
        reference = float(at[null]) if null else 0.0
        row = claim_row(claim, model, emotion, "auc" if null else "auc_difference", path)
        row |= {"value": value, "low": low, "high": high, "reference": reference, "met": low > reference}
        if not null:  # at the ceiling the interval is too narrow: the ranks' permutation stands beside it
            row |= {"p_flip": float(at["advantage_p"]), "p_best": float(at["advantage_best_p"])}
            row["met"] = bool(low > reference and not row["p_flip"] > LEVEL / 2)
        rows.append({**row, "n": int(at["n"]) // 2})  # a scenario gives two texts, the emotion's and the neutral one
    return rows


def _raw_separation(run: Run, model: str) -> pd.DataFrame | None:
    """Where the raw vectors at the mean over tokens were chosen and tested; None where Phase 3 has not stored it."""
    path = places(run, model).vector_table("chosen_separation")
    if not path.exists():
        return None
    table = stored(run, path)
    return table[(table["position"] == "mean") & (table["variant"] == "raw")]


def _separation_claims(run: Run, model: str, n: int) -> list[dict[str, Any]]:
    """The raw vector at the mean position, where Phase 3 has stored what it chose and tested."""
    table = _raw_separation(run, model)
    path = places(run, model).vector_table("chosen_separation")
    rows = []
    for at in [] if table is None else table.to_dict("records"):
        null = max(at["random_high"], at["shuffled_high"])
        row = claim_row("separation", model, at["emotion"], f"layer {at['layer']}", path)
        row |= {"value": at["auc"], "low": at["low"], "high": at["high"], "reference": null, "n": n}
        rows.append({**row, "met": bool(at["low"] > null)})
    return rows


def _subspace_claims(run: Run, model: str, n: int) -> list[dict[str, Any]]:
    table = k_selection(run)
    rows = []
    for at in table[(table["model"] == model) & (table["k"] == table["best_k"])].to_dict("records"):
        path = places(run, model).subspace_table("overlap_validation")
        row = claim_row("subspace", model, at["emotion"], f"k = {at['best_k']}", path)
        reach = NORMAL * at["best_se"]
        found = {"value": at["best_excess"], "low": at["best_excess"] - reach, "high": at["best_excess"] + reach}
        rows.append(row | found | {"reference": at["null_max"], "n": n, "met": bool(at["found"])})
    return rows


def grounds(run: Run) -> pd.DataFrame:
    """What qualifies the claims about texts: how many test texts name the emotion, and what words alone tell.

    Returns:
        Per model of Phase 3 and emotion: explicit_share (of the test texts, those of explicit style), words and
        words_implicit (AUC of a bag of words on all and on implicit test texts), residual_implicit (AUC of the
        residual stream on implicit ones); NaN where a style has no texts.
    """
    rows = []
    for model in vector_models(run):
        table = stored(run, places(run, model).vector_table("information"))
        for emotion, part in table.groupby("emotion", sort=False):
            at = part.drop_duplicates(["source", "style"]).set_index(["source", "style"])
            n, auc = at["n"].to_dict(), at["auc"].to_dict()
            row = {"model": model, "emotion": emotion}
            row["explicit_share"] = n.get(("residual", "explicit"), np.nan) / n.get(("residual", "all"), np.nan)
            wanted = {"words": ("words", "all"), "words_implicit": ("words", "implicit")}
            wanted["residual_implicit"] = ("residual", "implicit")
            rows.append(row | {name: auc.get(key, np.nan) for name, key in wanted.items()})
    return pd.DataFrame(rows)
