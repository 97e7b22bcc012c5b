"""The chosen map judged on labels that it never saw: margins on disjoint scenarios, their nulls and the verdicts."""

from __future__ import annotations

import numpy as np
import pandas as pd

from emolib.directions.alignment import AlignmentMap, fit_alignment
from emolib.directions.disjoint_margins import (
    disjoint_margins,
    half_means,
    scenario_halves,
    upper_limit,
)
from emolib.directions.map_judgement import match_cosines, matched_minus_mismatched, native_ranks
from emolib.directions.map_nulls import permuted_images, random_images
from emolib.steering.alignment_verdicts import alignment_verdicts
from emolib.steering.stand_ins import LIKE_VALENT
from emolib.study.phase4_alignment.layers import chosen, chosen_anchors, chosen_map, scale_of
from emolib.study.phase4_alignment.random_models import random_margins
from emolib.study.phase4_alignment.sides import Labels, at_layers, inputs, labels, pair, style_choices, topics
from emolib.study.run import Run, kept

PERMUTED, RANDOM, UNTRAINED, EMBEDDINGS = "permuted", "random", "untrained", "embeddings"
NULLS = (PERMUTED, RANDOM, UNTRAINED, EMBEDDINGS)
EMBEDDING_LAYER = 0


@kept
def chosen_labels(run: Run) -> tuple[Labels, Labels]:
    """All labels at the chosen layers of A and of B."""
    a, b = pair(run)
    return labels(a, chosen(run).layer_a), labels(b, chosen(run).layer_b)


def margin_table(run: Run) -> pd.DataFrame:
    """Matched minus mismatched of every label, A's mapped and B's native from disjoint scenarios; all styles and each.

    Returns:
        style, label, margin with low and high, matched, mismatched, rank (of the native vector among all labels and
        topics, mean over halves), n_candidates, nearest_other (the candidate that is nearest besides, most often),
        ceiling (what two models that are the same would reach: √(ceiling_a · ceiling_b), the same margin within either
        model), ceiling_low (the lower end of the worse one's interval), n_scenarios.
    """
    matched = {**inputs(run), "layers": _layers(run), "n_splits": run.params.n_splits}
    return run.artifacts.table(run.paths.alignment("margins"), matched, lambda: _margin_table(run), model=False)


def _layers(run: Run) -> list[int]:
    return [chosen(run).layer_a, chosen(run).layer_b]


def _margin_table(run: Run) -> pd.DataFrame:
    (of_a, of_b), amap, rows = chosen_labels(run), chosen_map(run), list[pd.DataFrame]()
    scale_a = amap.frame_a.scale if amap.space == "standardised" else None
    others = topics(pair(run).b, amap.layer_b)
    for style, kept_ones in style_choices(of_b).items():
        cube_a, cube_b = of_a.cube[kept_ones], of_b.cube[kept_ones]
        halves = scenario_halves(len(cube_a), n_splits=run.params.n_splits, seed=run.params.seed)
        found = disjoint_margins(amap.map(cube_a), cube_b, halves, scale=scale_of(amap))
        own_a = disjoint_margins(cube_a, cube_a, halves, scale=scale_a)
        own_b = disjoint_margins(cube_b, cube_b, halves, scale=scale_of(amap))
        product = np.where((own_a[:, 0] > 0) & (own_b[:, 0] > 0), own_a[:, 0] * own_b[:, 0], 0.0)
        table = pd.DataFrame({"style": style, "label": of_b.names, "margin": found[:, 0]})
        table = table.assign(
            low=found[:, 1], high=found[:, 2], **_retrieved(amap, cube_a, cube_b, halves, of_b.names, others)
        )
        table = table.assign(ceiling_a=own_a[:, 0], ceiling_b=own_b[:, 0], ceiling=np.sqrt(product))
        rows.append(table.assign(ceiling_low=np.minimum(own_a[:, 1], own_b[:, 1]), n_scenarios=len(cube_a)))
    return pd.concat(rows, ignore_index=True)


