"""How a refusal reaches its client: at three times capacity, before the real `shedproxy run`.

The load comes from this process, the service and the proxy are processes of their own. A refusal on
arrival is timed from sending to its last byte; one that waited first is held against the queue's
bound. Health is asked of the control listener meanwhile, every 20 ms.

Exit code 0: all bounds are kept. 1: one is not. 2: generator or service lagged and the run is void.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import random
import time
from collections import Counter
from dataclasses import dataclass, field

import uvloop

from shedproxy.loadgen.demo import ProxyProcess
from shedproxy.loadgen.station import Station

__all__ = ["Refusals", "add_options", "measure", "refusals"]

ARRIVAL_P50_MS, ARRIVAL_P99_MS, HEALTH_P99_MS = 2.0, 10.0, 50.0
RETRY_AFTER_LEAST = 5
LATE_P99_MS = 5.0
"""A generator later than this offers bursts, and no steady load."""
WAIT_MAX_MS = 500.0
"""The queue's own bound, of short services."""
_GRACE_MS = 50.0
_ON_ARRIVAL = frozenset(("shed_level", "queue_full", "fair_share"))
"""Reasons that are found when a request arrives; the others follow a wait."""


@dataclass(slots=True)
class Refusals:
    """What was measured. Times in ms."""

    arrival_ms: list[float] = field(default_factory=list)
    waited_ms: list[float] = field(default_factory=list)
    retry_after: Counter[str] = field(default_factory=Counter)
    without_retry_after: int = 0
    served: int = 0
    failed: int = 0
    late_ms: list[float] = field(default_factory=list)
    """Sent after they were due."""
    health_ms: list[float] = field(default_factory=list)
    health_failed: int = 0

    def misses(self) -> list[str]:
        """The bounds that were not kept, a sentence each."""
        bounds = {
            f"p50 on arrival <= {ARRIVAL_P50_MS:g} ms": _at(self.arrival_ms, 0.5) <= ARRIVAL_P50_MS,
            f"p99 on arrival <= {ARRIVAL_P99_MS:g} ms": _at(self.arrival_ms, 0.99)
            <= ARRIVAL_P99_MS,
            f"no wait beyond {WAIT_MAX_MS:g} ms": _at(self.waited_ms, 1.0)
            <= WAIT_MAX_MS + _GRACE_MS,
            "Retry-After on all": not self.without_retry_after,
            f"{RETRY_AFTER_LEAST} values of it": len(self.retry_after) >= RETRY_AFTER_LEAST,
            "health always": not self.health_failed and bool(self.health_ms),
            f"health p99 <= {HEALTH_P99_MS:g} ms": _at(self.health_ms, 0.99) <= HEALTH_P99_MS,
        }
        return [text for text, is_kept in bounds.items() if not is_kept]

    def as_json(self) -> dict[str, object]:
        """The object that `--json` prints."""
        return {
            "refused_on_arrival": len(self.arrival_ms),
            "arrival_p50_ms": round(_at(self.arrival_ms, 0.5), 2),
            "arrival_p99_ms": round(_at(self.arrival_ms, 0.99), 2),
            "refused_after_waiting": len(self.waited_ms),
            "wait_max_ms": round(_at(self.waited_ms, 1.0), 1),
            "retry_after": dict(sorted(self.retry_after.items())),
            "without_retry_after": self.without_retry_after,
            "served": self.served,
            "failed": self.failed,
            "send_lag_p99_ms": round(_at(self.late_ms, 0.99), 2),
            "health_count": len(self.health_ms),
            "health_failed": self.health_failed,
            "health_p99_ms": round(_at(self.health_ms, 0.99), 2),
            "misses": self.misses(),
        }


def _at(values: list[float], share: float) -> float:
    if not values:
        return 0.0
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def add_options(parser: argparse.ArgumentParser) -> None:
    """What `refusals` wants to know."""
    add = parser.add_argument
    add("--for", type=float, default=10.0, dest="length", help="seconds  [default: %(default)s]")
    add("--factor", type=float, default=3.0, help="over capacity  [default: %(default)s]")
    add("--slots", type=int, default=4)
    add("--service-ms", type=float, default=20.0)
    add("--json", action="store_true", help="one object instead of a text")


def refusals(chosen: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Measure, print, and return the exit code."""
    if not 2 <= chosen.length <= 120 or not 1 < chosen.factor <= 20:
        parser.error("--for takes 2 to 120 seconds, --factor above 1 to 20")
    with (
        Station(slots=chosen.slots, service_ms=chosen.service_ms) as station,
        ProxyProcess(station.url) as proxy,
    ):
        rate_rps = station.capacity_rps * chosen.factor
        found = uvloop.run(
            measure(proxy.port, proxy.control_port, rate_rps=rate_rps, length_s=chosen.length)
        )
    if chosen.json:
        print(json.dumps(found.as_json()))
    else:
        print("\n".join(f"{name:<22} {value}" for name, value in found.as_json().items()))
    if _at(found.late_ms, 0.99) > LATE_P99_MS:
        return 2
    return 1 if found.misses() else 0


async def measure(port: int, control_port: int, *, rate_rps: float, length_s: float) -> Refusals:
    """Offer Poisson arrivals, open loop, and ask for health beside them."""
    found = Refusals()
    chance = random.Random(1)
    idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    tasks: set[asyncio.Task[None]] = set()
    began = time.perf_counter()
    health = asyncio.create_task(_probe(control_port, found, began + length_s))
    due = began
    while (due := due + chance.expovariate(rate_rps)) < began + length_s:
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        found.late_ms.append((time.perf_counter() - due) * 1000)
        task = asyncio.create_task(_ask(port, idle, found))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(health, *tasks)
    for _, writer in idle:
        writer.close()
    return found


async def _ask(
    port: int, idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]], found: Refusals
) -> None:
    try:
        # A connection that is open already: connecting is not refusing.
        reader, writer = idle.pop() if idle else await asyncio.open_connection("127.0.0.1", port)
        sent = time.perf_counter()
        writer.write(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n")
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
        await reader.readexactly(int(fields["content-length"]))
        took_ms = (time.perf_counter() - sent) * 1000
    except (OSError, asyncio.IncompleteReadError):
        found.failed += 1
        return
    idle.append((reader, writer))
    reason = fields.get("shedproxy-reason", "")
    if not reason:
        found.served += 1
        return
    (found.arrival_ms if reason in _ON_ARRIVAL else found.waited_ms).append(took_ms)
    if "retry-after" in fields:
        found.retry_after[fields["retry-after"]] += 1
    elif reason != "deadline":
        found.without_retry_after += 1


async def _probe(port: int, found: Refusals, until: float) -> None:
    while time.perf_counter() < until:
        began = time.perf_counter()
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            answer = await reader.read()
            writer.close()
        except OSError:
            answer = b""
        found.health_ms.append((time.perf_counter() - began) * 1000)
        found.health_failed += not answer.startswith(b"HTTP/1.1 200")
        await asyncio.sleep(0.02)
