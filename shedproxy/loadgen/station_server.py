"""A service of known capacity to aim load at: N slots, a law of service times, an endless queue.

It behaves as most services do under overload: everybody is let in, and work whose client has left
is done all the same. When it answers is not timed but computed, by `workload.StationSchedule` from
when requests came; so what it was busy with is exact, and it reports it. Every request takes a
slot, except for `/-/station`, which is answered with the report at once.

Runs as a process of its own: `python -m shedproxy.loadgen.station_server` prints its port, ends
when its standard input does, and prints its report.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import random
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, KeysView, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import cast

import httptools
import uvloop

from shedproxy.clock import Clock, monotonic_now
from shedproxy.core import NS_PER_US, Instant, Nanos, milliseconds, seconds
from shedproxy.loadgen.alarm import Alarm
from shedproxy.loadgen.station import REPORT_PATH, StationReport
from shedproxy.workload import StationSchedule
from shedproxy.workload.laws import LAWS, service_law

__all__ = ["StationServer", "main"]

_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n%b"
_ANSWER = _HEAD % (b"text/plain", 3, b"ok\n")
_ANSWER_TO_HEAD = _HEAD % (b"text/plain", 3, b"")
_REPORT_URL = REPORT_PATH.encode()
_FILES = 8192


class StationServer:
    """The HTTP/1.1 side: brings requests to a schedule and answers at the instants that it says.

    Create it on the running loop that serves it.
    """

    def __init__(
        self,
        schedule: StationSchedule,
        *,
        cancels: bool = False,
        clock: Clock = monotonic_now,
        alarm: Callable[[Callable[[], None]], Alarm] = Alarm,
    ) -> None:
        self._schedule = schedule
        self._cancels = cancels
        self._clock = clock
        self._alarm = alarm(self._ring)
        self._clients: dict[int, _Connection | None] = {}
        """Who waits for which job; None: nobody any more."""
        self._abandoned_count = 0
        self._abandoned_ns = 0
        self._lateness_us: Counter[int] = Counter()
        self._server: asyncio.Server | None = None

    async def start(self) -> int:
        """Listen on loopback, and return the port."""
        self._server = await asyncio.get_running_loop().create_server(
            lambda: _Connection(self), "127.0.0.1", 0, backlog=4096
        )
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def close(self) -> None:
        """Listen no longer, and answer nothing more."""
        self._alarm.close()
        if self._server is not None:
            self._server.close()

    def report(self) -> StationReport:
        """Everything up to this instant."""
        now = self._clock()
        schedule = self._schedule
        return StationReport(
            elapsed_ns=schedule.elapsed_ns(now),
            capacity_ns=schedule.capacity_ns(now),
            busy_ns=schedule.busy_ns(now),
            abandoned_ns=Nanos(self._abandoned_ns),
            arrival_count=schedule.arrival_count,
            departure_count=schedule.departure_count,
            abandoned_count=self._abandoned_count,
            in_service_count=schedule.in_service_count,
            waiting_count=schedule.waiting_count,
            most_waiting_count=schedule.most_waiting_count,
            waited_ns=schedule.waited_ns(now),
            lateness_p50_ns=self._lateness_ns(0.50),
            lateness_p99_ns=self._lateness_ns(0.99),
            cpu_ns=Nanos(time.process_time_ns()),
        )

    def _lateness_ns(self, share: float) -> Nanos:
        left = self._lateness_us.total() * share
        for lateness_us, count in sorted(self._lateness_us.items()):
            left -= count
            if left <= 0:
                return Nanos(lateness_us * NS_PER_US)
        return Nanos(0)

    def take(self, connection: _Connection) -> int:
        """A request is complete: its job's number."""
        now = self._clock()
        job = self._schedule.arrive(now)
        self._clients[job] = connection
        self._deliver(now)
        return job

    def leave(self, jobs: KeysView[int]) -> None:
        """Their client is gone; what departed in time has departed."""
        now = self._clock()
        self._deliver(now)
        for job in jobs & self._clients.keys():
            self._abandoned_count += 1
            if self._cancels:
                del self._clients[job]
                self._abandoned_ns += self._schedule.cancel(job, now) or 0
            else:
                self._clients[job] = None
        self._alarm.set(self._schedule.next_departure_at)

    def _ring(self) -> None:
        self._deliver(self._clock())

    def _deliver(self, now: Instant) -> None:
        for job, departed_at, service_ns in self._schedule.depart(now):
            connection = self._clients.pop(job)
            if connection is None:
                self._abandoned_ns += service_ns
            else:
                connection.answer(job)
                self._lateness_us[(self._clock() - departed_at) // NS_PER_US] += 1
        self._alarm.set(self._schedule.next_departure_at)


class _Connection(asyncio.Protocol):
    def __init__(self, station: StationServer) -> None:
        self._station = station
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._url = b""
        self._jobs: dict[int, bytes] = {}
        """What each is answered."""
        self._is_last = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._jobs:
            self._station.leave(self._jobs.keys())
        # Parser and connection know each other, and nobody collects cycles here.
        del self._parser

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            assert self._transport is not None
            self._transport.abort()

    def on_message_begin(self) -> None:
        self._url = b""

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_message_complete(self) -> None:
        self._is_last = not self._parser.should_keep_alive()
        if self._url == _REPORT_URL:
            body = json.dumps(asdict(self._station.report())).encode()
            self._write(_HEAD % (b"application/json", len(body), body))
        else:
            answer = _ANSWER_TO_HEAD if self._parser.get_method() == b"HEAD" else _ANSWER
            self._jobs[self._station.take(self)] = answer

    def answer(self, job: int) -> None:
        self._write(self._jobs.pop(job))

    def _write(self, answer: bytes) -> None:
        assert self._transport is not None
        if not self._transport.is_closing():
            self._transport.write(answer)
            if self._is_last and not self._jobs:
                self._transport.close()


def _schedule(options: argparse.Namespace) -> StationSchedule:
    every_ms, for_ms = options.pause
    return StationSchedule(
        slots=options.slots,
        law=service_law(
            options.law,
            mean_ns=milliseconds(options.service_ms),
            rng=random.Random(options.seed),  # noqa: S311 - repeatable work, not a secret
            cv=options.cv,
        ),
        steps=[(seconds(at_s), mean_ms / options.service_ms) for at_s, mean_ms in options.step],
        pause_every_ns=milliseconds(every_ms),
        pause_for_ns=milliseconds(for_ms),
    )


async def _serve(schedule: StationSchedule, *, cancels: bool) -> None:
    station = StationServer(schedule, cancels=cancels)
    print(await station.start(), flush=True)  # noqa: T201 - how the parent finds it
    parent_left = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), _on_input, parent_left)
    try:
        await parent_left
    finally:
        station.close()
        print(json.dumps(asdict(station.report())), flush=True)  # noqa: T201 - its last word


