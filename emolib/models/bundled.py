"""Models that registry packages carry as a GGUF file, converted to safetensors once per cache folder."""

from __future__ import annotations

from pathlib import Path

from emolib.base import paths
from emolib.base.config import ModelSpec
from emolib.models import conversion, gguf
from emolib.models.carriers import carried, parts_of, whole_file

BUNDLED = "smollm2_135m"


def bundled_folder(spec: ModelSpec) -> tuple[Path, str]:
    """The folder with the model as safetensors, made at the first call, and its revision.

    Raises:
        UserError: its packages are not installed or were altered, or the folder was; no room for it.
    """
    refuse_missing(spec)
    source = carried(spec)
    version = f"v{conversion.VERSION}-{conversion.RECORD}"
    as_read = paths.cache_root() / "bundled" / f"{spec.name}-{source.sha256[:12]}-{version}"

    def make(work: Path) -> str:
        with whole_file(spec) as path:
            if source.checked:
                gguf.convert(gguf.look_at(path, source.gguf_file), work)
            else:
                conversion.save_as_folder(path, work)
        return source.gguf_file

    folder = gguf.place_of(source.sha256) if source.checked else as_read
    return conversion.kept(folder, make), bundled_revision(spec)


def bundled_revision(spec: ModelSpec) -> str:
    """What decides such a model: the GGUF's hash and, from the second one on, the way of converting it."""
    return conversion.revision_of(carried(spec).sha256)


def refuse_missing(spec: ModelSpec | None) -> None:
    """Raises `UserError` for a model that is installed on request alone and is not, though it may lie converted."""
    if spec is not None and spec.bundled is not None and spec.bundled.on_request:
        parts_of(spec)
