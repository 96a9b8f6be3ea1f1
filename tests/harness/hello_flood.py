"""Strangers that begin TLS handshakes at a rate, as a process of its own; ends with its stdin.

Each sends a real hello, which costs the server the whole of a handshake, and then nothing: it goes
when `OPEN_MAX` others have come. A line on stdin, a port, sends those to come there, and those that
have come away. At its end it prints, as JSON, how many a second it began, and by port how many of
them have heard anything of the server.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import select
import socket
import ssl
import sys
import time
from collections import Counter, deque

OPEN_MAX = 2000
STEP_S = 0.01


def hello() -> bytes:
    """The first bytes of a TLS client."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    outgoing = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def is_answered(sock: socket.socket) -> bool:
    try:
        return bool(sock.recv(1))
    except OSError:
        return False


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--rate", type=int, default=2000)
    options = parser.parse_args()
    data = hello()
    port = options.port
    sockets: deque[socket.socket] = deque()
    begun = 0
    answered: Counter[int] = Counter()

    def end_oldest() -> None:
        with sockets.popleft() as sock:
            answered[port] += is_answered(sock)

    print("flooding", flush=True)
    began = due = time.monotonic()
    while True:
        if select.select([sys.stdin], [], [], max(0.0, due - time.monotonic()))[0]:
            line = sys.stdin.readline()
            while sockets:
                end_oldest()
            if not line:
                break
            port = int(line)
        due += STEP_S
        for _ in range(round(options.rate * STEP_S)):
            sock = socket.socket()
            sock.setblocking(False)
            # From other addresses than the honest ones, and many of them.
            sock.bind((f"127.0.{begun % 200 + 1}.1", 0))
            sock.connect_ex(("127.0.0.1", port))
            with contextlib.suppress(OSError):
                sock.send(data)
            sockets.append(sock)
            begun += 1
        while len(sockets) > OPEN_MAX:
            end_oldest()
    rate = begun / (time.monotonic() - began)
    print(json.dumps({"rate": rate, "answered": answered}), flush=True)


if __name__ == "__main__":
    main()
