"""CPU of TLS towards clients: of a handshake, and of requests over connections that stay open.

All have the same certificate, and plain HTTP behind. Handshakes are full ones of TLS 1.3 by clients
that have no session to resume; what is counted is all that a connection costs: handshake, one
request, and its end. (wrk would not do: it resumes.) Requests are wrk's, with the protocol that it
negotiates, the same with all.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks import peers
from benchmarks.certificates import Certificate, make_certificate
from benchmarks.environment import versions
from benchmarks.load import Cell, Sample, Seen, Traffic, in_turns, sampled, take_turns
from benchmarks.method import NotMeasuredError, Report, check_known, ratio
from benchmarks.proxy import PROXY, rows
from benchmarks.servers import Server, free_port, is_pinned, on_other_core, running

__all__ = ["PEERS", "measure"]

_CONFIG = """
[server.tls]
cert = "{chain}"
key = "{key}"
handshake_rate_max = 0
"""
"""Without the pace of handshakes: it is there to bound what is measured here."""


def _shedproxy(home: Path, up: int, certificate: Certificate) -> Server:
    config = _CONFIG.format(chain=certificate.chain, key=certificate.key)
    return peers.shedproxy(home, up, config=config, is_tls=True)


PEERS: Mapping[str, Callable[[Path, int, Certificate], Server | None]] = {
    PROXY: _shedproxy,
    "nginx": lambda home, up, tls: peers.nginx_proxy(home, up, certificate=tls),
    "HAProxy": lambda home, up, tls: peers.haproxy(home, up, certificate=tls),
    "Envoy": lambda home, up, tls: peers.envoy(home, up, certificate=tls),
}
TRAFFIC = (
    Traffic(connections=16),
    Traffic(connections=64),
    Traffic(size="16k", connections=16),
)


NEWCOMERS = "handshake and GET of 128 B, 8 clients"
CLIENTS, SECONDS = 8, 1.0
_ASK = b"GET /small HTTP/1.1\r\nHost: tls\r\n\r\n"
_END = b"\r\n\r\n" + b"x" * peers.BODY_SIZE


def _shake_hands(server: Server, traffic: str) -> Sample:
    """Clients, a thread each, that come with a new connection for every request."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    stop_at = time.perf_counter() + SECONDS
    done, errors = [0] * CLIENTS, [0] * CLIENTS

    def come(client: int) -> None:
        while time.perf_counter() < stop_at:
            try:
                _visit(context, server.port)
            except OSError:
                errors[client] += 1
            else:
                done[client] += 1

    def load() -> Seen:
        threads = [threading.Thread(target=come, args=(client,)) for client in range(CLIENTS)]
        with on_other_core():
            for thread in threads:
                thread.start()
        for thread in threads:
            thread.join()
        return Seen(answered=sum(done), wrong=0, errors=sum(errors))

    return sampled(server, traffic, load)


def _visit(context: ssl.SSLContext, port: int) -> None:
    with (
        socket.create_connection(("127.0.0.1", port), timeout=5) as plain,
        context.wrap_socket(plain) as sock,
    ):
        sock.sendall(_ASK)
        answer = b""
        while not answer.endswith(_END):
            piece = sock.recv(4096)
            if not piece:
                raise ConnectionResetError(answer[:100])
            answer += piece


@contextlib.contextmanager
def _started(names: Sequence[str]) -> Iterator[tuple[Path, list[Server], list[str]]]:
    """Their directory, the servers that run, and the names of those that are not here."""
    with tempfile.TemporaryDirectory(prefix="shedproxy-benchmark-") as directory:
        home, up = Path(directory), free_port()
        upstream = peers.upstream(home, up)
        if upstream is None:
            raise NotMeasuredError("nginx, which is the upstream, is not on this machine")
        certificate = make_certificate(home)
        found = {name: PEERS[name](home, up, certificate) for name in names}
        here = [server for server in found.values() if server is not None]
        with running([upstream]), running(here):
            yield home, here, [name for name, server in found.items() if server is None]


def measure(*, quick: bool, rounds: int = 0, peers: Sequence[str] = ()) -> Report:
    check_known(peers, PEERS)
    names = list(dict.fromkeys((PROXY, *(peers or PEERS))))
    rounds = rounds or (1 if quick else 9)
    with _started(names) as (home, servers, absent):
        turns = in_turns([Cell(NEWCOMERS, servers)], _shake_hands, rounds=rounds)
        cells = [Cell(each, servers) for each in (TRAFFIC[:1] if quick else TRAFFIC)]
        requests = take_turns(cells, home, rounds=rounds)
    turns.values |= requests.values
    turns.samples += requests.samples
    notes = [] if is_pinned() else ["one core only: nothing is pinned, the generator disturbs"]
    return Report(
        title="CPU of the proxy's processes, TLS towards clients",
        unit="us per request or connection",
        rows=rows(turns),
        ratios=[
            ratio(f"{PROXY} / {name}, {each}", by_name[PROXY], times)
            for each, by_name in turns.values.items()
            for name, times in by_name.items()
            if name != PROXY
        ],
        absent=absent,
        notes=notes + turns.notes(),
        versions=versions(("nginx", "HAProxy", "Envoy", "wrk")),
        samples=turns.raw,
    )
