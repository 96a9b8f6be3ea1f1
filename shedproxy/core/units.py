"""Points in time and lengths of time, as integers.

Integers make equal runs equal, timers comparable without an epsilon, and traces exact. Operators
never see nanoseconds: documents say `_ms` or carry a unit ("250ms") and are converted once.
"""

from __future__ import annotations

from typing import Final, NewType

__all__ = [
    "NS_PER_MS",
    "NS_PER_S",
    "NS_PER_US",
    "Instant",
    "Nanos",
    "milliseconds",
    "seconds",
    "to_milliseconds",
    "to_seconds",
]

Instant = NewType("Instant", int)
"""Nanoseconds on one monotonic timeline; only differences mean anything."""

Nanos = NewType("Nanos", int)
"""A length of time in nanoseconds."""

NS_PER_US: Final = 1_000
NS_PER_MS: Final = 1_000_000
NS_PER_S: Final = 1_000_000_000


def seconds(value: float) -> Nanos:
    """A length given in seconds."""
    return Nanos(round(value * NS_PER_S))


def milliseconds(value: float) -> Nanos:
    """A length given in milliseconds."""
    return Nanos(round(value * NS_PER_MS))


def to_seconds(length: int) -> float:
    """A length in seconds, for people and for exports."""
    return length / NS_PER_S


def to_milliseconds(length: int) -> float:
    """A length in milliseconds, for people."""
    return length / NS_PER_MS
