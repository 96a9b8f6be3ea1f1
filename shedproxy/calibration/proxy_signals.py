"""What the proxy itself showed while thresholds were proved: its limit, queue, loop and CPU.

A thread asks its control listener once a second, which costs the generator beside it well under a
thousandth of its time. What a run made of it is of that run alone: each has a proxy of its own.
"""

from __future__ import annotations

import http.client
import json
import math
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from shedproxy.calibration.side_findings import ProxySignals
from shedproxy.clock import monotonic_now
from shedproxy.core import NS_PER_MS, NS_PER_S, Nanos, seconds

__all__ = ["Look", "SignalWatch", "look_at", "summarise_signals", "watching"]

_EVERY_S = 1.0
_TIMEOUT_S = 2.0
_CPU = re.compile(r"^process_cpu_time_seconds_total (\S+)$", re.MULTILINE)
_WAIT = re.compile(
    r"^shedproxy_queue_wait_duration_seconds_(bucket|sum)"
    r'\{([^}]*outcome="admitted"[^}]*)\} (\S+)$',
    re.MULTILINE,
)
_BOUND = re.compile(r'le="([^"]+)"')


class Look(NamedTuple):
    """One look at a running proxy."""

    at_ns: int
    limit: int
    in_flight: int
    waiting_count: int
    loop_lag_ns: Nanos
    """Of the worker that was latest."""
    memory_bytes: int
    """Of all workers."""
    metrics: str
    """All metrics as text."""


def look_at(port: int) -> Look | None:
    """What the control listener on this port of loopback says; None: nothing in time."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", "/-/status")
        status = json.loads(connection.getresponse().read())
        connection.request("GET", "/metrics")
        metrics = connection.getresponse().read().decode()
    except (OSError, ValueError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    return _look(status, metrics)


def _look(status: dict[str, Any], metrics: str) -> Look:
    cell, workers = status["cells"][0], status["workers"]
    return Look(
        at_ns=monotonic_now(),
        limit=cell["limit"],
        in_flight=cell["in_flight"],
        waiting_count=cell["queue_length"],
        loop_lag_ns=Nanos(round(max(one["loop_lag_ms"] for one in workers) * NS_PER_MS)),
        memory_bytes=sum(one["memory_bytes"] for one in workers),
        metrics=metrics,
    )


class SignalWatch:
    """Looks, until it is asked what was seen."""

    def __init__(self, look: Callable[[], Look | None], *, every_s: float = _EVERY_S) -> None:
        self._look = look
        self._every_s = every_s
        self._seen: list[Look] = []
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def start(self) -> None:
        """Take the first look now, others as time goes by."""
        self._thread.start()

    def stop(self) -> None:
        """Take a last look."""
        self._is_over.set()
        self._thread.join()

    @property
    def seen(self) -> Sequence[Look]:
        """All looks that were taken."""
        return self._seen

    def _watch(self) -> None:
        while True:
            is_over = self._is_over.is_set()
            if (look := self._look()) is not None:
                self._seen.append(look)
            if is_over:
                return
            self._is_over.wait(self._every_s)


@contextmanager
def watching(port: int | None) -> Iterator[SignalWatch | None]:
    """Watch the proxy with this control port for a `with` block; None: nothing to watch."""
    if port is None:
        yield None
        return
    watch = SignalWatch(lambda: look_at(port))
    watch.start()
    try:
        yield watch
    finally:
        watch.stop()


def summarise_signals(seen: Sequence[Look]) -> ProxySignals | None:
    """What all looks come to; None for fewer than two."""
    if len(seen) < 2:
        return None
    first, last = seen[0], seen[-1]
    used_s = [float(match[1]) for look in (first, last) if (match := _CPU.search(look.metrics))]
    span_s = (last.at_ns - first.at_ns) / NS_PER_S
    mean_ns, p99_ns = _waits(last.metrics)
    return ProxySignals(
        points=tuple(
            (
                round((look.at_ns - first.at_ns) / NS_PER_S, 2),
                float(look.limit),
                float(look.in_flight),
                float(look.waiting_count),
            )
            for look in seen
        ),
        cpu_ratio=(used_s[1] - used_s[0]) / span_s if len(used_s) == 2 and span_s > 0 else None,
        loop_lag_max_ns=max(look.loop_lag_ns for look in seen),
        queue_wait_mean_ns=mean_ns,
        queue_wait_p99_ns=p99_ns,
        memory_bytes=max(look.memory_bytes for look in seen),
    )


def _waits(metrics: str) -> tuple[Nanos | None, Nanos | None]:
    """Mean wait of those who waited for a slot and got one, and the bound of the bucket of p99."""
    buckets: dict[float, float] = {}
    sum_s = 0.0
    for kind, labels, value in _WAIT.findall(metrics):
        if kind == "sum":
            sum_s += float(value)
        elif bound := _BOUND.search(labels):
            upto_s = float(bound[1])
            buckets[upto_s] = buckets.get(upto_s, 0.0) + float(value)
    total = buckets.get(math.inf, 0.0)
    if not total:
        return None, None
    within = [bound for bound, count in sorted(buckets.items()) if count >= 0.99 * total]
    is_bounded = bool(within) and math.isfinite(within[0])
    return seconds(sum_s / total), seconds(within[0]) if is_bounded else None
