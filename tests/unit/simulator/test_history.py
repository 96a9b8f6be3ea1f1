"""Each request of a trace, with its fate and how long its work took."""

from __future__ import annotations

import pytest
from harness.recording import START, Recording

from shedproxy.core import (
    Criticality,
    Mode,
    Outcome,
    RejectReason,
    Remembered,
    RequestInfo,
    milliseconds,
)
from shedproxy.errors import DocumentInvalidError
from shedproxy.simulator.history import Fate, History
from shedproxy.testing import a_policy
from shedproxy.workload.trace import TraceReader

LOW = RequestInfo(criticality=Criticality.SHEDDABLE)


def test_work_is_counted_from_admission():
    recording = Recording()
    first = recording.run(1)
    recording.wait(2)
    (verdict,) = recording.release(11, first, stalled_ns=3)
    recording.shedder.respond(verdict.decision, now=recording.now(12))
    recording.shedder.to_resident(verdict.decision, now=recording.now(14))
    recording.shedder.to_resident(verdict.decision, now=recording.now(15))
    recording.release(20, verdict.decision, Outcome.ABANDONED)
    one, two = recording.history().lives
    assert (one.result.fate, one.result.waited_ns) == (Fate.SERVED, 0)
    assert (two.result.fate, two.result.waited_ns) == (Fate.SERVED, milliseconds(9))
    assert one.work is not None
    assert two.work is not None
    assert (one.work.length_ns, one.work.stalled_ns) == (milliseconds(10), 3)
    assert (one.work.head_ns, one.work.stream_ns) == (None, None)
    assert (two.work.length_ns, two.work.outcome) == (milliseconds(9), Outcome.ABANDONED)
    assert (two.work.head_ns, two.work.stream_ns) == (milliseconds(1), milliseconds(3))
    assert not two.work.is_zombie


def test_fates():
    recording = Recording(a_policy(limit=1, queue_length=2))
    running = recording.run(1)
    recording.wait(2, LOW)
    left = recording.wait(3)
    recording.wait(4)
    recording.arrive(5, LOW)
    recording.shedder.abandon(left, now=recording.now(6))
    recording.wait(7)
    recording.shedder.leave_zombie(running, now=recording.now(8))
    history = recording.history()
    fates = [(life.result.fate, life.result.reason) for life in history.lives]
    assert fates == [
        (Fate.SERVED, None),
        (Fate.REFUSED, RejectReason.EVICTED),
        (Fate.LEFT, None),
        (Fate.WAITING, None),
        (Fate.REFUSED, RejectReason.QUEUE_FULL),
        (Fate.WAITING, None),
    ]
    first, _, third, *_ = history.lives
    assert first.work is not None
    assert first.work.is_zombie
    assert third.left_at == START + milliseconds(6)
    assert [life.number for life in history.lives] == list(range(6))
    assert (history.why, history.ended_at) == ("closed", START + milliseconds(8))


def test_what_observe_mode_hides():
    recording = Recording(a_policy(limit=1, queue_length=0, mode=Mode.OBSERVE))
    recording.run(1)
    recording.run(2)
    first, second = recording.history().lives
    assert (first.result.fate, first.result.hidden) == (Fate.SERVED, None)
    assert (second.result.fate, second.result.hidden) == (Fate.SERVED, RejectReason.QUEUE_FULL)


def test_a_screening_and_its_arrival_are_one_request():
    recording = Recording(a_policy(limit=9))
    recording.screen(1, cohort=5)
    recording.screen(2, cohort=6)
    recording.screen(3, RequestInfo(route_limit=0))
    recording.run(4, cohort=6)
    recording.run(5, cohort=7)
    gone, screened, refused, plain = recording.history().lives
    assert (gone.result.fate, gone.arrived_at) == (Fate.LEFT, None)
    assert (screened.result.fate, screened.arrived_at) == (Fate.SERVED, START + milliseconds(4))
    assert (refused.result.fate, refused.result.reason) == (
        Fate.REFUSED,
        RejectReason.ROUTE_LIMIT,
    )
    assert plain.cohort == 7


def test_steps_are_what_does_not_depend_on_the_policy():
    recording = Recording()
    recording.screen(1, time_left_ns=milliseconds(70))
    running = recording.run(2, time_left_ns=milliseconds(69))
    recording.shedder.tick(now=recording.now(3))
    recording.shedder.on_stall(now=recording.now(4))
    recording.release(5, running)
    recording.shedder.apply(a_policy(limit=2), now=recording.now(6))
    recording.lines.append('["due",6000000,[]]')
    recording.shedder.drain()
    memory = {"default": {"default": Remembered(5, 10, 2.5)}}
    recording.shedder.remember(memory)
    history = recording.history()
    assert [(step.name, step.time_left_ns) for step in history.steps] == [
        ("screen", milliseconds(70)),
        ("arrive", milliseconds(69)),
        ("tick", None),
        ("stall", None),
        ("drain", None),
        ("remember", None),
    ]
    assert history.steps[-1].memory == memory
    assert history.policies == 1


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('["release",9000000,1,null,"success",0,[]]', "arrival 1 is not running"),
        ('["abandon",9000000,0,[]]', "arrival 0 does not wait"),
        ('["tick",9000000,[[0,["run",1,0,null]]]]', "arrival 0 does not wait"),
        ('["tick",9000000,[[7,["run",1,0,null]]]]', "arrival 7 does not wait"),
        ('["arrive",9000000,0,0,0,null,null]', "has no answer"),
    ],
)
def test_a_line_that_fits_no_request_is_damage(line, told):
    recording = Recording()
    recording.run(1)
    recording.wait(2)
    *head, end = recording.text()
    end = end.replace("2000000", "9000000")
    with pytest.raises(DocumentInvalidError, match=told) as caught:
        History(TraceReader([*head, f"{line}\n", end]))
    assert caught.value.problems[0].line == len(head) + 1


def test_what_ended_does_not_end_again():
    recording = Recording()
    recording.release(2, recording.run(1))
    recording.lines.append(recording.lines[-1])
    with pytest.raises(DocumentInvalidError, match="not running"):
        recording.history()
