"""Text that can be written down: whole characters alone, and on a terminal only those that draw something.

Bytes of a command line that are no UTF-8, and halves of surrogate pairs in JSON, reach Python as characters that no
file of text can hold. Whoever takes a text from outside asks `is_whole` first.
"""

from __future__ import annotations

NOT_WHOLE = "expected text of whole characters (valid UTF-8)"


def is_whole(text: str) -> bool:
    """Whether a text can be written as UTF-8.

    >>> is_whole("caf\\u00e9"), is_whole("caf\\udce9"), is_whole("a\\ud800")
    (True, False, False)
    """
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def printable(text: str, longest: int | None = None) -> str:
    """Control and formatting characters (terminal escapes, text direction, lone surrogates) as their escapes.

    Args:
        longest: characters after which the text is cut.

    >>> printable("a\\x1b[2J"), printable("models/secret", 6)
    ('a\\\\x1b[2J', 'models…')
    """
    if longest is not None and len(text) > longest:
        return printable(text[:longest]) + "\u2026"
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def say(line: object, *, end: str = "\n") -> None:
    """Prints one line of a command's answer on stdout: nothing in it can drive a terminal."""
    print(printable(str(line)), end=end, flush=True)
