"""Maps into randomly initialised copies of B: what an alignment finds where nothing was learned."""

from __future__ import annotations

import pandas as pd

from emolib.directions.alignment import fit_alignment
from emolib.directions.disjoint_margins import half_means, margins, scenario_halves
from emolib.engine.anchors import anchors_of
from emolib.engine.extraction import extract_activations
from emolib.models.language_model import LanguageModel
from emolib.models.random_copy import random_copy
from emolib.study.phase4_alignment.anchor_texts import anchor_texts
from emolib.study.phase4_alignment.layers import chosen, chosen_anchors, scale_of
from emolib.study.phase4_alignment.sides import (
    anchors,
    inputs,
    label_texts,
    labels,
    labels_of,
    pair,
    style_choices,
)
from emolib.study.run import Run

DEPTH = 1  # blocks of an untrained copy that are run at most: more only mix the words further


def depth(run: Run) -> int:
    """The layer of the untrained copies that A is mapped into."""
    return min(chosen(run).layer_b, DEPTH)


def random_margins(run: Run) -> pd.DataFrame:
    """The margins of maps from A's chosen layer into untrained copies of B, and their R².

    Returns:
        seed, style, label, margin, r2_held_out, r2_in_sample, layer_b (of the copies).
    """
    params, at = run.params, chosen(run)
    matched = {**inputs(run), "layers": [at.layer_a, depth(run)], "n_splits": params.n_splits}
    matched |= {"n_random_models": params.n_random_models}
    path = run.paths.alignment("untrained")
    return run.artifacts.table(path, matched, lambda: _random_margins(run), model=False)


def _random_margins(run: Run) -> pd.DataFrame:
    run.progress.begin("untrained copies", run.params.n_random_models)
    rows = []
    for seed in range(run.params.n_random_models):
        rows.append(_of_copy(run, random_copy(pair(run).b.lm, seed=seed, n_layers=depth(run)), seed))
        run.progress.advance(1)
    return pd.concat(rows, ignore_index=True)


def _of_copy(run: Run, copy: LanguageModel, seed: int) -> pd.DataFrame:
    params, at, layer = run.params, chosen(run), depth(run)
    acts_a, _ = chosen_anchors(run)
    acts_b = anchors_of(copy, anchor_texts(run)["text"].tolist(), anchors(run), "token_b", [layer])
    given = {"layer_a": at.layer_a, "layer_b": layer, "method": params.method, "space": params.space}
    amap = fit_alignment(acts_a, acts_b, **given)
    read = extract_activations(copy, label_texts(pair(run).b), sites=("resid_pre",), positions="mean", layers=[layer])
    of_a, of_b = labels(pair(run).a, at.layer_a), labels_of(read, params.neutral)
    rows = []
    for style, kept_ones in style_choices(of_b).items():
        cube_a, cube_b = of_a.cube[kept_ones], of_b.cube[kept_ones]
        halves = scenario_halves(len(cube_a), n_splits=params.n_splits, seed=params.seed)
        found = margins(half_means(amap.map(cube_a), halves), half_means(cube_b, ~halves), scale_of(amap))
        rows.append(pd.DataFrame({"seed": seed, "style": style, "label": of_b.names, "margin": found}))
    r2 = {"r2_held_out": amap.r2_held_out, "r2_in_sample": amap.r2_in_sample, "layer_b": layer}
    return pd.concat(rows, ignore_index=True).assign(**r2)
