"""The tables of a calibration report, each with what it says in one line."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from shedproxy.calibration.results import (
    Calibration,
    Percentiles,
    Phase,
    Step,
    StepState,
    VerificationRun,
)
from shedproxy.cli.beside_views import refusal_table, residents_table
from shedproxy.cli.calibration_doubts import limits_table, objectives_table
from shedproxy.cli.calibration_numbers import (
    NOTHING,
    count_cell,
    interval_cell,
    ms_cell,
    number_cell,
    percent_cell,
    show_length,
)
from shedproxy.cli.charts.table import Cell, Table
from shedproxy.cli.observed_views import observed_table
from shedproxy.cli.signal_views import class_order, run_name, signals_table
from shedproxy.core import NS_PER_MS, NS_PER_S

__all__ = ["TABLES", "step_name"]

_MS = 1 / NS_PER_MS
_PHASES = {
    Phase.IDLE: "idle",
    Phase.SEARCH: "search",
    Phase.CLOSED: "closed",
    Phase.OPEN: "open",
    Phase.REFUSAL: "refusal",
}


def step_name(step: Step) -> str:
    """What was played, in few words: `open 180/s, pass 2`."""
    what = _PHASES[step.phase]
    if step.planned_rps is not None:
        what += f" {step.planned_rps:,.0f}/s"
    elif step.concurrency is not None:
        what += f" {step.concurrency} at a time"
    return f"{what}, pass {step.pass_number}" if step.pass_number else what


def _of(rows: Sequence[Sequence[Cell]], title: str, columns: str, note: str = "") -> Table | None:
    """None without rows; `columns` are parted by bars."""
    if not rows:
        return None
    heads = [column.strip() for column in columns.split("|")]
    return Table(title=title, columns=heads, rows=rows, note=note)


def _changes(calibration: Calibration) -> Table | None:
    thresholds = calibration.thresholds
    rows = [
        [
            Cell(change.key),
            Cell(change.before or "not set"),
            Cell(change.after),
            Cell(change.reason),
        ]
        for change in (thresholds.changes if thresholds else ())
    ]
    return _of(rows, "What changes", "Setting | Before | After | Why")


def _concurrency(calibration: Calibration) -> Table | None:
    rows = [
        [
            Cell(f"{step.concurrency} at a time"),
            count_cell(step.pass_number),
            number_cell(step.in_flight),
            number_cell(step.throughput_rps),
            *_latency_cells(step.latency),
            _state_cell(step),
        ]
        for step in calibration.steps
        if step.phase is Phase.CLOSED
    ]
    return _of(
        rows,
        "Throughput by concurrency",
        f"Step | Pass | In flight | Answers/s | {_LATENCY_HEADS} | State",
    )


_LATENCY_HEADS = "Mean, ms | p50, ms | p90, ms | p99, ms | p99.9, ms"


def _latency_cells(latency: Percentiles | None) -> list[Cell]:
    if latency is None:
        return [Cell(NOTHING) for _ in range(5)]
    values = (latency.mean_ns, latency.p50_ns, latency.p90_ns, latency.p99_ns, latency.p999_ns)
    return [ms_cell(value) for value in values]


def _state_cell(step: Step) -> Cell:
    tone = "bad" if step.state is StepState.VOID else ""
    return Cell(step.state.name.lower(), None, tone)


def _rates(calibration: Calibration) -> Table | None:
    rows = [
        [
            Cell(f"{step.planned_rps or step.offered_rps:,.1f}/s"),
            count_cell(step.pass_number),
            number_cell(step.offered_rps),
            number_cell(step.throughput_rps),
            number_cell(step.goodput_rps),
            number_cell(step.in_flight),
            *_latency_cells(step.latency),
            _state_cell(step),
        ]
        for step in calibration.steps
        if step.phase is Phase.OPEN
    ]
    return _of(
        rows,
        "Latency by offered rate",
        f"Planned | Pass | Offered/s | Answers/s | Good/s | In flight | {_LATENCY_HEADS} | State",
    )


def _curve(calibration: Calibration) -> Table | None:
    usl = calibration.findings.usl
    if usl is None:
        return None
    rows = [
        [Cell("Lambda: answers/s of one at a time"), interval_cell(usl.lambda_rps)],
        [Cell("Sigma: contention"), interval_cell(usl.sigma)],
        [Cell("Kappa: coherency"), interval_cell(usl.kappa)],
        [Cell("Best in flight"), interval_cell(usl.peak_in_flight)],
        [Cell("Answers/s there"), interval_cell(usl.peak_rps)],
        [Cell("Ceiling lambda over sigma, answers/s"), interval_cell(usl.ceiling_rps)],
        [Cell("R²"), number_cell(usl.r_squared)],
        [Cell("Points"), count_cell(usl.point_count)],
    ]
    return _of(rows, "Universal Scalability Law", "Figure | Value (95 % interval)",
               "; ".join(usl.notes))  # fmt: skip


def _estimates(calibration: Calibration) -> Table | None:
    found = calibration.findings
    rows = [
        [Cell("Capacity, answers/s"), interval_cell(found.capacity_rps)],
        [Cell("Highest rate that keeps the objective, /s"), interval_cell(found.slo_rps)],
        [Cell("In flight at that rate"), number_cell(found.slo_in_flight)],
        [Cell("Knee, in flight"), interval_cell(found.knee_in_flight)],
        *(
            [Cell(f"Knee of {knee.curve}, /s"), interval_cell(knee.rate_rps)]
            for knee in found.knees
        ),
        [Cell("Goodput collapses at, /s"), number_cell(found.collapse_rps)],
        [Cell("Cost of a refusal over that of a request"), interval_cell(found.refusal_cost)],
    ]
    is_known = any(value.value is not None for _, value in rows)
    return _of(rows if is_known else [], "Estimates", "Figure | Value (95 % interval)")


def _routes(calibration: Calibration) -> Table | None:
    rows = [
        [
            Cell("all routes" if route.name == "*" else route.name),
            interval_cell(route.baseline, scale=_MS),
            interval_cell(route.mean, scale=_MS),
            ms_cell(None if route.latency is None else route.latency.p99_ns),
            Cell(NOTHING if route.law is None else
                 f"{route.law.name}, cv {route.law.cv:.2f}, distance {route.law.distance:.3f}"),
        ]
        for route in calibration.findings.routes
    ]  # fmt: skip
    return _of(
        rows, "Latency without load", "Route | Median, ms | Mean, ms | p99, ms | Service law"
    )


def _verification(calibration: Calibration) -> Table | None:
    rows = [
        [
            Cell(run_name(run)),
            number_cell(run.offered_rps),
            number_cell(run.goodput_rps),
            percent_cell(run.goodput_ratio),
            count_cell(run.served_count),
            count_cell(run.refused_count),
            count_cell(run.failed_count),
            ms_cell(run.latency.p50_ns if run.latency else None),
            ms_cell(run.latency.p99_ns if run.latency else None),
            ms_cell(run.refusal.p99_ns if run.refusal else None),
            Cell(_recovery(run)),
            Cell("; ".join(run.reasons)),
        ]
        for run in calibration.verification
    ]
    return _of(
        rows,
        "Goodput with shedding off and on",
        "Run | Offered/s | Good/s | Of what can be | Served | Refused | Failed | p50, ms"
        " | p99, ms | Refusal p99, ms | Recovery | Why void",
    )


def _recovery(run: VerificationRun) -> str:
    if run.aftermath is None:
        return NOTHING
    if run.aftermath.recovery_ns is None:
        return f"not within {show_length(run.aftermath.watched_ns)}"
    return show_length(run.aftermath.recovery_ns)


def _classes(calibration: Calibration) -> Table | None:
    rows = [
        [
            Cell(f"{run_name(run)}: {each.name}"),
            count_cell(each.offered_count),
            count_cell(each.served_count),
            percent_cell(each.served_count / each.offered_count if each.offered_count else None),
            count_cell(each.refused_count),
            ms_cell(each.p50_ns),
            ms_cell(each.p99_ns),
        ]
        for run in calibration.verification
        for each in run.classes
    ]
    return _of(
        rows,
        "What became of each class",
        "Run and class | Offered | Served | Served, % | Refused | p50, ms | p99, ms",
        class_order(calibration),
    )


def _checks(calibration: Calibration) -> Table | None:
    rows = [
        [
            Cell(check.name),
            Cell("passed" if check.is_passed else "failed", None,
                 "good" if check.is_passed else "bad"),
            number_cell(check.measured),
            number_cell(check.allowed),
            Cell(check.text),
        ]
        for check in calibration.findings.checks
    ]  # fmt: skip
    return _of(rows, "Doubts that were tested", "Check | Result | Measured | Allowed | What it is")


def _steps(calibration: Calibration) -> Table | None:
    rows = [
        [
            Cell(f"{step.index}: {step_name(step)}"),
            number_cell(step.started_at_ns / NS_PER_S),
            number_cell(step.length_ns / NS_PER_S),
            number_cell(step.cut_ns / NS_PER_S),
            count_cell(step.offered_count),
            _state_cell(step),
            Cell("; ".join(step.reasons)),
        ]
        for step in calibration.steps
    ]
    return _of(
        rows, "Every step", "Step | At, s | Length, s | Warm-up cut, s | Requests | State | Why"
    )


def _generator(calibration: Calibration) -> Table | None:
    rows = [
        [
            Cell(f"{step.index}: {step_name(step)}"),
            ms_cell(step.health.send_lag_p50_ns),
            ms_cell(step.health.send_lag_p99_ns),
            ms_cell(step.health.send_lag_max_ns),
            percent_cell(step.health.cpu_ratio),
            percent_cell(step.health.achieved_ratio),
            count_cell(step.health.not_sent_count),
            number_cell(step.health.dispersion_ratio),
        ]
        for step in calibration.steps
    ]
    return _of(
        rows,
        "The generator itself",
        "Step | Lag p50, ms | Lag p99, ms | Lag max, ms | CPU | Sent of planned | Not sent"
        " | Dispersion",
    )


def _errors(calibration: Calibration) -> Table | None:
    rows = [
        [Cell(f"{step.index}: {step_name(step)}"), Cell(error.name), count_cell(error.count)]
        for step in calibration.steps
        for error in step.errors
    ]
    return _of(rows, "Errors", "Step | Kind | Count")


def _thresholds(calibration: Calibration) -> Table | None:
    thresholds = calibration.thresholds
    rows = [
        [
            Cell(cell.name),
            count_cell(cell.start),
            count_cell(cell.floor),
            count_cell(cell.ceiling),
            count_cell(cell.upstream_weight),
            ms_cell(cell.queue_wait_ns),
            ms_cell(cell.baseline_ns),
            count_cell(cell.resident_limit),
        ]
        for cell in (thresholds.cells if thresholds else ())
    ]
    return _of(
        rows,
        "Thresholds",
        "Cell | Start | Floor | Ceiling | For upstreams | Queue wait, ms | Baseline, ms | Streams",
    )


def _provenance(calibration: Calibration) -> Table | None:
    made, plan = calibration.provenance, calibration.plan
    facts: Iterable[tuple[str, str]] = (
        ("Report", made.id),
        ("Target", made.target),
        ("Target build", made.target_build or "not named (--build)"),
        ("Started", made.started),
        ("Finished", made.finished),
        ("Objective", plan.slo.text),
        ("Arrivals", plan.arrivals),
        ("Engine", f"{plan.engine}, {plan.processes} process(es)"),
        ("Seed", str(plan.seed)),
        ("Passes", str(plan.repeats)),
        ("Budget", show_length(plan.budget_ns)),
        ("Clients give up after", show_length(plan.deadline_ns)),
        ("Classes", ", ".join(f"{each.name} {each.ratio:.0%}" for each in plan.classes)),
        ("Routes", ", ".join(f"{each.name} {each.ratio:.0%}" for each in plan.routes)),
        ("shedproxy", made.version),
        ("Fingerprint", made.fingerprint),
        *made.machine,
        *made.packages,
    )
    rows = [[Cell(name), Cell(text)] for name, text in facts if text]
    return _of(rows, "Where it comes from", "What | Value")


TABLES: dict[str, Callable[[Calibration], Table | None]] = {
    "changes": _changes,
    "thresholds": _thresholds,
    "estimates": _estimates,
    "observed": observed_table,
    "curve": _curve,
    "concurrency": _concurrency,
    "rates": _rates,
    "verification": _verification,
    "refusal": refusal_table,
    "residents": residents_table,
    "classes": _classes,
    "routes": _routes,
    "objectives": objectives_table,
    "limits": limits_table,
    "checks": _checks,
    "steps": _steps,
    "generator": _generator,
    "proxy": signals_table,
    "errors": _errors,
    "provenance": _provenance,
}
"""By name; each is None where there is nothing to show."""
