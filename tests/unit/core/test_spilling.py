"""A cell without room sends a request to one that has it: through the Shedder, as drivers do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from shedproxy.core import (
    NS_PER_MS,
    WATCH_NS,
    CellPolicy,
    CellStats,
    Criticality,
    Decision,
    Instant,
    Kind,
    LimitPolicy,
    Mode,
    Outcome,
    Permit,
    Policy,
    QueuePolicy,
    Rejected,
    RejectReason,
    RequestInfo,
    Shedder,
    SpillBar,
    SpillPolicy,
    Ticket,
    explain_refusal,
    milliseconds,
    refusal_holds,
)

LOW, HIGH = Criticality.SHEDDABLE, Criticality.CRITICAL
START = Instant(2 * WATCH_NS)
SPILLS = SpillPolicy(to=("b",), classes=(LOW,))


NOWHERE = SpillPolicy()


def cell(name: str, limit: int, spill: SpillPolicy = NOWHERE, **more: object) -> CellPolicy:
    fixed = LimitPolicy(algorithm="fixed", initial=limit, minimum=limit, maximum=limit)
    return CellPolicy(name=name, limit=fixed, queue=QueuePolicy(length_max=0), spill=spill, **more)


class Host:
    """Cells `a` (one slot, spills) and `b` (ten slots), watched for ten seconds."""

    def __init__(self, *cells: CellPolicy, mode: Mode = Mode.ENFORCE, own: int = 0) -> None:
        self.now = Instant(0)
        self.policy = Policy(mode=mode, cells=cells or (cell("a", 1, SPILLS), cell("b", 10)))
        self.shedder = Shedder(self.policy, now=self.now)
        self.own = [self.arrive("b", HIGH) for _ in range(own)]
        self.pass_time(START)

    def pass_time(self, until: int) -> None:
        while self.now < until:
            self.now = Instant(self.now + 100 * NS_PER_MS)
            self.shedder.tick(now=self.now)

    def arrive(
        self, at_cell: str = "a", criticality: Criticality = LOW, cohort: int = 0, **request
    ) -> Decision:
        info = RequestInfo(cell=at_cell, criticality=criticality, **request)
        return self.shedder.arrive(info, now=self.now, cohort=cohort)

    def end(self, permit: Decision, outcome: Outcome = Outcome.SUCCESS) -> None:
        assert isinstance(permit, Permit)
        self.shedder.release(permit, outcome, self.now)

    def of(self, name: str) -> CellStats:
        return next(found for found in self.shedder.stats().cells if found.name == name)

    def bar(self, decision: Decision) -> SpillBar:
        assert isinstance(decision, Rejected)
        assert refusal_holds(decision)
        return SpillBar(decision.spill_bar)


def cell_of(decision: Decision) -> str:
    assert isinstance(decision, Permit), decision
    return decision.request.cell


def test_without_it_a_full_cell_refuses():
    host = Host(cell("a", 1), cell("b", 10))
    host.arrive()
    refused = host.arrive()
    assert host.bar(refused) is SpillBar.NONE
    assert "no other cell" not in explain_refusal(refused)


def test_a_class_that_may_goes_to_where_there_is_room_until_half_of_that_is_taken():
    host = Host()
    decisions = [host.arrive() for _ in range(7)]
    assert [cell_of(decision) for decision in decisions[:6]] == ["a", *"bbbbb"]
    assert host.bar(decisions[6]) is SpillBar.NO_ROOM
    assert decisions[6].request.cell == "a"
    assert (host.of("b").guests, host.of("b").in_flight, host.of("b").guest_room) == (5, 5, 0)
    assert (host.of("a").sent_count, host.of("b").taken_count) == (5, 5)
    assert explain_refusal(decisions[6]).endswith(
        "no other cell took it: half of the limit there is taken, or was lately by its own"
    )


def test_a_guest_that_ends_makes_room_for_another():
    host = Host()
    guests = [host.arrive() for _ in range(6)][1:]
    host.end(guests[0])
    assert cell_of(host.arrive()) == "b"
    for guest in guests[1:]:
        host.end(guest)
    assert host.of("b").guests == 1


@pytest.mark.parametrize(
    "request_values",
    [
        {"criticality": HIGH},
        {"is_pinned": True},
        {"kind": Kind.STREAM},
        {"route_limit": 5},
    ],
    ids=["another class", "a key that is pinned", "a stream", "a route with a bound"],
)
def test_what_may_not_stays(request_values):
    host = Host(cell("a", 1, SPILLS, resident_limit=0), cell("b", 10))
    host.arrive()
    assert host.bar(host.arrive(**request_values)) is SpillBar.NONE


def test_a_tenant_over_its_share_is_not_sent_elsewhere():
    host = Host(replace(cell("a", 2, SPILLS), queue=QueuePolicy(length_max=4)), cell("b", 20))
    info = RequestInfo(cell="a", criticality=LOW)
    reasons = set()
    for index in range(200):
        flow = 1 if index % 10 else 2 + index
        decision = host.shedder.arrive(info, host.now, flow_hash=flow, cohort=index % 1024)
        if isinstance(decision, Rejected):
            reasons.add((decision.reason, bool(decision.spill_bar)))
    assert (RejectReason.FAIR_SHARE, False) in reasons
    assert (RejectReason.FAIR_SHARE, True) not in reasons


def test_the_peak_of_its_own_is_kept_free():
    host = Host(own=3)
    decisions = [host.arrive() for _ in range(4)]
    assert [isinstance(decision, Permit) for decision in decisions] == [True, True, True, False]
    own = [host.arrive("b", HIGH) for _ in range(5)]
    assert all(isinstance(decision, Permit) for decision in own)


def test_nobody_comes_where_somebody_waited_just_now():
    host = Host(cell("a", 1, SPILLS), replace(cell("b", 10), queue=QueuePolicy(length_max=5)))
    wide = [host.arrive("b", HIGH) for _ in range(10)]
    assert isinstance(host.arrive("b", HIGH), Ticket)
    for permit in wide[:9]:
        host.end(permit)
    assert host.of("b").queue_length == 0
    host.arrive()
    assert host.bar(host.arrive()) is SpillBar.NO_ROOM


def test_nothing_is_remembered_for_ever_of_guests_that_are_all_different():
    host = Host(own=0)
    host.arrive()
    for number in range(3000):
        guest = host.arrive(route=f"route-{number}")
        assert cell_of(guest) == "b"
        host.end(guest)
    assert len(host.shedder._guests) <= 1024


def test_a_cell_with_guests_sends_none_on_and_one_that_sent_takes_none():
    """a and b send to each other, and b to c: no request goes two steps, and none back."""
    host = Host(
        cell("a", 1, SPILLS),
        cell("b", 4, SpillPolicy(to=("a", "c"), classes=(LOW,))),
        cell("c", 10),
    )
    assert [cell_of(host.arrive()) for _ in range(3)] == ["a", "b", "b"]
    own = [host.arrive("b") for _ in range(3)]
    assert [type(decision) for decision in own] == [Permit, Permit, Rejected]
    assert host.bar(own[2]) is SpillBar.IS_HOST
    assert host.of("c").in_flight == 0


def test_whoever_sent_one_away_is_asked_in_vain():
    host = Host(
        cell("a", 1, SPILLS), cell("b", 20), cell("c", 1, SpillPolicy(to=("a",), classes=(LOW,)))
    )
    host.end(host.arrive())
    running = host.arrive()
    assert cell_of(host.arrive()) == "b"
    host.end(running)
    host.arrive("c")
    assert host.bar(host.arrive("c")) is SpillBar.IS_GUEST


def test_a_guest_is_no_demand_and_no_lesson_for_its_host():
    """What is learnt of b is what its own taught."""
    adaptive = CellPolicy(name="b", limit=LimitPolicy(initial=40, baseline_ns=milliseconds(1)))
    host = Host(cell("a", 1, SPILLS), adaptive)
    host.arrive()
    before = host.of("b")
    for _ in range(3_000):
        guest = host.arrive()
        assert cell_of(guest) == "b"
        host.now = Instant(host.now + 50 * NS_PER_MS)
        host.end(guest)
        host.shedder.tick(now=host.now)
    after = host.of("b")
    assert (after.limit, after.baseline_ns) == (before.limit, before.baseline_ns)
    assert after.offered_rps == 0.0


def test_clients_of_guests_that_leave_do_not_halve_the_limit_of_the_host():
    adaptive = CellPolicy(name="b", limit=LimitPolicy(initial=200, baseline_ns=milliseconds(1)))
    host = Host(cell("a", 1, SPILLS), adaptive)
    host.arrive()
    guests = [host.arrive() for _ in range(90)]
    host.now = Instant(host.now + milliseconds(500))
    for guest in guests:
        assert cell_of(guest) == "b"
        host.shedder.orphan(guest, now=host.now)
        host.shedder.leave_zombie(guest, now=host.now)
    host.pass_time(host.now + 2 * WATCH_NS)
    assert (host.of("b").limit, host.of("b").guests, host.of("b").zombies) == (200, 0, 0)


def test_a_service_that_is_overloaded_gets_no_more_guests_for_a_while():
    host = Host()
    host.arrive()
    host.end(host.arrive(), Outcome.OVERLOAD)
    assert host.bar(host.arrive()) is SpillBar.FAILED
    host.pass_time(host.now + WATCH_NS)
    assert cell_of(host.arrive()) == "b"


def test_a_cell_that_knows_no_latency_without_load_takes_nobody():
    host = Host(cell("a", 1, SPILLS), CellPolicy(name="b", limit=LimitPolicy(initial=40)))
    host.arrive()
    refused = host.arrive()
    assert host.bar(refused) in {SpillBar.UNKNOWN_ROOM, SpillBar.BUSY}


def test_a_bound_of_a_class_is_for_its_own():
    host = Host(cell("a", 1, SPILLS), cell("b", 10, class_limits=(9, None, None, None)))
    host.arrive()
    assert host.bar(host.arrive()) is SpillBar.BOUNDED


def test_who_has_no_time_for_the_work_there_stays():
    host = Host()
    for _ in range(20):
        own = host.arrive("b", HIGH)
        host.now = Instant(host.now + 50 * NS_PER_MS)
        host.end(own)
        host.shedder.tick(now=host.now)
    host.arrive()
    info = RequestInfo(cell="a", criticality=LOW)
    short, long = (
        host.shedder.arrive(info, host.now, time_left_ns=milliseconds(left)) for left in (40, 400)
    )
    assert host.bar(short) is SpillBar.NO_TIME
    assert isinstance(long, Permit)
    assert long.expires_at == host.now + milliseconds(400)


def test_a_guest_has_the_time_that_its_own_cell_gives():
    host = Host(
        cell("a", 1, SPILLS, default_timeout_ns=milliseconds(70)),
        cell("b", 10, default_timeout_ns=milliseconds(900)),
    )
    host.arrive()
    guest = host.arrive()
    assert cell_of(guest) == "b"
    assert guest.expires_at == host.now + milliseconds(70)


def test_a_head_is_not_refused_while_another_cell_could_take_the_request(full_cell: Callable):
    host = full_cell()
    info = RequestInfo(cell="a", criticality=LOW)
    assert host.shedder.screen(info, now=host.now, cohort=0) is None
    assert host.of("b").guests == 0
    other = replace(info, criticality=HIGH)
    spilled = [host.arrive() for _ in range(5)]
    assert all(isinstance(decision, Permit) for decision in spilled)
    assert isinstance(host.shedder.screen(info, now=host.now, cohort=0), Rejected)
    assert host.shedder.screen(other, now=host.now, cohort=1023) is None


@pytest.fixture
def full_cell() -> Callable[[], Host]:
    """Cell a is in overload: its low class is refused on the head."""

    def make() -> Host:
        long = QueuePolicy(length_max=30)
        host = Host(replace(cell("a", 1, SPILLS), queue=long), cell("b", 10))
        refused = 0
        running: list[Permit] = []
        for step in range(4_000):
            host.now = Instant(host.now + NS_PER_MS)
            high = host.arrive("a", HIGH, cohort=step * 619 % 1024)
            if isinstance(high, Permit):
                running.append(high)
            if step % 10 == 0 and running:
                verdicts = host.shedder.release(running.pop(), Outcome.SUCCESS, host.now)
                running += [told for _, told in verdicts if isinstance(told, Permit)]
            if step % 100 == 0:
                host.shedder.tick(now=host.now)
            refused += isinstance(high, Rejected)
        assert refused > 1_000
        return host

    return make


def test_the_guests_of_a_host_that_streams_are_streams_there():
    host = Host()
    host.arrive()
    guest = host.arrive()
    host.shedder.to_resident(guest, now=host.now)
    assert (host.of("b").guests, host.of("b").residents) == (0, 1)
    host.end(guest)
    assert (host.of("b").residents, host.of("b").in_flight) == (0, 0)


def test_observe_and_off_send_nobody_anywhere():
    for mode in (Mode.OBSERVE, Mode.OFF):
        host = Host(mode=mode)
        assert {cell_of(host.arrive()) for _ in range(20)} == {"a"}


def test_a_new_policy_ends_it_and_guests_that_are_there_end_in_order():
    host = Host()
    guests = [host.arrive() for _ in range(3)][1:]
    host.shedder.apply(Policy(cells=(cell("a", 1), cell("b", 10))), now=host.now)
    assert host.bar(host.arrive()) is SpillBar.NONE
    for guest in guests:
        host.end(guest)
    assert (host.of("b").guests, host.of("b").in_flight) == (0, 0)


@pytest.mark.parametrize("name", ["a", "nowhere"])
def test_a_cell_spills_to_another_that_there_is(name):
    spill = SpillPolicy(to=(name,), classes=(LOW,))
    with pytest.raises(ValueError, match=f"a cannot spill to {name}"):
        Shedder(Policy(cells=(cell("a", 1, spill), cell("b", 1))), now=Instant(0))
