"""Vectors from anybody's file, with what a steer of the model at hand needs.

Without a model nothing of one is imported, so that a file is looked into quickly.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from emolib.base import arguments
from emolib.base.errors import UserError, shown
from emolib.base.signatures import told
from emolib.data.activations import LayerVectors
from emolib.data.dataset import load_dataset
from emolib.exchange.held_vectors import HeldVectors
from emolib.exchange.vector_files import read_vector_file

if TYPE_CHECKING:
    from emolib.models.language_model import LanguageModel

NOT_STATED = "not stated"


@told
def read_vectors(
    path: str | Path,
    *,
    label: str | None = None,
    lm: LanguageModel | None = None,
    numbering: str | None = None,
    layer: int | None = None,
) -> LayerVectors:
    """One emotion's vectors from a file: a control vector of llama.cpp or repeng, a profile of saklas, or arrays.

    Layers that the file lacks are zero, and a `Steer` there is refused.

    Args:
        label: what they are vectors of; None takes what a file of this project says.
        lm: the model that they are for: its width and layers are checked, and its neutral norms are taken from the
            file or else measured on the neutral training texts of the data set. Without it vectors of others have no
            neutral norm, and steer in the unit `vector` alone.
        numbering: of arrays saved by hand, `input` or `output` (`emolib.exchange.vector_files`).
        layer: the number of a file with one bare vector, in that numbering.

    Returns:
        `[n_layers + 1, d_model]`; n_layers is the model's, without `lm` the file's or its last layer.

    Raises:
        UserError: a file that cannot be read or does not say what its numbers mean, another label, or vectors that do
            not fit the model: another width, a layer beyond the last, another content or architecture.

    >>> import emolib, tempfile
    >>> lm = emolib.load_model("smollm2_135m", device="cpu")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.save(f"{folder}/found.npy", np.ones(576, np.float32))
    ...     vec = emolib.read_vectors(f"{folder}/found.npy", label="joy", lm=lm, numbering="output", layer=9)
    >>> vec.shape, int(vec.norms.argmax()), vec[10].neutral_norm > 0  # the output of block 9 is the input of block 10
    ((31, 576), 10, True)
    >>> act = emolib.Steer(10, vec[10], 0.3)
    """
    held, where = read_vector_file(path, numbering=numbering, layer=layer), shown(str(path))
    stated = held.stated
    label = None if label is None else arguments.text("label", label)
    if label is not None and stated.label and label != stated.label:
        raise UserError(
            f"expected vectors of {shown(label)}, {where} says that it holds those of {shown(stated.label)}"
        )
    n_layers = stated.n_layers or held.layers[-1]
    model, revision = stated.model or held.model_hint or NOT_STATED, stated.revision or NOT_STATED
    units = (stated.neutral_norms, stated.neutral_bulk_norms, stated.kl_lengths)
    if lm is not None:
        from emolib.models.language_model import checked_model

        _check_fit(held, checked_model(lm), where)
        n_layers, model, revision = lm.n_layers, lm.spec.name, lm.revision
        if stated.neutral_norms is None or not stated.revision:
            units = (*_neutral_norms(lm), None)
    place = (model, revision, stated.position or NOT_STATED)
    return LayerVectors(held.values(n_layers), *place, *units, label or stated.label)


def _check_fit(held: HeldVectors, lm: LanguageModel, where: str) -> None:
    """Raises `UserError` for vectors that the model has no place for, or that are another model's."""
    name, stated = lm.spec.name, held.stated
    if held.d_model != lm.d_model:
        raise UserError(f"expected vectors of {name}'s d_model {lm.d_model} in {where}, got {held.d_model}")
    last = max(held.layers[-1], stated.n_layers or 0)
    if last > lm.n_layers or (stated.n_layers or lm.n_layers) != lm.n_layers:
        raise UserError(f"expected vectors of {name}'s layers 0-{lm.n_layers} in {where}, got layers up to {last}")
    if stated.revision and stated.revision != lm.revision:
        raise UserError(
            f"expected vectors of {name} {lm.revision[:12]}, {where} holds those of {stated.model} "
            f"{stated.revision[:12]}; load that model, or map the vectors first"
        )
    kind, hint = str(getattr(lm.network.config, "model_type", "")).casefold(), held.model_hint.casefold()
    if not stated.revision and kind and hint and not (kind.startswith(hint) or hint.startswith(kind)):
        raise UserError(
            f"expected vectors of a model of the kind {kind} as {name} is, {where} names {shown(held.model_hint)}; "
            "load the model that they were fitted on"
        )


def _neutral_norms(lm: LanguageModel) -> tuple[np.ndarray, np.ndarray | None]:
    """Median norm and bulk norm per layer over the neutral training texts of the project's data set."""
    from emolib.engine.extraction import extract_activations

    data = load_dataset()
    neutral = data[(data["emotion"] == "neutral") & (data["split"] == "train")]
    acts = extract_activations(lm, neutral, positions="last")
    return acts.median_norms(), acts.median_bulk_norms()
