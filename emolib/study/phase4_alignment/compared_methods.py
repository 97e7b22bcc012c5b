"""What else is compared at the chosen layers: other methods, raw coordinates, subspaces, and tables without a map."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd

from emolib.data.valence import human_valence
from emolib.data.word_counts import word_cube
from emolib.directions.agreement import disjoint_agreement
from emolib.directions.alignment import fit_alignment
from emolib.directions.anchor_moments import SPACES
from emolib.directions.disjoint_margins import half_means, margins, scenario_halves
from emolib.directions.dissimilarities import dissimilarities, one_dimensional_tables
from emolib.directions.map_fits import METHODS
from emolib.directions.map_judgement import mapped_overlaps
from emolib.directions.map_nulls import permuted_images, random_images
from emolib.directions.subspaces import leading_directions, overlap
from emolib.directions.vectors import cosine
from emolib.study.phase3_vectors import fitting
from emolib.study.phase4_alignment.judged import EMBEDDING_LAYER, chosen_labels
from emolib.study.phase4_alignment.layers import chosen, chosen_anchors, chosen_map, scale_of
from emolib.study.phase4_alignment.sides import Labels, inputs, label_texts, labels, labels_of, one_layer, pair
from emolib.study.run import Run

NOT_LABELS = 1  # the neutral label comes first


def method_table(run: Run) -> pd.DataFrame:
    """Every method in either space at the chosen layers, in the full rank.

    Returns:
        space, method, rank, penalty, n_canonical, r2_in_sample, r2_held_out, cka, kept (the least share of a label's
        squared length that the map reads), margin (mean over all labels but the neutral one, disjoint scenarios),
        cosine (of mapped with native vectors, emotion − neutral, same texts, nothing taken off: a number that says
        little), cosine_others (the same with other labels' native vectors).
    """
    at, params = chosen(run), run.params
    matched = {**inputs(run), "layers": [at.layer_a, at.layer_b], "n_splits": params.n_splits}
    return run.artifacts.table(run.paths.alignment("methods"), matched, lambda: _method_table(run), model=False)


def _method_table(run: Run) -> pd.DataFrame:
    (of_a, of_b), at, rows = chosen_labels(run), chosen(run), list[dict[str, object]]()
    halves = scenario_halves(len(of_a.cube), n_splits=run.params.n_splits, seed=run.params.seed)
    means_a, means_b = half_means(of_a.cube, halves), half_means(of_b.cube, ~halves)
    vectors_a, vectors_b = (_vectors(found) for found in (of_a, of_b))
    for space, method in product(SPACES, METHODS):
        amap = fit_alignment(*chosen_anchors(run), layer_a=at.layer_a, layer_b=at.layer_b, method=method, space=space)
        found = margins(amap.map(means_a), means_b, scale_of(amap))[NOT_LABELS:].mean()
        divided = amap.frame_b.scale if space == "standardised" else 1.0
        cosines = cosine(amap.map(vectors_a)[:, None] / divided, vectors_b[None] / divided)
        own = np.diag(cosines)
        apart = (cosines.sum(axis=1) - own) / max(len(own) - 1, 1)
        row = {
            "space": space,
            "method": method,
            "rank": amap.rank,
            "penalty": amap.penalty,
            "n_canonical": amap.n_canonical,
        }
        row |= {"r2_in_sample": amap.r2_in_sample, "r2_held_out": amap.r2_held_out, "cka": amap.cka}
        row |= {"kept": min(amap.kept(vector) for vector in vectors_a), "margin": float(found)}
        rows.append({**row, "cosine": float(own.mean()), "cosine_others": float(apart.mean())})
    return pd.DataFrame(rows).astype({"penalty": float, "n_canonical": float})


def _vectors(found: Labels) -> np.ndarray:
    """Label − neutral, of all scenarios."""
    means: np.ndarray = found.cube.mean(axis=0)
    return means[NOT_LABELS:] - means[0]


def raw_table(run: Run) -> pd.DataFrame:
    """Raw cosines of A's and B's vectors at the chosen layers, where both models are equally wide or A is filled up.

    Returns:
        label, raw (of A's vector, filled up with zeros to the larger width, with B's), mapped (after the map, in the
        space of the map), chance (95 % of cosines of random directions are smaller).
    """
    (of_a, of_b), amap = chosen_labels(run), chosen_map(run)
    vectors_a, vectors_b = (_vectors(found) for found in (of_a, of_b))
    width = max(vectors_a.shape[1], vectors_b.shape[1])
    filled = [np.pad(v, ((0, 0), (0, width - v.shape[1]))) for v in (vectors_a, vectors_b)]
    divided = amap.frame_b.scale if amap.space == "standardised" else 1.0
    found = {"label": of_b.names[NOT_LABELS:], "raw": cosine(*filled)}
    found |= {"mapped": cosine(amap.map(vectors_a) / divided, vectors_b / divided)}
    return pd.DataFrame(found).assign(chance=1.96 / np.sqrt(width))


# subspaces


def overlap_table(run: Run) -> pd.DataFrame:
    """Overlap of A's mapped with B's subspace, each from one half of the training scenarios, for the first 1…k.

    Returns:
        emotion, k, before (NaN where the widths differ), after, permuted_mean, permuted_95, random_95, ceiling (the
        overlap of B's two halves).
    """
    at, params = chosen(run), run.params
    matched = {**inputs(run), "layers": [at.layer_a, at.layer_b], "k_max": params.k_max, "n_maps": params.n_maps}
    return run.artifacts.table(run.paths.alignment("overlaps"), matched, lambda: _overlap_table(run), model=False)


def _overlap_table(run: Run) -> pd.DataFrame:
    a, b = pair(run)
    amap, params = chosen_map(run), run.params
    of_a, of_b = (
        labels_of(one_layer(fitting.training(side, "mean"), layer), params.neutral)
        for side, layer in ((a, amap.layer_a), (b, amap.layer_b))
    )
    half = np.arange(len(of_a.cube)) % 2 == 0
    k = min(params.k_max, int(half.sum()), int((~half).sum()))
    rows = []
    for place, emotion in enumerate(of_a.names[NOT_LABELS:], start=NOT_LABELS):
        basis_a, basis_b, again = (
            leading_directions((cube[:, place] - cube[:, 0])[None], k)[0][0].astype(np.float64)
            for cube in (of_a.cube[half], of_b.cube[~half], of_b.cube[half])
        )
        table = mapped_overlaps(amap, basis_a, basis_b)[["k", "before", "after"]]
        null = {"n_maps": params.n_maps, "seed": params.seed}
        images = {
            "permuted": permuted_images(*chosen_anchors(run), amap, basis_a.T, **null),
            "random": random_images(amap, basis_a.T, **null),
        }
        found = {name: _overlaps(of_maps, basis_b) for name, of_maps in images.items()}
        table = table.assign(emotion=emotion, permuted_mean=found["permuted"].mean(axis=0))
        table = table.assign(**{f"{name}_95": np.quantile(of, 0.95, axis=0) for name, of in found.items()})
        rows.append(table.assign(ceiling=overlap(again, basis_b)))
    columns = ["emotion", "k", "before", "after", "permuted_mean", "permuted_95", "random_95", "ceiling"]
    return pd.concat(rows, ignore_index=True)[columns]


def _overlaps(images: np.ndarray, basis_b: np.ndarray) -> np.ndarray:
    """`[map, k]` of images `[map, k, d_b]` of a basis."""
    return np.stack([overlap(np.linalg.qr(of_map.T)[0], basis_b) for of_map in images])


# without a map


def agreement_table(run: Run) -> pd.DataFrame:
    """How far both models find the same labels alike, on disjoint scenarios, without any map.

    Returns:
        compared (`layers`: the chosen ones; `embeddings`: both models' trained embeddings), given (what was taken out
        first: `nothing`, `valence`, `words`, `embeddings`, or `all` of them), correlation, p (label orders permuted),
        ceiling (what two models that are the same could reach), same_texts (the correlation with the texts' noise in
        common), n_labels, n_scenarios. Labels whose word nobody rated are left out.
    """
    at, params = chosen(run), run.params
    matched = {**inputs(run), "layers": [at.layer_a, at.layer_b], "n_splits": params.n_splits}
    return run.artifacts.table(run.paths.alignment("agreement"), matched, lambda: _agreement_table(run), model=False)


def _agreement_table(run: Run) -> pd.DataFrame:
    (of_a, of_b), (a, b) = chosen_labels(run), pair(run)
    rated = human_valence(of_a.names)
    known = np.array([name in rated for name in of_a.names])
    columns = ["compared", "given", "correlation", "p", "ceiling", "same_texts", "n_labels", "n_scenarios"]
    if known.sum() < 4 or len(of_a.cube) < 4:
        return pd.DataFrame(columns=columns)
    names = [name for name in of_a.names if name in rated]
    embedded = [labels(side, EMBEDDING_LAYER).cube[:, known] for side in (a, b)]
    words = word_cube(_texts(a, of_a, names))
    tables = {
        "valence": one_dimensional_tables(np.array([rated[name].mean for name in names])),
        "words": [dissimilarities(words.mean(axis=0))],
        "embeddings": [dissimilarities(cube.mean(axis=0)) for cube in embedded],
    }
    given = {"nothing": [], **tables, "all": [table for some in tables.values() for table in some]}
    cubes = {"layers": (of_a.cube[:, known], of_b.cube[:, known]), "embeddings": tuple(embedded)}
    rows = []
    for compared, (cube_a, cube_b) in cubes.items():
        for name, some in given.items():
            if compared == "embeddings" and name in ("embeddings", "all"):
                continue
            found = disjoint_agreement(cube_a, cube_b, given=some, n_halves=run.params.n_splits, seed=run.params.seed)
            of = found.partial if some else found.plain
            row = {
                "compared": compared,
                "given": name,
                "correlation": of.correlation,
                "p": of.p,
                "ceiling": found.ceiling,
            }
            rows.append({**row, "same_texts": found.same_texts, "n_labels": len(names), "n_scenarios": len(cube_a)})
    return pd.DataFrame(rows, columns=columns)


def _texts(side: Run, found: Labels, names: list[str]) -> list[list[str]]:
    """`[scenario][label]`, in the order of the cube."""
    table = label_texts(side).set_index(["scenario", "emotion"])["text"]
    return [[str(table[scenario, name]) for name in names] for scenario in found.scenarios]
