"""A load by itself: read from intended send times, by parts, and voided by its generator."""

from __future__ import annotations

from dataclasses import replace

from harness.calibrations import SLO

from shedproxy.calibration.load_test import keeps_slo, play_load, search_load
from shedproxy.calibration.orders import Order, Played, Sent
from shedproxy.core import Instant, Nanos, milliseconds, seconds
from shedproxy.workload import constant_arrivals
from shedproxy.workload.shapes import Level

T0 = 5_000_000_000


class Answers:
    """Plays in no time: 20 ms each up to `upto_rps`, then a second, and `late_ns` late."""

    def __init__(self, upto_rps: float = 1e9, *, late_ns: int = 0, status: int = 200) -> None:
        self.upto_rps = upto_rps
        self.late_ns = late_ns
        self.status = status
        self.orders: list[Order] = []

    def play_schedule(self, order: Order, schedule) -> Played:
        self.orders.append(order)
        took = milliseconds(20) if order.planned_rps <= self.upto_rps else seconds(1)
        rows = [
            Sent(Instant(T0 + at), Instant(T0 + at + self.late_ns), Instant(T0 + at + took),
                 self.status, number)
            for at, number in schedule
        ]  # fmt: skip
        return Played(
            rows=rows,
            started_at=Instant(T0),
            stopped_at=Instant(T0 + order.length_ns),
            ended_at=Instant(T0 + order.length_ns + took),
            planned_count=len(rows),
        )


def arrivals(rate: float, _seed: int = 1) -> list[tuple[Nanos, int]]:
    offsets = constant_arrivals(rate_rps=rate, duration_ns=seconds(4))
    return [(offset, n % 2) for n, offset in enumerate(offsets)]


def played(player: Answers, rate: float = 100.0, levels: tuple[Level, ...] = ()):
    return play_load(
        player, arrivals(rate), slo=SLO, length_ns=seconds(4), in_flight_max=50,
        routes=("/a", "/b"), levels=levels,
    )  # fmt: skip


def test_all_arrivals_are_played_however_many_are_not_answered() -> None:
    player = Answers()
    result = played(player)
    (order,) = player.orders
    assert (order.planned_rps, order.in_flight_max, order.not_sent_max) == (100.0, 50, None)
    assert result.whole is not None
    assert (result.whole.offered_count, result.whole.served_count) == (400, 400)
    assert [route.name for route in result.whole.routes] == ["/a", "/b"]
    assert keeps_slo(result.whole, SLO)
    assert result.faults == []


def test_levels_are_read_by_themselves() -> None:
    levels = (
        Level(from_ns=seconds(0), until_ns=seconds(1), rate_rps=100.0),
        Level(from_ns=seconds(1), until_ns=seconds(4), rate_rps=100.0),
    )
    result = played(Answers(), levels=levels)
    assert [step.offered_count for step in result.levels] == [100, 300]
    assert [step.offered_rps for step in result.levels] == [100, 100]


def test_a_late_generator_voids_it_and_errors_miss_the_objective() -> None:
    late = played(Answers(late_ns=milliseconds(9)))
    assert "sent 9.0 ms late" in late.faults[0]
    refused = played(Answers(status=503)).whole
    assert refused is not None
    assert refused.refused_count == 400
    assert not keeps_slo(refused, SLO)
    slow = played(Answers(upto_rps=1)).whole
    assert slow is not None
    assert not keeps_slo(slow, SLO)
    assert not keeps_slo(replace(slow, latency=None), SLO)


def searched(player: Answers, *, from_rps: float = 25.0, upto_rps: float = 1e4):
    told: list[bool] = []
    result = search_load(
        player, arrivals, slo=SLO, from_rps=from_rps, upto_rps=upto_rps, length_ns=seconds(4),
        in_flight_max=50, routes=(), on_level=lambda _, good: told.append(good),
    )  # fmt: skip
    assert len(told) == len(result.levels)
    return result


def test_a_search_closes_in_on_where_the_objective_breaks() -> None:
    result = searched(Answers(upto_rps=180))
    assert result.good_rps is not None
    assert result.bad_rps is not None
    assert result.good_rps <= 180 < result.bad_rps
    assert result.bad_rps - result.good_rps <= 0.1 * result.bad_rps
    assert result.whole is None
    planned = [step.planned_rps for step in result.levels]
    assert planned[:5] == [25, 50, 100, 200, 150]


def test_a_search_says_where_it_did_not_come_to_an_end() -> None:
    endless = searched(Answers(), upto_rps=100)
    assert (endless.good_rps, endless.bad_rps) == (100, None)
    nothing = searched(Answers(upto_rps=1), from_rps=2.0)
    assert nothing.good_rps is None or nothing.good_rps < 2.0
    late = searched(Answers(late_ns=milliseconds(9)))
    assert len(late.levels) == 1
    assert late.faults


class Stopped(Answers):
    """Is asked to stop after the first half of its `at`-th order."""

    def __init__(self, at: int = 1) -> None:
        super().__init__()
        self.at = at

    def play_schedule(self, order: Order, schedule) -> Played:
        whole = super().play_schedule(order, schedule)
        if len(self.orders) < self.at:
            return whole
        stopped_at = Instant(T0 + order.length_ns // 2)
        rows = [row for row in whole.rows if row.intended_at < stopped_at]
        return replace(
            whole, rows=rows, stopped_at=stopped_at, planned_count=len(rows), is_stopped=True
        )


def test_what_was_sent_before_a_stop_counts_by_the_time_until_then() -> None:
    levels = tuple(
        Level(from_ns=seconds(n), until_ns=seconds(n + 1.5), rate_rps=100.0) for n in (0, 1.5, 3)
    )
    result = played(Stopped(), levels=levels)
    assert result.is_stopped
    assert result.faults == []
    assert result.whole is not None
    assert (result.whole.offered_count, result.whole.offered_rps) == (200, 100)
    assert (result.whole.planned_rps, result.whole.health.achieved_ratio) == (100, 1)
    assert [step.offered_count for step in result.levels] == [150, 50]
    assert [step.offered_rps for step in result.levels] == [100, 100]
    assert not played(Answers()).is_stopped


def test_a_search_that_is_stopped_knows_what_it_knew_before_its_last_level() -> None:
    result = search_load(
        Stopped(at=3), arrivals, slo=SLO, from_rps=25.0, upto_rps=1e4, length_ns=seconds(4),
        in_flight_max=50, routes=(),
    )  # fmt: skip
    assert result.is_stopped
    assert (result.good_rps, result.bad_rps, len(result.levels)) == (50, None, 3)
