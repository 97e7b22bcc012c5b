"""The reports: a folder per language with one façade per phase.

`from emolib.report import phase5 as say` gives the façade in the reader's language (see `emolib.base.language`):
`emolib/report/ja/phase5.py` unless `EMOLIB_LANGUAGE` says otherwise. A further language is a folder of that name here
and its words in `params/wording/`.
"""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

from emolib.base import language
from emolib.base.errors import UserError, shown


def _folders() -> dict[str, pkgutil.ModuleInfo]:
    return {found.name: found for found in pkgutil.iter_modules(__path__) if found.ispkg}


def _reports(folder: str) -> list[str]:
    """The modules of a language."""
    if folder not in _folders():
        raise UserError(
            f"expected reports in the language {shown(folder)} (the folder emolib/report/{folder}), found none; "
            f"set EMOLIB_LANGUAGE to one of: {', '.join(_folders())}"
        )
    package = importlib.import_module(f"{__name__}.{folder}")
    return [found.name for found in pkgutil.iter_modules(package.__path__)]


def __getattr__(name: str) -> ModuleType:
    if name.startswith("_"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    chosen = language.current()
    if name in _reports(chosen):
        return importlib.import_module(f"{__name__}.{chosen}.{name}")
    elsewhere = [folder for folder in _folders() if name in _reports(folder)]
    if elsewhere:
        raise UserError(
            f"expected the report {shown(name)} in the language {shown(chosen)}, only {', '.join(elsewhere)} has it"
        )
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *_reports(language.current())]
