"""Streams and the cost of a refusal, as tables of a calibration's report."""

from __future__ import annotations

from shedproxy.calibration.results import Calibration
from shedproxy.cli.calibration_numbers import (
    count_cell,
    interval_cell,
    ms_cell,
    number_cell,
    percent_cell,
)
from shedproxy.cli.charts.table import Cell, Table

__all__ = ["refusal_table", "residents_table"]

_MEGABYTE = 1e6


def refusal_table(calibration: Calibration) -> Table | None:
    """What a refusal costs, and what that bounds."""
    found = calibration.findings.refusal
    if found is None:
        return None
    rows = [
        [Cell("CPU of a served request, us"), number_cell(found.served_ns / 1000)],
        [Cell("CPU of a refused request, us"), number_cell(found.refused_ns / 1000)],
        [Cell("Refused over served (r)"), interval_cell(found.ratio)],
        *(
            [Cell(f"Best goodput at {load:g} x"), percent_cell(best)]
            for load, best in found.best_goodput
        ),
        [Cell("Load up to which one worker has CPU"), number_cell(found.full_ratio)],
    ]
    return Table(
        title="Cost of a refusal",
        columns=["Figure", "Value"],
        rows=rows,
        note="Of the proxy's worker. Best goodput is (1 - r L) / (1 - r) of capacity where that CPU"
        " is what is short; where the service is, refusals take nothing of it.",
    )


def residents_table(calibration: Calibration) -> Table | None:
    """A row for each number of streams that was held."""
    found = calibration.findings.residents
    if found is None:
        return None
    rows = [
        [
            count_cell(level.open_count),
            count_cell(level.failed_count),
            ms_cell(level.first_byte_p99_ns),
            ms_cell(level.ordinary_p99_ns),
            count_cell(level.ordinary_failed_count),
            number_cell(None if level.memory_bytes is None else level.memory_bytes / _MEGABYTE),
            Cell("good" if level.is_good else "; ".join(level.reasons)),
        ]
        for level in sorted(found.levels, key=lambda level: level.open_count)
    ]
    each = found.bytes_per_stream
    memory = "" if each is None else f" One takes {each / 1000:,.0f} kB of the service's memory."
    return Table(
        title="Streams",
        columns=[
            "Open", "Failed", "First byte p99, ms", "Ordinary p99, ms", "Ordinary failed",
            "Memory, MB", "Verdict",
        ],
        rows=rows,
        note=f"{found.kind} at {found.path}, beside {found.ordinary_rps:.0f} ordinary requests/s:"
        f" {found.reason}.{memory}",
    )  # fmt: skip
