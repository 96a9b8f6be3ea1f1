"""The settings as people write them: one class per table of the TOML file.

Docstrings of attributes are the product's own documentation: they go into the JSON Schema and into
the file that `shedproxy init` writes. Defaults are written the way a user would write them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from shedproxy.settings.cells import CellSettings
from shedproxy.settings.managed import SnapshotSettings
from shedproxy.settings.outliers import ReplacementSettings
from shedproxy.settings.quantities import (
    Duration,
    HeaderName,
    ListenAddress,
    Network,
    OptionalHeaderName,
    PathPattern,
    Size,
    TenantKey,
    TextList,
    WorkerCount,
    at_least,
)
from shedproxy.settings.routing import CellsSettings
from shedproxy.settings.section import CellName, ClassLimits, CriticalityName, Section, form, preset
from shedproxy.settings.upstreams import ZoneName
from shedproxy.snapshot import CONTROL_PATHS

__all__ = [
    "CellName",
    "ClassesSettings",
    "ControlSettings",
    "HeadersSettings",
    "LogSettings",
    "MatchSettings",
    "RejectSettings",
    "RuleSettings",
    "ServerSettings",
    "Settings",
    "TelemetrySettings",
]

Method = Annotated[str, form(r"^[A-Za-z][A-Za-z0-9_-]*$", 'a method, like "GET"')]
RuleName = Annotated[
    str, form(r"^([^\s\x00-\x1f]+( [^\s\x00-\x1f]+)*)?$", "words with single spaces between them")
]
ControlPath = Annotated[str, form(r"^/[^?#\s]*$", 'an exact path, like "/healthz"')]
FieldValue = Annotated[
    str,
    form(
        r"^([\x21-\x7e\xa0-\xff]([\t\x20-\x7e\xa0-\xff]*[\x21-\x7e\xa0-\xff])?)?$",
        "one line of ISO 8859-1 without blanks at its ends",
    ),
]
Pseudonym = Annotated[str, form(r"^[!#$%&'*+.^_`|~0-9A-Za-z-]*$", "one word")]
CollectorUrl = Annotated[str, form(r"^(https?://\S+)?$", 'like "http://127.0.0.1:4318"')]

_COUNT_MAX = 10_000_000


class TimeoutsSettings(Section):
    """Every wait has a bound."""

    client_head: Annotated[Duration, at_least("10ms")] = preset("10s")
    """From the first byte of a request to the end of its head."""
    client_body: Annotated[Duration, at_least("10ms")] = preset("30s")
    """Between two reads of a request body."""
    client_idle: Annotated[Duration, at_least("10ms")] = preset("75s")
    """Keep-alive between two requests."""
    client_write: Annotated[Duration, at_least("10ms")] = preset("30s")
    """A client that reads nothing for this long, while data waits, is dropped."""
    connect: Annotated[Duration, at_least("1ms")] = preset("1s")
    """To an upstream, TLS handshake included."""
    response: Annotated[Duration, at_least("1ms")] = preset("60s")
    """From the request sent to the head of the upstream's answer."""
    expect_continue: Duration = preset("1s")
    """`Expect: 100-continue` of a body larger than `permit_body_size`, or of unknown length, is the
    upstream's to answer; one that says nothing for this long, or half of the time that the request
    has left, is taken to let the body come. 0s asks no upstream: the proxy lets it come as soon as
    it has admitted the request."""
    upstream_idle: Annotated[Duration, at_least("1ms")] = preset("60s")
    """Between two reads of an answer; streams and tunnels are exempt."""
    pool_idle: Annotated[Duration, at_least("1ms")] = preset("15s")
    """An unused upstream connection is closed after this. Keep it below the upstream's own."""
    tunnel_idle: Annotated[Duration, at_least("1s")] = preset("1h")
    """A tunnel (WebSocket) on which nothing moves for this long is closed."""


class ServerTlsSettings(Section):
    """TLS towards clients."""

    cert: str = ""
    """PEM file of the certificate chain; "" means no TLS."""
    key: str = ""
    """PEM file of its key."""
    handshake_rate_max: int = preset(200, ge=0, le=_COUNT_MAX)
    """Handshakes begun per second and worker, so that a flood of them leaves time for connections
    that are open; the others wait. 0: unbounded."""


