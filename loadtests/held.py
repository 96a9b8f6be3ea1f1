"""Processes that are held still, and what the kernel says of a port's connections meanwhile.

Who is stopped accepts nothing: what connects then waits in the accept queue, or goes to another.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

__all__ = ["accepted_by", "held", "in_accept_queue"]

_BOUND_S = 5.0
_LISTEN = "0A"


@contextlib.contextmanager
def held(pids: Sequence[int]) -> Iterator[None]:
    """Stopped until the block ends, all of them when it begins; who died meanwhile is let be."""
    stopped: list[int] = []
    try:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
            stopped.append(pid)
        give_up_at = time.monotonic() + _BOUND_S
        while not all(map(_stands, stopped)):
            if time.monotonic() > give_up_at:
                raise TimeoutError(f"not all of {stopped} stopped")
            time.sleep(0.001)
        yield
    finally:
        for pid in stopped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def _stands(pid: int) -> bool:
    """Stopped, or dead."""
    try:
        # pid (name, which may hold anything) state ...
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "TZX"
    except OSError:
        return True


def in_accept_queue(port: int) -> int:
    """Connections to a port of the loopback that nobody has accepted yet."""
    # Of a socket that listens, this column is the length of its queue.
    return sum(queued for state, _, queued, _ in _rows(port) if state == _LISTEN)


def accepted_by(pid: int, port: int) -> set[int]:
    """The ports at which the clients are whose connections a process has accepted."""
    own = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            kind, _, number = str(entry.readlink()).rstrip("]").partition(":[")
            if kind == "socket":
                own.add(int(number))
    return {peer for state, peer, _, inode in _rows(port) if state != _LISTEN and inode in own}


def _rows(port: int) -> Iterator[tuple[str, int, int, int]]:
    """Of each socket at the port: state, the other's port, bytes to read (or queue), inode."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        words = line.split()
        if int(words[1].partition(":")[2], 16) == port:
            peer = int(words[2].partition(":")[2], 16)
            yield words[3], peer, int(words[4].partition(":")[2], 16), int(words[9])
