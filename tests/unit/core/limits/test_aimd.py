"""AIMD gives the numbers of the reference's own tests."""

from __future__ import annotations

import pytest

from shedproxy.core import Instant, LimitPolicy, seconds
from shedproxy.core.limits.aimd import AimdLimit, next_aimd_limit
from shedproxy.core.limits.protocol import LimitCause
from shedproxy.core.window import WindowSummary


@pytest.mark.parametrize(
    ("limit", "rtt_ns", "in_flight", "did_drop", "expected"),
    [
        (20, 1, 10, False, (21, LimitCause.HEADROOM)),
        (30, 1, 0, True, (27, LimitCause.OVERLOAD)),
        (20, 1, 9, False, (20, LimitCause.APP_LIMITED)),
        (30, seconds(6), 30, False, (27, LimitCause.OVERLOAD)),
    ],
)
def test_one_up_or_a_tenth_down(
    limit: int, rtt_ns: int, in_flight: int, did_drop: bool, expected: tuple[int, LimitCause]
) -> None:
    moved = next_aimd_limit(limit=limit, rtt_ns=rtt_ns, in_flight=in_flight, did_drop=did_drop)
    assert moved == expected


def test_it_stops_at_the_maximum() -> None:
    limit = AimdLimit(LimitPolicy(initial=21, maximum=21))
    now = Instant(0)
    window = WindowSummary(sample_count=1, rtt_mean_ns=1, in_flight_max=21)
    change = limit.on_window(window, now=now)
    assert (change.limit_after, change.cause) == (21, LimitCause.CLAMPED)
