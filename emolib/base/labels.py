"""When two spellings are one label, and what a label may hold.

Labels are compared without regard to case and Unicode form: `Anger`, ` anger ` and its full-width form are one label.
No table of results holds two of them, since every data set is read with one spelling each (`emolib.data.spellings`).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from functools import lru_cache

LONGEST_LABEL = 500
# characters of other categories that draw nothing: fillers, variation selectors, the blank Braille cell
_BLANKS = {*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0), *range(0x180B, 0x1810)}
_BLANKS |= {0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0}
_ORDERING = {*range(0x202A, 0x202F), *range(0x2066, 0x206A)}  # they turn round what is printed after them


def is_visible(text: str) -> bool:
    """Whether a text has anything to see: not only spaces, zero-width and control characters.

    >>> is_visible("a"), is_visible("\\u200b \\ufeff")
    (True, False)
    """
    return any(not _draws_nothing(character) for character in text)


def cleaned(label: str) -> str:
    """A label without what cannot be seen at its ends.

    >>> cleaned("\\ufeff anger\\u200b ")
    'anger'
    """
    start, stop = 0, len(label)
    while start < stop and _is_edge(label[start]):
        start += 1
    while stop > start and _is_edge(label[stop - 1]):
        stop -= 1
    return label[start:stop]


@lru_cache(maxsize=4096)
def folded(label: str) -> str:
    """What two spellings of one label have in common; compared, never shown (NFKC and full case folding).

    >>> folded(" \uff21nger "), folded("STRASSE") == folded("Straße"), folded("re\\u0301gret") == folded("Régret")
    ('anger', True, True)
    """
    form = unicodedata.normalize("NFKC", unicodedata.normalize("NFD", label).casefold())
    form = unicodedata.normalize("NFKC", form.casefold())
    kept = "".join(c for c in form if c.isspace() or not _draws_nothing(c))
    return " ".join(kept.split())


def spelled(label: str, known: Iterable[str]) -> str | None:
    """That of the known labels which is the same one; None where there is none.

    >>> spelled("Anger", ["joy", "anger"])
    'anger'
    """
    return next((name for name in known if name == label or folded(name) == folded(label)), None)


def fault_of(label: str) -> str | None:
    """Why a (cleaned) label cannot be one; None where it can.

    >>> fault_of("calm, quiet / \u611f\u60c5"), fault_of("a\\nb")
    (None, "holds the control character '\\\\n'")
    """
    if len(label) > LONGEST_LABEL:
        return f"has {len(label)} characters, at most {LONGEST_LABEL} are possible"
    for character in label:
        if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") or ord(character) in _ORDERING:
            return f"holds the control character {character!a}"
    return None


def _draws_nothing(character: str) -> bool:
    if character.isascii():
        return character <= " " or character == "\x7f"
    return unicodedata.category(character) in ("Cc", "Cf", "Zs", "Zl", "Zp") or ord(character) in _BLANKS


def _is_edge(character: str) -> bool:
    """Selectors and the like are none: at the end they may belong to the character before them."""
    return character.isspace() or character in "\u200b\u200c\u200d\u200e\u200f\u2060\ufeff\u2800\u3164"
