"""Steering vectors from anybody's file: control vectors (GGUF), saklas' profiles, and arrays that were saved by hand.

A control vector and a profile of saklas say which place their numbers mean: the output of that block. Arrays (`.npy`,
safetensors, a dict of torch.save) do not, so their reader has to: `numbering` is `input` where number L is added to the
input of block L, as in this project and TransformerLens' `resid_pre`, and `output` where number N is added to the
output of block N, as in repeng, steering-vectors and every forward hook on a block.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from safetensors import safe_open

from emolib.base import arguments, files
from emolib.base.errors import UserError, one_line, shown
from emolib.data.activations import LayerVectors
from emolib.exchange import unpickling
from emolib.exchange.control_vectors import FIRST, read_control_vectors, write_vectors
from emolib.exchange.held_vectors import MOST_LAYERS, HeldVectors, checked_rows, not_read
from emolib.models.gguf_kinds import MAGIC
from emolib.models.settings_files import refuse_pointer, start_of

Numbering = Literal["input", "output"]
NUMBERINGS: tuple[Numbering, ...] = get_args(Numbering)
NUMPY = b"\x93NUMPY"
PICKLES = (b"PK\x03\x04", b"\x80")
SAKLAS = re.compile(r"layer_(0|[1-9]\d{0,5})")
NUMBERED = re.compile(r"(?:.*\D)?(0|[1-9]\d{0,5})")
LARGEST = 2**30  # bytes
HOW = "say numbering='input' (number L is added to the input of block L) or 'output' (to that block's output)"


def read_vector_file(path: str | Path, *, numbering: str | None = None, layer: int | None = None) -> HeldVectors:
    """Reads a file of any kind that is known; nothing in it is run.

    Args:
        numbering: of arrays, `input` or `output` (see the module); None for files that say it themselves.
        layer: the number that a file with one bare vector stands for, in that numbering.

    Raises:
        UserError: no file, one of another kind, damaged, of unequal or no vectors, or without a numbering where it is
            needed; a numbering or a layer that is not what the file says itself.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.save(f"{folder}/x.npy", np.eye(3, dtype=np.float32))
    ...     read_vector_file(f"{folder}/x.npy", numbering="output").layers
    (1, 2, 3)
    """
    place = arguments.path("path", path)
    numbering = None if numbering is None else arguments.one_of("numbering", numbering, NUMBERINGS)
    layer = None if layer is None else arguments.whole_number("layer", layer, least=0, most=MOST_LAYERS)
    where = shown(str(path))
    files.require_file(place, name=f"steering vectors at {where}")
    start = start_of(place)
    refuse_pointer(start, where)
    if start.startswith(MAGIC):
        _refuse_said(where, numbering, layer)
        return read_control_vectors(place, str(path))
    if place.stat().st_size > LARGEST:
        raise UserError(
            f"expected steering vectors of at most {LARGEST // 2**20} MiB, {where} is larger; is it a model?"
        )
    if start[8:9] == b"{":
        tensors = _safetensors(place, where)
        if _is_of_saklas(place, tensors, where):
            _refuse_said(where, numbering, layer)
            rows = {int(name.removeprefix("layer_")) + 1: values for name, values in tensors.items()}
            return HeldVectors(checked_rows(rows, where), "saklas profile")
        return _by_hand(_numbered(tensors, where), where, numbering, layer)
    if start.startswith(NUMPY):
        return _by_hand(_numpy(place, where), where, numbering, layer)
    if start.startswith(PICKLES):
        return _by_hand(_pickled(place, where), where, numbering, layer)
    raise UserError(
        f"expected steering vectors in a GGUF, safetensors, .npy or torch.save file, {where} is none of them; convert"
    )


def rewrite_vectors(
    source: str | Path,
    output: str | Path,
    *,
    label: str | None = None,
    numbering: str | None = None,
    layer: int | None = None,
    model_hint: str | None = None,
) -> tuple[HeldVectors, tuple[int, ...]]:
    """Writes a file's vectors as a control vector of llama.cpp; what this project stated beside them stays.

    Args:
        label: what they are vectors of; None keeps what the file says.
        numbering, layer: as `read_vector_file`.
        model_hint: the architecture; None keeps what the file says.

    Returns:
        What the file holds, and the layers that were written: those of layer 2 and above.

    Raises:
        UserError: as `read_vector_file` and `write_vectors`; no architecture is given or stated.
    """
    files.file_to_write(output, apart_from=arguments.path("source", source))
    held = read_vector_file(source, numbering=numbering, layer=layer)
    if model_hint is None and not held.model_hint:
        raise UserError(
            f"expected the model's architecture, which {shown(str(source))} does not say and other programs insist on; "
            "give it (--model-hint llama)"
        )
    stated = held.stated
    vectors = LayerVectors(
        held.values(stated.n_layers or max(held.layers[-1], FIRST)),
        stated.model,
        stated.revision,
        stated.position,
        stated.neutral_norms,
        stated.neutral_bulk_norms,
        stated.kl_lengths,
        stated.label if label is None else arguments.text("label", label),
    )
    hint = held.model_hint if model_hint is None else model_hint
    written = write_vectors(
        vectors, output, model_hint=hint, neutral_means=stated.neutral_means, strength=stated.strength
    )
    return held, written


def _refuse_said(where: str, numbering: str | None, layer: int | None) -> None:
    """Raises `UserError` where a caller says what the file says itself, and otherwise."""
    if numbering == "input" or layer is not None:
        raise UserError(
            f"expected neither numbering='input' nor layer=… for {where}, whose numbers are blocks behind which its "
            "vectors are added; leave them out"
        )


def _by_hand(
    arrays: Mapping[int | None, np.ndarray], where: str, numbering: str | None, layer: int | None
) -> HeldVectors:
    """Arrays under their numbers; None stands for one without: a vector, or a row per number from 0 on."""
    if numbering is None:
        raise UserError(f"expected to be told what the numbers of layers in {where} mean; {HOW}")
    bare = arrays.get(None)
    if bare is not None and bare.ndim == 2:
        if len(bare) > MOST_LAYERS + 1:
            raise UserError(f"expected at most {MOST_LAYERS + 1} rows, one per layer, in {where}, got {len(bare):,}")
        arrays, bare = dict(enumerate(bare)), None
    if (bare is None) != (layer is None):
        said = f"it holds vectors of {len(arrays)} numbers; leave layer out" if bare is None else "give layer=…"
        raise UserError(f"expected a layer's number for {where} only where it holds one bare vector: {said}")
    shift = int(numbering == "output")
    rows = {int(layer if number is None else number) + shift: row for number, row in arrays.items()}  # type: ignore[arg-type]
    return HeldVectors(checked_rows(rows, where), f"arrays, numbered by {numbering}")


def _numbered(tensors: Mapping[str, np.ndarray], where: str) -> dict[int | None, np.ndarray]:
    """Tensors under the number at the end of their names; a single one without stays without."""
    alone = next(iter(tensors)) if len(tensors) == 1 else ""
    if alone and not NUMBERED.fullmatch(alone):
        return {None: tensors[alone]}
    found: dict[int | None, np.ndarray] = {}
    for name, values in tensors.items():
        match = NUMBERED.fullmatch(name)
        if match is None:
            raise UserError(
                f"expected a layer's number at the end of every name in {where}, got {shown(name)}; rename it"
            )
        number = int(match[1])
        if number in found:
            raise UserError(f"expected every layer once in {where}, the number {number} ends two names; rename them")
        found[number] = values
    return found


def _safetensors(place: Path, where: str) -> dict[str, np.ndarray]:
    try:
        with safe_open(place, framework="numpy") as view:
            return {name: view.get_tensor(name) for name in view.keys()}  # noqa: SIM118 - it is no dict
    except Exception as error:  # what the machinery says to a broken file has no common type
        raise not_read(where, one_line(error)) from error


def _is_of_saklas(place: Path, tensors: Mapping[str, np.ndarray], where: str) -> bool:
    """Whether saklas' own description lies beside the file, which it insists on.

    Raises:
        UserError: it does, and describes another file.
    """
    beside = place.with_suffix(".json")
    if not tensors or not all(map(SAKLAS.fullmatch, tensors)) or files.kind_of(beside) != "file":
        return False
    described = files.read_json(beside, name=f"saklas' description of {where}", kind=dict)
    if "saklas_version" not in described:
        return False
    if described.get("tensor_sha256") != hashlib.sha256(files.read_bytes(place)).hexdigest():
        raise UserError(
            f"expected {where} as its description {shown(beside.name)} has it, its hash differs; save it again"
        )
    return True


def _numpy(place: Path, where: str) -> dict[int | None, np.ndarray]:
    try:
        values = np.load(place, allow_pickle=False, mmap_mode="r")  # never more than the file holds
    except Exception as error:  # as above
        raise not_read(where, one_line(error)) from error
    return {None: values}


def _pickled(place: Path, where: str) -> dict[int | None, np.ndarray]:
    """A dict of numbers and tensors, such as `layer_activations` of a SteeringVector; a bare tensor."""
    value = unpickling.load(place)
    named = value if isinstance(value, dict) else {None: value}
    found: dict[int | None, np.ndarray] = {}
    for number, tensor in named.items():
        array = unpickling.as_array(tensor, place.name, LARGEST)
        if array is None or (number is not None and type(number) is not int):
            raise UserError(
                f"expected a dict of layers' numbers and tensors in {where}, got {shown(number)}: "
                f"a {type(tensor).__name__}; save vector.layer_activations"
            )
        found[number] = array
    return found
