"""Every call's end is kept, by client."""

from __future__ import annotations

from types import SimpleNamespace

from harness.worlds import make_call

from shedproxy.core import Instant
from shedproxy.simulator.cells.outcomes import LoggedTally, Outcome
from shedproxy.simulator.tally import End
from shedproxy.workload.scenario import ClientSpec


def test_outcomes_are_kept_in_the_order_in_which_they_came():
    tally = LoggedTally(deadline_ns=9, unscored=0, keeps_tenants=False, has_classes=False)
    for serial, (end, at) in enumerate([(End.SERVED, 5), (End.REFUSED, 6)], start=1):
        call = make_call(serial, cell="a")
        call.source = SimpleNamespace(spec=ClientSpec(name="users"))
        call.cell = "b" if end is End.SERVED else ""
        tally.end_call(call, end, Instant(at))
    assert tally.outcomes == {
        "users": [Outcome(0, 0, End.SERVED, 5, "a", "b"), Outcome(0, 0, End.REFUSED, 6, "a", "")]
    }
    assert (tally.calls_ended, tally.deadline_ns) == (2, 9)
