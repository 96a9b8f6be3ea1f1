"""The published cases of Kubernetes API Priority and Fairness, with their margins."""

from __future__ import annotations

from dataclasses import dataclass, replace
from heapq import heappop, heappush
from itertools import count

import pytest

from shedproxy.core import Criticality, Outcome, Permit, Rejected, RejectReason, RequestInfo, Ticket
from shedproxy.simulator.controllers.apf import (
    ApfControl,
    ApfLevel,
    RetryAfter,
    _Demand,
    allocate_seats,
)

S = 1_000_000_000
QUARTER = 91 * 24 * 3600 * S


class Clock:
    """Events in order of time, then of arrival."""

    def __init__(self):
        self.now = 0
        self._events = []
        self._serial = count()

    def after(self, delay, action, *arguments):
        heappush(self._events, (self.now + delay, next(self._serial), action, arguments))

    def run(self, until):
        while self._events and self._events[0][0] <= until:
            self.now, _, action, arguments = heappop(self._events)
            action(*arguments)
        self.now = until


@dataclass
class Client:
    """As the published `uniformClient`: threads that call and think, in turns."""

    hash: int
    threads: int
    calls: int
    exec_ns: int
    think_ns: int
    width: int = 1
    pad_ns: int = 0
    final_width: int = 1
    is_split: bool = False
    criticality: Criticality = Criticality.CRITICAL

    def __post_init__(self):
        cost = max(self.width, self.final_width)
        self.info = RequestInfo(criticality=self.criticality, cost=cost)
        self.area = 0
        self.executing = 0
        self.changed_at = 0
        self.rejects = 0
        self.executions = 0


class Scenario:
    """Closed-loop clients against a controller; what each had in execution is integrated."""

    def __init__(self, control, clients, eval_ns):
        self.clock = Clock()
        self.control = control
        self.clients = [replace(client) for client in clients]
        for i, client in enumerate(self.clients):
            for j in range(client.threads):
                calls, delay = client.calls, 90 * j + 20 * i
                if client.is_split and j >= client.threads // 2:
                    delay += eval_ns // 2
                    calls //= 2
                self.clock.after(delay, self.call, client, calls)

    def call(self, client, calls_left):
        if not calls_left:
            return
        decision = self.control.arrive(client.info, now=self.clock.now, flow_hash=client.hash)
        if isinstance(decision, Rejected):
            client.rejects += 1
        elif isinstance(decision, Ticket):
            decision.context = (client, calls_left)
        else:
            self.execute(decision, client, calls_left)

    def execute(self, permit, client, calls_left):
        client.executions += 1
        self.change(client, client.width)
        self.clock.after(client.exec_ns + client.think_ns, self.call, client, calls_left - 1)
        self.clock.after(client.exec_ns, self.change, client, -client.width)
        self.clock.after(client.exec_ns + client.pad_ns, self.finish, permit)

    def finish(self, permit):
        self.deliver(self.control.release(permit, Outcome.SUCCESS, now=self.clock.now))

    def deliver(self, verdicts):
        for ticket, decision in verdicts:
            if isinstance(decision, Permit):
                self.execute(decision, *ticket.context)
            else:
                ticket.context[0].rejects += 1

    def change(self, client, seats):
        client.area += client.executing * (self.clock.now - client.changed_at)
        client.changed_at = self.clock.now
        client.executing += seats

    def averages(self, until):
        """Seats in execution by client, on average since the last call."""
        began_at = self.clock.now
        self.clock.run(until)
        averages = []
        for client in self.clients:
            self.change(client, 0)
            averages.append(client.area / (until - began_at))
            client.area = 0
        return averages

    def finish_all(self):
        """Let the clients finish; nothing may be left. How many calls were refused."""
        self.clock.run(1 << 62)
        assert self.control.in_flight == 0
        assert self.control.reading().queue_length == 0
        return sum(client.rejects for client in self.clients)


def fair(demands, capacity):
    """The max-min allocation."""
    allocation = [0.0] * len(demands)
    order = sorted(range(len(demands)), key=demands.__getitem__)
    for rank, index in enumerate(order):
        allocation[index] = min(demands[index], capacity / (len(demands) - rank))
        capacity -= allocation[index]
    return allocation


def demand_of(client, threads):
    return threads * client.width * client.exec_ns / (client.exec_ns + client.think_ns)


