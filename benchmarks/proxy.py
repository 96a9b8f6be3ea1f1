"""CPU of one proxied request: GET of 128 bytes, keep-alive, 16 connections, beside the peers."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks import peers
from benchmarks.method import Budget, NotMeasuredError, Report, Row, Spread, ratio
from benchmarks.servers import CONNECTIONS, Server, free_port, is_pinned, running, take_turns

__all__ = ["measure"]

BUDGETS = {"nginx": Budget(target=2.0, floor=2.5), "Envoy": Budget(target=0.5, floor=0.65)}


def measure(*, quick: bool) -> Report:
    with tempfile.TemporaryDirectory(prefix="shedproxy-benchmark-") as directory:
        home = Path(directory)
        up = free_port()
        upstream = peers.upstream(home, up)
        if upstream is None:
            raise NotMeasuredError("nginx, which is the upstream, is not on this machine")
        found: dict[str, Server | None] = {
            "shedproxy": peers.shedproxy(home, up),
            "nginx": peers.nginx_proxy(home, up),
            "HAProxy": peers.haproxy(home, up),
            "Envoy": peers.envoy(home, up),
        }
        servers = [server for server in found.values() if server is not None]
        with running([upstream]), running(servers):
            values, wrong = take_turns(servers, home, rounds=1 if quick else 5, seconds=1)
    notes = [] if is_pinned() else ["one core only: nothing is pinned, the generator disturbs"]
    notes += [f"{name} refused {count} in all" for name, count in wrong.items() if count]
    return Report(
        title=f"CPU of the proxy's processes, GET of {peers.BODY_SIZE} bytes,"
        f" {CONNECTIONS} keep-alive connections",
        unit="us per request",
        rows=[
            Row(f"{name}, {load}", Spread.of(times))
            for load, by_name in values.items()
            for name, times in by_name.items()
        ],
        ratios=[
            ratio(f"shedproxy / {name}, {load}", by_name["shedproxy"], times, BUDGETS.get(name))
            for load, by_name in values.items()
            for name, times in by_name.items()
            if name != "shedproxy"
        ],
        absent=[name for name, server in found.items() if server is None],
        notes=notes,
    )
