"""Monitoring transfer: does A's mapped vector read B's held-out texts, as B's own does?"""

from __future__ import annotations

import numpy as np
import pandas as pd

from emolib.data.styles import of_style
from emolib.directions.map_nulls import permuted_images
from emolib.directions.vector_tables import column_auc
from emolib.readout.surface import keyword_counts, styles
from emolib.statistics.auc import auc_interval
from emolib.study import phase2_activations
from emolib.study.phase3_vectors import fitting
from emolib.study.phase4_alignment.layers import chosen, chosen_anchors, chosen_map
from emolib.study.phase4_alignment.sides import inputs, one_layer, pair
from emolib.study.run import Run


def monitoring_table(run: Run) -> pd.DataFrame:
    """AUC of emotion against neutral on B's test texts, at the chosen layer, by projection on a vector / sd².

    Returns:
        style, emotion, mapped and own with low and high (A's mapped, B's own vector; scenarios resampled), permuted_95
        (of maps from anchors paired at random), words (the count of the emotion's words; NaN without a list), n_texts.
    """
    params = run.params
    matched = {**inputs(run), "layers": [chosen(run).layer_a, chosen(run).layer_b], "n_maps": params.n_maps}
    matched |= {"n_bootstrap": params.n_bootstrap, "n_test": params.n_test}
    return run.artifacts.table(run.paths.alignment("monitoring"), matched, lambda: _monitoring(run), model=False)


def _monitoring(run: Run) -> pd.DataFrame:
    (a, b), amap, params = pair(run), chosen_map(run), run.params
    test = one_layer(phase2_activations.activations(b, "mean"), amap.layer_b)
    held_out = b.texts("test")
    test = test.where(test.texts["id"].isin(set(held_out["id"])))
    values, texts = test.layer("resid_pre", amap.layer_b).astype(np.float64), test.texts
    of_a, of_b = (fitting.vectors(side, "mean") for side in (a, b))
    words, rows = keyword_counts(texts), list[dict[str, object]]()
    square = amap.frame_b.scale**2 if amap.space == "standardised" else 1.0
    for emotion in (name for name in run.emotions if name in of_a.values):
        vector = of_a.values[emotion][amap.layer_a].astype(np.float64)
        images = permuted_images(*chosen_anchors(run), amap, vector[None], n_maps=params.n_maps, seed=params.seed)[:, 0]
        directions = {"mapped": amap.map(vector), "own": of_b.values[emotion][amap.layer_b].astype(np.float64)}
        for style in styles(texts):
            chosen_ones = (of_style(texts, style) & texts["emotion"].isin([emotion, params.neutral])).to_numpy()
            truth, scenarios = (texts["emotion"] == emotion).to_numpy()[chosen_ones], texts["scenario"][chosen_ones]
            row: dict[str, object] = {"style": style, "emotion": emotion, "n_texts": int(chosen_ones.sum())}
            for name, direction in directions.items():
                given = {"n_resamples": params.n_bootstrap, "seed": params.seed}
                found = auc_interval(values[chosen_ones] @ (direction / square), truth, scenarios, **given)
                row |= dict(zip((name, f"{name}_low", f"{name}_high"), found, strict=True))
            along = values[chosen_ones] @ (images / square).T
            row["permuted_95"] = float(np.quantile(column_auc(along[truth], along[~truth]), 0.95))
            counts = words.loc[chosen_ones, [emotion]].to_numpy(float) if emotion in words else None
            row["words"] = float("nan") if counts is None else float(column_auc(counts[truth], counts[~truth])[0])
            rows.append(row)
    return pd.DataFrame(rows)
