"""What a shedproxy holds, before and after: slots, descriptors and memory must come back."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from harness.process import memory_bytes
from harness.proxy import Shedproxy
from shedproxy.testing import eventually

__all__ = ["descriptors", "kinds", "no_leaks", "sockets", "unexplained"]

MIB = 1024 * 1024
MEMORY_MARGIN = 16 * MIB
"""What a worker may keep more than before: buffers of the allocator, tables that had to grow."""
_CONNECTIONS = ("connections", "upstream_connections")


def descriptors(pid: int) -> int:
    """Open files of a process."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def kinds(pid: int) -> Counter[str]:
    """What they are, numbers left out: `socket:`, `pipe:`, `anon_inode:[eventpoll]`, a path."""
    found: Counter[str] = Counter()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # that of this listing
            found[re.sub(r"\[\d+\]$", "", os.readlink(link))] += 1
    return found


def sockets(pid: int) -> set[str]:
    """Those of them that are of TCP, by inode: loops keep further descriptors of their own."""
    held = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # that of this listing
            held.add(os.readlink(link))
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return held & {f"socket:[{line.split()[9]}]" for line in lines}


def unexplained(worker: dict[str, Any]) -> int:
    """Descriptors of a worker, as `/-/status` shows it, that are not connections it knows of."""
    return descriptors(worker["pid"]) - sum(worker[name] for name in _CONNECTIONS)


class _Before:
    def __init__(self, proxy: Shedproxy) -> None:
        workers = proxy.status()["workers"]
        self.supervisor = descriptors(proxy.pid)
        self.unexplained = {worker["pid"]: unexplained(worker) for worker in workers}
        self.memory = {worker["pid"]: memory_bytes(worker["pid"]) for worker in workers}


@contextmanager
def no_leaks(
    proxy: Shedproxy, *, within_s: float = 20, memory_margin: int = MEMORY_MARGIN
) -> Iterator[None]:
    """What happens inside leaves nothing behind in any worker that lives on.

    Afterwards, within a time: nothing in flight, waiting, resident or zombie; no descriptor more
    than connections explain; none more in the supervisor; no worker larger by more than the margin.
    """
    before = _Before(proxy)
    yield
    eventually(proxy.is_idle, within_s=within_s, what="nothing in flight, waiting or zombie")
    eventually(lambda: _has_closed(proxy, before), within_s=within_s, what="descriptors closed")
    for pid, size in before.memory.items():
        with suppress(FileNotFoundError):  # a worker that the test had end
            grown = memory_bytes(pid) - size
            assert grown <= memory_margin, f"worker {pid} has grown by {grown / MIB:.1f} MiB"


def _has_closed(proxy: Shedproxy, before: _Before) -> bool:
    workers = {worker["pid"]: worker for worker in proxy.status()["workers"]}
    return descriptors(proxy.pid) <= before.supervisor and all(
        unexplained(workers[pid]) <= count
        for pid, count in before.unexplained.items()
        if pid in workers
    )
