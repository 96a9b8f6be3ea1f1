"""What this host may say of keys that change their cell: that which is true of all its workers.

It acknowledges a table when every worker looks keys up in it; that of work of such keys is a sum.
What processes leave behind when they end nobody sees any more: it is taken to be over after the
time that a drain and an answer may take. Until then the host is not settled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from shedproxy.clock import Clock, monotonic_now
from shedproxy.core import Instant, Nanos
from shedproxy.supervisor.process import WorkerProcess

__all__ = ["HostMoves", "MoveWatch"]


class HostMoves(NamedTuple):
    """Of all workers."""

    table_version: int = 0
    """The lowest that a worker looks keys up in."""
    moving: int = 0
    moving_streams: int = 0
    held: int = 0
    is_settled: bool = False


class MoveWatch:
    """Of one host.

    Args:
        settle_ns: gives how long work may outlive the process that began it.
        clock: of the supervisor.
    """

    def __init__(self, settle_ns: Callable[[], Nanos], *, clock: Clock = monotonic_now) -> None:
        self._settle_ns = settle_ns
        self._clock = clock
        self._said: dict[WorkerProcess, HostMoves] = {}
        self._ended_at: Instant = clock()
        """When a process ended last; whatever was before us may have ended just now."""
        self.on_change: Callable[[], None] = lambda: None
        """Told when something of it is another than before."""

    def take(self, worker: WorkerProcess, message: Mapping[str, Any]) -> None:
        """What a worker says."""
        version, work, streams, held = (
            int(message.get(name, 0)) for name in ("version", "work", "streams", "held")
        )
        self._said[worker] = HostMoves(version, work, streams, held)
        self.on_change()

    def forget(self, worker: WorkerProcess) -> None:
        """Its process is gone."""
        self._said.pop(worker, None)
        self._ended_at = self._clock()
        self.on_change()

    def said(self, workers: Iterable[WorkerProcess]) -> HostMoves:
        """What is true of all of them; `workers` are those that have a process."""
        each = [self._said.get(worker, HostMoves()) for worker in workers]
        return HostMoves(
            table_version=min((one.table_version for one in each), default=0),
            moving=sum(one.moving for one in each),
            moving_streams=sum(one.moving_streams for one in each),
            held=sum(one.held for one in each),
            is_settled=self._clock() >= self._ended_at + self._settle_ns(),
        )
