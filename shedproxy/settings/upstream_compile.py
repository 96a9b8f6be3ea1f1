"""The upstreams of a cell as data planes run them: URLs, zones, hands."""

from __future__ import annotations

from functools import lru_cache

from shedproxy.core import OutlierPolicy, RetryPolicy
from shedproxy.placement import BoundedHands, NoHandError
from shedproxy.settings.cells import CellSettings, UpstreamTlsSettings
from shedproxy.settings.models import Settings
from shedproxy.settings.outliers import CheckSettings, ReplacementSettings
from shedproxy.settings.upstreams import split_upstream
from shedproxy.snapshot import (
    CheckDocument,
    ReplacementDocument,
    TlsDocument,
    UpstreamDocument,
    canonical_key,
    flow_hash,
    flow_key,
    member_hash,
)

__all__ = ["listed_hands", "replacement_document", "upstream_document"]


def upstream_document(
    name: str, cell: CellSettings, upstreams: list[str], settings: Settings
) -> UpstreamDocument:
    """The document of one cell's upstreams."""
    transport, retries = cell.transport, cell.retries
    urls, zones, versions = zip(*map(split_upstream, upstreams), strict=True)
    return UpstreamDocument(
        cell=name,
        urls=urls,
        zones=zones if any(zones) else (),
        versions=versions if any(versions) else (),
        hand=cell.hands.size,
        hands=listed_hands(cell, upstreams, settings.cells.secret),
        connections_max=transport.connections_max,
        connections_share=transport.connections_share,
        cancels=transport.cancels,
        fail_after=transport.fail_after,
        retry_after_ns=transport.retry_after,
        retries=RetryPolicy(
            attempts_max=retries.attempts,
            budget_ppm=round(retries.budget * 1_000_000),
            floor_rps=retries.floor,
            methods=tuple(retries.methods),
        ),
        outliers=_outliers(cell),
        check=_check(cell.check),
        tls=_upstream_tls(transport.tls) if any(u.startswith("https:") for u in urls) else None,
    )


def _outliers(cell: CellSettings) -> OutlierPolicy:
    found = cell.outliers
    return OutlierPolicy(
        enabled=found.enabled,
        window_ns=found.window,
        requests_min=found.requests_min,
        failures_above=found.failures,
        slower_than=found.slowness,
        unreachable_ns=found.unreachable,
        headroom=found.headroom,
        share_max=found.share,
        keeps_zone="zone-headroom" not in cell.waive,
        out_ns=found.out,
        ramp_ns=found.ramp,
        bake_ns=found.bake,
        bake_requests=found.bake_requests,
        reload_ns=found.reload,
        correlated_share=found.correlated,
        correlated_ns=found.correlated_for,
    )


def _check(check: CheckSettings) -> CheckDocument:
    return CheckDocument(
        path=check.path,
        host=check.host,
        interval_ns=check.interval,
        timeout_ns=check.timeout,
        status=tuple(check.status),
        falls=check.falls,
        rises=check.rises,
    )


def replacement_document(settings: ReplacementSettings) -> ReplacementDocument:
    """Who is asked for other hosts."""
    return ReplacementDocument(
        url=settings.url,
        secret_file=settings.secret_file,
        command=tuple(settings.command),
        timeout_ns=settings.timeout,
        attempts=settings.attempts,
        within_ns=settings.within,
    )


def listed_hands(
    cell: CellSettings, upstreams: list[str], secret: str
) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """(flow hash, hand) of the tenants that are listed, by the bound on what they share; those that
    none is left for are dealt theirs by hash, as all others are.
    """
    hands = cell.hands
    if hands.overlap_max is None or not hands.overlap_max < hands.size < len(upstreams):
        return ()
    return _deal(tuple(upstreams), hands.size, hands.overlap_max, tuple(hands.tenants), secret)


@lru_cache(maxsize=8)
def _deal(
    upstreams: tuple[str, ...], size: int, overlap_max: int, tenants: tuple[str, ...], secret: str
) -> tuple[tuple[str, tuple[int, ...]], ...]:
    parts = {url: (zone, version) for url, zone, version in map(split_upstream, upstreams)}
    members = [(member_hash(url), zone, version) for url, (zone, version) in parts.items()]
    dealer = BoundedHands(members, hand_size=size, overlap_max=overlap_max)
    hashed = flow_hash(flow_key(secret))
    dealt: dict[int, tuple[int, ...]] = {}
    for tenant in tenants:
        flow = hashed(canonical_key("header", tenant.encode()))
        try:
            dealt[flow] = dealt.get(flow) or dealer.deal(flow)
        except NoHandError:
            break
    return tuple((f"{flow:016x}", places) for flow, places in dealt.items())


def _upstream_tls(tls: UpstreamTlsSettings) -> TlsDocument:
    return TlsDocument(
        cert=tls.cert, key=tls.key, ca=tls.ca, verify=tls.verify, server_name=tls.server_name
    )
