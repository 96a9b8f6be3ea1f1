"""CPU of one refused request: by the proxy, by the middleware, beside what others refuse with.

`middleware` is the very app of `uvicorn 200` behind a ShedMiddleware that refuses everything; with
`no body` it says why in the head alone (`reject.body = "empty"`). `the same bytes` are sent without
any decision: what no refusal on uvloop or uvicorn can undercut. When a refusal costs r times a
served request, a server that can serve one unit of work and is offered L serves
(1 - rL)/(1 - r) of it at best.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import peers
from benchmarks.environment import versions
from benchmarks.load import HEADS, Cell, Traffic, Turns, take_turns
from benchmarks.method import Budget, Report, ratio
from benchmarks.peers import before_an_upstream
from benchmarks.proxy import rows
from benchmarks.servers import Server, is_pinned

__all__ = ["BUDGETS", "LEAST", "PEERS", "measure", "possible_goodput"]

RULE = """
[[rule]]
match = { path = "/**" }
limit = 0
"""

PROXY, MIDDLEWARE, SERVED = "shedproxy", "middleware", "shedproxy, served"
NO_BODY = "middleware, no body"
WIRE, APP = "the same bytes, uvloop alone", "the same bytes, uvicorn app"
NGINX, UVICORN = "nginx return 503", "uvicorn 200"
LIMITED = "uvicorn --limit-concurrency"
BUDGETS = {
    (PROXY, NGINX): Budget(target=1.6, floor=2.0),
    (PROXY, UVICORN): Budget(target=0.33, floor=0.4),
    (MIDDLEWARE, UVICORN): Budget(target=1.0, floor=1.0),
    (NO_BODY, UVICORN): Budget(target=1.0, floor=1.0),
}
LEAST = ((WIRE, NGINX), (WIRE, UVICORN), (APP, UVICORN))
"""What the platform takes of a budget."""
LOADS = (1.5, 2, 3, 5, 10)
"""Times the capacity."""


def _rate_limit() -> dict[str, Any]:
    types = "type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit"
    always = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
    bucket = {"max_tokens": 1, "tokens_per_fill": 1, "fill_interval": "3600s"}
    return {
        "name": "envoy.filters.http.local_ratelimit",
        "typed_config": {
            "@type": types,
            "stat_prefix": "limit",
            "token_bucket": bucket,
            "status": {"code": "ServiceUnavailable"},
            "filter_enabled": always,
            "filter_enforced": always,
        },
    }


PEERS: Mapping[str, Callable[[Path, int], Server | None]] = {
    PROXY: lambda home, up: peers.shedproxy(home, up, config=RULE, status=503),
    SERVED: lambda home, up: peers.shedproxy(home, up, name=SERVED),
    NGINX: lambda home, _: peers.nginx_refusing(home),
    "nginx limit_req": peers.nginx_limiting,
    "HAProxy deny": lambda home, _: peers.haproxy_refusing(home),
    "Envoy local_ratelimit": lambda home, up: peers.envoy(
        home, up, filters=[_rate_limit()], name="Envoy local_ratelimit", status=503
    ),
    UVICORN: lambda home, _: peers.uvicorn(UVICORN, "apps:bare", home=home),
    LIMITED: lambda home, _: peers.uvicorn(
        LIMITED, "apps:bare", home=home, status=503, options=("--limit-concurrency=1",)
    ),
    MIDDLEWARE: lambda home, _: peers.uvicorn(MIDDLEWARE, "apps:refusing", home=home, status=503),
    NO_BODY: lambda home, _: peers.uvicorn(NO_BODY, "apps:refusing_briefly", home=home, status=503),
    WIRE: lambda home, _: peers.python_module(WIRE, "refusal_floors", home=home, status=503),
    APP: lambda home, _: peers.uvicorn(APP, "refusal_floors:app", home=home, status=503),
}


def possible_goodput(cost: float, load: float) -> float:
    """(1 - rL)/(1 - r), over the capacity; 0 where refusing takes all there is."""
    return max(0.0, (1 - cost * load) / (1 - cost)) if cost < 1 else 0.0


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
    usual = sizes.split(",") if sizes else ["128"] if quick else ["128", "post16k"]
    counts = [int(count) for count in (connections or "16").split(",")]
    kinds = [f"heads {heads}"] if heads else list(HEADS)
    names = list(dict.fromkeys((PROXY, *(peers or PEERS))))
    with before_an_upstream(PEERS, names) as (home, here, absent):
        servers = list(here.values())
        traffic = [
            Traffic(size, count, k, apart) for k in kinds for size in usual for count in counts
        ]
        turns = take_turns(
            [Cell(each, servers) for each in traffic],
            home,
            rounds=rounds or (1 if quick else 9),
            seconds=seconds,
        )
    notes = [] if is_pinned() else ["one core only: nothing is pinned, the generator disturbs"]
    return Report(
        title="CPU of the refusing processes over keep-alive connections",
        unit="us per request",
        rows=rows(turns),
        ratios=[
            ratio(f"{ours} / {theirs}, {traffic}", by_name[ours], by_name[theirs], mark)
            for traffic, by_name in turns.values.items()
            for ours, theirs, mark in _pairs(by_name)
        ],
        absent=absent,
        notes=notes + turns.notes() + goodput_lines(turns),
        versions=versions(("nginx", "HAProxy", "Envoy", "wrk"), ("uvicorn",)),
        samples=turns.raw,
    )


def _pairs(names: Mapping[str, Any]) -> list[tuple[str, str, Budget | None]]:
    pairs = [(PROXY, name) for name in names if name not in {PROXY, MIDDLEWARE, NO_BODY, APP}]
    pairs += [(MIDDLEWARE, name) for name in (UVICORN, LIMITED, APP) if MIDDLEWARE in names]
    pairs += [(NO_BODY, UVICORN)]
    return [
        (ours, theirs, BUDGETS.get((ours, theirs)))
        for ours, theirs in (*pairs, *LEAST)
        if ours in names and theirs in names
    ]


def goodput_lines(turns: Turns) -> list[str]:
    """The best that there can be at loads over capacity, by what a refusal costs."""
    lines = []
    for traffic, by_name in turns.values.items():
        if SERVED not in by_name:
            continue
        pairs = zip(by_name[PROXY], by_name[SERVED], strict=True)
        costs = [refused / served for refused, served in pairs]
        sound = [cost for cost in costs if not math.isnan(cost)]
        if sound:
            cost = statistics.median(sound)
            best = ", ".join(f"{possible_goodput(cost, load):.2f} at {load:g}x" for load in LOADS)
            lines.append(f"r = {cost:.3f}, {traffic}: goodput (1 - rL)/(1 - r) {best}")
    return lines
