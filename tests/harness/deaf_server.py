"""Accepts, reads what is there and closes, as a process of its own; ends with its stdin.

It takes the place of a server whose work is to be left out of a measurement: who calls it loads
the machine as before.
"""

from __future__ import annotations

import contextlib
import select
import socket
import sys


def main() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        print("port", listener.getsockname()[1], flush=True)
        while True:
            ready, _, _ = select.select([sys.stdin, listener], [], [])
            if sys.stdin in ready:
                return
            sock, _ = listener.accept()
            with sock, contextlib.suppress(OSError):
                sock.recv(65536, socket.MSG_DONTWAIT)


if __name__ == "__main__":
    main()
