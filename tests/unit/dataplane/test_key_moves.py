"""What a worker does about keys in motion: what it counts, whom it holds, and when it lets go."""

from __future__ import annotations

import pytest

from shedproxy.core import (
    BUCKETS,
    CellPolicy,
    LimitPolicy,
    Mode,
    MovePhase,
    Outcome,
    Permit,
    Policy,
    QueuePolicy,
    Rejected,
    RejectReason,
    RequestInfo,
    Ticket,
    milliseconds,
    motion_place,
    refusal_holds,
    seconds,
)
from shedproxy.dataplane.cell_keys import CellKeys
from shedproxy.dataplane.driver import Driver
from shedproxy.dataplane.key_moves import HELD_MAX, HELD_NS_MAX, Moving, Present
from shedproxy.dataplane.trust import Trust
from shedproxy.snapshot import CellRouting, Document
from shedproxy.testing import ManualClock

KEY, OTHER = 7, 9
IN = {cell: RequestInfo(cell=cell) for cell in "ab"}
MARKED, HELD = (motion_place(0, 1, phase) for phase in (MovePhase.MARKED, MovePhase.HELD))


def keys_of(place: int, version: int = 1, key: int = KEY) -> CellKeys:
    routing = CellRouting(
        key="host",
        default="a",
        cells=("a", "b"),
        buckets=((0, BUCKETS),),
        pins=((f"{key:016x}", place),),
        version=version,
    )
    return CellKeys(routing, Trust(()))


class Host:
    """A worker's driver with two cells of one slot, and the table that it has."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        cells = tuple(
            CellPolicy(
                name=cell,
                limit=LimitPolicy(algorithm="fixed", initial=1),
                queue=QueuePolicy(wait_max_ns=seconds(60)),
            )
            for cell in "ab"
        )
        self.driver = Driver(Document(policy=Policy(cells=cells)), clock=self.clock)
        self.moves = self.driver.moves
        self.told: list[Moving] = []
        self.moves.on_change = self.told.append
        self.keys = keys_of(0)

    def turn(self, place: int, *present: Present, version: int = 2, key: int = KEY) -> None:
        self.keys = keys_of(place, version, key)
        self.moves.turn(self.keys, lambda: present)

    def cell(self) -> str:
        return self.keys.names[self.keys._table.find(KEY) & 0xFF]

    def cells(self) -> dict[str, int]:
        return {cell.name: cell.in_flight for cell in self.driver.shedder.stats().cells}


class Request:
    """One that asks again when it is told to."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self.decision: Permit | Ticket | Rejected | None = None
        self.is_broken = False

    def arrive(self, time_left_ns: int | None = None) -> Request:
        host = self._host
        self.decision = host.moves.arrive(self, KEY, IN[host.cell()], 0, 0, time_left_ns)
        return self

    def on_verdict(self, decision: Permit | Rejected) -> None:
        self.decision = decision

    def on_hold(self, ticket: Ticket) -> None:
        self.decision = ticket

    def on_place(self) -> None:
        if self.is_broken:
            raise RuntimeError("a bug")
        self.arrive()

    def end(self) -> None:
        assert isinstance(self.decision, Permit)
        self._host.driver.release(self.decision, Outcome.SUCCESS)


@pytest.fixture
def host() -> Host:
    return Host()


def request(host: Host, **time) -> Request:
    return Request(host).arrive(**time)


def test_marked_is_served_where_it_is_and_counted_until_it_ends(host):
    host.turn(MARKED)
    one = request(host)
    assert isinstance(one.decision, Permit)
    assert host.cells() == {"a": 1, "b": 0}
    host.moves.tick()
    one.end()
    host.moves.tick()
    assert host.told == [Moving(2, 0, 0, 0), Moving(2, 1, 0, 0), Moving(2, 0, 0, 0)]


def test_what_was_there_before_the_mark_is_counted(host):
    permit = host.driver.arrive(IN["a"], Request(host))
    host.turn(MARKED, Present(Request(host), KEY, permit, None))
    assert host.moves.moving().work == 1
    host.driver.release(permit, Outcome.SUCCESS)
    host.moves.tick()
    assert host.moves.moving().work == 0


def test_streams_and_work_that_nobody_waits_for_are_work_until_they_end(host):
    host.turn(MARKED)
    host.driver.set_mode(Mode.OFF)
    stream, zombie, orphan = (host.driver.arrive(IN["a"], Request(host)) for _ in range(3))
    for permit in (stream, zombie):
        host.moves.note_work(permit, KEY)
    host.moves.note_left(orphan, KEY)
    host.driver.to_resident(stream)
    host.clock.advance(milliseconds(10))
    host.driver.leave_zombie(zombie)
    host.driver.orphan(orphan)
    host.turn(HELD, version=3)
    assert host.moves.moving() == Moving(3, 3, 1, 0)
    host.clock.advance(seconds(2))
    host.driver.tick()
    host.driver.release(orphan, Outcome.SUCCESS)
    host.moves.tick()
    assert host.moves.moving() == Moving(3, 1, 1, 0)
    host.driver.release(stream, Outcome.SUCCESS)
    host.moves.tick()
    assert host.moves.moving() == Moving(3, 0, 0, 0)


