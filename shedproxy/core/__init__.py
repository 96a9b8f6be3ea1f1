"""Decisions, pure. This is the only door into the core; its modules are not imported from outside.

What lives here: one limit, one queue, one shed level per cell, and the facade that drives them.
What may not: clocks, loops, sockets, files, threads, chance, logs, HTTP.
"""

from shedproxy.core.baseline import Memory, Remembered
from shedproxy.core.cell_table import (
    BUCKETS,
    CELL_NAMES_MAX,
    CellTable,
    MovePhase,
    bucket_of,
    build_cell_table,
    motion_place,
)
from shedproxy.core.decision import (
    EVIDENCE,
    Decision,
    Outcome,
    Permit,
    Rejected,
    RejectReason,
    Ticket,
    TicketState,
    Verdict,
    explain_refusal,
    refusal_holds,
)
from shedproxy.core.hands import HandDealer, choose_compartments
from shedproxy.core.limits.aimd import next_aimd_limit
from shedproxy.core.limits.gradient2 import ExponentialMean, next_gradient2_limit
from shedproxy.core.limits.protocol import LimitCause, LimitChange
from shedproxy.core.limits.vegas import next_vegas_limit
from shedproxy.core.policy import (
    CellPolicy,
    FairnessPolicy,
    LimitPolicy,
    Mode,
    Policy,
    QueuePolicy,
    ShedLevelPolicy,
)
from shedproxy.core.request import (
    COHORTS,
    Criticality,
    Kind,
    Lane,
    Measure,
    RequestInfo,
    rank_of,
)
from shedproxy.core.retry_budget import RetryBudget, RetryPolicy
from shedproxy.core.sharding import mix64
from shedproxy.core.share import LOOK_NS, SHARE_FIELDS, SILENT_NS, CellShare
from shedproxy.core.shedder import Shedder
from shedproxy.core.stats import CellStats, ShedderStats
from shedproxy.core.units import (
    NS_PER_MS,
    NS_PER_S,
    NS_PER_US,
    Instant,
    Nanos,
    milliseconds,
    seconds,
    to_milliseconds,
    to_seconds,
)

__all__ = [
    "BUCKETS",
    "CELL_NAMES_MAX",
    "COHORTS",
    "EVIDENCE",
    "LOOK_NS",
    "NS_PER_MS",
    "NS_PER_S",
    "NS_PER_US",
    "SHARE_FIELDS",
    "SILENT_NS",
    "CellPolicy",
    "CellShare",
    "CellStats",
    "CellTable",
    "Criticality",
    "Decision",
    "ExponentialMean",
    "FairnessPolicy",
    "HandDealer",
    "Instant",
    "Kind",
    "Lane",
    "LimitCause",
    "LimitChange",
    "LimitPolicy",
    "Measure",
    "Memory",
    "Mode",
    "MovePhase",
    "Nanos",
    "Outcome",
    "Permit",
    "Policy",
    "QueuePolicy",
    "RejectReason",
    "Rejected",
    "Remembered",
    "RequestInfo",
    "RetryBudget",
    "RetryPolicy",
    "ShedLevelPolicy",
    "Shedder",
    "ShedderStats",
    "Ticket",
    "TicketState",
    "Verdict",
    "bucket_of",
    "build_cell_table",
    "choose_compartments",
    "explain_refusal",
    "milliseconds",
    "mix64",
    "motion_place",
    "next_aimd_limit",
    "next_gradient2_limit",
    "next_vegas_limit",
    "rank_of",
    "refusal_holds",
    "seconds",
    "to_milliseconds",
    "to_seconds",
]