class DrainSettings(Section):
    """What happens between SIGTERM and the end."""

    announce: Duration = preset("0s")
    """Readiness fails but requests are still served, so that balancers notice first."""
    grace: Duration = preset("25s")
    """Then requests in flight have this long to finish."""


class ServerSettings(Section):
    """The listener that clients reach."""

    listen: Annotated[list[ListenAddress], TextList] = preset(["127.0.0.1:8080"], min_length=1)
    """"host:port", ":port" (every interface), "unix:/path", "systemd" (what it hands over),
    "systemd:NAME" (what it hands over by that name) or "fd:3"."""
    zone: ZoneName = ""
    """Where this proxy is; upstreams of the same zone come first, as long as 5 of 7 are in service.
    """
    workers: WorkerCount = preset(1)
    """Processes; "auto": as many as processors that may be used, at most 64. The limits of a cell
    hold for all of them together."""
    state_file: str = ""
    """File that keeps the latency of each route without load, so that a proxy that is started under
    overload knows it already; rules need names for that. "" keeps it from worker to worker only."""
    trusted_proxies: Annotated[list[Network], TextList] = preset([])
    """Networks whose criticality, tenant, deadline and forwarded headers count in full; "unix"
    means unix sockets. From anybody else such headers can only lower a request."""
    trusted_strip_headers: bool = False
    """States that the trusted proxies remove those headers from what their own clients send."""
    connections_max: int = preset(10_000, ge=1, le=_COUNT_MAX)
    """Client connections per worker. At the bound a newcomer takes the place of one that only keeps
    the worker waiting (for a request, a head, a body without a slot or a handshake): of the address
    with the most connections, the one that has waited longest. It is refused when all are busy."""
    connections_per_address_max: int = preset(0, ge=0, le=_COUNT_MAX)
    """Client connections per worker from one address, of IPv6 from one /64; more are refused, but
    for trusted proxies. 0: unbounded, as clients behind one address may be many."""
    memory_max: Size = preset(0, ge=0)
    """Of one worker; at 85 % of it, or of what the control group allows, nobody new is let in and
    less is held for each client. 0: only the control group's bound counts."""
    requests_per_connection_max: int = preset(0, ge=0, le=_COUNT_MAX)
    """Then a connection is closed in an orderly way; 0: unbounded."""
    head_size_max: Size = preset("16KiB", ge=1024, le=1024 * 1024)
    """Request line and fields together (431 above)."""
    target_size_max: Size = preset("8KiB", ge=256, le=1024 * 1024)
    """Path and query (414 above)."""
    field_count_max: int = preset(100, ge=8, le=10_000)
    """Fields in one head (431 above)."""
    body_size_max: Size = preset(0, ge=0)
    """Request body (413 above); 0: unbounded, streamed."""
    body_rate_min: int = preset(240, ge=0)
    """Bytes per second that a body must keep once its request holds a slot, after 5 s."""
    contended_rate_min: Size = preset("16KiB", ge=0, le=1024 * 1024 * 1024)
    """Per second. While others wait for a slot of its cell, a client that sends a body or reads an
    answer more slowly loses its own, the slowest first (408, or a reset). It counts on average, for
    all the time in which the client was the one to be waited for, after 1.5 s. 0: any rate will
    do. Streams hold no slot and may be slow."""
    permit_body_size: Size = preset("64KiB", ge=1)
    """A request takes its slot when its body is complete or when this much of it is in; one that
    expects 100-continue for more takes it before (`timeouts.expect_continue`)."""
    buffer_size: Size = preset("256KiB", ge=16 * 1024, le=1024 * 1024 * 1024)
    """Held for a side that does not read. An upload is paused when so much waits for the upstream;
    the rest of an answer is read ahead of its client when it is known to fit, which frees the slot.
    Of larger answers 32 KiB are held for a client that stalls."""
    via: Pseudonym = "shedproxy"
    """Name in the Via field; "" sends none."""
    preserve_host: bool = True
    """Whether the upstream sees the client's Host, or its own."""
    timeouts: TimeoutsSettings = TimeoutsSettings()
    tls: ServerTlsSettings = ServerTlsSettings()
    drain: DrainSettings = DrainSettings()


