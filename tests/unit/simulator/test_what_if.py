"""The recorded clients before another policy: who is refused, who waits, what is guessed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from harness.recording import Recording

from shedproxy.core import (
    CellPolicy,
    Criticality,
    Kind,
    Lane,
    Mode,
    Outcome,
    Permit,
    Policy,
    RejectReason,
    Remembered,
    RequestInfo,
    milliseconds,
)
from shedproxy.simulator.history import Fate
from shedproxy.simulator.replay import verify
from shedproxy.simulator.what_if import add_up, what_if
from shedproxy.testing import a_policy
from shedproxy.workload.trace import TraceReader, encode_header

HIGH = Criticality.CRITICAL


def fates(side, criticality=HIGH):
    counts = {fate: side.fates[criticality, fate] for fate in Fate}
    return {fate: count for fate, count in counts.items() if count}


def burst(recording: Recording, *, count: int, length_ms: float = 10) -> Recording:
    """So many at once, each running for a while."""
    permits = [recording.run(1) for _ in range(count)]
    for permit in permits:
        recording.release(1 + length_ms, permit)
    return recording


def test_by_the_recorded_policy_nothing_changes():
    recording = Recording(a_policy(limit=1, queue_length=1, wait_max_ns=milliseconds(20)))
    first = recording.run(1)
    recording.wait(2)
    recording.arrive(3)
    (verdict,) = recording.release(11, first)
    recording.release(25, verdict.decision)
    comparison = what_if(recording.history(), recording.policy)
    assert comparison.recorded == comparison.replayed
    assert fates(comparison.replayed) == {Fate.SERVED: 2, Fate.REFUSED: 1}
    assert comparison.changed == {}
    assert (comparison.borrowed, comparison.is_blind) == (0, False)


def test_a_stricter_policy_refuses_more_and_says_whom():
    recording = burst(Recording(a_policy(limit=4)), count=4)
    comparison = what_if(recording.history(), a_policy(limit=1, queue_length=1))
    assert fates(comparison.recorded) == {Fate.SERVED: 4}
    assert fates(comparison.replayed) == {Fate.SERVED: 2, Fate.REFUSED: 2}
    assert comparison.replayed.reasons == {(RejectReason.QUEUE_FULL, HIGH): 2}
    assert comparison.changed == {(HIGH, Fate.SERVED, Fate.REFUSED): 2}


def test_work_starts_when_the_policy_lets_it_and_takes_as_long_as_recorded():
    recording = burst(Recording(a_policy(limit=3)), count=3)
    recording.at_ms = 60
    comparison = what_if(recording.history(), a_policy(limit=1))
    assert comparison.replayed.waits_ns == [0, milliseconds(10), milliseconds(20)]
    assert comparison.replayed.wait_ns(0.5) == milliseconds(10)
    assert comparison.recorded.wait_ns(1.0) == 0


def test_a_waiter_expires_by_the_new_policy():
    recording = burst(Recording(a_policy(limit=2)), count=2, length_ms=100)
    policy = a_policy(limit=1, wait_max_ns=milliseconds(30))
    comparison = what_if(recording.history(), policy)
    assert comparison.replayed.reasons == {(RejectReason.QUEUE_TIMEOUT, HIGH): 1}


def test_who_was_refused_borrows_the_work_of_its_route():
    recording = Recording(a_policy(limit=1, queue_length=0))
    slow, quick = RequestInfo(route="slow"), RequestInfo(route="quick")
    recording.release(41, recording.run(1, slow))
    recording.release(53, recording.run(51, quick))
    recording.run(61, quick)
    for _ in range(2):
        recording.arrive(62, slow)
    recording.at_ms = 150
    comparison = what_if(recording.history(), a_policy(limit=2, queue_length=5))
    assert (comparison.borrowed, comparison.borrowed_elsewhere) == (2, 0)
    # The last one has waited for the first borrower: the length of the slow route.
    assert comparison.replayed.waits_ns == [0, 0, 0, 0, milliseconds(40)]


def test_work_takes_as_long_as_others_did_with_as_much_in_flight():
    """A burst that slowed the service down is no reason to be slow before a limit."""
    recording = Recording(a_policy(limit=99))
    for start_ms in range(0, 100, 10):
        recording.release(start_ms + 5, recording.run(start_ms))
    permits = [recording.run(100) for _ in range(8)]
    for permit in permits:
        recording.release(300, permit)
    recording.at_ms = 400
    policy = a_policy(limit=1, queue_length=20, wait_max_ns=milliseconds(1000))
    comparison = what_if(recording.history(), policy)
    # The first of the burst had nobody beside it then either, and keeps its 200 ms.
    waits_ms = [0] * 11 + [200 + 5 * turn for turn in range(7)]
    assert comparison.replayed.waits_ns == [milliseconds(wait_ms) for wait_ms in waits_ms]
    assert (comparison.adjusted, comparison.borrowed) == (7, 0)


def test_work_at_a_number_in_flight_that_was_never_seen_keeps_its_length():
    recording = Recording(a_policy(limit=1))
    running = recording.run(1)
    recording.wait(2)
    (verdict,) = recording.release(11, running)
    recording.release(21, verdict.decision)
    written: list[str] = []
    comparison = what_if(recording.history(), a_policy(limit=2), write=written.append)
    assert comparison.adjusted == 0
    assert '["release",12000000,1,null,"success",0,[]]' in written


def test_a_route_that_was_never_served_borrows_elsewhere():
    recording = Recording(a_policy(limit=1, queue_length=0))
    permit = recording.run(1)
    recording.arrive(2, RequestInfo(route="closed", route_limit=0))
    recording.arrive(3, RequestInfo(route="other"))
    recording.release(4, permit)
    comparison = what_if(recording.history(), a_policy(limit=9))
    assert (comparison.borrowed, comparison.borrowed_elsewhere) == (1, 1)
    assert comparison.replayed.reasons == {(RejectReason.ROUTE_LIMIT, HIGH): 1}


def test_the_patience_of_clients_that_left_is_not_borrowed():
    recording = Recording(a_policy(limit=1, queue_length=0))
    recording.release(2, recording.run(1), Outcome.ABANDONED)
    permit = recording.run(3)
    recording.arrive(4)
    recording.release(13, permit)
    recording.at_ms = 40
    written: list[str] = []
    what_if(recording.history(), a_policy(limit=2), write=written.append)
    assert '["release",14000000,2,null,"success",0,[]]' in written


def test_without_anything_to_borrow_it_says_that_it_is_blind():
    recording = Recording(a_policy(limit=1, queue_length=0))
    recording.run(1)
    recording.arrive(2)
    comparison = what_if(recording.history(), a_policy(limit=2))
    assert comparison.is_blind
    assert fates(comparison.replayed) == {Fate.SERVED: 2}


def test_clients_leave_when_they_left():
    recording = Recording(a_policy(limit=1))
    running = recording.run(1)
    recording.shedder.abandon(recording.wait(2), now=recording.now(30))
    recording.release(101, running)
    recording.at_ms = 200
    history = recording.history()
    waiting = what_if(history, a_policy(limit=1))
    assert fates(waiting.replayed) == {Fate.SERVED: 1, Fate.LEFT: 1}
    written: list[str] = []
    served = what_if(history, a_policy(limit=2), write=written.append)
    assert served.changed == {(HIGH, Fate.LEFT, Fate.SERVED): 1}
    assert '["release",30000000,1,null,"abandoned",0,[]]' in written


def test_screenings_are_asked_again():
    recording = Recording(a_policy(limit=9, class_limits=(0, None, None, None)))
    low = RequestInfo(criticality=Criticality.SHEDDABLE)
    recording.screen(1, low)
    recording.screen(2)
    recording.release(9, recording.run(3))
    recording.screen(10)
    opened = what_if(recording.history(), a_policy(limit=9))
    assert opened.changed == {(Criticality.SHEDDABLE, Fate.REFUSED, Fate.SERVED): 1}
    closed = what_if(recording.history(), a_policy(limit=9, class_limits=(None, None, 0, None)))
    assert closed.changed == {
        (Criticality.SHEDDABLE, Fate.REFUSED, Fate.SERVED): 1,
        (HIGH, Fate.SERVED, Fate.REFUSED): 1,
        (HIGH, Fate.LEFT, Fate.REFUSED): 1,
    }
    assert closed.replayed.reasons == {(RejectReason.CLASS_LIMIT, HIGH): 2}


def test_observe_mode_refuses_nobody_and_says_what_it_hides():
    recording = burst(Recording(a_policy(limit=3)), count=3)
    policy = a_policy(limit=1, queue_length=0, mode=Mode.OBSERVE)
    comparison = what_if(recording.history(), policy)
    assert fates(comparison.replayed) == {Fate.SERVED: 3}
    assert comparison.replayed.hidden == {(RejectReason.QUEUE_FULL, HIGH): 2}


def test_a_recording_in_observe_mode_shows_what_enforce_would_do():
    policy = a_policy(limit=1, queue_length=0, mode=Mode.OBSERVE)
    recording = burst(Recording(policy), count=3)
    comparison = what_if(recording.history(), a_policy(limit=1, queue_length=0))
    assert comparison.recorded.hidden == {(RejectReason.QUEUE_FULL, HIGH): 2}
    assert comparison.changed == {(HIGH, Fate.SERVED, Fate.REFUSED): 2}


def test_control_requests_are_replayed_and_not_counted():
    recording = Recording()
    recording.run(1, RequestInfo(lane=Lane.CONTROL))
    comparison = what_if(recording.history(), a_policy(limit=1))
    assert comparison.replayed.fates == {}


def test_streams_zombies_stalls_a_drain_and_a_memory_come_along():
    recording = Recording(a_policy(limit=4))
    shedder = recording.shedder
    shedder.remember({"default": {"default": Remembered(5, 10, 2.5)}})
    stream, lost = recording.run(1), recording.run(2)
    shedder.respond(stream, now=recording.now(3))
    shedder.to_resident(stream, now=recording.now(4))
    shedder.leave_zombie(lost, now=recording.now(5))
    shedder.on_stall(now=recording.now(6))
    shedder.tick(now=recording.now(7))
    recording.release(8, stream)
    recording.run(9, RequestInfo(kind=Kind.STREAM))
    shedder.drain()
    recording.arrive(10)
    written: list[str] = []
    comparison = what_if(recording.history(), recording.policy, write=written.append)
    assert comparison.changed == {}
    assert [f"{line}\n" for line in written] == recording.text()[1:]


def test_what_is_written_is_a_trace_of_its_own():
    recording = burst(Recording(a_policy(limit=4)), count=4)
    policy = a_policy(limit=1, queue_length=1)
    written: list[str] = []
    what_if(recording.history(), policy, write=written.append)
    header = encode_header(replace(recording.header, policy=policy))
    verification = verify(TraceReader([f"{line}\n" for line in (header, *written)]))
    assert verification.difference is None
    assert verification.arrivals == 4


def test_cells_that_the_policy_does_not_have_go_to_its_first():
    recording = Recording(Policy(cells=(CellPolicy(), CellPolicy(name="other"))))
    permit = recording.run(1, RequestInfo(cell="other"))
    assert isinstance(permit, Permit)
    comparison = what_if(recording.history(), a_policy(limit=1))
    assert fates(comparison.replayed) == {Fate.SERVED: 1}


def test_a_policy_that_cannot_be_run_is_refused():
    with pytest.raises(ValueError, match="one cell or more"):
        what_if(Recording().history(), Policy(cells=()))


def test_comparisons_of_several_traces_add_up():
    """As if all requests stood in one, each decided by its own worker."""
    recordings = [burst(Recording(a_policy(limit=4)), count=4), Recording(a_policy(limit=4))]
    permit = recordings[1].run(1)
    recordings[1].release(31, permit)
    strict = a_policy(limit=1, queue_length=1)
    alone = [what_if(one.history(), strict) for one in recordings]
    both = add_up(alone)
    assert fates(both.recorded)[Fate.SERVED] == 5
    assert fates(both.replayed) == fates(alone[0].replayed) | {
        Fate.SERVED: fates(alone[0].replayed)[Fate.SERVED] + 1
    }
    assert both.changed == alone[0].changed
    assert both.replayed.waits_ns == sorted(alone[0].replayed.waits_ns + alone[1].replayed.waits_ns)
    assert both.adjusted == alone[0].adjusted + alone[1].adjusted
    assert add_up(alone[:1]) == alone[0]
