"""Tables of percentiles, as HdrHistogram, wrk2, wrk and hey print them."""

from __future__ import annotations

import pytest
from harness.load_files import load_file

from shedproxy.calibration.imports.load_record import Loop
from shedproxy.calibration.imports.percentile_text import (
    percentile_text_kind,
    read_percentile_text,
)
from shedproxy.calibration.imports.source_text import SourceText
from shedproxy.errors import DocumentInvalidError


@pytest.mark.parametrize(
    ("name", "kind"),
    [("spectrum.hgrm", "hgrm"), ("wrk2.txt", "wrk2"), ("wrk.txt", "wrk"), ("hey.txt", "hey")],
)
def test_each_is_known(name: str, kind: str) -> None:
    assert percentile_text_kind(load_file(name)) == kind


def test_other_text_is_none_of_them() -> None:
    assert percentile_text_kind(SourceText("a.txt", "hello\n")) is None


def test_a_spectrum_is_read_to_its_foot() -> None:
    record = read_percentile_text(load_file("spectrum.hgrm"))
    assert record.total.request_count == 10_000
    assert record.total.latency.mean_ns == 5_102_000
    assert record.total.latency.at(0.99) == 20_479_000
    assert record.total.latency.max_ns == 80_127_000
    assert sum(count for _, count in record.histogram) == 10_000
    assert record.loop is Loop.UNKNOWN


def test_the_unit_is_taken_as_milliseconds_and_that_is_said() -> None:
    assert any("milliseconds" in n for n in read_percentile_text(load_file("spectrum.hgrm")).notes)
    named = read_percentile_text(load_file("spectrum.hgrm"), unit="us")
    assert named.total.latency.at(0.99) == 20_479
    assert named.notes == ()


def test_a_spectrum_with_commas_is_read_too() -> None:
    text = (
        '"Value","Percentile","TotalCount","1/(1-Percentile)"\n1.0,0.5,5,2.0\n2.0,1.0,10,Infinity\n'
    )
    assert read_percentile_text(SourceText("a.csv", text)).total.latency.at(1.0) == 2_000_000


def test_wrk2_counts_from_the_intended_start_and_its_other_table_is_left_out() -> None:
    record = read_percentile_text(load_file("wrk2.txt"))
    assert record.loop is Loop.OPEN
    assert record.total.request_count == 59_998
    assert record.users == 100
    assert record.total.rate_rps == 1999.93
    assert record.total.latency.at(0.5) == 1_090_000
    assert record.total.latency.at(0.99) == 2_170_000
    assert record.length_ns == 30_000_000_000


def test_wrk_is_a_closed_loop_with_its_errors() -> None:
    record = read_percentile_text(load_file("wrk.txt"))
    assert record.loop is Loop.CLOSED
    assert record.total.latency.at(0.99) == 89_640_000
    assert [(error.name, error.count) for error in record.errors] == [
        ("read", 2), ("timeout", 1), ("status neither 2xx nor 3xx", 4),
    ]  # fmt: skip
    assert record.total.failed_count == 7


def test_hey_is_read_with_one_sign_of_percent_or_two() -> None:
    record = read_percentile_text(load_file("hey.txt"))
    assert record.total.request_count == 2000
    assert record.total.latency.at(0.99) == 80_300_000
    assert record.total.failed_count == 10
    once = read_percentile_text(load_file("hey.txt", instead=("% in", "%% in")))
    assert once.total == record.total


def test_hey_prints_a_row_of_nothing_where_it_has_too_few_answers() -> None:
    rows = ("95% in 0.0602 secs", "0% in 0.0000 secs")
    record = read_percentile_text(load_file("hey.txt", instead=rows))
    assert [share for share, _ in record.total.latency.percentiles] == [0.1, 0.5, 0.99]


