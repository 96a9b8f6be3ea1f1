"""The figures that Vector's own tests of its limiter bound: levels over time, rates, round trips.

After the statistics of `src/sinks/util/adaptive_concurrency/tests.rs` and `src/test_util/stats.rs`
of Vector, whose accepted ranges only mean something for figures taken in the same way: a level
counts for as long as it was held, the rate that is found at an event counts for the time before it,
a round trip for the time since the one before, and the time after the last answer for nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from shedproxy.core import (
    NS_PER_S,
    Decision,
    Instant,
    Outcome,
    Permit,
    RequestInfo,
    Ticket,
    Verdict,
)
from shedproxy.simulator.controllers.protocol import Controller, Reading
from shedproxy.simulator.world import World

__all__ = ["VectorFigures"]


class VectorFigures:
    """Watches one world: its `make_checkers`."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._levels = (_Level(), _Level(), _Level())
        """In flight at the server, in flight for the controllers, their limit."""
        self._held = (0.0, 0.0, 0.0)
        """What they are."""
        self._held_since: Instant | None = None
        self._rate = _Level()
        self._started: deque[int] = deque()
        self._rate_at: int | None = None
        self._rtt_at: int | None = None
        self._rtts_ns: list[tuple[int, int]] = []
        """(round trip, time since the one before)."""
        self._watched: list[Controller] = []

    def watch(self, controller: Controller) -> Controller:
        """The same controller, whose permits and successes are seen here."""
        self._watched.append(controller)
        return _Watched(controller, self)

    def after_event(self) -> None:
        """Look at the levels."""
        world = self._world
        readings = [proxy.controller.reading() for proxy in world.proxies]
        in_flight = sum(reading.in_flight for reading in readings)
        limit = sum(reading.limit for reading in readings)
        self._hold((world.backend.inside, in_flight, limit), world.engine.now)

    def figures(self) -> dict[str, float]:
        """By name: `<level>_max`, `_mean`, `_mode`, and `rtt_min_s`, `rtt_max_s`, `rtt_mean_s`, and
        `rtt_averaged_min_s` and so on: of the means that Vector's limiter judged by.

        The levels are server_in_flight, server_rate (started within a second), in_flight and limit.
        What there was nothing of is left out.
        """
        names = ("server_in_flight", "in_flight", "limit", "server_rate")
        found = {
            f"{name}_{figure}": value
            for name, level in zip(names, (*self._levels, self._rate), strict=True)
            for figure, value in level.figures().items()
        }
        found |= _weighted("rtt", self._rtts_ns)
        averaged = [
            (rtt_ns, now - before)
            for controller in self._watched
            for (before, _), (now, rtt_ns) in pairwise(getattr(controller, "averaged_ns", ()))
        ]
        return found | _weighted("rtt_averaged", averaged)

    def note_start(self, now: Instant) -> None:
        """A request was let through to the server."""
        self._forget_started(now)
        self._started.append(now)
        self._note_rate(now)

    def note_end(self, permit: Permit, outcome: Outcome, now: Instant) -> None:
        """A request has its answer, or will get none."""
        self._forget_started(now)
        self._note_rate(now)
        if outcome is Outcome.SUCCESS:
            if self._rtt_at is not None:
                self._rtts_ns.append((now - permit.admitted_at, now - self._rtt_at))
            self._rtt_at = now

    def _hold(self, held: tuple[float, float, float], now: Instant) -> None:
        """Levels until now were what they were; time counts from the first request on."""
        if held == self._held:
            return
        if self._held_since is not None:
            for level, value in zip(self._levels, self._held, strict=True):
                level.add(value, now - self._held_since)
        if self._held_since is not None or held[1]:
            self._held_since = now
        self._held = held

    def _forget_started(self, now: Instant) -> None:
        started = self._started
        while started and started[0] <= now - NS_PER_S:
            started.popleft()

    def _note_rate(self, now: Instant) -> None:
        if self._rate_at is not None:
            self._rate.add(len(self._started), now - self._rate_at)
        self._rate_at = now


def _weighted(name: str, lengths: Sequence[tuple[float, int]]) -> dict[str, float]:
    """Of lengths in ns, each with the time it counts for."""
    weight_ns = sum(weight for _, weight in lengths)
    if not weight_ns:
        return {}
    values = [length for length, _ in lengths]
    return {
        f"{name}_min_s": min(values) / NS_PER_S,
        f"{name}_max_s": max(values) / NS_PER_S,
        f"{name}_mean_s": sum(v * weight for v, weight in lengths) / weight_ns / NS_PER_S,
    }


class _Level:
    """For how long each value was held, in ns."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held: dict[float, int] = {}

    def add(self, value: float, length_ns: int) -> None:
        if length_ns > 0:
            self._held[value] = self._held.get(value, 0) + length_ns

    def figures(self) -> dict[str, float]:
        held = self._held
        if not held:
            return {}
        mean = sum(value * length for value, length in held.items()) / sum(held.values())
        mode = max(held, key=lambda value: (held[value], value))
        return {"max": max(held), "mean": mean, "mode": mode}


class _Watched:
    """A controller that is looked at; what it answers is what the one inside answers."""

    def __init__(self, inner: Controller, figures: VectorFigures) -> None:
        self._inner = inner
        self._figures = figures

    def __getattr__(self, name: str) -> Any:
        # What some controllers offer besides: `memory`, `remember`, `on_stall`.
        return getattr(self._inner, name)

    def arrive(
        self,
        request: RequestInfo,
        *,
        now: Instant,
        flow_hash: int = 0,
        cohort: int = 0,
        time_left_ns: int | None = None,
    ) -> Decision:
        decision = self._inner.arrive(
            request, now=now, flow_hash=flow_hash, cohort=cohort, time_left_ns=time_left_ns
        )
        if isinstance(decision, Permit):
            self._figures.note_start(now)
        return decision

    def release(
        self, permit: Permit, outcome: Outcome, *, now: Instant, stalled_ns: int = 0
    ) -> Sequence[Verdict]:
        self._figures.note_end(permit, outcome, now)
        verdicts = self._inner.release(permit, outcome, now=now, stalled_ns=stalled_ns)
        return self._seen(verdicts, now)

    def orphan(self, permit: Permit, *, now: Instant) -> None:
        """See `Controller`."""
        self._inner.orphan(permit, now=now)

    def leave_zombie(
        self, permit: Permit, *, now: Instant, outcome: Outcome = Outcome.ABANDONED
    ) -> Sequence[Verdict]:
        return self._seen(self._inner.leave_zombie(permit, now=now, outcome=outcome), now)

    def abandon(self, ticket: Ticket, *, now: Instant) -> Sequence[Verdict]:
        return self._seen(self._inner.abandon(ticket, now=now), now)

    def tick(self, *, now: Instant) -> Sequence[Verdict]:
        return self._seen(self._inner.tick(now=now), now)

    def next_tick_at(self) -> Instant | None:
        return self._inner.next_tick_at()

    def reading(self) -> Reading:
        return self._inner.reading()

    def _seen(self, verdicts: Sequence[Verdict], now: Instant) -> Sequence[Verdict]:
        for _, decision in verdicts:
            if isinstance(decision, Permit):
                self._figures.note_start(now)
        return verdicts
