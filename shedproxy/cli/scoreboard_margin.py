"""What a scoreboard says of ours beside the best of the usual algorithms, and of rare refusals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from shedproxy.cli.charts.markup import Html, element, join
from shedproxy.cli.charts.table import Cell, Table, table_markup
from shedproxy.cli.scoreboard_cells import scenario_link, scrolling
from shedproxy.cli.scoreboard_metrics import NOTHING, show_count, show_score

__all__ = ["excess_lines", "excess_table", "margin_lines", "margin_table"]

Board = Mapping[str, Any]
Row = Mapping[str, Any]

_EXCESS = "false_refusal_excess"
_BEYOND = "Refused beyond the same queue at the true limit"


def margin_lines(board: Board) -> Iterator[str]:
    """Against whom and how often within a point; then every scenario where it is more."""
    margin = board.get("margin")
    if margin is None:
        return
    peers = ", ".join(margin["against"])
    yield f"Margin of {margin['of']} to the best of {peers}: {_counted(margin)}"
    if margin["not_run"]:
        yield f"  not run: {', '.join(margin['not_run'])}"
    for row in _beyond(margin):
        yield f"  not within: {row['scenario']}, {_points(row)} to {row['best']}"


def margin_table(board: Board) -> Html | None:
    """The same for the page, with every scenario in a table; None for a board without it."""
    margin = board.get("margin")
    if margin is None:
        return None
    titles = {scenario["name"]: scenario.get("title") for scenario in board["scenarios"]}
    lead = f"{margin['of']} less the best of {', '.join(margin['against'])}: {_counted(margin)}."
    if margin["not_run"]:
        lead += f" Not run: {', '.join(margin['not_run'])}."
    hint = "A point is a hundredth of a score. Intervals resample seeds, in pairs, and the best."
    head = [
        element("th", "Scenario", scope="col", class_="first wrap"),
        *(
            element("th", name, scope="col", data_first=first)
            for name, first in (
                ("Points ↑", "ascending"),
                (margin["of"], "descending"),
                ("Best", "descending"),
                ("Of", "ascending"),
                (f"Within {margin['within_points']:g}", "ascending"),
            )
        ),
    ]
    table = element(
        "table",
        element("caption", "Points to the best of the usual algorithms", class_="hidden"),
        element("thead", element("tr", *head)),
        element("tbody", *(_row(row, titles) for row in margin["rows"])),
        class_="sortable",
    )
    return join(
        element("h2", "Margin to the best"),
        element("p", lead, class_="lead"),
        element("p", hint, class_="hint"),
        scrolling(table),
    )


def excess_lines(scenario: Mapping[str, Any]) -> Iterator[str]:
    """Refusals beyond what the same queue refuses at the true limit: a heading, then a line each.

    Nothing where nobody has them.
    """
    rows = [
        (name, f"{_excess(found)}{between}", f"of {show_count(found['requests'])} requests")
        for name, found in _excesses(scenario)
        for between in (f" ({_between(found)})" if _between(found) else "",)
    ]
    if not rows:
        return
    yield f"{_BEYOND}, all seeds together:"
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for name, value, of in rows:
        yield f"  {name:{widths[0]}}  {value:{widths[1]}}  {of:>{widths[2]}}"


def excess_table(scenario: Mapping[str, Any]) -> Html | None:
    """The same for the page, to be opened; None where nobody has them."""
    rows = [
        (
            Cell(name),
            Cell(_excess(found), found["value"]),
            Cell(_between(found) or NOTHING, found["low"] or 0.0),
            Cell(show_count(found["requests"]), found["requests"]),
        )
        for name, found in _excesses(scenario)
    ]
    if not rows:
        return None
    columns = ("Controller", "Beyond", "95 % interval", "Requests")
    table = Table(title=f"{_BEYOND}: {scenario['name']}", columns=columns, rows=rows)
    return element(
        "details",
        element("summary", f"{_BEYOND}, all seeds together"),
        table_markup(table, name=f"excess-{scenario['name']}"),
    )


def _excesses(scenario: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for result in scenario["results"]:
        found = (result.get("pooled") or {}).get(_EXCESS)
        if found is not None:
            yield result["controller"], found


def _excess(found: Mapping[str, Any]) -> str:
    return f"{100 * found['value']:+.4f} %"


def _between(found: Mapping[str, Any]) -> str:
    if found["low"] is None:
        return ""
    return f"{100 * found['low']:+.4f} to {100 * found['high']:+.4f}"


def _counted(margin: Mapping[str, Any]) -> str:
    kinds = [
        f"{margin[kind]['within']} of {margin[kind]['scenarios']} {kind} scenarios"
        for kind in ("named", "generated")
        if margin[kind]["scenarios"]
    ]
    return f"within {margin['within_points']:g} point on {' and '.join(kinds)}"


def _beyond(margin: Mapping[str, Any]) -> Sequence[Row]:
    return [row for row in margin["rows"] if not row["is_within"]]


def _points(row: Row) -> str:
    if row["low"] is None:
        return f"{row['points']:+.1f} points"
    return f"{row['points']:+.1f} points ({row['low']:+.1f} to {row['high']:+.1f})"


def _row(row: Row, titles: Mapping[str, str | None]) -> Html:
    name = row["scenario"]
    below = f"{row['low']:+.1f} to {row['high']:+.1f}" if row["low"] is not None else None
    verdict = "✓" if row["is_within"] else "✗ no"
    return element(
        "tr",
        element(
            "th", scenario_link(name, titles.get(name) or name), scope="row", class_="first wrap"
        ),
        element(
            "td",
            f"{row['points']:+.1f}",
            element("small", below) if below else None,
            data_value=f"{row['points']:.4f}",
        ),
        element("td", show_score(row["ours_score"]), data_value=f"{row['ours_score']:.4f}"),
        element("td", show_score(row["best_score"]), data_value=f"{row['best_score']:.4f}"),
        element("td", row["best"] or NOTHING),
        element("td", verdict, class_=None if row["is_within"] else "bad"),
    )
