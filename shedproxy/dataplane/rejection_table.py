"""What refusals and faults say, and how a refusal looks to the balancer in front."""

from __future__ import annotations

import enum
from typing import Final, NamedTuple

from shedproxy.core import RejectReason
from shedproxy.observability.fault import Fault

__all__ = ["FAULTS", "FRONTS", "REASONS", "Blame", "Front", "ReasonEntry"]


class Blame(enum.IntEnum):
    """Whose shortage it is; decides the status and the problem type."""

    CELL = 0
    """The service is short of capacity: 503, or what the balancer in front takes well."""
    TENANT = 1
    """This caller is over its share: 429."""
    INSTANCE = 2
    """This instance cannot serve, another may: 503 behind every front, to be retried there."""


class ReasonEntry(NamedTuple):
    """How one RejectReason looks."""

    blame: Blame
    retry_after: bool
    """Whether coming back later can help."""
    detail: str


REASONS: Final[dict[RejectReason, ReasonEntry]] = {
    RejectReason.ROUTE_LIMIT: ReasonEntry(
        Blame.CELL, True, "This route has all the work in flight that it may have."
    ),
    RejectReason.CLASS_LIMIT: ReasonEntry(
        Blame.CELL, True, "This class of requests has all the work in flight that it may have."
    ),
    RejectReason.SHED_LEVEL: ReasonEntry(
        Blame.CELL, True, "Demand is above capacity and more important requests go first."
    ),
    RejectReason.QUEUE_FULL: ReasonEntry(
        Blame.CELL, True, "Too many requests that are no less important are waiting."
    ),
    RejectReason.QUEUE_TIMEOUT: ReasonEntry(
        Blame.CELL, True, "No capacity came free in the time a request may wait."
    ),
    RejectReason.EVICTED: ReasonEntry(
        Blame.CELL, True, "A more important request took this one's place in the queue."
    ),
    # No Retry-After: by its caller's own word, later is too late.
    RejectReason.DEADLINE: ReasonEntry(
        Blame.CELL, False, "The request cannot be finished in the time its caller has left."
    ),
    RejectReason.FAIR_SHARE: ReasonEntry(
        Blame.TENANT, True, "This caller has more than its fair share while others wait."
    ),
    RejectReason.RESIDENT_LIMIT: ReasonEntry(Blame.CELL, True, "Too many streams are open."),
    RejectReason.CONTROL_BUDGET: ReasonEntry(
        Blame.CELL, True, "Too many control requests are in flight."
    ),
    RejectReason.DRAINING: ReasonEntry(Blame.INSTANCE, True, "This instance is shutting down."),
    RejectReason.NO_UPSTREAM: ReasonEntry(
        Blame.INSTANCE, True, "The service behind this proxy cannot be reached."
    ),
    RejectReason.CONNECTION_LIMIT: ReasonEntry(Blame.CELL, True, "Too many connections are open."),
    RejectReason.ADDRESS_LIMIT: ReasonEntry(
        Blame.TENANT, True, "This address has too many connections open."
    ),
    RejectReason.CELL_SHARE: ReasonEntry(
        Blame.CELL, True, "Too many connections are busy with requests like this one."
    ),
    RejectReason.MOVING: ReasonEntry(
        Blame.CELL, True, "What this request belongs to is being moved and was not ready in time."
    ),
}

FAULTS: Final[dict[Fault, str]] = {
    Fault.BAD_REQUEST: "The request is not valid HTTP/1.1.",
    Fault.HEAD_TIMEOUT: "The request head did not arrive in time.",
    Fault.BODY_TIMEOUT: "The request body did not arrive in time.",
    Fault.LENGTH_REQUIRED: "The request needs a Content-Length.",
    Fault.BODY_TOO_LARGE: "The request body is too large.",
    Fault.TARGET_TOO_LONG: "The request target is too long.",
    Fault.EXPECTATION: "Only 100-continue can be expected.",
    Fault.HEAD_TOO_LARGE: "The request head is too large or has too many fields.",
    Fault.METHOD: "The method or the transfer coding is not served.",
    Fault.VERSION: "Only HTTP/1.1 and HTTP/1.0 are served.",
    Fault.UPSTREAM_CONNECT: "The service could not be reached.",
    Fault.UPSTREAM_CONNECT_TIMEOUT: "The service could not be reached in time.",
    Fault.UPSTREAM_CLOSED: "The service closed the connection before it had answered.",
    Fault.UPSTREAM_BAD_RESPONSE: "The service gave an answer that is not valid HTTP/1.1.",
    Fault.UPSTREAM_TIMEOUT: "The service did not answer in time.",
    Fault.CLIENT_GONE: "The client left before the answer was complete.",
    Fault.SLOW_CLIENT: "The client was too slow.",
    Fault.INTERNAL: "The proxy failed.",
    Fault.METHOD_NOT_ALLOWED: "This proxy opens no tunnels and echoes no requests.",
}
"""What the answer to a fault says; its status is the fault's own."""


class Front(NamedTuple):
    """What the balancer in front neither retries nor counts against a healthy host."""

    status_cell: int = 503
    headers_cell: tuple[tuple[str, str], ...] = ()


FRONTS: Final[dict[str, Front]] = {
    "none": Front(),
    # Outlier detection ejects after a run of 5xx; the header stops retries of the router.
    "envoy": Front(429, (("x-envoy-ratelimited", "true"),)),
    # `observe layer7` counts 5xx against the server, `retry-on 503` repeats them.
    "haproxy": Front(429),
    # `proxy_next_upstream http_503` repeats it and counts it towards max_fails.
    "nginx": Front(429),
    # Anomaly mitigation counts a target's 5xx.
    "alb": Front(429),
}
"""By the document's `front`. A `status_capacity` other than 503 wins over the preset's."""
