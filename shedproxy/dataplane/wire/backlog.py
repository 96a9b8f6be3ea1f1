"""Connections that the kernel has made for a listener and that nobody has taken yet.

Closing the listener would reset them, although their clients were told that they are connected.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable

__all__ = ["take_waiting"]


def take_waiting(listeners: Iterable[socket.socket]) -> list[socket.socket]:
    """Take every connection that waits now. The listeners do not block, and stay open."""
    taken = []
    for listener in listeners:
        while True:
            try:
                listener.setblocking(False)
                connection, _ = listener.accept()
            except BlockingIOError:
                break
            except ConnectionAbortedError:  # left while it waited
                continue
            except OSError:  # no descriptor left, or closed already
                break
            connection.setblocking(False)
            taken.append(connection)
    return taken
