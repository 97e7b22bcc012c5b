"""What maps that know nothing of the pairing make of the same vectors.

A mapped vector lies where B's activations vary, whatever the map: its cosine with a native vector is not 0 by chance.
Two nulls say what it is by chance. *Permuted anchors*: the same method with the rank and penalty of the map itself,
fitted on anchors whose pairing was permuted. *Random turns*: the map itself after a random rotation of A's axes, so
that its strengths and the directions that it writes are kept and what it reads is random.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from emolib.base import arguments
from emolib.base.errors import UserError
from emolib.data.activations import Activations
from emolib.directions.alignment import AlignmentMap
from emolib.directions.anchor_blocks import checked_blocks, chosen_layers

Images = Float[np.ndarray, "map label d_b"]


def permuted_images(
    acts_a: Activations,
    acts_b: Activations,
    amap: AlignmentMap,
    vectors: Float[np.ndarray, "label d_a"],
    *,
    n_maps: int = 200,
    seed: int = 0,
) -> Images:
    """The vectors under maps whose fitting anchors were paired at random.

    Args:
        acts_a, acts_b: the anchors that the map was fitted on; of each one layer is held at a time.
        vectors: in A's activation units.

    Returns:
        In B's activation units. Map i is the same whatever `n_maps`.

    Raises:
        UserError: activations of other models or layers than the map's, vectors of another width.
    """
    vectors = _checked(amap, vectors)
    n_maps, seed = arguments.whole_number("n_maps", n_maps, least=1), arguments.whole_number("seed", seed, least=0)
    _check_origin(amap, acts_a, acts_b)
    train = (acts_a.texts["split"] == "train").to_numpy()
    x = amap.frame_a.of_rows(acts_a.layer("resid_pre", amap.layer_a)[train].astype(np.float64))
    y = amap.frame_b.of_rows(acts_b.layer("resid_pre", amap.layer_b)[train].astype(np.float64))
    read = amap.frame_a.of_vectors(vectors)
    mapped = {"ridge": _ridge, "procrustes": _procrustes, "cca": _cca}[amap.method]
    found = []
    for number in range(n_maps):
        order = np.random.default_rng([seed, number]).permutation(len(x))
        found.append(amap.frame_b.to_vectors(mapped(amap, x, y[order], read)))
    return np.stack(found)


def random_images(
    amap: AlignmentMap, vectors: Float[np.ndarray, "label d_a"], *, n_maps: int = 200, seed: int = 0
) -> Images:
    """The vectors under the map after random rotations of A's axes, drawn uniformly (Haar).

    With weights USVᵀ a vector of coordinates c becomes VSQUᵀc, Q random. All that is needed of Q is where it sends the
    few vectors, which is a random orthonormal frame (Stewart 1980, "The efficient generation of random orthogonal
    matrices"): nothing of the map's size is drawn where the vectors are fewer than its rank.

    Returns:
        In B's activation units. Map i is the same whatever `n_maps`.

    Raises:
        UserError: vectors of another width than the map's.
    """
    vectors = _checked(amap, vectors)
    n_maps, seed = arguments.whole_number("n_maps", n_maps, least=1), arguments.whole_number("seed", seed, least=0)
    u, strengths, v = np.linalg.svd(amap.fit.weights, full_matrices=False)
    # a map that reads few axes is turned among these, or it would read next to nothing of a turned vector
    there = strengths > 1e-10 * strengths[0]
    u, strengths, v = u[:, there], strengths[there], v[there]
    _, inner = np.linalg.qr((amap.frame_a.of_vectors(vectors) @ u).T)  # [min(rank, label), label]
    found = []
    for number in range(n_maps):
        draw = np.random.default_rng([seed, number]).standard_normal((len(strengths), len(inner)))
        frame, upper = np.linalg.qr(draw)
        turned = (frame * np.sign(np.diag(upper))) @ inner
        found.append(amap.frame_b.to_vectors((turned.T * strengths) @ v))
    return np.stack(found)


def _ridge(amap: AlignmentMap, x: np.ndarray, y: np.ndarray, read: np.ndarray) -> np.ndarray:
    assert amap.penalty is not None, "a ridge has one"
    found: np.ndarray = ((read / (amap.frame_a.energies + amap.penalty)) @ x.T) @ y
    return found


def _procrustes(amap: AlignmentMap, x: np.ndarray, y: np.ndarray, read: np.ndarray) -> np.ndarray:
    used = amap.rank
    u, sizes, v = np.linalg.svd(x[:, :used].T @ y[:, :used])
    scale = sizes.sum() / amap.frame_a.energies[:used].sum()
    return np.pad(scale * read[:, :used] @ u @ v, ((0, 0), (0, y.shape[1] - used)))


def _cca(amap: AlignmentMap, x: np.ndarray, y: np.ndarray, read: np.ndarray) -> np.ndarray:
    assert amap.n_canonical is not None, "canonical correlation has pairs"
    r_a, n = amap.rank, amap.n_canonical
    r_b = int((amap.fit.weights != 0).any(axis=0).sum())
    root_a, root_b = np.sqrt(amap.frame_a.energies[:r_a]), np.sqrt(amap.frame_b.energies[:r_b])
    u, correlations, v = np.linalg.svd((x[:, :r_a] / root_a).T @ (y[:, :r_b] / root_b), full_matrices=False)
    inside = (read[:, :r_a] / root_a) @ u[:, :n] * correlations[:n] @ v[:n] * root_b
    return np.pad(inside, ((0, 0), (0, y.shape[1] - r_b)))


def _checked(amap: AlignmentMap, vectors: np.ndarray) -> np.ndarray:
    arguments.instance("amap", amap, AlignmentMap, "fit_alignment")
    values = arguments.float_array("vectors", vectors)
    if values.ndim != 2 or not len(values) or values.shape[1] != len(amap.frame_a.mean):
        raise UserError(
            f"expected vectors [label, {len(amap.frame_a.mean)}] of {amap.model_a}, got shape {values.shape}"
        )
    if not np.isfinite(values).all():
        raise UserError("expected vectors of finite numbers, got some that are not; look at how they were fitted")
    return values


def _check_origin(amap: AlignmentMap, acts_a: Activations, acts_b: Activations) -> None:
    chosen_layers(checked_blocks((acts_a, acts_b)), [amap.layer_a], [amap.layer_b])
    given = (acts_a.model, acts_a.revision, acts_b.model, acts_b.revision)
    own = (amap.model_a, amap.revision_a, amap.model_b, amap.revision_b)
    n_train = int((acts_a.texts["split"] == "train").sum())
    if given != own or n_train != amap.n_anchors["train"]:
        raise UserError(
            f"expected the {amap.n_anchors['train']} fitting anchors of {own}, which the map was fitted on, got "
            f"{n_train} of {given}"
        )
