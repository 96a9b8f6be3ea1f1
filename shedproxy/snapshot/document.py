"""The documents that cross a process boundary, as frozen data with defaults good enough to run on.

Settings compile to a `Document`; the supervisor hands it to its workers as bytes
(`snapshot.codec`); the middleware builds one directly. Lengths of time are integer nanoseconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from shedproxy.core import (
    Criticality,
    Kind,
    Lane,
    Measure,
    Nanos,
    OutlierPolicy,
    Policy,
    RetryPolicy,
    milliseconds,
    seconds,
)
from shedproxy.snapshot.cell_numbers import number_cells
from shedproxy.snapshot.cell_routing import CellRouting
from shedproxy.snapshot.profile import CellProfile

__all__ = [
    "CheckDocument",
    "Classification",
    "Document",
    "Match",
    "ProxyDocument",
    "RejectDocument",
    "ReplacementDocument",
    "Rule",
    "Timeouts",
    "TlsDocument",
    "UpstreamDocument",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """Which requests a rule takes. Empty tuples match everything; all given parts must match.

    `path` holds glob patterns on the normalised path: `*` is one segment, `**` any number,
    `/a/**` takes `/a` too. `header` holds (lower-case name, glob) pairs; glob `*` is "present".
    """

    path: tuple[str, ...] = ()
    method: tuple[str, ...] = ()
    header: tuple[tuple[str, str], ...] = ()
    host: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """First match wins. None leaves a value to the class header or the default."""

    name: str = ""
    match: Match = field(default_factory=Match)
    criticality: Criticality | None = None
    cell: str | None = None
    lane: Lane = Lane.DATA
    kind: Kind = Kind.AUTO
    measure: Measure = Measure.AUTO
    cost: int = 1
    limit: int | None = None
    """Most requests of this rule in flight; 0: always refused."""


CONTROL_PATHS = ("/livez", "/readyz", "/healthz", "/health", "/-/healthy", "/-/ready")
"""Health paths that are control routes unless configured otherwise: exact, GET and HEAD only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Classification:
    """How a request becomes a RequestInfo: rules, headers, and whom to believe."""

    rules: tuple[Rule, ...] = ()
    control_paths: tuple[str, ...] = CONTROL_PATHS
    """The service's own health routes: exact raw path, GET and HEAD, bypass admission."""
    default_criticality: Criticality = Criticality.CRITICAL
    criticality_header: str = "x-criticality"
    tenant_header: str = ""
    """Header whose value is the tenant (flow); "" means the client address is not used either:
    all traffic is one flow. The special value "@client" takes the client address."""
    cohort_headers: tuple[str, ...] = ("x-shedproxy-task", "traceparent")
    """First one present gives the cohort; `traceparent` uses its trace id. Else a serial number."""
    attempt_headers: tuple[str, ...] = ("x-envoy-attempt-count", "x-retry-attempt")
    deadline_headers: tuple[str, ...] = (
        "x-request-timeout-ms",
        "x-envoy-expected-rq-timeout-ms",
        "grpc-timeout",
    )
    """Time left, in ms (or grpc-timeout syntax). From strangers it may only shorten the default."""
    trusted_peers: tuple[str, ...] = ()
    """Networks (CIDR) whose criticality, tenant, deadline and forwarded headers count in full."""
    salt: str = "shedproxy"
    """Keys the hashes of cohorts; those of tenants are keyed by each process."""
    cells: CellRouting = field(default_factory=CellRouting)
    """Which cell a request goes to that no rule sends to one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectDocument:
    """How a refusal looks on the wire."""

    front: str = "none"
    """`none`, `envoy`, `haproxy`, `nginx` or `alb`: picks status and headers that the balancer in
    front neither retries nor counts against the host."""
    status_capacity: int = 503
    status_tenant: int = 429
    retry_after_min_ns: Nanos = field(default_factory=lambda: seconds(1))
    retry_after_max_ns: Nanos = field(default_factory=lambda: seconds(8))
    headers: tuple[tuple[str, str], ...] = ()
    """Added to every refusal, e.g. access-control-allow-origin for browsers."""
    body: str = "problem"
    """`problem` (RFC 9457 problem+json), `empty`, or `text`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Every wait of the proxy has a bound. Defaults and their peers are listed in README."""

    connect_ns: Nanos = field(default_factory=lambda: seconds(1))
    """To an upstream, TLS handshake included."""
    response_ns: Nanos = field(default_factory=lambda: seconds(60))
    """From the request sent to the upstream's answer head."""
    expect_continue_ns: Nanos = field(default_factory=lambda: seconds(1))
    """How long an upstream that is asked whether a body may come may say nothing; 0: none is."""
    upstream_idle_ns: Nanos = field(default_factory=lambda: seconds(60))
    """Between two reads of an answer body (not on streams and tunnels)."""
    client_head_ns: Nanos = field(default_factory=lambda: seconds(10))
    """From the first byte of a request to the end of its head."""
    client_body_ns: Nanos = field(default_factory=lambda: seconds(30))
    """Between two reads of a request body."""
    client_idle_ns: Nanos = field(default_factory=lambda: seconds(75))
    """Keep-alive between requests."""
    client_write_ns: Nanos = field(default_factory=lambda: seconds(30))
    """A client that reads nothing for this long while data waits is dropped."""
    body_rate_min: int = 240
    """Bytes per second a request body must keep once it holds a permit, after 5 s of grace."""
    contended_rate_min: int = 16 * 1024
    """Bytes per second that a client must have sent or read on average, after 1.5 s of grace, to
    keep its slot while others of its cell wait for one; 0: any rate will do."""
    pool_idle_ns: Nanos = field(default_factory=lambda: seconds(15))
    """An unused upstream connection is closed after this long."""
    tunnel_idle_ns: Nanos = field(default_factory=lambda: seconds(3600))


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsDocument:
    """Files of one TLS side. As a server: cert and key. As a client: ca, and verify."""

    cert: str = ""
    key: str = ""
    ca: str = ""
    verify: bool = True
    server_name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckDocument:
    """A health check that the supervisor makes of every host of a cell, once for all workers."""

    path: str = ""
    """Asked with GET; "" checks nothing."""
    host: str = ""
    """Host of the request; "" is the upstream's own name."""
    interval_ns: Nanos = field(default_factory=lambda: seconds(5))
    timeout_ns: Nanos = field(default_factory=lambda: seconds(1))
    status: tuple[int, ...] = (200,)
    """What a healthy host answers with."""
    falls: int = 3
    """Failures in a row that make it bad."""
    rises: int = 2
    """Successes in a row that make it good."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplacementDocument:
    """Who is asked for another host: a URL, a command, or nobody."""

    url: str = ""
    secret_file: str = ""
    """File with the key that requests are signed with (HMAC-SHA256)."""
    command: tuple[str, ...] = ()
    timeout_ns: Nanos = field(default_factory=lambda: seconds(10))
    """Of one try."""
    attempts: int = 5
    within_ns: Nanos = field(default_factory=lambda: seconds(600))
    """How long another host may take to come; then it is reported."""

    @property
    def is_on(self) -> bool:
        """Whether there is anybody to be asked."""
        return bool(self.url or self.command)


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamDocument:
    """The upstreams of one cell and how to talk to them."""

    cell: str = "default"
    urls: tuple[str, ...] = ()
    """`http://host:port`, `https://...` or `unix:/path`; least loaded is chosen."""
    zones: tuple[str, ...] = ()
    """Of each URL, in their order; empty: none is named."""
    versions: tuple[str, ...] = ()
    """Of each URL, in their order; empty: none is named."""
    hand: int = 0
    """Upstreams that one tenant may use; 0: all."""
    hands: tuple[tuple[str, tuple[int, ...]], ...] = ()
    """(flow hash of a tenant as 16 hex digits, places in `urls`): hands that are not dealt."""
    connections_max: int = 512
    """Per upstream, in all; a request that needs one more waits or is answered 503."""
    connections_share: float = 0.8
    """Of the places for connections of a worker, where there are upstreams of several cells: what
    clients with requests of this one may hold, and connections to its upstreams."""
    cancels: str = "auto"
    """`true`: closing the connection stops the work; `false`: it does not, so the permit of a
    client that left stays until the answer has come; `auto`: the sending side is closed, and the
    permit stays until the answer, or for the expected rest when the upstream closes without one."""
    fail_after: int = 3
    """Attempts in a row without an answer that take an upstream out."""
    retry_after_ns: Nanos = field(default_factory=lambda: milliseconds(300))
    """Longest time between two probes of an upstream that is out; the first intervals are a quarter
    and a half of it."""
    retries: RetryPolicy = field(default_factory=RetryPolicy)
    outliers: OutlierPolicy = field(default_factory=OutlierPolicy)
    check: CheckDocument = field(default_factory=CheckDocument)
    tls: TlsDocument | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyDocument:
    """How the raw proxy behaves. The middleware goes by what is said of request bodies:
    `permit_body_size`, the rates, and `client_body_ns`; the rest is its server's.
    """

    upstreams: tuple[UpstreamDocument, ...] = ()
    replacement: ReplacementDocument = field(default_factory=ReplacementDocument)
    timeouts: Timeouts = field(default_factory=Timeouts)
    tls: TlsDocument | None = None
    head_size_max: int = 16 * 1024
    target_size_max: int = 8 * 1024
    field_count_max: int = 100
    body_size_max: int = 0
    """Bytes; 0: unbounded, streamed."""
    permit_body_size: int = 64 * 1024
    """A body takes its permit when complete or when this much of it is in."""
    buffer_size: int = 256 * 1024
    """Bytes held for a peer that does not read: of an upload, and of the rest of an answer when it
    is known to fit. Of larger answers one read is held."""
    connections_max: int = 10_000
    memory_max: int = 0
    """Bytes of a worker; near it nobody new is let in. 0: the control group's bound alone."""
    connections_per_address_max: int = 0
    """Of one address (IPv6: of one /64) that is not trusted; 0: unbounded."""
    handshake_rate_max: int = 200
    """TLS handshakes begun per second; 0: unbounded."""
    requests_per_connection_max: int = 0
    """Then the connection is closed in an orderly way; 0: unbounded."""
    zone: str = ""
    """Where this proxy is; upstreams of the same zone come first."""
    zones_away: tuple[str, ...] = ()
    """Zones whose upstreams get only what no other can take: for a while, by order."""
    zones_away_until_s: tuple[int, ...] = ()
    """Seconds since the epoch, of each zone in their order. In a snapshot a zone is away until
    then, whether or not another snapshot comes, and without it not at all."""
    via: str = "shedproxy"
    """Pseudonym in Via; "" sends none."""
    preserve_host: bool = True
    forward_pressure: bool = False
    """Send `shedproxy-pressure: 0.00..1.00` to the upstream (brown-out)."""
    forward_criticality: bool = True
    """Send the decided criticality, attempt and remaining time to the upstream."""
    drain_announce_ns: Nanos = field(default_factory=lambda: milliseconds(0))
    """Readiness fails but new requests are still served, so that balancers notice."""
    drain_grace_ns: Nanos = field(default_factory=lambda: seconds(25))
    """Then in-flight requests have this long."""
    access_log: str = "sampled"
    """`all`, `sampled` (refusals complete at a bounded rate, admitted by share) or `off`."""
    access_log_share: float = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One complete description of what a data plane does. Replaced whole, never patched."""

    schema: int = 1
    revision: int = 0
    cells: tuple[str, ...] = ()
    """Names of cells by their number in metrics (`number_cells`), those that are no more
    included; empty: numbered as the policy names them."""
    policy: Policy = field(default_factory=Policy)
    classification: Classification = field(default_factory=Classification)
    reject: RejectDocument = field(default_factory=RejectDocument)
    proxy: ProxyDocument = field(default_factory=ProxyDocument)
    profiles: tuple[CellProfile, ...] = ()
    """What calibration measured, of cells that have been."""

    @property
    def numbered_cells(self) -> tuple[str, ...]:
        """Names of cells by number, whether or not they were given.

        Raises:
            DocumentInvalidError: more cells than there are numbers.
        """
        return number_cells((cell.name for cell in self.policy.cells), self.cells)
