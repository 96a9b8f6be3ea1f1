"""Refusals in words, made of the numbers that decided."""

from __future__ import annotations

from typing import Final

from shedproxy.core.decision import Rejected, RejectReason
from shedproxy.core.request import RANKS
from shedproxy.core.spill import SpillBar
from shedproxy.core.units import NS_PER_MS

__all__ = ["explain_refusal"]

_SENTENCES: Final[dict[RejectReason, str]] = {
    RejectReason.ROUTE_LIMIT: (
        "route {route} has {route_in_flight} of {route_limit} in flight; this one takes {cost}"
    ),
    RejectReason.CLASS_LIMIT: (
        "class {criticality} has {class_in_flight} of {class_limit} in flight;"
        " this one takes {cost}"
    ),
    RejectReason.SHED_LEVEL: (
        "demand is above capacity: rank {rank} is below the shed level {cut_rank}"
        " (of 4096; the level itself loses {cut_share_ppm} ppm)"
    ),
    RejectReason.QUEUE_FULL: (
        "the queue holds {queue_length} of {queue_length_max}; a newcomer must rank above"
        " {worst_rank}, this one ranks {rank}"
    ),
    RejectReason.QUEUE_TIMEOUT: "waited {waited_ms} ms of at most {wait_max_ms} ms for a slot",
    RejectReason.EVICTED: (
        "the queue was full ({queue_length_max}) and rank {better_rank} came after rank {rank}"
    ),
    RejectReason.DEADLINE: (
        "{time_left_ms} ms are left; waiting takes about {wait_expected_ms} ms and the work"
        " {service_expected_ms} ms"
    ),
    RejectReason.FAIR_SHARE: (
        "this tenant has {flow_in_system} in the system, its fair share is {flow_share}"
        " among {flows_active} active tenants"
    ),
    RejectReason.RESIDENT_LIMIT: "{residents} of {resident_limit} streams are open",
    RejectReason.CONTROL_BUDGET: (
        "{control_in_flight} of {control_budget} control requests are in flight"
    ),
    RejectReason.DRAINING: "this instance is draining",
    RejectReason.NO_UPSTREAM: "{upstreams_healthy} of {upstreams} upstreams are healthy",
    RejectReason.CONNECTION_LIMIT: "{connections} of {connections_max} connections are open",
    RejectReason.ADDRESS_LIMIT: (
        "this address has {address_connections} of {address_connections_max} connections open"
    ),
    RejectReason.CELL_SHARE: "this cell keeps {cell_clients} of {cell_clients_max} clients busy",
    RejectReason.MOVING: (
        "its key is changing its cell: waited {waited_ms} ms of at most {wait_max_ms} ms, beside"
        " {held} of {held_max}"
    ),
}


_TRIMMED: Final = (
    "overload began: {queue_length} of this class and better ones waited where {queue_length_max}"
    " may then, and rank {rank} is the lowest of them"
)


_BARS: Final[dict[int, str]] = {
    SpillBar.IS_HOST: "its own has requests of others, or had some just now",
    SpillBar.IS_GUEST: "that one sends requests away itself",
    SpillBar.UNKNOWN_ROOM: "the room there has not been measured yet",
    SpillBar.BUSY: "that one is busy, or learns its latency without load",
    SpillBar.NO_ROOM: "half of the limit there is taken, or was lately by its own",
    SpillBar.FAILED: "the service there is overloaded",
    SpillBar.BOUNDED: "that one has a bound for this class",
    SpillBar.NO_TIME: "the work would take longer there than there is time",
}


def explain_refusal(rejected: Rejected) -> str:
    """One sentence for a person, made of the numbers that decided."""
    values: dict[str, object] = {
        "route": rejected.request.route,
        "criticality": rejected.request.criticality.label,
        "queue_length": rejected.queue_length,
    }
    for name, number in rejected.evidence.items():
        values[name] = number
        if name.endswith("_ns"):
            values[name[:-3] + "_ms"] = round(number / NS_PER_MS, 1)
    is_trimmed = values.get("better_rank") == RANKS
    sentence = (_TRIMMED if is_trimmed else _SENTENCES[rejected.reason]).format(**values)
    if rejected.spill_bar:
        sentence += f"; no other cell took it: {_BARS[rejected.spill_bar]}"
    return sentence
