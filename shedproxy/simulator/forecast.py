"""What would happen under another load, with another limit, or with a cell less.

The real Shedder stands in virtual time before a station that has the capacity and the service law
that a calibration measured. Nothing is read off a formula: admit rates, waits and latency are those
of the simulated requests. What the station cannot show is a service that breaks under what is let
in; a calibrated limit is there to prevent that.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from shedproxy.core import (
    NS_PER_MS,
    NS_PER_S,
    CellPolicy,
    Criticality,
    Decision,
    Instant,
    LimitPolicy,
    Outcome,
    Permit,
    Policy,
    QueuePolicy,
    Rejected,
    RequestInfo,
    Ticket,
    Verdict,
)
from shedproxy.simulator.clients import Chance
from shedproxy.simulator.controllers.ours import OurControl
from shedproxy.simulator.controllers.protocol import Reading
from shedproxy.simulator.world import Sample, World
from shedproxy.workload.results import percentile
from shedproxy.workload.scenario import BackendSpec, ClientSpec, Law, Scenario

__all__ = ["CellForecast", "CellModel", "ClassForecast", "forecast"]

_SETTLES_S = 5.0
"""What comes before is the change from nothing to this load, and is not counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CellModel:
    """A cell and the service behind it."""

    name: str
    slots: int
    service_ms: float
    law: Law = "exponential"
    cv: float | None = None
    recorded_ms: tuple[float, ...] = ()
    network_ms: float = 0.0
    limit: LimitPolicy
    queue: QueuePolicy
    deadline_ms: float
    """Clients leave after this."""
    objective_ms: float | None = None
    """What is answered later is not good; None: all that clients wait for is."""

    @property
    def capacity_rps(self) -> float:
        """What the station completes when it is never idle."""
        return self.slots * 1000 / self.service_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassForecast:
    """One class: what became of it. Latency is from arrival, of all that was answered."""

    name: str
    offered_rps: float
    admitted_ratio: float
    served_ratio: float
    """Within the objective."""
    wait_p50_ms: float | None
    wait_p99_ms: float | None
    p50_ms: float | None
    p99_ms: float | None
    refused: tuple[tuple[str, int], ...]
    """By reason, the commonest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CellForecast:
    """One cell under its load."""

    name: str
    offered_rps: float
    """As it came out, chance included."""
    capacity_rps: float
    goodput_rps: float
    limit_mean: float
    in_flight_mean: float
    classes: tuple[ClassForecast, ...]
    request_count: int
    """Arrivals that the figures rest on."""

    @property
    def goodput_ratio(self) -> float:
        """Over the smaller of capacity and offered; 1 where nothing is offered."""
        possible = min(self.offered_rps, self.capacity_rps)
        return self.goodput_rps / possible if possible else 1.0


class _Class:
    __slots__ = ("admitted", "latencies_ns", "offered", "refused", "served", "waits_ns")

    def __init__(self) -> None:
        self.offered = self.admitted = self.served = 0
        self.refused: Counter[str] = Counter()
        self.waits_ns = array("q")
        self.latencies_ns = array("q")


class _Watched:
    """A Shedder whose answers are counted from an instant on."""

    def __init__(self, shedder: OurControl, *, from_at: int, good_ns: int) -> None:
        self._shedder = shedder
        self._from_at = from_at
        self._good_ns = good_ns
        self.classes = {criticality: _Class() for criticality in Criticality}

    def arrive(
        self,
        request: RequestInfo,
        *,
        now: Instant,
        flow_hash: int = 0,
        cohort: int = 0,
        time_left_ns: int | None = None,
    ) -> Decision:
        decision = self._shedder.arrive(
            request, now=now, flow_hash=flow_hash, cohort=cohort, time_left_ns=time_left_ns
        )
        if now >= self._from_at:
            self.classes[request.criticality].offered += 1
        if isinstance(decision, Ticket):
            if decision.evicted is not None:
                self._heard((decision.evicted,))
        else:
            self._decided(decision, now)
        return decision

    def release(
        self, permit: Permit, outcome: Outcome, *, now: Instant, stalled_ns: int = 0
    ) -> Sequence[Verdict]:
        latency_ns = now - permit.arrived_at
        if outcome is Outcome.SUCCESS and permit.arrived_at >= self._from_at:
            count = self.classes[permit.request.criticality]
            count.served += latency_ns <= self._good_ns
            count.latencies_ns.append(latency_ns)
        verdicts = self._shedder.release(permit, outcome, now=now, stalled_ns=stalled_ns)
        return self._heard(verdicts)

    def orphan(self, permit: Permit, *, now: Instant) -> None:
        self._shedder.orphan(permit, now=now)

    def leave_zombie(
        self, permit: Permit, *, now: Instant, outcome: Outcome = Outcome.ABANDONED
    ) -> Sequence[Verdict]:
        return self._heard(self._shedder.leave_zombie(permit, now=now, outcome=outcome))

    def abandon(self, ticket: Ticket, *, now: Instant) -> Sequence[Verdict]:
        if ticket.arrived_at >= self._from_at:
            self.classes[ticket.request.criticality].refused["client_left"] += 1
        return self._heard(self._shedder.abandon(ticket, now=now))

    def next_tick_at(self) -> Instant | None:
        return self._shedder.next_tick_at()

    def tick(self, *, now: Instant) -> Sequence[Verdict]:
        return self._heard(self._shedder.tick(now=now))

    def on_stall(self, *, now: Instant) -> None:
        self._shedder.on_stall(now=now)

    def reading(self) -> Reading:
        return self._shedder.reading()

    def _heard(self, verdicts: Sequence[Verdict]) -> Sequence[Verdict]:
        for ticket, decision in verdicts:
            self._decided(decision, ticket.arrived_at)
        return verdicts

    def _decided(self, decision: Permit | Rejected, arrived_at: Instant) -> None:
        if arrived_at < self._from_at:
            return
        count = self.classes[decision.request.criticality]
        if isinstance(decision, Rejected):
            count.refused[decision.reason.label] += 1
        else:
            count.admitted += 1
            count.waits_ns.append(decision.waited_ns)


def forecast(
    cell: CellModel,
    *,
    offered_rps: float,
    mix: Sequence[tuple[Criticality, float]],
    length_s: float,
    chance: Chance,
) -> CellForecast:
    """One cell under Poisson arrivals of `offered_rps`, for `length_s` beyond a start.

    Args:
        cell: with its service.
        offered_rps: above 0.
        mix: classes by weight.
        length_s: what is counted.
        chance: streams by name.
    """
    from_at = round(_SETTLES_S * NS_PER_S)
    good_ms = min(cell.deadline_ms, cell.objective_ms or cell.deadline_ms)
    watched: list[_Watched] = []

    def make(_world: World, now: Instant, _index: int) -> _Watched:
        policy = Policy(cells=(CellPolicy(name=cell.name, limit=cell.limit, queue=cell.queue),))
        shedder = OurControl(policy, now=now)
        watched.append(_Watched(shedder, from_at=from_at, good_ns=round(good_ms * NS_PER_MS)))
        return watched[-1]

    world = World(
        scenario=_scenario(cell, offered_rps, mix, length_s),
        make_controller=make,
        chance=chance,
    )
    world.run()
    samples = [sample for sample in world.samples if sample.at_ns >= from_at]
    classes = {c: count for c, count in watched[0].classes.items() if count.offered}
    request_count = sum(count.offered for count in classes.values())
    return CellForecast(
        name=cell.name,
        offered_rps=request_count / length_s,
        capacity_rps=cell.capacity_rps,
        goodput_rps=sum(count.served for count in classes.values()) / length_s,
        limit_mean=_mean(samples, lambda sample: sample.limit),
        in_flight_mean=_mean(samples, lambda sample: float(sample.in_flight)),
        classes=tuple(
            _class(criticality.label, count, length_s)
            for criticality, count in sorted(classes.items(), reverse=True)
        ),
        request_count=request_count,
    )


def _scenario(
    cell: CellModel, offered_rps: float, mix: Sequence[tuple[Criticality, float]], length_s: float
) -> Scenario:
    return Scenario(
        name=cell.name,
        duration_s=length_s + _SETTLES_S,
        deadline_ms=cell.deadline_ms,
        backend=BackendSpec(
            slots=cell.slots,
            service_ms=cell.service_ms,
            law=cell.law,
            cv=cell.cv,
            recorded_ms=cell.recorded_ms,
            network_ms=cell.network_ms,
        ),
        client=(
            ClientSpec(
                rate_rps=offered_rps,
                criticality=tuple((criticality.label, weight) for criticality, weight in mix),
                cell=cell.name,
            ),
        ),
    )


def _mean(items: Sequence[Sample], read: Callable[[Sample], float]) -> float:
    return sum(map(read, items)) / len(items) if items else 0.0


def _class(name: str, count: _Class, length_s: float) -> ClassForecast:
    waits, latencies = sorted(count.waits_ns), sorted(count.latencies_ns)
    return ClassForecast(
        name=name,
        offered_rps=count.offered / length_s,
        admitted_ratio=count.admitted / count.offered,
        served_ratio=count.served / count.offered,
        wait_p50_ms=_ms(percentile(waits, 0.5)),
        wait_p99_ms=_ms(percentile(waits, 0.99)),
        p50_ms=_ms(percentile(latencies, 0.5)),
        p99_ms=_ms(percentile(latencies, 0.99)),
        refused=tuple(count.refused.most_common()),
    )


def _ms(length_ns: int | None) -> float | None:
    return None if length_ns is None else length_ns / NS_PER_MS
