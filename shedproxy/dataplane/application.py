"""Finding the ASGI application that `MODULE:APP` names; errors are about it, and not about us."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
import traceback
from typing import Any

from shedproxy.errors import StartupError

__all__ = ["load_application"]

_OUR_FOLDER = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep  # noqa: PTH100, PTH120 - frames hold text
_IMPORT_FOLDER = os.path.dirname(importlib.__file__) + os.sep  # noqa: PTH120


def load_application(target: str, *, app_dir: str = "", is_factory: bool = False) -> Any:
    """Import `MODULE:APP` (APP may be dotted), and call it when it is a factory.

    Raises:
        StartupError: no such module or attribute, it is no application, or what it is made by
            failed; then with the part of the traceback that is not ours.
    """
    folder = os.path.abspath(app_dir or os.getcwd())  # noqa: PTH100, PTH109 - sys.path holds text
    if app_dir and folder not in sys.path:
        sys.path.insert(0, folder)
    module_name, _, names = target.partition(":")
    found = _import(module_name, folder)
    for name in names.split("."):
        try:
            found = getattr(found, name)
        except AttributeError as error:
            raise StartupError(f"module {module_name!r} has no attribute {names!r}") from error
    if is_factory:
        found = _call(found, target)
    elif not callable(found):
        raise StartupError(f"{target} is no application: {type(found).__name__} is not callable")
    elif _takes(found, 0) and not _takes(found, 3):
        raise StartupError(
            f"{target} takes no scope, receive and send: it seems to make the application;"
            " then add --factory"
        )
    return found


def _import(module_name: str, folder: str) -> Any:
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if module_name == missing or module_name.startswith(missing + "."):
            raise StartupError(f"there is no module {missing!r} in {folder}") from error
        raise _failure(f"importing {module_name!r} failed", error) from error
    except (Exception, SystemExit) as error:
        raise _failure(f"importing {module_name!r} failed", error) from error


def _call(factory: Any, target: str) -> Any:
    if not callable(factory):
        raise StartupError(f"{target} is no factory: {type(factory).__name__} is not callable")
    if _takes(factory, 3) and not _takes(factory, 0):
        raise StartupError(
            f"{target} takes arguments: it seems to be the application itself; then leave"
            " --factory out"
        )
    try:
        return factory()
    except (Exception, SystemExit) as error:
        raise _failure(f"calling {target} failed", error) from error


def _takes(function: Any, count: int) -> bool:
    """Whether it can be called with so many arguments; True where nobody knows."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return True
    try:
        signature.bind(*[None] * count)
    except TypeError:
        return False
    return True


def _failure(what: str, error: BaseException) -> StartupError:
    told = traceback.TracebackException.from_exception(error)
    told.stack = traceback.StackSummary.from_list(
        [frame for frame in told.stack if not _is_ours(frame.filename)]
    )
    return StartupError(f"{what}\n{''.join(told.format()).rstrip()}")


def _is_ours(filename: str) -> bool:
    return filename.startswith((_OUR_FOLDER, _IMPORT_FOLDER, "<frozen importlib"))
