"""Workers that share a limit: the words, and what happens between any two of them."""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import pytest
from harness.words import Killed, Words

from shedproxy.core import (
    LOOK_NS,
    SHARE_FIELDS,
    SHARE_WORDS,
    SILENT_NS,
    CellShare,
    Criticality,
    Instant,
    Outcome,
    Permit,
    RequestInfo,
    Shedder,
    SpillPolicy,
    Verdict,
)
from shedproxy.testing.builders import a_policy, a_request

SECOND = 1_000_000_000
REQUEST = a_request()


def host(workers: int) -> tuple[list[CellShare], list[int]]:
    """Views of one cell, and who was woken."""
    words = memoryview(bytearray(SHARE_WORDS * workers * 8)).cast("q")
    woken: list[int] = []
    shares = [
        CellShare(words, workers=workers, own=own, parts=workers, part=own, wake=woken.append)
        for own in range(workers)
    ]
    return shares, woken


def test_everybody_sees_what_all_have_in_flight():
    (one, two, three), _ = host(3)
    one.put(4)
    two.put(2)
    assert (one.total(), one.others(), three.others()) == (6, 2, 6)


def test_a_free_slot_goes_to_whoever_went_longest_without():
    (one, two, three), woken = host(3)
    two.claim(20)
    three.claim(10)
    one.pass_on(1)
    assert woken == [2]
    assert two.must_yield(Instant(30), 1)
    assert not three.must_yield(Instant(30), 1)


def test_of_those_who_wait_elsewhere_each_worker_is_counted_once():
    """But for one that does not come for what is free."""
    subject = begun(3, limit=1, arrivals=(0, 1, 1, 2))
    assert [shedder.waiting("default") for shedder in subject.shedders] == [2, 3, 2]
    (one, two, three), _ = host(3)
    two.claim(10)
    three.claim(20)
    assert (one.claims(), two.claims()) == (2, 1)
    assert one.must_yield(Instant(30), 1)
    assert one.must_yield(Instant(30 + LOOK_NS), 1)
    assert one.claims() == 1


def test_what_is_free_beyond_a_slot_for_each_that_waits_longer_is_nobodys():
    (one, two, three), _ = host(3)
    two.claim(10)
    three.claim(20)
    one.claim(30)
    assert one.must_yield(Instant(40), 2)
    assert not one.must_yield(Instant(40), 3)
    assert three.must_yield(Instant(40), 1)
    assert not three.must_yield(Instant(40), 2)


def test_whoever_waits_for_several_slots_is_left_so_many():
    (one, two), _ = host(2)
    two.claim(10)
    two.want(3)
    one.claim(20)
    assert one.must_yield(Instant(30), 3)
    assert not one.must_yield(Instant(30), 4)
    two.claim(15)
    assert not one.must_yield(Instant(40), 2)


def test_who_came_for_slots_and_found_too_few_is_not_passed_over():
    (one, two), _ = host(2)
    two.claim(10)
    for look in range(20):
        two.want(2)
        assert one.must_yield(Instant(look * LOOK_NS), 1)
    assert one.must_yield(Instant(20 * LOOK_NS - 1), 1)
    assert not one.must_yield(Instant(20 * LOOK_NS), 1)


def test_a_wide_waiter_is_not_starved_by_narrow_ones_of_another_worker():
    """As in one worker, where slots get free until the first in line fits."""
    subject = begun(2, limit=4, arrivals=(0, 0, 0, 0, 0, 0))
    subject.arrive(1, a_request(cost=3))
    assert subject.running[1] == []
    for _ in range(20):
        subject.arrive(0)
        subject.finish(0)
        subject.settle()
    assert [permit.cost for permit in subject.running[1]] == [3]
    assert subject.words.values[:2] == [1, 3]


def test_who_has_just_come_brings_no_limit_that_others_should_take():
    """Of equals the lower number leads, and a newcomer is nobody's equal."""
    words = memoryview(bytearray(SHARE_WORDS * 2 * 8)).cast("q")
    common = {"workers": 2, "parts": 2, "wake": lambda _: None}
    two = CellShare(words, own=1, part=1, **common)
    for second in (1, 2):
        two.elect(60, Instant(second * SECOND))
    newcomer = CellShare(words, own=0, part=0, **common)
    newcomer.elect(8, Instant(2 * SECOND + 1))
    assert (newcomer.leads, newcomer.leader_limit()) == (False, 60)
    two.elect(60, Instant(3 * SECOND))
    assert two.leads


