"""CPU of one proxied request over keep-alive connections, beside the peers.

The 512 connections stand beside the 16 of the same server and round: what many connections add.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import peers
from benchmarks.environment import versions
from benchmarks.load import HEADS, Cell, Traffic, Turns, take_turns
from benchmarks.method import Budget, Report, Row, Spread, ratio
from benchmarks.overload_peers import adaptive_concurrency
from benchmarks.peers import before_an_upstream
from benchmarks.servers import Server, is_pinned

__all__ = ["PEERS", "PROXY", "budget", "measure"]

PROXY = "shedproxy"
AIOHTTP, HTTPX, HTTPX2 = "aiohttp + aiohttp", "uvicorn + httpx", "uvicorn + httpx2"
PEERS: Mapping[str, Callable[[Path, int], Server | None]] = {
    PROXY: peers.shedproxy,
    "nginx": peers.nginx_proxy,
    "HAProxy": peers.haproxy,
    "Envoy": peers.envoy,
    "Envoy adaptive": lambda home, up: peers.envoy(
        home, up, filters=[adaptive_concurrency(is_tuned=False)], name="Envoy adaptive"
    ),
    "Caddy": peers.caddy,
    AIOHTTP: lambda home, up: peers.python_proxy(AIOHTTP, "aiohttp", up, home=home),
    HTTPX: lambda home, up: peers.python_proxy(HTTPX, "httpx", up, home=home),
    HTTPX2: lambda home, up: peers.python_proxy(HTTPX2, "httpx2", up, home=home),
}
PACKAGES = ("aiohttp", "uvicorn", "starlette", "httpx", "httpx2", "sniffio")
MANY, FEW = 512, 16
USUAL = (("128", 16), ("128", 64), ("16k", 16), ("post16k", 16), ("128", MANY))
"""Sizes and connections when nothing is said."""

_SMALL = {
    "nginx": Budget(target=2.0, floor=2.5),
    "Envoy": Budget(target=0.5, floor=0.65),
    AIOHTTP: Budget(target=1 / 4.5, floor=1 / 4.5),
    HTTPX: Budget(target=1 / 50, floor=1 / 50),
}
_LARGE = {"nginx": Budget(target=1.7, floor=2.0)}
GROWTH = Budget(target=1.25, floor=1.25)


def budget(traffic: Traffic, peer: str) -> Budget | None:
    """What shedproxy may cost, times the peer."""
    if traffic.connections > 64:
        return None
    return (_SMALL if traffic.size == "128" else _LARGE).get(peer)


def measure(
    *,
    quick: bool,
    rounds: int = 0,
    seconds: int = 1,
    sizes: str = "",
    connections: str = "",
    heads: str = "",
    apart: int = 0,
    peers: Sequence[str] = (),
) -> Report:
    usual = USUAL[:1] if quick else USUAL
    if sizes or connections:
        usual = tuple(
            (size, int(count))
            for size in (sizes or "128").split(",")
            for count in (connections or "16").split(",")
        )
    kinds = [f"heads {heads}"] if heads else list(HEADS)
    names = list(dict.fromkeys((PROXY, *(peers or PEERS))))
    cells = [Traffic(size, count, kind, apart) for kind in kinds for size, count in usual]
    with before_an_upstream(PEERS, names) as (home, here, absent):
        servers = list(here.values())
        turns = take_turns(
            [Cell(traffic, servers) for traffic in cells],
            home,
            rounds=rounds or (1 if quick else 9),
            seconds=seconds,
        )
    return reported(turns, absent)


def reported(turns: Turns, absent: list[str]) -> Report:
    ratios = [
        ratio(f"{PROXY} / {name}, {traffic}", by_name[PROXY], times, budget(traffic, name))
        for traffic, by_name in turns.values.items()
        for name, times in by_name.items()
        if name != PROXY
    ]
    notes = [] if is_pinned() else ["one core only: nothing is pinned, the generator disturbs"]
    return Report(
        title="CPU of the proxy's processes over keep-alive connections",
        unit="us per request",
        rows=rows(turns),
        ratios=ratios + growth(turns),
        absent=absent,
        notes=notes + turns.notes(),
        versions=versions(("nginx", "HAProxy", "Envoy", "Caddy", "wrk"), PACKAGES),
        samples=turns.raw,
    )


def rows(turns: Turns) -> list[Row]:
    return [
        Row(f"{name}, {traffic}", Spread.of(times))
        for traffic, by_name in turns.values.items()
        for name, times in by_name.items()
    ]


def growth(turns: Turns) -> list[Row]:
    """What many connections cost, times few, for every server."""
    found: list[Row] = []
    for traffic, by_name in turns.values.items():
        few: Any = turns.values.get(replace(traffic, connections=FEW))
        if traffic.connections != MANY or few is None:
            continue
        for name, times in by_name.items():
            if name in few:
                label = f"{name}, {MANY} / {FEW} connections, {traffic.heads}"
                found.append(ratio(label, times, few[name], GROWTH if name == PROXY else None))
    return found
