"""Other objectives and other limits, as tables."""

from __future__ import annotations

from dataclasses import replace

from harness.sample_report import sample_calibration

from shedproxy.cli.calibration_doubts import limits_table, objectives_table


def test_a_looser_objective_is_kept_up_to_a_higher_rate() -> None:
    shown = objectives_table(sample_calibration())
    assert shown is not None
    rates = [row[1].value or 0.0 for row in shown.rows]
    assert rates == sorted(rates)
    assert rates[0] < rates[-1]
    assert shown.rows[2][0].text == "p99 < 250 ms"


def test_the_chosen_limit_is_what_others_are_held_against() -> None:
    shown = limits_table(sample_calibration())
    assert shown is not None
    chosen = next(row for row in shown.rows if row[0].text == "12 (chosen)")
    assert (chosen[3].value, chosen[5].value) == (1.0, 1.0)


def test_without_steps_nothing_is_said() -> None:
    empty = replace(sample_calibration(), steps=())
    assert objectives_table(empty) is None
    assert limits_table(empty) is None
