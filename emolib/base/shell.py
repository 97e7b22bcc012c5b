"""Commands as one pastes them into a shell."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

MARKUP = frozenset("`|<>")  # what would end a code span, or its table's cell


def word(text: str) -> str:
    """One word of a command, quoted where bash or zsh would read it otherwise.

    It is printable, on one line, and a code span of a report leaves it as it is.

    >>> word("plain"), word("two words"), word("a\\nb"), word("=x")
    ('plain', "'two words'", "$'a\\\\nb'", "'=x'")
    """
    if not text.isprintable() or "  " in text or MARKUP & set(text):
        return "$'" + "".join(_escaped(letter, before) for before, letter in zip(" " + text, text, strict=False)) + "'"
    if text.startswith("="):  # zsh looks for a program of that name
        return f"'{text}'" if "'" not in text else shlex.quote(text)
    return shlex.quote(text)


def _escaped(letter: str, before: str) -> str:
    """A letter between $' and ', which bash, zsh and ksh read alike; of several spaces a page would show one."""
    if letter in "\\'":
        return f"\\{letter}"
    if letter in "\n\t\r":
        return {"\n": "\\n", "\t": "\\t", "\r": "\\r"}[letter]
    if letter.isprintable() and letter != "!" and letter not in MARKUP and (before, letter) != (" ", " "):
        return letter
    escape = "surrogateescape" if "\udc80" <= letter <= "\udcff" else "surrogatepass"  # a byte that was no UTF-8
    # in octal, of exactly three digits, so that a digit that follows is not taken for part of it
    return "".join(f"\\{byte:03o}" for byte in letter.encode("utf-8", escape))


def command(words: Iterable[str]) -> str:
    """A whole command.

    >>> command(["emolib", "run", "-p", "neutral=in doubt"])
    "emolib run -p 'neutral=in doubt'"
    """
    return " ".join(map(word, words))
