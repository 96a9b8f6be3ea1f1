"""The tables of a calibration that ask "what if": other objectives, other limits."""

from __future__ import annotations

from shedproxy.calibration.results import Calibration
from shedproxy.calibration.sensitivity import limit_costs, objective_rates
from shedproxy.cli.calibration_numbers import (
    count_cell,
    ms_cell,
    number_cell,
    percent_cell,
)
from shedproxy.cli.charts.table import Cell, Table

__all__ = ["limits_table", "objectives_table"]


def objectives_table(calibration: Calibration) -> Table | None:
    """Up to which rate stricter and looser objectives would be kept."""
    slo = calibration.plan.slo
    rows = []
    for each in objective_rates(calibration):
        remark = "" if each.rate_rps else "not at any rate that was played"
        if each.rate_rps is not None and not each.is_bound:
            remark = "not broken by anything that was played"
        rows.append(
            [
                Cell(f"p{100 * slo.percentile:g} < {each.latency_ns / 1e6:g} ms"),
                number_cell(each.rate_rps),
                Cell(remark),
            ]
        )
    if not rows:
        return None
    return Table(
        title="Other objectives", columns=["Objective", "Kept up to, /s", "Remark"], rows=rows
    )


def limits_table(calibration: Calibration) -> Table | None:
    """What a limit that is wrong costs, in overload."""
    costs = limit_costs(calibration)
    chosen = next((each for each in costs if each.limit == calibration.verdict.limit), None)
    if chosen is None or len(costs) < 2:
        return None
    rows = [
        [
            Cell(f"{each.limit}" + (" (chosen)" if each is chosen else "")),
            count_cell(each.limit),
            number_cell(each.throughput_rps),
            percent_cell(each.throughput_rps / chosen.throughput_rps),
            ms_cell(each.mean_ns),
            percent_cell(each.mean_ns / chosen.mean_ns),
        ]
        for each in costs
    ]
    return Table(
        title="Other limits",
        columns=["Limit", "In flight", "Answers/s", "Of the chosen", "Mean, ms", "Of the chosen"],
        rows=rows,
        note="Of a service that is never idle; too low a limit costs answers, too high a one time.",
    )
