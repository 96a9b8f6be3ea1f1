"""The contract of a limit estimator: windows in, an integer and its cause out."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Protocol

from shedproxy.core.policy import LimitPolicy
from shedproxy.core.units import Instant
from shedproxy.core.window import WindowSummary

__all__ = ["LimitCause", "LimitChange", "LimitEstimator", "clamp_limit", "rescaled_limit"]


class LimitCause(enum.IntEnum):
    """Why a limit is what it is after a window."""

    HEADROOM = 0
    """The limit was in the way and latency was low: more fits."""
    QUEUEING = 1
    """Latency says that work waits inside the service."""
    OVERLOAD = 2
    """Timeouts, refused connections, 503: hard evidence."""
    APP_LIMITED = 3
    """The limit was not in the way: nothing was learnt about it."""
    STEADY = 4
    """It is where it should be."""
    CLAMPED = 5
    """The policy's bound is in the way."""
    CONFIGURED = 6
    """The operator said so."""
    RELEARNT = 7
    """The service seems to have become slower or faster: baselines are learnt anew."""
    RESCALED = 8
    """Upstreams went or came back: the limit is per healthy weight."""

    @property
    def is_move(self) -> bool:
        """Whether with it the limit moves by itself."""
        return self <= LimitCause.OVERLOAD

    @property
    def label(self) -> str:
        """The word used in logs, metrics and status."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class LimitChange:
    """One judgement of an estimator; `limit_after` may equal `limit_before`."""

    limit_before: int
    limit_after: int
    cause: LimitCause
    at: Instant
    rtt_ratio: float = 0.0
    """Mean latency over no-load latency in the window; 0.0: unknown."""


class LimitEstimator(Protocol):
    """Moves one limit. Holds no clock and no samples, only what its formula needs."""

    @property
    def limit(self) -> int:
        """Slots that may be in flight now."""
        ...

    @property
    def low_in_flight(self) -> int:
        """Most in flight, with the request itself, at which latency is that without load."""
        ...

    def on_window(self, window: WindowSummary, *, now: Instant) -> LimitChange:
        """Judge a window and move the limit."""
        ...

    def apply(self, policy: LimitPolicy) -> None:
        """Take new bounds; what was learnt stays, per healthy weight."""
        ...


def clamp_limit(limit: float, policy: LimitPolicy) -> float:
    """The limit inside the policy's bounds, and never below 1."""
    return max(1, policy.minimum, min(policy.maximum, limit))


def rescaled_limit(limit: float, before: LimitPolicy, policy: LimitPolicy) -> float:
    """What a limit found under one policy is under another: the same per healthy weight."""
    if before.weight and policy.weight:
        limit *= policy.weight / before.weight
    return clamp_limit(limit, policy)
