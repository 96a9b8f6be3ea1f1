from __future__ import annotations

import pytest

from shedproxy.core import NS_PER_S
from shedproxy.dataplane.wire.pace import BURST_NS, Pace


def passed(pace: Pace, *, for_ns: int, start: int = 0, step: int = 1_000_000) -> int:
    """How many pass a gate that is tried at every step until it says no."""
    count = 0
    for now in range(start, start + for_ns, step):
        while not pace.take(now):
            count += 1
    return count


@pytest.mark.parametrize("rate", [1, 50, 200, 1000])
def test_as_many_pass_as_the_rate_says_and_the_burst_once(rate) -> None:
    burst = BURST_NS * rate // NS_PER_S + 1
    count = passed(Pace(rate), for_ns=10 * NS_PER_S)
    assert 10 * rate - 1 <= count <= 10 * rate + burst


def test_what_was_not_used_is_not_saved_beyond_the_burst() -> None:
    pace = Pace(100)
    passed(pace, for_ns=NS_PER_S)
    assert passed(pace, for_ns=1, start=100 * NS_PER_S) == BURST_NS * 100 // NS_PER_S + 1


def test_who_has_to_wait_is_told_how_long() -> None:
    pace = Pace(100)
    while not (delay_ns := pace.take(5)):
        pass
    assert pace.take(5 + delay_ns - 1)
    assert not pace.take(5 + delay_ns)


def test_a_rate_of_zero_is_no_bound_and_a_rate_can_change() -> None:
    pace = Pace(0)
    assert not any(pace.take(7) for _ in range(10_000))
    pace.set_rate(1)
    assert passed(pace, for_ns=5 * NS_PER_S // 2, start=10) == 3
