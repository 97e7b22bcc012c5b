"""Calls that do not fit a function's signature, told like every other mistake."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from emolib.base.errors import UserError, nearest, shown

Made = TypeVar("Made", bound=Callable[..., Any])


def told(made: Made) -> Made:
    """Marks a public function or class: a call that its signature does not take is a `UserError`, not a TypeError.

    A TypeError from within stays what it is: a fault.

    >>> @told
    ... def doubled(number, *, times=1):
    ...     return number * 2 * times
    >>> doubled(3)
    6
    >>> doubled(3, time=2)
    Traceback (most recent call last):
    emolib.base.errors.UserError: unknown argument 'time' of doubled: did you mean 'times'? Valid: number, times
    """
    if isinstance(made, type):
        made.__init__ = told(made.__init__)  # type: ignore[misc]  # a class that is made once, here
        return made

    @wraps(made)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return made(*args, **kwargs)
        except TypeError as error:
            if error.__traceback__ is not None and error.__traceback__.tb_next is not None:
                raise  # from within: the call itself was taken
            raise _mistake(made, error) from error

    return call  # type: ignore[return-value]  # the same signature


def _mistake(made: Callable[..., Any], error: TypeError) -> UserError:
    name = made.__qualname__.removesuffix(".__init__")
    parameters = inspect.signature(made).parameters.values()
    named = [p.name for p in parameters if p.name != "self" and p.kind != inspect.Parameter.VAR_KEYWORD]
    unknown = re.search(r"unexpected keyword argument '(.*?)'", str(error))
    if unknown:
        return UserError(f"unknown argument {shown(unknown[1])} of {name}: {nearest(unknown[1], named)}")
    said = re.sub(r"^.*?\(\) ", "", str(error))
    return UserError(f"{name} {said}; its arguments are {', '.join(named)}: give them by name")
