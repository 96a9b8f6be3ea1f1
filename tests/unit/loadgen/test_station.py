"""A station process works as it was told, and its report is exact."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable

import pytest

from shedproxy.core import Criticality, Nanos, milliseconds, seconds
from shedproxy.loadgen import Player, Station
from shedproxy.workload import constant_arrivals
from shedproxy.workload.laws import service_law


def at_once(count: int) -> Iterable[tuple[Nanos, Criticality]]:
    return [(Nanos(0), Criticality.CRITICAL)] * count


@pytest.mark.integration
def test_the_station_answers_within_its_capacity_and_ends_with_its_parent() -> None:
    """Half of 400 requests/s for half a second: all answered; then the process is gone."""
    with Station(slots=4, service_ms=10) as station:
        assert station.capacity_rps == 400
        player = Player(station.url, deadline_ns=seconds(5))
        schedule = (
            (offset, Criticality.CRITICAL)
            for offset in constant_arrivals(rate_rps=200, duration_ns=seconds(0.5))
        )
        asyncio.run(player.play(schedule))
        now = station.report()
        process = station._process
    assert [row.status for row in player.rows] == [200] * 100
    assert (now.arrival_count, now.departure_count, now.busy_ns) == (100, 100, seconds(1))
    assert process is not None
    assert process.returncode == 0
    last = station.report()
    assert (last.busy_ns, last.departure_count) == (now.busy_ns, now.departure_count)
    # Of four slots; how late the first request was is the machine's doing.
    assert last.elapsed_ns > now.elapsed_ns >= now.busy_ns / 4
    assert last.cpu_ns > now.cpu_ns > 0


@pytest.mark.integration
def test_a_process_draws_what_the_law_gives_for_its_seed() -> None:
    """To the nanosecond, in order of arrival."""
    law = service_law("lognormal", mean_ns=milliseconds(2), rng=random.Random(9), cv=0.5)
    with Station(slots=4, service_ms=2, law="lognormal", cv=0.5, seed=9) as station:
        asyncio.run(Player(station.url, deadline_ns=seconds(5)).play(at_once(20)))
    assert station.report().busy_ns == sum(law() for _ in range(20))


@pytest.mark.integration
def test_a_process_keeps_pauses_and_steps_and_stops_abandoned_work() -> None:
    """Work of 10 ms takes 400 from 15 ms on; two pauses of 30 ms; clients leave after 200."""
    with Station(
        slots=1, service_ms=10, cancels=True, pause_ms=(50, 30), steps=[(0.015, 400), (60, 1)]
    ) as station:
        player = Player(station.url, deadline_ns=milliseconds(200))
        asyncio.run(player.play(at_once(8)))
    report = station.report()
    assert report.abandoned_count == sum(row.status == 0 for row in player.rows) >= 6
    assert report.departure_count == sum(row.status == 200 for row in player.rows) >= 1
    assert report.arrival_count == report.departure_count + report.abandoned_count == 8
    assert report.busy_ns == report.departure_count * milliseconds(10) + report.abandoned_ns
    assert 0 < report.abandoned_ns < report.busy_ns <= report.capacity_ns
    assert report.capacity_ns <= report.elapsed_ns - milliseconds(60)


@pytest.mark.integration
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"slots": 0}, "needs a slot"),
        ({"service_ms": -1}, "above 0"),
        ({"law": "gamma"}, "gamma"),
        ({"pause_ms": (5, 5)}, "pause"),
    ],
)
def test_a_station_that_cannot_work_does_not_start(options, message: str, capfd) -> None:
    """And its process says why."""
    with pytest.raises(RuntimeError, match="did not start"):
        Station(**{"slots": 1, "service_ms": 1, **options}).__enter__()
    assert message in capfd.readouterr().err
