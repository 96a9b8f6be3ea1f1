"""Plays orders at a real service over HTTP, by one process or a crew of several."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from urllib.parse import urlsplit

import uvloop

from shedproxy.calibration.orders import GeneratorPart, Order, Played, Sent
from shedproxy.core import Nanos
from shedproxy.loadgen.crew import Crew
from shedproxy.loadgen.program import Performance, Program, SentRow, perform
from shedproxy.loadgen.requests import RequestSet
from shedproxy.workload import constant_arrivals, poisson_arrivals

__all__ = ["LivePlayer"]

Watch = Callable[[Order, float], None]
"""Told a few times a second which order is played and which share of it is over."""

_DEALT = "deal"


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
        crew: Crew | None = None,
    ) -> None:
        """`crew` makes the load, if there is one; else this process does."""
        self._url = url
        self._requests = requests
        self._messages = requests.messages(urlsplit(url).netloc)
        self._deadline_ns = deadline_ns
        self._arrivals = arrivals
        self._watch = watch
        self._crew = crew
        self._is_stopped = False

    def stop(self) -> None:
        """Send nothing more of what is played: it returns when what is in flight has come.

        For the handler of a signal.
        """
        self._is_stopped = True
        if self._crew is not None:
            self._crew.stop()

    def play(self, order: Order) -> Played:
        """One order, until nothing is in flight any more. Blocks.

        Raises:
            KeyboardInterrupt: of the terminal; what was sent is lost.
        """
        return self.play_schedule(order, self._scheduled(order))

    def play_schedule(self, order: Order, schedule: Sequence[tuple[Nanos, int]]) -> Played:
        """An open order whose arrivals are given: (offset, number of the message), rising."""
        program = self._program(order, schedule)

        def watch(share: float) -> None:
            if self._watch is not None:
                self._watch(order, share)

        if self._crew is None:
            done = perform(program, watch=watch, is_stopped=lambda: self._is_stopped)
            return self._played(uvloop.run(done))
        rng = random.Random(f"{_DEALT} {order.seed}")  # noqa: S311 - repeatable, not a secret
        in_turns = self._arrivals == "constant"
        return self._played(self._crew.perform(program, rng, in_turns=in_turns, watch=watch))

    def _scheduled(self, order: Order) -> list[tuple[Nanos, int]]:
        if order.concurrency is not None:
            return []
        rng = random.Random(order.seed)  # noqa: S311 - a repeatable workload, not a secret
        return list(self._schedule(order, rng))

    def _program(self, order: Order, schedule: Sequence[tuple[Nanos, int]]) -> Program:
        return Program(
            url=self._url,
            messages=self._messages,
            deadline_ns=self._deadline_ns,
            length_ns=order.length_ns,
            in_flight_max=order.in_flight_max,
            not_sent_max=order.not_sent_max if order.then_rps is None else None,
            schedule=schedule,
            concurrency=order.concurrency,
            rate_max_rps=order.rate_max_rps,
            seed=order.seed,
            below=self._requests.below,
        )

    def _played(self, done: Performance) -> Played:
        return Played(
            rows=[self._row(row) for row in done.rows],
            started_at=done.started_at,
            stopped_at=done.stopped_at,
            ended_at=done.ended_at,
            planned_count=done.planned_count,
            not_sent_count=done.not_sent_count,
            cpu_ns=max((part.cpu_ns for part in done.generators), default=0),
            ended_early="arrivals were dropped at the cap" if done.is_ended_early else "",
            is_stopped=done.is_stopped,
            generators=tuple(GeneratorPart(*part) for part in done.generators),
            faults=done.faults,
        )

    def _schedule(self, order: Order, rng: random.Random) -> Iterator[tuple[Nanos, int]]:
        assert order.planned_rps is not None
        draw = self._requests.drawing(rng)
        parts = [(order.planned_rps, order.length_ns, 0)]
        if order.then_rps is not None and order.then_ns is not None:
            parts.append((order.then_rps, order.then_ns, order.length_ns))
        for rate_rps, length_ns, from_ns in parts:
            offsets = (
                constant_arrivals(rate_rps=rate_rps, duration_ns=length_ns)
                if self._arrivals == "constant"
                else poisson_arrivals(rate_rps=rate_rps, duration_ns=length_ns, rng=rng)
            )
            for offset in offsets:
                yield Nanos(from_ns + offset), draw()

    def _row(self, row: SentRow) -> Sent:
        place, criticality = self._requests.pair(row.number)
        return Sent(row.intended_at, row.sent_at, row.done_at, row.status, place, criticality)
