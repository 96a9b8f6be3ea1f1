"""CPU of one refused request: by the proxy, by the middleware, beside nginx and uvicorn.

`middleware` is the very app of `uvicorn 200` behind a ShedMiddleware that refuses everything.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks import peers
from benchmarks.method import Budget, NotMeasuredError, Report, Row, Spread, ratio
from benchmarks.servers import CONNECTIONS, Server, free_port, is_pinned, running, take_turns

__all__ = ["measure"]

RULE = """
[[rule]]
match = { path = "/**" }
limit = 0
"""

PROXY, MIDDLEWARE = "shedproxy", "middleware"
NGINX, UVICORN = "nginx return 503", "uvicorn 200"
BUDGETS = {
    (PROXY, NGINX): Budget(target=1.6, floor=2.0),
    (PROXY, UVICORN): Budget(target=0.33, floor=0.4),
    (MIDDLEWARE, UVICORN): Budget(target=1.0, floor=1.15),
}


def measure(*, quick: bool) -> Report:
    with tempfile.TemporaryDirectory(prefix="shedproxy-benchmark-") as directory:
        home = Path(directory)
        up = free_port()
        upstream = peers.upstream(home, up)
        if upstream is None:
            raise NotMeasuredError("nginx, which is the upstream, is not on this machine")
        found: dict[str, Server | None] = {
            PROXY: peers.shedproxy(home, up, config=RULE, status=503),
            NGINX: peers.nginx_refusing(home),
            UVICORN: peers.uvicorn(UVICORN, "bare", home=home),
            MIDDLEWARE: peers.uvicorn(MIDDLEWARE, "refusing", home=home, status=503),
        }
        servers = [server for server in found.values() if server is not None]
        with running([upstream]), running(servers):
            values, _ = take_turns(servers, home, rounds=1 if quick else 5, seconds=1)
    notes = [] if is_pinned() else ["one core only: nothing is pinned, the generator disturbs"]
    return Report(
        title=f"CPU of the refusing processes, {CONNECTIONS} keep-alive connections",
        unit="us per request",
        rows=[
            Row(f"{name}, {load}", Spread.of(times))
            for load, by_name in values.items()
            for name, times in by_name.items()
        ],
        ratios=[
            ratio(f"{ours} / {theirs}, {load}", by_name[ours], by_name[theirs], budget)
            for load, by_name in values.items()
            for (ours, theirs), budget in BUDGETS.items()
        ],
        notes=notes,
    )
