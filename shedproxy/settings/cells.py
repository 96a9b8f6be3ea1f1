"""The tables of one cell: `[cell.NAME]` and what is below it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from shedproxy.settings.outliers import CheckSettings, OutlierSettings
from shedproxy.settings.quantities import Duration, TextList, at_least, invalid
from shedproxy.settings.section import (
    CellName,
    ClassLimits,
    CriticalityName,
    Section,
    form,
    preset,
)
from shedproxy.settings.upstreams import UpstreamUrl

__all__ = [
    "CellSettings",
    "DeadlineSettings",
    "FairnessSettings",
    "HandsSettings",
    "LimitSettings",
    "ProfileSettings",
    "QueueSettings",
    "RetriesSettings",
    "ShedLevelSettings",
    "SpillSettings",
    "StreamsSettings",
    "TransportSettings",
    "UpstreamTlsSettings",
]

_LIMIT_MAX = 1_000_000

RetriedMethod = Literal["GET", "HEAD", "OPTIONS", "PUT", "DELETE"]
"""The idempotent ones (RFC 9110 9.2.2); the list may be shorter."""


def _fixed_limit(value: Any) -> Any:
    """`limit = 64` stands for a fixed limit of 64."""
    if isinstance(value, bool) or not isinstance(value, int):
        return value
    if value < 1:
        raise invalid(
            "a limit must be at least 1",
            help_text="to refuse every request, use a rule with limit = 0",
        )
    return {"algorithm": "fixed", "initial": value}


class LimitSettings(Section):
    """How many requests may be in flight, from admission to the last byte of the answer.
    `limit = 64` in [cell.NAME] is short for a fixed limit.
    """

    algorithm: Literal["adaptive", "fixed", "aimd", "vegas", "gradient2"] = "adaptive"
    """Who moves the limit: "adaptive" (ours), "fixed" (nobody), or one of the published ones."""
    initial: int | None = preset(None, ge=1, le=_LIMIT_MAX, examples=[8])
    """Where the limit starts, or stays if fixed. Unset: 8, brought between min and max."""
    min: int = preset(1, ge=1, le=_LIMIT_MAX)
    """The limit never falls below this."""
    max: int = preset(1000, ge=1, le=_LIMIT_MAX)
    """The limit never grows above this."""
    baseline: Annotated[Duration, at_least("1us")] | None = preset(None, examples=["20ms"])
    """Latency of the service without load. Unset: learnt, only while few requests are in flight."""


class QueueSettings(Section):
    """Where requests wait for a free slot: bounded in time and in length."""

    length_max: int = preset(1024, ge=0, le=_LIMIT_MAX)
    """Requests that may wait; a better arrival takes the place of the worst waiter. In overload far
    fewer do (`shed_level`)."""
    wait_max: Duration = preset("500ms")
    """Longest time a request may wait, or 4 to 12 times what the work takes if that is longer; less
    in overload."""
    deadline_share: float = preset(0.33, gt=0, le=1)
    """Most of a request's remaining time that it may spend waiting."""
    lifo_after: Duration = preset("10s")
    """A class that has not been without waiters for this long, while more of better classes were
    served than of it, serves its newest first."""
    shards: int = preset(64, ge=1, le=4096)
    """Queues per class among which tenants are spread."""
    hand: int = preset(4, ge=1, le=64)
    """How many of these queues one tenant may use (shuffle sharding)."""


class FairnessSettings(Section):
    """What one tenant may take while others want the cell too (`headers.tenant` names tenants)."""

    enabled: bool = True
    """Whether tenants over their share are refused (429) while the cell is contended."""
    slack: float = preset(1.5, ge=1, le=100)
    """How many equal shares one tenant may hold."""


class ShedLevelSettings(Section):
    """While demand is above capacity: short queues, and the least important classes refused on
    arrival.
    """

    enabled: bool = True
    """Without it only a full queue and expired waiters are refused, and the queue stays long."""
    period: Annotated[Duration, at_least("10ms")] = preset("100ms")
    """Longest time between two moves of the level; a busy cell moves it more often."""


