"""Which processes are workers of one server, as far as the system shows it (Linux).

A server that starts several processes for one application opens the sockets itself and hands them
on. So a process that has a listening socket in common with its parent is one of its workers, and
those with the same parent and the same sockets are its siblings.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from pathlib import Path

__all__ = ["count_siblings", "server_of_process"]

_PROC = Path("/proc")


def server_of_process() -> str:
    """A text that all workers of a server have in common and nobody else; "": we are no worker.

    gunicorn may run its workers as another user than itself: then its own process is all we know.
    """
    parent = os.getppid()
    try:
        shared = _sockets_of(str(parent)).keys() & _sockets_of("self").keys()
    except OSError:
        return f"{parent}" if "gunicorn.arbiter" in sys.modules else ""
    ours = _sockets_of("self")
    served = sorted(inode for inode in shared if _is_served(ours[inode]))
    return f"{parent} {served}" if served else ""


def count_siblings() -> int:
    """Processes that our parent has as children, ourselves included, helpers left out."""
    parent = b"%d" % os.getppid()
    return max(1, sum(_is_child(folder, parent) for folder in _PROC.glob("[0-9]*")))


def _is_child(process: Path, parent: bytes) -> bool:
    with contextlib.suppress(OSError, IndexError):
        # pid (name, which may hold anything, half a character included) state parent ...
        if (process / "stat").read_bytes().rpartition(b")")[2].split()[1] == parent:
            return b"resource_tracker" not in (process / "cmdline").read_bytes()
    return False


def _sockets_of(process: str) -> dict[str, int]:
    """Sockets of a process by what the system calls them, with a descriptor each."""
    found: dict[str, int] = {}
    folder = _PROC / process / "fd"
    for name in os.listdir(folder):  # noqa: PTH208 - names are enough
        with contextlib.suppress(OSError):
            target = os.readlink(folder / name)  # noqa: PTH115 - no path
            if target.startswith("socket:"):
                found[target] = int(name)
    return found


def _is_served(fd: int) -> bool:
    """Whether clients connect to it, now or soon: bound, and not connected itself."""
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(fd)) as ours:
        if ours.type != socket.SOCK_STREAM or not ours.getsockname():
            return False
        try:
            ours.getpeername()
        except OSError:
            return True
    return False
