"""Live traffic in a report: a dot for each point, a row for each half octave of load."""

from __future__ import annotations

from dataclasses import replace

from harness.sample_report import sample_calibration

from shedproxy.calibration.results import ObservedLoad
from shedproxy.cli.calibration_page import render_calibration
from shedproxy.cli.observed_views import observed_chart, observed_table
from shedproxy.core import seconds

POINTS = ((1.0, 50.0, 20.0), (1.2, 60.0, 20.0), (4.0, 190.0, 21.0))
CALIBRATION = replace(
    sample_calibration(),
    steps=(),
    observed=ObservedLoad(
        point_count=3, span_ns=seconds(30), upstreams=2, highest_in_flight=4.0, highest_rps=190.0,
        points=POINTS,
    ),
)  # fmt: skip


def test_levels_have_their_points_and_means() -> None:
    table = observed_table(CALIBRATION)
    assert table is not None
    assert [row[1].value for row in table.rows] == [2, 1]
    assert [row[3].value for row in table.rows] == [55.0, 190.0]
    assert observed_table(sample_calibration()) is None


def test_the_page_has_a_part_for_it_and_no_steps() -> None:
    assert "190" in observed_chart(CALIBRATION)
    assert not observed_chart(sample_calibration())
    page = render_calibration(CALIBRATION)
    assert "Live traffic" in page
    assert "Every step" not in page
