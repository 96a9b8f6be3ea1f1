"""The two tables of the scoreboard page over all scenarios: overall, and scenario by controller."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

from shedproxy.cli.charts.interval import IntervalAxis
from shedproxy.cli.charts.markup import Html, element, join
from shedproxy.cli.scoreboard_cells import (
    controller_cell,
    find_text,
    metric_cell,
    metric_heading,
    row_of,
    scenario_link,
    scrolling,
    title_of,
)
from shedproxy.cli.scoreboard_metrics import NOTHING, OVERALL, SCORE, Metric
from shedproxy.cli.scoreboard_verdict import Standing, Verdict

__all__ = ["matrix_table", "overall_table"]

Board = Mapping[str, Any]
Row = Mapping[str, Any]

_HEAT_BOUNDS = (0.4, 0.6, 0.75, 0.85, 0.9, 0.95, 0.98)


def overall_table(board: Board, verdict: Verdict) -> Html | None:
    """One row for each controller over all scenarios; None for a board without an overall part."""
    rows: Sequence[Row] = board.get("overall") or ()
    if not rows:
        return None
    axis = _axis(verdict.standings)
    metrics = [m for m in OVERALL if any(row.get(m.key) is not None for row in rows)]
    best = {
        m.key: m.best({r["controller"]: r.get(m.key) for r in rows}, apart=verdict.yardsticks)
        for m in metrics
    }
    head = [
        element("th", "Controller", scope="col", class_="first"),
        metric_heading(SCORE),
        element("td", axis.head()),
        *map(metric_heading, metrics),
        element("th", "Best on ↑", scope="col", data_first="descending"),
    ]
    body = [
        _overall_row(row, standing, axis, metrics, best)
        for row, standing in zip(rows, verdict.standings, strict=True)
    ]
    table = element(
        "table",
        element("caption", "Scores over all scenarios", class_="hidden"),
        element("thead", element("tr", *head)),
        element("tbody", *body),
        class_="sortable",
    )
    note = (
        "↑ more is better, ↓ less is better. Best of a column in bold, yardsticks aside."
        " Bars are intervals; an arrow stands for a score left of the axis. Drift is the median of"
        " how far limits move, either way, where nothing happens to capacity."
    )
    return join(element("h2", "Overall"), element("p", note, class_="lead"), scrolling(table))


def _overall_row(
    row: Row,
    standing: Standing,
    axis: IntervalAxis,
    metrics: Sequence[Metric],
    best: Mapping[str, frozenset[str]],
) -> Html:
    name = standing.controller
    best_on = row.get("best_on")
    place = element("span", f"{standing.place or ''}", class_="place")
    return row_of(
        name,
        controller_cell(
            name,
            is_yardstick=standing.is_yardstick,
            knows_capacity=standing.knows_capacity,
            place=place,
        ),
        metric_cell(SCORE, standing.score, below=standing.interval, classes="score"),
        element("td", _drawn(standing, axis)),
        *(
            metric_cell(m, row.get(m.key), classes="best" if name in best[m.key] else None)
            for m in metrics
        ),
        element(
            "td",
            NOTHING if best_on is None else f"{best_on} of {row['scenarios']}",
            data_value="" if best_on is None else best_on,
        ),
    )


def _axis(standings: Sequence[Standing]) -> IntervalAxis:
    """An axis on which the better half can be told apart; a far last one would squeeze them."""
    scored = [standing for standing in standings if standing.score is not None]
    better = scored[: (len(scored) + 1) // 2]
    ends = [end for s in better for end in (s.score, s.low, s.high) if end is not None]
    return IntervalAxis.around(ends)


def _drawn(standing: Standing, axis: IntervalAxis) -> Html | None:
    if standing.score is None:
        return None
    return axis.mark(standing.score, standing.low, standing.high)


def matrix_table(board: Board, verdict: Verdict, controllers: Sequence[str]) -> Html | None:
    """Scores of controllers on scenarios, with a filter; None without, or with but one."""
    scenarios: Sequence[Mapping[str, Any]] = board["scenarios"]
    scored = any(r.get("score") is not None for one in scenarios for r in one["results"])
    if len(scenarios) < 2 or not scored:
        return None
    head = [element("th", "Scenario", scope="col", class_="first wrap")]
    head += [
        element("th", name, scope="col", data_first="descending", class_="wrap")
        for name in controllers
    ]
    body = [_matrix_row(scenario, controllers, verdict.yardsticks) for scenario in scenarios]
    table = element(
        "table",
        element("caption", "Score of each controller on each scenario", class_="hidden"),
        element("thead", element("tr", *head)),
        element("tbody", *body),
        class_="sortable matrix",
    )
    search = element("input", type="search", data_filter=True, placeholder="name or group")
    count = f"{len(scenarios)} scenarios"
    tools = element(
        "div",
        element("label", "Filter ", search),
        element("output", count, data_filter_count=True, aria_live="polite"),
        class_="tools",
        hidden=True,
    )
    note = (
        "★ best of the row, yardsticks aside; ✗ an expectation not met or a rule violated."
        " A heading sorts by its column, a name opens the scenario."
    )
    return join(
        element("h2", "Scenarios by controller"),
        element("p", note, class_="lead"),
        tools,
        scrolling(table),
        _heat_scale(),
    )


def _matrix_row(
    scenario: Mapping[str, Any], controllers: Sequence[str], yardsticks: frozenset[str]
) -> Html:
    results = {result["controller"]: result for result in scenario["results"]}
    scores = {name: results.get(name, {}).get("score") for name in controllers}
    best = SCORE.best(scores, apart=yardsticks)
    cells = []
    for name, score in scores.items():
        classes = [] if score is None else [f"h{bisect_right(_HEAT_BOUNDS, score)}"]
        classes += ["best"] if name in best else []
        classes += ["failed"] if name in results and _has_failed(results[name]) else []
        cells.append(metric_cell(SCORE, score, classes=" ".join(classes) or None))
    group = scenario.get("group")
    link = scenario_link(scenario["name"], title_of(scenario))
    label = element("small", group) if group else None
    head = element("th", link, label and " ", label, scope="row", class_="first wrap")
    return element("tr", head, *cells, data_find=find_text(scenario))


def _has_failed(result: Mapping[str, Any]) -> bool:
    expectations = result.get("expectations") or ()
    return bool(result.get("violations")) or not all(e["is_met"] for e in expectations)


def _heat_scale() -> Html:
    texts = [f"below {_HEAT_BOUNDS[0]}", *(f"{bound} and up" for bound in _HEAT_BOUNDS)]
    items = (element("li", text, class_=f"h{i}") for i, text in enumerate(texts))
    return element("ul", *items, class_="scale", aria_label="Colours of scores")
