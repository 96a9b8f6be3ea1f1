"""Plays a schedule of arrivals at a URL, open loop: what is due is sent, whatever came back.
A closed loop, so many at a time, is for throughput as a function of concurrency and nothing else.

A request whose client has waited `deadline_ns` is given up and its connection closed. Arrivals
beyond `in_flight_max` are recorded as failed without being sent, never silently left out. The
player watches itself: a late or capped run says so in its `PlayerHealth`.
"""

from __future__ import annotations

import asyncio
import gc
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from shedproxy.clock import Clock, monotonic_now
from shedproxy.core import Criticality, Instant, Nanos, milliseconds
from shedproxy.loadgen.alarm import Alarm
from shedproxy.loadgen.client import LoadConnection
from shedproxy.loadgen.pace import Pace
from shedproxy.workload import Row
from shedproxy.workload.results import percentile

__all__ = ["Player", "PlayerHealth"]

_LONGEST_PAUSE_NS = milliseconds(20)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlayerHealth:
    """Whether the generator kept its own schedule."""

    send_lag_p99_ns: Nanos
    """Sent minus intended, 99th percentile, of what was sent."""
    not_sent: int
    """Arrivals beyond the in-flight cap, or whose connection could not be opened."""


class _Call:
    __slots__ = ("connection", "criticality", "intended_at", "is_done", "sent_at")

    def __init__(self, criticality: Criticality, intended_at: Instant) -> None:
        self.criticality = criticality
        self.intended_at = intended_at
        self.sent_at = intended_at
        self.connection: LoadConnection | None = None
        self.is_done = False


