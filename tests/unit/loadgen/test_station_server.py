"""A station answers when its schedule says, and counts exactly what it was busy with.

In virtual time, on wires that only remember; at the end on real sockets with late timers.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest

from shedproxy.clock import monotonic_now
from shedproxy.core import NS_PER_S, Criticality, Instant, Nanos, milliseconds, seconds
from shedproxy.loadgen import Player
from shedproxy.loadgen.alarm import Alarm
from shedproxy.loadgen.station import REPORT_PATH, StationReport
from shedproxy.loadgen.station_server import StationServer, _Connection
from shedproxy.workload import StationSchedule

GET = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
SERVICE_NS = milliseconds(10)


class Wire(asyncio.Transport):
    """What was written; never sends."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""
        self.is_aborted = self.is_closed = False

    def write(self, data: bytes) -> None:
        self.sent += data

    def abort(self) -> None:
        self.is_aborted = True

    def close(self) -> None:
        self.is_closed = True

    def is_closing(self) -> bool:
        return self.is_closed or self.is_aborted

    @property
    def answers(self) -> int:
        return self.sent.count(b"200 OK")


class HandAlarm:
    """Rings when it is told to."""

    def __init__(self, on_ring) -> None:
        self.ring = on_ring
        self.at: Instant | None = None

    def set(self, at: Instant | None) -> None:
        self.at = at

    def close(self) -> None:
        self.at = None


class Bench:
    """A station of one slot and 10 ms, whose clock and alarm are moved by hand (in ms)."""

    def __init__(self, **options) -> None:
        self.now = Instant(0)
        self.alarms: list[HandAlarm] = []
        self.station = StationServer(
            StationSchedule(slots=1, law=lambda: SERVICE_NS),
            clock=lambda: self.now,
            alarm=self.make_alarm,
            **options,
        )

    def make_alarm(self, on_ring):
        self.alarms.append(HandAlarm(on_ring))
        return self.alarms[-1]

    @property
    def rings_at_ms(self) -> float | None:
        at = self.alarms[0].at
        return None if at is None else at / 1e6

    def pass_to(self, ms: float) -> None:
        self.now = Instant(milliseconds(ms))

    def ring(self, ms: float) -> None:
        self.pass_to(ms)
        self.alarms[0].ring()

    def ask(self, ms: float, request: bytes = GET) -> tuple[Wire, _Connection]:
        self.pass_to(ms)
        connection, wire = _Connection(self.station), Wire()
        connection.connection_made(wire)
        connection.data_received(request)
        return wire, connection

    def leave(self, ms: float, connection: _Connection) -> None:
        self.pass_to(ms)
        connection._transport.abort()
        connection.connection_lost(None)


def test_answers_leave_at_the_instants_of_the_schedule() -> None:
    """The alarm is set to each of them, to the nanosecond."""
    bench = Bench()
    first, _ = bench.ask(0)
    second, _ = bench.ask(3)
    assert (bench.rings_at_ms, first.sent) == (10, b"")
    bench.ring(10)
    assert (first.answers, second.answers, bench.rings_at_ms) == (1, 0, 20)
    bench.ring(20)
    assert (second.answers, bench.rings_at_ms) == (1, None)
    report = bench.station.report()
    assert (report.lateness_p50_ns, report.lateness_p99_ns) == (0, 0)


def test_a_late_timer_delays_no_later_departure() -> None:
    """Rung 27 ms late: three answers at once, and the work goes on as if nothing had been."""
    bench = Bench()
    wires = [bench.ask(ms)[0] for ms in (0, 1, 2, 3)]
    bench.ring(37)
    assert [wire.answers for wire in wires] == [1, 1, 1, 0]
    assert bench.rings_at_ms == 40
    report = bench.station.report()
    assert report.busy_ns == milliseconds(37)
    assert (report.lateness_p50_ns, report.lateness_p99_ns) == (milliseconds(17), milliseconds(27))


def test_an_arrival_lets_out_what_is_due() -> None:
    """Before a late alarm comes to it."""
    bench = Bench()
    first, _ = bench.ask(0)
    second, _ = bench.ask(12)
    assert (first.answers, second.answers, bench.rings_at_ms) == (1, 0, 22)


def test_work_goes_on_for_nobody() -> None:
    """Its client left after 4 ms; the next waits for all of it, and it is counted as abandoned."""
    bench = Bench()
    _, connection = bench.ask(0)
    second, _ = bench.ask(0)
    bench.leave(4, connection)
    assert bench.rings_at_ms == 10
    bench.ring(20)
    report = bench.station.report()
    assert (second.answers, report.departure_count, report.abandoned_count) == (1, 2, 1)
    assert (report.busy_ns, report.abandoned_ns) == (2 * SERVICE_NS, SERVICE_NS)


