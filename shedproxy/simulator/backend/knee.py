"""A server without a queue whose latency rises with what is in flight: Vector's test server.

After `tests/data/adaptive-concurrency` of Vector: a call's latency is drawn when it arrives,

    delay x (1 + jitter x Exp(1) + S(in flight) + S'(started in the last second)),

where S(x) = (x - 1) x scale + knee^max(0, x - start) - 1. Above a bound it is deferred (an error
after one plain delay) or dropped (no answer, ever).
"""

from __future__ import annotations

import math
from collections import deque

from shedproxy.core import NS_PER_S
from shedproxy.simulator.backend.host import OnDone
from shedproxy.simulator.call import Call
from shedproxy.simulator.engine import Engine
from shedproxy.workload import RandomSource
from shedproxy.workload.scenario import BackendSpec

__all__ = ["KneeHost", "latency_factor"]


def latency_factor(x: float, *, scale: float, start: float, exponent: float) -> float:
    """S(x): how much longer than a plain delay, as a multiple of it."""
    factor = (x - 1) * scale
    if exponent:
        factor += exponent ** max(0.0, x - start) - 1
    return factor


class KneeHost:
    """Everybody inside at once; the latency is known when the call comes in."""

    __slots__ = ("_engine", "_on_done", "_rng", "_spec", "_started", "busy_ns", "factor", "is_up",
                 "load", "slots")  # fmt: skip

    def __init__(
        self, engine: Engine, spec: BackendSpec, *, rng: RandomSource, on_done: OnDone
    ) -> None:
        self._engine = engine
        self._spec = spec
        self._rng = rng
        self._on_done = on_done
        self._started: deque[int] = deque()
        self.slots = 1
        self.load = 0
        self.factor = 1.0
        self.is_up = True
        self.busy_ns = 0

    def submit(self, call: Call) -> None:
        """Take it in, or say no in the way of this server."""
        spec, now = self._spec, self._engine.now
        call.host = self
        started = self._started
        started.append(now)
        while started and started[0] <= now - NS_PER_S:
            started.popleft()
        self.load += 1
        is_over = spec.reject_above is not None and self.load > spec.reject_above
        if spec.reject_above_rps is not None and len(started) > spec.reject_above_rps:
            is_over = True
        plain_ns = int(call.work_ns * self.factor)
        if is_over and spec.reject_by == "drop":
            # It answers never, and does not count it as in flight.
            call.left_backend = True
            self.load -= 1
            return
        if is_over:
            self._engine.at(now + plain_ns, self._defer, call)
            return
        factor = 1.0 + spec.rate_scale * (len(started) - 1)
        factor += latency_factor(
            self.load,
            scale=spec.knee_scale,
            start=spec.knee_start,
            exponent=spec.knee_exponent,
        )
        if spec.jitter:
            factor -= spec.jitter * math.log(1.0 - self._rng.random())
        self._engine.at(now + int(plain_ns * factor), self._finish, call)

    def stop(self, call: Call) -> None:
        """The client left."""
        if not call.left_backend:
            call.left_backend = True
            self.load -= 1

    def pause(self, length_ns: int) -> None:
        """It has nothing that could stand still."""

    def resize(self, slots: int) -> None:
        """It has no slots."""

    def lose(self) -> None:
        """What it had is answered all the same."""
        self.is_up = False

    def _defer(self, call: Call) -> None:
        self._end(call, 503)

    def _finish(self, call: Call) -> None:
        self._end(call, 200)

    def _end(self, call: Call, status: int) -> None:
        if not call.left_backend:
            call.left_backend = True
            self.load -= 1
            self._on_done(call, status)