def _make_room() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    # Linux grows a full table of files, which takes milliseconds where a process has threads.
    highest = _FILES - 1 if most == resource.RLIM_INFINITY else min(_FILES, most) - 1
    os.close(os.dup2(sys.stdin.fileno(), highest))


def _on_input(parent_left: asyncio.Future[None]) -> None:
    if not os.read(sys.stdin.fileno(), 4096) and not parent_left.done():
        parent_left.set_result(None)


def _pair(separator: str) -> Callable[[str], tuple[float, float]]:
    def pair(text: str) -> tuple[float, float]:
        first, _, second = text.partition(separator)
        return float(first), float(second)

    return pair


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser(
        prog="python -m shedproxy.loadgen.station_server", description=__doc__.partition("\n")[0]
    )
    add = parser.add_argument
    add("--slots", type=int, default=4, help="requests worked on at a time")
    add("--service-ms", type=float, default=20.0, help="mean time each of them takes")
    laws = [law for law in LAWS if law != "recorded"]
    add("--law", choices=laws, default="constant", help="how the time is distributed")
    add("--cv", type=float, help="coefficient of variation of lognormal")
    add("--seed", type=int, default=1, help="of the times, drawn in order of arrival")
    add("--cancels", action="store_true", help="work stops when its client leaves")
    add(
        "--pause",
        type=_pair("/"),
        default=(0.0, 0.0),
        metavar="EVERY_MS/FOR_MS",
        help="all slots stand still so often for so long",
    )
    add(
        "--step",
        type=_pair("="),
        action="append",
        default=[],
        metavar="AT_S=SERVICE_MS",
        help="another mean for work that starts later than this after the first request",
    )
    options = parser.parse_args(arguments)
    if options.service_ms <= 0:
        parser.error("--service-ms is above 0")
    try:
        schedule = _schedule(options)
    except ValueError as problem:
        parser.error(str(problem))
    # A pass of the collector over thousands of connections takes longer than answers may be late.
    gc.disable()
    _make_room()
    with suppress(KeyboardInterrupt):
        uvloop.run(_serve(schedule, cancels=options.cancels))


if __name__ == "__main__":
    main()
