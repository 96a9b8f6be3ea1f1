"""The hosts of one cell: hands of tenants, zones that go and come back, and the second try.

What the proxy's pool does, in virtual time: the least loaded host of the tenant's hand that is not
known to be gone; a host that refuses a connection is known to be gone until a probe finds it again;
a call whose connection breaks is sent to another host, if its budget has something left.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from shedproxy.core import (
    NS_PER_MS,
    NS_PER_S,
    HandDealer,
    RetryBudget,
    RetryPolicy,
    mix64,
)
from shedproxy.simulator.backend.host import Host, OnDone
from shedproxy.simulator.call import Call
from shedproxy.simulator.engine import Engine
from shedproxy.workload.scenario import CellSpec, EventSpec

__all__ = ["Fleet"]

_PROBE_NS = 300 * NS_PER_MS
_MASK = (1 << 64) - 1


class _Try:
    """A call at one host: what a host looks at, and what it writes, is of this try alone."""

    __slots__ = (
        "call",
        "due_at",
        "host",
        "info",
        "is_running",
        "left_backend",
        "mark",
        "needs_lock",
        "place",
        "serial",
        "spent_ns",
        "tried",
        "work_ns",
    )

    def __init__(self, call: Call, place: int, tried: tuple[int, ...]) -> None:
        self.call = call
        self.place = place
        self.tried = tried
        """Hosts that it was sent to before."""
        self.serial = call.serial
        self.info = call.info
        self.work_ns = call.work_ns
        self.host: Any = None
        self.is_running = self.needs_lock = self.left_backend = False
        self.mark = self.due_at = self.spent_ns = 0


class Fleet:
    """Takes the calls of one cell.

    Args:
        engine: the clock.
        spec: the cell.
        on_done: told of each call's end, with its status.
        on_health: told when another number of hosts is known to be there.
    """

    def __init__(
        self,
        engine: Engine,
        spec: CellSpec,
        *,
        on_done: OnDone,
        on_health: Callable[[str, int], None],
    ) -> None:
        self.spec = spec
        self._engine = engine
        self._on_done = on_done
        self._on_health = on_health
        backend = spec.backend
        self.hosts = [
            Host(engine, slots=backend.slots, on_done=self._ended, may_die=True)
            for _ in range(backend.hosts)
        ]
        self._gone: set[int] = set()
        """Hosts that are known to be gone."""
        self._budget = RetryBudget(RetryPolicy(attempts_max=spec.attempts), now=engine.now)
        self._dealer: HandDealer | None = None
        if spec.hand:
            members = [
                (mix64(place + 1), self.zone_of(place), "") for place in range(backend.hosts)
            ]
            self._dealer = HandDealer(members, hand_size=spec.hand)
        self._hands: dict[int, tuple[int, ...]] = {}
        self._all = tuple(range(backend.hosts))
        self._turn = 0
        """The host that ties begin with."""
        self.retries = 0
        self.deaths = 0

    def zone_of(self, place: int) -> str:
        """The zone of a host; "" where there is one only."""
        return str(place % self.spec.zones) if self.spec.zones > 1 else ""

    def hand_of(self, flow_hash: int) -> tuple[int, ...]:
        """The hosts that a tenant may use."""
        if self._dealer is None:
            return self._all
        hand = self._hands.get(flow_hash)
        if hand is None:
            hand = self._hands[flow_hash] = self._dealer.deal(flow_hash)
        return hand

    # --- calls ------------------------------------------------------------------------------

    def submit(self, call: Call) -> None:
        """A call leaves the proxy for this cell."""
        self._send(call, ())

    def stop(self, call: Call) -> None:
        """Its client left, and the work stops with that."""
        call.left_backend = True
        attempt: _Try | None = call.host
        if attempt is not None and attempt.host is not None:
            attempt.host.stop(attempt)

    def _send(self, call: Call, tried: tuple[int, ...]) -> None:
        place = self._choose(call.flow_hash, tried)
        attempt = call.host = _Try(call, place, tried)
        host = self.hosts[place]
        if not host.is_up:
            self._engine.at(self._engine.now, self._refuse, attempt)
            return
        host.submit(attempt)  # type: ignore[arg-type]  # all that a host looks at
        if call.source.spec.poison_ms:
            length_ns = round(call.source.spec.poison_ms * NS_PER_MS)
            self._engine.at(self._engine.now, self._die, ((place,), length_ns))

    def _choose(self, flow_hash: int, tried: tuple[int, ...]) -> int:
        """As the proxy's pool: a second try goes to another zone, if it can; ties go round."""
        hosts, zones, gone, turn = self.hosts, self.spec.zones, self._gone, self._turn
        lost = {place % zones for place in tried} if zones > 1 else ()
        count = len(hosts)
        chosen = min(
            self.hand_of(flow_hash),
            key=lambda place: (
                place in tried,
                place in gone,
                place % zones in lost,
                hosts[place].load,
                (place - turn) % count,
            ),
        )
        self._turn = (chosen + 1) % count
        return chosen

    def _refuse(self, attempt: _Try) -> None:
        """Nobody accepts there."""
        if attempt.left_backend or attempt.call.left_backend:
            return
        self._note_gone(attempt.place)
        self._broke(attempt)

    def _ended(self, ended: Any, status: int) -> None:
        attempt: _Try = ended
        call = attempt.call
        if status == 0:
            self._broke(attempt)
            return
        call.spent_ns = attempt.spent_ns
        call.left_backend = True
        self._budget.earn(call.flow_hash)
        self._on_done(call, status)

    def _broke(self, attempt: _Try) -> None:
        """No answer came of it: another host may have it."""
        call = attempt.call
        if call.left_backend:
            return
        tried = (*attempt.tried, attempt.place)
        if len(tried) < self.spec.attempts and self._budget.spend(
            call.flow_hash, now=self._engine.now
        ):
            self.retries += 1
            self._send(call, tried)
            return
        call.left_backend = True
        # Nobody there is evidence of overload, a connection that broke is none: as in the proxy.
        self._on_done(call, 500 if attempt.host is not None else 0)

    # --- hosts ------------------------------------------------------------------------------

    def happen(self, event: EventSpec) -> None:
        """Let something happen to the hosts, now."""
        if event.what == "service":
            for host in self.hosts:
                host.factor = event.factor
        else:
            zone = str(event.zone)
            lost = tuple(place for place in self._all if self.zone_of(place) == zone)
            self._die((lost, round(event.for_s * NS_PER_S)))

    def _die(self, death: tuple[tuple[int, ...], int]) -> None:
        places, length_ns = death
        lost = [place for place in places if self.hosts[place].is_up]
        for place in lost:
            self.hosts[place].is_up = False
        # What breaks goes elsewhere, and must not come to one that is about to go.
        for place in lost:
            self.deaths += 1
            self.hosts[place].lose()
            self._engine.at(self._engine.now + length_ns, self._come_back, place)

    def _come_back(self, place: int) -> None:
        self.hosts[place].is_up = True
        if place in self._gone:
            wait_ns = mix64(place + self._engine.now & _MASK) % _PROBE_NS
            self._engine.at(self._engine.now + wait_ns, self._note_back, place)

    def _note_gone(self, place: int) -> None:
        if place not in self._gone:
            self._gone.add(place)
            self._on_health(self.spec.name, self.healthy)

    def _note_back(self, place: int) -> None:
        if self.hosts[place].is_up and place in self._gone:
            self._gone.discard(place)
            self._on_health(self.spec.name, self.healthy)

    @property
    def healthy(self) -> int:
        """Hosts that are not known to be gone."""
        return len(self.hosts) - len(self._gone)

    @property
    def inside(self) -> int:
        """Calls at the hosts, running or queued."""
        return sum(host.load for host in self.hosts)

    @property
    def busy_ns(self) -> int:
        """Work done so far, for whomever."""
        return sum(host.busy_ns for host in self.hosts)

    def capacity_now_rps(self) -> float:
        """What the hosts that are there can do per second."""
        service_s = self.spec.backend.service_ms / 1000
        return sum(host.slots / service_s / host.factor for host in self.hosts if host.is_up)
