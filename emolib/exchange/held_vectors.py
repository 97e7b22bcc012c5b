"""What a file of steering vectors holds, by the layers of this project, whoever wrote it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from emolib.base.errors import UserError, shown

MOST_LAYERS = 1_000
LARGEST_WIDTH = 2**17


@dataclass(frozen=True)
class Stated:
    """What this project writes beside the vectors; other programs' files state none of it.

    Attributes:
        label: what they are vectors of.
        model, revision: whose they are; the revision is the hash of the model's content.
        position: at which tokens they were fitted.
        n_layers: blocks of the model.
        neutral_norms, neutral_bulk_norms, kl_lengths: `[n_layers + 1]`, what a steer's alpha counts in.
        neutral_means: `[n_layers + 1, d_model]`, the mean residual of neutral texts.
        strength: what the vectors are meant to be multiplied by.
    """

    label: str = ""
    model: str = ""
    revision: str = ""
    position: str = ""
    n_layers: int | None = None
    neutral_norms: Float[np.ndarray, " layer"] | None = None
    neutral_bulk_norms: Float[np.ndarray, " layer"] | None = None
    kl_lengths: Float[np.ndarray, " layer"] | None = None
    neutral_means: Float[np.ndarray, "layer d_model"] | None = None
    strength: float | None = None


@dataclass(frozen=True)
class HeldVectors:
    """Vectors by the layer whose input they are added to.

    Attributes:
        rows: layer → `[d_model]`, float32; n_layers is the final residual. Layers that the file lacks, or holds as
            zeros, are none of them.
        kind: what kind of file it is.
        model_hint: the architecture that the file names, or nothing.
    """

    rows: Mapping[int, Float[np.ndarray, " d_model"]]
    kind: str
    model_hint: str = ""
    stated: Stated = field(default_factory=Stated)

    @property
    def d_model(self) -> int:
        return len(next(iter(self.rows.values())))

    @property
    def layers(self) -> tuple[int, ...]:
        return tuple(sorted(self.rows))

    def values(self, n_layers: int) -> Float[np.ndarray, "layer d_model"]:
        """`[n_layers + 1, d_model]`, zeros where there is no vector."""
        values = np.zeros((n_layers + 1, self.d_model), np.float32)
        for layer, row in self.rows.items():
            values[layer] = row
        return values


def checked_rows(rows: Mapping[int, np.ndarray], where: str) -> dict[int, Float[np.ndarray, " d_model"]]:
    """The rows that are not zero, in float32.

    Args:
        rows: layer → numbers as the file has them.
        where: the file in a message.

    Raises:
        UserError: no layer, too many, a row that is no vector, rows of different length, numbers that are not finite,
            or nothing but zeros.

    >>> checked_rows({3: np.ones(2), 4: np.zeros(2)}, "'x.npy'")
    {3: array([1., 1.], dtype=float32)}
    """
    if not rows:
        raise UserError(f"expected vectors in {where}, it holds none; give another file")
    if not 0 <= min(rows) <= max(rows) <= MOST_LAYERS:
        raise UserError(f"expected layers from 0 to {MOST_LAYERS} in {where}, it names layer {max(rows)}")
    found: dict[int, np.ndarray] = {}
    for layer, row in rows.items():
        if row.ndim != 1 or not 0 < len(row) <= LARGEST_WIDTH:
            raise UserError(
                f"expected a vector [d_model] for layer {layer} in {where}, got the shape {list(row.shape)}"
            )
        if row.dtype.kind != "f":
            raise UserError(f"expected floating-point numbers in {where}, layer {layer} has {row.dtype}; store float32")
        with np.errstate(over="ignore"):
            found[layer] = np.array(row, np.float32)
        if not np.isfinite(found[layer]).all():
            raise UserError(f"expected finite numbers in {where}, layer {layer} has others; fit the vectors anew")
    lengths = {len(row) for row in found.values()}
    if len(lengths) > 1:
        raise UserError(f"expected vectors of one length in {where}, got {min(lengths)} and {max(lengths)}")
    kept = {layer: row for layer, row in found.items() if row.any()}
    if not kept:
        raise UserError(f"expected vectors in {where}, all of them are zero; give another file")
    return kept


def not_read(where: str, reason: object) -> UserError:
    """The error about a file that is damaged, whatever its kind."""
    return UserError(
        f"expected steering vectors in {where}, it cannot be read ({shown(str(reason), 160)}); get it anew"
    )
