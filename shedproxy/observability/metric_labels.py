"""Labels of the metrics with their closed sets, and the bounds of their histograms.

No tenant, path, client or id is ever a label: the number of series depends on the configuration
alone, never on the traffic; places in the code are bounded too.
"""

from __future__ import annotations

from shedproxy.core import Criticality, LimitCause, Mode, RejectReason
from shedproxy.observability.fault import Fault
from shedproxy.observability.metric import (
    DecisionOutcome,
    Eviction,
    Label,
    RequestOutcome,
    RetryCause,
    RetryDenial,
    SpillSide,
    WaitOutcome,
)
from shedproxy.snapshot import SnapshotRefusal

__all__ = [
    "ABOUT",
    "CAUSE",
    "CELL",
    "CLASS",
    "CLASSES",
    "DOMAIN",
    "DURATION_BOUNDS",
    "EVICTION",
    "FAULT",
    "FAULTS",
    "LIMIT_CAUSES",
    "MODE",
    "OUTCOME",
    "PLACE",
    "PPM",
    "PULL",
    "REASON",
    "REASONS",
    "REFUSAL",
    "REQUEST_OUTCOME",
    "RESULT",
    "RETRY_CAUSE",
    "RETRY_DENIAL",
    "SENT",
    "SPILL_SIDE",
    "STATE",
    "WAIT_BOUNDS",
    "WAIT_OUTCOME",
    "WORKER",
    "WORKERS",
    "WORKER_STATES",
]

DURATION_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""Upper bounds in seconds that OpenTelemetry advises for http.server.request.duration."""

WAIT_BOUNDS = (0.001, 0.0025, *DURATION_BOUNDS)
"""Upper bounds in seconds of queue waits: the same, two steps finer at the short end."""

PPM = 1_000_000
"""Shares are stored in slots as integer parts per million."""

CLASSES = tuple(member.label for member in Criticality)
REASONS = tuple(member.label for member in RejectReason)
FAULTS = tuple(member.label for member in Fault)
LIMIT_CAUSES = tuple(member.label for member in LimitCause)
WORKERS = tuple(map(str, range(64)))
WORKER_STATES = ("starting", "serving", "announced", "draining", "stopped")

CELL = Label("shedproxy.cell")
DOMAIN = Label("shedproxy.domain")
"""A magazine: "cell:NAME", "zone:NAME" or "all"; as configured."""
PLACE = Label("shedproxy.place")
"""Where a loop stalled: at most 16 places "module:function", "stopped", "unknown" and "other"."""
CLASS = Label("shedproxy.class", ("", *CLASSES))
OUTCOME = Label("shedproxy.outcome", tuple(member.name.lower() for member in DecisionOutcome))
REQUEST_OUTCOME = Label(
    "shedproxy.outcome", tuple(member.name.lower() for member in RequestOutcome)
)
WAIT_OUTCOME = Label("shedproxy.outcome", tuple(member.name.lower() for member in WaitOutcome))
REASON = Label("shedproxy.reason", ("", *REASONS))
FAULT = Label("shedproxy.fault", FAULTS)
RETRY_CAUSE = Label("shedproxy.cause", tuple(member.name.lower() for member in RetryCause))
RETRY_DENIAL = Label("shedproxy.cause", tuple(member.name.lower() for member in RetryDenial))
SPILL_SIDE = Label("shedproxy.side", tuple(member.name.lower() for member in SpillSide))
EVICTION = Label("shedproxy.cause", tuple(member.label for member in Eviction))
CAUSE = Label("shedproxy.cause", LIMIT_CAUSES)
WORKER = Label("shedproxy.worker", WORKERS)
ABOUT = Label("shedproxy.about", ("limit", "shed_level", "baseline"))
STATE = Label("shedproxy.state", WORKER_STATES)
MODE = Label("shedproxy.mode", tuple(member.label for member in Mode))
RESULT = Label("shedproxy.result", ("applied", "refused"))
PULL = Label("shedproxy.result", ("good", "refused", "failed"))
REFUSAL = Label("shedproxy.reason", tuple(member.label for member in SnapshotRefusal))
SENT = Label("shedproxy.result", ("sent", "failed"))
