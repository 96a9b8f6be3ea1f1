"""A timer that rings within microseconds of its instant, without spinning.

Event loops round their timers to milliseconds, a generator's schedule does not. A Linux timerfd has
the nanoseconds of the clock it is set by, and to the loop it is one more file to read from.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
from collections.abc import Callable

from shedproxy.core import NS_PER_S, Instant

__all__ = ["Alarm"]

_LIBC = ctypes.CDLL(None, use_errno=True)
# From <time.h>, <sys/timerfd.h> and their manual pages; Python has them from 3.13 on.
_CLOCK_MONOTONIC, _TFD_TIMER_ABSTIME = 1, 1
_Timespecs = ctypes.c_long * 4


class Alarm:
    """Calls `on_ring` on the running loop at the instant it is set to, once each time it is set.

    Instants are those of `shedproxy.clock.monotonic_now`; one that has passed rings at once.

    Raises:
        OSError: when the kernel has no timer to give.
    """

    def __init__(self, on_ring: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_ring = on_ring
        self._file = _LIBC.timerfd_create(_CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        _check(self._file)
        self._loop.add_reader(self._file, self._ring)

    def set(self, at: Instant | None) -> None:
        """Ring at `at` and not at what was set before; None: not at all."""
        # All zero disarms.
        when = (0, 0) if at is None else divmod(max(1, at), NS_PER_S)
        times = _Timespecs(0, 0, *when)
        _check(_LIBC.timerfd_settime(self._file, _TFD_TIMER_ABSTIME, times, None))

    def close(self) -> None:
        """Never ring again, and give the timer back."""
        self._loop.remove_reader(self._file)
        os.close(self._file)

    def _ring(self) -> None:
        try:
            os.read(self._file, 8)
        except BlockingIOError:
            # Set anew after the loop had noticed the earlier instant.
            return
        self._on_ring()


def _check(result: int) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
