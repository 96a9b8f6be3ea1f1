"""No control refuses nobody."""

from __future__ import annotations

import math

from shedproxy.core import Instant, Outcome, Permit, RequestInfo
from shedproxy.simulator.controllers.nothing import NoControl


def test_all_are_admitted_and_counted() -> None:
    control = NoControl()
    permits = [control.arrive(RequestInfo(cost=2), now=Instant(5)) for _ in range(1000)]
    assert all(isinstance(permit, Permit) for permit in permits)
    assert control.reading() == (math.inf, 2000, 0, 0.0, 0)
    for permit in permits:
        assert isinstance(permit, Permit)
        control.release(permit, Outcome.SUCCESS, now=Instant(9))
    assert control.reading().in_flight == 0


def test_the_deadline_travels_with_the_permit() -> None:
    permit = NoControl().arrive(RequestInfo(), now=Instant(5), time_left_ns=10, flow_hash=3)
    assert isinstance(permit, Permit)
    assert (permit.expires_at, permit.flow_hash) == (15, 3)
