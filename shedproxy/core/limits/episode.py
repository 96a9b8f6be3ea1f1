"""A time of hard evidence: the service refuses or lets time out, and the limit goes down.

How far is decided by whether it helps. The limit falls by a tenth with each such window, and at
every halving the share of answers that failed is compared with that of the halving before: less
load must have left fewer failures. Where it has not, what fails has other reasons (a broken
dependency, a bad release), and the limit returns to where the useless halving began. The first
halving is always made: there is nothing to compare it with. Where all fail, and sooner than work
takes, the service is down, not overloaded: the limit stays, and is again what it was.
"""

from __future__ import annotations

import math
from typing import Final

from shedproxy.core.window import WindowSummary

__all__ = ["STEP_MIN", "Ceiling", "OverloadEpisode", "has_overload"]

STEP_MIN: Final = 0.1
"""Slots that any rise of the limit adds at least: a share of few is nothing."""

_BACKOFF: Final = 0.9
"""The limit after a window of hard evidence, of that before: the usual gentle decrease."""
_OVERLOAD_SHARE: Final = 0.02
"""Fewer overload outcomes than this are an upstream's background noise."""
_HELPED: Final = 0.67
"""Half the limit must leave at most this share of the failures: proportional would be 0.5."""
_ANSWERS_MIN: Final = 20
"""Outcomes of a halving before it is judged: a share of fewer is chance."""
_DOWN_WINDOWS: Final = 3
"""Windows in a row in which all failed at once: of few slots none may end in a single one."""
_CLEAN_WINDOWS: Final = 4
"""Windows without hard evidence in a row that end it: one may be clean by chance."""
_NEAR: Final = 0.8
"""From this share of the ceiling on the limit rises slowly,"""
_NEAR_GROWTH: Final = 0.02
"""so much in a window: one slot too many may fail a thousand times a second."""
_PASSED: Final = 1.2
"""Beyond so many ceilings the service has grown, and there is none any more."""


def has_overload(window: WindowSummary) -> bool:
    """Whether enough of a window's outcomes are timeouts, refusals and the like to act upon."""
    answers = window.sample_count + window.overload_count
    return window.overload_count > 0 and window.overload_count >= answers * _OVERLOAD_SHARE


class OverloadEpisode:
    """From the first window of hard evidence to the last: less and less, as long as it helps."""

    __slots__ = (
        "_answers",
        "_clean_count",
        "_down_count",
        "_has_helped",
        "_level_halved",
        "_overloads",
        "_share_before",
        "is_futile",
    )

    def __init__(self, level: float) -> None:
        """Begin at `level` slots."""
        self.is_futile = False
        """A halving did not help: what fails has other reasons."""
        self._has_helped = False
        self._level_halved = level
        """Where the present halving began."""
        self._share_before = math.inf
        self._overloads = self._answers = self._clean_count = self._down_count = 0

    @property
    def has_taught(self) -> bool:
        """Whether the level it ends at is one that the service needed it to go down to."""
        return self._has_helped or not self.is_futile

    def next_level(self, level: float, window: WindowSummary) -> float:
        """The level in slots after one more window of hard evidence at `level`."""
        self._clean_count = 0
        self._overloads += window.overload_count
        self._answers += window.overload_count + window.sample_count
        if self.is_futile:
            return level
        # Who has too much to do still does what can be done, or fails late. Where all fail at once
        # something else is wrong, and a lower limit would only have to be climbed again.
        if not (window.sample_count or window.late_count):
            self._down_count += 1
            self.is_futile = self._down_count >= _DOWN_WINDOWS
            return self._level_halved if self.is_futile else level
        self._down_count = 0
        if level * _BACKOFF >= self._level_halved / 2:
            return level * _BACKOFF
        if self._answers < _ANSWERS_MIN:
            return level
        share = self._overloads / self._answers
        self._overloads = self._answers = 0
        if share > self._share_before * _HELPED:
            self.is_futile = True
            return self._level_halved
        self._has_helped = self._share_before < math.inf
        self._level_halved, self._share_before = level, share
        return level * _BACKOFF

    def is_over(self) -> bool:
        """Take a window without hard evidence: whether that makes enough of them in a row."""
        self._clean_count += 1
        return self._clean_count >= _CLEAN_WINDOWS


class Ceiling:
    """The level at which the service last failed, and less helped: the way back there is slow."""

    __slots__ = ("_level",)

    def __init__(self) -> None:
        self._level = math.inf

    def put_above(self, level: float) -> None:
        """An episode ended at `level` slots: what failed was a step above."""
        self._level = level / _BACKOFF

    def bounded(self, grown: float, *, level: float) -> float:
        """How far the limit may rise that is at `level` and would rise to `grown`, in slots."""
        if level < self._level * _NEAR:
            return grown
        grown = min(grown, level + max(STEP_MIN, level * _NEAR_GROWTH))
        if grown > self._level * _PASSED:
            self._level = math.inf
        return grown
