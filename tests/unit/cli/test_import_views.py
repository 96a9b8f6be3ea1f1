"""Other tools' load tests, shown."""

from __future__ import annotations

import random

import pytest
from harness.load_files import FILES, load_file
from harness.pages import Page

from shedproxy.calibration.imports.appraisal import Appraisal, appraise
from shedproxy.calibration.imports.reading import read_records
from shedproxy.cli.import_views import (
    appraisal_as_markdown,
    appraisal_tables,
    headline_of,
    render_appraisals,
)


def appraisals(*names: str) -> list[Appraisal]:
    records = read_records([load_file(name) for name in names])
    return [appraise(record, rng=random.Random(1)) for record in records]


def test_the_headline_says_the_most_that_can_be_said() -> None:
    (locust,) = appraisals("locust_stats.csv", "locust_stats_history.csv")
    assert headline_of(locust) == "Locust: 200 answers/s, from about 4.11 in flight on"
    (wrk,) = appraisals("wrk.txt")
    assert headline_of(wrk) == "wrk: no capacity can be read off this"


def test_a_page_has_a_section_a_run_with_charts_where_there_is_a_curve() -> None:
    runs = appraisals("locust_stats.csv", "locust_stats_history.csv", "hey.txt")
    page = Page(render_appraisals(runs, version="1.2.3"))
    assert "Locust: 200" in page.text and "hey: no capacity" in page.text
    assert len(page.data) == 3, "percentiles of both, and the levels of one"
    assert page.tables["Levels of load"][1][:3] == ["1 user", "0.999", "48.6"]


@pytest.mark.parametrize("name", sorted(file.name for file in FILES.iterdir()))
def test_every_kind_of_file_is_shown_both_ways(name: str) -> None:
    if name == "locust_failures.csv":
        runs = appraisals(name, "locust_stats.csv")
    else:
        runs = appraisals(name)
    page = Page(render_appraisals(runs, version="1"))
    for table in appraisal_tables(runs[0]).values():
        assert page.tables[table.title][0] == list(table.columns)
        assert table.title in appraisal_as_markdown(runs[0])
