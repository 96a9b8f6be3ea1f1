"""Time without that in which the machine was busy with others.

The kernel counts, for every thread, how long it was ready to run and had no processor: the second
figure of `/proc/PID/task/TID/schedstat` (Linux, Documentation/scheduler/sched-stats.rst). What a
promise in milliseconds is about is the rest: work, sleep, and waiting for somebody who is under
test. With several processes under test all that they have waited is left out: a request is with one
of them at a time.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

__all__ = ["own_sleep", "own_time", "waited_s"]


def waited_s(*pids: int) -> float:
    """Seconds that this thread, and all threads of these processes, have waited for a processor."""
    files = ["/proc/thread-self/schedstat"]
    for pid in pids:
        files += map(str, Path(f"/proc/{pid}/task").glob("*/schedstat"))
    return sum(map(_waited_ns, files)) / 1e9


def _waited_ns(file: str) -> int:
    try:
        with open(file, "rb", buffering=0) as stat:
            return int(stat.read().split()[1])
    except (FileNotFoundError, ProcessLookupError):  # a thread that has ended
        return 0


def own_time(*pids: int) -> float:
    """Seconds since some moment, but for what this thread and these processes have waited.

    A difference is what something took, had nobody else been there. Both are to be taken in one
    thread.
    """
    return time.monotonic() - waited_s(*pids)


async def own_sleep(seconds: float) -> None:
    """Give what runs in this thread so much time."""
    ends_at = own_time() + seconds
    while (left_s := ends_at - own_time()) > 0:
        await asyncio.sleep(left_s)