def _retrieved(
    amap: AlignmentMap,
    cube_a: np.ndarray,
    cube_b: np.ndarray,
    halves: np.ndarray,
    names: tuple[str, ...],
    others: dict[str, np.ndarray],
) -> dict[str, object]:
    """Cosines and ranks among all labels and topics, over the halves."""
    mapped, native = half_means(amap.map(cube_a), halves), half_means(cube_b, ~halves)
    candidates = np.array([*names, *(f"topic {name}" for name in others)])
    ranks, nearest, cosines = [], [], []
    for mine, theirs in zip(mapped, native, strict=True):
        beside = np.stack(list(others.values())) + theirs.mean(axis=0) if others else None
        found = match_cosines(mine, theirs, others=beside, scale=scale_of(amap))
        ranks.append(native_ranks(found))
        cosines.append(found[:, : len(names)])
        found = found.copy()
        np.fill_diagonal(found, -np.inf)
        nearest.append(candidates[found.argmax(axis=1)])
    mean = np.mean(cosines, axis=0)
    own = np.diag(mean)
    often = [pd.Series(column).mode().iloc[0] for column in np.transpose(nearest)]
    return {
        "matched": own,
        "mismatched": (mean.sum(axis=1) - own) / (len(names) - 1),
        "rank": np.mean(ranks, axis=0),
        "n_candidates": len(candidates),
        "nearest_other": often,
    }


# nulls


def null_table(run: Run) -> pd.DataFrame:
    """The same margins under maps that know nothing, or words alone.

    Returns:
        style, label, null (`permuted`: anchors paired at random; `random`: the map after random turns of A's axes;
        `untrained`: maps into randomly initialised copies of B; `embeddings`: the map between both models' trained
        embeddings, of the labels' mean embeddings), null_mean, null_95 (of the embeddings, which are one map, the
        one-sided upper limit over scenarios), p (NaN of these), n_maps.
    """
    params = run.params
    matched = {**inputs(run), "layers": _layers(run), "n_splits": params.n_splits, "n_maps": params.n_maps}
    matched |= {"n_random_models": params.n_random_models}
    return run.artifacts.table(run.paths.alignment("nulls"), matched, lambda: _null_table(run), model=False)


def _null_table(run: Run) -> pd.DataFrame:
    of_b = chosen_labels(run)[1]
    observed = margin_table(run).set_index(["style", "label"])["margin"]
    untrained, embedded = random_margins(run), embedding_margins(run)
    rows = []
    for style in style_choices(of_b):
        nulls = {
            name: matched_minus_mismatched(null_cosines(run, name, style)).mean(axis=1) for name in (PERMUTED, RANDOM)
        }
        of_style = untrained[untrained["style"] == style].pivot(index="seed", columns="label", values="margin")
        nulls[UNTRAINED] = of_style[list(of_b.names)].to_numpy()
        for name, values in nulls.items():
            reached = (values >= observed[style][list(of_b.names)].to_numpy()).sum(axis=0)
            table = pd.DataFrame({"style": style, "label": of_b.names, "null": name, "null_mean": values.mean(axis=0)})
            table = table.assign(null_95=np.quantile(values, 0.95, axis=0), p=(1 + reached) / (1 + len(values)))
            rows.append(table.assign(n_maps=len(values)))
        at = embedded[embedded["style"] == style]
        columns = {"null_mean": at["margin"].to_numpy(), "null_95": at["upper"].to_numpy()}
        table = pd.DataFrame({"style": style, "label": at["label"].to_numpy(), "null": EMBEDDINGS, **columns})
        rows.append(table.assign(p=float("nan"), n_maps=1))
    return pd.concat(rows, ignore_index=True)


@kept
def null_cosines(run: Run, null: str, style: str) -> np.ndarray:
    """`[map, half, label, label]`: cosines of B's labels with A's under each map of a null.

    Args:
        null: `permuted` or `random`.
    """
    (of_a, of_b), amap, params = chosen_labels(run), chosen_map(run), run.params
    chosen_ones = style_choices(of_b)[style]
    cube_a, cube_b = of_a.cube[chosen_ones], of_b.cube[chosen_ones]
    halves = scenario_halves(len(cube_a), n_splits=params.n_splits, seed=params.seed)
    means_a, means_b = half_means(cube_a, halves), half_means(cube_b, ~halves)
    vectors, given = means_a.reshape(-1, means_a.shape[-1]), {"n_maps": params.n_maps, "seed": params.seed}
    if null == PERMUTED:
        images = permuted_images(*chosen_anchors(run), amap, vectors, **given)
    else:
        images = random_images(amap, vectors, **given)
    shape = (*means_a.shape[:2], -1)
    return np.stack([match_cosines(of_map.reshape(shape), means_b, scale=scale_of(amap)) for of_map in images])