def test_nobody_is_woken_without_room():
    (one, two, _), woken = host(3)
    one.put(2)
    two.claim(10)
    one.pass_on(2)
    assert woken == []


def test_who_does_not_come_for_a_slot_is_passed_over_until_it_claims_anew():
    (one, two), _ = host(2)
    two.claim(10)
    one.claim(20)
    assert one.must_yield(Instant(100), 1)
    assert one.must_yield(Instant(99 + LOOK_NS), 1)
    assert not one.must_yield(Instant(100 + LOOK_NS), 1)
    two.claim(15)
    assert one.must_yield(Instant(101 + LOOK_NS), 1)


def test_who_was_passed_over_asks_anew_while_somebody_waits_there():
    """Who has nothing in flight has no end of work at which it would; a frozen one asks nothing."""
    (one, two), _ = host(2)
    two.claim(10)
    assert one.must_yield(Instant(100), 1)
    assert not one.must_yield(Instant(100 + LOOK_NS), 1)
    two.elect(8, Instant(SECOND))
    assert one.must_yield(Instant(SECOND), 1)
    assert one.first() == 1
    two.claim(0)
    two.elect(8, Instant(2 * SECOND))
    assert one.first() == -1


def test_nobody_is_late_for_a_slot_before_it_is_told_of_it():
    words = memoryview(bytearray(SHARE_WORDS * 2 * 8)).cast("q")
    due: set[int] = set()
    one, two = (
        CellShare(
            words,
            workers=2,
            own=own,
            parts=2,
            part=own,
            wake=due.add,
            is_due=due.__contains__,
        )
        for own in range(2)
    )
    two.claim(10)
    one.pass_on(1)
    assert due == {1}
    assert one.must_yield(Instant(100), 1)
    assert one.must_yield(Instant(100 + 2 * LOOK_NS), 1)
    due.clear()
    assert one.must_yield(Instant(99 + 3 * LOOK_NS), 1)
    assert not one.must_yield(Instant(100 + 3 * LOOK_NS), 1)


def test_the_parts_shown_of_a_limit_add_up_to_it():
    shares, _ = host(3)
    assert sum(share.part_of(10) for share in shares) == 10
    assert sum(share.part_of(2) for share in shares) == 2


