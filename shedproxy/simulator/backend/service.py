"""The whole backend: its machines, the way to them, and what happens to it while time passes.

What a call meets, in this order: the network there, an outage, a failure at once, a wait for
somebody else, the least loaded machine, the network back.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from shedproxy.core import NS_PER_MS, NS_PER_S
from shedproxy.simulator.backend.host import Host, OnDone
from shedproxy.simulator.backend.knee import KneeHost
from shedproxy.simulator.backend.sharing import (
    SharingHost,
    best_usl_concurrency,
    shared_pace,
    usl_pace,
)
from shedproxy.simulator.call import Call
from shedproxy.simulator.engine import Engine
from shedproxy.workload import RandomSource
from shedproxy.workload.scenario import BackendSpec, EventSpec

__all__ = ["Backend", "capacity_rps"]

_CONCURRENCY_MAX = 1000
_COLD_STEPS = 20
"""A cold cache warms in so many steps."""

_GOLDEN = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1

_Machine = Host | SharingHost | KneeHost


def capacity_rps(spec: BackendSpec) -> float:
    """Calls of mean work that the backend can do per second; infinite where nothing bounds it."""
    service_s = spec.service_ms / 1000
    per_host = float(spec.slots)
    if spec.kind == "usl":
        best = best_usl_concurrency(spec.alpha, spec.beta, at_most=_CONCURRENCY_MAX)
        per_host = best * usl_pace(spec.alpha, spec.beta)(best)
    elif spec.kind == "knee":
        return math.inf
    if spec.lock_share > 0:
        per_host = min(per_host, 1.0 / spec.lock_share)
    return spec.hosts * per_host / service_s


def _lot(call: Call) -> float:
    """A call's own lot in [0, 1): the same whoever let it in before whom."""
    return (call.serial * _GOLDEN & _MASK) / (_MASK + 1)