def level(queues=0, queue_length=8, hand=1, **others):
    return ApfLevel(queues=queues, queue_length=queue_length, hand=hand, **others)


def control_of(seats, config):
    return ApfControl(slots=seats, levels={Criticality.CRITICAL: config})


def is_close(average, expected, margin):
    return abs(average - expected) <= margin * expected


# --- queueset_test.go ---------------------------------------------------------------------------

ONE, TWO = 1001001001, 2002002002

FAIR_CASES = {
    "Baseline": (1, level(9, 8, 3), [Client(ONE, 1, 21, S, 0)], 20 * S, 0.0),
    "UniformFlowsHandSize1": (
        4,
        level(9, 8, 1),
        [Client(ONE, 8, 20, S, S - 1), Client(TWO, 8, 20, S, S - 1)],
        50 * S,
        0.01,
    ),
    "UniformFlowsHandSize3": (
        4,
        level(8, 16, 3),
        [Client(400900100100, 8, 30, S, S - 1), Client(300900200200, 8, 30, S, S - 1)],
        60 * S,
        0.03,
    ),
    "DifferentFlowsExpectEqual": (
        4,
        level(9, 8, 1),
        [Client(ONE, 8, 20, S, S), Client(TWO, 7, 30, S, S // 2)],
        40 * S,
        0.01,
    ),
    "DifferentFlowsExpectUnequal": (
        3,
        level(9, 6, 1),
        [Client(ONE, 4, 20, S, S - 1), Client(TWO, 2, 20, S, S - 1)],
        20 * S,
        0.01,
    ),
    "SeatSecondsRollover": (
        2000,
        level(9, 8, 1),
        [
            Client(ONE, 8, 20, QUARTER, QUARTER, width=500),
            Client(TWO, 7, 30, QUARTER, QUARTER // 2, width=500),
        ],
        40 * QUARTER,
        0.01,
    ),
    "DifferentWidths": (
        6,
        level(64, 13, 7),
        [
            Client(10010010010010, 13, 10, S, S - 1),
            Client(20020020020020, 7, 10, S, S - 1, width=2),
        ],
        20 * S,
        0.155,
    ),
    "TooWide": (
        6,
        level(64, 35, 7),
        [
            *(Client(n * 10010010010010, 15, 21, S, S - 1, width=2) for n in (4, 5, 6, 7)),
            Client(90090090090090, 15, 21, S, S - 1, width=7),
        ],
        400 * S,
        0.35,
    ),
    "NoRestraint, no competition": (
        10,
        level(is_exempt=True),
        [Client(ONE, 5, 15, S, S), Client(TWO, 2, 15, S, S // 2)],
        18 * S,
        0.001,
    ),
}


@pytest.mark.parametrize("name", FAIR_CASES)
def test_seats_are_shared_fairly_and_nobody_is_refused(name):
    """The published case, its evaluation time and its margin."""
    seats, config, clients, eval_ns, margin = FAIR_CASES[name]
    scenario = Scenario(control_of(seats, config), clients, eval_ns)
    averages = scenario.averages(eval_ns)
    expected = fair([demand_of(client, client.threads) for client in clients], seats)
    for average, wanted in zip(averages, expected, strict=True):
        assert is_close(average, wanted, margin)
    assert scenario.finish_all() == 0


def test_exempt_gets_all_it_asks_for():
    """Exempt: 5 threads of width 3 that think as long as they run hold 7.5 seats, of 2."""
    client = Client(ONE, 5, 20, S, S, width=3)
    scenario = Scenario(control_of(2, level(is_exempt=True)), [client], 40 * S)
    assert is_close(scenario.averages(40 * S)[0], 7.5, 1e-8)


def test_without_restraint_competition_is_unfair():
    """NoRestraint: 2 seats' worth of capacity, and each gets what it asks for."""
    clients = [Client(ONE, 5, 15, S, S), Client(TWO, 2, 15, S, S // 2)]
    scenario = Scenario(control_of(2, level(is_exempt=True)), clients, 18 * S)
    averages = scenario.averages(18 * S)
    expected = fair([demand_of(client, client.threads) for client in clients], 2)
    for average, wanted in zip(averages, expected, strict=True):
        assert not is_close(average, wanted, 0.25)


SEPARATIONS = [
    (S, 0, 1, 1, 1, None),
    (S, 0, 1, 2, 1, None),
    (S, 0, 2, 2, 1, None),
    (S, 0, 1, 1, 2, None),
    (S, 0, 1, 2, 2, None),
    (S, 0, 2, 2, 2, None),
    (0, S, 1, 1, 1, [0.5]),
    (0, S, 1, 2, 1, None),
    (0, S, 2, 2, 1, [0.5]),
    (0, S, 1, 1, 2, [0.25, 0.25]),
    (0, S, 1, 2, 2, [0.5, 0.5]),
    (0, S, 2, 2, 2, [0.25, 0.25]),
    (S, S // 2, 1, 1, 1, None),
    (S, S // 2, 1, 2, 1, None),
    (S, S // 2, 2, 2, 1, None),
    (S, S // 2, 1, 1, 2, [1 / 3, 1 / 3]),
    (S, S // 2, 1, 2, 2, None),
    (S, S // 2, 2, 2, 2, [1 / 3, 1 / 3]),
    (S // 2, S, 1, 1, 1, [0.5]),
    (S // 2, S, 1, 2, 1, None),
    (S // 2, S, 2, 2, 1, [0.5]),
    (S // 2, S, 1, 1, 2, [0.25, 0.25]),
    (S // 2, S, 1, 2, 2, [0.5, 0.5]),
    (S // 2, S, 2, 2, 2, [0.25, 0.25]),
]
"""Think, pad after the answer, final width, seats, clients, and averages that are not max-min."""


@pytest.mark.parametrize(("think_ns", "pad_ns", "final", "seats", "clients", "given"), SEPARATIONS)
def test_separated_requests_get_exactly_their_part(think_ns, pad_ns, final, seats, clients, given):
    """Separations, margin 0. A pad is time for which the seats stay taken after the answer."""
    clients = [
        Client(flow, 1, 25, S, think_ns, pad_ns=pad_ns, final_width=final)
        for flow in (ONE, TWO)[:clients]
    ]
    scenario = Scenario(control_of(seats, level(9, 8, 3)), clients, 24 * S)
    demands = [demand_of(client, 1) for client in clients]
    assert scenario.averages(24 * S) == (given or fair(demands, seats))
    assert scenario.finish_all() == 0


def test_windup_is_bounded():
    """Windup: idle time builds no credit, though some: within 26 %, but not within 10 %."""
    clients = [Client(ONE, 2, 40, S, -1), Client(TWO, 2, 40, S, -1, is_split=True)]
    scenario = Scenario(control_of(3, level(9, 6, 1)), clients, 40 * S)
    first_half = scenario.averages(20 * S)
    assert is_close(first_half[0], 2, 0.01)
    assert is_close(first_half[1], 1, 0.01)
    for average in scenario.averages(40 * S):
        assert is_close(average, 1.5, 0.26)
        assert not is_close(average, 1.5, 0.1)
    assert scenario.finish_all() == 0


def test_without_queues_it_refuses_and_is_unfair():
    """DifferentFlowsWithoutQueuing."""
    clients = [
        Client(ONE, 6, 10, S, 57_000_000),
        Client(TWO, 4, 15, S, 750_000_000),
    ]
    scenario = Scenario(control_of(4, level(0)), clients, 13 * S)
    averages = scenario.averages(13 * S)
    expected = fair([demand_of(client, client.threads) for client in clients], 4)
    for average, wanted in zip(averages, expected, strict=True):
        assert not is_close(average, wanted, 0.2)
    assert scenario.finish_all() > 0


def test_a_waiter_that_leaves_gives_its_place_back():
    """ContextCancel: one seat, one waits for a second and goes; both books are empty again."""
    control = control_of(1, level(11, 11, 1))
    info = RequestInfo()
    running = control.arrive(info, now=0)
    waiting = control.arrive(info, now=0)
    assert isinstance(waiting, Ticket)
    assert control.reading().queue_length == 1
    assert not control.abandon(waiting, now=S)
    assert control.reading().queue_length == 0
    assert not control.release(running, Outcome.SUCCESS, now=2 * S)
    assert control.in_flight == 0


def test_a_crash_gives_its_seat_back():
    """TotalRequestsExecutingWithPanic."""
    control = control_of(1, level(0))
    control.release(control.arrive(RequestInfo(), now=0), Outcome.IGNORE, now=1)
    assert control.in_flight == 0
    assert isinstance(control.arrive(RequestInfo(), now=1), Permit)


# --- borrowing_test.go, conc_alloc.go -----------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second"), [((50, 67), (33, 50)), ((50, 33), (67, 50))], ids=["lendable", "borrowing"]
)
def test_levels_lend_what_they_do_not_use(first, second):
    """Two levels of 12 seats with 24 and 6 clients of 250 ms: after 10 s about 16 and 6."""
    levels = {
        criticality: level(
            10, 10, 2, shares=100, lendable_percent=lendable, borrowing_percent=borrowing
        )
        for criticality, (lendable, borrowing) in zip(
            (Criticality.CRITICAL, Criticality.SHEDDABLE), (first, second), strict=True
        )
    }
    control = ApfControl(slots=24, levels=levels)
    clients = [
        Client(ONE, 24, 1000, S // 4, 0),
        Client(TWO, 6, 1000, S // 4, 0, criticality=Criticality.SHEDDABLE),
    ]
    scenario = Scenario(control, clients, 25 * S)

    def tick():
        scenario.deliver(control.tick(now=scenario.clock.now))
        scenario.clock.after(control.next_tick_at() - scenario.clock.now, tick)

    scenario.clock.after(0, tick)
    scenario.averages(10 * S)
    averages = scenario.averages(25 * S)
    assert 15.5 <= averages[0] <= 16.1
    assert 5.5 <= averages[1] <= 6.1


def test_seats_follow_targets_inside_bounds():
    """By hand: unbounded, held from below, held from above, and both sums of bounds."""
    assert allocate_seats(12, [(0, 1, 12), (0, 2, 12)]) == [4, 8]
    assert allocate_seats(24, [(12, 24, 20), (8, 8, 18)]) == [16, 8]
    assert allocate_seats(24, [(12, 24, 16), (4, 6, 18)]) == [16, 8]
    assert allocate_seats(5, [(2, 4, 9), (3, 3, 9)]) == [2, 3]
    assert allocate_seats(18, [(2, 4, 9), (3, 3, 9)]) == [9, 9]


def test_demand_fades_and_jumps():
    """10 seats for 10 s, none for 10 s, then 6 for half of 10 s: mean and deviation are 3."""
    demand = _Demand()
    demand.add(10, now=0)
    assert demand.close(now=10 * S) == 10
    assert demand.smoothed == 10
    demand.add(-10, now=10 * S)
    assert demand.close(now=20 * S) == 10
    assert demand.smoothed == pytest.approx(9.77)
    demand.add(6, now=25 * S)
    assert demand.close(now=30 * S) == 6
    assert demand.smoothed == pytest.approx(0.977 * 9.77 + 0.023 * 6)
    demand.add(14, now=30 * S)
    assert demand.close(now=40 * S) == 20
    assert demand.smoothed == 20


# --- dropped_requests_tracker_test.go -----------------------------------------------------------


def test_retry_after_follows_the_drops():
    """The published run: second, drops, then the seconds to stay away."""
    tracker = RetryAfter()
    for second, drops, expected in (
        (0, 5, 1),
        (1, 11, 2),
        (2, 1, 2),
        (3, 11, 4),
        (4, 1, 4),
        (7, 1, 8),
        (11, 1, 8),
        (15, 1, 7),
        (17, 1, 6),
        (21, 14, 5),
        (22, 1, 10),
    ):
        for _ in range(drops):
            tracker.record(now=second * S)
        assert tracker.seconds == expected, second


def test_levels_have_a_retry_after_of_their_own():
    """One level drops three times in a second; only its clients are told to wait longer."""
    levels = {criticality: level(0, shares=1) for criticality in Criticality}
    control = ApfControl(slots=4, levels=levels)
    infos = [RequestInfo(criticality=criticality) for criticality in Criticality]
    for info in infos:
        assert isinstance(control.arrive(info, now=0), Permit)
    for info in [*infos, infos[0], infos[0]]:
        assert control.arrive(info, now=0).retry_after_ns == S
    told = [control.arrive(info, now=S).retry_after_ns // S for info in infos]
    assert told == [2, 1, 1, 1]


# --- what the controller adds -------------------------------------------------------------------


def test_total_is_divided_by_shares_and_rounded_up():
    """400 + 200 seats over shares 40, 40, 100, 20."""
    assert ApfControl(slots=600).reading().limit == 600
    levels = {criticality: level(0, shares=1) for criticality in Criticality}
    assert ApfControl(slots=6, levels=levels).reading().limit == 8


@pytest.mark.parametrize(
    ("time_left_ns", "expected_ns"), [(4 * S, S), (None, 15 * S), (1000 * S, 60 * S)]
)
def test_a_quarter_of_the_time_left_is_for_waiting(time_left_ns, expected_ns):
    """At most a minute; 15 s where no deadline is known."""
    control = control_of(1, level(9, 8, 3))
    control.arrive(RequestInfo(), now=5)
    ticket = control.arrive(RequestInfo(), now=5, time_left_ns=time_left_ns)
    assert ticket.expires_at == 5 + expected_ns
    assert control.next_tick_at() == min(ticket.expires_at, 10 * S)
    assert not control.tick(now=ticket.expires_at - 1)
    (verdict,) = control.tick(now=ticket.expires_at)
    assert verdict.decision.reason is RejectReason.QUEUE_TIMEOUT
    assert verdict.decision.waited_ns == expected_ns
    assert verdict.decision.retry_after_ns == S


def test_full_queue_refuses_its_own_flow_only():
    """Seat taken, queue of 2: the fourth of the flow is refused, another flow may wait."""
    control = control_of(1, level(9, 2, 1))
    decisions = [control.arrive(RequestInfo(), now=0, flow_hash=ONE) for _ in range(4)]
    assert [type(decision) for decision in decisions] == [Permit, Ticket, Ticket, Rejected]
    assert decisions[3].reason is RejectReason.QUEUE_FULL
    assert isinstance(control.arrive(RequestInfo(), now=0, flow_hash=TWO), Ticket)


def test_full_queue_refuses_only_while_all_seats_are_taken():
    """3 of 4 seats, a waiter of 2 in a queue of 1: another may wait behind it."""
    control = control_of(4, level(9, 1, 1))
    control.arrive(RequestInfo(cost=3), now=0, flow_hash=ONE)
    kinds = [type(control.arrive(RequestInfo(cost=2), now=0, flow_hash=ONE)) for _ in range(2)]
    assert kinds == [Ticket, Ticket]
    control = control_of(3, level(9, 1, 1))
    control.arrive(RequestInfo(cost=3), now=0, flow_hash=ONE)
    kinds = [type(control.arrive(RequestInfo(cost=2), now=0, flow_hash=ONE)) for _ in range(2)]
    assert kinds == [Ticket, Rejected]


def test_one_level_cannot_take_the_seats_of_another():
    """Without lending, a level that is full waits while another runs at once."""
    levels = {
        criticality: level(9, 8, 1, shares=1, borrowing_percent=0) for criticality in Criticality
    }
    control = ApfControl(slots=4, levels=levels)
    critical = RequestInfo(criticality=Criticality.CRITICAL_PLUS)
    assert isinstance(control.arrive(critical, now=0), Permit)
    assert isinstance(control.arrive(critical, now=0), Ticket)
    sheddable = RequestInfo(criticality=Criticality.SHEDDABLE)
    assert isinstance(control.arrive(sheddable, now=0), Permit)
    assert control.reading()[:3] == (4, 2, 1)


def test_a_narrow_newcomer_may_pass_a_wide_waiter():
    """3 of 4 seats are taken, one waits for 2; a request for 1 that is due before it runs."""
    control = control_of(4, level(9, 8, 1))
    control.arrive(RequestInfo(cost=3), now=0, flow_hash=ONE)
    assert isinstance(control.arrive(RequestInfo(cost=2), now=0, flow_hash=ONE), Ticket)
    newcomer = control.arrive(RequestInfo(), now=0, flow_hash=TWO)
    assert isinstance(newcomer, Permit)
    assert control.reading()[1:3] == (4, 1)


def test_no_level_is_ever_without_a_seat():
    """Of a handful of seats the shares of four levels are fractions of one."""
    control = ApfControl(slots=4)
    for at_s in (0, 10, 20):
        control.tick(now=at_s * S)
        assert all(level.queue_set.seats >= 1 for level in control._levels.values())
