"""A rate that nobody exceeds."""

from __future__ import annotations

from shedproxy.core import Instant, milliseconds, seconds
from shedproxy.loadgen.pace import Pace


def sent(pace: Pace, instants: list[Instant]) -> int:
    count = 0
    for now in instants:
        while pace.free_at <= now:
            pace.take(now)
            count += 1
    return count


def test_from_the_start_on_it_is_the_rate_and_one() -> None:
    pace = Pace(100.0, burst_count=8, begin_at=Instant(seconds(5)))
    instants = [Instant(seconds(5) + milliseconds(n)) for n in range(1_000)]
    assert sent(pace, instants[:1]) == 1
    assert sent(pace, instants) == 99


def test_what_was_not_used_is_made_up_for_as_far_as_the_burst_goes() -> None:
    pace = Pace(100.0, burst_count=4, begin_at=Instant(0))
    assert sent(pace, [Instant(seconds(3))]) == 4
    assert pace.free_at == seconds(3) + milliseconds(10)
