"""The page of `shedproxy simulate --html`: verdict, scoreboard, matrix, scenarios, method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from shedproxy.cli.charts.markup import Html, element, join
from shedproxy.cli.charts.page import render_page
from shedproxy.cli.scoreboard_cells import scenario_link, title_of
from shedproxy.cli.scoreboard_margin import margin_table
from shedproxy.cli.scoreboard_metrics import NOTHING, show_count, show_percent, show_score
from shedproxy.cli.scoreboard_scenarios import scenario_sections
from shedproxy.cli.scoreboard_tables import matrix_table, overall_table
from shedproxy.cli.scoreboard_verdict import OURS, Finding, Loss, Verdict, read_verdict

__all__ = ["render_scoreboard"]

Board = Mapping[str, Any]

_SCENARIOS = "Scenarios"
_MOST_FINDINGS = 12
_MOST_LOSSES = 8


def render_scoreboard(board: Board) -> str:
    """A self-contained HTML page that shows a board (schema 1), for a browser without a network."""
    verdict = read_verdict(board)
    controllers = _controllers(board, verdict)
    sections = {
        "Verdict": _verdict(board, verdict),
        "Overall": overall_table(board, verdict),
        "Margin to the best": margin_table(board),
        "Scenarios by controller": matrix_table(board, verdict, controllers),
        _SCENARIOS: _scenarios(board, verdict, controllers),
        "Method": _method(board),
    }
    shown = {name: section for name, section in sections.items() if section is not None}
    title = _title(board)
    links = [element("li", element("a", name, href=f"#{_anchor(name)}")) for name in shown]
    header = join(
        element("h1", title),
        element("p", f"{board['tool']}, version {board['version']}", class_="about"),
        element("nav", element("ul", *links[1:], class_="links"), aria_label="Sections"),
    )
    body = [
        element("section", section, id=_anchor(name), class_=None if name == _SCENARIOS else "card")
        for name, section in shown.items()
    ]
    footer = f"Made by {board['tool']} {board['version']}. One file, no network."
    return render_page(title=title, header=header, body=join(*body), footer=footer)


def _title(board: Board) -> str:
    scenarios = board["scenarios"]
    if len(scenarios) == 1:
        return title_of(scenarios[0])
    return "Scoreboard of overload controllers"


def _anchor(name: str) -> str:
    return name.lower().replace(" ", "-")


def _controllers(board: Board, verdict: Verdict) -> list[str]:
    """In the order of the overall score, then as they come."""
    names = [standing.controller for standing in verdict.standings]
    names += [r["controller"] for scenario in board["scenarios"] for r in scenario["results"]]
    return list(dict.fromkeys(names))


def _verdict(board: Board, verdict: Verdict) -> Html:
    return join(
        element("h2", "Verdict", class_="hidden"),
        element("p", verdict.headline, class_="headline"),
        *(element("p", remark, class_="lead") for remark in verdict.remarks),
        _tiles(board, verdict),
        element(
            "div",
            _findings("Expectations not met", verdict.failures),
            _findings("Violations", verdict.violations),
            _losses(verdict.losses, verdict.compared_count),
            class_="columns",
        ),
    )


def _tiles(board: Board, verdict: Verdict) -> Html:
    tiles = [_tile("Scenarios", f"{len(board['scenarios'])}")]
    if (generated := board.get("generated")) is not None:
        tiles.append(_tile("Generated", f"{generated['count']}", f"seed {generated['seed']}"))
    if seeds := board.get("seeds"):
        tiles.append(_tile("Seeds", f"{len(seeds)}"))
    ours = _ours(board)
    if ours is not None and ours.get("best_on") is not None:
        tiles.append(_tile(f"{OURS} is best on", f"{ours['best_on']}", f"of {ours['scenarios']}"))
    met, count = verdict.met_count, verdict.expectation_count
    if count:
        tiles.append(_tile("Expectations met", f"{met}", f"of {count}", is_bad=met < count))
    violations = len(verdict.violations)
    if violations or verdict.is_checked:
        tiles.append(_tile("Violations", f"{violations}", is_bad=violations > 0))
    else:
        tiles.append(_tile("Violations", NOTHING, "without --check"))
    return element("dl", *tiles, class_="tiles")


def _tile(label: str, value: str, more: str = "", *, is_bad: bool = False) -> Html:
    value = f"✗ {value}" if is_bad else value
    small = element("small", f" {more}") if more else None
    term = element("dt", label)
    return element("div", term, element("dd", value, small, class_="bad" if is_bad else None))


def _ours(board: Board) -> Mapping[str, Any] | None:
    rows: Sequence[Mapping[str, Any]] = board.get("overall") or ()
    return next((row for row in rows if row["controller"] == OURS), None)


def _findings(title: str, findings: Sequence[Finding]) -> Html | None:
    items = [
        element(
            "li",
            scenario_link(finding.scenario, finding.title),
            f": {finding.controller}, {finding.text}",
        )
        for finding in findings
    ]
    return _listing(f"{title}: {len(items)}", items, _MOST_FINDINGS)


def _losses(losses: Sequence[Loss], count: int) -> Html | None:
    items = [
        element(
            "li",
            scenario_link(loss.scenario, loss.title),
            f": {show_score(loss.ours)}, {loss.best} {show_score(loss.best_score)}",
        )
        for loss in losses
    ]
    return _listing(f"Another beats {OURS}: {len(items)} of {count}", items, _MOST_LOSSES)


def _listing(title: str, items: Sequence[Html], most: int) -> Html | None:
    """A list with a heading; what is over `most` is behind a line to open."""
    if not items:
        return None
    rest = items[most:]
    more = element(
        "details",
        element("summary", f"{len(rest)} more"),
        element("ul", *rest, class_="findings"),
    )
    return element(
        "div",
        element("h3", title),
        element("ul", *items[:most], class_="findings"),
        more if rest else None,
    )


def _scenarios(board: Board, verdict: Verdict, controllers: Sequence[str]) -> Html:
    return join(
        element("h2", _SCENARIOS),
        element("p", "Each opens to its table, expectations and charts over time.", class_="lead"),
        scenario_sections(board["scenarios"], controllers, verdict.yardsticks),
    )


def _method(board: Board) -> Html:
    scoring = board.get("scoring") or {}
    rules = [element("li", rule) for rule in scoring.get("rules") or ()]
    weights = [
        element("tr", element("th", name, scope="row"), element("td", show_percent(weight)))
        for name, weight in (scoring.get("weights") or {}).items()
    ]
    generated = board.get("generated")
    facts = {
        "Seeds": ", ".join(str(seed) for seed in board.get("seeds") or ()),
        "Generated scenarios": ""
        if generated is None
        else f"{show_count(generated['count'])}, seed {generated['seed']}",
        "Version": str(board["version"]),
        "Python": str(board.get("python") or ""),
    }
    pairs = [
        element("div", element("dt", f"{label} "), element("dd", text))
        for label, text in facts.items()
        if text
    ]
    note = None if generated is None else generated.get("note")
    return join(
        element("h2", "Method"),
        element("ul", *rules, class_="rules") if rules else None,
        element("h3", "Weights") if weights else None,
        element("table", element("tbody", *weights), class_="compact") if weights else None,
        element("h3", "To reproduce"),
        element("pre", board["command"]),
        element("dl", *pairs, class_="pairs"),
        element("p", note) if note else None,
    )
