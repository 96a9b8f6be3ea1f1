"""Scenarios that nobody thought of, drawn from wide ranges: a controller cannot be tuned to them.

Equal numbers and seeds give equal scenarios.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Literal, TypeVar

from shedproxy.simulator.backend.service import capacity_rps
from shedproxy.workload import RandomSource
from shedproxy.workload.scenario import BackendSpec, ClientSpec, EventSpec, Scenario

__all__ = ["generate_scenario"]

_ARRIVALS = 20_000
_ARRIVALS_MAX = 60_000
_UNSCORED = 1_000
_SECONDS_MIN = 4.0
"""A controller takes tenths of a second to see anything."""

_SLOTS = (1.0, 64.0)
_SERVICE_MS = (0.3, 400.0)
_LOAD = (0.3, 10.0)
_KINDS: tuple[Literal["slots", "sharing", "usl"], ...] = ("slots", "slots", "sharing", "usl")
_LAWS: tuple[Literal["constant", "exponential", "bimodal", "lognormal", "uniform"], ...] = (
    "constant",
    "exponential",
    "bimodal",
    "lognormal",
    "uniform",
)
_CLASSES: Sequence[tuple[tuple[str, float], ...]] = (
    (("critical", 0.2), ("sheddable", 0.8)),
    (("critical_plus", 0.1), ("critical", 0.4), ("sheddable_plus", 0.3), ("sheddable", 0.2)),
    (("critical", 0.6), ("sheddable_plus", 0.4)),
)
_TENANT_LAWS: tuple[Literal["equal", "zipf"], ...] = ("equal", "zipf")
_EVENTS: tuple[
    Literal["service", "pause", "pauses", "outage", "fast_failures", "cold_cache"], ...
] = ("service", "pause", "pauses", "outage", "fast_failures", "cold_cache")
_PATTERNS = ("constant", "steps", "bursts", "on off")
_BURST_SHARE, _BURST_FACTOR = 0.2, 3.0

_T = TypeVar("_T")
_Points = Sequence[tuple[float, float]]
"""(share of the duration, factor on the load)."""


class _Draw:
    """Chance in the forms that scenarios need."""

    def __init__(self, rng: RandomSource) -> None:
        self._rng = rng

    def happens(self, probability: float) -> bool:
        return self._rng.random() < probability

    def one_of(self, choices: Sequence[_T]) -> _T:
        return choices[int(self._rng.random() * len(choices))]

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * self._rng.random()

    def log_between(self, low: float, high: float) -> float:
        return low * float((high / low) ** self._rng.random())


def generate_scenario(number: int, rng: RandomSource) -> Scenario:
    """A random scenario of about 20 000 scored arrivals, at most three times that.

    Args:
        number: for its name.
        rng: chance, of this scenario alone.
    """
    draw = _Draw(rng)
    backend = _backend(draw)
    base = round(draw.log_between(*_LOAD), 3)
    pattern = draw.one_of(_PATTERNS)
    points = _points(draw, pattern)
    burst_factor = _BURST_FACTOR if pattern == "bursts" else 1.0
    factor = _mean_factor(points) * (1 + _BURST_SHARE * (burst_factor - 1))
    # What is over too soon to be controlled is made slower.
    fastest_rps = _ARRIVALS_MAX / _SECONDS_MIN
    slower = max(1.0, capacity_rps(backend) * base * factor / fastest_rps)
    backend = replace(backend, service_ms=round(backend.service_ms * slower, 3))
    mean_rps = capacity_rps(backend) * base * factor
    duration_s = round(max(_SECONDS_MIN, (_ARRIVALS + _UNSCORED) / mean_rps), 3)
    client = _client(draw, base, [(duration_s * at, factor) for at, factor in points])
    if pattern == "bursts":
        every_ms = round(1000 * duration_s / draw.between(10, 40), 1)
        client = replace(
            client,
            burst_every_ms=every_ms,
            burst_ms=round(_BURST_SHARE * every_ms, 2),
            burst_factor=burst_factor,
        )
    events = _events(draw, duration_s)
    return Scenario(
        name=f"generated-{number:04d}",
        title=f"{_words(backend)}, {pattern} at {base:.2g} x",
        group="Generated",
        source="shedproxy's generator of scenarios",
        explanation=_explanation(client, events),
        duration_s=duration_s,
        unscored_arrivals=_UNSCORED,
        recovers_from_s=_ends_s(events, duration_s),
        backend=backend,
        client=(client,),
        event=events,
    )


def _backend(draw: _Draw) -> BackendSpec:
    kind = draw.one_of(_KINDS)
    slots = round(draw.log_between(*_SLOTS))
    network_ms = draw.log_between(0.1, 20.0) if draw.happens(0.3) else 0.0
    is_usl = kind == "usl"
    return BackendSpec(
        kind=kind,
        slots=slots,
        service_ms=round(draw.log_between(*_SERVICE_MS), 3),
        law=draw.one_of(_LAWS),
        cancels=draw.happens(0.25),
        network_ms=round(network_ms, 3),
        alpha=0.05 if is_usl else 0.0,
        # The best concurrency is as many as there would be slots.
        beta=0.95 / slots**2 if is_usl else 0.0,
    )


def _points(draw: _Draw, pattern: str) -> _Points:
    if pattern == "steps":
        return [(at, round(draw.log_between(0.4, 2.0), 2)) for at in (0.3, 0.5, 0.7)]
    if pattern == "on off":
        return [(part / 8, 0.2 if part % 2 else 1.0) for part in range(1, 8)]
    return []


def _mean_factor(points: _Points) -> float:
    """Over the whole duration; 1 before the first point."""
    stretches = pairwise([(0.0, 1.0), *points, (1.0, 0.0)])
    return sum((until - at) * factor for (at, factor), (until, _) in stretches)


def _client(draw: _Draw, base: float, schedule: _Points) -> ClientSpec:
    attempts = draw.one_of((1, 1, 2, 3))
    return ClientSpec(
        load=base,
        schedule=tuple((round(at_s, 3), factor) for at_s, factor in schedule),
        criticality=draw.one_of(_CLASSES) if draw.happens(0.5) else (("critical", 1.0),),
        tenants=round(draw.log_between(2, 500)) if draw.happens(0.4) else 0,
        tenant_law=draw.one_of(_TENANT_LAWS),
        attempts=attempts,
        backoff_ms=draw.one_of((0.0, 50.0, 200.0)) if attempts > 1 else 0.0,
        announces_deadline=draw.happens(0.3),
    )


def _events(draw: _Draw, duration_s: float) -> tuple[EventSpec, ...]:
    """Nothing in half of all scenarios, else one or two things, one after the other."""
    if draw.happens(0.5):
        return ()
    return tuple(
        _event(draw, duration_s * (0.3 + 0.35 * place), duration_s)
        for place in range(draw.one_of((1, 1, 2)))
    )


def _event(draw: _Draw, at_s: float, duration_s: float) -> EventSpec:
    event = EventSpec(
        at_s=round(at_s, 3),
        what=draw.one_of(_EVENTS),
        for_s=round(duration_s * draw.between(0.02, 0.1), 3),
    )
    if event.what == "service":
        factor = round(draw.log_between(0.5, 3.0), 2)
        return replace(event, for_s=round(duration_s * 0.2, 3), factor=factor)
    if event.what == "cold_cache":
        factor = round(draw.between(2.0, 10.0), 2)
        return replace(event, for_s=round(duration_s * 0.2, 3), factor=factor)
    if event.what == "pause":
        return replace(event, for_s=min(event.for_s, 0.5))
    if event.what == "pauses":
        until_s = round(at_s + 0.25 * duration_s, 3)
        return replace(event, for_s=0.05, every_s=1.0, until_s=until_s)
    if event.what == "fast_failures":
        return replace(event, share=round(draw.between(0.1, 0.9), 2))
    return event


def _ends_s(events: Sequence[EventSpec], duration_s: float) -> tuple[float, ...]:
    """When each thing that happens is over, where there is time left to recover."""
    ends = [event.until_s or event.at_s + event.for_s for event in events]
    return tuple(sorted(round(end, 3) for end in ends if end < 0.9 * duration_s))


def _words(backend: BackendSpec) -> str:
    unit = {"slots": "slots", "sharing": "cores", "usl": "at best"}[backend.kind]
    return f"{backend.slots} {unit} of {backend.service_ms:g} ms {backend.law}"


def _explanation(client: ClientSpec, events: Sequence[EventSpec]) -> str:
    parts = [
        f"{len(client.criticality)} classes" if len(client.criticality) > 1 else "",
        f"{client.tenants} tenants ({client.tenant_law})" if client.tenants else "",
        f"{client.attempts} attempts" if client.attempts > 1 else "",
        *(f"{event.what.replace('_', ' ')} at {event.at_s:g} s" for event in events),
    ]
    return ", ".join(part for part in parts if part) or "nothing besides the load"
