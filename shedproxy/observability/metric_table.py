"""The one table of metrics: name, instrument, unit, labels, meaning.

Every exporter reads this table, so that Prometheus and OpenTelemetry show the same series. Names
and units follow the OpenTelemetry conventions; a Prometheus name is the usual translation of one.
"""

from __future__ import annotations

from shedproxy.core import NS_PER_S
from shedproxy.observability.metric import (
    Merge,
    Metric,
    counter,
    gauge,
    histogram,
    up_down,
)
from shedproxy.observability.metric_labels import (
    ABOUT,
    CAUSE,
    CELL,
    CLASS,
    DOMAIN,
    DURATION_BOUNDS,
    EVICTION,
    FAULT,
    MODE,
    OUTCOME,
    PLACE,
    PPM,
    PULL,
    REASON,
    REFUSAL,
    REQUEST_OUTCOME,
    RESULT,
    RETRY_CAUSE,
    RETRY_DENIAL,
    SENT,
    SPILL_SIDE,
    STATE,
    WAIT_BOUNDS,
    WAIT_OUTCOME,
    WORKER,
)

__all__ = ["METRICS", "metric_named"]

METRICS = (
    counter(
        "shedproxy.decisions",
        "{request}",
        "Arrivals by what was decided; each arrival counts once. Reasons belong to refusals.",
        CELL,
        CLASS,
        OUTCOME,
        REASON,
    ),
    counter(
        "shedproxy.goodput",
        "{request}",
        "Requests that ended well and within their deadline.",
        CELL,
        CLASS,
    ),
    histogram(
        "http.server.request.duration",
        DURATION_BOUNDS,
        "Arrival to the end of the answer. Refusals have an outcome of their own.",
        CELL,
        CLASS,
        REQUEST_OUTCOME,
    ),
    histogram(
        "shedproxy.queue.wait.duration",
        WAIT_BOUNDS,
        "Time in the queue of the requests that had to wait.",
        CELL,
        CLASS,
        WAIT_OUTCOME,
    ),
    counter(
        "shedproxy.faults",
        "{fault}",
        "Exchanges that failed without being refused; no cell when the head was not understood.",
        CELL,
        FAULT,
    ),
    counter(
        "shedproxy.limit.changes",
        "{change}",
        "Updates of the concurrency limit by what moved or held it.",
        CELL,
        CAUSE,
    ),
    counter(
        "shedproxy.retries",
        "{retry}",
        "Requests sent to an upstream once more, by what became of the try before.",
        CELL,
        RETRY_CAUSE,
    ),
    counter(
        "shedproxy.retries.denied",
        "{retry}",
        "Requests that could have been sent once more and were not: budget used up, or overload.",
        CELL,
        RETRY_DENIAL,
    ),
    counter(
        "shedproxy.spilled",
        "{request}",
        "Requests that a cell without room sent to another, and that a cell took of others.",
        CELL,
        SPILL_SIDE,
    ),
    counter(
        "shedproxy.loop.held",
        "{read}",
        "What clients sent that waited for its cell's turn of the loop; no cell: sent by new"
        " connections, or by those of control requests.",
        CELL,
    ),
    counter("shedproxy.loop.held.time", "s", "How long all of it waited.", CELL, scale=NS_PER_S),
    gauge(
        "shedproxy.guests",
        "{request}",
        "Slots that requests of other cells hold; absent where there are none.",
        CELL,
        merge=Merge.SUM,
        is_always_shown=False,
    ),
    gauge(
        "shedproxy.guests.room",
        "{request}",
        "Slots that are free for more of them: of half the limit, what its own peak leaves.",
        CELL,
        merge=Merge.MIN,
        is_always_shown=False,
    ),
    up_down("shedproxy.in_flight", "{request}", "Slots taken by admitted requests.", CELL),
    up_down(
        "shedproxy.class.in_flight",
        "{request}",
        "Slots of a class, its waiters and streams included: what class limits are compared with.",
        CELL,
        CLASS,
    ),
    gauge(
        "shedproxy.limit",
        "{request}",
        "Slots there are: the limit in force.",
        CELL,
        merge=Merge.SUM,
    ),
    up_down("shedproxy.queue.length", "{request}", "Requests waiting for a slot.", CELL),
    up_down("shedproxy.residents", "{stream}", "Open streams; they take no slot.", CELL),
    up_down(
        "shedproxy.zombies",
        "{request}",
        "Slots held for work that may go on although nobody waits for it.",
        CELL,
    ),
    up_down("shedproxy.control.in_flight", "{request}", "Control requests in flight.", CELL),
    gauge(
        "shedproxy.shed.level",
        "{rank}",
        "Ranks below this (of 4096; 0: none) are refused on arrival.",
        CELL,
    ),
    gauge(
        "shedproxy.shed.share", "1", "Share of the level itself that is refused.", CELL, scale=PPM
    ),
    gauge(
        "shedproxy.pressure",
        "1",
        "0 idle to 1 saturated; made for autoscaling and brown-out.",
        CELL,
        scale=PPM,
    ),
    gauge(
        "shedproxy.baseline",
        "s",
        "Trusted latency without load; absent until there is one.",
        CELL,
        scale=NS_PER_S,
        is_always_shown=False,
    ),
    gauge(
        "shedproxy.demand",
        "{request}/s",
        "Cost offered per second, refused or not.",
        CELL,
        merge=Merge.SUM,
    ),
    gauge(
        "shedproxy.capacity",
        "{request}/s",
        "Cost started per second while saturated; absent until the cell was.",
        CELL,
        merge=Merge.SUM,
        is_always_shown=False,
    ),
    gauge(
        "shedproxy.upstream.healthy",
        "{endpoint}",
        "Upstreams in use, as the worker sees it that has fewest.",
        CELL,
        merge=Merge.MIN,
    ),
    gauge(
        "shedproxy.upstream.weight",
        "{endpoint}",
        "Upstreams in use, each by the part of the requests it may have; fewest of all workers.",
        CELL,
        merge=Merge.MIN,
        scale=1000,
    ),
    gauge(
        "shedproxy.upstream.configured",
        "{endpoint}",
        "Upstreams configured; absent where there are none.",
        CELL,
        is_always_shown=False,
    ),
    gauge(
        "shedproxy.runtime.loop_lag",
        "s",
        "How late the event loop's timer ran, worst worker.",
        scale=NS_PER_S,
    ),
    counter(
        "shedproxy.runtime.loop_stalls",
        "{stall}",
        "Times the event loop was so late that what it timed meanwhile does not count.",
    ),
    counter("shedproxy.connections.accepted", "{connection}", "Client connections accepted."),
    counter(
        "shedproxy.connections.evicted",
        "{connection}",
        "Client connections ended to make room for others, by what they kept us waiting for.",
        EVICTION,
    ),
    counter(
        "shedproxy.connections.dropped",
        "{connection}",
        "Client connections over a bound that were closed without a word.",
    ),
    up_down("shedproxy.connections.open", "{connection}", "Client connections open now."),
    up_down("shedproxy.tunnels.open", "{connection}", "Upgraded connections open now."),
    up_down(
        "shedproxy.upstream.connections.open", "{connection}", "Connections to upstreams open now."
    ),
    counter(
        "shedproxy.access_log.dropped", "{line}", "Lines lost because their consumer was too slow."
    ),
    counter(
        "shedproxy.access_log.suppressed", "{line}", "Lines not written: over the bounded rate."
    ),
    up_down("process.memory.usage", "By", "Resident memory, all workers."),
    counter("process.cpu.time", "s", "CPU used, all workers.", scale=NS_PER_S),
    # From here on the supervisor gives the values; they have no slots.
    up_down("shedproxy.workers", "{process}", "Workers by state.", STATE),
    gauge("shedproxy.mode", "1", "1 for the mode in force, else 0.", MODE),
    counter(
        "shedproxy.config.reloads",
        "{reload}",
        "Configurations read, by what became of them.",
        RESULT,
    ),
    counter("shedproxy.worker.restarts", "{restart}", "Workers started anew after their end."),
    counter(
        "shedproxy.worker.stalls",
        "{stall}",
        "Heartbeats that stayed away for longer than control.stall_bound; the log has the stacks.",
        PLACE,
    ),
    counter("shedproxy.worker.stall.time", "s", "Time between the heartbeats around stalls."),
    counter(
        "shedproxy.supervisor.stalls",
        "{stall}",
        "Times the supervisor's own loop did not turn for so long.",
        PLACE,
    ),
    gauge(
        "shedproxy.worker.heartbeat.age",
        "s",
        "Time since the last sign of life, oldest worker.",
    ),
    gauge(
        "shedproxy.worker.page_lost",
        "{process}",
        "Workers that have no region of the shared page: each has a part of the limits, and what it"
        " does is not in these metrics.",
    ),
    # Where there are several workers; of one, the metrics of all are its own.
    up_down("shedproxy.worker.in_flight", "{request}", "Of one worker.", CELL, WORKER),
    up_down("shedproxy.worker.queue.length", "{request}", "Of one worker.", CELL, WORKER),
    gauge("shedproxy.worker.limit", "{request}", "All slots, as it sees it.", CELL, WORKER),
    gauge("shedproxy.worker.shed.level", "{rank}", "Of one worker.", CELL, WORKER),
    gauge("shedproxy.worker.baseline", "s", "Of one worker; 0: it knows none yet.", CELL, WORKER),
    gauge("shedproxy.worker.demand", "{request}/s", "Of one worker.", CELL, WORKER),
    gauge("shedproxy.worker.loop_lag", "s", "Of one worker.", WORKER),
    up_down("shedproxy.worker.connections.open", "{connection}", "Of clients.", WORKER),
    up_down("shedproxy.worker.memory.usage", "By", "Resident memory of one worker.", WORKER),
    gauge(
        "shedproxy.workers.disagreement",
        "1",
        "How far apart the workers' limits, shed levels or baselines are: 0, they agree, to 1.",
        CELL,
        ABOUT,
    ),
    gauge(
        "shedproxy.magazine.left",
        "{bullet}",
        "Hosts that may still be taken out: of a cell, of a zone, in all.",
        DOMAIN,
    ),
    gauge(
        "shedproxy.magazine.out",
        "{bullet}",
        "Bullets spent and not given back: hosts out, on trial, or gone and not replaced.",
        DOMAIN,
    ),
    counter("shedproxy.magazine.spent", "{bullet}", "Hosts taken out.", DOMAIN),
    counter(
        "shedproxy.magazine.reloaded", "{bullet}", "Bullets given back for proven hosts.", DOMAIN
    ),
    gauge(
        "shedproxy.magazine.frozen",
        "1",
        "1 while so much is bad at once that nobody is taken out.",
        CELL,
    ),
    counter(
        "shedproxy.magazine.empty",
        "{host}",
        "Bad hosts that stayed in service because a magazine was empty.",
        CELL,
    ),
    gauge("shedproxy.calibration.age", "s", "Time since the cell was calibrated.", CELL),
    gauge(
        "shedproxy.calibration.drift",
        "1",
        "Service time now over that of the profile; absent until enough was seen.",
        CELL,
    ),
    gauge("shedproxy.calibration.alarm", "1", "1 when the profile no longer fits.", CELL),
    gauge(
        "shedproxy.snapshot.revision", "{revision}", "Revision of the snapshot in force; 0: none."
    ),
    gauge("shedproxy.snapshot.age", "s", "Time since the snapshot was fetched and found good."),
    gauge("shedproxy.snapshot.stale", "1", "1 when that is too long ago, or it has expired."),
    gauge("shedproxy.snapshot.absent", "1", "1 while there is none and the settings are served."),
    counter("shedproxy.snapshot.pulls", "{pull}", "Fetches, by what became of them.", PULL),
    counter("shedproxy.snapshot.refusals", "{snapshot}", "Snapshots refused, by reason.", REFUSAL),
    counter(
        "shedproxy.snapshot.reports", "{report}", "Status reports, by what became of them.", SENT
    ),
)
"""Every metric, in the order in which they are shown."""

_BY_NAME = {metric.name: metric for metric in METRICS}


def metric_named(name: str) -> Metric:
    """The line of the table, or KeyError: exporters show nothing that the table does not have."""
    return _BY_NAME[name]
