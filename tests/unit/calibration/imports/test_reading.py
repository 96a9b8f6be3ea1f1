"""Any file is known by what is in it."""

from __future__ import annotations

import pytest
from harness.load_files import FILES, load_file

from shedproxy.calibration.imports.load_record import Loop
from shedproxy.calibration.imports.reading import read_records
from shedproxy.calibration.imports.source_text import SourceText
from shedproxy.errors import DocumentInvalidError

TOOLS = {
    "histogram.hlog": "HdrHistogram log", "hey.txt": "hey", "k6_export.json": "k6",
    "k6_handle_summary.json": "k6", "k6_machine_readable.json": "k6", "locust.json": "Locust",
    "locust_stats.csv": "Locust", "locust_stats_history.csv": "Locust",
    "spectrum.hgrm": "HdrHistogram", "wrk.txt": "wrk", "wrk2.txt": "wrk2",
}  # fmt: skip


@pytest.mark.parametrize("name", TOOLS)
def test_the_tool_is_recognised(name: str) -> None:
    (record,) = read_records([load_file(name)])
    assert record.tool == TOOLS[name]
    assert record.files == (name,)


def test_no_file_is_left_untested() -> None:
    assert {file.name for file in FILES.iterdir()} == {*TOOLS, "locust_failures.csv"}


def test_the_csv_files_of_locust_are_one_run_and_others_are_their_own() -> None:
    names = ["locust_stats.csv", "wrk.txt", "locust_stats_history.csv", "locust_failures.csv"]
    records = read_records([load_file(name) for name in names])
    assert [record.tool for record in records] == ["Locust", "wrk"]
    assert len(records[0].files) == 3


def test_the_loop_may_be_told() -> None:
    assert read_records([load_file("wrk.txt")], loop=Loop.OPEN)[0].loop is Loop.OPEN


@pytest.mark.parametrize("text", ["", "  \n", "hello\n", "{}", "[1]", "a,b\n1,2\n"])
def test_what_is_of_no_known_tool_is_refused(text: str) -> None:
    with pytest.raises(DocumentInvalidError) as caught:
        read_records([SourceText("x", text)])
    assert caught.value.problems[0].source == "x"