def test_held_waits_and_goes_on_at_the_target(host):
    host.turn(HELD)
    one = request(host)
    assert isinstance(one.decision, Ticket)
    assert host.moves.moving() == Moving(2, 0, 0, 1)
    assert host.cells() == {"a": 0, "b": 0}
    host.turn(1, version=3)
    assert isinstance(one.decision, Permit)
    assert host.cells() == {"a": 0, "b": 1}
    assert host.told[-1] == Moving(3, 0, 0, 0), "a key that stands still is not counted"


def test_held_goes_back_to_the_owner_when_the_move_is_given_up(host):
    host.turn(HELD)
    one = request(host)
    host.turn(0, version=3)
    assert isinstance(one.decision, Permit)
    assert host.cells() == {"a": 1, "b": 0}


def test_who_waits_in_the_queue_of_the_owner_does_not_begin_there(host):
    before = request(host)
    early, late = Request(host), Request(host)
    ticket = host.driver.arrive(IN["a"], early)
    host.turn(
        MARKED, Present(early, KEY, None, ticket), Present(before, KEY, before.decision, None)
    )
    late.arrive()
    assert isinstance(late.decision, Ticket)
    host.turn(HELD, version=3)
    before.end()
    host.moves.tick()
    assert host.cells() == {"a": 0, "b": 0}
    assert host.moves.moving() == Moving(3, 0, 0, 2)
    host.turn(1, version=4)
    assert isinstance(early.decision, Permit)
    assert isinstance(late.decision, Ticket), "the target has one slot"
    early.end()
    assert isinstance(late.decision, Permit)


def test_who_waited_in_the_queue_and_began_is_counted(host):
    host.turn(MARKED)
    first, second = request(host), request(host)
    first.end()
    assert isinstance(second.decision, Permit)
    host.moves.tick()
    assert host.moves.moving().work == 1


@pytest.mark.parametrize(
    ("left_ns", "waits_ns"), [(None, HELD_NS_MAX), (milliseconds(50), milliseconds(50))]
)
def test_nobody_waits_longer_than_is_good_for_it(host, left_ns, waits_ns):
    host.turn(HELD)
    one = request(host, time_left_ns=left_ns)
    host.clock.advance(waits_ns - 1)
    host.moves.tick()
    assert isinstance(one.decision, Ticket)
    host.clock.advance(1)
    host.moves.tick()
    refusal = one.decision
    assert isinstance(refusal, Rejected)
    assert refusal.reason is RejectReason.MOVING
    assert refusal.evidence == {
        "waited_ns": waits_ns, "wait_max_ns": waits_ns, "held": 1, "held_max": HELD_MAX,
    }  # fmt: skip
    assert refusal_holds(refusal)
    assert host.moves.moving().held == 0


def test_the_place_is_bounded(host):
    host.turn(HELD)
    for _ in range(HELD_MAX):
        request(host)
    refusal = request(host).decision
    assert isinstance(refusal, Rejected)
    assert refusal_holds(refusal)
    assert host.moves.moving().held == HELD_MAX


def test_who_leaves_is_not_told(host):
    host.turn(HELD)
    one = request(host)
    ticket = one.decision
    host.driver.abandon(ticket)
    host.turn(1, version=3)
    assert one.decision is ticket
    assert host.moves.moving().held == 0


def test_one_that_fails_keeps_nobody_from_going_on(host):
    host.turn(HELD)
    broken, one = request(host), request(host)
    broken.is_broken = True
    with pytest.raises(RuntimeError):
        host.turn(1, version=3)
    host.moves.turn(host.keys, lambda: ())
    assert isinstance(one.decision, Permit)


def test_another_key_that_moves_is_another_matter(host):
    host.turn(MARKED)
    one = request(host)
    assert isinstance(one.decision, Permit)
    host.turn(MARKED, version=3, key=OTHER)
    assert host.moves.moving() == Moving(3, 0, 0, 0)


def test_what_is_over_is_not_kept_for_ever(host):
    host.driver.set_mode(Mode.OFF)
    for _ in range(1000):
        permit = host.driver.arrive(IN["a"], Request(host))
        host.moves.note_left(permit, KEY)
        host.driver.release(permit, Outcome.IGNORE)
    assert len(host.moves._left) <= 65
