"""What is refused before a service that has enough of everything: nothing should be.

An nginx that answers at once is asked by closed connections, each of which asks again as soon as it
has its answer, so that no more are under way than there are connections. Void: what voids any run
of wrk, fewer answers than a figure needs, or a service that took a millisecond an answer, the time
that it waited for its core included: then it was no healthy service.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.load import ALIKE, REPEATS, Traffic, run_wrk
from benchmarks.method import NotMeasuredError
from benchmarks.overload_peers import OURS, start
from benchmarks.overload_shapes import TUNED
from benchmarks.peers import upstream
from benchmarks.servers import free_port, running

__all__ = ["CONNECTIONS", "HEALTHY_PEERS", "HEALTHY_S", "Healthy", "measure_healthy"]

CONNECTIONS = (8, 16, 64)
HEALTHY_PEERS = (OURS, "Envoy")
HEALTHY_S = 5
SLOW_US = 1000.0
_TUNING = next(iter(TUNED.values()))
"""Neither of these peers has a number to set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Healthy:
    """So many connections, each with one request at a time: a raw row."""

    connections: int
    peer: str
    round: int
    answered: int
    refused: int
    service_us: float
    """What an answer took the service on average, waits for its core included."""
    server_busy: float
    generator_busy: float
    stolen: float
    faults: tuple[str, ...] = ()
    """Why it is void."""

    @property
    def key(self) -> tuple[int, str]:
        """Whose value it is in its round."""
        return self.connections, self.peer


def measure_healthy(
    peers: Sequence[str], number: int, *, answers: int, seconds: int = HEALTHY_S
) -> list[Healthy]:
    """One round, void ones and their repeats included.

    Raises:
        NotMeasuredError: there is no nginx, which is the service.
    """
    found: list[Healthy] = []
    for connections in CONNECTIONS:
        for peer in (name for name in HEALTHY_PEERS if name in peers):
            for _ in range(1 + REPEATS):
                one = _asked(connections, peer, number, answers=answers, seconds=seconds)
                if one is None:
                    break
                found.append(one)
                if not one.faults:
                    break
    return found


def _asked(
    connections: int, peer: str, number: int, *, answers: int, seconds: int
) -> Healthy | None:
    with tempfile.TemporaryDirectory(prefix="overload-") as folder:
        home, port = Path(folder), free_port()
        service = upstream(home, port)
        if service is None:
            raise NotMeasuredError("nginx, which is the healthy service, is not on this machine")
        server = start(peer, home, port, _TUNING)
        if server is None:
            return None
        traffic = Traffic(connections=connections, heads=ALIKE)
        script = home / "load.lua"
        script.write_text(traffic.script())
        with running([service]), running([server]):
            before_ns = sum(service.times_ns())
            sample = run_wrk(server, traffic, script, seconds)
            service_ns = sum(service.times_ns()) - before_ns
    service_us = service_ns / max(1, sample.answered) / 1000
    # Refusals are what is looked for, not a fault.
    faults = [fault for fault in sample.faults if not fault.startswith("wrong answers")]
    if sample.answered < answers:
        faults.append(f"few answers: {sample.answered}")
    if service_us >= SLOW_US:
        faults.append(f"the service was slow: {service_us:.0f} us")
    return Healthy(
        connections=connections,
        peer=peer,
        round=number,
        answered=sample.answered,
        refused=sample.wrong,
        service_us=round(service_us, 1),
        server_busy=sample.server_busy,
        generator_busy=sample.generator_busy,
        stolen=sample.stolen,
        faults=tuple(faults),
    )
