"""A fixed limit is the operator's."""

from __future__ import annotations

from shedproxy.core import Instant, LimitPolicy
from shedproxy.core.limits.fixed import FixedLimit
from shedproxy.core.limits.protocol import LimitCause
from shedproxy.core.window import WindowSummary


def test_nothing_but_a_policy_moves_it() -> None:
    limit = FixedLimit(LimitPolicy(initial=7))
    now = Instant(1)
    change = limit.on_window(WindowSummary(overload_count=9), now=now)
    assert (change.limit_before, change.limit_after) == (7, 7)
    assert change.cause is LimitCause.STEADY
    limit.apply(LimitPolicy(initial=9))
    assert limit.limit == 9


def test_bounds_hold() -> None:
    assert FixedLimit(LimitPolicy(initial=70, maximum=50)).limit == 50
