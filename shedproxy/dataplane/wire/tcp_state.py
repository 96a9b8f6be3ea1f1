"""What the kernel knows of a connection: whether its peer has left, what that has not taken."""

from __future__ import annotations

import fcntl
import socket
import sys
import termios

__all__ = ["acknowledged", "has_left", "unacknowledged"]

_TCP_CLOSE, _TCP_CLOSE_WAIT = 7, 8
_ACKED_AT, _ACKED_END = 120, 128
"""`tcpi_bytes_acked` of Linux's `struct tcp_info`, since 4.1."""


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


def acknowledged(sock: socket.socket) -> int | None:
    """Bytes that its peer's kernel has taken since it was opened; None: nobody knows."""
    try:
        info: bytes = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _ACKED_END)
    except OSError:
        return None
    if len(info) < _ACKED_END:
        return None
    return int.from_bytes(info[_ACKED_AT:_ACKED_END], sys.byteorder)


def unacknowledged(sock: socket.socket) -> int:
    """Bytes that were given to the kernel and that the peer's has not acknowledged.

    0 where nobody knows. Of a unix socket it is the memory that they take.
    """
    try:
        size: bytes = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4))
    except (OSError, ValueError):  # of one that is closed
        return 0
    return int.from_bytes(size, sys.byteorder)
