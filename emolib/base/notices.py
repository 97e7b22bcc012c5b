"""Warnings of the library, which point at the caller's own line and not into the library."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

from emolib.base.errors import one_line

_LIBRARY = str(Path(__file__).resolve().parents[1])


def notice(message: str, category: type[Warning] = UserWarning) -> None:
    """Warns about the first line outside of the library that led here.

    >>> import warnings
    >>> with warnings.catch_warnings(record=True) as told:
    ...     warnings.simplefilter("always")
    ...     notice("two labels were read as one")
    >>> str(told[0].message), told[0].filename.startswith(_LIBRARY)
    ('two labels were read as one', False)
    """
    depth = 2
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_LIBRARY):
        depth, frame = depth + 1, frame.f_back
    warnings.warn(one_line(message), category, stacklevel=depth)
