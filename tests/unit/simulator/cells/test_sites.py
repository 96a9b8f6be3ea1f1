"""Several fleets as one backend."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from harness.cell_worlds import a_cell
from harness.worlds import Answers, make_call

from shedproxy.core import NS_PER_MS, RequestInfo
from shedproxy.simulator.cells.fleet import Fleet
from shedproxy.simulator.cells.sites import Sites
from shedproxy.simulator.engine import Engine
from shedproxy.workload.scenario import ClientSpec


def test_a_call_goes_to_the_hosts_of_the_cell_that_admitted_it():
    """Not to those of its own cell, when another took it."""
    engine = Engine()
    answers = Answers(engine)
    fleets = {
        name: Fleet(engine, a_cell(name), on_done=answers, on_health=lambda *_: None)
        for name in ("a", "b")
    }
    seen = []
    sites = Sites(fleets, on_submit=lambda call, cell: seen.append((call.serial, cell)))
    call = make_call(7, cell="a")
    call.source = SimpleNamespace(spec=ClientSpec())
    with pytest.raises(AssertionError, match="nobody admitted"):
        sites.submit(call)
    call.permit = SimpleNamespace(request=RequestInfo(cell="b"))
    sites.submit(call)
    assert (seen, call.cell) == ([(7, "b")], "b")
    assert (fleets["a"].inside, fleets["b"].inside, sites.inside) == (0, 1, 1)
    assert sites.capacity_now_rps() == 400.0
    engine.run(NS_PER_MS)
    assert sites.busy_ns == NS_PER_MS
    other = make_call(8, cell="a")
    other.source, other.permit = call.source, SimpleNamespace(request=RequestInfo(cell="a"))
    sites.submit(other)
    sites.stop(other)
    assert sites.inside == 0
