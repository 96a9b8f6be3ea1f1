"""Settings become the `Document` that data planes run."""

from __future__ import annotations

from datetime import datetime
from hashlib import blake2b

from shedproxy.core import (
    CellPolicy,
    Criticality,
    FairnessPolicy,
    Kind,
    Lane,
    LimitPolicy,
    Measure,
    Mode,
    Policy,
    QueuePolicy,
    ShedLevelPolicy,
    SpillPolicy,
)
from shedproxy.placement import spread_buckets
from shedproxy.settings.cells import (
    CellSettings,
    LimitSettings,
    ProfileSettings,
)
from shedproxy.settings.models import RuleSettings, Settings
from shedproxy.settings.section import ClassLimits
from shedproxy.settings.upstream_compile import replacement_document, upstream_document
from shedproxy.snapshot import (
    CellProfile,
    CellRouting,
    Classification,
    Document,
    Match,
    ProxyDocument,
    RejectDocument,
    Rule,
    Timeouts,
    TlsDocument,
    cell_hash,
    run_lengths,
    written_key,
)

__all__ = ["cells_of", "compile_document", "initial_limit", "spread_weights"]

_INITIAL = LimitPolicy().initial
"""Where a limit starts when nothing says, inside its bounds."""


def compile_document(settings: Settings) -> Document:
    """The document of valid settings. Pure: equal settings give equal documents."""
    cells = cells_of(settings)
    return Document(
        policy=Policy(
            mode=Mode[settings.mode.upper()],
            salt=_salt_number(settings.headers.salt),
            cells=tuple(_cell(name, cell, settings) for name, cell in cells.items()),
        ),
        classification=_classification(settings),
        reject=_reject(settings),
        proxy=_proxy(settings, cells),
        profiles=tuple(
            _profile(name, cell.profile) for name, cell in cells.items() if cell.profile.id
        ),
    )


def _profile(cell: str, profile: ProfileSettings) -> CellProfile:
    fitted, has_curve = profile.fitted_at, bool(profile.capacity and profile.knee)
    return CellProfile(
        cell=cell,
        id=profile.id,
        capacity_rps=profile.capacity[0] if has_curve else 0.0,
        knee_in_flight=profile.knee[0] if has_curve else 0.0,
        cv=profile.scatter,
        weight=profile.weight,
        fitted_at_s=datetime.fromisoformat(fitted).timestamp() if fitted else 0.0,
        expires_after_ns=profile.expires_after,
    )


def cells_of(settings: Settings) -> dict[str, CellSettings]:
    """All cells by name, `default` first whether or not it was written."""
    default = settings.cell.get("default", CellSettings())
    return {"default": default, **{k: v for k, v in settings.cell.items() if k != "default"}}


def initial_limit(limit: LimitSettings) -> int:
    """Where the limit starts: as written, or 8 brought between the bounds."""
    if limit.initial is not None:
        return limit.initial
    return max(limit.min, min(limit.max, _INITIAL))


def _cell(name: str, cell: CellSettings, settings: Settings) -> CellPolicy:
    limit, queue = cell.limit, cell.queue
    initial = initial_limit(limit)
    is_fixed = limit.algorithm == "fixed"
    return CellPolicy(
        name=name,
        limit=LimitPolicy(
            algorithm=limit.algorithm,
            initial=initial,
            weight=cell.profile.weight if cell.profile.id else 0,
            minimum=initial if is_fixed else limit.min,
            maximum=initial if is_fixed else limit.max,
            baseline_ns=limit.baseline,
        ),
        queue=QueuePolicy(
            length_max=queue.length_max,
            wait_max_ns=queue.wait_max,
            deadline_share=queue.deadline_share,
            lifo_after_ns=queue.lifo_after,
            shards=queue.shards,
            hand=queue.hand,
        ),
        fairness=FairnessPolicy(enabled=cell.fairness.enabled, slack=cell.fairness.slack),
        shed_level=ShedLevelPolicy(
            enabled=cell.shed_level.enabled,
            period_ns=cell.shed_level.period,
        ),
        spill=SpillPolicy(
            to=tuple(cell.spill.to),
            classes=tuple(Criticality[word.upper()] for word in cell.spill.classes),
        ),
        resident_limit=cell.streams.limit,
        control_budget=settings.control.budget,
        default_timeout_ns=cell.deadline.default,
        class_limits=_class_limits(cell.class_limits, settings.classes.limits),
    )


def _class_limits(
    own: ClassLimits, common: ClassLimits
) -> tuple[int | None, int | None, int | None, int | None]:
    """The bounds of a cell by Criticality: its own where it has one."""

    def bound(criticality: Criticality) -> int | None:
        value: int | None = getattr(own, criticality.label)
        shared: int | None = getattr(common, criticality.label)
        return shared if value is None else value

    return (
        bound(Criticality.SHEDDABLE),
        bound(Criticality.SHEDDABLE_PLUS),
        bound(Criticality.CRITICAL),
        bound(Criticality.CRITICAL_PLUS),
    )


