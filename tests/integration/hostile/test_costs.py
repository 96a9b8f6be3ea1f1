"""What is expensive for a client to say must not be much more expensive to hear (A24)."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

SIZE = 64 * 1024
ROUNDS = 30
HEAD = b"POST /upload HTTP/1.1\r\nHost: e\r\nTransfer-Encoding: chunked\r\n\r\n"


def cpu_ns(pid: int) -> int:
    """Run time of a process with one thread that matters."""
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks)


def cost(port: int, pid: int, body: bytes) -> float:
    """CPU in ns of one request with this body."""

    def ask() -> None:
        sock.sendall(HEAD + body)
        answer = b""
        while not answer.endswith(b"}"):
            answer += sock.recv(65536)
        assert b'"size": %d' % SIZE in answer

    with contextlib.closing(socket.create_connection(("127.0.0.1", port), 10)) as sock:
        ask()
        before = cpu_ns(pid)
        for _ in range(ROUNDS):
            ask()
        return (cpu_ns(pid) - before) / ROUNDS


def test_a_body_of_small_chunks_costs_a_bounded_multiple(serve) -> None:
    """Alike, <= 20 x the same body in one piece; and where no two chunks after another are alike,
    <= 25 x one-byte chunks (12 as it is; 118 without what reads these many at a time).
    """
    proxy = serve()
    pid = proxy.worker_pid

    def chunked(*sizes: int) -> float:
        chunks = b"".join(b"%x\r\n%b\r\n" % (size, b"x" * size) for size in sizes)
        count, rest = divmod(SIZE, sum(sizes))
        tail = b"%x\r\n%b\r\n" % (rest, b"x" * rest) if rest else b""
        return cost(proxy.port, pid, chunks * count + tail + b"0\r\n\r\n")

    whole = chunked(SIZE)
    bytewise = chunked(1)
    alike = {1: bytewise / whole, 16: chunked(16) / whole, 256: chunked(256) / whole}
    unlike = {
        sizes: chunked(*sizes) / bytewise for sizes in ((1, 2), (16, 17), (1, 255), (256, 257))
    }
    assert all(multiple <= 20 for multiple in alike.values()), alike
    assert all(multiple <= 25 for multiple in unlike.values()), unlike
