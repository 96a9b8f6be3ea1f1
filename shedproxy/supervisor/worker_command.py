"""How a worker process is started: its command line, and the descriptors it inherits."""

from __future__ import annotations

import sys
from dataclasses import dataclass

__all__ = ["WORKER_PROGRAM", "WorkerCommand"]

WORKER_PROGRAM = ("-m", "shedproxy.dataplane.worker")
"""What the interpreter runs as a worker."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerCommand:
    """How a worker is started: what stays the same at every restart."""

    page_fd: int
    listen_fds: tuple[int, ...]
    kind: str = "wire"
    """`wire` (the raw proxy) or `asgi` (an application under uvicorn)."""
    workers: int = 1
    bell_fds: tuple[int, ...] = ()
    table_fd: int = -1
    """Where tables of cells lie; -1: nowhere."""
    program: tuple[str, ...] = WORKER_PROGRAM
    arguments: tuple[str, ...] = ()
    """The application's, for `asgi`."""

    @property
    def is_shared(self) -> bool:
        """Whether the workers share the limits of cells.

        What is recorded can be replayed if it depends on nobody else: then each has its part.
        """
        return self.workers > 1 and "--record" not in self.arguments

    @property
    def fds(self) -> tuple[int, ...]:
        """What every worker inherits."""
        tables = () if self.table_fd < 0 else (self.table_fd,)
        return (self.page_fd, *self.listen_fds, *self.bell_fds, *tables)

    def argv(self, index: int, region: int, channel_fd: int, stack_fd: int) -> list[str]:
        """The command line of worker `index`, which writes to a region of the page."""
        bells = ",".join(map(str, self.bell_fds))
        return [
            sys.executable,
            *self.program,
            *("--kind", self.kind),
            *("--index", str(index), "--workers", str(self.workers), "--region", str(region)),
            *("--page-fd", str(self.page_fd)),
            *("--channel-fd", str(channel_fd), "--stack-fd", str(stack_fd)),
            *("--listen-fds", ",".join(map(str, self.listen_fds))),
            *(("--shared", "--bell-fds", bells) if self.is_shared else ()),
            *(("--table-fd", str(self.table_fd)) if self.table_fd >= 0 else ()),
            *self.arguments,
        ]
