"""One request on its way: what it is, where it is, what became of it."""

from __future__ import annotations

import enum
from typing import Any

from shedproxy.core import Instant, Permit, RequestInfo, Ticket

__all__ = ["Call", "CallState"]


class CallState(enum.IntEnum):
    """Where a call is. It leaves each state once, forwards."""

    NEW = 0
    WAITING = 1
    RUNNING = 2
    ANSWERED = 3
    REFUSED = 4
    LEFT = 5


class Call:
    """One attempt.

    The service time is drawn with the intention, so that every controller and the oracle meet the
    same work.
    """

    __slots__ = (
        "arrived_at",
        "cell",
        "cohort",
        "due_at",
        "flow_hash",
        "gives_up_at",
        "host",
        "info",
        "is_running",
        "left_backend",
        "mark",
        "needs_lock",
        "permit",
        "proxy",
        "serial",
        "source",
        "spent_ns",
        "state",
        "task",
        "ticket",
        "work_ns",
    )

    def __init__(
        self,
        serial: int,
        source: Any,
        task: Any,
        info: RequestInfo,
        flow_hash: int,
        cohort: int,
        arrived_at: Instant,
        gives_up_at: int,
        work_ns: int,
    ) -> None:
        self.serial = serial
        self.source = source
        self.task = task
        self.info = info
        self.flow_hash = flow_hash
        self.cohort = cohort
        self.arrived_at = arrived_at
        self.gives_up_at = gives_up_at
        self.work_ns = work_ns
        self.state = CallState.NEW
        self.proxy: Any = None
        self.permit: Permit | None = None
        self.ticket: Ticket | None = None
        self.cell = ""
        """Of several cells: the one whose hosts it went to last."""
        # The backend's own notes.
        self.host: Any = None
        self.is_running = False
        self.needs_lock = False
        self.left_backend = False
        """It has ended there, or was stopped: whatever event of it comes is stale."""
        self.mark = 0
        self.due_at = 0
        self.spent_ns = 0
        """Work that it takes from a machine, as it was when it began."""
