"""Streams and the cost of a refusal in a report."""

from __future__ import annotations

from dataclasses import replace

from harness.sample_report import sample_calibration

from shedproxy.calibration.results import Findings
from shedproxy.cli.beside_views import refusal_table, residents_table
from shedproxy.cli.calibrate_view import refusal_words

CALIBRATION = sample_calibration()
NOTHING = replace(CALIBRATION, findings=Findings())


def test_the_cost_of_a_refusal_says_what_it_bounds() -> None:
    table = refusal_table(CALIBRATION)
    assert table is not None
    assert [row[1].value for row in table.rows][:2] == [100.0, 8.0]
    assert "Best goodput at 10 x" in [row[0].text for row in table.rows]
    assert refusal_table(NOTHING) is None
    refusal = CALIBRATION.findings.refusal
    assert refusal is not None
    words = refusal_words(refusal)
    assert "8 of 100 us" in words
    assert "83% at 3x and 22% at 10x" in words
    assert "up to 46 times the capacity" in words
    assert "times the capacity" not in refusal_words(replace(refusal, full_ratio=None))


def test_every_number_of_streams_is_a_row_and_the_bad_one_says_why() -> None:
    table = residents_table(CALIBRATION)
    assert table is not None
    assert [row[0].value for row in table.rows] == [0, 64, 128]
    assert [row[6].text for row in table.rows] == ["good", "good", "64 broke"]
    assert "sse at /events" in table.note
    assert "40 kB" in table.note
    assert residents_table(NOTHING) is None