def test_with_cancels_the_slot_is_free_at_the_close() -> None:
    """The next begins at that instant; a waiting one that leaves costs nothing."""
    bench = Bench(cancels=True)
    _, running = bench.ask(0)
    second, _ = bench.ask(0)
    _, waiting = bench.ask(0)
    bench.leave(2, waiting)
    bench.leave(4, running)
    assert bench.rings_at_ms == 14
    bench.ring(20)
    report = bench.station.report()
    assert (second.answers, report.departure_count, report.abandoned_count) == (1, 1, 2)
    assert (report.busy_ns, report.abandoned_ns) == (milliseconds(14), milliseconds(4))


@pytest.mark.parametrize("cancels", [False, True])
def test_who_leaves_after_the_departure_abandons_nothing(cancels: bool) -> None:
    """Though the timer is late: the departure was due at 10 ms, the client left at 11."""
    bench = Bench(cancels=cancels)
    _, connection = bench.ask(0)
    bench.leave(11, connection)
    report = bench.station.report()
    assert (report.departure_count, report.abandoned_count, report.abandoned_ns) == (1, 0, 0)
    assert bench.rings_at_ms is None


def test_the_report_needs_no_slot() -> None:
    """Answered at once while the only slot is busy and another waits."""
    bench = Bench()
    bench.ask(0)
    bench.ask(1)
    wire, _ = bench.ask(5, GET.replace(b"/", REPORT_PATH.encode(), 1))
    head, _, body = wire.sent.partition(b"\r\n\r\n")
    assert b"content-length: %d" % len(body) in head
    report = StationReport(**json.loads(body))
    assert report == replace(bench.station.report(), cpu_ns=report.cpu_ns)
    assert (report.arrival_count, report.in_service_count, report.waiting_count) == (2, 1, 1)
    assert (report.elapsed_ns, report.capacity_ns, report.busy_ns) == (5_000_000,) * 3


def test_a_request_may_come_in_pieces_and_two_at_once() -> None:
    """Cut anywhere, and pipelined: each is one job."""
    bench = Bench()
    wire, connection = bench.ask(0, GET[:9])
    connection.data_received(GET[9:] + GET)
    bench.ring(10)
    assert wire.answers == 1
    bench.ring(20)
    assert wire.answers == 2


def test_head_is_answered_without_a_body() -> None:
    """Between two GET on one connection."""
    bench = Bench()
    wire, _ = bench.ask(0, GET + GET.replace(b"GET", b"HEAD") + GET)
    for ms in (10, 20, 30):
        bench.ring(ms)
    assert wire.answers == 3
    assert [piece.endswith(b"ok\n") for piece in wire.sent.split(b"HTTP/1.1")[1:]] == [
        True, False, True,
    ]  # fmt: skip


def test_a_connection_that_is_not_kept_alive_is_closed_after_its_last_answer() -> None:
    """As HTTP/1.1 wants it."""
    bench = Bench()
    last = GET.replace(b"host", b"connection: close\r\nhost")
    wire, _ = bench.ask(0, GET + last)
    bench.ring(10)
    assert (wire.answers, wire.is_closed) == (1, False)
    bench.ring(20)
    assert (wire.answers, wire.is_closed) == (2, True)


@pytest.mark.parametrize(
    "request_",
    [b"nonsense\r\n\r\n", GET.replace(b"host", b"upgrade: x\r\nconnection: upgrade\r\nhost")],
)
def test_what_it_does_not_speak_ends_the_connection(request_: bytes) -> None:
    """Garbage and upgrades."""
    wire, _ = Bench().ask(0, request_)
    assert wire.is_aborted


class LateAlarm(Alarm):
    """Rings 25 ms after the instant it is set to."""

    def set(self, at: Instant | None) -> None:
        super().set(None if at is None else Instant(at + milliseconds(25)))


@pytest.mark.anyio
async def test_departures_do_not_drift_when_timers_are_late() -> None:
    """Ten requests on real sockets: 100 ms of work, not ten times 35. Three tries on a machine that
    makes it later still.
    """
    took_ns: list[int] = []
    while len(took_ns) < 3 and min(took_ns, default=NS_PER_S) >= milliseconds(300):
        station = StationServer(StationSchedule(slots=1, law=lambda: SERVICE_NS), alarm=LateAlarm)
        port = await station.start()
        try:
            player = Player(f"http://127.0.0.1:{port}/", deadline_ns=seconds(5))
            started_at = monotonic_now()
            await player.play([(Nanos(0), Criticality.CRITICAL)] * 10)
            took_ns.append(max(row.done_at for row in player.rows) - started_at)
        finally:
            station.close()
        report = station.report()
        assert [row.status for row in player.rows] == [200] * 10
        assert report.busy_ns == 10 * SERVICE_NS
        assert report.lateness_p99_ns >= milliseconds(24)
    assert milliseconds(100) <= took_ns[-1] < milliseconds(300)
