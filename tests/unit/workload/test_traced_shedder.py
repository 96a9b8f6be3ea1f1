"""Tracing changes no decision, and each call is one line that says what was told and answered."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from harness.recording import START, Recording

from shedproxy.core import (
    Criticality,
    Instant,
    Kind,
    Lane,
    Mode,
    Outcome,
    Permit,
    Policy,
    Remembered,
    RequestInfo,
    Shedder,
    milliseconds,
)
from shedproxy.errors import PermitAlreadyReleasedError
from shedproxy.simulator.replay import verify
from shedproxy.testing import a_policy
from shedproxy.workload.traced_shedder import TracedShedder


def last(recording: Recording):
    return json.loads(recording.lines[-1])


def test_a_request_is_described_once_however_often_it_comes():
    recording = Recording(a_policy(limit=5))
    recording.run(1, RequestInfo(route="a", criticality=Criticality.SHEDDABLE))
    recording.run(2, RequestInfo(route="a", criticality=Criticality.SHEDDABLE))
    recording.run(3, RequestInfo(route="b"))
    kinds = [json.loads(line)[0] for line in recording.lines]
    assert kinds == ["request", "arrive", "arrive", "request", "arrive"]
    described = json.loads(recording.lines[0])[1]
    assert described["route"] == "a"
    assert described["criticality"] == "sheddable"
    assert set(described) == {
        *("route", "cell", "criticality", "lane", "kind", "measure", "cost", "is_retry"),
        *("route_limit", "is_pinned"),
    }


def test_lines_are_compact_ascii():
    recording = Recording()
    recording.run(1, RequestInfo(route="caf\u00e9 \n"))
    recording.arrive(2, flow_hash=2**64 - 1, cohort=1023, time_left_ns=milliseconds(100))
    for line in recording.lines:
        assert line.isascii()
        assert line == json.dumps(json.loads(line), separators=(",", ":"))


def test_an_arrival_is_written_with_its_answer():
    recording = Recording(a_policy(limit=1, queue_length=1, wait_max_ns=milliseconds(500)))
    recording.arrive(1, flow_hash=8, cohort=9, time_left_ns=milliseconds(90))
    at = milliseconds(1)
    assert last(recording) == ["arrive", at, 0, 8, 9, 90_000_000, ["run", 1, 0, 90_000_000]]
    recording.arrive(2)
    assert last(recording)[6] == ["wait", 2, 2560, milliseconds(500), None]
    recording.arrive(3)
    assert last(recording)[6] == ["no", "queue_full", [1, 2560, 2560], 1, 1, 1, 0, 0]


def test_a_verdict_names_the_arrival_that_waited():
    recording = Recording()
    running = recording.run(1)
    recording.wait(2)
    recording.release(5, running, stalled_ns=3)
    assert last(recording) == [
        *("release", milliseconds(5), 0, None, "success", 3),
        [[1, ["run", 3, 0, None]]],
    ]


def test_the_head_is_told_by_the_call_that_uses_it():
    recording = Recording()
    running = recording.run(1)
    recording.shedder.respond(running, now=recording.now(3))
    assert last(recording)[0] == "arrive"
    recording.release(10, running)
    assert last(recording)[3] == milliseconds(7)


def test_what_changes_nothing_is_not_written():
    recording = Recording()
    running = recording.run(1)
    waiting = recording.wait(2)
    recording.release(3, running)
    written = len(recording.lines)
    recording.shedder.abandon(waiting, now=recording.now(4))
    with pytest.raises(PermitAlreadyReleasedError):
        recording.release(5, running)
    with pytest.raises(ValueError, match="one cell or more"):
        recording.shedder.apply(Policy(cells=()), now=recording.now(6))
    assert len(recording.lines) == written


def test_a_zombie_without_a_slot_is_a_release():
    recording = Recording()
    stream = recording.run(1, RequestInfo(kind=Kind.STREAM))
    recording.shedder.leave_zombie(stream, now=recording.now(2))
    assert last(recording)[0] == "release"
    running = recording.run(3)
    recording.shedder.leave_zombie(running, now=recording.now(4), outcome=Outcome.OVERLOAD)
    assert last(recording) == ["zombie", milliseconds(4), 1, None, "overload", []]


def test_time_that_passes_in_cells_that_asked_for_it_is_a_record_of_its_own():
    """With one cell it is a tick, and written as one."""
    recording = Recording()
    recording.shedder.tick_due(now=recording.now(2))
    assert recording.lines == ['["tick",2000000,[]]']
    [cell] = a_policy(limit=1).cells
    recording = Recording(Policy(cells=(cell, replace(cell, name="b"))))
    recording.run(1)
    recording.wait(2)
    recording.shedder.tick_due(now=recording.now(600))
    assert last(recording)[:2] == ["due", milliseconds(600)]
    assert last(recording)[2][0][0] == 1
    assert verify(recording.reader()).difference is None


def test_work_for_nobody_is_told_before_its_end():
    recording = Recording()
    running = recording.run(1)
    recording.shedder.orphan(running, now=recording.now(2))
    assert last(recording) == ["orphan", milliseconds(2), 0]
    recording.release(4, running)
    assert last(recording)[0] == "release"


def test_an_eviction_is_part_of_the_arrival_that_caused_it():
    recording = Recording(a_policy(limit=1, queue_length=1))
    recording.run(1)
    recording.wait(2, RequestInfo(criticality=Criticality.SHEDDABLE))
    recording.wait(3)
    number, answer = last(recording)[6][5]
    assert (number, answer[:2]) == (1, ["no", "evicted"])


def test_screening_and_the_rest_of_the_calls_are_written():
    recording = Recording(a_policy(limit=1))
    shedder = recording.shedder
    recording.screen(1, RequestInfo(route_limit=0))
    assert last(recording)[6][:3] == ["no", "route_limit", [0, 1, 0]]
    shedder.to_resident(recording.run(2), now=recording.now(3))
    assert last(recording) == ["stream", milliseconds(3), 0, None, []]
    shedder.abandon(_second(recording), now=recording.now(5))
    assert last(recording) == ["abandon", milliseconds(5), 2, []]
    shedder.tick(now=recording.now(6))
    assert last(recording) == ["tick", milliseconds(6), []]
    shedder.on_stall(now=recording.now(7))
    assert last(recording) == ["stall", milliseconds(7)]
    shedder.apply(a_policy(limit=2), now=recording.now(8))
    name, _, policy, verdicts = last(recording)
    assert (name, verdicts) == ("apply", [])
    assert policy["cells"][0]["limit"]["initial"] == 2
    shedder.drain()
    assert last(recording) == ["drain", milliseconds(8)]
    shedder.remember({"default": {"a": Remembered(5, 10, 2.5)}})
    baseline = {"mean_ns": 5, "sample_count": 10, "variance": 2.5}
    assert last(recording) == ["remember", milliseconds(8), {"default": {"a": baseline}}]


def test_what_is_not_written_is_not_remembered():
    """Or the replay would know less than the recorded one did."""
    recording = Recording(a_policy(limit=1))
    recording.shedder.remember({"default": {"a" * 129: Remembered(5, 10, 2.5)}})
    assert last(recording) == ["remember", 0, {}]
    assert recording.shedder.memory() == {"default": {}}


def _second(recording: Recording):
    recording.run(4)
    return recording.wait(4)


def test_policies_are_written_without_their_salt():
    recording = Recording(a_policy(limit=1))
    recording.shedder.apply(replace(a_policy(limit=1), salt=777), now=recording.now(1))
    assert last(recording)[2]["salt"] == 0


@pytest.mark.parametrize("mode", list(Mode))
def test_a_traced_shedder_decides_as_a_plain_one(mode):
    policy = a_policy(limit=2, queue_length=2, mode=mode)
    plain = Shedder(policy, now=START)
    traced = TracedShedder(policy, now=START, write=lambda line: None)
    permits: list[tuple] = []
    for step in range(40):
        now = Instant(START + milliseconds(step))
        request = RequestInfo(criticality=Criticality(step % 4), lane=Lane(step % 7 == 0))
        decisions = [each.arrive(request, now=now, cohort=step) for each in (plain, traced)]
        assert repr(decisions[0]) == repr(decisions[1])
        if isinstance(decisions[0], Permit):
            permits.append(tuple(decisions))
        if step % 3 == 0 and permits:
            first, second = permits.pop(0)
            told = [
                plain.release(first, Outcome.SUCCESS, now=now),
                traced.release(second, Outcome.SUCCESS, now=now),
            ]
            assert repr(told[0]) == repr(told[1])
            permits += zip(
                (verdict.decision for verdict in told[0]),
                (verdict.decision for verdict in told[1]),
                strict=True,
            )
    assert plain.stats() == traced.stats()


def test_after_stop_nothing_is_written_and_what_is_out_may_come_back():
    recording = Recording(a_policy(limit=1))
    running = recording.run(1)
    waiting = recording.wait(2)
    written = len(recording.lines)
    recording.shedder.stop()
    (verdict,) = recording.release(3, running)
    assert verdict.ticket is waiting
    recording.arrive(4)
    recording.screen(5)
    recording.shedder.tick(now=recording.now(6))
    recording.shedder.on_stall(now=recording.now(7))
    recording.shedder.to_resident(verdict.decision, now=recording.now(8))
    recording.shedder.leave_zombie(verdict.decision, now=recording.now(8))
    recording.shedder.apply(a_policy(limit=2), now=recording.now(9))
    recording.shedder.drain()
    recording.shedder.remember({})
    assert len(recording.lines) == written


def test_it_may_be_stopped_by_what_takes_the_lines():
    """As at a bound: by the description of a request, before its arrival."""
    lines: list[str] = []

    def take(line: str) -> None:
        lines.append(line)
        shedder.stop()

    shedder = TracedShedder(a_policy(limit=1), now=START, write=take)
    permit = shedder.arrive(RequestInfo(), now=START)
    assert isinstance(permit, Permit)
    shedder.release(permit, Outcome.SUCCESS, now=START)
    assert [json.loads(line)[0] for line in lines] == ["request"]
