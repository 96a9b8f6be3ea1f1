"""What a tunnel costs after its upgrade: a message there and back, and tunnels that stand still.

Upgraded as WebSockets are; what flows then is not looked at by anybody here. CONNECT is not
measured: shedproxy refuses it, by design. A message is relayed twice, to the service and back.
"""

from __future__ import annotations

import contextlib
import resource
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import peers
from benchmarks.environment import versions
from benchmarks.load import Cell, Sample, Seen, in_turns, sampled
from benchmarks.method import Report, Row, Spread, check_known, ratio
from benchmarks.proxy import PROXY, rows
from benchmarks.servers import Server, free_port, on_other_core, running
from benchmarks.tunnel_ends import Clients

__all__ = ["PEERS", "Messages", "measure"]

_CONFIG = "[cell.default.transport]\nconnections_max = 4096\n"
"""A tunnel has a connection to the upstream for itself; 512 of them is the default."""
PEERS: Mapping[str, Callable[[Path, int], Server | None]] = {
    PROXY: lambda home, up: peers.shedproxy(home, up, config=_CONFIG),
    "nginx": lambda home, up: peers.nginx_proxy(home, up, has_tunnels=True),
    "HAProxy": peers.haproxy,
    "Envoy": peers.envoy,
}
IDLE, IDLE_S = 1000, 2.0
QUICK_IDLE, QUICK_IDLE_S = 50, 0.2
SECONDS = 1.0
KIB = 1024


@dataclass(frozen=True, slots=True)
class Messages:
    """So many tunnels, each with one message on its way."""

    size: int
    tunnels: int

    def __str__(self) -> str:
        size = f"{self.size // KIB} KiB" if self.size >= KIB else f"{self.size} B"
        return f"{size} there and back, {self.tunnels} tunnels"


TRAFFIC = (Messages(128, 16), Messages(128, 256), Messages(64 * KIB, 16))


@contextlib.contextmanager
def _started(names: Sequence[str]) -> Iterator[tuple[list[Server], list[str]]]:
    """The servers that run, and the names of those that are not here."""
    with tempfile.TemporaryDirectory(prefix="shedproxy-benchmark-") as directory:
        home, up = Path(directory), free_port()
        service = peers.python_module(
            "service", "tunnel_ends", home=home, port=up, is_measured=False
        )
        with running([service]):
            found = {name: PEERS[name](home, up) for name in names}
            here = [server for server in found.values() if server is not None]
            with running(here):
                yield here, [name for name, server in found.items() if server is None]


def measure(*, quick: bool, rounds: int = 0, peers: Sequence[str] = ()) -> Report:
    check_known(peers, PEERS)
    names = list(dict.fromkeys((PROXY, *(peers or PEERS))))
    traffic = TRAFFIC[:1] if quick else TRAFFIC
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with _started(names) as (servers, absent), on_other_core():
        idle_how = (QUICK_IDLE, QUICK_IDLE_S) if quick else (IDLE, IDLE_S)
        idle = [row for server in servers for row in _idle(server, *idle_how)]
        with contextlib.ExitStack() as stack:
            tunnels = {
                (server.name, each): stack.enter_context(
                    contextlib.closing(Clients(server.port, each.tunnels))
                )
                for each in traffic
                for server in servers
            }
            turns = in_turns(
                [Cell(each, servers) for each in traffic],
                lambda server, each: _run(server, each, tunnels[server.name, each]),
                rounds=rounds or (1 if quick else 9),
            )
    return Report(
        title="CPU of the proxy's processes for what is relayed; memory and CPU of idle tunnels",
        unit="us per message, or as the line says",
        rows=rows(turns) + idle,
        ratios=[
            ratio(f"{PROXY} / {name}, {each}", by_name[PROXY], times)
            for each, by_name in turns.values.items()
            for name, times in by_name.items()
            if name != PROXY
        ],
        absent=absent,
        notes=turns.notes(),
        versions=versions(("nginx", "HAProxy", "Envoy")),
        samples=turns.raw,
    )


def _run(server: Server, messages: Messages, clients: Clients) -> Sample:
    def load() -> Seen:
        done, unanswered = clients.run(messages.size, SECONDS)
        return Seen(answered=done, wrong=0, errors=unanswered)

    return sampled(server, messages, load)


def _idle(server: Server, count: int, length_s: float) -> list[Row]:
    """What tunnels cost on which nothing moves: memory, and CPU beside that of none."""
    alone_ms = _cpu_ms_per_s(server, length_s)
    before = server.memory_bytes()
    with contextlib.closing(Clients(server.port, count)):
        beside_ms = _cpu_ms_per_s(server, length_s)
        added = server.memory_bytes() - before
    name = f"{server.name}, {count} idle tunnels"
    return [
        Row(f"{name}: KiB of memory each", Spread.of([added / count / KIB])),
        Row(f"{name}: ms of CPU per second", Spread.of([beside_ms])),
        Row(f"{server.name}, none: ms of CPU per second", Spread.of([alone_ms])),
    ]


def _cpu_ms_per_s(server: Server, length_s: float) -> float:
    before_ns, began_at = server.cpu_ns(), time.perf_counter()
    time.sleep(length_s)
    return (server.cpu_ns() - before_ns) / 1e6 / (time.perf_counter() - began_at)
