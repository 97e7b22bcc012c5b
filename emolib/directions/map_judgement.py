"""How far mapped vectors lie nearer to their own label's native vector than to other labels'.

A bare cosine of a mapped and a native vector says nothing: emotions share much of their vectors (all are unlike neutral
texts), so that another emotion's mapped vector reaches nearly the same. The labels' common part (the mean over labels)
is taken off on either side first, and what counts is matched minus mismatched, held against the same numbers of maps
that know nothing (`emolib.directions.map_nulls`). Everything here is a number; whether it is enough is decided above.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy import stats

from emolib.base import arguments
from emolib.base.errors import UserError, shown
from emolib.directions.alignment import AlignmentMap
from emolib.directions.subspaces import overlap


def match_cosines(
    mapped: Float[np.ndarray, "*map label d_b"],
    native: Float[np.ndarray, "*map label d_b"],
    *,
    others: Float[np.ndarray, "other d_b"] | None = None,
    scale: Float[np.ndarray, " d_b"] | None = None,
) -> Float[np.ndarray, "*map label candidate"]:
    """Cosines of every mapped vector with every native one, each set's mean over labels taken off.

    Args:
        mapped: one vector per label, of one map or of many (`permuted_images`).
        native: in the same order of labels; once, or for each of the mapped sets.
        others: native vectors of further candidates (topics, for example), the native labels' mean taken off too; they
            follow the labels.
        scale: what every dimension is divided by first (`amap.frame_b.scale`: the standardised view); None for raw.

    Raises:
        UserError: shapes that do not fit, fewer than 2 labels, or a vector that is not finite.

    >>> native = np.array([[1.0, 0, 9], [0, 1, 9], [-1, -1, 9]])
    >>> match_cosines(2 * native, native).round(2).tolist()[0]
    [1.0, 0.0, -0.71]
    """
    mapped, native = arguments.float_array("mapped", mapped), arguments.float_array("native", native)
    labels = native.shape[-2:]
    alone = native.ndim == 2 or native.shape == mapped.shape
    if not alone or len(labels) < 2 or labels[0] < 2 or mapped.shape[-2:] != labels:
        raise UserError(
            f"expected mapped and native vectors [label, d] of the same 2 or more labels, got shapes {mapped.shape} "
            f"and {native.shape}"
        )
    extra = np.zeros((0, labels[1])) if others is None else arguments.float_array("others", others)
    if extra.ndim != 2 or extra.shape[1] != labels[1]:
        raise UserError(f"expected others as vectors [other, {labels[1]}], got shape {extra.shape}")
    width = np.ones(labels[1]) if scale is None else arguments.float_array("scale", scale)
    if width.shape != labels[1:] or not (width > 0).all():
        raise UserError(f"expected a positive scale for each of {labels[1]} dimensions, got shape {width.shape}")
    if not all(np.isfinite(values).all() for values in (mapped, native, extra)):
        raise UserError("expected vectors of finite numbers, got some that are not; look at how they were fitted")
    repeated = np.broadcast_to(extra, (*native.shape[:-2], *extra.shape))
    candidates = np.concatenate([native, repeated], axis=-2) - native.mean(axis=-2, keepdims=True)
    unit = _unit(candidates / width)
    found: np.ndarray = _unit((mapped - mapped.mean(axis=-2, keepdims=True)) / width) @ np.swapaxes(unit, -1, -2)
    return found


def matched_minus_mismatched(cosines: Float[np.ndarray, "*map label candidate"]) -> Float[np.ndarray, "*map label"]:
    """The cosine with the label's own native vector less the mean of those with the other labels'.

    >>> matched_minus_mismatched(np.array([[0.9, 0.1], [0.5, 0.7]])).round(2).tolist()
    [0.8, 0.2]
    """
    n = cosines.shape[-2]
    own = np.diagonal(cosines, axis1=-2, axis2=-1)
    found: np.ndarray = own - (cosines[..., :n].sum(axis=-1) - own) / (n - 1)
    return found


def native_ranks(cosines: Float[np.ndarray, "*map label candidate"]) -> Float[np.ndarray, "*map label"]:
    """The place of the own native vector among all candidates by cosine: 1 is the nearest; of equals the last place.

    >>> native_ranks(np.array([[0.9, 0.1, 0.2], [0.5, 0.4, 0.3]])).tolist()
    [1, 2]
    """
    own = np.diagonal(cosines, axis1=-2, axis2=-1)
    found: np.ndarray = (cosines >= own[..., None]).sum(axis=-1)
    return found


def retrieval_table(
    cosines: Float[np.ndarray, "label candidate"], labels: Sequence[str], others: Sequence[str] = ()
) -> pd.DataFrame:
    """One row per label.

    Returns:
        label, matched, mismatched (mean over the other labels), margin (matched − mismatched), rank (of the native
        vector), n_candidates, nearest_other (of all candidates) and its cosine nearest_cosine.
    """
    labels, names = list(labels), [*labels, *others]
    cosines = np.asarray(cosines)
    if cosines.shape != (len(labels), len(names)):
        raise UserError(f"expected cosines [{len(labels)}, {len(names)}] for these names, got shape {cosines.shape}")
    margins, ranks = matched_minus_mismatched(cosines), native_ranks(cosines)
    rows = []
    for i, label in enumerate(labels):
        beside = np.where(np.arange(len(names)) == i, -np.inf, cosines[i])
        nearest = int(np.argmax(beside))
        matched = float(cosines[i, i])
        row = {"label": label, "matched": matched, "mismatched": matched - float(margins[i]), "margin": margins[i]}
        found = {"nearest_other": names[nearest], "nearest_cosine": float(cosines[i, nearest])}
        rows.append({**row, "rank": int(ranks[i]), "n_candidates": len(names), **found})
    return pd.DataFrame(rows)


def rival_margins(
    cosines: Float[np.ndarray, "*map label candidate"], labels: Sequence[str], rivals: Mapping[str, Sequence[str]]
) -> dict[tuple[str, str], Float[np.ndarray, "*map"]]:
    """Matched minus mismatched for single rivals: (label, rival) → cosine with the own less that with the rival's
    native vector.

    Args:
        rivals: label → its like-valent labels.

    Raises:
        UserError: a label that is none of the labels.
    """
    labels = list(labels)
    arguments.check_names("label", [*rivals, *(other for of in rivals.values() for other in of)], labels)
    places = {name: i for i, name in enumerate(labels)}
    return {
        (label, other): cosines[..., places[label], places[label]] - cosines[..., places[label], places[other]]
        for label, of in rivals.items()
        for other in of
    }


def margin_intervals(
    amap: AlignmentMap,
    differences_a: Float[np.ndarray, "scenario label d_a"],
    differences_b: Float[np.ndarray, "scenario label d_b"],
    *,
    scale: Float[np.ndarray, " d_b"] | None = None,
    confidence: float = 0.95,
) -> Float[np.ndarray, "label 3"]:
    """Matched minus mismatched of every label's mean difference, with its interval over scenarios.

    A jackknife over whole scenarios, left out in both models at once, with t quantiles. The map stays as it is: its
    anchors are other texts.

    Args:
        differences_a, differences_b: emotion − neutral of the same scenarios and labels in either model.
        scale: as in `match_cosines`.

    Returns:
        margin, low, high.

    Raises:
        UserError: other scenarios or labels, fewer than 3 scenarios, or what `match_cosines` refuses.
    """
    a, b = (arguments.float_array(name, of) for name, of in (("a", differences_a), ("b", differences_b)))
    confidence = arguments.number("confidence", confidence, above=0, below=1)
    if a.ndim != 3 or b.ndim != 3 or a.shape[:2] != b.shape[:2] or len(a) < 3:
        raise UserError(
            "expected differences [scenario, label, d] of the same 3 or more scenarios and labels twice, got shapes "
            f"{a.shape} and {b.shape}"
        )
    n = len(a)
    whole, left_out = (
        matched_minus_mismatched(match_cosines(amap.map(of_a), of_b, scale=scale))
        for of_a, of_b in ((a.mean(axis=0), b.mean(axis=0)), ((a.sum(0) - a) / (n - 1), (b.sum(0) - b) / (n - 1)))
    )
    spread = np.sqrt((n - 1) / n * ((left_out - left_out.mean(axis=0)) ** 2).sum(axis=0))
    reach = stats.t.ppf((1 + confidence) / 2, n - 1) * spread
    return np.column_stack([whole, whole - reach, whole + reach])


def null_table(
    observed: Float[np.ndarray, " label"],
    nulls: Mapping[str, Float[np.ndarray, "map label"]],
    labels: Sequence[str],
) -> pd.DataFrame:
    """Numbers of a map beside the same numbers of maps that know nothing.

    Args:
        observed: for example `matched_minus_mismatched` of the map.
        nulls: family → the same of its maps.

    Returns:
        label, null (the family), observed, null_mean, null_95 (95th percentile), p = (1 + #{null ≥ observed}) / (1 + N)
        and n_maps (N); one row per label and family.

    Raises:
        UserError: shapes that do not fit, or a family without maps.

    >>> null_table(np.array([0.5]), {"permuted": np.array([[0.1], [0.2], [0.6]])}, ["joy"])["p"].tolist()
    [0.5]
    """
    observed, rows = arguments.float_array("observed", observed), []
    for family, values in nulls.items():
        null = arguments.float_array(f"the null {family}", values)
        if null.ndim != 2 or not len(null) or null.shape[1:] != observed.shape or len(labels) != len(observed):
            raise UserError(
                f"expected {len(labels)} observed numbers and maps [map, {len(labels)}] of {shown(family)}, got shapes "
                f"{observed.shape} and {null.shape}"
            )
        p = (1 + (null >= observed).sum(axis=0)) / (1 + len(null))
        columns = {"observed": observed, "null_mean": null.mean(axis=0), "null_95": np.quantile(null, 0.95, axis=0)}
        rows.append(pd.DataFrame({"label": list(labels), "null": family, **columns, "p": p, "n_maps": len(null)}))
    if not rows:
        raise UserError("expected at least one null, got none; give permuted_images or random_images")
    return pd.concat(rows, ignore_index=True)


def mapped_overlaps(
    amap: AlignmentMap, basis_a: Float[np.ndarray, "d_a k"], basis_b: Float[np.ndarray, "d_b k"]
) -> pd.DataFrame:
    """Overlap of A's subspace with B's for the leading 1…k directions, before and after the map.

    Args:
        basis_a, basis_b: orthonormal columns by falling weight (`Subspaces`).

    Returns:
        k, before (NaN where the models' widths differ: no overlap exists), after, and after_standardised (every
        dimension of B divided by its sd over the anchors first; that of the raw view where the map is raw).

    Raises:
        UserError: bases of other widths than the map's, or unlike numbers of directions.
    """
    a, b = arguments.float_array("basis_a", basis_a), arguments.float_array("basis_b", basis_b)
    widths = (len(amap.frame_a.mean), len(amap.frame_b.mean))
    if a.ndim != 2 or b.ndim != 2 or (len(a), len(b)) != widths or a.shape[1] != b.shape[1]:
        raise UserError(
            f"expected bases [{widths[0]}, k] and [{widths[1]}, k] with one k, got shapes {a.shape} and {b.shape}"
        )
    image = amap.map(a.T).T
    views = {"after": (image, b), "after_standardised": tuple(x / amap.frame_b.scale[:, None] for x in (image, b))}
    found = {name: overlap(np.linalg.qr(x)[0], np.linalg.qr(y)[0]) for name, (x, y) in views.items()}
    before = overlap(a, b) if widths[0] == widths[1] else np.full(a.shape[1], np.nan)
    return pd.DataFrame({"k": np.arange(1, a.shape[1] + 1), "before": before, **found})


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Of norm 1; a vector of zeros stays, and has cosine 0 with everything."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    found: np.ndarray = vectors / np.where(lengths > 0, lengths, 1.0)
    return found
