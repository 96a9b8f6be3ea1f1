"""The words that the metric table and the slots are written in: instruments, outcomes, gauges."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from shedproxy.core import NS_PER_S

__all__ = [
    "DecisionOutcome",
    "Eviction",
    "Gauge",
    "Instrument",
    "Label",
    "Merge",
    "Metric",
    "ProcessCounter",
    "ProcessGauge",
    "RequestOutcome",
    "RetryCause",
    "RetryDenial",
    "SpillSide",
    "WaitOutcome",
    "counter",
    "gauge",
    "histogram",
    "up_down",
]


class Instrument(enum.Enum):
    """How a metric behaves over time, in OpenTelemetry's words."""

    COUNTER = "counter"
    UP_DOWN = "updowncounter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Merge(enum.Enum):
    """How the values of several workers become one."""

    SUM = "sum"
    MAX = "max"
    MIN = "min"


class DecisionOutcome(enum.IntEnum):
    """What became of an arrival; each arrival counts under exactly one."""

    ADMITTED = 0
    REJECTED = 1
    WOULD_REJECT = 2
    """Observe mode: served, although enforce mode would have refused it."""
    BYPASS = 3
    """A control request: served without admission."""


class RequestOutcome(enum.IntEnum):
    """How an admitted request ended, for durations."""

    SUCCESS = 0
    CLIENT_ERROR = 1
    SERVER_ERROR = 2
    ABANDONED = 3
    """The client left before its answer was complete."""
    REJECTED = 4
    """Refused: derived from the decisions and the waits of waiters refused later."""


class WaitOutcome(enum.IntEnum):
    """How a wait in the queue ended."""

    ADMITTED = 0
    REJECTED = 1


class RetryCause(enum.IntEnum):
    """Why a request was sent again."""

    CONNECT = 0
    """No connection: nothing was sent."""
    CLOSED = 1
    """The upstream took the connection and closed it without a byte of an answer."""
    REUSED = 2
    """The upstream closed an idle connection while the request was under way to it."""


class SpillSide(enum.IntEnum):
    """Which part a cell had when another took what it had no room for."""

    SENT = 0
    """Its request went to another cell."""
    TAKEN = 1
    """It took the request of another."""


class RetryDenial(enum.IntEnum):
    """Why a request that could have been sent again was not."""

    BUDGET = 0
    """All, or its tenant, have used up what successes earned."""
    OVERLOAD = 1
    """The cell is in overload."""


class Gauge(enum.IntEnum):
    """What the driver publishes of each cell, about ten times a second. The value is a slot."""

    IN_FLIGHT = 0
    LIMIT = 1
    QUEUE_LENGTH = 2
    RESIDENTS = 3
    ZOMBIES = 4
    CONTROL_IN_FLIGHT = 5
    SHED_RANK = 6
    SHED_SHARE_PPM = 7
    PRESSURE_PPM = 8
    BASELINE_NS = 9
    LIMIT_CAUSE = 10
    """1 + LimitCause of the last change, 0: it never changed. For the status page, not exported:
    `shedproxy.limit.changes` counts causes."""
    DEMAND = 11
    """Cost offered per second, as the driver measured it over its last period."""
    UPSTREAMS_HEALTHY = 12
    UPSTREAMS = 13
    CAPACITY = 14
    """Cost started per second while saturated."""
    SHEDDABLE = 15
    SHEDDABLE_PLUS = 16
    CRITICAL = 17
    CRITICAL_PLUS = 18
    """Slots of each class, in the order of Criticality, as class limits count them."""
    HOST_LIMIT = 19
    """The limit in force, not the part of it that LIMIT shows where workers share it."""
    HOST_IN_FLIGHT = 20
    """What all who share the limit have in flight, as this one sees it."""
    UPSTREAM_WEIGHT = 21
    """Hosts in service, each by the part it may have, in thousandths."""
    GUESTS = 22
    """Slots that requests of other cells hold."""
    GUEST_ROOM = 23
    """Slots that were free for more of them, as they were looked for last."""

    @classmethod
    def of_class(cls, criticality: int) -> Gauge:
        """What a class has in flight."""
        return cls(cls.SHEDDABLE + criticality)


