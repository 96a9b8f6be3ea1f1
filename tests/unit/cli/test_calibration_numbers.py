"""Numbers are short, and say their interval."""

from __future__ import annotations

import pytest

from shedproxy.calibration.results import Interval
from shedproxy.cli.calibration_numbers import (
    count_cell,
    interval_cell,
    ms_cell,
    number_cell,
    percent_cell,
    show_interval,
    show_length,
    show_number,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"), (0.0, "0"), (0.00012, "0.00012"), (0.0123, "0.012"), (1.0, "1"),
        (9.876, "9.88"), (98.76, "98.8"), (500.0, "500"), (1234.5, "1,234"), (-2.5, "-2.5"),
    ],
)  # fmt: skip
def test_digits_follow_the_size(value: float | None, text: str) -> None:
    assert show_number(value) == text


@pytest.mark.parametrize(
    ("length_ns", "text"),
    [
        (None, "-"), (1_500_000, "1.5 ms"), (3e9, "3 s"), (180e9, "3 min"), (7_200e9, "2 h"),
        (30 * 86_400e9, "30 days"),
    ],
)  # fmt: skip
def test_lengths_have_the_unit_that_suits_them(length_ns: float | None, text: str) -> None:
    assert show_length(length_ns) == text


def test_an_interval_is_shown_with_its_ends() -> None:
    interval = Interval(value=20e6, low=19e6, high=21e6)
    assert show_interval(interval, scale=1e-6) == "20 (19 to 21)"
    assert show_interval(None) == "-"
    assert interval_cell(interval, scale=1e-6).value == pytest.approx(20)


def test_cells_carry_what_they_show() -> None:
    assert (count_cell(1234).text, count_cell(1234).value) == ("1,234", 1234)
    assert (ms_cell(1_500_000).text, ms_cell(1_500_000).value) == ("1.5", 1.5)
    assert (percent_cell(0.97).text, percent_cell(0.97).value) == ("97%", 0.97)
    assert number_cell(2.0).value == 2.0
    assert [cell(None).text for cell in (count_cell, ms_cell, percent_cell, number_cell)] == [
        "-"
    ] * 4