class SpillSettings(Section):
    """Which other cells take requests that this one has no room for, and which requests: only where
    any cell can serve them. The other one must have measured room: its peak of the last seconds and
    such guests together never take more than half of its limit, nothing is taken while somebody
    waits there, and guests are sent on to nobody. Requests whose key is pinned or moves stay, and
    so do what is known as a stream and what has a bound of its own. A WebSocket is one once
    it has begun: before, it goes like any request. Guests carry `shedproxy-spilled-from: CELL`.
    """

    to: Annotated[list[CellName], TextList] = preset([], max_length=8)
    """Cells with upstreams of their own, in the order in which they are asked; none: nothing
    spills."""
    classes: Annotated[list[CriticalityName], TextList] = preset([])
    """Classes that may go; none: nothing does."""


class StreamsSettings(Section):
    """Server-sent events, WebSockets and long polls: they stay long and take no slot."""

    limit: int = preset(10_000, ge=0, le=_LIMIT_MAX)
    """Most streams open at once."""


class DeadlineSettings(Section):
    """How long a request is worth answering."""

    default: Annotated[Duration, at_least("1ms")] | None = preset(None, examples=["2s"])
    """Time a request has when no trusted header says. Unset: unknown, only the queue bounds it."""


class UpstreamTlsSettings(Section):
    """TLS towards `https://` upstreams."""

    ca: str = ""
    """PEM file of the authorities to believe; "" means those of the system."""
    verify: bool = True
    """Whether certificate and name of the upstream are checked. Leave it on."""
    server_name: str = ""
    """Name to expect in the certificate and to send as SNI; "" means the host of the URL."""
    cert: str = ""
    """PEM file of the client certificate to show, if the upstream wants one."""
    key: str = ""
    """PEM file of its key."""


def _cancels(value: Any) -> Any:
    """`cancels = true` is as good as `cancels = "true"`."""
    return str(value).lower() if isinstance(value, bool) else value


class TransportSettings(Section):
    """How the cell talks to its upstreams."""

    connections_max: int = preset(512, ge=1, le=65_535)
    """Most connections to one upstream."""
    connections_share: float = preset(0.8, gt=0, le=1)
    """With several cells, the part of all places for connections (`server.connections_max`, or what
    descriptors allow) that clients with requests of this one may hold, waiters, streams and slow
    readers included, and as much again for connections to its upstreams: no cell takes the last
    from the others. Cells without upstreams of their own count with `default`."""
    cancels: Annotated[
        Literal["auto", "true", "false"],
        BeforeValidator(_cancels, json_schema_input_type=Literal["auto", "true", "false"] | bool),
    ] = "auto"
    """What becomes of the work of a client that left. true: closing the connection stops it, as in
    asyncio servers; the slot is free at once. false: it goes on, as in sync workers and thread
    pools; the connection is kept and the slot is taken until the answer has come. auto: the sending
    side is closed, so that a service that can stop does; the slot is taken until the answer has
    come, or for the expected rest of the work when the service closes without one."""
    fail_after: int = preset(3, ge=1, le=1000)
    """Attempts in a row without an answer that take an upstream out: it refuses connections, closes
    them, or says nothing for the whole of timeouts.response."""
    retry_after: Annotated[Duration, at_least("10ms")] = preset("300ms")
    """Longest time between two probes of an upstream that is out; the first come sooner. One that
    refused is back when it accepts; one that said nothing when it answers `OPTIONS *`."""
    tls: UpstreamTlsSettings = UpstreamTlsSettings()


class HandsSettings(Section):
    """Shuffle sharding: each tenant has a few of the upstreams, so that one whose requests are
    poison takes down those and no other. Retries stay in the hand. Needs tenants
    (`headers.tenant`) and a secret (`cells.secret`). `shedproxy shards plan` says what to expect.
    """

    size: int = preset(0, ge=0, le=64)
    """Upstreams of one tenant; 0: all. Over zones and versions a hand is spread so that losing one
    of them leaves the rest."""
    overlap_max: int | None = preset(None, ge=0, le=63, examples=[2])
    """Most upstreams that two of the tenants listed below may share."""
    tenants: list[str] = preset([], max_length=100_000)
    """Tenants whose hands keep to `overlap_max`, dealt in this order: append, and nobody gets
    another hand. All others are dealt theirs by hash."""


