"""How every command reads its words: each option once, numbers in decimal digits, texts of whole characters."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperCommand

from emolib.base.characters import NOT_WHOLE, is_whole
from emolib.base.errors import UserError, shown
from emolib.base.reading import read_as

# what names nothing but a file or a folder, which a system may call by any bytes
FILE_NAMES = frozenset(["source", "output", "folder", "goemotions", "tydip", "json"])


class StrictCommand(TyperCommand):
    """A command that says what it does not understand where others would keep the last word or guess."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Looks at the words as they were given, then reads them as ever.

        Raises:
            UserError: an option with one value is given twice, or a text is not valid UTF-8.
        """
        values, _, order = self.make_parser(ctx).parse_args(args=list(args))
        for place, param in enumerate(order):
            single = not param.multiple if hasattr(param, "multiple") else True
            if single and not getattr(param, "is_flag", False) and param in order[:place] and param.nargs == 1:
                raise UserError(f"{param.opts[0]} is given twice; keep one")
        for param in order:
            given = values.get(param.name)
            for text in given if isinstance(given, list | tuple) else [given]:
                if isinstance(text, str) and param.name not in FILE_NAMES and not is_whole(text):
                    raise UserError(f"{param.opts[0]}: {NOT_WHOLE}, got {shown(text)}; write it as UTF-8")
        return super().parse_args(ctx, args)


def decimal(text: str) -> int:
    """A whole number as parameters have it: `010` and `1_0` are none.

    Raises:
        typer.BadParameter: anything else.

    >>> decimal("12")
    12
    """
    try:
        return int(read_as(int, text))
    except ValueError as error:
        raise typer.BadParameter(f"{error} (an integer), got {shown(text)}") from None
