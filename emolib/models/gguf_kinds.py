"""What a file can be in place of a whole language model in GGUF: another kind of file, or another kind of GGUF."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from emolib.base.errors import UserError, shown
from emolib.models.settings_files import refuse_pointer

MAGIC = b"GGUF"
GIVE = "give the model's .gguf file"
OLD = "a file of llama.cpp before GGUF"
FOREIGN = {
    b"PK": "an archive, or a PyTorch file",
    **dict.fromkeys((b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"), "a pickle"),
    b"\x89HDF": "an HDF5 file",
    b"\x1f\x8b": "a packed file",
    **dict.fromkeys((b"lmgg", b"fmgg", b"tjgg"), OLD),
    b"FUGG": "a GGUF file of a machine that stores numbers the other way round",
}
PARTS = {"adapter": "an adapter (LoRA)", "mmproj": "the image part of a model", "imatrix": "statistics of a model"}


def refuse_foreign(start: bytes, where: str) -> None:
    """Raises `UserError` for a file of another kind, by how it begins.

    >>> refuse_foreign(b"GGUF and more", "'x.gguf'")
    >>> refuse_foreign(b"PK and more", "'x.gguf'")
    Traceback (most recent call last):
    emolib.base.errors.UserError: expected a GGUF file, 'x.gguf' is an archive, or a PyTorch file; ...
    """
    refuse_pointer(start, where)
    if not start:
        raise UserError(f"expected a GGUF file, {where} is empty; fetch it again")
    if not start.startswith(MAGIC):
        kind, advice = _kind(start)
        raise UserError(f"expected a GGUF file, {where} is {kind}; {advice}")


def _kind(start: bytes) -> tuple[str, str]:
    """What a file is by its first bytes, and what to do about it."""
    text = start.decode("latin-1")
    for magic, kind in FOREIGN.items():
        if start.startswith(magic):
            return kind, GIVE
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") < 2**32:
        return "a safetensors file", "give the folder that holds it, its config.json and its tokenizer"
    if re.match(r"\s*<(?:!doctype|html|\?xml)", text, re.IGNORECASE):
        return "a web page: the download failed", "fetch it again"
    if start.isascii() and " ".join(text.split()).isprintable():
        return f"text ({shown(text.strip(), 40)})", GIVE
    return "something else", GIVE


def refuse_part(settings: Mapping[str, Any], where: str) -> None:
    """Raises `UserError` for a file that is GGUF and no whole language model."""
    architecture, kind = settings.get("general.architecture"), settings.get("general.type", "model")
    if settings.get("split.count", 0) not in (0, 1):
        raise UserError(
            f"expected a whole model, {where} is one of the {shown(settings['split.count'])} parts of one; join them "
            "(llama-gguf-split --merge) and give the one file"
        )
    if architecture == "controlvector":
        raise UserError(f"expected a model, {where} holds control vectors, which are added to one; {GIVE}")
    kind = "mmproj" if architecture == "clip" else kind
    if kind != "model":
        raise UserError(f"expected a whole model, {where} holds {PARTS.get(str(kind), shown(kind))}; {GIVE}")
    if not isinstance(architecture, str) or not architecture:
        raise UserError(f"expected general.architecture in {where}, found none; take a file that llama.cpp made")