class RetriesSettings(Section):
    """When the proxy sends a request once more: it could not be sent, or the upstream closed the
    connection without a byte of an answer. Never after an answer began, nor in overload.
    """

    attempts: int = preset(2, ge=1, le=10)
    """Times one request is sent at most; 1: never again."""
    budget: float = preset(0.1, ge=0, le=1)
    """Retries that each answered request earns, for all and for its tenant."""
    floor: int = preset(3, ge=0, le=1000)
    """Retries per second and worker that are earned by nothing."""
    methods: Annotated[list[RetriedMethod], TextList] = preset(
        ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"]
    )
    """Methods that may be sent again although the first try may have been seen. Others are, only
    when nothing was sent."""


Rates = Annotated[list[Annotated[float, Field(ge=0)]], Field(min_length=0, max_length=3)]


def _time(value: str) -> str:
    try:
        if value:
            datetime.fromisoformat(value)
    except ValueError:
        raise invalid(
            f'"{value}" is not a time', help_text="no calendar has that day or hour"
        ) from None
    return value


class ProfileSettings(Section):
    """What `shedproxy calibrate --write` measured, and what the limits of the cell rest on. With a
    capacity and a knee it is compared with live traffic; an alarm says when the service is no
    longer that. Lists are value, and the bounds of its 95 % interval.
    """

    version: Literal[1] = 1
    """Version of the profile."""
    id: str = ""
    """Names the calibration; "" means there was none."""
    source: Literal["load", "observed", "import"] = "load"
    """What it was measured with: load of its own, or the traffic that a live proxy saw."""
    fitted_at: Annotated[
        str,
        form(r"^(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z)?$", 'a time, like "2026-11-22T20:41:07Z"'),
        AfterValidator(_time),
    ] = ""
    """When, in UTC."""
    expires_after: Annotated[Duration, at_least("1s")] = preset("720h")
    """Then `shedproxy check` warns, and so does the proxy."""
    fingerprint: str = ""
    """Of the machine that measured, and of the build that was measured, where it was named."""
    build: str = preset("", examples=["2026.11.3"])
    """What the upstreams ran then (`calibrate --build`). Where those of the cell are said to have
    another version there is a warning; "" is any."""
    weight: int = preset(1, ge=1, le=10_000)
    """Healthy upstreams when it was measured: limits are for so many together."""
    slo: str = ""
    """What counted as good service."""
    capacity: Rates = preset([], examples=[[200.0, 195.0, 205.0]])
    """Requests per second that the service completes while it is never idle."""
    slo_rate: Rates = preset([], examples=[[180.0, 172.0, 186.0]])
    """Most requests per second within the SLO."""
    knee: Rates = preset([], examples=[[4.1, 3.9, 4.3]])
    """In flight when the service is busy and nobody waits inside it."""
    scatter: float = preset(1.0, ge=0)
    """Standard deviation of service times over their mean."""
    routes: dict[str, list[Duration]] = preset({})
    """Mean latency without load by route; "*" is all of them."""


class CellSettings(Section):
    """An isolated share of the service: its own limit, queue and refusals. Rules choose the cell;
    without a rule it is `default`.
    """

    upstream: Annotated[list[UpstreamUrl], TextList] = preset([])
    """Where requests go: "http://host:port", "https://host:port" or "unix:/path"; of several the
    least loaded. Without any, those of cell `default`. "URL zone=a version=2" says where it is and
    what it runs: the own zone (`server.zone`) comes first."""
    demand: float | None = preset(None, ge=0, examples=[400.0])
    """Requests per second that the cell has to carry at its peak, never more than its maximum: what
    its profile, or limit and baseline, says of its upstreams. With zones, what is left when the
    largest is lost must carry it. Unset: its part of cells.demand."""
    waive: list[Literal["zone-headroom"]] = preset([])
    """Demands on the cell that it may do without, by name."""
    limit: Annotated[
        LimitSettings, BeforeValidator(_fixed_limit, json_schema_input_type=int | LimitSettings)
    ] = LimitSettings()
    queue: QueueSettings = QueueSettings()
    fairness: FairnessSettings = FairnessSettings()
    shed_level: ShedLevelSettings = ShedLevelSettings()
    spill: SpillSettings = SpillSettings()
    streams: StreamsSettings = StreamsSettings()
    deadline: DeadlineSettings = DeadlineSettings()
    transport: TransportSettings = TransportSettings()
    hands: HandsSettings = HandsSettings()
    retries: RetriesSettings = RetriesSettings()
    outliers: OutlierSettings = OutlierSettings()
    check: CheckSettings = CheckSettings()
    class_limits: ClassLimits = ClassLimits()
    profile: ProfileSettings = ProfileSettings()
