"""Hosts and magazines as the status page and the metrics show them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from shedproxy.core import (
    FULL_WEIGHT,
    BulletState,
    Ejector,
    Instant,
    Ledger,
    Nanos,
    sizes_for,
    to_seconds,
)
from shedproxy.observability.reading import Sample, sample_of
from shedproxy.snapshot import UpstreamDocument

__all__ = ["bullet_rows", "host_rows", "magazine_rows", "magazine_samples"]


def host_rows(
    ejector: Ejector,
    upstream: UpstreamDocument,
    *,
    now: Instant,
    drains: Mapping[tuple[str, str], Nanos],
    weights: Mapping[str, int],
    reached: Mapping[str, bool],
) -> list[dict[str, Any]]:
    """The hosts of a cell. `drains`: how long each that was taken out by hand stays out."""
    cell = upstream.cell
    zones = upstream.zones or ("",) * len(upstream.urls)
    rows = []
    for url, zone in zip(upstream.urls, zones, strict=True):
        bullet = ejector.ledger.bullet_of(cell, url)
        reason, out_at = ejector.reason(cell, url), ejector.out_at(cell, url)
        left = drains.get((cell, url))
        state = "in service" if reached[url] else "unreachable"
        if bullet is not None:
            reason = bullet.reason
            state = "out" if bullet.state is BulletState.OUT else "on trial"
        if left is not None:
            state = "drained"
        rows.append(
            {
                "cell": cell,
                "host": url,
                "zone": zone,
                "state": state,
                "weight": weights[url] / FULL_WEIGHT,
                "reason": None if reason is None else reason.label,
                "out_s": None if out_at is None else round(to_seconds(now - out_at), 1),
                "drained_for_s": None if left is None else round(to_seconds(left), 1),
                "bullet": None if bullet is None else bullet.serial,
                "new": "" if bullet is None else bullet.newcomer,
            }
        )
    return rows


def bullet_rows(ledger: Ledger) -> list[dict[str, Any]]:
    """Those that are out."""
    return [
        {
            "serial": bullet.serial,
            "cell": bullet.cell,
            "host": bullet.host,
            "state": bullet.state.name.lower(),
            "errand": bullet.errand.name.lower(),
            "new": bullet.newcomer,
        }
        for bullet in ledger.bullets
    ]


def magazine_rows(ejector: Ejector, now: Instant) -> list[dict[str, Any]]:
    """Every magazine: how many bullets it has, and how many are out of it."""
    ledger = ejector.ledger
    counts = {magazine.domain: magazine for magazine in ledger.magazines}
    sizes: dict[str, int] = {}
    frozen: dict[str, bool] = {}
    for facts in ejector.facts:
        frozen[f"cell:{facts.cell}"] = ejector.is_frozen(facts.cell, now)
        for zone in {host.zone for host in facts.hosts}:
            for domain, size in sizes_for(ledger, ejector.facts, facts, zone).items():
                sizes[domain] = max(size, sizes.get(domain, 0))
    return [
        {
            "domain": domain,
            "size": size,
            "left": max(0, size - ledger.out(domain)),
            "out": ledger.out(domain),
            "spent": counts[domain].spent if domain in counts else 0,
            "reloaded": counts[domain].reloaded if domain in counts else 0,
            "frozen": frozen.get(domain, False),
        }
        for domain, size in sorted(sizes.items())
    ]


def magazine_samples(rows: list[dict[str, Any]], spared: Mapping[str, int]) -> Iterator[Sample]:
    """The same as metrics; the number of series follows from the configuration."""
    for row in rows:
        domain = row["domain"]
        yield sample_of("shedproxy.magazine.left", row["left"], domain)
        yield sample_of("shedproxy.magazine.out", row["out"], domain)
        yield sample_of("shedproxy.magazine.spent", row["spent"], domain)
        yield sample_of("shedproxy.magazine.reloaded", row["reloaded"], domain)
        if domain.startswith("cell:"):
            cell = domain.removeprefix("cell:")
            yield sample_of("shedproxy.magazine.frozen", int(row["frozen"]), cell)
            yield sample_of("shedproxy.magazine.empty", spared.get(cell, 0), cell)
