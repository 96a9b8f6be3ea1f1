"""The last some dozen samples beside all that is remembered: whether the service has changed."""

from __future__ import annotations

import enum
import math
from typing import Final

from shedproxy.core.limits.evidence import Evidence
from shedproxy.core.limits.fall import Fall
from shedproxy.core.window import WindowSummary

__all__ = ["SAMPLES", "Change", "Lately"]

SAMPLES: Final = 48.0
"""Samples in which a change must show, times 1 + scatter: soon, with an error that allows it."""
_SHARE: Final = 0.9
"""How full of them the evidence must be: scatter, and so their number, drifts."""
_ROOM_ERRORS: Final = 1.5
"""Errors by which recent latency must lie below its target to be room."""
_JUMP: Final = math.log(1.5)
"""A change of the strain by half is looked into, if it is"""
_JUMP_ERRORS: Final = 4.0
"""so many errors as well: there is a look at every window, and few must be in vain."""
_FASTER_RATIO: Final = 0.8
"""Latency below this many baselines: no load explains that, the baseline is wrong."""


class Change(enum.Enum):
    """What the last samples say against all others."""

    SUSPECTED = enum.auto()
    """Something, for the first time: once may be chance."""
    FASTER = enum.auto()
    """Latency is below the baseline."""
    HIGHER = enum.auto()
    LOWER = enum.auto()
    LESS = enum.auto()
    """A fall of the limit took throughput."""


class Lately:
    """Recent evidence, and whether it contradicted what is remembered twice, in the same way."""

    __slots__ = ("_suspected", "evidence")

    def __init__(self) -> None:
        self._suspected: Change | None = None
        self.evidence = Evidence()

    def reset(self) -> None:
        """Know nothing."""
        self._suspected = None
        self.evidence.reset()

    def add(self, window: WindowSummary, *, target_ns: float, scatter: float) -> None:
        """Take a window whose latency should be `target_ns`."""
        self.evidence.add(window, target_ns=target_ns, memory=SAMPLES * (1 + scatter))

    def forgive(self) -> None:
        """What it was suspected of is settled; what is recent stays so."""
        self._suspected = None

    def _is_enough(self, scatter: float) -> bool:
        return self.evidence.count >= _SHARE * SAMPLES * (1 + scatter)

    def has_headroom(self, scatter: float) -> bool:
        """Whether latency is below its target now, whatever else is remembered."""
        recent = self.evidence
        if not self._is_enough(scatter) or recent.strain >= 1:
            return False
        return -math.log(recent.strain) > _ROOM_ERRORS * recent.error(scatter)

    def change(self, usual: Evidence, *, scatter: float, fall: Fall | None = None) -> Change | None:
        """How it contradicts `usual`, or `fall`; None: it does not, or too little is known."""
        recent = self.evidence
        if not self._is_enough(scatter):
            return None
        error = recent.error(scatter)
        is_faster = 0 < recent.ratio < min(_FASTER_RATIO, 1 - _JUMP_ERRORS * error)
        jump = math.log(recent.strain / usual.strain)
        is_jump = abs(jump) > max(_JUMP, _JUMP_ERRORS * error)
        if is_faster:
            change = Change.FASTER
        elif is_jump:
            change = Change.HIGHER if jump > 0 else Change.LOWER
        elif fall is not None and fall.is_in_vain(recent, scatter=scatter):
            change = Change.LESS
        else:
            self._suspected = None
            return None
        if self._suspected is not change:
            self._suspected = change
            recent.reset()
            return Change.SUSPECTED
        return change
