"""Bounds in time, on a machine that others use too: what is late is tried again, nothing else.

Another program can only lengthen what is measured. So a bound that holds in one of three tries
holds, and whatever else a test asserts has to hold in each.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["TooLateError", "in_time", "three_tries"]

_TRIES = 3
_F = TypeVar("_F", bound=Callable[..., Any])


class TooLateError(AssertionError):
    """Something took longer than it may."""


def in_time(took: float, bound: float) -> None:
    """Hold a measured time against its bound.

    Raises:
        TooLateError: it is above.
    """
    if took > bound:
        raise TooLateError(f"{took} is above {bound}")


def three_tries(test: _F) -> _F:
    """A test whose fixtures make anew what it asks of them: played again when `in_time` fails."""
    if inspect.iscoroutinefunction(test):

        @functools.wraps(test)
        async def play(*args: Any, **options: Any) -> None:
            for left in reversed(range(_TRIES)):
                try:
                    return await test(*args, **options)
                except TooLateError:
                    if not left:
                        raise

    else:

        @functools.wraps(test)
        def play(*args: Any, **options: Any) -> None:
            for left in reversed(range(_TRIES)):
                try:
                    return test(*args, **options)
                except TooLateError:
                    if not left:
                        raise

    return play  # type: ignore[return-value]
