"""A plan that is run, interrupted and gone on with."""

from __future__ import annotations

import random

import pytest
from harness.calibrations import a_plan

from shedproxy.calibration.rehearsal import StationPlayer
from shedproxy.calibration.run import Measured, run_plan
from shedproxy.core import milliseconds
from shedproxy.workload import StationSchedule


def a_player() -> StationPlayer:
    return StationPlayer(
        lambda: StationSchedule(slots=4, law=lambda: milliseconds(20)),
        rng=random.Random,
        deadline_ns=a_plan().deadline_ns,
    )


def test_what_was_measured_before_an_interruption_is_kept_and_gone_on_with() -> None:
    measured = Measured()
    player = a_player()

    def play(order):
        if len(measured.steps) == 6:
            raise KeyboardInterrupt
        return player.play(order)

    with pytest.raises(KeyboardInterrupt):
        run_plan(a_plan(), play, measured, rng=random.Random(1))
    assert len(measured.steps) == 6
    assert measured.routes[0].name == "*"
    before = list(measured.steps)
    again: list[int] = []
    run_plan(
        a_plan(),
        a_player().play,
        measured,
        rng=random.Random(1),
        on_step=lambda now: again.append(len(now.steps)),
    )
    whole = Measured()
    run_plan(a_plan(), a_player().play, whole, rng=random.Random(1))
    assert measured.steps[:6] == before
    assert again[0] == 7
    assert [step.concurrency for step in measured.steps[:10]] == [
        step.concurrency for step in whole.steps[:10]
    ]
    assert measured.steps[6].started_at_ns >= before[-1].ended_at_ns
    assert measured.stopped_by == ""
