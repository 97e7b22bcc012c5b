"""Maps between all layers of two models, and the pair of layers that is looked at: chosen on validation scenarios."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from emolib.base import tensor_files
from emolib.data.activations import Activations
from emolib.directions.alignment import AlignmentMap, fit_alignment
from emolib.directions.anchor_moments import SPACES
from emolib.directions.disjoint_margins import half_means, margins, scenario_halves
from emolib.directions.layer_alignments import LayerAlignments, align_layers
from emolib.study.phase4_alignment.sides import anchors, at_layers, blocks, inputs, pair, validation_labels
from emolib.study.run import Run, kept

OF_ALL_PAIRS = ("ridge", "procrustes")  # the third method is fitted at the chosen layers alone


@dataclass(frozen=True)
class Chosen:
    """The layers of A and B whose map is judged, with the mean validation margin that chose them."""

    layer_a: int
    layer_b: int
    margin: float


@kept
def layer_table(run: Run) -> pd.DataFrame:
    """Every method and space for every layer of A with every layer of B.

    Returns:
        The columns of `emolib.directions.layer_alignments.LayerAlignments.table` and validation_margin: matched minus
        mismatched of the data set's labels on disjoint halves of the validation scenarios, their mean; NaN for other
        methods and spaces than the run's own.
    """
    params = run.params
    methods = tuple(dict.fromkeys((*OF_ALL_PAIRS, params.method)))

    def compute() -> pd.DataFrame:
        found = align_layers(blocks(run), methods=methods, spaces=SPACES, rank=params.rank)
        own = (found.table["method"] == params.method) & (found.table["space"] == params.space)
        return found.table.assign(validation_margin=_validation_margins(run, found).where(own))

    matched = {**inputs(run), "rank": params.rank, "n_splits": params.n_splits, "methods": methods}
    return run.artifacts.table(run.paths.alignment("layers"), matched, compute, model=False)


def _validation_margins(run: Run, found: LayerAlignments) -> pd.Series:
    params, sides = run.params, pair(run)
    moments = found.moments[params.space]
    of_a, of_b = (
        {layer: validation_labels(side, layer).cube for layer in of.layers}
        for side, of in zip(sides, (moments.a, moments.b), strict=True)
    )
    halves = scenario_halves(len(next(iter(of_a.values()))), n_splits=params.n_splits, seed=params.seed)
    means_a = {layer: half_means(cube, halves) for layer, cube in of_a.items()}
    means_b = {layer: half_means(cube, ~halves) for layer, cube in of_b.items()}
    known: dict[tuple[int, int], float] = {}
    for layer_a, mean_a in means_a.items():
        for layer_b, mean_b in means_b.items():
            amap = found.map(layer_a, layer_b, method=params.method, space=params.space)
            known[layer_a, layer_b] = float(margins(amap.map(mean_a), mean_b, scale_of(amap))[1:].mean())
    rows = zip(found.table["layer_a"], found.table["layer_b"], strict=True)
    return pd.Series([known[int(a), int(b)] for a, b in rows], index=found.table.index)


def scale_of(amap: AlignmentMap) -> np.ndarray | None:
    """What B's dimensions are divided by where cosines are taken: as the map was fitted."""
    return amap.frame_b.scale if amap.space == "standardised" else None


@kept
def chosen(run: Run) -> Chosen:
    """The pair with the largest validation margin, neither embeddings nor final residuals among them."""
    table = layer_table(run).dropna(subset=["validation_margin"])
    inner = table[
        table["layer_a"].between(1, table["layer_a"].max() - 1)
        & table["layer_b"].between(1, table["layer_b"].max() - 1)
    ]
    best = (inner if len(inner) else table).sort_values("validation_margin", ascending=False, kind="stable").iloc[0]
    return Chosen(int(best["layer_a"]), int(best["layer_b"]), float(best["validation_margin"]))


# the chosen map


@kept
def chosen_anchors(run: Run) -> tuple[Activations, Activations]:
    """The anchors at the chosen layers."""
    return at_layers(run, chosen(run).layer_a, chosen(run).layer_b)