def test_the_worker_with_most_samples_leads_and_keeps_the_lead_while_it_is_close():
    (one, two), _ = host(2)
    now = Instant(SECOND)
    one.elect(10, now)
    for _ in range(50):
        two.on_sample()
    two.elect(20, now)
    one.elect(10, Instant(now + SECOND // 5))
    assert (one.leads, two.leads) == (False, True)
    assert one.leader_limit() == 20
    two.elect(20, Instant(now + SECOND // 5))
    for _ in range(50):
        one.on_sample()
    one.elect(10, Instant(now + 2 * SECOND // 5))
    assert not one.leads


def test_a_worker_that_tells_nothing_more_leads_no_more():
    (one, two), _ = host(2)
    for _ in range(50):
        two.on_sample()
    two.elect(20, Instant(SECOND))
    one.elect(10, Instant(SECOND))
    assert not one.leads
    one.elect(10, Instant(2 * SECOND + SECOND // 2))
    assert one.leads


def test_slots_of_a_worker_that_stands_still_are_others_again_after_two_seconds():
    (one, two), _ = host(2)
    two.put(3)
    two.elect(10, Instant(SECOND))
    for tenth in range(21):
        one.elect(10, Instant(SECOND + tenth * SECOND // 10))
        assert one.total() == 3
    one.elect(10, Instant(SECOND + SILENT_NS + SECOND // 10))
    assert (one.total(), one.others(), two.total()) == (0, 0, 3)
    two.elect(10, Instant(4 * SECOND))
    one.elect(10, Instant(4 * SECOND))
    assert one.total() == 3


def test_who_was_held_up_itself_takes_nobody_for_frozen():
    (one, two), _ = host(2)
    for share in (one, two):
        share.elect(10, Instant(SECOND))
    two.put(3)
    one.elect(10, Instant(9 * SECOND))
    assert one.total() == 3


def test_who_leaves_goes_on_with_a_part_of_the_limit():
    (one, two), _ = host(2)
    shedder = Shedder(a_policy(limit=8), now=Instant(1))
    shedder.join("default", one)
    decisions = [shedder.arrive(a_request(), Instant(2)) for _ in range(3)]
    shedder.leave("default", 4, now=Instant(3))
    (cell,) = shedder.stats().cells
    assert (cell.limit, cell.host_limit, cell.host_in_flight) == (2, 2, 3)
    one.put(0)
    for permit in decisions:
        assert isinstance(permit, Permit)
        shedder.release(permit, Outcome.SUCCESS, Instant(4))
    assert two.total() == 0
    shedder.join("default", one)
    shedder.arrive(a_request(), Instant(5))
    assert two.total() == 1


# --- operations inside operations, at every word -------------------------------------------
#
# Real shedders on words that know when they are read or written: at each of these moments another
# worker does something as a whole, or the worker is killed.


class Host:
    """Workers that share a fixed limit, with bells that ring when nothing else happens."""

    def __init__(self, workers: int, limit: int) -> None:
        self.words = Words(SHARE_WORDS * workers)
        self.limit = limit
        self.workers = range(workers)
        self.now = SECOND
        self.rung: list[int] = []
        self.shedders = [self._start(own) for own in self.workers]
        self.running: list[list[Permit]] = [[] for _ in self.workers]

    def _start(self, own: int) -> Shedder:
        shedder = Shedder(a_policy(limit=self.limit), now=Instant(self.now))
        count = len(self.workers)
        share = CellShare(
            self.words, workers=count, own=own, parts=count, part=own, wake=self.rung.append
        )
        shedder.join("default", share)
        return shedder

    def _take(self, worker: int, verdicts: Sequence[Verdict]) -> None:
        self.running[worker] += [each.decision for each in verdicts]

    def arrive(self, worker: int, request: RequestInfo = REQUEST) -> None:
        self.now += 1
        decision = self.shedders[worker].arrive(request, Instant(self.now))
        if isinstance(decision, Permit):
            self.running[worker].append(decision)

    def finish(self, worker: int) -> None:
        if self.running[worker]:
            self.now += 1
            permit = self.running[worker].pop(0)
            self._take(
                worker, self.shedders[worker].release(permit, Outcome.SUCCESS, Instant(self.now))
            )

    def look(self, worker: int) -> None:
        self.now += 1
        self._take(worker, self.shedders[worker].tick(now=Instant(self.now)))

    def settle(self) -> None:
        """Everybody that was woken looks."""
        while self.rung:
            self.look(self.rung.pop(0))

    def kill(self, worker: int) -> None:
        """Its words are cleared, and its successor begins."""
        for word in range(worker, SHARE_FIELDS * len(self.workers), len(self.workers)):
            self.words.values[word] = 0
        self.running[worker] = []
        self.shedders[worker] = self._start(worker)

    @property
    def in_flight(self) -> int:
        return sum(map(len, self.running))

    @property
    def waiting(self) -> int:
        return sum(shedder.stats().cells[0].queue_length for shedder in self.shedders)

    def assert_right(self) -> None:
        assert self.in_flight == sum(self.words.values[: len(self.workers)])
        assert not self.waiting or self.in_flight >= self.limit, "a free slot, and somebody waits"

    def end(self) -> None:
        """Finish everything: each in its turn gets a slot, and no word is left."""
        while self.in_flight:
            for worker in self.workers:
                self.finish(worker)
                self.settle()
                self.assert_right()
        assert not self.waiting
        count = 2 * len(self.workers)
        assert self.words.values[:count] == [0] * count


Action = Callable[[Host, int], None]
ACTIONS: tuple[Action, ...] = (Host.arrive, Host.finish)


def begun(workers: int, limit: int, arrivals: Sequence[int]) -> Host:
    subject = Host(workers, limit)
    for worker in arrivals:
        subject.arrive(worker)
    return subject


def beginnings(workers: int, limit: int) -> Iterator[tuple[int, ...]]:
    """Who has slots and who waits: up to one request more than the limit."""
    for count in range(limit + 2):
        yield from itertools.combinations_with_replacement(range(workers), count)


def interrupted(
    make: Callable[[], Host], outer: Callable[[Host], None], inner: Callable[[Host], None]
) -> Iterator[Host]:
    """`outer` once for each access of its to a word, with `inner` just before that one."""
    for place in itertools.count(1):
        subject = make()
        words = subject.words
        words.accesses, words.interruptions = 0, [(place, functools.partial(inner, subject))]
        outer(subject)
        if words.interruptions:
            return
        yield subject


def pairs(workers: int) -> Iterator[tuple[int, int, Action, Action]]:
    """Two workers and what each does."""
    for one, two in itertools.permutations(range(workers), 2):
        for first, second in itertools.product(ACTIONS, repeat=2):
            yield one, two, first, second


@pytest.mark.parametrize(("workers", "limit"), [(2, 1), (2, 2), (2, 3), (3, 1), (3, 2)])
def test_no_slot_is_lost_or_forgotten_however_two_workers_meet(workers: int, limit: int):
    worlds = 0
    for arrivals in beginnings(workers, limit):
        make = functools.partial(begun, workers, limit, arrivals)
        for one, two, first, second in pairs(workers):
            outer = functools.partial(_do, first, one)
            for subject in interrupted(make, outer, functools.partial(_do, second, two)):
                worlds += 1
                assert subject.in_flight <= limit + workers - 1
                subject.settle()
                subject.assert_right()
                subject.end()
    assert worlds > 100


def test_who_finds_room_at_once_is_woken_by_nobody():
    """Else busy workers would ring for each other's every request."""
    make = functools.partial(begun, 2, 4, [1, 1])
    worlds = [
        subject.rung
        for subject in interrupted(
            make, lambda subject: subject.arrive(0), lambda subject: subject.finish(1)
        )
    ]
    assert worlds
    assert not any(worlds)


def test_slots_are_not_kept_free_for_a_worker_that_has_no_time_to_come():
    """It is not on a processor, and both have waiters: one slot is its, not all that are freed."""
    subject = begun(2, 8, [1] * 8 + [0] * 4 + [1] * 8)
    for _ in range(8):
        subject.finish(1)
        assert subject.in_flight >= 7
    subject.settle()
    subject.assert_right()
    subject.end()


@pytest.mark.parametrize(("workers", "limit"), [(2, 1), (2, 2), (3, 1), (3, 2)])
def test_a_worker_that_is_killed_at_any_word_leaves_nothing(workers: int, limit: int):
    worlds = 0
    for arrivals in beginnings(workers, limit):
        for victim, action in itertools.product(range(workers), ACTIONS):
            make = functools.partial(begun, workers, limit, arrivals)

            def outer(subject: Host, action: Action = action, victim: int = victim) -> None:
                with contextlib.suppress(Killed):
                    action(subject, victim)

            for subject in interrupted(make, outer, _die):
                worlds += 1
                subject.kill(victim)
                # Nobody rings for what a dead worker had: who waits looks again.
                subject.now += LOOK_NS
                for worker in subject.workers:
                    subject.look(worker)
                subject.settle()
                subject.assert_right()
                subject.end()
    assert worlds > 20


def _do(action: Action, worker: int, subject: Host) -> None:
    action(subject, worker)


def _die(_: Host) -> None:
    raise Killed


def test_everybody_sees_what_all_have_for_other_cells():
    """And what a silent one has is not counted, as of everything else of it."""
    (one, two), _ = host(2)
    for share, guests in ((one, 2), (two, 3)):
        share.elect(10, Instant(SECOND))
        share.put(5)
        share.put_guests(guests)
    assert (one.guests(), two.guests()) == (5, 5)
    for tenth in range(1, 30):
        one.elect(10, Instant(SECOND + tenth * SECOND // 10))
    assert (one.guests(), one.total()) == (2, 5)


def test_workers_of_one_cell_lend_half_of_it_together():
    """What one has for others is no other's own peak, and counts against what is left."""
    (one, two), _ = host(2)
    policy = a_policy(limit=8)
    spill = SpillPolicy(to=("b",), classes=(Criticality.SHEDDABLE,))
    small = replace(a_policy(limit=1, queue_length=0).cells[0], name="a", spill=spill)
    cells = (small, replace(policy.cells[0], name="b"))
    shedders = [Shedder(replace(policy, cells=cells), now=Instant(0)) for _ in range(2)]
    for shedder, share in zip(shedders, (one, two), strict=True):
        shedder.join("b", share)
        for tenth in range(1, 60):
            shedder.tick(now=Instant(tenth * SECOND // 10))
        shedder.arrive(a_request(cell="a"), Instant(6 * SECOND))
    low = a_request(cell="a", criticality=Criticality.SHEDDABLE)
    taken = [
        isinstance(shedders[number % 2].arrive(low, Instant(6 * SECOND)), Permit)
        for number in range(6)
    ]
    assert taken == [True] * 4 + [False] * 2
    assert one.guests() == one.total() == 4
