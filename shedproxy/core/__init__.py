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
    hold_marked,
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
    refusal_holds,
)
from shedproxy.core.ejection import Act, CellFacts, Deed, HostFacts, decide, has_room, sizes_for
from shedproxy.core.ejector import FULL_WEIGHT, CellInput, Ejector, HostInput
from shedproxy.core.hands import HandDealer, choose_compartments
from shedproxy.core.limits.aimd import next_aimd_limit
from shedproxy.core.limits.gradient2 import ExponentialMean, next_gradient2_limit
from shedproxy.core.limits.protocol import LimitCause, LimitChange
from shedproxy.core.limits.vegas import next_vegas_limit
from shedproxy.core.magazine import (
    GLOBAL,
    Bullet,
    BulletState,
    Errand,
    Ledger,
    Magazine,
    OutlierReason,
    domains_of,
    magazine_cap,
    magazine_size,
    needed_hosts,
)
from shedproxy.core.outlier import OutlierPolicy, Tally, is_correlated, judge
from shedproxy.core.policy import (
    CellPolicy,
    FairnessPolicy,
    LimitPolicy,
    Mode,
    Policy,
    QueuePolicy,
    RetryPolicy,
    ShedLevelPolicy,
    SpillPolicy,
)
from shedproxy.core.request import (
    COHORTS,
    RANKS,
    Criticality,
    Kind,
    Lane,
    Measure,
    RequestInfo,
    rank_of,
)
from shedproxy.core.retry_budget import RetryBudget
from shedproxy.core.sentences import explain_refusal
from shedproxy.core.sharding import mix64
from shedproxy.core.share import LOOK_NS, SHARE_FIELDS, SILENT_NS, CellShare, reserve
from shedproxy.core.shedder import Shedder
from shedproxy.core.spill import LENT_SHARE, WATCH_NS, SpillBar, SpillBook
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
    "FULL_WEIGHT",
    "GLOBAL",
    "LENT_SHARE",
    "LOOK_NS",
    "NS_PER_MS",
    "NS_PER_S",
    "NS_PER_US",
    "RANKS",
    "SHARE_FIELDS",
    "SILENT_NS",
    "WATCH_NS",
    "Act",
    "Bullet",
    "BulletState",
    "CellFacts",
    "CellInput",
    "CellPolicy",
    "CellShare",
    "CellStats",
    "CellTable",
    "Criticality",
    "Decision",
    "Deed",
    "Ejector",
    "Errand",
    "ExponentialMean",
    "FairnessPolicy",
    "HandDealer",
    "HostFacts",
    "HostInput",
    "Instant",
    "Kind",
    "Lane",
    "Ledger",
    "LimitCause",
    "LimitChange",
    "LimitPolicy",
    "Magazine",
    "Measure",
    "Memory",
    "Mode",
    "MovePhase",
    "Nanos",
    "Outcome",
    "OutlierPolicy",
    "OutlierReason",
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
    "SpillBar",
    "SpillBook",
    "SpillPolicy",
    "Tally",
    "Ticket",
    "TicketState",
    "Verdict",
    "bucket_of",
    "build_cell_table",
    "choose_compartments",
    "decide",
    "domains_of",
    "explain_refusal",
    "has_room",
    "hold_marked",
    "is_correlated",
    "judge",
    "magazine_cap",
    "magazine_size",
    "milliseconds",
    "mix64",
    "motion_place",
    "needed_hosts",
    "next_aimd_limit",
    "next_gradient2_limit",
    "next_vegas_limit",
    "rank_of",
    "refusal_holds",
    "reserve",
    "seconds",
    "sizes_for",
    "to_milliseconds",
    "to_seconds",
]
