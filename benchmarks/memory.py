"""Memory of worker and supervisor: idle, beside 10 000 idle connections, over tenants and churn.

Every idle connection has had one answer and stays open. Then every request comes from a tenant of
its own, a million of them. Then an hour of churn, compressed: thirty visits a second, each with a
connection, a path and a tenant of its own, and every tenth leaves without its answer. Memory after
a tenth is compared with memory after all. Each round has a server of its own.
"""

from __future__ import annotations

import contextlib
import resource
import socket
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks import peers
from benchmarks.environment import program, versions
from benchmarks.load import parsed
from benchmarks.method import Budget, NotMeasuredError, Report, Row, Spread
from benchmarks.servers import Server, free_port, on_other_core, running

__all__ = ["measure"]

MIB = 1 << 20
CONNECTIONS, TENANTS, VISITS = 10_000, 1_000_000, 30 * 3600
LEAVES = 10
"""One visitor in so many."""
ROUNDS = 9
IDLE, SUPERVISOR, SUPERVISOR_THEN = "a worker, idle", "the supervisor, idle", "the supervisor then"
BESIDE = "a worker beside idle connections"
LATER_TENANTS, LATER_VISITS = "added by the later tenants", "added by the later visits"
_MOST, _FLAT = Budget(target=120, floor=120), Budget(target=1, floor=1)
BUDGETS = {
    IDLE: Budget(target=35, floor=45),
    SUPERVISOR: _MOST,
    BESIDE: _MOST,
    LATER_TENANTS: _FLAT,
    LATER_VISITS: _FLAT,
    SUPERVISOR_THEN: _MOST,
}
CONFIG = """
[headers]
tenant = "x-tenant-id"
[server]
trusted_proxies = ["127.0.0.0/8"]
"""
_GET = b"GET /small HTTP/1.1\r\nHost: memory\r\n\r\n"
_VISIT = (
    b"GET /visits/%d HTTP/1.1\r\nHost: memory\r\nX-Tenant-Id: visitor-%d\r\n"
    b"Connection: close\r\n\r\n"
)
_RESET = struct.pack("ii", 1, 0)
_TENANTS = """
local serial = {first}
request = function()
  serial = serial + 1
  return wrk.format("GET", "/small", {{["x-tenant-id"] = "tenant-" .. serial}})
end
"""


def _mib(server: Server) -> tuple[float, float]:
    """Of the supervisor, and of its workers."""
    supervisor, *workers = server.memories_bytes()
    return supervisor / MIB, sum(workers) / MIB


@contextlib.contextmanager
def _idle_connections(port: int, count: int) -> Iterator[None]:
    """Each has had its answer."""
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5))
            sock.sendall(_GET)
            if not sock.recv(4096).startswith(b"HTTP/1.1 200"):
                raise NotMeasuredError("a connection got another answer than 200")
        yield


def _ask_as_tenants(server: Server, home: Path, first: int, count: int) -> int:
    """Until so many tenants have come; how many have."""
    wrk = program("wrk")
    if wrk is None:
        raise NotMeasuredError("wrk is not on this machine")
    came = 0
    while came < count:
        script = home / "tenants.lua"
        script.write_text(_TENANTS.format(first=first + came))
        command = [wrk, "-t1", "-c16", "-d4s", f"http://127.0.0.1:{server.port}/", "-s", script]
        with on_other_core():
            done = subprocess.run(command, capture_output=True, text=True, timeout=30)
        seen = parsed(done.stdout, server.status)
        if not seen.answered or seen.errors:
            raise NotMeasuredError(f"wrk said: {done.stdout}")
        came += seen.answered
    return came


def _visit(port: int, first: int, count: int) -> None:
    """Come and go; who leaves early resets its connection, as a client that crashed does."""
    with on_other_core():
        for number in range(first, first + count):
            with socket.create_connection(("127.0.0.1", port), timeout=5) as sock:
                sock.sendall(_VISIT % (number, number))
                if not number % LEAVES:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                    continue
                head = sock.recv(4096)
                while sock.recv(4096):
                    pass
                if not head.startswith(b"HTTP/1.1 200"):
                    raise NotMeasuredError(f"a visitor got {head[:100]!r}")


def measure(*, quick: bool, rounds: int = 0) -> Report:
    """A round is a server of its own, from its start to its end: some fifty seconds.

    Raises:
        NotMeasuredError: a program is missing, or somebody got a wrong answer.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    connections, tenants, visits = (500, 20_000, 500) if quick else (CONNECTIONS, TENANTS, VISITS)
    found: dict[str, list[float]] = {}
    for _ in range(rounds or (1 if quick else ROUNDS)):
        for name, value in _round(connections, tenants, visits).items():
            found.setdefault(name, []).append(value)
    return Report(
        title="Resident memory, as the kernel counts it, shared pages in each",
        unit="MiB",
        rows=[
            Row(name, Spread.of(values), BUDGETS.get(name.removesuffix(f", {connections}")))
            for name, values in found.items()
        ],
        versions=versions(("nginx", "wrk")),
    )


def _round(connections: int, tenants: int, visits: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="shedproxy-benchmark-") as directory:
        home, up = Path(directory), free_port()
        upstream = peers.upstream(home, up)
        if upstream is None:
            raise NotMeasuredError("nginx, which is the upstream, is not on this machine")
        server = peers.shedproxy(home, up, config=CONFIG)
        with running([upstream]), running([server]):
            server.warm_up(20)
            supervisor, worker = _mib(server)
            with _idle_connections(server.port, connections):
                _, beside = _mib(server)
            early = _ask_as_tenants(server, home, 0, tenants // 10)
            _, before = _mib(server)
            _ask_as_tenants(server, home, early, tenants - early)
            _, after = _mib(server)
            _visit(server.port, 0, visits // 10)
            _, early_visits = _mib(server)
            _visit(server.port, visits // 10, visits - visits // 10)
            supervisor_then, late_visits = _mib(server)
    return {
        IDLE: worker,
        SUPERVISOR: supervisor,
        f"{BESIDE}, {connections}": beside,
        f"a worker after {tenants // 10} tenants or more": before,
        f"a worker after {tenants} tenants or more": after,
        LATER_TENANTS: after - before,
        f"a worker after {visits // 10} visits more": early_visits,
        f"a worker after {visits} visits more, an hour's": late_visits,
        LATER_VISITS: late_visits - early_visits,
        SUPERVISOR_THEN: supervisor_then,
    }
