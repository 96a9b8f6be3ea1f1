"""Plays orders at a real service over HTTP, one process or several, a new player for each order."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import cast
from urllib.parse import urlsplit

import uvloop

from shedproxy.calibration.orders import Order, Played, Sent
from shedproxy.clock import monotonic_now
from shedproxy.core import Criticality, Instant, Nanos
from shedproxy.loadgen.player import Player
from shedproxy.loadgen.requests import RequestSet
from shedproxy.workload import constant_arrivals, poisson_arrivals

__all__ = ["LivePlayer"]

Arrival = tuple[Nanos, Criticality]
Watch = Callable[[Order, float], None]
"""Told a few times a second which order is played and which share of it is over."""

_DROPPED_MAX = 50
_TICK_S = 0.2


class LivePlayer:
    """Plays at `url` (http only). The clock is the machine's."""

    def __init__(
        self,
        url: str,
        requests: RequestSet,
        *,
        deadline_ns: Nanos,
        arrivals: str = "poisson",
        watch: Watch | None = None,
    ) -> None:
        self._url = url
        self._requests = requests
        self._messages = requests.messages(urlsplit(url).netloc)
        self._deadline_ns = deadline_ns
        self._arrivals = arrivals
        self._watch = watch

    def play(self, order: Order) -> Played:
        """One order, until nothing is in flight any more. Blocks.

        Raises:
            KeyboardInterrupt: of the terminal; what was sent is lost.
        """
        return uvloop.run(self._play(order))

    async def _play(self, order: Order) -> Played:
        player = Player(
            self._url,
            deadline_ns=self._deadline_ns,
            requests=self._messages,
            in_flight_max=order.in_flight_max,
            not_sent_max=None if order.then_rps else _DROPPED_MAX,
        )
        rng = random.Random(order.seed)  # noqa: S311 - a repeatable workload, not a secret
        # Numbers of messages go where the player otherwise has classes.
        draw = cast("Callable[[], Criticality]", self._requests.drawing(rng))
        planned = 0
        cpu_ns, started_at = time.process_time_ns(), monotonic_now()
        if order.concurrency is not None:
            run = player.play_closed(order.concurrency, length_ns=order.length_ns, draw=draw)
        else:
            schedule = list(self._schedule(order, rng, draw))
            planned = len(schedule)
            cpu_ns, started_at = time.process_time_ns(), monotonic_now()
            run = player.play(schedule)
        watching = asyncio.create_task(self._tell(order, started_at))
        try:
            health = await run
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching
        ended_at = monotonic_now()
        used_ns = time.process_time_ns() - cpu_ns
        stopped_at = player.ended_early_at or Instant(started_at + order.length_ns)
        return Played(
            rows=[self._row(row) for row in player.rows],
            started_at=started_at,
            stopped_at=stopped_at,
            ended_at=ended_at,
            planned_count=planned or len(player.rows),
            not_sent_count=health.not_sent,
            # Until the last answer it works, too; only sending time is compared with.
            cpu_ns=used_ns * (stopped_at - started_at) // max(1, ended_at - started_at),
            ended_early="arrivals were dropped at the cap" if player.ended_early_at else "",
        )

    def _schedule(
        self, order: Order, rng: random.Random, draw: Callable[[], Criticality]
    ) -> Iterator[Arrival]:
        assert order.planned_rps is not None
        yield from self._part(order.planned_rps, order.length_ns, 0, rng, draw)
        if order.then_rps is not None and order.then_ns is not None:
            yield from self._part(order.then_rps, order.then_ns, order.length_ns, rng, draw)

    def _part(
        self,
        rate_rps: float,
        length_ns: Nanos,
        from_ns: int,
        rng: random.Random,
        draw: Callable[[], Criticality],
    ) -> Iterator[Arrival]:
        offsets = (
            constant_arrivals(rate_rps=rate_rps, duration_ns=length_ns)
            if self._arrivals == "constant"
            else poisson_arrivals(rate_rps=rate_rps, duration_ns=length_ns, rng=rng)
        )
        return ((Nanos(from_ns + offset), draw()) for offset in offsets)

    def _row(self, row: tuple[int, Instant, Instant, Instant, int]) -> Sent:
        number, intended_at, sent_at, done_at, status = row
        place, criticality = self._requests.pair(number)
        return Sent(intended_at, sent_at, done_at, status, place, criticality)

    async def _tell(self, order: Order, started_at: Instant) -> None:
        while self._watch is not None:
            self._watch(order, min(1.0, (monotonic_now() - started_at) / order.length_ns))
            await asyncio.sleep(_TICK_S)
