"""Commands as one pastes them into a shell."""

from __future__ import annotations

import shlex
from collections.abc import Iterable


def word(text: str) -> str:
    """One word of a command, quoted where bash or zsh would read it otherwise; always printable and on one line.

    >>> word("plain"), word("two words"), word("a\\nb"), word("=x")
    ('plain', "'two words'", "$'a\\\\nb'", "'=x'")
    """
    if not text.isprintable():
        return "$'" + "".join(map(_escaped, text)) + "'"
    if text.startswith("="):  # zsh looks for a program of that name
        return f"'{text}'" if "'" not in text else shlex.quote(text)
    return shlex.quote(text)


def _escaped(letter: str) -> str:
    if letter in "\\'":
        return f"\\{letter}"
    if letter in "\n\t\r":
        return {"\n": "\\n", "\t": "\\t", "\r": "\\r"}[letter]
    if letter.isprintable() and letter != "!":
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
