"""AIMD gives the numbers of `AIMDLimitTest`, and hears what `SimpleLimiter` would tell it."""

from __future__ import annotations

import pytest

from shedproxy.core import Instant, Outcome, Permit, RequestInfo, milliseconds, seconds
from shedproxy.simulator.controllers.aimd import AimdControl

MS = milliseconds(1)
START = Instant(seconds(1))


def finish(control: AimdControl, rtt_ns: int, outcome: Outcome, **changes: int) -> None:
    permit = control.arrive(RequestInfo(), now=START)
    assert isinstance(permit, Permit)
    control.release(permit, outcome, now=Instant(START + rtt_ns), **changes)


def test_default() -> None:
    assert AimdControl(initial=10).reading() == (10, 0, 0, 0.0, 0)


def test_increase_on_success() -> None:
    control = AimdControl(initial=20)
    control.on_sample(MS, 10, did_drop=False)
    assert control.limit == 21


def test_decrease_on_drops() -> None:
    control = AimdControl(initial=30)
    control.on_sample(0, 0, did_drop=True)
    assert control.limit == 27


def test_success_overflow() -> None:
    control = AimdControl(initial=21, maximum=21, minimum=0)
    control.on_sample(MS, 10, did_drop=False)
    assert control.limit == 21, "after a success it is still at the maximum"


def test_the_minimum_holds() -> None:
    control = AimdControl(initial=21)
    control.on_sample(MS, 21, did_drop=True)
    assert control.limit == 20


@pytest.mark.parametrize(
    ("rtt_ns", "outcome", "limit"),
    [
        (MS, Outcome.SUCCESS, 2),
        (seconds(5), Outcome.SUCCESS, 2),
        (seconds(5) + 1, Outcome.SUCCESS, 1),
        (MS, Outcome.OVERLOAD, 1),
        (MS, Outcome.ABANDONED, 1),
        (seconds(9), Outcome.IGNORE, 1),
    ],
)
def test_success_is_a_sample_overload_and_timeout_drop(
    rtt_ns: int, outcome: Outcome, limit: int
) -> None:
    control = AimdControl(initial=1, minimum=1)
    finish(control, rtt_ns, outcome)
    assert control.limit == limit
    control = AimdControl(initial=100)
    finish(control, rtt_ns, outcome)
    is_drop = outcome is Outcome.OVERLOAD or rtt_ns == seconds(5) + 1
    assert control.limit == (90 if is_drop else 100), "1 of 100 in flight teaches nothing else"


def test_time_that_the_client_stalled_is_not_latency() -> None:
    control = AimdControl(initial=1, minimum=1)
    finish(control, seconds(6), Outcome.SUCCESS, stalled_ns=seconds(2))
    assert control.limit == 2


def test_in_flight_is_counted_when_the_request_began() -> None:
    """Ten of twenty were in flight with the last one, none when it ended."""
    control = AimdControl(initial=20)
    permits = [control.arrive(RequestInfo(), now=START) for _ in range(10)]
    limits = []
    for permit in permits:
        assert isinstance(permit, Permit)
        control.release(permit, Outcome.SUCCESS, now=Instant(START + MS))
        limits.append(control.limit)
    assert limits == [20] * 9 + [21]


def test_who_left_when_its_time_was_up_is_a_drop() -> None:
    control = AimdControl(initial=100, timeout_ns=seconds(1))
    finish(control, seconds(1) - 1, Outcome.ABANDONED)
    assert control.limit == 100
    finish(control, seconds(1), Outcome.ABANDONED)
    assert control.limit == 90
