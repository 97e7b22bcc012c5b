"""What a caller of the library may give for an argument of one kind: texts, a whole number, a finite number, a choice.

Every function that people call from a notebook asks here, before anything runs. What means the value that is wanted is
taken and comes back as the plain type (2.0, `np.int64(2)` and a tensor of one number are the whole number 2; a tuple,
a Series and a generator of texts are a list of texts); anything else is a `UserError` of one line that names the
argument. `True` is no number, and one text is no list of texts.
"""

from __future__ import annotations

import math
import numbers
import operator
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Set
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from emolib.base.characters import NOT_WHOLE, is_whole
from emolib.base.errors import UserError, nearest, shown

Kind = TypeVar("Kind")


def whole_number(name: str, value: Any, *, least: int | None = None, most: int | None = None) -> int:
    """The value as an int.

    Raises:
        UserError: no whole number, or one out of range.

    >>> whole_number("window", 2.0, least=1)
    2
    >>> whole_number("window", "2", least=1)
    Traceback (most recent call last):
    emolib.base.errors.UserError: expected window of at least 1 (a whole number), got '2'
    """
    found = _as_whole(value)
    if found is None or (least is not None and found < least) or (most is not None and found > most):
        raise UserError(f"expected {name}{_range(least, most)} (a whole number), got {shown(value)}")
    return found


def number(
    name: str,
    value: Any,
    *,
    least: float | None = None,
    most: float | None = None,
    above: float | None = None,
    below: float | None = None,
    note: str = "",
) -> float:
    """The value as a finite float.

    Args:
        least, most: the smallest and the largest value that are allowed.
        above, below: bounds that are not allowed themselves.
        note: what the range means, in brackets at its end.

    Raises:
        UserError: no number, not finite, or out of range.

    >>> import numpy as np
    >>> number("alpha", np.float32(0.5))
    0.5
    >>> number("top_p", 2, above=0, most=1)
    Traceback (most recent call last):
    emolib.base.errors.UserError: expected a finite top_p above 0 and at most 1, got 2
    """
    found = _as_number(value)
    inside = found is not None and math.isfinite(found)
    if found is None or not inside or not _within(found, least, most, above, below):
        raise UserError(f"expected a finite {name}{_range(least, most, above, below)}{note}, got {shown(value)}")
    return found


def flag(name: str, value: Any) -> bool:
    """True or False.

    Raises:
        UserError: anything else.
    """
    if not isinstance(value, bool | np.bool_):
        raise UserError(f"expected {name}=True or {name}=False, got {shown(value)}")
    return bool(value)


def one_of(name: str, value: Any, choices: Iterable[str]) -> str:
    """The value, if it is one of the choices.

    Raises:
        UserError: names the nearest choice and all of them.
    """
    known = tuple(choices)
    if not isinstance(value, str) or value not in known:
        raise UserError(f"unknown {name} {shown(value)}: {nearest(value, known)}")
    return str(value)


def text(name: str, value: Any, *, hint: str = "") -> str:
    """One text that is not empty.

    Raises:
        UserError: no str, or only white space.
    """
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"expected {name} as a text, got {_told(value)}{hint}")
    if not is_whole(value):
        raise UserError(f"{name}: {NOT_WHOLE}, got {shown(value)}{hint}")
    return str(value)


def path(name: str, value: Any) -> Path:
    """A path, from a str or a path-like object; nothing is looked up.

    Raises:
        UserError: anything else, an empty one, or one that no system can hold.
    """
    given = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(given, str) or not given or "\0" in given:
        raise UserError(f"expected {name} as a path (text), got {_told(value)}")
    return Path(given)


def texts(value: Any, name: str = "texts", *, empty: bool = False) -> list[str]:
    """A list of texts, from any sequence of them or a generator.

    Args:
        empty: whether a text may be empty.

    Raises:
        UserError: one text in place of a list, a table, an element that is no text; names its place.

    >>> import pandas as pd
    >>> texts(pd.Series(["Thank you", "It is Monday"]))
    ['Thank you', 'It is Monday']
    >>> texts("Thank you", "prompts")
    Traceback (most recent call last):
    emolib.base.errors.UserError: expected prompts as a list of texts, got one text 'Thank you'; put it into a list
    """
    found = listed(name, value, "texts")
    for place, one in enumerate(found):
        if not isinstance(one, str) or not (empty or one.strip()):
            what = "" if empty else "non-empty "
            of = "" if name == "texts" else f" of {name}"
            raise UserError(f"expected {what}texts, text {place}{of} is {_told(one)}")
        if not is_whole(one):
            raise UserError(f"{NOT_WHOLE}, text {place} of {name} is {shown(one)}; take out the halves of characters")
    return [str(one) for one in found]


def listed(name: str, value: Any, what: str) -> list[Any]:
    """The elements of a sequence, a one-dimensional array, a Series or a generator, in their order.

    Args:
        what: the elements, for the message.

    Raises:
        UserError: one element in place of a list, or a table, a dict or a set, whose order means nothing.
    """
    wanted = f"expected {name} as a list of {what}, got"
    if isinstance(value, str):
        raise UserError(f"{wanted} one text {shown(value)}; put it into a list")
    if isinstance(value, pd.DataFrame):
        raise UserError(f"{wanted} a table; give one of its columns, for example data['text']")
    if getattr(value, "ndim", 1) != 1:
        raise UserError(f"{wanted} an array of {value.ndim} dimensions")
    if isinstance(value, bytes | bytearray | Mapping | Set) or not isinstance(value, Iterable):
        raise UserError(f"{wanted} {_told(value)}")
    return list(value)