class ControlSettings(Section):
    """The listener of operators: health, metrics, status, mode. It answers while the data lane is
    blocked, and is never queued or refused.
    """

    listen: ListenAddress = "127.0.0.1:9900"
    """Keep it on loopback, or give a token file."""
    token_file: str = ""
    """File with the bearer token that changes (mode, reload, drain) must show, and that everything
    but health must show where other hosts can reach the listener. Without it, changes are for the
    user of the proxy and root, on this host alone: their commands find the key by themselves."""
    read_token_file: str = ""
    """File with a second token, which may read only: for whoever scrapes /metrics."""
    livez_bound: Annotated[Duration, at_least("100ms")] = preset("15s")
    """/livez fails once a worker's event loop has been blocked for this long."""
    stall_bound: Duration = preset("250ms")
    """A worker whose event loop has been blocked for this long (at least 200ms) is asked for its
    stack by a signal; it is logged, shown by status, and counted by place. 0s asks nobody."""
    paths: list[ControlPath] = preset(list(CONTROL_PATHS))
    """The service's own health paths: GET and HEAD of exactly these bypass admission."""
    budget: int = preset(16, ge=1, le=1000)
    """Most of them in flight at once, per cell."""


class ClassesSettings(Section):
    """How much requests matter. Refusals begin at the bottom: sheddable, sheddable_plus, critical,
    critical_plus.
    """

    default: CriticalityName = "critical"
    """Class of a request that no rule and no trusted header classifies."""
    limits: ClassLimits = ClassLimits()


class HeadersSettings(Section):
    """Which headers are read from trusted proxies, and which are sent to upstreams."""

    criticality: OptionalHeaderName = "x-criticality"
    """Names the class of a request; "" reads none."""
    tenant: TenantKey = ""
    """Names the tenant for fairness; "@client" takes the client's address, "" has no tenants."""
    cohort: list[HeaderName] = preset(["x-shedproxy-task", "traceparent"])
    """The first one present names the task: calls of one task are served or refused together."""
    attempt: list[HeaderName] = preset(["x-envoy-attempt-count", "x-retry-attempt"])
    """Number of the try; retries rank last in their class."""
    deadline: list[HeaderName] = preset(
        ["x-request-timeout-ms", "x-envoy-expected-rq-timeout-ms", "grpc-timeout"]
    )
    """Time left for the request, in ms (or in the form of gRPC)."""
    salt: str = preset("", max_length=256)
    """Secret that the hashes of tasks depend on, so that nobody outside can choose one that suits
    him; those of tenants depend on a secret of the process anyway. Proxies in a row that should
    serve or refuse the same tasks share it, as the workers of one do; "" is the same everywhere."""
    forward_criticality: bool = True
    """Send class, attempt and time left to the upstream."""
    forward_pressure: bool = False
    """Send `shedproxy-pressure: 0.00..1.00` to the upstream, so that it can answer cheaper."""


class MatchSettings(Section):
    """Which requests a rule takes: all parts given must match."""

    path: Annotated[list[PathPattern], TextList] = preset([])
    """Globs: `*` is one segment, `**` any number, `/a/**` takes `/a` too. Case does not matter."""
    method: Annotated[list[Method], TextList] = preset([])
    """GET takes HEAD too."""
    header: dict[HeaderName, str] = preset({})
    """Name = glob of the value; "*" means present."""
    host: Annotated[list[str], TextList] = preset([])
    """Globs of the host name, without port."""


class RuleSettings(Section):
    """The first rule that matches decides."""

    name: RuleName = preset("", max_length=64)
    """Shown by explain and in the log; latency is learnt per name."""
    match: MatchSettings = MatchSettings()
    criticality: CriticalityName | None = None
    """Class of these requests. Unset: the header of a trusted proxy, or the default class."""
    cell: CellName | None = None
    """Unset: `default`."""
    lane: Literal["data", "control"] = "data"
    """"control" bypasses admission, within control.budget."""
    kind: Literal["auto", "unary", "stream", "longpoll"] = "auto"
    """Streams and long polls stay long and take no slot of the limit."""
    measure: Literal["auto", "head", "end"] = "auto"
    """Where the latency of an answer ends; auto: at the end, of a stream at the head."""
    cost: int = preset(1, ge=1, le=1000)
    """Slots that one such request takes."""
    limit: int | None = preset(None, ge=0)
    """Most of these requests in flight; 0: always refused."""


