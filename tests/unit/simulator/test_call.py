"""A call begins new, with nothing done."""

from __future__ import annotations

from harness.worlds import make_call

from shedproxy.simulator.call import CallState


def test_a_call_begins_new_outside_of_everything() -> None:
    call = make_call(7, work_ns=30)
    assert (call.serial, call.work_ns, call.state) == (7, 30, CallState.NEW)
    assert (call.proxy, call.permit, call.ticket, call.host) == (None, None, None, None)
    assert (call.spent_ns, call.left_backend) == (0, False)


def test_states_that_end_a_call_come_after_those_that_do_not() -> None:
    """The simulator compares: below ANSWERED somebody still waits for it."""
    assert max(CallState.NEW, CallState.WAITING, CallState.RUNNING) < CallState.ANSWERED
    assert min(CallState.ANSWERED, CallState.REFUSED, CallState.LEFT) == CallState.ANSWERED
