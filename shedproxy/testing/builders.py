"""Values of the core with sensible defaults; a test names only what it is about."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from shedproxy.core import CellPolicy, LimitPolicy, Mode, Nanos, Policy, QueuePolicy, RequestInfo

__all__ = ["a_policy", "a_request"]


def a_request(**values: Any) -> RequestInfo:
    """A request of the default route and cell; any field of RequestInfo by keyword."""
    return RequestInfo(**values)


def a_policy(
    *,
    limit: int | None = None,
    queue_length: int | None = None,
    wait_max_ns: int | None = None,
    mode: Mode = Mode.ENFORCE,
    **cell: Any,
) -> Policy:
    """A policy of one cell.

    Args:
        limit: a fixed limit; None: the default, adaptive one.
        queue_length: most waiters; 0 refuses whatever finds no slot.
        wait_max_ns: longest wait.
        mode: what is done with refusals.
        **cell: further fields of CellPolicy.
    """
    made = CellPolicy(**cell)
    if limit is not None:
        fixed = LimitPolicy(algorithm="fixed", initial=limit, minimum=1, maximum=max(limit, 1))
        made = replace(made, limit=fixed)
    queue: QueuePolicy = made.queue
    if queue_length is not None:
        queue = replace(queue, length_max=queue_length)
    if wait_max_ns is not None:
        queue = replace(queue, wait_max_ns=Nanos(wait_max_ns))
    return Policy(mode=mode, cells=(replace(made, queue=queue),))