class Eviction(enum.IntEnum):
    """Why a client lost its connection to others: what it was being waited for."""

    IDLE = 0
    """The next request, on a connection that had one."""
    HEAD = 1
    """The rest of a head, or the first byte."""
    BODY = 2
    """The rest of a body, without a slot."""
    HANDSHAKE = 3
    """Its part of a TLS handshake."""
    READER = 4
    """To read its answer, which held a slot."""
    UPLOAD = 5
    """The rest of a body, which held a slot."""

    @property
    def label(self) -> str:
        """The word used in metrics."""
        return self.name.lower()


class ProcessGauge(enum.IntEnum):
    """What each worker publishes of itself. The value is a slot."""

    LOOP_LAG_NS = 0
    CONNECTIONS = 1
    TUNNELS = 2
    UPSTREAM_CONNECTIONS = 3
    RSS_BYTES = 4


class ProcessCounter(enum.IntEnum):
    """What each worker counts outside any cell. The value is a slot."""

    CONNECTIONS_ACCEPTED = 0
    LOG_LINES_DROPPED = 1
    LOG_LINES_SUPPRESSED = 2
    LOOP_STALLS = 3
    CPU_NS = 4
    EVICTED_IDLE = 5
    EVICTED_HEAD = 6
    EVICTED_BODY = 7
    EVICTED_HANDSHAKE = 8
    EVICTED_READER = 9
    EVICTED_UPLOAD = 10
    """Clients by Eviction, in its order."""
    CONNECTIONS_DROPPED = 11
    HELD = 12
    HELD_NS = 13
    """What waited for its turn of the loop and is of no cell: of new connections, and control."""

    @classmethod
    def of_eviction(cls, eviction: int) -> ProcessCounter:
        """Where evictions of this kind are counted."""
        return cls(cls.EVICTED_IDLE + eviction)


@dataclass(frozen=True, slots=True)
class Label:
    """A label and every value it can have.

    `values` is empty where the table cannot list them: cells are configured, places found.
    """

    name: str
    values: tuple[str, ...] = ()

    @property
    def prometheus_name(self) -> str:
        """The name with the dots that Prometheus does not have replaced."""
        return self.name.replace(".", "_")


_SUFFIXES = {"s": "_seconds", "By": "_bytes", "1": "_ratio", "{request}/s": "_per_second"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One line of the table."""

    name: str
    instrument: Instrument
    unit: str
    meaning: str
    labels: tuple[Label, ...] = ()
    merge: Merge = Merge.SUM
    scale: int = 1
    """Stored integers divided by this give the exported unit."""
    bounds: tuple[float, ...] = ()
    """Upper bounds of a histogram, in the exported unit."""
    is_always_shown: bool = True
    """False: a gauge at 0 means "not known" and is left out. Counters at 0 are always left out."""

    @property
    def prometheus_family(self) -> str:
        """Name of the family: translated, with its unit, without `_total`."""
        name = self.name.replace(".", "_")
        suffix = _SUFFIXES.get(self.unit, "")
        return name if name.endswith(suffix) else name + suffix

    @property
    def prometheus_unit(self) -> str:
        """The unit that ends the family name, or ""."""
        suffix = _SUFFIXES.get(self.unit, "")
        return suffix[1:] if suffix in {"_seconds", "_bytes", "_ratio"} else ""


def counter(name: str, unit: str, meaning: str, *labels: Label, scale: int = 1) -> Metric:
    """A metric that only grows."""
    return Metric(
        name=name,
        instrument=Instrument.COUNTER,
        unit=unit,
        meaning=meaning,
        labels=labels,
        scale=scale,
    )


def up_down(name: str, unit: str, meaning: str, *labels: Label) -> Metric:
    """A metric that is a sum over workers, and rises and falls."""
    return Metric(
        name=name, instrument=Instrument.UP_DOWN, unit=unit, meaning=meaning, labels=labels
    )


def gauge(
    name: str,
    unit: str,
    meaning: str,
    *labels: Label,
    merge: Merge = Merge.MAX,
    scale: int = 1,
    is_always_shown: bool = True,
) -> Metric:
    """A metric of the present."""
    return Metric(
        name=name,
        instrument=Instrument.GAUGE,
        unit=unit,
        meaning=meaning,
        labels=labels,
        merge=merge,
        scale=scale,
        is_always_shown=is_always_shown,
    )


def histogram(name: str, bounds: tuple[float, ...], meaning: str, *labels: Label) -> Metric:
    """A metric of lengths of time, stored in ns."""
    return Metric(
        name=name,
        instrument=Instrument.HISTOGRAM,
        unit="s",
        meaning=meaning,
        labels=labels,
        scale=NS_PER_S,
        bounds=bounds,
    )
