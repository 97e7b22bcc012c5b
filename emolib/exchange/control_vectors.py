"""Control vectors as llama.cpp reads them: GGUF files with tensors `direction.N`, which repeng and saklas share.

`direction.N` is added to the *output* of block N, counted from 0, at every position. That is the input of block N + 1,
so a vector of this project's layer L is `direction.(L − 1)`, and the final residual that of the last block. llama.cpp
(build 11549) refuses a whole file for N = 0, for numbers in another form than float32, for more than one dimension, for
any other tensor and for unequal lengths; it takes missing layers for zeros and ignores layers beyond the last without
a word. It reads no metadata; repeng and saklas insist on `controlvector.model_hint`. What was seen: docs/exchange.md.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from emolib.base import arguments, files
from emolib.base.config import find_model
from emolib.base.errors import UserError, shown
from emolib.base.own_folders import own_folder
from emolib.base.signatures import told
from emolib.base.writing import write_atomically, writing
from emolib.data.activations import LayerVectors
from emolib.exchange.held_vectors import MOST_LAYERS, HeldVectors, Stated, checked_rows
from emolib.models.gguf_file import SUFFIX, GgufFile, read_gguf

KIND = "controlvector"
HINT = f"{KIND}.model_hint"
OURS = "emolib."  # how the keys of `Stated` begin
FIRST = 2  # layer 1 would be direction.0, before layer 0 there is no block
FLOAT32 = 0  # by ggml's count
TENSOR = re.compile(r"direction\.(0|[1-9]\d{0,5})")
LONGEST_STATED = 10_000  # characters
TEXTS = ("label", "model", "revision", "position")
GAPPED = "kl_lengths"  # NaN where the unit was not measured
PER_LAYER = ("neutral_norms", "neutral_bulk_norms", GAPPED)


@told
def write_vectors(
    vectors: LayerVectors,
    path: str | Path,
    *,
    layers: Iterable[int] | None = None,
    model_hint: str | None = None,
    neutral_means: Float[np.ndarray, "layer d_model"] | None = None,
    strength: float | None = None,
) -> tuple[int, ...]:
    """Writes one emotion's vectors as a control vector of llama.cpp (`--control-vector FILE`), repeng and saklas.

    Args:
        vectors: of every layer, such as `vecs["gratitude"]`.
        path: its name ends in `.gguf`; an old file is replaced.
        layers: from 2 to n_layers; None takes all of them whose vector is not zero.
        model_hint: the architecture, which other readers insist on; None takes that of the model's entry in
            `params/models/`, the model's name where it has none.
        neutral_means: `[n_layers + 1, d_model]`, kept in the metadata.
        strength: what a reader is to multiply the vectors by, kept in the metadata; the vectors stay as they are.

    Returns:
        The layers that were written.

    Raises:
        UserError: layer 0 or 1 or one beyond the last, a zero vector, numbers that are not finite, another name's
            ending, or a place where nothing can be written.

    >>> import emolib, tempfile
    >>> values = np.ones((4, 8), np.float32)  # three blocks and the final residual
    >>> vectors = emolib.EmotionVectors({"joy": values}, np.full(4, 8.0), values, "m", "r", "mean")["joy"]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     written = emolib.write_vectors(vectors, f"{folder}/joy.gguf")
    ...     back = emolib.read_vectors(f"{folder}/joy.gguf")
    >>> written, back.label, (back[3] - vectors[3]).norm
    ((2, 3), 'joy', 0.0)
    >>> emolib.write_vectors(vectors, "joy.gguf", layers=[1, 2])
    Traceback (most recent call last):
    emolib.base.errors.UserError: expected layers of 2-3, got 1: ...
    """
    arguments.instance("vectors", vectors, LayerVectors, "fit_emotion_vectors (one emotion's: vecs['gratitude'])")
    place = arguments.path("path", path)
    if place.suffix != SUFFIX:
        raise UserError(f"expected a name that ends in {SUFFIX}, by which others know the file, got {shown(str(path))}")
    chosen = _chosen(vectors, layers)
    hint = arguments.text("model_hint", _hint(vectors.model) if model_hint is None else model_hint)
    means = None if neutral_means is None else arguments.real_array("neutral_means", neutral_means)
    if means is not None and (means.shape != vectors.shape or not np.isfinite(means).all()):
        raise UserError(
            f"expected finite neutral_means of the vectors' shape {list(vectors.shape)}, got {list(means.shape)}"
        )
    for name in PER_LAYER:
        given = getattr(vectors, name)
        if (
            given is not None
            and _numbers(np.asarray(given, float).tolist(), (len(vectors),), gaps=name == GAPPED) is None
        ):
            raise UserError(f"expected {name} that are finite numbers, one per layer, got others; fit the vectors anew")
    stated = Stated(
        **{name: getattr(vectors, name) for name in (*TEXTS, *PER_LAYER)},
        n_layers=len(vectors) - 1,
        neutral_means=means,
        strength=None if strength is None else arguments.number("strength", strength),
    )
    data = _file_bytes({layer - 1: vectors.values[layer] for layer in chosen}, hint, stated)
    write_atomically(files.file_to_write(place), data)
    return chosen


def _chosen(vectors: LayerVectors, layers: Iterable[int] | None) -> tuple[int, ...]:
    """The layers to write, in order."""
    last = len(vectors) - 1
    if layers is None:
        chosen = [layer for layer in range(FIRST, last + 1) if vectors.values[layer].any()]
    else:
        chosen = sorted(set(arguments.whole_numbers("layers", layers)))
    if last < FIRST or not chosen:
        raise UserError(f"expected at least one vector of layer {FIRST} or above that is not zero, got none")
    for layer in chosen:
        if layer in range(FIRST):
            raise UserError(
                f"expected layers of {FIRST}-{last}, got {layer}: a control vector is added behind a block, llama.cpp "
                "refuses one behind block 0, and before it there is none; leave the layer out"
            )
        if not FIRST <= layer <= last:
            raise UserError(
                f"expected layers of {FIRST}-{last}, got {layer}: llama.cpp would ignore a layer that the model lacks; "
                "leave it out"
            )
        if not np.isfinite(vectors.values[layer]).all():
            raise UserError(f"expected finite vectors, that of layer {layer} is not; leave the layer out")
        if not vectors.values[layer].any():
            raise UserError(f"expected vectors that are not zero, that of layer {layer} is; leave the layer out")
    return tuple(chosen)


def _hint(model: str) -> str:
    spec = find_model(model)
    found = spec.config.get("model_type") if spec is not None else None
    return found if isinstance(found, str) and found else model


def _file_bytes(directions: Mapping[int, np.ndarray], hint: str, stated: Stated) -> bytes:
    """A whole file; equal vectors give equal bytes."""
    from tempfile import gettempdir

    from gguf import GGUFValueType, GGUFWriter

    with own_folder(Path(gettempdir()), "emolib-vectors-") as folder, writing(folder):
        file = folder / f"vectors{SUFFIX}"
        writer = GGUFWriter(file, KIND)
        writer.add_string(HINT, hint)
        writer.add_uint32(f"{KIND}.layer_count", len(directions))
        if stated.label:
            writer.add_string("general.name", stated.label)
        for name in TEXTS:
            if getattr(stated, name):
                writer.add_string(f"{OURS}{name}", getattr(stated, name))
        writer.add_uint32(f"{OURS}n_layers", int(stated.n_layers or 0))
        for name in (*PER_LAYER, "neutral_means"):
            values = getattr(stated, name)
            if values is not None:
                part = GGUFValueType.FLOAT32 if name == "neutral_means" else GGUFValueType.FLOAT64
                numbers = np.asarray(values).ravel().tolist()
                writer.add_key_value(f"{OURS}{name}", numbers, GGUFValueType.ARRAY, sub_type=part)
        if stated.strength is not None:
            writer.add_float64(f"{OURS}strength", stated.strength)
        for number, values in directions.items():
            writer.add_tensor(f"direction.{number}", np.array(values, np.float32, order="C"))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return file.read_bytes()


def read_control_vectors(path: Path, called: str) -> HeldVectors:
    """Reads a control vector as llama.cpp does, and what this project states in it. `direction.0` becomes layer 1.

    Args:
        called: the file as its user called it.

    Raises:
        UserError: another kind of file, one that is damaged, or one that llama.cpp refuses (but for `direction.0`,
            which repeng writes and reads).
    """
    file, where = read_gguf(path, called, refuse=_refuse_other), shown(called)
    rows = {}
    for name, placed in file.tensors.items():
        number = TENSOR.fullmatch(name)
        if number is None:
            raise UserError(
                f"expected nothing but tensors direction.N in {where}, it holds {shown(name)}; leave it out"
            )
        if placed.kind != FLOAT32:
            raise UserError(
                f"expected {shown(name)} in {where} in float32, it is stored in another form; store float32"
            )
        if math.prod(placed.shape) != placed.shape[-1]:
            raise UserError(f"expected {shown(name)} in {where} of one dimension, got the shape {list(placed.shape)}")
        rows[int(number[1]) + 1] = file.values(name).ravel()
    hint = file.settings.get(HINT, "")
    rows = checked_rows(rows, where)
    return HeldVectors(rows, "control vector", hint if isinstance(hint, str) else "", _stated(file, rows, where))


def _refuse_other(settings: Mapping[str, Any], where: str) -> None:
    kind = settings.get("general.architecture", KIND)
    if kind != KIND:
        raise UserError(
            f"expected a control vector, {where} holds a model or a part of one ({shown(kind)}); give another"
        )


def _stated(file: GgufFile, rows: Mapping[int, np.ndarray], where: str) -> Stated:
    """What this project wrote beside the vectors, each of its form."""

    def wrong(name: str) -> UserError:
        return UserError(f"expected {OURS}{name} in {where} as emolib writes it, got something else; export it again")

    given = {key.removeprefix(OURS): value for key, value in file.settings.items() if key.startswith(OURS)}
    if not given:
        return Stated()
    n_layers = given.get("n_layers")
    if type(n_layers) is not int or not max(rows) <= n_layers <= MOST_LAYERS:
        raise wrong("n_layers")
    found: dict[str, Any] = {"n_layers": n_layers}
    for name in TEXTS:
        found[name] = given.get(name, "")
        if not isinstance(found[name], str) or len(found[name]) > LONGEST_STATED:
            raise wrong(name)
    width = len(next(iter(rows.values())))
    for name in (*PER_LAYER, "neutral_means"):
        if name in given:
            shape = (n_layers + 1, width) if name == "neutral_means" else (n_layers + 1,)
            found[name] = _numbers(given[name], shape, gaps=name == GAPPED)
            if found[name] is None:
                raise wrong(name)
    strength = given.get("strength")
    if strength is not None and not (type(strength) is float and math.isfinite(strength)):
        raise wrong("strength")
    return Stated(**found, strength=strength)


def _numbers(value: Any, shape: tuple[int, ...], *, gaps: bool) -> np.ndarray | None:
    """A list as an array of a shape; None where it is none of finite numbers (NaN allowed where there may be gaps)."""
    if not isinstance(value, list) or len(value) != math.prod(shape) or {type(item) for item in value} != {float}:
        return None
    array = np.array(value, np.float32 if len(shape) == 2 else np.float64).reshape(shape)
    bad = np.isinf(array) if gaps else ~np.isfinite(array)
    return None if bad.any() else array
