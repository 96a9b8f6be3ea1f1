"""`shedproxy demo`: see it work in twenty seconds."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from shedproxy.core import Criticality, Nanos, seconds, to_milliseconds
from shedproxy.loadgen.demo import Demo, DemoResult
from shedproxy.workload import Row, Summary

__all__ = ["demo"]

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0}
_SHORTEST_S, _LONGEST_S = 4.0, 600.0


def parse_duration(text: str) -> Nanos:
    """`20s`, `1m`, `1500ms` or plain seconds.

    Raises:
        typer.BadParameter: when it is none of these, or outside 4 s to 10 m.
    """
    number, unit = text.strip(), "s"
    for suffix in sorted(_UNITS, key=len, reverse=True):
        if number.endswith(suffix):
            number, unit = number[: -len(suffix)], suffix
            break
    try:
        value = float(number) * _UNITS[unit]
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a duration: try 20s or 1m") from None
    if not _SHORTEST_S <= value <= _LONGEST_S:
        raise typer.BadParameter(f"{text} is not between 4s and 10m")
    return seconds(value)


def demo(
    for_: Annotated[
        str, typer.Option("--for", metavar="TIME", help="How long in all, half for each side.")
    ] = "20s",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object instead of tables.")
    ] = False,
) -> None:
    """Overload a small service, bare and through shedproxy, and compare.

    Starts a service that can do 200 requests a second (4 at a time, 20 ms each) and offers it three
    times that, a fifth of it critical. Clients wait one second. First nothing protects the
    service, then `shedproxy run` with its defaults. Loopback only; ends by itself.

    Examples:
        shedproxy demo

        shedproxy demo --for 1m --json
    """
    duration_ns = parse_duration(for_)
    console = Console(stderr=as_json, highlight=False)
    view = _View(console)
    demonstration = Demo(duration_ns=Nanos(duration_ns // 2))
    try:
        with view:
            result = demonstration.run(view.show)
    except RuntimeError as problem:
        Console(stderr=True).print(f"[red]error:[/] {problem}", highlight=False)
        raise typer.Exit(1) from None
    if as_json:
        json.dump(result.as_json(), sys.stdout, indent=2)
        print()
    else:
        _print_result(console, result)


class _View:
    """Two live bars: how far each half is, and how much of its load was answered in time."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._tasks: dict[str, TaskID] = {}
        self._progress = Progress(
            TextColumn("{task.description:<10}"),
            BarColumn(bar_width=28),
            TextColumn("answered in time, last second: {task.fields[now]}"),
            TimeRemainingColumn(),
            console=console,
        )

    def __enter__(self) -> None:
        self._console.print(
            "A service with capacity for [bold]200[/] requests/s is offered [bold]600[/]/s."
        )
        self._progress.start()

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, name: str, share: float, rows: list[Row]) -> None:
        """Called a few times a second by the demonstration."""
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(name, total=1.0, now="-")
        now = "-"
        if rows:
            since = rows[-1].done_at - seconds(1)
            recent = [row for row in rows[-4000:] if row.done_at > since]
            good = sum(row.status == 200 and row.latency_ns <= seconds(1) for row in recent)
            now = f"{good:>4}"
        task = self._tasks[name]
        self._progress.update(task, completed=share, now=now)


def _share(summary: Summary, criticality: Criticality) -> str:
    part = summary.by_class.get(criticality)
    return "-" if part is None else f"{part.served / part.offered:.1%} of {part.offered}"


def _milliseconds(value: Nanos | None) -> str:
    return "-" if value is None else f"{to_milliseconds(value):.0f} ms"


def _print_result(console: Console, result: DemoResult) -> None:
    table = Table(show_edge=False, pad_edge=False)
    table.add_column("")
    table.add_column("bare", justify="right")
    table.add_column("through shedproxy", justify="right", style="bold")
    bare, shed = result.bare, result.shed
    capacity = result.capacity_rps
    table.add_row(
        "goodput / capacity",
        f"{bare.goodput_rps / capacity:.0%}",
        f"{shed.goodput_rps / capacity:.0%}",
    )
    table.add_row("good answers per second", f"{bare.goodput_rps:.0f}", f"{shed.goodput_rps:.0f}")
    table.add_row("median latency", _milliseconds(bare.p50_ns), _milliseconds(shed.p50_ns))
    table.add_row("p99 latency", _milliseconds(bare.p99_ns), _milliseconds(shed.p99_ns))
    table.add_row("timed out", f"{bare.failed}", f"{shed.failed}")
    table.add_row("refused, told why", f"{bare.refused}", f"{shed.refused}")
    for criticality in sorted(shed.by_class, reverse=True):
        table.add_row(
            f"served: {criticality.label}", _share(bare, criticality), _share(shed, criticality)
        )
    console.print()
    console.print(table)
    console.print()
    if result.health.not_sent or result.health.send_lag_p99_ns > seconds(0.1):
        console.print(
            "[yellow]The generator was late or capped on this machine: take the figures with"
            f" care[/] (send lag p99 {to_milliseconds(result.health.send_lag_p99_ns):.0f} ms,"
            f" {result.health.not_sent} not sent)."
        )
    console.print("Put it before your own service:  shedproxy run http://127.0.0.1:8000")