class Player:
    """One run against one URL (http only, the path included)."""

    connection_type: type[LoadConnection] = LoadConnection
    """A subclass may want to know more of the answers."""

    def __init__(
        self,
        url: str,
        *,
        deadline_ns: Nanos,
        headers: Mapping[str, str] | None = None,
        requests: Mapping[int, bytes] | None = None,
        in_flight_max: int = 4_000,
        not_sent_max: int | None = None,
        is_stopped: Callable[[], bool] = lambda: False,
        clock: Clock = monotonic_now,
    ) -> None:
        """Send GET with `headers` and the class as a header, or the messages in `requests`.

        Args:
            url: where to.
            deadline_ns: how long a client waits.
            headers: of every request.
            requests: whole messages by number; arrivals and rows then have these numbers in place
                of a criticality.
            in_flight_max: more are not sent.
            not_sent_max: so many of those end the run; None: never.
            is_stopped: asked at every turn, at least every 20 ms: whether to send nothing more.
            clock: what time it is.
        """
        parts = urlsplit(url)
        if parts.scheme != "http" or parts.hostname is None:
            raise ValueError(f"{url!r} is not an http:// URL")
        self._host, self._port = parts.hostname, parts.port or 80
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        lines = [f"GET {target} HTTP/1.1", f"host: {parts.netloc}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        self._requests = requests or {
            criticality: "\r\n".join(
                [*lines, f"x-criticality: {criticality.label}", "", ""]
            ).encode()
            for criticality in Criticality
        }
        self._deadline_ns = deadline_ns
        self._in_flight_max = in_flight_max
        self._clock = clock
        self._idle: list[LoadConnection] = []
        self._calls: dict[LoadConnection, _Call] = {}
        self._pending: deque[_Call] = deque()
        self._connecting: set[asyncio.Task[None]] = set()
        self._deadlines: deque[_Call] = deque()
        self._in_flight = 0
        self._lags: list[int] = []
        self._not_sent = 0
        self._not_sent_max = not_sent_max
        self._is_stopped = is_stopped
        self._concurrency = 0
        self._stop_at = Instant(0)
        self._draw: Callable[[], Criticality] | None = None
        self._pace: Pace | None = None
        self.rows: list[Row] = []
        self.ended_early_at: Instant | None = None
        """When more than `not_sent_max` were not sent."""
        self.stopped_at: Instant | None = None
        """When it was asked to stop while there was something to send."""

    async def play(
        self,
        arrivals: Iterable[tuple[Nanos, Criticality]],
        *,
        begin_at: Instant | None = None,
    ) -> PlayerHealth:
        """Send everything at its time, wait for the last deadline, and return how it went.

        `arrivals` are (offset from `begin_at`, criticality), offsets rising; it begins at once
        unless that says when. Rows are in `self.rows`.
        """
        schedule = iter(arrivals)
        started_at = self._clock() if begin_at is None else begin_at
        await self._run(next(schedule, None), schedule, started_at)
        return self._health()

    async def play_closed(
        self,
        concurrency: int,
        *,
        length_ns: Nanos,
        draw: Callable[[], Criticality],
        rate_max_rps: float | None = None,
        begin_at: Instant | None = None,
    ) -> PlayerHealth:
        """Keep so many requests in flight for `length_ns`, wait for the last ones.

        It begins at once unless `begin_at` says when it has begun. `draw` says which request is
        next; fewer are in flight where more than `rate_max_rps` would be sent otherwise. Latency
        of a closed loop hides what a stall delayed.
        """
        now = self._clock()
        stop_at = Instant((now if begin_at is None else begin_at) + length_ns)
        self._concurrency, self._stop_at, self._draw = concurrency, stop_at, draw
        if rate_max_rps is not None:
            self._pace = Pace(rate_max_rps, burst_count=concurrency, begin_at=now)
        self._refill(now)
        await self._run(None, iter(()), now)
        return self._health()

    async def _run(
        self,
        due: tuple[Nanos, Criticality] | None,
        schedule: Iterator[tuple[Nanos, Criticality]],
        started_at: Instant,
    ) -> None:
        ring = asyncio.Event()
        alarm = Alarm(ring.set)
        # A pass of the collector over the rows takes milliseconds in which nothing is sent.
        collects = gc.isenabled()
        gc.disable()
        try:
            while due is not None or self._in_flight or self._is_refilled(self._clock()):
                now = self._clock()
                if self._is_stopped() and (due is not None or self._is_refilled(now)):
                    due, self.stopped_at, self._stop_at = None, now, now
                due = self._send_due(due, schedule, started_at, now)
                self._give_up(now)
                self._refill(now)
                ring.clear()
                alarm.set(self._wake_at(due, started_at, now))
                await ring.wait()
        finally:
            alarm.close()
            if collects:
                gc.enable()
        for task in self._connecting:
            task.cancel()
        for connection in self._idle:
            connection.abort()

    def _is_refilled(self, now: Instant) -> bool:
        return self._draw is not None and now < self._stop_at

    def _refill(self, now: Instant) -> None:
        if self._draw is None or now >= self._stop_at:
            return
        while self._in_flight < self._concurrency:
            if self._pace is not None:
                if now < self._pace.free_at:
                    return
                self._pace.take(now)
            call = _Call(self._draw(), now)
            self._in_flight += 1
            self._deadlines.append(call)
            self._start(call)

    def _health(self) -> PlayerHealth:
        self._lags.sort()
        lag = percentile(self._lags, 0.99) or 0
        return PlayerHealth(send_lag_p99_ns=Nanos(lag), not_sent=self._not_sent)

    def _send_due(
        self,
        due: tuple[Nanos, Criticality] | None,
        schedule: Iterator[tuple[Nanos, Criticality]],
        started_at: Instant,
        now: Instant,
    ) -> tuple[Nanos, Criticality] | None:
        while due is not None and started_at + due[0] <= now:
            call = _Call(due[1], Instant(started_at + due[0]))
            if self._in_flight < self._in_flight_max:
                self._in_flight += 1
                self._deadlines.append(call)
                self._start(call)
            else:
                self._not_sent += 1
                self._record(call, 0)
                if self._not_sent_max is not None and self._not_sent > self._not_sent_max:
                    self.ended_early_at = now
                    return None
            due = next(schedule, None)
        return due

    def _wake_at(
        self, due: tuple[Nanos, Criticality] | None, started_at: Instant, now: Instant
    ) -> Instant:
        # Never longer than this, so that the last answer ends the run soon.
        wake_at = now + _LONGEST_PAUSE_NS
        if due is not None:
            wake_at = min(wake_at, started_at + due[0])
        if self._pace is not None and self._in_flight < self._concurrency:
            wake_at = min(wake_at, self._pace.free_at)
        if self._deadlines:
            wake_at = min(wake_at, self._deadlines[0].intended_at + self._deadline_ns)
        return Instant(wake_at)

    def _start(self, call: _Call) -> None:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open:
                self._send(connection, call)
                return
        self._pending.append(call)
        task = asyncio.get_running_loop().create_task(self._connect())
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            _, connection = await loop.create_connection(
                lambda: self.connection_type(self._on_done), self._host, self._port
            )
        except OSError:
            if self._pending:
                self._not_sent += 1
                self._end(self._pending.popleft(), 0)
            return
        self._offer(connection)

    def _offer(self, connection: LoadConnection) -> None:
        while self._pending:
            call = self._pending.popleft()
            if not call.is_done:
                self._send(connection, call)
                return
        self._idle.append(connection)

    def _send(self, connection: LoadConnection, call: _Call) -> None:
        call.connection = connection
        call.sent_at = self._clock()
        self._lags.append(call.sent_at - call.intended_at)
        self._calls[connection] = call
        connection.send(self._requests[call.criticality])

    def _on_done(self, connection: LoadConnection, status: int) -> None:
        call = self._calls.pop(connection)
        self._end(call, status)
        if connection.is_open:
            self._offer(connection)
        if self._draw is not None and status:
            # Without an answer the next turn of the loop is soon enough: nobody is hammered.
            self._refill(self._clock())

    def _give_up(self, now: Instant) -> None:
        while self._deadlines:
            call = self._deadlines[0]
            if not call.is_done:
                if call.intended_at + self._deadline_ns > now:
                    return
                if call.connection is not None:
                    self._calls.pop(call.connection, None)
                    call.connection.abort()
                self._end(call, 0)
            self._deadlines.popleft()

    def _end(self, call: _Call, status: int) -> None:
        if not call.is_done:
            call.is_done = True
            self._in_flight -= 1
            self._record(call, status)

    def _record(self, call: _Call, status: int) -> None:
        self.rows.append(
            Row(call.criticality, call.intended_at, call.sent_at, self._clock(), status)
        )
