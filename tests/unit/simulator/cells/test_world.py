"""Whole worlds of cells, with every rule looked at after every event."""

from __future__ import annotations

from harness.cell_worlds import PROFILE, a_cell, run_cells_world, two_cells

from shedproxy.simulator.tally import End
from shedproxy.workload.scenario import ClientSpec, EventSpec


def test_each_call_is_served_by_the_hosts_of_its_own_cell():
    world = run_cells_world(two_cells())
    for name in ("a", "b"):
        outcomes = world.tally.outcomes[name]
        assert len(outcomes) > 300
        assert {(o.home, o.cell) for o in outcomes if o.end is End.SERVED} == {(name, name)}
    assert world.rules.violations == []


def test_equal_seeds_give_equal_runs():
    first, second = (run_cells_world(two_cells(), is_checked=False) for _ in range(2))
    other = run_cells_world(two_cells(), seed=2, is_checked=False)
    assert first.tally.outcomes == second.tally.outcomes != other.tally.outcomes


def test_tenants_without_a_cell_are_spread_by_their_keys():
    scenario = two_cells(ClientSpec(name="tenants", tenants=50, load=0.4))
    outcomes = run_cells_world(scenario).tally.outcomes["tenants"]
    by_tenant = {}
    for outcome in outcomes:
        by_tenant.setdefault(outcome.flow_hash, set()).add(outcome.home)
    assert {len(cells) for cells in by_tenant.values()} == {1}
    assert set.union(*by_tenant.values()) == {"a", "b"}


def test_limits_follow_the_hosts_that_are_there():
    loss = EventSpec(at_s=1.0, what="lose_zone", cell="a", zone=0, for_s=30.0)
    cell = a_cell(hosts=4, zones=2, profile=PROFILE)
    client = ClientSpec(name="a", cell="a", load=0.2)
    calm = two_cells(client, cell=(cell,))
    before = run_cells_world(calm).shedder.stats().cells[0].limit
    world = run_cells_world(two_cells(client, cell=(cell,), event=(loss,)))
    assert world.backend.fleets["a"].healthy == 2
    assert world.shedder.stats().cells[0].limit <= 0.7 * before
    assert world.rules.violations == []


def test_without_a_control_plane_the_last_table_serves_and_grows_old():
    lost = EventSpec(at_s=1.0, what="lose_control_plane", for_s=3.0)
    order = EventSpec(at_s=2.0, what="move_tenant", tenant="t", cell="b")
    back = EventSpec(at_s=2.0, what="move_tenant", tenant="t", cell="a")
    client = ClientSpec(name="t", tenant="t", rate_rps=20.0)
    for event in (order, back):
        world = run_cells_world(two_cells(client, event=(lost, event), snapshot_s=0.25))
        assert world.staleness_max_ns == 3_250_000_000
        assert {o.end for o in world.tally.outcomes["t"]} == {End.SERVED}
        assert (world.plane.moves_done, world.router.version) == (1, world.plane.version)
        assert world.rules.violations == []
        last = world.tally.outcomes["t"][-1]
        assert last.home == event.cell


def test_what_has_no_room_in_one_cell_runs_at_the_hosts_of_another():
    cells = (
        a_cell(spill_to=("b",), spill_classes=("sheddable",)),
        a_cell("b", slots=16, profile=PROFILE),
    )
    flood = ClientSpec(
        name="flood", cell="a", load=2.0, criticality=(("sheddable", 1.0),), start_s=5.5
    )
    world = run_cells_world(two_cells(flood, cell=cells, duration_s=9.0))
    served = [o for o in world.tally.outcomes["flood"] if o.end is End.SERVED]
    assert {(o.home, o.cell) for o in served} == {("a", "a"), ("a", "b")}
    assert 0 < world.guests_max["b"] <= 10
    assert world.rules.violations == []
