"""Falls of the limit, and what speaks against them: throughput that is gone, and their depth."""

from __future__ import annotations

import math
from typing import Final

from shedproxy.core.limits.evidence import Evidence

__all__ = ["Fall"]

_LOSS: Final = math.log(1.25)
"""A queue that is less costs no throughput: so much less done, and"""
_LOSS_ERRORS: Final = 1.5
"""so many errors, and it was none; or others have taken its place, or capacity is lost."""
_DEEP: Final = 0.6
"""A fall to this share may be the baseline's: the service takes longer, load or no load."""
_YIELD: Final = 0.1
"""How much of where it began gives way with each rise on the way: what has recovered is no fall."""
_BACK: Final = 0.9
"""Of what was in flight: the limit is back."""


class Fall:
    """What was done before the limit began to fall, and where that was."""

    __slots__ = ("_before", "_level")

    def __init__(self) -> None:
        self._before: Evidence | None = None
        self._level = 0.0

    def begin(self, before: Evidence, *, level: float) -> None:
        """From `level`, and what was seen so far, the limit falls; one that goes on goes on."""
        if self._before is None and before.count:
            self._before, self._level = before.copy(), level

    def rise_to(self, level: float) -> None:
        """The limit rises; back where it was, there is none to explain."""
        if self._before is not None and level >= _BACK * self._before.in_flight:
            self._before = None
        self._level = max(level, self._level + _YIELD * (level - self._level))

    def is_deep(self, level: float) -> bool:
        """Whether most of the limit is gone."""
        return self._before is not None and level <= _DEEP * self._level

    def end(self) -> None:
        """It has been explained."""
        self._before = None

    def is_in_vain(self, lately: Evidence, *, scatter: float) -> bool:
        """Whether clearly less is done since, and not because it takes longer."""
        before = self._before
        if before is None or not lately.count or lately.rtt_ns > before.rtt_ns:
            return False
        loss = math.log(before.rate / lately.rate)
        # In squared latencies: the baseline may be far too low.
        scatter /= max(1.0, lately.ratio) ** 2
        error = math.hypot(before.error(scatter), lately.error(scatter))
        return loss > max(_LOSS, _LOSS_ERRORS * error)
