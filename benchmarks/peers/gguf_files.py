"""A model's GGUF file with every matrix in float32 or bfloat16, for llama.cpp.

Header and tensors are those of the file that packages carry, the tensors dequantised as emolib reads them: both sides
multiply the same numbers.
"""

from __future__ import annotations

import os
from pathlib import Path

import filelock
from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter, LlamaFileType
from gguf.quants import quantize

from emolib.base import paths
from emolib.base.config import ModelSpec
from emolib.models.carriers import carried, whole_file
from emolib.models.gguf_file import GgufFile, read_gguf

KINDS = {
    "float32": (GGMLQuantizationType.F32, LlamaFileType.ALL_F32),
    "bfloat16": (GGMLQuantizationType.BF16, LlamaFileType.MOSTLY_BF16),
}
WRITTEN_ANEW = ("general.architecture", "general.file_type", "general.quantization_version")


def unquantised(spec: ModelSpec, dtype: str) -> Path:
    """The file of a model that packages carry, written at the first call under `<cache>/peers`.

    Args:
        dtype: of `KINDS`.

    Raises:
        UserError: no package carries the model, or it is not installed.
    """
    place = paths.cache_root() / "peers" / f"{spec.name}-{carried(spec).sha256[:12]}-{dtype}.gguf"
    place.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(place.with_suffix(".lock")):
        if not place.is_file():
            with whole_file(spec) as source:
                write_unquantised(read_gguf(source, source.name), place, dtype)
    return place


def write_unquantised(file: GgufFile, place: Path, dtype: str) -> None:
    """Writes the file anew: matrices in the dtype, vectors (norms) in float32, as llama.cpp's converter has them."""
    kind, file_type = KINDS[dtype]
    unfinished = place.with_suffix(".unfinished")
    writer = GGUFWriter(unfinished, file.architecture)
    for field in GGUFReader(file.path).fields.values():
        if field.name.startswith("GGUF.") or field.name in WRITTEN_ANEW:
            continue
        part = field.types[-1] if field.types[0] == GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), field.types[0], sub_type=part)
    writer.add_file_type(file_type)
    for name in file.tensors:
        values = file.values(name)
        if kind == GGMLQuantizationType.F32 or values.ndim < 2:
            writer.add_tensor(name, values)
        else:
            writer.add_tensor(name, quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    os.replace(unfinished, place)