def whole_numbers(name: str, value: Any, *, least: int | None = None, most: int | None = None) -> list[int]:
    """`listed`, every element a `whole_number`."""
    return [
        whole_number(f"{name}[{place}]", one, least=least, most=most)
        for place, one in enumerate(listed(name, value, "whole numbers"))
    ]


def finite_numbers(name: str, value: Any) -> list[float]:
    """`listed`, every element a `number`."""
    return [number(f"{name}[{place}]", one) for place, one in enumerate(listed(name, value, "numbers"))]


def function(name: str, value: Any) -> Callable[..., Any] | None:
    """A function, or None.

    Raises:
        UserError: something that cannot be called.
    """
    if value is not None and not callable(value):
        raise UserError(f"expected {name} as a function or None, got {_told(value)}")
    return value


def instance(name: str, value: Any, kind: type[Kind] | tuple[type[Kind], ...], source: str) -> Kind:
    """The value, if it is of a kind that the library makes.

    Args:
        source: where such a value comes from, for the message.

    Raises:
        UserError: anything else.
    """
    if not isinstance(value, kind):
        raise UserError(f"expected {name} from {source}, got {_told(value)}")
    return value


def check_names(what: str, given: Collection[str], valid: Collection[str]) -> None:
    """Raises `UserError` for a name that is not valid; names the nearest one."""
    for name in given:
        if name not in valid:
            raise UserError(f"unknown {what} {shown(name)}: {nearest(name, valid)}")


def real_array(name: str, value: Any) -> np.ndarray:
    """Real numbers as a float32 array, from an array, a list, a Series or a tensor of any dtype and device.

    Raises:
        UserError: complex or other objects, or rows of different length.
    """
    given = value
    if hasattr(given, "detach"):  # a tensor, which this floor does not know
        given = _of_tensor(name, given)
    try:
        array = np.asarray(given)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"expected {name} of real numbers, got {_told(value)}") from error
    if array.dtype.kind not in "fiu" or np.ma.is_masked(given):
        raise UserError(f"expected {name} of real numbers, got {_told(value)} of dtype {array.dtype}")
    with np.errstate(over="ignore"):
        return array.astype(np.float32)


def float_array(name: str, value: Any) -> np.ndarray:
    """Numbers (NaN among them, too) as a float64 array.

    Raises:
        UserError: something that is no array of numbers.
    """
    try:
        return np.asarray(value, dtype=float)
    except (TypeError, ValueError) as error:
        raise UserError(f"expected {name} that are numbers, got {_told(value)}") from error


def _of_tensor(name: str, tensor: Any) -> Any:
    if tensor.is_complex() or tensor.device.type == "meta":
        raise UserError(f"expected {name} of real numbers, got a tensor of {tensor.dtype} on {tensor.device}")
    try:
        found = tensor.detach().to_dense() if str(tensor.layout) != "torch.strided" else tensor.detach()
        return found.cpu().double().numpy() if found.is_floating_point() else found.cpu().numpy()
    except (TypeError, RuntimeError, NotImplementedError) as error:
        raise UserError(f"expected {name} of real numbers, got a tensor of {tensor.dtype}") from error


def _told(value: Any) -> str:
    """What a message says of a wrong value: its type, and the value where it is short."""
    if value is None or isinstance(value, str | numbers.Number | bytes):
        return shown(value)
    return f"{type(value).__name__} {shown(value)}" if isinstance(value, list | tuple | dict) else type(value).__name__


def _is_truth(value: Any) -> bool:
    return isinstance(value, bool | np.bool_) or "bool" in str(getattr(value, "dtype", ""))


def _as_whole(value: Any) -> int | None:
    if _is_truth(value) or isinstance(value, str | bytes):
        return None
    try:
        return operator.index(value)
    except (TypeError, ValueError, RuntimeError):
        found = _as_number(value)
    return int(found) if found is not None and found.is_integer() else None


def _as_number(value: Any) -> float | None:
    if _is_truth(value) or isinstance(value, str | bytes | complex | np.complexfloating):
        return None
    if getattr(value, "ndim", 0) != 0 or (not hasattr(value, "__float__") and not hasattr(value, "__index__")):
        return None
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        return None


def _within(value: float, least: float | None, most: float | None, above: float | None, below: float | None) -> bool:
    return not (
        (least is not None and value < least)
        or (most is not None and value > most)
        or (above is not None and value <= above)
        or (below is not None and value >= below)
    )


def _range(
    least: float | None = None, most: float | None = None, above: float | None = None, below: float | None = None
) -> str:
    if least is not None and most is not None:
        return f" from {least} to {most}"
    low = f"of at least {least}" if least is not None else f"above {above}" if above is not None else ""
    high = f"at most {most}" if most is not None else f"below {below}" if below is not None else ""
    if low and high:
        return f" {low} and {high}"
    return f" {low or 'of ' + high if high else low}" if low or high else ""
