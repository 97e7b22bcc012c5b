"""How nbval compares a cell's output with the reference: as text exactly, and as numbers within a tolerance.

Two processors, or two libraries of matrix products, agree to about six digits in float32. Printed to any number of
digits, a few of thousands of such numbers end in another last digit (1587.209 for 1587.208), and more rounding only
moves the boundary. So the words between the numbers must be equal, and each number

- written as an integer (a count, a layer, a verdict's n) must be equal;
- written with a decimal point may differ by `RELATIVE` of its size;
- beyond that, may have been rounded to the other side: by one unit of its last digit, if that unit is small
  (`COARSE`), and not more than one in `ROUNDED` numbers of an output does (one at least). Whole percents (12%) and
  ratios (178 倍) are measured, so they too may be rounded to the other side.

Blanks count as one (a sign more widens a column of a printed table), −0.00 is 0.00, and what stands in
`backticks` is a setting or a name: text. A change of 1 % is thus seen in every number of three digits or more.
"""

from __future__ import annotations

import re

import pytest

RELATIVE = 1e-4
COARSE = (0.01, 0.05)  # a unit of the last digit is at most 0.01, or 5 % of the number
ROUNDED = 20
# A number that is no part of a word (`phase5`, `b179c9`) or of a version (`0.3.1`).
NUMBER = re.compile(r"`[^`\n]*`|(?<![A-Za-z0-9_.])[+\-−]?\d+(?:\.\d+)?(?:e[+-]?\d+)?(?![A-Za-z0-9_]|\.\d)")
MEASURED = re.compile(r"\s?(?:%|倍)")


def parts(text: str) -> tuple[list[str], list[tuple[str, bool]]]:
    """The words between the numbers, white space as one blank; the numbers, and whether each is a measured one."""
    words, numbers, place = [""], [], 0
    for found in NUMBER.finditer(text):
        words[-1] += text[place : found.start()]
        place = found.end()
        if found[0].startswith("`"):
            words[-1] += found[0]
        else:
            measured = "." in found[0] or "e" in found[0] or MEASURED.match(text, place) is not None
            numbers.append((found[0].replace("−", "-"), measured))
            words.append("")
    words[-1] += text[place:]
    return ["\n".join(" ".join(line.split()) for line in word.split("\n")) for word in words], numbers


def unit(number: str) -> float:
    """The size of one step in a number's last written digit: 0.01 of 1.25, 1e-07 of 1.5e-06."""
    digits, _, power = number.partition("e")
    return 10.0 ** (int(power or 0) - len(digits.partition(".")[2]))


def rounded_apart(one: str, other: str) -> bool:
    """Whether one value, rounded down and up, can have been written as these two."""
    size, step = abs(float(one)), min(unit(one), unit(other))
    return step <= max(COARSE[0], COARSE[1] * size) and abs(float(one) - float(other)) < 1.5 * step


def difference(reference: str, found: str) -> str | None:
    """What tells two printed texts apart, in a line; None where they agree."""
    (words, numbers), (other_words, other_numbers) = parts(reference), parts(found)
    if words != other_words:
        changed = (f"{a!r} became {b!r}" for a, b in zip(words, other_words, strict=False) if a != b)
        return next(changed, f"{len(numbers)} numbers became {len(other_numbers)}")
    apart = set()
    for (one, measured), (other, other_measured) in zip(numbers, other_numbers, strict=True):
        a, b = float(one), float(other)
        if a == b and measured == other_measured:
            continue
        if not (measured and other_measured):
            return f"{one} became {other}"
        if abs(a - b) > RELATIVE * abs(a):
            if not rounded_apart(one, other):
                return f"{one} became {other}"
            apart.add((one, other))
    if len(apart) > max(1, len(numbers) // ROUNDED):
        return (
            f"{len(apart)} of {len(numbers)} numbers end in another digit: {', '.join(map(' → '.join, sorted(apart)))}"
        )
    return None


class Printed(str):
    """An output that equals another where `difference` finds none."""

    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        return str.__eq__(self, other) or (isinstance(other, str) and difference(self, other) is None)

    def __ne__(self, other: object) -> bool:
        return not self == other


def pytest_configure(config: pytest.Config) -> None:
    """Let nbval compare outputs so: it asks `sanitize` for each text, and then whether two are equal."""
    if config.getoption("nbval", False):
        from nbval.plugin import IPyNbCell

        exactly = IPyNbCell.sanitize
        told = IPyNbCell.format_output_compare

        def sanitize(cell: IPyNbCell, text: object) -> object:
            cleaned = exactly(cell, text)
            return Printed(cleaned) if isinstance(cleaned, str) else cleaned

        def tell(cell: IPyNbCell, key: str, left: object, right: object) -> None:
            if isinstance(left, str) and isinstance(right, str):
                cell.comparison_traceback.append(f"{key}: {difference(left, right)}")
            told(cell, key, left, right)

        IPyNbCell.sanitize, IPyNbCell.format_output_compare = sanitize, tell
