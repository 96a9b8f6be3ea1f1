"""What the command says of a case."""

from __future__ import annotations

import argparse

from loadtests.drift import DAY, Told, alarms, drift


def test_a_case_is_good_without_a_false_alarm_and_with_one_in_time() -> None:
    assert Told("constant", "0.6", 1, 0, 290.0).is_good
    assert not Told("constant", "0.6", 1, 0, 310.0).is_good
    assert not Told("constant", "0.6", 1, 0, None).is_good
    assert not Told("constant", "0.6", 1, 2, 100.0).is_good


def test_a_day_of_changing_load_is_no_drift() -> None:
    assert alarms(DAY, hours=0.3, law="constant") == []


def test_the_command_prints_a_line_a_case_and_what_holds(capsys) -> None:
    chosen = argparse.Namespace(
        laws=["constant"], loads=["0.3"], seeds=1, hours=0.2, processes=1, limit=5
    )
    assert drift(chosen, argparse.ArgumentParser()) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert "0 alarms; 30 % slower: told after" in lines[0]
    assert lines[1] == "1 of 1 cases hold"