class Backend:
    """Takes calls, answers them through `on_done`, and does what its events say."""

    def __init__(
        self,
        engine: Engine,
        spec: BackendSpec,
        events: tuple[EventSpec, ...],
        *,
        rng: RandomSource,
        on_done: OnDone,
    ) -> None:
        self._engine = engine
        self._spec = spec
        self._rng = rng
        self._on_done = on_done
        self._network_ns = round(spec.network_ms * NS_PER_MS / 2)
        self._may_die = any(event.what == "lose_hosts" for event in events)
        self.hosts: list[_Machine] = [self._make_host() for _ in range(spec.hosts)]
        self._single = self.hosts[0] if spec.hosts == 1 else None
        self._lock_share = spec.lock_share
        self._downstream_ns = round(spec.downstream_ms * NS_PER_MS)
        self._service_factor = 1.0
        self._cold_factor = 1.0
        self._outage_until = 0
        self._timeouts: tuple[int, float] = (0, 0.0)
        """Until when, and what share of the calls."""
        self._failures: tuple[int, float] = (0, 0.0)
        self._is_plain = True
        self._look_again()
        for event in events:
            self._schedule(event)

    # --- calls ------------------------------------------------------------------------------

    def submit(self, call: Call) -> None:
        """A call leaves the proxy."""
        if self._is_plain:
            (self._single or self._least_loaded()).submit(call)
        elif self._network_ns:
            self._engine.at(self._engine.now + self._network_ns, self._enter, call)
        else:
            self._enter(call)

    def stop(self, call: Call) -> None:
        """The proxy closed the connection, and the backend is of those that stop then."""
        if call.host is not None:
            call.host.stop(call)
        else:
            call.left_backend = True

    def _enter(self, call: Call) -> None:
        if call.left_backend:
            return
        now = self._engine.now
        if now < self._outage_until:
            self._fail(call, 503)
        elif now < self._failures[0] and _lot(call) < self._failures[1]:
            self._fail(call, 500)
        elif now < self._timeouts[0] and _lot(call) < self._timeouts[1]:
            return
        elif self._downstream_ns:
            self._engine.at(now + self._downstream_ns, self._work, call)
        else:
            self._work(call)

    def _fail(self, call: Call, status: int) -> None:
        call.left_backend = True
        self.answer(call, status)

    def _work(self, call: Call) -> None:
        if call.left_backend:
            return
        if self._lock_share > 0:
            call.needs_lock = _lot(call) < self._lock_share
        host = self._single or self._least_loaded()
        if not host.is_up:
            self._fail(call, 0)
            return
        host.submit(call)

    def _least_loaded(self) -> _Machine:
        best = self.hosts[0]
        least = best.load / best.slots if best.is_up else math.inf
        for host in self.hosts:
            if host.is_up and host.load / host.slots < least:
                best, least = host, host.load / host.slots
        return best

    def answer(self, call: Call, status: int) -> None:
        """The answer leaves the machine."""
        if self._network_ns:
            self._engine.at(self._engine.now + self._network_ns, self._deliver, (call, status))
        else:
            self._on_done(call, status)

    def _deliver(self, answered: tuple[Call, int]) -> None:
        self._on_done(*answered)

    # --- what is true of it now: for the oracle and for charts ------------------------------

    def best_limit(self) -> float:
        """Calls in flight that keep it just busy, the ones on their way included."""
        spec = self._spec
        if spec.kind == "knee":
            return math.inf
        inside = 0.0
        for host in self.hosts:
            if host.is_up:
                slots = float(host.slots)
                if self._lock_share > 0:
                    # Enough that somebody waits for the lock while others need none.
                    ahead = 1.0 / self._lock_share
                    slots = min(slots, ahead + 2 * math.sqrt(ahead))
                inside += slots
        if not inside:
            return 1.0
        aside_ns = 2 * self._network_ns + self._downstream_ns
        service_ns = spec.service_ms * NS_PER_MS * self._service_factor * self._cold_factor
        return max(1.0, inside * (1.0 + aside_ns / service_ns))

    def capacity_now_rps(self) -> float:
        """What it can do per second as things stand."""
        if self._engine.now < self._outage_until:
            return 0.0
        spec = self._spec
        if spec.kind == "knee":
            return math.inf
        whole = capacity_rps(spec) / spec.hosts
        up = sum(
            (host.slots / spec.slots if spec.kind != "usl" else 1.0) / (host.factor or 1.0)
            for host in self.hosts
            if host.is_up
        )
        return whole * up

    @property
    def busy_ns(self) -> int:
        """Slot time of work begun so far, for whomever."""
        return sum(host.busy_ns for host in self.hosts)

    @property
    def inside(self) -> int:
        """Calls at the machines, running or queued."""
        return sum(host.load for host in self.hosts)

    # --- events -----------------------------------------------------------------------------

    def _make_host(self) -> _Machine:
        spec, engine = self._spec, self._engine
        if spec.kind == "sharing":
            pace = shared_pace(spec.slots)
            return SharingHost(engine, slots=spec.slots, pace=pace, on_done=self.answer)
        if spec.kind == "usl":
            best = best_usl_concurrency(spec.alpha, spec.beta, at_most=_CONCURRENCY_MAX)
            pace = usl_pace(spec.alpha, spec.beta)
            return SharingHost(engine, slots=best, pace=pace, on_done=self.answer)
        if spec.kind == "knee":
            return KneeHost(engine, spec, rng=self._rng, on_done=self.answer)
        return Host(
            engine,
            slots=spec.slots,
            on_done=self.answer,
            queue_max=spec.queue_max,
            may_die=self._may_die,
        )

    def _schedule(self, event: EventSpec) -> None:
        action = self._actions.get(event.what)
        if action is not None:
            at_ns = round(event.at_s * NS_PER_S)
            self._engine.at(at_ns, lambda event: action(self, event), event)

    def _look_again(self) -> None:
        now = self._engine.now
        self._is_plain = not (
            self._network_ns
            or self._downstream_ns
            or self._lock_share
            or now < self._outage_until
            or now < self._timeouts[0]
            or now < self._failures[0]
            or not all(host.is_up for host in self.hosts)
        )

    def _later(self, event: EventSpec, action: Callable[[EventSpec], None]) -> None:
        at_ns = round((event.at_s + event.for_s) * NS_PER_S)
        self._engine.at(at_ns, action, event)

    def _set_factor(self) -> None:
        for host in self.hosts:
            host.factor = self._service_factor * self._cold_factor

    def _on_service(self, event: EventSpec) -> None:
        self._service_factor = event.factor
        self._set_factor()
        if event.for_s:
            self._later(event, self._end_service)

    def _end_service(self, _event: EventSpec) -> None:
        self._service_factor = 1.0
        self._set_factor()

    def _on_slots(self, event: EventSpec) -> None:
        for host in self.hosts:
            host.resize(max(1, round(self._spec.slots * event.factor)))

    def _on_pause(self, event: EventSpec) -> None:
        for host in self.hosts:
            host.pause(round(event.for_s * NS_PER_S))

    def _on_pauses(self, event: EventSpec) -> None:
        self._on_pause(event)
        next_ns = self._engine.now + round(event.every_s * NS_PER_S)
        if event.until_s is None or next_ns < event.until_s * NS_PER_S:
            self._engine.at(next_ns, self._on_pauses, event)

    def _on_outage(self, event: EventSpec) -> None:
        self._outage_until = self._engine.now + round(event.for_s * NS_PER_S)
        self._window(event)

    def _on_timeouts(self, event: EventSpec) -> None:
        self._timeouts = (self._engine.now + round(event.for_s * NS_PER_S), event.share)
        self._window(event)

    def _on_failures(self, event: EventSpec) -> None:
        self._failures = (self._engine.now + round(event.for_s * NS_PER_S), event.share)
        self._window(event)

    def _window(self, event: EventSpec) -> None:
        self._look_again()
        self._later(event, lambda _: self._look_again())

    def _on_cold_cache(self, event: EventSpec) -> None:
        """Every piece of work takes longer, less so as the cache fills."""
        began, length = self._engine.now, max(1, round(event.for_s * NS_PER_S))

        def warm(step: int) -> None:
            self._cold_factor = 1.0 + (event.factor - 1.0) * (1.0 - step / _COLD_STEPS)
            self._set_factor()
            if step < _COLD_STEPS:
                self._engine.at(began + length * (step + 1) // _COLD_STEPS, warm, step + 1)

        warm(0)

    def _on_downstream(self, event: EventSpec) -> None:
        self._downstream_ns = round((self._spec.downstream_ms + event.factor) * NS_PER_MS)
        self._look_again()
        if event.for_s:
            self._later(event, self._end_downstream)

    def _end_downstream(self, _event: EventSpec) -> None:
        self._downstream_ns = round(self._spec.downstream_ms * NS_PER_MS)
        self._look_again()

    def _on_lock(self, event: EventSpec) -> None:
        self._lock_share = event.share
        self._look_again()

    def _on_lose_hosts(self, event: EventSpec) -> None:
        for host in [host for host in self.hosts if host.is_up][: event.count]:
            host.lose()
        self._look_again()

    def _on_add_hosts(self, event: EventSpec) -> None:
        newcomers = [self._make_host() for _ in range(event.count)]
        for host in newcomers:
            host.factor = event.factor
        self.hosts = [host for host in self.hosts if host.is_up] + newcomers
        self._single = self.hosts[0] if len(self.hosts) == 1 else None
        self._look_again()

        def settle(_: EventSpec) -> None:
            for host in newcomers:
                host.factor = self._service_factor * self._cold_factor

        self._later(event, settle)

    _actions: dict[str, Callable[[Backend, EventSpec], None]] = {
        "service": _on_service,
        "slots": _on_slots,
        "pause": _on_pause,
        "pauses": _on_pauses,
        "outage": _on_outage,
        "timeouts": _on_timeouts,
        "fast_failures": _on_failures,
        "cold_cache": _on_cold_cache,
        "downstream": _on_downstream,
        "lock": _on_lock,
        "lose_hosts": _on_lose_hosts,
        "add_hosts": _on_add_hosts,
    }
