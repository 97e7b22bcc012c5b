"""Composition between heads: how strongly a later head's circuits read what an earlier head writes.

Scores of Elhage et al. (2021), with rows for vectors: an earlier head writes in the row space of A = W_V W_O, a later
one reads by B, and the score is ‖A B‖ / (‖A‖ ‖B‖) (Frobenius):

- `value`: B = W_V W_O of the later head;
- `key`: B = W_K W_Qᵀ;
- `query`: B = W_Q W_Kᵀ.

Norm gains are folded in; a block's norm behind W_O (Gemma 3) counts by its gain alone, a QK-norm by its gains alone,
and the rotation is that of query and key at one place. **Null**: the same two matrices, of unchanged spectra, in an
unrelated position to each other (a random rotation between them, Haar-distributed). With G = AᵀA and H = BBᵀ the
squared score times tr G tr H is tr(G H), and over rotations O

    E tr(G O H Oᵀ) = tr G tr H / d,
    Var = 2 (tr G² − (tr G)²/d) (tr H² − (tr H)²/d) / ((d − 1)(d + 2)),

by Schur orthogonality (traceless symmetric matrices are an irreducible representation of O(d), of that dimension), so
that nothing has to be drawn.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from emolib.base import arguments
from emolib.base.errors import UserError
from emolib.circuits.ov_qk import HeadWeights, head_weights, known_blueprint
from emolib.interventions import parse_heads
from emolib.models.language_model import LanguageModel

KINDS = ("value", "key", "query")
Head = tuple[int, int]
MOST_FLOATS = 2**27  # of the Gram matrices that are held at once


def composition(
    lm: LanguageModel, heads: str | Sequence[Head] | None = None, *, kinds: Sequence[str] = KINDS
) -> pd.DataFrame:
    """Composition scores of all pairs of heads in which the second lies in a later layer.

    Args:
        heads: pairs (layer, head) or `"3:5,7:2"`; None takes all.
        kinds: of `KINDS`.

    Returns:
        Columns layer, head (that writes), reader_layer, reader_head, kind, score, expected (root of the mean square
        under the null), z (of the squared score). A large z says that the two are aligned, not that the model uses it.

    Raises:
        UserError: a head or kind that there is not, or so many heads that their matrices need more memory than
            `MOST_FLOATS` numbers: name fewer.

    >>> import emolib
    >>> lm = emolib.load_model("smollm2_135m", device="cpu")
    >>> table = composition(lm, "3:5,7:2,7:3")
    >>> table[["layer", "reader_head"]].iloc[0].tolist(), table["kind"].iloc[0], len(table)
    ([3, 2], 'value', 6)
    """
    net = known_blueprint(lm)
    kinds = [arguments.one_of("kind", kind, KINDS) for kind in arguments.listed("kinds", kinds, "kinds")]
    chosen = [(i, j) for i in range(lm.n_layers) for j in range(net.n_heads)] if heads is None else parse_heads(heads)
    by_layer: dict[int, list[int]] = {}
    for layer, head in sorted(set(chosen)):
        if not (0 <= layer < lm.n_layers and 0 <= head < net.n_heads):
            raise UserError(f"expected heads of layers 0-{lm.n_layers - 1}, 0-{net.n_heads - 1}, got {layer}:{head}")
        by_layer.setdefault(layer, []).append(head)
    n_chosen = sum(map(len, by_layer.values()))
    if n_chosen * lm.d_model**2 > MOST_FLOATS:
        raise UserError(
            f"expected at most {MOST_FLOATS // lm.d_model**2} heads at once for a model of d_model {lm.d_model}, got "
            f"{n_chosen}; name the ones of interest (heads='3:5,7:2')"
        )
    written: list[tuple[Head, Tensor]] = []
    parts: list[pd.DataFrame] = []
    with torch.inference_mode():
        for layer, members in sorted(by_layer.items()):
            weights = head_weights(lm, layer)
            if written:
                parts += [_pairs(written, weights, members, kind) for kind in kinds]
            written += [((layer, head), _written_gram(weights, head)) for head in members]
    columns = ["layer", "head", "reader_layer", "reader_head", "kind", "score", "expected", "z"]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def _written_gram(weights: HeadWeights, head: int) -> Float[Tensor, "d_model d_model"]:
    """G = AᵀA of what a head writes."""
    output = weights.output[head]
    if weights.post_norm is not None:
        output = output * weights.post_norm.weight.float()
    value = weights.value[head]
    return output.T @ (value.T @ value) @ output


def _read_gram(weights: HeadWeights, head: int, kind: str) -> Float[Tensor, "d_model d_model"]:
    """H = BBᵀ of what a head reads by."""
    if kind == "value":
        inner, outer = weights.value[head], weights.output[head].T
        if weights.post_norm is not None:
            outer = weights.post_norm.weight.float()[:, None] * outer
    else:
        query, key = weights.qk_factors(head)
        inner, outer = (key, query) if kind == "key" else (query, key)
    return inner @ (outer.T @ outer) @ inner.T


def _pairs(
    written: Sequence[tuple[Head, Tensor]], weights: HeadWeights, members: Sequence[int], kind: str
) -> pd.DataFrame:
    """Every earlier head with every one of a layer."""
    grams = torch.stack([gram.flatten() for _, gram in written])
    read = torch.stack([_read_gram(weights, head, kind).flatten() for head in members])
    both = (grams @ read.T).double().cpu().numpy()  # tr(G H), [earlier, later]
    g, h = _traces(grams), _traces(read)
    score, expected, z = composition_scores(both, g, h, round(grams.shape[1] ** 0.5))
    heads = np.array([head for head, _ in written])
    n = len(members)
    return pd.DataFrame(
        {
            "layer": np.repeat(heads[:, 0], n),
            "head": np.repeat(heads[:, 1], n),
            "reader_layer": weights.layer,
            "reader_head": np.tile(members, len(heads)),
            "kind": kind,
            "score": score.ravel(),
            "expected": expected.ravel(),
            "z": z.ravel(),
        }
    )


def _traces(grams: Tensor) -> Float[np.ndarray, "head 2"]:
    """tr G and tr G² of symmetric matrices, each flattened."""
    d = round(grams.shape[1] ** 0.5)
    first = grams.view(-1, d, d).diagonal(dim1=1, dim2=2).sum(-1)
    return torch.stack([first, grams.square().sum(-1)], 1).double().cpu().numpy()


def composition_scores(
    both: Float[np.ndarray, "writer reader"],
    g: Float[np.ndarray, "writer 2"],
    h: Float[np.ndarray, "reader 2"],
    d: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Score, expected score and z of each pair, from tr(G H) and from tr G, tr G² (tr H, tr H²); see the module.

    >>> import numpy as np
    >>> aligned = np.array([[1.0]])  # two matrices of rank 1 along one axis of 100
    >>> score, expected, z = composition_scores(aligned, np.ones((1, 2)), np.ones((1, 2)), 100)
    >>> float(score[0, 0]), round(float(expected[0, 0]), 2), bool(z[0, 0] > 50)
    (1.0, 0.1, True)
    """
    total = g[:, None, 0] * h[None, :, 0]
    left, right = g[:, 1] - g[:, 0] ** 2 / d, h[:, 1] - h[:, 0] ** 2 / d
    spread = np.sqrt(np.maximum(2 * left[:, None] * right[None] / ((d - 1) * (d + 2)), 0))
    with np.errstate(invalid="ignore", divide="ignore"):
        score = np.sqrt(np.maximum(both / total, 0))
        z = (both - total / d) / spread
    return score, np.full(both.shape, d**-0.5), z
