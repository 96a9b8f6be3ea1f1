"""CSV files as Locust 2.47 wrote them, of a station of 4 slots of 20 ms, by 1, 4 and 16 users."""

from __future__ import annotations

import pytest
from harness.load_files import load_file

from shedproxy.calibration.imports.load_record import Loop
from shedproxy.calibration.imports.locust_csv import locust_csv_kind, read_locust_csv
from shedproxy.calibration.imports.source_text import SourceText
from shedproxy.errors import DocumentInvalidError

STATS, HISTORY, FAILURES = "locust_stats.csv", "locust_stats_history.csv", "locust_failures.csv"


def test_totals_and_routes_come_from_the_stats() -> None:
    record = read_locust_csv([load_file(STATS)])
    assert record.total.request_count == 6179
    assert record.total.latency.at(0.99) == 80_000_000
    assert [route.name for route in record.routes] == ["GET /", "GET /item"]
    assert record.length_ns == pytest.approx(42.0e9, rel=0.01)
    assert record.loop is Loop.CLOSED


def test_levels_come_from_the_history() -> None:
    """Throughput, mean and Little's law for each level, from differences of the totals."""
    points = read_locust_csv([load_file(HISTORY)]).points
    assert [point.users for point in points] == [1.0, 4.0, 16.0]
    assert [point.throughput_rps for point in points] == pytest.approx([48.6, 193.1, 200.0], abs=1)
    assert [point.in_flight for point in points] == pytest.approx([1.0, 4.0, 16.0], abs=0.1)
    assert [point.latency.at(0.5) for point in points] == [21_000_000, 21_000_000, 80_000_000]


def test_without_the_full_history_percentiles_are_of_the_whole_run_and_left_out() -> None:
    lines = load_file(HISTORY).lines
    totals = "\n".join(line for line in lines if ",Aggregated," in line or "Timestamp" in line)
    points = read_locust_csv([SourceText("h.csv", totals)]).points
    assert [point.users for point in points] == [1.0, 4.0, 16.0]
    assert all(point.latency.percentiles == () for point in points)


def test_users_that_ramp_are_no_level() -> None:
    head, *rows = load_file(HISTORY).lines
    totals = [row.split(",") for row in rows if ",Aggregated," in row]
    ramp = [
        ",".join([cells[0], str(10 * 2**at), *cells[2:]]) for at, cells in enumerate(totals[:20])
    ]
    record = read_locust_csv([SourceText("h.csv", "\n".join([head, *ramp]))])
    assert record.points == ()
    assert record.total.request_count == 1639


def test_failures_are_counted_by_kind() -> None:
    text = load_file(FAILURES).text + 'GET,/,"HTTPError(503, ""busy"")",12,,\n'
    record = read_locust_csv([load_file(STATS), SourceText(FAILURES, text)])
    assert [(error.name, error.count) for error in record.errors] == [
        ('GET / HTTPError(503, "busy")', 12)
    ]


def test_each_file_is_known_by_its_head() -> None:
    kinds = [locust_csv_kind(load_file(name)) for name in (STATS, HISTORY, FAILURES)]
    assert kinds == ["stats", "history", "failures"]
    assert locust_csv_kind(SourceText("a.csv", "time,value\n1,2\n")) is None
    assert locust_csv_kind(SourceText("a.csv", "")) is None


@pytest.mark.parametrize(
    ("sources", "said", "line"),
    [
        ([load_file(STATS), load_file(STATS)], "a second stats file", 0),
        ([load_file(FAILURES)], "failures alone", 0),
        ([load_file(STATS, instead=(",6179,", ",many,"))], "Request Count is 'many'", 4),
        ([load_file(STATS, instead=(",6179,", ","))], "columns was expected", 4),
        ([load_file(STATS, instead=(",6179,", ",0,"))], "no request in it", 0),
        ([SourceText("a.csv", "time,value\n1,2\n")], "not a CSV file of Locust", 1),
    ],
)
def test_damage_is_named_with_its_line(sources: list[SourceText], said: str, line: int) -> None:
    with pytest.raises(DocumentInvalidError) as caught:
        read_locust_csv(sources)
    problem = caught.value.problems[0]
    assert said in problem.message
    assert problem.line == line