def _salt_number(salt: str) -> int:
    """The salt as the core takes it: 0 without one, else 64 bits of its hash."""
    return int.from_bytes(blake2b(salt.encode(), digest_size=8).digest(), "big") if salt else 0


def _classification(settings: Settings) -> Classification:
    headers = settings.headers
    return Classification(
        rules=tuple(_rule(rule) for rule in settings.rule),
        control_paths=tuple(settings.control.paths),
        default_criticality=Criticality[settings.classes.default.upper()],
        criticality_header=headers.criticality,
        tenant_header=headers.tenant,
        cohort_headers=tuple(headers.cohort),
        attempt_headers=tuple(headers.attempt),
        deadline_headers=tuple(headers.deadline),
        trusted_peers=tuple(settings.server.trusted_proxies),
        salt=headers.salt or Classification().salt,
        cells=_routing(settings),
    )


def spread_weights(settings: Settings) -> dict[str, int]:
    """The cells that keys are spread over, with their weights."""
    if settings.cells.weights:
        return settings.cells.weights
    others = {name: 1 for name in settings.cell if name != "default"}
    return others or {"default": 1}


def _routing(settings: Settings) -> CellRouting:
    cells = settings.cells
    if not cells.key:
        return CellRouting(secret=cells.secret)
    weights = spread_weights(settings)
    names = tuple(dict.fromkeys((*weights, *sorted(cells.pins.values()), cells.default)))
    kind = cells.key.partition(":")[0]
    hashed = cell_hash(cells.secret)
    pins = {hashed(written_key(kind, key)): names.index(cell) for key, cell in cells.pins.items()}
    return CellRouting(
        key=cells.key,
        secret=cells.secret,
        default=cells.default,
        cells=names,
        buckets=run_lengths(spread_buckets(tuple(weights.values()))),
        pins=tuple((f"{key:016x}", place) for key, place in sorted(pins.items())),
    )


def _rule(rule: RuleSettings) -> Rule:
    match = rule.match
    return Rule(
        name=rule.name,
        match=Match(
            path=tuple(match.path),
            method=tuple(method.upper() for method in match.method),
            header=tuple(match.header.items()),
            host=tuple(match.host),
        ),
        criticality=None if rule.criticality is None else Criticality[rule.criticality.upper()],
        cell=rule.cell,
        lane=Lane[rule.lane.upper()],
        kind=Kind[rule.kind.upper()],
        measure=Measure[rule.measure.upper()],
        cost=rule.cost,
        limit=rule.limit,
    )


def _reject(settings: Settings) -> RejectDocument:
    reject = settings.reject
    return RejectDocument(
        front=reject.front,
        status_capacity=reject.status_capacity,
        status_tenant=reject.status_tenant,
        retry_after_min_ns=reject.retry_after.min,
        retry_after_max_ns=reject.retry_after.max,
        headers=tuple(reject.headers.items()),
        body=reject.body,
    )


def _proxy(settings: Settings, cells: dict[str, CellSettings]) -> ProxyDocument:
    server, timeouts = settings.server, settings.server.timeouts
    tls = None
    if server.tls.cert:
        tls = TlsDocument(cert=server.tls.cert, key=server.tls.key)
    return ProxyDocument(
        upstreams=tuple(
            upstream_document(name, cell, cell.upstream or cells["default"].upstream, settings)
            for name, cell in cells.items()
            if cell.upstream or cells["default"].upstream
        ),
        timeouts=Timeouts(
            connect_ns=timeouts.connect,
            response_ns=timeouts.response,
            expect_continue_ns=timeouts.expect_continue,
            upstream_idle_ns=timeouts.upstream_idle,
            client_head_ns=timeouts.client_head,
            client_body_ns=timeouts.client_body,
            client_idle_ns=timeouts.client_idle,
            client_write_ns=timeouts.client_write,
            body_rate_min=server.body_rate_min,
            contended_rate_min=server.contended_rate_min,
            pool_idle_ns=timeouts.pool_idle,
            tunnel_idle_ns=timeouts.tunnel_idle,
        ),
        replacement=replacement_document(settings.replacement),
        tls=tls,
        head_size_max=server.head_size_max,
        target_size_max=server.target_size_max,
        field_count_max=server.field_count_max,
        body_size_max=server.body_size_max,
        permit_body_size=server.permit_body_size,
        buffer_size=server.buffer_size,
        connections_max=server.connections_max,
        memory_max=server.memory_max,
        connections_per_address_max=server.connections_per_address_max,
        handshake_rate_max=server.tls.handshake_rate_max,
        requests_per_connection_max=server.requests_per_connection_max,
        zone=server.zone,
        via=server.via,
        preserve_host=server.preserve_host,
        forward_pressure=settings.headers.forward_pressure,
        forward_criticality=settings.headers.forward_criticality,
        drain_announce_ns=server.drain.announce,
        drain_grace_ns=server.drain.grace,
        access_log=settings.log.access,
        access_log_share=settings.log.access_share,
    )