class RetryAfterSettings(Section):
    """Spread of Retry-After, so that clients do not come back together."""

    min: Annotated[Duration, at_least("1s")] = preset("1s")
    max: Annotated[Duration, at_least("1s")] = preset("8s")


class RejectSettings(Section):
    """How a refusal looks."""

    front: Literal["none", "envoy", "haproxy", "nginx", "alb"] = "none"
    """The balancer in front: picks status and headers that it neither retries nor holds against
    this host."""
    status_capacity: int = preset(503, ge=400, le=599)
    """Status when the service is short of capacity."""
    status_tenant: int = preset(429, ge=400, le=599)
    """Status when this tenant is over its share."""
    retry_after: RetryAfterSettings = RetryAfterSettings()
    headers: dict[HeaderName, FieldValue] = preset({})
    """Added to every refusal, for example access-control-allow-origin for browsers."""
    body: Literal["problem", "text", "empty"] = "problem"
    """"problem" is RFC 9457 problem+json, "text" a line; "empty", the cheapest: only the head."""


class TelemetrySettings(Section):
    """Metrics. /metrics on the control listener is always there."""

    service_name: str = preset("shedproxy", min_length=1)
    """service.name of exported metrics."""
    otlp: bool = False
    """Export over OTLP; needs shedproxy[otlp]. OTEL_EXPORTER_OTLP_* variables apply."""
    endpoint: CollectorUrl = ""
    """URL of the collector; "" leaves it to those variables."""
    interval: Annotated[Duration, at_least("100ms")] = preset("10s")
    """Time between two exports."""


class LogSettings(Section):
    """Log lines on standard error."""

    format: Literal["auto", "json", "text"] = "auto"
    """auto: text on a terminal, else JSON."""
    level: Literal["debug", "info", "warning", "error"] = "info"
    access: Literal["sampled", "all", "off"] = "sampled"
    """sampled: refusals at a bounded rate, admitted requests by share."""
    access_share: float = preset(0.01, ge=0, le=1)
    """Share of admitted requests that is logged."""


class Settings(BaseSettings):
    """shedproxy: keep a service inside its measured capacity. Flags win over environment variables
    (SHEDPROXY_SERVER__LISTEN), those over this file, and the file over the defaults.
    """

    model_config = SettingsConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        validate_default=True,
        use_attribute_docstrings=True,
        allow_inf_nan=False,
    )

    version: Literal[1] = 1
    """Version of this format."""
    mode: Literal["enforce", "observe", "off"] = "enforce"
    """enforce: refuse what is too much. observe: decide and count, refuse nothing. off: neither."""
    server: ServerSettings = ServerSettings()
    control: ControlSettings = ControlSettings()
    classes: ClassesSettings = ClassesSettings()
    headers: HeadersSettings = HeadersSettings()
    rule: list[RuleSettings] = preset([], max_length=1000)
    cell: dict[CellName, CellSettings] = preset({}, max_length=64)
    cells: CellsSettings = CellsSettings()
    replacement: ReplacementSettings = ReplacementSettings()
    reject: RejectSettings = RejectSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    log: LogSettings = LogSettings()
    snapshot: SnapshotSettings = SnapshotSettings()

    @classmethod
    def from_layers(cls, layers: Sequence[dict[str, Any]]) -> Settings:
        """Settings from nested raw values; the layer that comes first wins.

        Raises:
            pydantic.ValidationError: some value is not valid.
        """
        return cls(layers=layers)  # type: ignore[call-arg]  # taken by the method below

    @classmethod
    def settings_customise_sources(  # type: ignore[override]  # pydantic passes keywords only
        cls,
        settings_cls: type[BaseSettings],
        init_settings: InitSettingsSource,
        **_others: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The layers that the caller gives, the one that wins first; nothing is read here.

        `shedproxy.settings.layers` reads file, environment and flags, and knows for each value
        where it stands, which the sources of pydantic-settings cannot say.
        """
        layers = init_settings.init_kwargs["layers"]
        return tuple(InitSettingsSource(settings_cls, init_kwargs=layer) for layer in layers)
