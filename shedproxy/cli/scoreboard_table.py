"""What `shedproxy simulate` prints: the verdict and a table, in the words of the page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from shedproxy.cli.scoreboard_cells import title_of
from shedproxy.cli.scoreboard_margin import excess_lines, margin_lines
from shedproxy.cli.scoreboard_metrics import (
    METRICS,
    NOTHING,
    OVERALL,
    SCORE,
    Metric,
    show_score,
)
from shedproxy.cli.scoreboard_verdict import (
    OURS,
    Finding,
    Standing,
    Verdict,
    by_score,
    read_verdict,
    score_interval,
)

__all__ = ["render_table"]

Board = Mapping[str, Any]

_MOST_LINES = 10
_UNBOUNDED = 10_000
_MOST_SCENARIOS = 40
_NAMES = ("Controller", "Scenario", "Told")
"""Columns of words."""


def render_table(board: Board) -> RenderableType:
    """A board (schema 1) for a terminal: its verdict, its scores, what was not met.

    With an overall part the table is that; without, there is one for each scenario.
    """
    verdict = read_verdict(board)
    parts: list[RenderableType] = [Text(verdict.headline, "bold")]
    parts += [Text(remark) for remark in verdict.remarks]
    rows: Sequence[Mapping[str, Any]] = board.get("overall") or ()
    if rows:
        parts += ["", _overall(rows, verdict.standings), "", *_by_scenario(board, verdict)]
    else:
        for scenario in board["scenarios"]:
            parts += ["", Text(title_of(scenario)), _scenario(scenario, verdict.yardsticks)]
            if excess := [Text(line) for line in excess_lines(scenario)]:
                parts += ["", *excess]
    if margin := [Text(line) for line in margin_lines(board)]:
        parts += ["", *margin]
    parts += ["", *_summary(verdict, is_single=len(board["scenarios"]) == 1)]
    return Group(*parts)


@dataclass(frozen=True, slots=True)
class _Scores:
    """A table with as many metrics as fit beside what is always there, the first ones first."""

    fixed: Sequence[str]
    """Headings of the columns that are always there."""
    metrics: Sequence[Metric]
    rows: Sequence[tuple[str, Sequence[str], Mapping[str, float | None]]]
    """Style, cells of the fixed columns, values of the metrics."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        unbounded = options.update(max_width=_UNBOUNDED)  # else the measure is cut to the width
        for count in range(len(self.metrics), -1, -1):
            table = self._table(self.metrics[:count])
            if Measurement.get(console, unbounded, table).maximum <= options.max_width:
                break
        yield table
        if left_out := ", ".join(metric.label for metric in self.metrics[count:]):
            yield Text(f"Not shown in this width: {left_out}", "dim")

    def _table(self, metrics: Sequence[Metric]) -> Table:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
        for name in (*self.fixed, *(metric.name for metric in metrics)):
            # A word a line: what is measured is then what is needed, and nothing is cut in two.
            table.add_column(
                name.replace(" ", "\n"),
                justify="left" if name in _NAMES else "right",
                vertical="bottom",
                no_wrap=True,
            )
        for style, cells, values in self.rows:
            shown = (metric.show(values[metric.key]) for metric in metrics)
            table.add_row(*map(Text, (*cells, *shown)), style=style)
        return table


def _overall(rows: Sequence[Mapping[str, Any]], standings: Sequence[Standing]) -> _Scores:
    metrics = [m for m in OVERALL if any(row.get(m.key) is not None for row in rows)]
    was_told = any(standing.knows_capacity for standing in standings)
    lines = []
    for row, standing in zip(rows, standings, strict=True):
        best_on = row.get("best_on")
        cells = [
            NOTHING if standing.place is None else f"{standing.place}",
            standing.controller,
            *(["capacity" if standing.knows_capacity else NOTHING] * was_told),
            show_score(standing.score),
            (standing.interval or NOTHING).replace(" to ", "-"),
            NOTHING if best_on is None else f"{best_on}/{row['scenarios']}",
        ]
        values = {metric.key: row.get(metric.key) for metric in metrics}
        style = _style(standing.controller, is_yardstick=standing.is_yardstick)
        lines.append((style, cells, values))
    fixed = ("", "Controller", *["Told"] * was_told, "Score", "Interval", "Best on")
    return _Scores(fixed, metrics, lines)


