"""Where a worker's numbers go: its region of the supervisor's page, or without one its own memory.

A supervisor whose package is replaced while it runs starts workers of another version, which
cannot read its page. They serve, with a part of the limits, and say by the channel that they live.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from shedproxy.clock import monotonic_now
from shedproxy.dataplane.host_share import HostShare
from shedproxy.dataplane.share_page import SharePage, WorkerState, WorkerView
from shedproxy.dataplane.worker_options import Options
from shedproxy.errors import StartupError

__all__ = ["WorkerPlace", "take_place"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerPlace:
    """What a worker writes to."""

    view: WorkerView
    share: HostShare | None = None
    """By which it shares limits; None: it does not."""
    page_lost: str = ""
    """Why it has no region of the supervisor's page; "": it has."""


def take_place(options: Options) -> WorkerPlace:
    """The region of the page that was handed over, or memory that nobody else reads.

    Raises:
        StartupError: not even that can be had.
    """
    region = options.index if options.region < 0 else options.region
    page_lost, share = "", None
    try:
        page = SharePage.attach(options.page_fd)
    except StartupError as error:
        page, region, page_lost = SharePage.create(1), 0, str(error)
    if options.is_shared and not page_lost:
        share = HostShare(
            page,
            region=region,
            index=options.index,
            workers=options.workers,
            bells=options.bell_fds,
        )
    view = page.worker(region)
    view.pid = os.getpid()
    view.started_at = monotonic_now()
    view.state = WorkerState.STARTING
    return WorkerPlace(view=view, share=share, page_lost=page_lost)
