"""The proxy's own signals in a report."""

from __future__ import annotations

from dataclasses import replace

import pytest
from harness.sample_report import sample_calibration

from shedproxy.calibration.results import Calibration, ClassCount, ProxySignals
from shedproxy.cli.calibration_page import render_calibration
from shedproxy.cli.signal_views import class_order, run_name, signals_chart, signals_table
from shedproxy.core import milliseconds


def with_signals(cpu_ratio: float | None) -> Calibration:
    base = sample_calibration()
    signals = ProxySignals(
        points=((0.0, 8.0, 8.0, 0.0), (1.0, 12.0, 12.0, 40.0)), cpu_ratio=cpu_ratio,
        loop_lag_max_ns=milliseconds(1.5), queue_wait_mean_ns=milliseconds(20),
        queue_wait_p99_ns=None, memory_bytes=40_000_000,
    )  # fmt: skip
    runs = tuple(replace(run, signals=signals) for run in base.verification)
    return replace(base, verification=runs)


def test_each_run_has_a_row_and_says_who_was_short() -> None:
    calibration = with_signals(0.25)
    table = signals_table(calibration)
    assert table is not None
    assert [row[0].text for row in table.rows] == [
        run_name(run) for run in calibration.verification
    ]
    by_name = {row[0].text: [cell.text for cell in row[1:]] for row in table.rows}
    assert by_name["3 x, on"] == ["25%", "1.5", "8 to 12", "40", "20", "-", "40"]
    assert by_name["3 x, off"][2] == "-", "there is no limit then"
    assert table.note == "The proxy used 25% of a core at most: the service was what was short."
    busy = signals_table(with_signals(0.9))
    assert busy is not None
    assert "it may itself have been what was short" in busy.note


def test_without_signals_nothing_is_claimed() -> None:
    base = sample_calibration()
    runs = tuple(replace(run, signals=None) for run in base.verification)
    blind = replace(base, verification=runs)
    assert signals_table(blind) is None
    assert not signals_chart(blind)
    unknown = signals_table(with_signals(None))
    assert unknown is not None
    assert unknown.note == ""


def test_the_page_draws_the_limit_over_time() -> None:
    page = render_calibration(with_signals(0.25))
    assert "Waiting for a slot" in page
    assert 'data-table="proxy"' in page


@pytest.mark.parametrize(
    ("critical", "says"),
    [(60, "critical was served less than sheddable"), (90, "no class was served a smaller share")],
)
def test_ranks_that_are_turned_round_are_told(critical: int, says: str) -> None:
    def count(name: str, served: int) -> ClassCount:
        return ClassCount(name=name, offered_count=100, served_count=served, refused_count=0)

    base = sample_calibration()
    classes = (count("sheddable", 70), count("critical", critical))
    runs = tuple(replace(run, classes=classes) for run in base.verification)
    assert says in class_order(replace(base, verification=runs))


def test_one_class_has_no_order() -> None:
    base = sample_calibration()
    runs = tuple(replace(run, classes=run.classes[:1]) for run in base.verification)
    assert class_order(replace(base, verification=runs)) == ""
