"""The two ways a call can fail: the user's mistake, or a fault of the program.

A `UserError` carries one line that says what was expected, what came and what to do. The command line prints that
line and exits with code 2; anything else is a fault (exit code 1).

What a line quotes may come from anywhere: a data set, a file of weights, a command line. `shown` is how a value is
quoted, and every line is made printable and short here, so that no message can drive a terminal or bury its reader.
"""

from __future__ import annotations

import itertools
import re
import reprlib
from collections.abc import Iterable

from rapidfuzz import fuzz, process
from rapidfuzz.distance import Levenshtein

from emolib.base.characters import printable

LONGEST_MESSAGE = 600
LONGEST_VALUE = 80
MOST_NAMES = 40
ALIKE = 60  # per cent, from which on one name may be a slip of another
_GAP = " … "
_END = 150  # characters of a message's end that stay when it is cut: there it says what to do


class UserError(ValueError):
    """A mistake in what was asked for: one printable line of at most `LONGEST_MESSAGE` characters, no traceback.

    Example:
        >>> import emolib
        >>> try:
        ...     emolib.load_dataset("data/emotions.jsonl")
        ... except emolib.UserError as error:
        ...     print(error)
        expected a data set at 'data/emotions.jsonl', found no such file; give a .csv, .tsv, .jsonl or .json file
    """

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


def one_line(message: object) -> str:
    """A message on one printable line; of a long one the middle is left out.

    >>> one_line("expected text,\\n  got \\x1b[2J")
    'expected text, got \\\\x1b[2J'
    """
    short = _cut(str(message), 20 * LONGEST_MESSAGE, 2 * LONGEST_MESSAGE)  # before any work is spent on it
    return _cut(printable(re.sub(r"\s+", " ", short).strip()), LONGEST_MESSAGE, _END)


def shown(value: object, longest: int = LONGEST_VALUE) -> str:
    """A value that came from outside, as a message quotes it: printable, in quotes if it is text, and short.

    >>> shown("a\\nb"), shown("x" * 100, 12), shown(3.5)
    ("'a\\\\nb'", "'xxx … xxxx'", '3.5')
    """
    if isinstance(value, str):
        return repr(_cut(value, longest - 2, longest // 3)) if len(value) > longest else repr(value)
    short = reprlib.Repr()
    short.maxstring = short.maxother = short.maxlong = longest
    return _cut(printable(re.sub(r"\s+", " ", short.repr(value))), longest, longest // 3)


def nearest(name: object, valid: Iterable[str]) -> str:
    """Ends an error about an unknown `name`: what it may be a slip of, then all valid names, of very many the first.

    >>> nearest("alphs", ["alphas", "unit"]), nearest("zebra", ["alphas", "unit", "unit"])
    ("did you mean 'alphas'? Valid: alphas, unit", 'valid are alphas, unit')
    """
    names = sorted(set(valid))
    if not names:
        return "there are none"
    listed = [printable(_cut(other, LONGEST_VALUE, 20)) for other in itertools.islice(names, MOST_NAMES)]
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    every = f"{', '.join(listed)}{more}"
    meant = slip_of(str(name), names)
    return (
        f"valid {'are' if len(names) > 1 else 'is'} {every}" if meant is None else meant_of(meant) + f" Valid: {every}"
    )


def meant_of(name: str) -> str:
    """The question whether that was meant.

    >>> meant_of("alphas")
    "did you mean 'alphas'?"
    """
    return f"did you mean {shown(name)}?"


def slip_of(name: str, valid: Iterable[str]) -> str | None:
    """The valid name that `name` may be a slip or the beginning of; None where none is like it.

    >>> slip_of("quik", ["quick", "baseline"]), slip_of("llama", ["gpt2", "llama3_8b"]), slip_of("x", ["quick"])
    ('quick', 'llama3_8b', None)
    """
    name, names = name[:LONGEST_MESSAGE], list(valid)
    best = process.extractOne(name, names, scorer=fuzz.ratio, processor=_folded, score_cutoff=ALIKE)
    if best is not None:
        return best[0]
    given = _folded(name)
    begun = (other for other in names if len(given) >= 3 and _folded(other).startswith(given))
    one_off = (other for other in names if len(given) >= 2 and Levenshtein.distance(given, _folded(other)) == 1)
    return next(itertools.chain(begun, one_off), None)


def _folded(name: str) -> str:
    return name.casefold().replace("-", "_")


def _cut(text: str, longest: int, end: int) -> str:
    if len(text) <= longest:
        return text
    return text[: longest - end - len(_GAP)] + _GAP + text[len(text) - end :]
