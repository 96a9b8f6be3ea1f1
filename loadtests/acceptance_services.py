"""The services that a calibration has to get right, and what each can carry in truth.

Those of timers keep a schedule that is computed, so that their capacity is exact. That of a real
application is counted in long runs of a service that is never idle, before and after calibrations.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol
from zlib import crc32

from shedproxy.calibration.live import LivePlayer
from shedproxy.calibration.measurement import Phase
from shedproxy.calibration.orders import Order
from shedproxy.core import NS_PER_S, seconds
from shedproxy.loadgen.requests import RequestSet, RequestSpec
from shedproxy.loadgen.station import Station

__all__ = ["APPS", "SERVICES", "SLOS", "STATIONS", "Running", "Service", "count_capacity"]

_LAWS = ("exponential", "constant", "bimodal", "lognormal")
_SHAPES = ((4, 20), (16, 40), (8, 5))
_SATURATING, _SETTLE_S = 32, 3.0


@dataclass(frozen=True, slots=True)
class Running:
    """A service that is up. `capacity_rps` None: nobody knows but by counting."""

    url: str
    capacity_rps: float | None


class Service(Protocol):
    """Something that can be started, with a seed of its own."""

    def __call__(self, seed: int, /) -> _Started: ...


class _Started(Protocol):
    def __enter__(self) -> Running: ...
    def __exit__(self, *_: object) -> None: ...


@contextmanager
def _station(slots: int, service_ms: int, law: str, seed: int) -> Iterator[Running]:
    # Of its own for each: one stream of chance for all would make them err together.
    own_seed = crc32(f"{seed} {slots} {service_ms} {law}".encode())
    with Station(slots=slots, service_ms=service_ms, law=law, seed=own_seed) as station:
        yield Running(station.url, station.capacity_rps)


@contextmanager
def _app(name: str) -> Iterator[Running]:
    process = subprocess.Popen(
        [sys.executable, "-m", "loadtests.acceptance_apps", name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    port = process.stdout.readline().strip()
    try:
        if not port:
            raise RuntimeError(f"the application {name} did not start")
        yield Running(f"http://127.0.0.1:{int(port)}", None)
    finally:
        try:
            process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def _of_station(slots: int, service_ms: int, law: str) -> Service:
    return lambda seed: _station(slots, service_ms, law, seed)


def _of_app(name: str) -> Service:
    return lambda _seed: _app(name)


STATIONS = tuple(f"{slots}x{ms}-{law}" for slots, ms in _SHAPES for law in _LAWS)
APPS = ("threads", "sqlite")
SLOS = {
    name: "p99<500ms, errors<0.5%" if name.startswith("16x40") else "p99<250ms, errors<0.5%"
    for name in (*STATIONS, *APPS)
}
"""At least twelve mean service times: of the bimodal law one in ten takes five and a half."""
SERVICES: dict[str, Service] = {
    **{
        f"{slots}x{ms}-{law}": _of_station(slots, ms, law) for slots, ms in _SHAPES for law in _LAWS
    },
    **{name: _of_app(name) for name in APPS},
}


def count_capacity(url: str, length_s: float) -> float:
    """Answers per second of a service that always has more to do than it can."""
    player = LivePlayer(f"{url}/", RequestSet([RequestSpec()]), deadline_ns=seconds(30))
    played = player.play(
        Order(
            phase=Phase.CLOSED,
            pass_number=0,
            length_ns=seconds(length_s),
            settle_ns=seconds(_SETTLE_S),
            seed=1,
            concurrency=_SATURATING,
        )
    )
    since = played.started_at + seconds(_SETTLE_S)
    ended = sum(
        row.status == 200 and since <= row.done_at < played.stopped_at for row in played.rows
    )
    return ended * NS_PER_S / (played.stopped_at - since)