@kept
def chosen_map(run: Run) -> AlignmentMap:
    """The map that verdicts are about: the run's method and space at the chosen layers, in the full rank; stored."""
    at, params = chosen(run), run.params
    given = {"layer_a": at.layer_a, "layer_b": at.layer_b, "method": params.method, "space": params.space}
    amap = fit_alignment(*chosen_anchors(run), **given)

    def compute() -> bytes:
        tensors = {"matrix": amap.matrix, "mean_a": amap.frame_a.mean, "mean_b": amap.frame_b.mean}
        tensors |= {"scale_a": amap.frame_a.scale, "scale_b": amap.frame_b.scale}
        about = {"model_a": amap.model_a, "revision_a": amap.revision_a, "model_b": amap.model_b}
        about |= {"revision_b": amap.revision_b, **{key: str(value) for key, value in given.items()}}
        floats = {name: np.ascontiguousarray(values, dtype=np.float32) for name, values in tensors.items()}
        return tensor_files.tensor_bytes(floats, about)

    run.artifacts.obtain(
        run.paths.alignment_map(), {**inputs(run), "chosen": [at.layer_a, at.layer_b]}, compute, model=False
    )
    return amap


def anchor_counts(run: Run) -> pd.DataFrame:
    """Anchors by source of their texts and split: source, split, texts, words (different ones), anchors."""
    found = anchors(run)
    groups = found.groupby(["source", "split"], sort=False)
    table = groups.agg(texts=("text", "nunique"), words=("word", "nunique"), anchors=("word", "size"))
    return table.reset_index()


def curve(run: Run) -> pd.DataFrame:
    """R² of A's layers with B's of the same relative depth, beside maps of anchors that were paired at random.

    Returns:
        space, layer_a, layer_b, r2_in_sample, r2_held_out, permuted_in_sample, permuted_held_out, all of ridges.
    """
    params = run.params

    def compute() -> pd.DataFrame:
        table = layer_table(run)
        last_a, last_b = int(table["layer_a"].max()), int(table["layer_b"].max())
        pairs = {layer: round(layer * last_b / last_a) for layer in range(last_a + 1)}
        ridges = table[(table["method"] == "ridge") & (table["layer_b"] == table["layer_a"].map(pairs))]
        shuffled = _permuted(run, pairs)
        columns = ["space", "layer_a", "layer_b", "r2_in_sample", "r2_held_out"]
        return ridges[columns].merge(shuffled, on=["space", "layer_a", "layer_b"], validate="one_to_one")

    matched = {**inputs(run), "rank": params.rank}
    return run.artifacts.table(run.paths.alignment("curve"), matched, compute, model=False)


def _permuted(run: Run, pairs: dict[int, int]) -> pd.DataFrame:
    rows = []
    for layer_a, layer_b in pairs.items():
        acts_a, acts_b = at_layers(run, layer_a, layer_b)
        for space in SPACES:
            amap = fit_alignment(
                acts_a,
                permuted(acts_b, run.params.seed),
                layer_a=layer_a,
                layer_b=layer_b,
                space=space,
                rank=run.params.rank,
            )
            row = {"space": space, "layer_a": layer_a, "layer_b": layer_b}
            rows.append({**row, "permuted_in_sample": amap.r2_in_sample, "permuted_held_out": amap.r2_held_out})
    return pd.DataFrame(rows)


def permuted(acts: Activations, seed: int) -> Activations:
    """The same anchors with their rows in another order within each split: nothing belongs together any more."""
    values, rng = acts.values["resid_pre"].copy(), np.random.default_rng(seed)
    splits = acts.texts["split"].to_numpy()
    for name in dict.fromkeys(splits):
        rows = np.flatnonzero(splits == name)
        values[:, rows] = values[:, rng.permutation(rows)]
    return Activations(
        {"resid_pre": values},
        acts.texts,
        acts.token_norms,
        acts.offsets,
        acts.position,
        acts.model,
        acts.revision,
        acts.layers,
        acts.bulk_norms,
    )
