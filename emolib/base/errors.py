"""The two ways a call can fail: the user's mistake, or a fault of the program.

A `UserError` carries one line that says what was expected, what came and what to do. The command line prints that
line and exits with code 2; anything else is a fault (exit code 1).
"""

from __future__ import annotations

from collections.abc import Iterable

from rapidfuzz import process


class UserError(ValueError):
    """A mistake in what was asked for: one line, no traceback.

    Example:
        >>> import emolib
        >>> try:
        ...     emolib.load_dataset("data/emotions.jsonl")
        ... except emolib.UserError as error:
        ...     print(error)
        expected a data set at 'data/emotions.jsonl', found no such file; give a .jsonl or .csv file
    """


def nearest(name: str, valid: Iterable[str]) -> str:
    """Ends an error about an unknown `name`: the most similar valid name, then all of them."""
    names = sorted(valid)
    if not names:
        return "there are none"
    best = process.extractOne(str(name), names)
    return f"did you mean {best[0]!r}? Valid: {', '.join(names)}"