def _by_scenario(board: Board, verdict: Verdict) -> Iterator[RenderableType]:
    """A line each: figures where one controller was run, and scores where there are more."""
    scenarios: Sequence[Mapping[str, Any]] = board["scenarios"]
    if len(scenarios) > _MOST_SCENARIOS:
        yield Text(f"Each of the {len(scenarios)} scenarios is in --html and --json.", "dim")
        return
    names = [standing.controller for standing in verdict.standings]
    if len(names) == 1:
        found = [_figures_of(names[0], one["results"]) for one in scenarios]
        metrics = [m for m in (SCORE, *METRICS) if any(row.get(m.key) is not None for row in found)]
    else:
        metrics = [Metric(key=name, label=name, better="high", show=show_score) for name in names]
    lines = []
    for scenario in scenarios:
        results = scenario["results"]
        met = [one["is_met"] for result in results for one in result.get("expectations") or ()]
        cells = [scenario["name"], f"{sum(met)}/{len(met)}" if met else NOTHING]
        if len(names) == 1:
            values = _figures_of(names[0], results)
        else:
            values = {result["controller"]: result.get("score") for result in results}
        lines.append(("", cells, {m.key: values.get(m.key) for m in metrics}))
    yield _Scores(("Scenario", "Met"), metrics, lines)


def _figures_of(name: str, results: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    return next((_medians(result) for result in results if result["controller"] == name), {})


def _medians(result: Mapping[str, Any]) -> dict[str, float | None]:
    found = {m.key: (result.get(m.key) or {}).get("median") for m in METRICS}
    return {SCORE.key: result.get("score"), **found}


def _scenario(scenario: Mapping[str, Any], yardsticks: frozenset[str]) -> _Scores:
    results = by_score(scenario["results"])
    metrics = [m for m in METRICS if any(r.get(m.key) is not None for r in results)]
    intervals = [score_interval(result) for result in results]
    has_intervals = any(intervals)
    has_scores = any(result.get("score") is not None for result in results)
    lines = []
    for result, interval in zip(results, intervals, strict=True):
        name = result["controller"]
        medians = _medians(result)
        cells = [name, show_score(result.get("score"))][: 2 if has_scores else 1]
        if has_intervals:
            cells.append((interval or NOTHING).replace(" to ", "-"))
        lines.append((_style(name, is_yardstick=name in yardsticks), cells, medians))
    fixed = ("Controller", "Score", "Interval")
    return _Scores(fixed[: has_intervals + has_scores + 1], metrics, lines)


def _style(name: str, *, is_yardstick: bool) -> str:
    return "bold" if name == OURS else "dim" if is_yardstick else ""


def _summary(verdict: Verdict, *, is_single: bool) -> Iterator[Text]:
    if verdict.expectation_count:
        style = "red" if verdict.failures else ""
        yield Text(f"Expectations met: {verdict.met_count} of {verdict.expectation_count}", style)
        yield from _list(_sentence(finding) for finding in verdict.failures)
        if is_single:
            yield from _list(f"met: {kept.controller}, {kept.text}" for kept in verdict.kept)
    if verdict.violations:
        yield Text(f"Violations: {len(verdict.violations)}", "red")
        yield from _list(_sentence(finding) for finding in verdict.violations)
    elif verdict.is_checked:
        yield Text("Violations: none, looked for after every event")
    if verdict.losses:
        yield Text(f"Another beats {OURS}: {len(verdict.losses)} of {verdict.compared_count}")
        yield from _list(
            f"{loss.scenario}: {show_score(loss.ours)}, {loss.best} {show_score(loss.best_score)}"
            for loss in verdict.losses
        )


def _sentence(finding: Finding) -> str:
    return f"{finding.scenario}: {finding.controller}, {finding.text}"


def _list(lines: Iterator[str]) -> Iterator[Text]:
    for line in islice(lines, _MOST_LINES):
        yield Text(f"  {line}")
    rest = sum(1 for _ in lines)
    if rest:
        yield Text(f"  and {rest} more")
