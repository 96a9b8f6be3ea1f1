"""The page tells the whole calibration; tests/peers opens it in a browser."""

from __future__ import annotations

from dataclasses import replace

import pytest
from harness.pages import Page
from harness.sample_report import sample_calibration

from shedproxy.calibration.comparison import compare
from shedproxy.calibration.results import Calibration, Confidence, Findings, Verdict
from shedproxy.cli.calibration_page import render_calibration
from shedproxy.cli.calibration_tables import TABLES
from shedproxy.cli.comparison_views import comparison_table


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    return sample_calibration()


@pytest.fixture(scope="module")
def page(calibration: Calibration) -> Page:
    return Page(render_calibration(calibration))


def test_the_verdict_comes_first_with_its_doubts(page: Page) -> None:
    parts = ["About 245 requests/s", "confidence high", "Not enough data", "What changes", "Method"]
    places = [page.text.rindex(part) for part in parts]
    assert places == sorted(places)


def test_every_table_is_there_cell_by_cell(page: Page, calibration: Calibration) -> None:
    for name, make in TABLES.items():
        table = make(calibration)
        if name == "observed":
            assert table is None, "this one was played"
            continue
        assert table is not None
        shown = page.tables[table.title]
        assert shown[0] == list(table.columns)
        marks = {"good": "✓ ", "bad": "✗ ", "": ""}
        rows = [
            [row[0].text, *(marks[cell.tone] + cell.text for cell in row[1:])] for row in table.rows
        ]
        assert shown[1:] == rows


def test_sections_are_linked_from_the_head(page: Page) -> None:
    ids = {attributes["id"] for _, attributes in page.elements if "id" in attributes}
    links = [a["href"] for tag, a in page.elements if tag == "a" and (a["href"] or "")[0] == "#"]
    assert {"#throughput", "#latency", "#goodput-off-and-on", "#provenance"} < set(links)
    assert {(link or "")[1:] for link in links} <= ids


def test_six_panels_have_data(page: Page) -> None:
    assert len(page.data) == 6


def test_the_settings_are_there_to_be_copied(page: Page) -> None:
    assert "[cell.default.limit]\ninitial = 12  # capacity" in page.text


def test_a_comparison_has_its_section(calibration: Calibration) -> None:
    table = comparison_table(compare(calibration, sample_calibration(wobble=3)))
    page = Page(render_calibration(calibration, comparison=table))
    assert table.title in page.tables
    assert "Comparison" in page.text


def test_what_is_not_known_leaves_no_section_and_no_chart(calibration: Calibration) -> None:
    empty = replace(
        calibration,
        steps=(),
        findings=Findings(missing=("everything",)),
        thresholds=None,
        verification=(),
        verdict=Verdict(
            confidence=Confidence.INCONCLUSIVE, reasons=("too short",), headline="Not known"
        ),
        provenance=replace(calibration.provenance, stopped_by="Ctrl-C"),
    )
    page = Page(render_calibration(empty))
    assert page.data == []
    assert "Goodput off and on" not in page.text
    assert "Not enough data: everything" in page.text
    assert "Stopped early: Ctrl-C" in page.text
    assert "confidence inconclusive" in page.text


def test_names_of_routes_cannot_become_markup(calibration: Calibration) -> None:
    route = replace(calibration.findings.routes[1], name="GET /<script>alert(1)</script>")
    findings = replace(calibration.findings, routes=(route,))
    html = render_calibration(replace(calibration, findings=findings))
    assert "<script>alert(1)" not in html
    assert "GET /<script>alert(1)</script>" in Page(html).text
