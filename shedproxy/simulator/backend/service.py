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

_RAMP_STEPS = 50

_GOLDEN = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1

_Machine = Host | SharingHost | KneeHost


def capacity_rps(spec: BackendSpec) -> float:
    """Calls of mean work that the backend can do per second; infinite where nothing bounds it."""
    return spec.hosts * _host_capacity_rps(spec, spec.slots, spec.lock_share)


def _host_capacity_rps(spec: BackendSpec, slots: int, lock_share: float) -> float:
    per_host = float(slots)
    if spec.kind == "usl":
        best = best_usl_concurrency(spec.alpha, spec.beta, at_most=_CONCURRENCY_MAX)
        per_host = best * usl_pace(spec.alpha, spec.beta)(best)
    elif spec.kind == "knee":
        return math.inf
    if lock_share > 0:
        per_host = min(per_host, 1.0 / lock_share)
    return per_host / spec.service_ms * 1000


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
        noise_ns: int = 0,
    ) -> None:
        """`noise_ns` is what passes on average between an answer and who waits for its slot."""
        self._engine = engine
        self._spec = spec
        self._rng = rng
        self._on_done = on_done
        self._noise_ns = noise_ns
        self._network_ns = round(spec.network_ms * NS_PER_MS / 2)
        self._may_die = any(event.what == "lose_hosts" for event in events)
        self.hosts: list[_Machine] = [self._make_host() for _ in range(spec.hosts)]
        self._single = self.hosts[0] if spec.hosts == 1 else None
        self._lock_share = spec.lock_share
        self._downstream_ns = round(spec.downstream_ms * NS_PER_MS)
        self._service_factor = 1.0
        self._cold_factor = 1.0
        self._gone_busy_ns = 0
        self._outage: tuple[int, float] = (0, 0.0)
        """Until when, and what share of the calls."""
        self._timeouts: tuple[int, float] = (0, 0.0)
        self._failures: tuple[int, float] = (0, 0.0)
        self._is_plain = True
        self._look_again()
        for event in events:
            self.happen(event)

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
        if now < self._outage[0] and _lot(call) < self._outage[1]:
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
        # Through the clock: whoever gets the slot instead may fail here as well, and so on.
        call.left_backend = True
        self._engine.at(self._engine.now + self._network_ns, self._deliver, (call, status))

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
            return math.inf if spec.reject_above is None else float(spec.reject_above)
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
        # Some are aside: on average so many, and now and then more, which must not idle a slot.
        # Where one too many slows all of them it is left at the average.
        aside = inside * self._aside_ns / self._service_ns()
        more = 3 * math.sqrt(aside) if spec.kind != "usl" else 0.0
        return inside + math.ceil(aside + more)

    def answer_ns(self) -> int:
        """How long a call of mean work takes, there and back, at the best limit."""
        return round(self._service_ns()) + self._aside_ns

    @property
    def _aside_ns(self) -> int:
        return 2 * self._network_ns + self._downstream_ns + self._noise_ns

    def _service_ns(self) -> float:
        spec = self._spec
        service_ns = spec.service_ms * NS_PER_MS * self._service_factor * self._cold_factor
        if spec.kind == "usl":
            service_ns /= usl_pace(spec.alpha, spec.beta)(self.hosts[0].slots)
        return service_ns

    def capacity_now_rps(self) -> float:
        """What it can do per second as things stand."""
        if self._engine.now < self._outage[0] and self._outage[1] >= 1:
            return 0.0
        spec = self._spec
        if spec.kind == "knee":
            return math.inf
        return sum(
            _host_capacity_rps(spec, host.slots, self._lock_share) / host.factor
            for host in self.hosts
            if host.is_up
        )

    @property
    def busy_ns(self) -> int:
        """Work done so far, for whomever."""
        return self._gone_busy_ns + sum(host.busy_ns for host in self.hosts)

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

    def happen(self, event: EventSpec) -> None:
        """Let something happen to it, at the time that the event says or now."""
        actions: dict[str, Callable[[EventSpec], None]] = {
            "service": self._change_service,
            "service_ramp": self._climb_service,
            "slots": self._change_slots,
            "pause": self._pause,
            "pauses": self._pause_often,
            "outage": self._begin_outage,
            "timeouts": self._begin_timeouts,
            "fast_failures": self._begin_failures,
            "cold_cache": self._empty_cache,
            "downstream": self._slow_downstream,
            "lock": self._begin_lock,
            "lose_hosts": self._lose_hosts,
            "add_hosts": self._add_hosts,
        }
        action = actions.get(event.what)
        if action is not None:
            self._engine.at(round(event.at_s * NS_PER_S), action, event)

    def _look_again(self) -> None:
        now = self._engine.now
        self._is_plain = not (
            self._network_ns
            or self._downstream_ns
            or self._lock_share
            or now < self._outage[0]
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

    def _change_service(self, event: EventSpec) -> None:
        self._service_factor = event.factor
        self._set_factor()
        if event.for_s:
            self._later(event, self._end_service)

    def _climb_service(self, event: EventSpec) -> None:
        """Step by step from what it is to the factor."""
        began, length = self._engine.now, max(1, round(event.for_s * NS_PER_S))
        low = self._service_factor

        def climb(step: int) -> None:
            self._service_factor = low + (event.factor - low) * step / _RAMP_STEPS
            self._set_factor()
            if step < _RAMP_STEPS:
                self._engine.at(began + length * (step + 1) // _RAMP_STEPS, climb, step + 1)

        climb(0)

    def _end_service(self, _event: EventSpec) -> None:
        self._service_factor = 1.0
        self._set_factor()

    def _change_slots(self, event: EventSpec) -> None:
        for host in self.hosts:
            host.resize(max(1, round(self._spec.slots * event.factor)))

    def _pause(self, event: EventSpec) -> None:
        for host in self.hosts:
            host.pause(round(event.for_s * NS_PER_S))

    def _pause_often(self, event: EventSpec) -> None:
        self._pause(event)
        next_ns = self._engine.now + round(event.every_s * NS_PER_S)
        if event.until_s is None or next_ns < event.until_s * NS_PER_S:
            self._engine.at(next_ns, self._pause_often, event)

    def _begin_outage(self, event: EventSpec) -> None:
        self._outage = (self._engine.now + round(event.for_s * NS_PER_S), event.share)
        self._window(event)

    def _begin_timeouts(self, event: EventSpec) -> None:
        self._timeouts = (self._engine.now + round(event.for_s * NS_PER_S), event.share)
        self._window(event)

    def _begin_failures(self, event: EventSpec) -> None:
        self._failures = (self._engine.now + round(event.for_s * NS_PER_S), event.share)
        self._window(event)

    def _window(self, event: EventSpec) -> None:
        self._look_again()
        self._later(event, lambda _: self._look_again())

    def _empty_cache(self, event: EventSpec) -> None:
        """Every piece of work takes longer, less so as the cache fills."""
        began, length = self._engine.now, max(1, round(event.for_s * NS_PER_S))

        def warm(step: int) -> None:
            self._cold_factor = 1.0 + (event.factor - 1.0) * (1.0 - step / _COLD_STEPS)
            self._set_factor()
            if step < _COLD_STEPS:
                self._engine.at(began + length * (step + 1) // _COLD_STEPS, warm, step + 1)

        warm(0)

    def _slow_downstream(self, event: EventSpec) -> None:
        self._downstream_ns = round((self._spec.downstream_ms + event.factor) * NS_PER_MS)
        self._look_again()
        if event.for_s:
            self._later(event, self._end_downstream)

    def _end_downstream(self, _event: EventSpec) -> None:
        self._downstream_ns = round(self._spec.downstream_ms * NS_PER_MS)
        self._look_again()

    def _begin_lock(self, event: EventSpec) -> None:
        self._lock_share = event.share
        self._look_again()

    def _lose_hosts(self, event: EventSpec) -> None:
        lost = [host for host in self.hosts if host.is_up][: event.count]
        for host in lost:
            host.is_up = False
        # What breaks lets others in, who must not come to a machine that is about to go.
        self._look_again()
        for host in lost:
            host.lose()

    def _add_hosts(self, event: EventSpec) -> None:
        newcomers = [self._make_host() for _ in range(event.count)]
        for host in newcomers:
            host.factor = event.factor
        self._gone_busy_ns += sum(host.busy_ns for host in self.hosts if not host.is_up)
        self.hosts = [host for host in self.hosts if host.is_up] + newcomers
        self._single = self.hosts[0] if len(self.hosts) == 1 else None
        self._look_again()

        def settle(_: EventSpec) -> None:
            for host in newcomers:
                host.factor = self._service_factor * self._cold_factor

        self._later(event, settle)
