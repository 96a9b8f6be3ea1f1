"""Populations of clients: when they ask, what they ask for, and what they do with the answer.

Open populations send at their own times whatever became of the earlier requests. A request that is
refused or fails may be tried again; a task of several calls fails with its first failure; a closed
user asks again some time after the answer. Chance is drawn from streams of the population's own, in
the order of intentions, so that every controller meets the same work.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import deque
from collections.abc import Callable
from itertools import accumulate

from shedproxy.core import COHORTS, NS_PER_MS, NS_PER_S, Criticality, Lane, Nanos, RequestInfo
from shedproxy.simulator.call import Call, CallState
from shedproxy.simulator.engine import Engine
from shedproxy.simulator.tally import End, Tally
from shedproxy.workload import Mix, RandomSource
from shedproxy.workload.curve import RateCurve
from shedproxy.workload.laws import service_law
from shedproxy.workload.scenario import BackendSpec, ClientSpec

__all__ = ["Chance", "Population", "flow_hash_of", "rate_curve", "tenant_number"]

Chance = Callable[[str], RandomSource]
"""A stream of chance by name: equal names and seeds give equal streams."""

_USERS = 10_000
_REFUSED_PAUSE_NS = NS_PER_MS
"""A closed user without think time does not ask again at the same instant."""
_MASK = (1 << 64) - 1
_PRIME = (1 << 61) - 1
_ANSWERED = CallState.ANSWERED


def flow_hash_of(tenant: int, salt: int) -> int:
    """A tenant's 64-bit hash under a salt, never 0 (splitmix64's finalizer)."""
    value = (tenant * 0x9E3779B97F4A7C15 + salt * 0xD1342543DE82EF95 + 1) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return (value ^ (value >> 31)) or 1


def tenant_number(name: str) -> int:
    """The number of a tenant that has a name."""
    return int.from_bytes(name.encode(), "big") % _PRIME


class _Task:
    """What a client is in the middle of, when it takes more than one call that may fail."""

    __slots__ = ("attempt", "calls_left", "cohort", "criticality", "tenant", "works_ns")

    def __init__(
        self,
        criticality: Criticality,
        tenant: int,
        cohort: int,
        calls: int,
        works_ns: list[int],
    ) -> None:
        self.criticality = criticality
        self.tenant = tenant
        self.cohort = cohort
        self.attempt = 1
        self.calls_left = calls
        """Of this page."""
        self.works_ns = works_ns
        """Of all calls to come, the last first: drawn at once, so that what fails on the way
        leaves the draws of others alone."""


class Population:
    """One `[[client]]` of a scenario, running."""

    def __init__(
        self,
        engine: Engine,
        spec: ClientSpec,
        *,
        backend: BackendSpec,
        capacity_rps: float,
        deadline_ns: int,
        salt: int,
        chance: Chance,
        offer: Callable[[Call], None],
        leave: Callable[[Call], None],
        tally: Tally,
    ) -> None:
        self.spec = spec
        self.tally = tally
        self._count = tally.client(spec.name)
        self._engine = engine
        self._offer = offer
        self._leave = leave
        self._arrivals = chance(f"{spec.name} arrivals")
        self._chooses = chance(f"{spec.name} choices")
        # What depends on answers is drawn apart, or it would change who asks for what later.
        self._reacts = chance(f"{spec.name} reactions")
        self._work = service_law(
            spec.law or backend.law,
            mean_ns=_nanos(backend.service_ms * spec.service_factor),
            rng=chance(f"{spec.name} service"),
            cv=backend.cv,
            recorded_ns=[round(length * NS_PER_MS) for length in backend.recorded_ms],
        )
        self._think = service_law(
            spec.think_law, mean_ns=_nanos(spec.think_ms), rng=chance(f"{spec.name} thinks")
        )
        self._mix = Mix({_criticality(word): weight for word, weight in spec.criticality})
        self._only_class = None
        if len(spec.criticality) == 1:
            self._only_class = _criticality(spec.criticality[0][0])
        self._salt = salt
        self._named_tenant = tenant_number(spec.tenant)
        self._tenants_below: list[float] = []
        if spec.tenants and spec.tenant_law == "zipf":
            self._tenants_below = list(accumulate(1 / rank for rank in range(1, spec.tenants + 1)))
        self._timeout_ns = deadline_ns
        if spec.timeout_ms is not None:
            self._timeout_ns = round(spec.timeout_ms * NS_PER_MS)
        self._curve = rate_curve(spec, capacity_rps)
        self._rate_until = -1.0
        self._gap_ns = 0.0
        self._next_at = 0.0
        self._is_even = spec.arrivals == "constant"
        self._left = math.inf if spec.requests is None else spec.requests
        self._infos: dict[tuple[Criticality, bool], RequestInfo] = {}
        self._deadlines: deque[Call] = deque()
        self._sweeps_at = -1
        self._has_tasks = _has_tasks(spec)

    def start(self) -> None:
        """Plan the first arrivals."""
        engine, spec = self._engine, self.spec
        if spec.arrivals == "closed":
            start_ns = round(spec.start_s * NS_PER_S)
            spread_ns = round((spec.think_ms + 1.0) * NS_PER_MS)
            for _ in range(spec.users):
                at_ns = start_ns + int(self._arrivals.random() * spread_ns)
                engine.at(at_ns, self._begin, None)
        elif spec.arrivals == "at_once":
            for _ in range(int(self._left)):
                engine.at(round(spec.start_s * NS_PER_S), self._begin, None)
        else:
            self._plan()

    # --- open arrivals ----------------------------------------------------------------------

    def _plan(self) -> None:
        """The next arrival."""
        if self._left <= 0:
            return
        at = self._next_at
        share = 1.0 if self._is_even else -math.log(1.0 - self._arrivals.random())
        while True:
            if at >= self._rate_until:
                rate_rps, self._rate_until = self._curve.at(at)
                self._gap_ns = NS_PER_S / rate_rps if rate_rps > 0 else math.inf
            # What is left of the gap is a share of whatever the gap is by then.
            if self._gap_ns < math.inf:
                next_at = at + share * self._gap_ns
                if next_at <= self._rate_until:
                    break
                share -= (self._rate_until - at) / self._gap_ns
            elif self._rate_until == math.inf:
                return
            at = self._rate_until
        self._next_at = next_at
        self._left -= 1
        self._engine.at(int(next_at), self._arrive, None)

    def _arrive(self, _: None) -> None:
        self._begin(None)
        self._plan()

    # --- a request's life -------------------------------------------------------------------

    def _begin(self, _: None) -> None:
        """A new intention: of whom, how important, how much work."""
        spec = self.spec
        if spec.stop_s is not None and self._engine.now >= spec.stop_s * NS_PER_S:
            return
        criticality = self._only_class
        if criticality is None:
            criticality = self._mix.draw(self._chooses)
        flow_hash = self._draw_tenant() if spec.tenants or spec.tenant else 0
        cohort = self._draw_cohort()
        work_ns = self._work()
        task = None
        if self._has_tasks:
            count = spec.calls_per_task * spec.session_pages
            works_ns = [self._work() for _ in range(count - 1)]
            task = _Task(criticality, flow_hash, cohort, spec.calls_per_task, works_ns)
        self.tally.begin(self._count, criticality, flow_hash, self._engine.now)
        self._ask(task, criticality, flow_hash, cohort, work_ns)

    def _ask(
        self,
        task: _Task | None,
        criticality: Criticality,
        flow_hash: int,
        cohort: int,
        work_ns: int,
    ) -> None:
        now = self._engine.now
        is_retry = task is not None and task.attempt > 1
        info = self._infos.get((criticality, is_retry))
        if info is None:
            info = self._infos[criticality, is_retry] = self._make_info(criticality, is_retry)
        serial = self.tally.next_serial()
        gives_up_at = now + self._timeout_ns
        call = Call(serial, self, task, info, flow_hash, cohort, now, gives_up_at, work_ns)
        deadlines = self._deadlines
        while deadlines and deadlines[0].state >= _ANSWERED:
            deadlines.popleft()
        deadlines.append(call)
        if self._sweeps_at < now:
            self._sweeps_at = deadlines[0].gives_up_at
            self._engine.at(self._sweeps_at, self._sweep, None)
        self._offer(call)

    def _make_info(self, criticality: Criticality, is_retry: bool) -> RequestInfo:
        spec = self.spec
        return RequestInfo(
            route=spec.route,
            cell=spec.cell,
            criticality=criticality,
            lane=Lane.CONTROL if spec.lane == "control" else Lane.DATA,
            cost=spec.cost,
            is_retry=is_retry,
        )

    def _sweep(self, _: None) -> None:
        """Clients whose patience ends leave. One timer for all: it lasts equally long for each."""
        now = self._engine.now
        deadlines = self._deadlines
        while deadlines:
            call = deadlines[0]
            if call.state < _ANSWERED:
                if call.gives_up_at > now:
                    self._sweeps_at = call.gives_up_at
                    self._engine.at(self._sweeps_at, self._sweep, None)
                    return
                deadlines.popleft()
                self._leave(call)
                self.ended(call, End.LEFT)
            else:
                deadlines.popleft()
        self._sweeps_at = -1

    def ended(self, call: Call, end: End) -> None:
        """What the client saw of this call, and what it does next."""
        now = self._engine.now
        if call.state < _ANSWERED:
            call.state = _STATE_AFTER[end]
        task = call.task
        self.tally.end_call(call, end, now)
        if task is None:
            self.tally.end(
                self._count, call.info.criticality, call.flow_hash, call.arrived_at, end, now
            )
        elif end is End.SERVED:
            self._go_on(call, task)
        else:
            self._try_again(call, task, end)

    def _go_on(self, call: Call, task: _Task) -> None:
        task.calls_left -= 1
        task.attempt = 1
        if task.calls_left:
            self._engine.at(self._engine.now, self._next_call, task)
            return
        now = self._engine.now
        self.tally.end(self._count, task.criticality, task.tenant, call.arrived_at, End.SERVED, now)
        if task.works_ns:
            task.calls_left = self.spec.calls_per_task
            self._engine.at(now + self._pause_ns(), self._next_page, task)
        else:
            if self.spec.session_pages > 1:
                self.tally.sessions_completed += 1
            self._closed_user_returns(was_served=True)

    def _try_again(self, call: Call, task: _Task, end: End) -> None:
        spec, now = self.spec, self._engine.now
        if task.attempt < spec.attempts or spec.retries_until_served:
            pause_ns = 0
            if spec.backoff_ms:
                ceiling_ns = spec.backoff_ms * NS_PER_MS * 2 ** (task.attempt - 1)
                if spec.backoff_max_ms is not None:
                    ceiling_ns = min(ceiling_ns, spec.backoff_max_ms * NS_PER_MS)
                pause_ns = int(self._reacts.random() * ceiling_ns)
            elif spec.retries_until_served:
                pause_ns = _REFUSED_PAUSE_NS
            task.attempt += 1
            self._engine.at(now + pause_ns, self._retry, call)
            return
        self.tally.end(self._count, task.criticality, task.tenant, call.arrived_at, end, now)
        self._closed_user_returns(was_served=False)

    def _retry(self, call: Call) -> None:
        self._ask_again(call.task, call.work_ns)

    def _next_call(self, task: _Task) -> None:
        self._ask_again(task, task.works_ns.pop())

    def _ask_again(self, task: _Task, work_ns: int) -> None:
        if self.spec.cohort == "request":
            task.cohort = int(self._reacts.random() * COHORTS)
        self._ask(task, task.criticality, task.tenant, task.cohort, work_ns)

    def _next_page(self, task: _Task) -> None:
        self.tally.begin(self._count, task.criticality, task.tenant, self._engine.now)
        self._next_call(task)

    def _closed_user_returns(self, *, was_served: bool) -> None:
        if self.spec.arrivals == "closed" and self._left > 0:
            self._left -= 1
            pause_ns = self._pause_ns() if was_served else max(self._pause_ns(), _REFUSED_PAUSE_NS)
            self._engine.at(self._engine.now + pause_ns, self._begin, None)

    def _pause_ns(self) -> int:
        return self._think() if self.spec.think_ms else 0

    # --- choices ----------------------------------------------------------------------------

    def _draw_tenant(self) -> int:
        spec = self.spec
        if spec.tenant:
            return flow_hash_of(self._named_tenant, self._salt)
        if self._tenants_below:
            below = self._tenants_below
            tenant = bisect_right(below, self._chooses.random() * below[-1])
        else:
            tenant = int(self._chooses.random() * spec.tenants)
        return flow_hash_of(tenant + 1, self._salt)

    def _draw_cohort(self) -> int:
        if self.spec.cohort == "user":
            user = int(self._chooses.random() * _USERS)
            return flow_hash_of(user, self._salt) % COHORTS
        return int(self._chooses.random() * COHORTS)


def rate_curve(spec: ClientSpec, capacity_rps: float) -> RateCurve:
    """How many tasks per second an open population begins, over time."""
    rate_rps = spec.rate_rps or 0.0
    if spec.load is not None:
        work = spec.service_factor * spec.cost * spec.calls_per_task
        rate_rps = spec.load * capacity_rps / work
    return RateCurve(
        rate_rps,
        schedule=spec.schedule,
        is_ramp=spec.ramp,
        start_s=spec.start_s,
        stop_s=spec.stop_s,
        burst_every_ms=spec.burst_every_ms,
        burst_ms=spec.burst_ms,
        burst_factor=spec.burst_factor,
        quiet_factor=spec.quiet_factor,
    )


def _has_tasks(spec: ClientSpec) -> bool:
    """Whether anything is to be remembered from one call to the next."""
    return (
        spec.calls_per_task > 1
        or spec.session_pages > 1
        or spec.attempts > 1
        or spec.retries_until_served
        or spec.arrivals == "closed"
    )


def _nanos(length_ms: float) -> Nanos:
    return Nanos(max(1, round(length_ms * NS_PER_MS)))


_STATE_AFTER = {
    End.SERVED: CallState.ANSWERED,
    End.FAILED: CallState.ANSWERED,
    End.REFUSED: CallState.REFUSED,
    End.LEFT: CallState.LEFT,
}


def _criticality(word: str) -> Criticality:
    found = Criticality.parse(word)
    if found is None:
        raise ValueError(f"no criticality is called {word!r}")
    return found
