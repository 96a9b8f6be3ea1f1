"""A replay by the trace's own policy is the recording, or names the first answer that is not."""

from __future__ import annotations

import json

import pytest
from harness.recording import Recording

from shedproxy.core import (
    Criticality,
    Kind,
    Outcome,
    Permit,
    Policy,
    Remembered,
    RequestInfo,
    milliseconds,
)
from shedproxy.errors import DocumentInvalidError
from shedproxy.simulator.replay import verify
from shedproxy.testing import a_policy
from shedproxy.workload.trace import TraceReader


@pytest.fixture
def full() -> Recording:
    """Every kind of call, with an eviction, a verdict, an expiry and another policy."""
    recording = Recording(a_policy(limit=1, queue_length=1, wait_max_ns=milliseconds(50)))
    shedder = recording.shedder
    shedder.remember({"default": {"default": Remembered(1_000_000, 40, 1e11 / 3)}})
    recording.screen(1)
    running = recording.run(2, flow_hash=7, cohort=900, time_left_ns=milliseconds(400))
    recording.wait(3, RequestInfo(criticality=Criticality.SHEDDABLE))
    recording.wait(4)
    shedder.respond(running, now=recording.now(6))
    (verdict,) = shedder.to_resident(running, now=recording.now(7))
    recording.release(8, running, stalled_ns=5)
    recording.wait(9)
    shedder.tick(now=recording.now(60))
    shedder.tick_due(now=recording.now(60.5))
    recording.shedder.abandon(recording.wait(61), now=recording.now(62))
    shedder.on_stall(now=recording.now(63))
    shedder.leave_zombie(verdict.decision, now=recording.now(64))
    shedder.apply(a_policy(limit=3), now=recording.now(65))
    recording.release(67, recording.run(66), Outcome.OVERLOAD)
    recording.run(68, RequestInfo(kind=Kind.STREAM))
    shedder.drain()
    recording.arrive(69)
    return recording


def changed(recording: Recording, old: str, new: str) -> TraceReader:
    text = recording.text()
    (index,) = [index for index, line in enumerate(text) if old in line]
    text[index] = text[index].replace(old, new)
    return TraceReader(text, source="t.jsonl")


def test_the_replay_of_every_kind_of_call_is_the_same(full):
    verification = verify(full.reader())
    assert verification.difference is None
    calls = [line for line in full.lines if not line.startswith('["request"')]
    assert verification.calls == len(calls)
    assert verification.arrivals == sum(line.startswith('["arrive"') for line in calls)
    assert (verification.why, verification.span_ns) == ("closed", milliseconds(69))


def test_what_is_written_is_the_trace(full):
    written: list[str] = []
    verify(full.reader(), write=written.append)
    assert [f"{line}\n" for line in written] == full.text()[1:]


def test_what_a_predecessor_had_learnt_decides_in_the_replay_too():
    """By a baseline of 1 ms answers of 15 ms are overload; by none they are the service."""
    recording = Recording(Policy())
    recording.shedder.remember({"default": {"default": Remembered(1_000_000, 400, 1e10)}})
    running: list[Permit] = []
    for step in range(100):
        for _ in range(8):
            decision = recording.arrive(1 + step * 20)
            if isinstance(decision, Permit):
                running.append(decision)
        done, running = running, []
        for permit in done:
            verdicts = recording.release(16 + step * 20, permit)
            running += [each.decision for each in verdicts if isinstance(each.decision, Permit)]
    assert verify(recording.reader()).difference is None
    recording.lines = [line for line in recording.lines if not line.startswith('["remember"')]
    assert verify(recording.reader()).difference is not None


def test_the_first_difference_is_named(full):
    """One number of a refusal is another one."""
    old = '"queue_timeout",[51000000,'
    verification = verify(changed(full, old, '"queue_timeout",[51000001,'))
    difference = verification.difference
    assert difference is not None
    assert difference.call.name == "tick"
    assert old in difference.replayed
    assert verification.why == ""
    assert difference.call.line == 2 + full.lines.index(difference.replayed)


def test_another_policy_in_the_header_is_a_difference(full):
    header = json.loads(full.text()[0])
    header["policy"]["cells"][0]["limit"] |= {"initial": 2, "maximum": 2}
    reader = TraceReader([json.dumps(header) + "\n", *full.text()[1:]])
    difference = verify(reader).difference
    assert difference is not None
    assert json.loads(difference.call.text)[6][0] == "wait"
    assert json.loads(difference.replayed)[6][0] == "run"


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('["zombie",64000000,2,', '["zombie",64000000,1,', "arrival 1 is not running"),
        ('["abandon",62000000,4,', '["abandon",62000000,0,', "arrival 0 does not wait"),
    ],
)
def test_a_call_that_nobody_can_have_made_is_damage(full, old, new, told):
    with pytest.raises(DocumentInvalidError, match=told):
        verify(changed(full, old, new))


def test_a_policy_that_cannot_be_run_is_damage(full):
    header = json.loads(full.text()[0])
    header["policy"]["cells"] = []
    with pytest.raises(DocumentInvalidError, match="policy cannot be run"):
        verify(TraceReader([json.dumps(header) + "\n", *full.text()[1:]]))
    recording = Recording()
    recording.shedder.apply(a_policy(), now=recording.now(1))
    line = json.loads(recording.lines[0])
    line[2]["cells"][0]["limit"]["algorithm"] = "guess"
    recording.lines[0] = json.dumps(line, separators=(",", ":"))
    with pytest.raises(DocumentInvalidError, match="this policy cannot be run"):
        verify(recording.reader())