def test_hey_keeps_a_million_answers_and_counts_them_all() -> None:
    kept = ("[200]\t1990", "[200]\t1000000")
    record = read_percentile_text(load_file("hey.txt", instead=kept))
    # Fewer were asked for than that: nothing was left out.
    assert record.notes == ()
    text = load_file("hey.txt", instead=kept).text.replace("199.5809", "200000.0")
    many = read_percentile_text(SourceText("hey.txt", text))
    assert many.total.request_count == 2_004_200
    assert many.total.latency.mean_ns is None
    assert "hey kept 1000010 of 2004200 answers" in many.notes[0]


@pytest.mark.parametrize(
    ("name", "instead", "said", "line"),
    [
        ("spectrum.hgrm", ("9.215", "x"), "not a row of value", 5),
        ("spectrum.hgrm", ("9.215", "3.215"), "values fall here", 5),
    ],
)
def test_damage_is_named_with_its_line(
    name: str, instead: tuple[str, str], said: str, line: int
) -> None:
    with pytest.raises(DocumentInvalidError) as caught:
        read_percentile_text(load_file(name, instead=instead))
    assert said in caught.value.problems[0].message
    assert caught.value.problems[0].line == line


def test_wrk_without_its_totals_is_none_of_them() -> None:
    assert percentile_text_kind(load_file("wrk.txt", instead=("2003 req", "x req"))) is None


def test_hey_without_its_totals_is_refused() -> None:
    with pytest.raises(DocumentInvalidError, match="totals are missing"):
        read_percentile_text(load_file("hey.txt", instead=("Total:", "Tot:")))


def test_a_run_of_an_hour_and_more_is_read() -> None:
    text = (
        "Running 120m test @ http://127.0.0.1:8080/\n"
        "  2 threads and 100 connections\n"
        "  Thread Stats   Avg      Stdev     Max   +/- Stdev\n"
        "    Latency     1.09ms    0.50ms   1.20h    60.00%\n"
        "  Latency Distribution\n"
        "     50%    1.00ms\n"
        "     99%    1.10h\n"
        "  720000 requests in 2.00h, 1.00MB read\n"
        "Requests/sec:    100.00\n"
    )
    source = SourceText("wrk.txt", text)
    assert percentile_text_kind(source) == "wrk"
    record = read_percentile_text(source)
    assert record.length_ns == 7_200_000_000_000
    assert record.total.latency.mean_ns == 1_090_000
    assert record.total.latency.max_ns == 4_320_000_000_000
    assert record.total.latency.at(0.99) == 3_960_000_000_000


@pytest.mark.parametrize("share", ["0.5.0", "50.0"])
def test_a_percentile_that_is_no_share_is_named(share: str) -> None:
    text = f"Value Percentile TotalCount 1/(1-Percentile)\n1.0 0.25 2 1.3\n2.0 {share} 5 2.0\n"
    with pytest.raises(DocumentInvalidError, match="a percentile is") as caught:
        read_percentile_text(SourceText("a.hgrm", text))
    assert caught.value.problems[0].line == 3


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        ("wrk.txt", "in 10.01s", "in 1.2.3s", "a length of time is '1.2.3'"),
        ("wrk.txt", "    200.11", "    2.0.0", "Requests/sec is '2.0.0'"),
        ("wrk.txt", "99%   89.64ms", "200%   89.64ms", "no 200th percentile"),
        ("wrk.txt", "99%   89.64ms", "99%   9.64ms", "percentile 99 is less than percentile 90"),
        ("wrk.txt", "2003 requests", f"{'9' * 400} requests", "a count is '999"),
        ("hey.txt", "1990 responses", "many responses", "a count is 'many'"),
        ("hey.txt", "0.1212", "0.12.12", "Slowest is '0.12.12'"),
        ("hey.txt", "99% in", "990% in", "no 990th percentile"),
    ],
)
def test_what_was_edited_is_named(name: str, old: str, new: str, said: str) -> None:
    with pytest.raises(DocumentInvalidError) as caught:
        read_percentile_text(load_file(name, instead=(old, new)))
    assert said in caught.value.problems[0].message
