"""A log of three intervals of 500 exponential values each, as HdrHistogram writes it."""

from __future__ import annotations

import builtins
from typing import Any

import pytest
from harness.load_files import load_file

from shedproxy.calibration.imports.histogram_log import is_histogram_log, read_histogram_log
from shedproxy.calibration.imports.source_text import SourceText
from shedproxy.errors import DocumentInvalidError, StartupError

LOG = "histogram.hlog"


def test_intervals_are_points_and_add_up() -> None:
    record = read_histogram_log(load_file(LOG))
    assert record.version == "1.3"
    assert [point.throughput_rps for point in record.points] == [500.0] * 3
    assert record.total.request_count == 1500
    assert record.total.rate_rps == 500.0
    assert record.total.latency.at(0.5) == pytest.approx(14.48e6, rel=0.002)
    assert record.total.latency.at(0.99) == pytest.approx(88.5e6, rel=0.002)
    assert sum(count for _, count in record.histogram) == 1500


def test_the_unit_is_taken_as_nanoseconds_and_that_is_said() -> None:
    assert "nanoseconds" in read_histogram_log(load_file(LOG)).notes[0]
    named = read_histogram_log(load_file(LOG), unit="us")
    assert named.total.latency.at(0.5) == pytest.approx(14.48e9, rel=0.002)


def test_it_is_known_by_its_head_or_its_first_line() -> None:
    assert is_histogram_log(load_file(LOG))
    data = load_file(LOG).lines[-1]
    assert is_histogram_log(SourceText("a", data))
    assert not is_histogram_log(SourceText("a", "1,2,3,4\n"))


@pytest.mark.parametrize(("old", "new", "said"), [
    ("HIST", "TSIH", "cannot be decoded"),
    ("2.000,1.000", "2.000", "not a line of start"),
    ("2.000,1.000", "2.000,1.0.0", "a length is '1.0.0'"),
    ("2.000,1.000", "1.2.3,1.000", "a start is '1.2.3'"),
])  # fmt: skip
def test_damage_is_named_with_its_line(old: str, new: str, said: str) -> None:
    lines = load_file(LOG).lines
    damaged = [*lines[:-1], lines[-1].replace(old, new)]
    with pytest.raises(DocumentInvalidError) as caught:
        read_histogram_log(SourceText(LOG, "\n".join(damaged)))
    assert said in caught.value.problems[0].message
    assert caught.value.problems[0].line == len(lines)


def test_a_log_of_nothing_is_refused() -> None:
    with pytest.raises(DocumentInvalidError, match="without a single value"):
        read_histogram_log(SourceText(LOG, "\n".join(load_file(LOG).lines[:3])))


def test_without_the_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith("hdrh"):
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(StartupError, match=r"shedproxy\[calibrate\]"):
        read_histogram_log(load_file(LOG))
