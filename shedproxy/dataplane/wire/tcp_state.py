"""Whether the peer of a connection that nobody reads from has left: the kernel knows."""

from __future__ import annotations

import socket

__all__ = ["has_left"]

_TCP_CLOSE, _TCP_CLOSE_WAIT = 7, 8


def has_left(sock: socket.socket, *, or_half: bool) -> bool:
    """Whether it has reset the connection; with `or_half` a closed sending side counts too.

    False for sockets that are not TCP.
    """
    if sock.family not in {socket.AF_INET, socket.AF_INET6}:
        return False
    try:
        state: bytes = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)
    except OSError:
        return True
    return state[0] == _TCP_CLOSE or (or_half and state[0] == _TCP_CLOSE_WAIT)
