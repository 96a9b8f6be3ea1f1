"""What is bad is stopped where it begins, what is harmless goes everywhere."""

from __future__ import annotations

import argparse
import random

import pytest

from loadtests.bad_policies import broken_promises, promote_kind, run
from loadtests.policies import BAD, BASE, GOOD, edited
from loadtests.promoted_fleet import End
from shedproxy.controlplane.rollout import Scope
from shedproxy.settings import load_settings


@pytest.mark.parametrize("edit", [*BAD.values(), *GOOD.values()])
def test_every_change_is_one_that_the_settings_allow(edit, tmp_path):
    text = edit(BASE, random.Random(1))
    assert text != BASE
    assert load_settings(tmp_path / "shed.toml", text=text).document


def test_a_part_that_is_not_there_once_is_not_replaced():
    with pytest.raises(ValueError, match="is there 2 times"):
        edited("a a", "a", "b")


@pytest.mark.parametrize("kind", ["limits far too low", "timeout too short"])
def test_a_bad_one_goes_back_from_one_instance_at_once(kind):
    (end,) = promote_kind(kind, BAD[kind], [1], watched_s=10)
    assert not end.is_promoted
    assert end.scope is Scope.INSTANCE
    assert 0 < end.back_after_s <= 10
    assert end.zones_max == 1


def test_what_was_promised_is_compared():
    good, bad = End(is_promoted=True), End(is_promoted=False, cause="errors: many")
    assert broken_promises([bad], [good]) == []
    wide = End(is_promoted=True, zones_max=2)
    slow = End(is_promoted=False, cause="x", back_after_s=11)
    assert broken_promises([wide, slow], [bad]) == [
        "1 of 2 bad ones were stopped at an instance or a cell",
        "going back began 11.0 s after the alarm",
        "1 of 1 good ones were rolled back",
        "2 zones were in flight at once",
    ]


def test_the_command_prints_a_line_a_kind(capsys):
    chosen = argparse.Namespace(
        seeds=1, first=1, only="bad", kind=["limit of bodies too small"], watched=10
    )
    assert run(chosen, argparse.ArgumentParser()) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("limit of bodies too small")
    assert lines[1].endswith("requests over a limit")
    assert "bad: 1 of 1 stopped at one instance or one cell" in lines
