"""What the system gives a worker process: descriptors and memory."""

from __future__ import annotations

import contextlib
import os
import resource

__all__ = ["resident_size", "room_for_connections"]

_FDS_KEPT = 128
"""Descriptors for everything but connections."""


def room_for_connections() -> int:
    """Clients that the process can hold with an upstream connection each; 0: no known bound.

    The soft bound on descriptors is raised to the hard one first.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return 0
    return max(8, (soft - _FDS_KEPT) // 2)


def resident_size() -> int:
    """Bytes of memory the process has in use; 0 where the system does not say."""
    try:
        with open("/proc/self/statm", "rb") as statm:  # noqa: PTH123 - once a second, no Path
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return 0
