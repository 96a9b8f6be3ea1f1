"""The upstreams of a cell as data planes run them: URLs, zones, hands."""

from __future__ import annotations

from functools import lru_cache

from shedproxy.core import RetryPolicy
from shedproxy.placement import BoundedHands, NoHandError
from shedproxy.settings.cells import CellSettings, UpstreamTlsSettings
from shedproxy.settings.models import Settings
from shedproxy.settings.upstreams import split_upstream
from shedproxy.snapshot import (
    TlsDocument,
    UpstreamDocument,
    canonical_key,
    flow_hash,
    flow_key,
    member_hash,
)

__all__ = ["listed_hands", "upstream_document"]


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
        cancels=transport.cancels,
        fail_after=transport.fail_after,
        retry_after_ns=transport.retry_after,
        retries=RetryPolicy(
            attempts_max=retries.attempts,
            budget_ppm=round(retries.budget * 1_000_000),
            floor_rps=retries.floor,
            methods=tuple(retries.methods),
        ),
        tls=_upstream_tls(transport.tls) if any(u.startswith("https:") for u in urls) else None,
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
