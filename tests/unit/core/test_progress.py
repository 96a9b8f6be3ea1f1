"""Whether a call belongs to a task that is under way."""

from __future__ import annotations

import pytest

from shedproxy.core import Instant, Nanos, RequestInfo, milliseconds, rank_of
from shedproxy.core.progress import Progress
from shedproxy.core.request import IN_PROGRESS

RANK = rank_of(RequestInfo(), 5)


@pytest.fixture
def progress() -> Progress:
    """Of a service of 20 ms: between two calls of a task there are 160 ms at most."""
    progress = Progress()
    progress.fit(Nanos(milliseconds(20)))
    return progress


def is_under_way(progress: Progress, ms: float, cohort: int = 5) -> bool:
    rank = progress.rank(RANK, cohort, Instant(milliseconds(ms)))
    assert rank in (RANK, RANK | IN_PROGRESS)
    return rank != RANK


def test_nobody_is_under_way_before_an_answer(progress: Progress) -> None:
    """At the very beginning of time either."""
    assert not is_under_way(progress, 0)
    progress.answer(6, Instant(0))
    assert not is_under_way(progress, 1)


def test_who_asks_again_soon_after_an_answer_is_under_way(progress: Progress) -> None:
    """At the same instant, and until a pause is over; whatever others do meanwhile."""
    progress.answer(5, Instant(0))
    progress.answer(6, Instant(milliseconds(100)))
    assert is_under_way(progress, 0)
    assert is_under_way(progress, 160)
    assert not is_under_way(progress, 161)


def test_pauses_are_short_where_the_service_is_quick_but_not_shorter_than_callers_need(
    progress: Progress,
) -> None:
    """A caller has work of its own."""
    progress.fit(Nanos(milliseconds(0.3)))
    progress.answer(5, Instant(0))
    assert is_under_way(progress, 10)
    assert not is_under_way(progress, 11)


def test_who_never_stops_asking_is_not_under_way_for_ever(progress: Progress) -> None:
    """64 pauses: 10.24 s. Then a first call is a first call, until there was a pause."""
    for ms in range(0, 20_000, 100):
        progress.answer(5, Instant(milliseconds(ms)))
        assert is_under_way(progress, ms) == (ms <= 10_240)
    assert not is_under_way(progress, 20_000)
    progress.answer(5, Instant(milliseconds(20_000 + 161)))
    assert is_under_way(progress, 20_200)
