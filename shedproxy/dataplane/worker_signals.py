"""Signals for the supervisor that reach all its processes where a service manager sends them."""

from __future__ import annotations

import signal
from typing import Final

__all__ = ["leave_to_supervisor"]

_ITS_OWN: Final = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


def leave_to_supervisor() -> None:
    """Do nothing at them, instead of ending with all that is in flight.

    By a handler: that they are ignored would be inherited by the children of an application, which
    may have handlers of its own.
    """
    for signum in _ITS_OWN:
        signal.signal(signum, _heed_not)


def _heed_not(_signum: int, _frame: object) -> None:
    """It is the supervisor's."""