@kept
def embedding_margins(run: Run) -> pd.DataFrame:
    """Style, label, margin and upper (its one-sided limit) of the map between the trained embeddings.

    What both models' words alone tell of the labels: the mean embeddings of the same texts, A's mapped by a map that
    was fitted on the embeddings at the anchors.
    """
    a, b = pair(run)
    of_a, of_b = (labels(side, EMBEDDING_LAYER) for side in (a, b))
    params = run.params
    given = {"layer_a": EMBEDDING_LAYER, "layer_b": EMBEDDING_LAYER, "method": params.method, "space": params.space}
    amap = fit_alignment(*at_layers(run, EMBEDDING_LAYER, EMBEDDING_LAYER), **given)
    rows = []
    for style, kept_ones in style_choices(of_b).items():
        cube_a, cube_b = of_a.cube[kept_ones], of_b.cube[kept_ones]
        halves = scenario_halves(len(cube_a), n_splits=params.n_splits, seed=params.seed)
        found = disjoint_margins(amap.map(cube_a), cube_b, halves, scale=scale_of(amap))
        table = pd.DataFrame({"style": style, "label": of_b.names, "margin": found[:, 0]})
        rows.append(table.assign(upper=upper_limit(found, len(cube_a)), r2_held_out=amap.r2_held_out))
    return pd.concat(rows, ignore_index=True)


# verdicts


@kept
def verdicts(run: Run) -> pd.DataFrame:
    """The verdict per style and label; see `emolib.steering.alignment_verdicts.alignment_verdicts`."""
    columns = ["style", "label", "margin", "low", "high", "ceiling", "ceiling_low", "n_scenarios"]
    margins_of, nulls = margin_table(run), null_table(run)

    def compute() -> pd.DataFrame:
        return alignment_verdicts(margins_of[columns], nulls)

    matched = {**inputs(run), "layers": _layers(run), "n_splits": run.params.n_splits, "n_maps": run.params.n_maps}
    matched |= {"n_random_models": run.params.n_random_models}
    return run.artifacts.table(run.paths.alignment("verdicts"), matched, compute, model=False)


def rivals(run: Run) -> pd.DataFrame:
    """Matched minus mismatched with single labels of like valence (`emolib.steering.stand_ins.LIKE_VALENT`).

    Returns:
        style, label, rival, margin, low, high, permuted_95; empty where the data set has no such labels.
    """
    matched = {**inputs(run), "layers": _layers(run), "n_splits": run.params.n_splits, "n_maps": run.params.n_maps}
    return run.artifacts.table(run.paths.alignment("rivals"), matched, lambda: _rivals(run), model=False)


def _rivals(run: Run) -> pd.DataFrame:
    (of_a, of_b), amap, params = chosen_labels(run), chosen_map(run), run.params
    names = list(of_b.names)
    pairs = [(e, o) for e, others in LIKE_VALENT.items() for o in others if e in names and o in names]
    columns = ["style", "label", "rival", "margin", "low", "high", "permuted_95"]
    if not pairs:
        return pd.DataFrame(columns=columns).astype(dict.fromkeys(columns[3:], float))
    own, other = (np.array([names.index(pair_of[i]) for pair_of in pairs]) for i in (0, 1))

    def gaps(cosines: np.ndarray) -> np.ndarray:
        found: np.ndarray = cosines[..., own, own] - cosines[..., own, other]
        return found

    rows = []
    for style, kept_ones in style_choices(of_b).items():
        cube_a, cube_b = of_a.cube[kept_ones], of_b.cube[kept_ones]
        halves = scenario_halves(len(cube_a), n_splits=params.n_splits, seed=params.seed)
        found = disjoint_margins(amap.map(cube_a), cube_b, halves, scale=scale_of(amap), statistic=gaps)
        null = gaps(null_cosines(run, PERMUTED, style)).mean(axis=1)
        table = pd.DataFrame({"style": style, "label": [e for e, _ in pairs], "rival": [o for _, o in pairs]})
        table = table.assign(margin=found[:, 0], low=found[:, 1], high=found[:, 2])
        rows.append(table.assign(permuted_95=np.quantile(null, 0.95, axis=0)))
    return pd.concat(rows, ignore_index=True)[columns]
