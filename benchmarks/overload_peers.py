"""The programs of `overload`, each with what it has against overload."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks import peers
from benchmarks.overload_shapes import Tuning
from benchmarks.servers import Server

__all__ = ["OURS", "PEERS", "REFUSER", "adaptive_concurrency", "start"]

OURS = "shedproxy"
REFUSER = "refuse all"
"""nginx `return 503`: what a refusal takes on this machine where nothing is decided."""

FORWARD_TO = "BENCHMARKS_FORWARD_TO"
"""The port that `benchmarks.apps.forward` hands requests on to."""


def adaptive_concurrency(*, is_tuned: bool) -> dict[str, Any]:
    """Envoy's filter. It has no defaults for its two intervals: 60 s and 0.1 s are its examples'.

    Tuned for cold starts and scattered services: the latency without load is measured every 5 s
    from 10 samples, and twice it is still none.
    """
    minimum: dict[str, Any] = {"interval": "60s"}
    if is_tuned:
        minimum = {"interval": "5s", "request_count": 10, "buffer": {"value": 100}}
    name = "adaptive_concurrency"
    return {
        "name": f"envoy.filters.http.{name}",
        "typed_config": {
            "@type": (
                f"type.googleapis.com/envoy.extensions.filters.http.{name}.v3.AdaptiveConcurrency"
            ),
            "gradient_controller_config": {
                "sample_aggregate_percentile": {"value": 50},
                "concurrency_limit_params": {"concurrency_update_interval": "0.1s"},
                "min_rtt_calc_params": minimum,
            },
            "enabled": {"default_value": True, "runtime_key": "enabled"},
        },
    }


def _uvicorn(home: Path, up: int, tuning: Tuning) -> Server:
    # It counts connections, idle ones included: less than are open would refuse all.
    os.environ[FORWARD_TO] = str(up)
    limit = tuning.nginx_limit + 1
    return peers.uvicorn(
        "uvicorn limit", "apps:forward", home=home, options=(f"--limit-concurrency={limit}",)
    )


PEERS: Mapping[str, Callable[[Path, int, Tuning], Server | None]] = {
    OURS: lambda home, up, _: peers.shedproxy(home, up),
    "nothing": lambda home, up, _: peers.nginx_proxy(home, up),
    "nginx limit_conn": lambda home, up, tuning: peers.nginx_proxy(
        home, up, limit=tuning.nginx_limit
    ),
    "HAProxy queue": lambda home, up, tuning: peers.haproxy(
        home, up, limit=tuning.haproxy_limit, queue_ms=tuning.haproxy_queue_ms
    ),
    "Envoy": lambda home, up, _: peers.envoy(
        home, up, filters=[adaptive_concurrency(is_tuned=False)]
    ),
    "Envoy tuned": lambda home, up, _: peers.envoy(
        home, up, filters=[adaptive_concurrency(is_tuned=True)]
    ),
    "uvicorn limit": _uvicorn,
    REFUSER: lambda home, _up, _tuning: peers.nginx_refusing(home),
}
"""By name: `nothing` is nginx without a limit."""


def start(peer: str, home: Path, up: int, tuning: Tuning) -> Server | None:
    """The program before the service on port `up`; None: it is not on this machine."""
    return PEERS[peer](home, up, tuning)
