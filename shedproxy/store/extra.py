"""What `shedproxy[control]` installs, imported when it is needed."""

from __future__ import annotations

import importlib
from typing import Any

from shedproxy.errors import StartupError

__all__ = ["import_extra"]


def import_extra(module: str) -> Any:
    """The module.

    Raises:
        StartupError: it is not installed; says what to install.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise StartupError(
            f"snapshots need {package}, which is not installed: pip install 'shedproxy[control]'"
        ) from error
