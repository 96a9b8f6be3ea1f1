"""The part of the scoreboard page about single scenarios: a section that opens, for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from shedproxy.cli.charts.markup import Html, element, join
from shedproxy.cli.charts.panel import panel_markup
from shedproxy.cli.scoreboard_cells import (
    controller_cell,
    find_text,
    metric_cell,
    metric_heading,
    row_of,
    scrolling,
    title_of,
)
from shedproxy.cli.scoreboard_figures import figures_table
from shedproxy.cli.scoreboard_margin import excess_table
from shedproxy.cli.scoreboard_metrics import (
    METRICS,
    SCORE,
    Metric,
    show_percent,
    show_plain,
    show_score,
)
from shedproxy.cli.scoreboard_series import series_panel
from shedproxy.cli.scoreboard_verdict import (
    OURS,
    by_score,
    score_interval,
    show_actual,
)

__all__ = ["scenario_sections"]

Scenario = Mapping[str, Any]


def scenario_sections(
    scenarios: Sequence[Scenario], controllers: Sequence[str], yardsticks: frozenset[str]
) -> Html:
    """All scenarios by group, in the order in which groups first come; a single one is open.

    Args:
        scenarios: of a board.
        controllers: in the order in which they get their colours; ours always has the accent.
        yardsticks: controllers that are shown and not compared.
    """
    groups = list(dict.fromkeys(_group(scenario) for scenario in scenarios))
    ordered = sorted(scenarios, key=lambda scenario: groups.index(_group(scenario)))
    hues = {name: hue for hue, name in enumerate([OURS, *(c for c in controllers if c != OURS)])}
    is_open = len(scenarios) == 1
    return join(
        *(
            element(
                "div",
                element("h3", group) if group else None,
                *(_section(scenario, hues, yardsticks, is_open=is_open) for scenario in members),
                data_group=True,
            )
            for group, members in groupby(ordered, key=_group)
        )
    )


def _group(scenario: Scenario) -> str:
    return scenario.get("group") or ""


def _section(
    scenario: Scenario, hues: Mapping[str, int], yardsticks: frozenset[str], *, is_open: bool
) -> Html:
    series = scenario.get("series")
    content = [
        *_text(scenario),
        _facts(scenario),
        _results_table(scenario, yardsticks),
        _expectations(scenario),
        _violations(scenario),
        excess_table(scenario),
        figures_table(scenario) if is_open else None,
    ]
    if series is not None:
        content.append(element("h4", f"Over time, seed {series['seed']}"))
        content.append(panel_markup(series_panel(series, hues)))
    return element(
        "details",
        element("summary", *_summary(scenario, yardsticks)),
        element("div", *content, class_="inside"),
        class_="scenario",
        id=f"scenario-{scenario['name']}",
        data_find=find_text(scenario),
        open=is_open,
    )


def _summary(scenario: Scenario, yardsticks: frozenset[str]) -> list[Html]:
    scores = {r["controller"]: r.get("score") for r in by_score(scenario["results"])}
    rivals = [name for name in scores if name != OURS and name not in yardsticks]
    facts = [
        element("span", f"{label} ", element("b", show_score(scores[name])))
        for label, name in ((OURS, OURS), *((f"best rival {rival}", rival) for rival in rivals[:1]))
        if name in scores
    ]
    name = element("code", scenario["name"], class_="name") if scenario.get("title") else None
    return [
        element("span", title_of(scenario), class_="title"),
        *([name] if name else []),
        element("span", *facts, *_badges(scenario), class_="facts"),
    ]


def _badges(scenario: Scenario) -> list[Html]:
    badges = []
    met = [
        expectation["is_met"]
        for result in scenario["results"]
        for expectation in result.get("expectations") or ()
    ]
    if met:
        words = f"{'✓' if all(met) else '✗'} {sum(met)} of {len(met)} met"
        badges.append(element("span", words, class_=f"badge {'good' if all(met) else 'bad'}"))
    count = sum(len(result.get("violations") or ()) for result in scenario["results"])
    if count:
        words = f"✗ {count} violation{'s' if count > 1 else ''}"
        badges.append(element("span", words, class_="badge bad"))
    return badges


def _text(scenario: Scenario) -> list[Html]:
    explanation, source = scenario.get("explanation"), scenario.get("source")
    return [
        *([element("p", explanation)] if explanation else []),
        *([element("p", f"From: {source}", class_="muted")] if source else []),
    ]


def _facts(scenario: Scenario) -> Html:
    oracle = scenario.get("oracle") or {}
    facts = (
        ("Length", scenario.get("duration_s"), show_plain, " s"),
        ("True capacity", scenario.get("true_capacity_rps"), show_plain, "/s"),
        ("Oracle's goodput", oracle.get("goodput_rps"), show_plain, "/s"),
        ("Oracle's p99", oracle.get("p99_ms"), show_plain, " ms"),
        ("Oracle refuses", oracle.get("refused_ratio"), show_percent, ""),
    )
    pairs = [
        element("div", element("dt", f"{label} "), element("dd", f"{show(value)}{unit}"))
        for label, value, show, unit in facts
        if value is not None
    ]
    return element("dl", *pairs, class_="pairs")


def _results_table(scenario: Scenario, yardsticks: frozenset[str]) -> Html:
    results = by_score(scenario["results"])
    metrics = [m for m in METRICS if any(r.get(m.key) is not None for r in results)]
    best = {
        m.key: m.best({r["controller"]: _pair(r, m)[0] for r in results}, apart=yardsticks)
        for m in metrics
    }
    rows = []
    for result in results:
        name = result["controller"]
        cells = [
            controller_cell(
                name,
                is_yardstick=name in yardsticks,
                knows_capacity=bool(result.get("knows_capacity")),
            ),
            metric_cell(SCORE, result.get("score"), below=score_interval(result), classes="score"),
        ]
        for metric in metrics:
            median, worst = _pair(result, metric)
            classes = "best" if name in best[metric.key] else None
            cells.append(metric_cell(metric, median, worst=worst, classes=classes))
        rows.append(row_of(name, *cells))
    head = [
        element("th", "Controller", scope="col", class_="first"),
        metric_heading(SCORE),
        *map(metric_heading, metrics),
    ]
    table = element(
        "table",
        element("caption", f"Results of {scenario['name']}", class_="hidden"),
        element("thead", element("tr", *head)),
        element("tbody", *rows),
        class_="sortable",
    )
    note = "Medians over the seeds; below, the worst seed where it differs. Best median in bold."
    return join(scrolling(table), element("p", note, class_="hint"))


def _pair(result: Mapping[str, Any], metric: Metric) -> tuple[float | None, float | None]:
    pair = result.get(metric.key)
    return (None, None) if pair is None else (pair.get("median"), pair.get("worst"))


def _expectations(scenario: Scenario) -> Html | None:
    rows = []
    for result in by_score(scenario["results"]):
        for expectation in result.get("expectations") or ():
            is_met = expectation["is_met"]
            verdict = "✓ met" if is_met else "✗ not met"
            rows.append(
                element(
                    "tr",
                    element("th", result["controller"], scope="row"),
                    element("td", element("code", expectation["text"]), class_="text wrap"),
                    element("td", show_actual(expectation.get("actual"))),
                    element("td", verdict, class_=None if is_met else "bad"),
                )
            )
    if not rows:
        return None
    head = ("Controller", "Expected", "Measured", "")
    columns = [
        element("th", text, scope="col", class_="text" if text == "Expected" else None)
        for text in head
    ]
    table = element(
        "table",
        element("caption", f"Expectations of {scenario['name']}", class_="hidden"),
        element("thead", element("tr", *columns)),
        element("tbody", *rows),
        class_="compact",
    )
    return join(element("h4", "Expectations"), scrolling(table))


def _violations(scenario: Scenario) -> Html | None:
    items = [
        element("li", element("b", result["controller"]), f": {violation}")
        for result in scenario["results"]
        for violation in result.get("violations") or ()
    ]
    if not items:
        return None
    return join(element("h4", "Violations"), element("ul", *items, class_="findings"))
