"""What `shedproxy calibrate` shows while it runs, and at its end."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from shedproxy.calibration.measurement import Phase, Plan, Step
from shedproxy.calibration.orders import Order
from shedproxy.calibration.results import Calibration, RefusalCost, ResidentLevel
from shedproxy.core import NS_PER_S, to_milliseconds

__all__ = ["CalibrationView", "refusal_words", "show_result"]

_WORDS = {
    Phase.IDLE: "without load",
    Phase.SEARCH: "search",
    Phase.CLOSED: "closed",
    Phase.OPEN: "open",
}


class CalibrationView:
    """A bar with the time left of the budget, and what is played now."""

    def __init__(self, console: Console, plan: Plan) -> None:
        self._plan = plan
        self._spent_ns = 0
        self._progress = Progress(
            TextColumn("{task.description:<11}"),
            BarColumn(bar_width=28),
            TextColumn("{task.fields[now]}"),
            console=console,
        )
        self._task = self._progress.add_task("calibrate", total=1.0, now="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def watch(self, order: Order, share: float) -> None:
        """Called a few times a second while an order is played."""
        done_ns = self._spent_ns + share * order.length_ns
        left_s = max(0.0, self._plan.budget_ns - done_ns) / NS_PER_S
        what = (
            f"{order.concurrency} at a time"
            if order.planned_rps is None
            else f"{order.planned_rps:.0f}/s"
        )
        self._progress.update(
            self._task,
            completed=done_ns / self._plan.budget_ns,
            now=f"{int(left_s) // 60}:{int(left_s) % 60:02d} left, {_WORDS[order.phase]}, {what}",
        )

    def step(self, step: Step) -> None:
        """A step is done."""
        self._spent_ns = step.ended_at_ns

    def proving(self, done_count: int, count: int) -> None:
        """A run of the verification is done."""
        self._progress.update(
            self._task,
            description="verify",
            completed=done_count / count,
            now=f"{done_count} of {count} runs through the proxy",
        )

    def resident_level(self, level: ResidentLevel) -> None:
        """A number of streams was held."""
        word = "did no harm" if level.is_good else level.reasons[0]
        self._progress.update(
            self._task, description="streams", now=f"{level.open_count} open: {word}"
        )


def show_result(console: Console, calibration: Calibration, report: Path) -> None:
    """The answer, its reasons, what changes, and what the verification saw."""
    verdict = calibration.verdict
    console.print(f"[bold]{verdict.headline}[/]")
    console.print(f"confidence {verdict.confidence.name.lower()}: {'; '.join(verdict.reasons)}")
    thresholds = calibration.thresholds
    if thresholds is not None and thresholds.changes:
        table = Table("key", "before", "after", "why", show_edge=False, pad_edge=False)
        for change in thresholds.changes:
            table.add_row(change.key, change.before or "-", change.after, change.reason)
        console.print(table)
    if calibration.verification:
        console.print(_verification(calibration))
    if calibration.findings.residents is not None:
        console.print(f"streams: {calibration.findings.residents.reason}")
    if calibration.findings.refusal is not None:
        console.print(refusal_words(calibration.findings.refusal))
    console.print(f"results in {report.parent}; to read: shedproxy report {report} --html FILE")


def refusal_words(refusal: RefusalCost) -> str:
    """What a refusal costs, and what that means."""
    ratio = refusal.ratio
    best = " and ".join(f"{best:.0%} at {load:g}x" for load, best in refusal.best_goodput)
    full = (
        ""
        if refusal.full_ratio is None
        else f"; one worker has CPU for everybody up to {refusal.full_ratio:.0f} times the capacity"
    )
    each = f"{refusal.refused_ns / 1000:.0f} of {refusal.served_ns / 1000:.0f} us"
    return (
        f"a refusal costs {ratio.value:.2f} [{ratio.low:.2f}, {ratio.high:.2f}] of the worker's "
        f"CPU for a served request ({each}): where that CPU is what is short, the best goodput is "
        f"{best} of capacity{full}"
    )


def _verification(calibration: Calibration) -> Table:
    table = Table(
        "offered", "shedding", "goodput", "p99", "refused", "recovery",
        show_edge=False, pad_edge=False,
    )  # fmt: skip
    for run in calibration.verification:
        recovery = "-"
        if run.aftermath is not None:
            lasted = run.aftermath.recovery_ns
            recovery = "not seen" if lasted is None else f"{lasted / NS_PER_S:.1f} s"
        table.add_row(
            f"{run.load_ratio:g}x",
            "on" if run.is_shedding else "off",
            "void" if run.is_void else f"{run.goodput_ratio:.1%}",
            "-" if run.latency is None else f"{to_milliseconds(run.latency.p99_ns):.0f} ms",
            str(run.refused_count),
            recovery,
        )
    return table
