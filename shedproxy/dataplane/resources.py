"""What the system gives a worker process: descriptors and memory."""

from __future__ import annotations

import contextlib
import os
import resource
from pathlib import Path

__all__ = ["MemoryBound", "MemoryGroup", "find_group", "resident_size", "room_for_connections"]

_FDS_KEPT = 128
"""Descriptors for everything but connections."""
_SHORT_ABOVE = 0.85
_ENOUGH_BELOW = 0.75
_UNBOUNDED = 1 << 60
"""What version 1 of control groups says for no bound is near the largest number."""


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
        with open("/proc/self/statm", "rb") as statm:  # noqa: PTH123 - often, no Path
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return 0


class MemoryGroup:
    """A control group whose bound the kernel enforces by killing.

    Args:
        folder: of the group, in the file system of control groups.
        names: of the files with the bound and with what is used, and of the line of `memory.stat`
            with what is cached and can be had back.
    """

    def __init__(self, folder: Path, names: tuple[str, str, str]) -> None:
        bound_name, used_name, cache_name = names
        self._used = str(folder / used_name)
        self._stat = str(folder / "memory.stat")
        self._cache_line = cache_name.encode() + b" "
        self.bound = _number(str(folder / bound_name))
        """Bytes; 0: there is none."""
        if self.bound >= _UNBOUNDED:
            self.bound = 0

    def used_share(self) -> float:
        """What is used of the bound, 0..1; without a bound 0."""
        if not self.bound:
            return 0.0
        used = _number(self._used)
        if used > self.bound * _ENOUGH_BELOW:  # only then it matters what of it is cache
            used -= self._cache()
        return used / self.bound

    def _cache(self) -> int:
        with (
            contextlib.suppress(OSError, ValueError),
            open(self._stat, "rb") as lines,  # noqa: PTH123 - often, no Path
        ):
            for line in lines:
                if line.startswith(self._cache_line):
                    return int(line[len(self._cache_line) :])
        return 0


_V2 = ("memory.max", "memory.current", "inactive_file")
_V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def find_group(
    membership: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")
) -> MemoryGroup | None:
    """The control group of the process with the tightest bound on memory; None: there is none."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return None
    found: MemoryGroup | None = None
    for line in lines:
        number, controllers, path = line.split(":", 2)
        if number == "0":
            base, names = root, _V2
        elif "memory" in controllers.split(","):
            base, names = root / "memory", _V1
        else:
            continue
        folder = base / path.strip("/")
        for each in (folder, *folder.parents):
            group = MemoryGroup(each, names)
            if group.bound and (found is None or group.bound < found.bound):
                found = group
            if each == base:
                break
    return found


class MemoryBound:
    """Whether memory is short: from 85 % of a bound on, until it is below 75 % again."""

    def __init__(self, group: MemoryGroup | None = None) -> None:
        self._group = find_group() if group is None else group
        self.used_share = 0.0
        """Of the bound that is nearest, as seen at the last look."""
        self.is_short = False

    def look(self, memory_max: int) -> None:
        """Measure; `memory_max` is the process's own bound in bytes, 0: it has none."""
        share = 0.0 if self._group is None else self._group.used_share()
        if memory_max:
            share = max(share, resident_size() / memory_max)
        self.used_share = share
        self.is_short = share > (_ENOUGH_BELOW if self.is_short else _SHORT_ABOVE)


def _number(file: str) -> int:
    """The number that is a file's content; 0 when there is none."""
    try:
        with open(file, "rb") as stream:  # noqa: PTH123 - often, no Path
            return int(stream.read())
    except (OSError, ValueError):
        return 0
