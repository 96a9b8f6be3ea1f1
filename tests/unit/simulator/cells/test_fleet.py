"""The hosts of one cell, alone: hands, deaths, zones and the second try."""

from __future__ import annotations

from types import SimpleNamespace

from harness.cell_worlds import a_cell
from harness.worlds import Answers, make_call

from shedproxy.core import NS_PER_MS, NS_PER_S, Instant
from shedproxy.simulator.call import Call
from shedproxy.simulator.cells.fleet import Fleet
from shedproxy.simulator.engine import Engine
from shedproxy.workload.scenario import ClientSpec, EventSpec

LOSS = EventSpec(at_s=0, what="lose_zone", cell="a", zone=1, for_s=1.0)


class Stand:
    """A fleet, and who hears of it."""

    def __init__(self, **cell) -> None:
        self.engine = Engine()
        self.answers = Answers(self.engine)
        self.healthy: list[int] = []
        self.fleet = Fleet(
            self.engine,
            a_cell(**cell),
            on_done=self.answers,
            on_health=lambda _name, count: self.healthy.append(count),
        )

    def send(self, serial: int, *, flow_hash: int = 0, poison_ms: float = 0.0, **more) -> Call:
        call = make_call(serial, **more)
        call.flow_hash = flow_hash
        call.source = SimpleNamespace(spec=ClientSpec(poison_ms=poison_ms))
        self.fleet.submit(call)
        return call

    def run(self, until_ms: float) -> list[tuple[int, int]]:
        """What was answered until then: serial and status."""
        self.engine.run(round(until_ms * NS_PER_MS))
        return [(serial, status) for serial, status, _ in self.answers.seen]


def test_work_goes_round_the_hosts_and_is_answered_in_its_time():
    stand = Stand(hosts=3, slots=1)
    calls = [stand.send(serial) for serial in (1, 2, 3)]
    assert [host.load for host in stand.fleet.hosts] == [1, 1, 1]
    assert stand.run(1) == [(1, 200), (2, 200), (3, 200)]
    assert {call.spent_ns for call in calls} == {NS_PER_MS}
    assert (stand.fleet.busy_ns, stand.fleet.inside) == (3 * NS_PER_MS, 0)


def test_a_tenant_keeps_to_its_hand():
    stand = Stand(hosts=8, slots=1, hand=2)
    hand = stand.fleet.hand_of(77)
    assert len(set(hand)) == 2
    for serial in range(20):
        stand.send(serial, flow_hash=77)
    assert {place for place, host in enumerate(stand.fleet.hosts) if host.load} == set(hand)
    assert stand.fleet.hand_of(77) == hand
    assert len({stand.fleet.hand_of(tenant) for tenant in range(1, 50)}) > 10


def test_poison_takes_down_a_host_and_its_retry_another_and_they_come_back():
    stand = Stand(hosts=3, slots=1)
    stand.send(1, poison_ms=100.0)
    assert stand.run(0) == [(1, 500)]
    assert (stand.fleet.deaths, stand.fleet.retries) == (2, 1)
    assert stand.fleet.capacity_now_rps() == 50.0
    stand.run(101)
    assert stand.fleet.capacity_now_rps() == 150.0


def test_the_second_try_goes_to_another_zone():
    stand = Stand(hosts=6, slots=4, zones=3)
    for serial in range(1, 25):
        stand.send(serial, work_ns=50 * NS_PER_MS)
    stand.fleet.happen(LOSS)
    assert {stand.fleet.zone_of(place) for place in range(6)} == {"0", "1", "2"}
    assert sorted(stand.run(300)) == [(serial, 200) for serial in range(1, 25)]
    assert stand.fleet.retries == 8


def test_a_host_that_refuses_is_known_to_be_gone_until_a_probe_finds_it():
    stand = Stand(hosts=3, slots=4, zones=3)
    stand.fleet.happen(LOSS)
    for serial in range(1, 7):
        stand.send(serial)
        stand.run(serial)
    assert stand.healthy == [2]
    assert stand.fleet.healthy == 2
    stand.run(1_000)
    assert stand.fleet.capacity_now_rps() == 600.0
    stand.run(1_301)
    assert stand.healthy == [2, 3]


def test_a_cell_whose_only_host_is_gone_says_that_nobody_is_there():
    stand = Stand()
    stand.fleet.happen(EventSpec(at_s=0, what="service", cell="a", factor=2.0))
    call = stand.send(1, poison_ms=100.0)
    assert stand.run(0) == [(1, 0)], "the retry finds nobody"
    assert call.left_backend
    stand.run(100)
    stand.send(2)
    assert stand.run(102.5)[-1] == (2, 200)


def test_work_that_is_stopped_is_answered_by_nobody():
    stand = Stand()
    call = stand.send(1, work_ns=NS_PER_S)
    stand.engine.now = Instant(NS_PER_MS)
    stand.fleet.stop(call)
    assert stand.run(2_000) == []
    assert stand.fleet.inside == 0
