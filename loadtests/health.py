"""Whether a live run can be believed, as the commands show it."""

from __future__ import annotations

from typing import Any

from shedproxy.core import NS_PER_MS
from shedproxy.loadgen.scenario_player import LiveRun

__all__ = ["health_json", "health_text"]


def health_text(run: LiveRun) -> str:
    """One line: how late generator and station were, and how busy the station."""
    health, station = run.health, run.station
    return (
        f"generator: send lag p99 {health.send_lag_p99_ns / NS_PER_MS:.2f} ms, "
        f"{health.not_sent} not sent; station: lateness p99 "
        f"{station.lateness_p99_ns / NS_PER_MS:.2f} ms, busy {run.busy_ratio:.1%}"
    )


def health_json(run: LiveRun) -> dict[str, Any]:
    """The same as keys of an object, and why the run is void, if it is."""
    return {
        "faults": run.faults,
        "generator": {
            "send_lag_p99_ms": round(run.health.send_lag_p99_ns / NS_PER_MS, 3),
            "not_sent": run.health.not_sent,
        },
        "station": {
            "lateness_p99_ms": round(run.station.lateness_p99_ns / NS_PER_MS, 3),
            "busy_ratio": round(run.busy_ratio, 4),
        },
    }
