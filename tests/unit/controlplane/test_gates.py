"""What is compared is divided without a rest, and harm is more than what is no matter."""

from __future__ import annotations

import pytest

from shedproxy.controlplane.gates import GATES, KINDS, MARGIN, TRIALS, harm_at
from shedproxy.observability.metric_labels import DURATION_BOUNDS


def test_every_gate_has_kinds_and_false_alarms_are_divided_over_them_evenly():
    parts = {gate: sum(kind.part for kind in KINDS if kind.gate == gate) for gate in GATES}
    assert parts == pytest.approx(dict.fromkeys(GATES, 1 / len(GATES)))
    assert {kind.trials for kind in KINDS} == set(range(len(TRIALS)))


def test_slow_answers_come_last_and_by_bound():
    slow = KINDS[-len(DURATION_BOUNDS) :]
    assert {kind.gate for kind in slow} == {"slow answers"}
    assert slow[0].name == f"answers over {DURATION_BOUNDS[0]:g} s"
    assert KINDS[-len(DURATION_BOUNDS) - 1].gate != "slow answers"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("beside", [0.0, 0.001, 0.05, 0.5])
def test_whatever_is_harm_is_worth_an_alarm(kind, beside):
    harmed = beside + harm_at(kind, beside)
    assert harmed - MARGIN * beside >= kind.floor
    assert harmed >= 2 * beside
