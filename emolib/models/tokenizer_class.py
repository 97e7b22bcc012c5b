"""The class that `tokenizer_config.json` names, held against the vocabulary that lies beside it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tokenizers import Tokenizer

from emolib.base.errors import UserError, shown
from emolib.models.settings_files import read_settings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SETTINGS, VOCABULARY = "tokenizer_config.json", "tokenizer.json"
GENERIC = "PreTrainedTokenizerFast"  # reads tokenizer.json as it stands
PROBE = "A text, to see."
WAY_OUT = f"name the base model's class or {GENERIC}, or copy {SETTINGS} of the base model into the folder"


def check_class(folder: Path, called: str) -> None:
    """Raises `UserError` for a `tokenizer_class` that is no class's name."""
    named = _named(folder, called)
    if named is not None and (not isinstance(named, str) or named == "AutoTokenizer"):
        raise UserError(
            f"expected tokenizer_class in {SETTINGS} of {shown(called)} to name a tokenizer (such as {GENERIC}), got "
            f"{shown(named)}; {WAY_OUT}"
        )


def class_fault(folder: Path, called: str) -> str | None:
    """Why a tokenizer that could not be read could not: its class, where its vocabulary alone can be read."""
    if _named(folder, called) is None or _plain_tokens(folder) is None:
        return None
    return _misfit(folder, called, "cannot be made of")


def refuse_other_tokens(tokenizer: PreTrainedTokenizerBase, folder: Path, called: str, model_type: str) -> None:
    """Raises `UserError` where the named class makes other tokens of a text than its vocabulary says.

    Where it is the one that transformers has for the architecture, that is taken for right; where another one was read,
    it reads the vocabulary as it stands.
    """
    named, kind = _named(folder, called), type(tokenizer).__name__
    if not isinstance(named, str) or kind != named.removesuffix("Fast") or kind == _usual(model_type):
        return
    expected = _plain_tokens(folder)
    if expected is not None and tokenizer(PROBE, add_special_tokens=False).input_ids != expected:
        raise UserError(_misfit(folder, called, "makes other tokens than"))


def _usual(model_type: str) -> str | None:
    from transformers.models.auto.tokenization_auto import TOKENIZER_MAPPING_NAMES

    name = TOKENIZER_MAPPING_NAMES.get(model_type)
    return name.removesuffix("Fast") if isinstance(name, str) else None


def _named(folder: Path, called: str) -> object:
    path = folder / SETTINGS
    return read_settings(path, called).get("tokenizer_class") if path.exists() else None


def _plain_tokens(folder: Path) -> list[int] | None:
    """Token ids by `tokenizer.json` alone; None where there is none that can be read."""
    try:
        return Tokenizer.from_file(str(folder / VOCABULARY)).encode(PROBE, add_special_tokens=False).ids or None
    except BaseException as error:  # the library panics with an exception of its own
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        return None


def _misfit(folder: Path, called: str, what: str) -> str:
    named = shown(_named(folder, called))
    return f"tokenizer_class {named} in {SETTINGS} of {shown(called)} {what} its {VOCABULARY}; {WAY_OUT}"
