"""The books of a cell's upstreams. Connections and waiters are words; time is a number."""

from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from shedproxy.core import Lane
from shedproxy.dataplane.wire.health import GHOST_NS, WARM_COUNT, WARM_STEP_NS
from shedproxy.dataplane.wire.pool import CONTROL_CONNECTIONS_MAX, UpstreamPool

RETRY_NS = 1_000
IDLE_NS = 10_000


def make(*keys, connections_max=2, fail_after=3):
    return UpstreamPool(
        keys or ("a",),
        connections_max=connections_max,
        fail_after=fail_after,
        retry_after_ns=RETRY_NS,
        idle_max_ns=IDLE_NS,
    )


def take(pool, now=0, **kwargs):
    slot = pool.acquire(now=now, **kwargs)
    assert slot is not None
    return slot


def fail(pool, times=1, now=0, **kwargs):
    """That many attempts that got no answer, on whichever upstream was chosen."""
    for _ in range(times):
        slot = take(pool, now, **kwargs)
        pool.on_failure(slot.upstream, now=now)
        pool.forget(slot, now=now)
    return slot.upstream


# --- Choice -------------------------------------------------------------------------------------


def test_the_upstream_with_the_fewest_in_use_is_taken():
    pool = make("a", "b", "c", connections_max=10)
    slots = [take(pool) for _ in range(9)]
    assert Counter(slot.upstream.key for slot in slots) == {"a": 3, "b": 3, "c": 3}
    for slot in slots:
        if slot.upstream.key == "b":
            pool.forget(slot, now=0)
    assert [take(pool).upstream.key for _ in range(3)] == ["b", "b", "b"]


def test_ties_go_round():
    pool = make("a", "b", "c")
    order = []
    for _ in range(6):
        slot = take(pool)
        order.append(slot.upstream.key)
        pool.forget(slot, now=0)
    assert order == ["a", "b", "c", "a", "b", "c"]


def test_a_slow_upstream_gets_less():
    # Fault U21: `b` never finishes, `a` always does.
    pool = make("a", "b", connections_max=100)
    chosen = Counter()
    for _ in range(50):
        slot = take(pool)
        chosen[slot.upstream.key] += 1
        if slot.upstream.key == "a":
            pool.forget(slot, now=0)
    assert chosen["b"] <= 2


@pytest.mark.parametrize("kind", ["connect", "error answer"])
def test_failing_fast_does_not_draw_traffic(kind):
    # Fault U7: `bad` answers at once with a failure, `good` has eight in use all the time.
    pool = make("bad", "good", connections_max=1000, fail_after=1000)
    busy = []
    chosen = Counter()
    for now in range(500):
        slot = take(pool, now)
        chosen[slot.upstream.key] += 1
        if slot.upstream.key == "good":
            busy.append(slot)
            if len(busy) > 8:
                pool.forget(busy.pop(0), now=now)
        else:
            if kind == "connect":
                pool.on_failure(slot.upstream, now=now)
            else:
                slot.upstream.answered(now, is_error=True)
            pool.forget(slot, now=now)
    assert chosen["bad"] < 20


def test_failures_stop_counting_after_a_while():
    pool = make("a", "b", fail_after=100)
    upstream = fail(pool, 1)
    assert upstream.load(now=GHOST_NS - 1) == 1
    assert upstream.load(now=GHOST_NS) == 0


def test_a_retry_goes_elsewhere_when_there_is_an_elsewhere():
    pool = make("a", "b")
    first = take(pool)
    assert take(pool, tried=(first.upstream,)).upstream is not first.upstream
    alone = make("a")
    only = take(alone)
    assert take(alone, tried=(only.upstream,)).upstream is only.upstream


def test_the_others_are_those_in_service_that_were_not_tried():
    pool = make("a", "b", "c", fail_after=1)
    a, b, c = pool.upstreams
    assert pool.others((a,)) == (b, c)
    assert pool.others((a,), hand=(a, c)) == (c,)
    pool.on_failure(b, now=0)
    assert pool.others((a,)) == (c,)
    assert pool.others((a, c)) == ()


def test_without_upstreams_there_is_nothing_to_take():
    pool = UpstreamPool(())
    assert pool.acquire(now=0) is None
    assert pool.healthy_count(now=0) == 0


# --- Connections --------------------------------------------------------------------------------


def test_the_newest_idle_connection_is_taken_first():
    pool = make(connections_max=5)
    first, second = take(pool), take(pool)
    assert first.connection is None
    pool.put_idle(first, "old", now=1)
    pool.put_idle(second, "new", now=2)
    assert take(pool).connection == "new"
    assert take(pool).connection == "old"
    assert take(pool).connection is None


def test_connections_idle_for_too_long_are_given_up_oldest_first():
    pool = make(connections_max=5)
    slots = [take(pool) for _ in range(3)]
    for at, slot in enumerate(slots):
        pool.put_idle(slot, f"c{at}", now=at)
    assert pool.tick(now=IDLE_NS - 1).close == ()
    assert pool.tick(now=IDLE_NS + 1).close == ["c0", "c1"]
    assert take(pool).connection == "c2"


def test_an_idle_connection_that_its_upstream_closed_is_not_taken():
    pool = make()
    pool.put_idle(take(pool), "c", now=0)
    upstream = pool.upstreams[0]
    assert pool.forget_idle(upstream, "c")
    assert not pool.forget_idle(upstream, "c")
    assert take(pool).connection is None


def test_all_idle_connections_can_be_given_up_at_once():
    pool = make("a", "b")
    for name in ("x", "y"):
        pool.put_idle(take(pool), name, now=0)
    pool.put_idle(take(pool, lane=Lane.CONTROL), "z", now=0)
    assert sorted(pool.close_idle()) == ["x", "y", "z"]
    assert pool.close_idle() == []


def test_no_more_connections_than_the_bound():
    pool = make(connections_max=2)
    slots = [take(pool), take(pool)]
    assert pool.acquire(now=0) is None
    pool.forget(slots[0], now=0)
    take(pool)


def test_control_requests_have_their_own_few_connections():
    pool = make(connections_max=1)
    data = take(pool)
    assert pool.acquire(now=0) is None
    control = [take(pool, lane=Lane.CONTROL) for _ in range(CONTROL_CONNECTIONS_MAX)]
    assert pool.acquire(now=0, lane=Lane.CONTROL) is None
    pool.put_idle(control[0], "control", now=0)
    assert pool.acquire(now=0) is None
    pool.put_idle(data, "data", now=0)
    assert take(pool).connection == "data"
    assert take(pool, lane=Lane.CONTROL).connection == "control"


# --- Waiting ------------------------------------------------------------------------------------


def test_a_freed_connection_goes_to_who_has_waited_longest():
    pool = make(connections_max=1)
    slot = take(pool)
    pool.wait("first")
    pool.wait("second")
    effects = pool.put_idle(slot, "c", now=1)
    assert [(h.waiter, h.slot.connection) for h in effects.handovers] == [("first", "c")]
    assert pool.waiting == 1
    effects = pool.forget(effects.handovers[0].slot, now=2)
    assert [(h.waiter, h.slot.connection) for h in effects.handovers] == [("second", None)]
    assert pool.waiting == 0


def test_who_left_the_line_gets_nothing():
    pool = make(connections_max=1)
    slot = take(pool)
    pool.wait("gone")
    assert pool.withdraw("gone")
    assert not pool.withdraw("gone")
    assert pool.put_idle(slot, "c", now=1).handovers == ()


def test_waiters_are_told_when_no_upstream_is_left():
    pool = make(connections_max=1, fail_after=1)
    slot = take(pool)
    pool.wait("w")
    assert pool.on_failure(slot.upstream, now=0)
    assert pool.forget(slot, now=0).orphans == ["w"]
    assert pool.waiting == 0


def test_waiters_stay_when_another_upstream_is_left():
    pool = make("a", "b", connections_max=1, fail_after=1)
    slots = [take(pool), take(pool)]
    pool.wait("w")
    pool.on_failure(slots[0].upstream, now=0)
    effects = pool.forget(slots[0], now=0)
    assert (effects.handovers, effects.orphans) == ([], [])
    effects = pool.put_idle(slots[1], "c", now=0)
    assert effects.handovers[0].slot.upstream is slots[1].upstream


# --- Health -------------------------------------------------------------------------------------


def test_failures_in_a_row_take_an_upstream_out_and_answers_break_the_row():
    pool = make(connections_max=10)
    upstream = fail(pool, 2)
    upstream.answered(0)
    fail(pool, 2)
    assert pool.healthy_count(now=0) == 1
    fail(pool, 1)
    assert pool.healthy_count(now=0) == 0
    assert pool.acquire(now=0) is None


def test_only_the_failure_that_takes_it_out_says_so():
    pool = make(fail_after=2)
    slots = [take(pool), take(pool)]
    upstream = slots[0].upstream
    assert [pool.on_failure(upstream, now=0) for _ in range(3)] == [False, True, False]


def test_an_upstream_that_is_out_gets_nothing_while_others_serve():
    pool = make("a", "b", connections_max=100, fail_after=1)
    out = fail(pool)
    chosen = {take(pool, RETRY_NS - 1).upstream.key for _ in range(20)}
    assert out.key not in chosen


def test_each_that_is_out_is_probed_when_its_time_has_come():
    pool = make("a", "b", connections_max=10, fail_after=1)
    out = fail(pool)
    assert list(pool.due_probes(now=0)) == []
    assert list(pool.due_probes(now=RETRY_NS)) == [out], "although the other serves"
    assert list(pool.due_probes(now=RETRY_NS)) == [], "one at a time"
    assert pool.next_change_at(now=RETRY_NS) == out.probe_at > RETRY_NS


def test_a_probe_that_connects_puts_it_back_and_its_connection_to_use():
    pool = make(fail_after=1)
    out = fail(pool)
    pool.on_connected(out, "c", now=RETRY_NS)
    assert pool.healthy_count(now=RETRY_NS) == 1
    assert take(pool, RETRY_NS).connection == "c"


def test_waiters_are_served_by_a_probe_that_connects():
    pool = make("a", "b", connections_max=1, fail_after=1)
    out = fail(pool)
    busy = take(pool)
    pool.wait("w")
    handovers = pool.on_connected(out, "c", now=0).handovers
    assert [(h.waiter, h.slot.connection) for h in handovers] == [("w", "c")]
    assert busy.upstream is not out


def test_a_probe_of_an_upstream_that_went_meanwhile_is_closed():
    pool = make(fail_after=1)
    out = fail(pool)
    apply(pool, "b")
    assert pool.on_connected(out, "c", now=0).close == ("c",)


def test_a_probe_connection_beyond_the_bound_is_closed_but_proves_what_it_proves():
    pool = make(connections_max=2, fail_after=1)
    take(pool)
    slot = take(pool)
    pool.on_failure(slot.upstream, now=0)
    assert pool.on_connected(slot.upstream, "c", now=0).close == ("c",)
    assert pool.healthy_count(now=0) == 1


def test_who_does_not_answer_is_tried_by_one_request_at_a_time():
    pool = make(connections_max=10, fail_after=1)
    slot = take(pool)
    pool.on_failure(slot.upstream, now=0, is_connected=True)
    pool.forget(slot, now=0)
    pool.on_connected(slot.upstream, "c", now=1)
    assert pool.acquire(now=1) is None, "that it connects is no proof"
    slot.upstream.probe_answered(2)
    assert pool.healthy_count(now=2) == 1
    trial = take(pool, 2)
    assert pool.healthy_count(now=2) == 0
    assert pool.acquire(now=2) is None
    assert trial.upstream.answered(3)
    assert pool.acquire(now=3) is not None


def test_who_comes_back_starts_slowly():
    pool = make(connections_max=1000, fail_after=1)
    out = fail(pool)
    out.probe_connected(0, fail_after=1)

    def room(now):
        taken = 0
        while pool.acquire(now=now) is not None:
            taken += 1
        return taken

    assert room(0) == WARM_COUNT
    pool.wait("w")
    assert pool.next_change_at(now=0) == WARM_STEP_NS
    assert pool.tick(now=WARM_STEP_NS).handovers[0].waiter == "w"
    assert room(WARM_STEP_NS) == WARM_COUNT - 1
    assert room(10 * WARM_STEP_NS) == 1000 - 2 * WARM_COUNT


# --- Configuration ------------------------------------------------------------------------------


def apply(pool, *keys, connections_max=2):
    return pool.apply(
        keys,
        connections_max=connections_max,
        fail_after=3,
        retry_after_ns=RETRY_NS,
        idle_max_ns=IDLE_NS,
        now=0,
    )


def test_a_change_keeps_what_is_known_of_those_that_stay():
    pool = make("a", "b")
    kept = pool.upstreams[1]
    kept.failures = 2
    pool.put_idle(take(pool), "of a", now=0)
    pool.put_idle(take(pool), "of b", now=0)
    effects = apply(pool, "b", "c")
    assert effects.close == ["of a"]
    assert [upstream.key for upstream in pool.upstreams] == ["b", "c"]
    assert pool.upstreams[0] is kept
    assert kept.failures == 2


def test_what_is_in_use_on_a_removed_upstream_ends_and_is_closed():
    pool = make("a")
    slot = take(pool)
    apply(pool, "b")
    assert pool.put_idle(slot, "c", now=0).close == ("c",)
    assert take(pool).upstream.key == "b"


def test_a_wider_bound_lets_waiters_in():
    pool = make(connections_max=1)
    take(pool)
    pool.wait("w")
    assert [h.waiter for h in apply(pool, "a", connections_max=2).handovers] == ["w"]


def test_an_upstream_named_twice_is_one():
    pool = make("a")
    apply(pool, "a", "a")
    assert len(pool.upstreams) == 1


# --- Any order of events ------------------------------------------------------------------------


class AnyOrder(RuleBasedStateMachine):
    """In-use counts return to zero, bounds hold, nobody waits while there is room."""

    def __init__(self):
        super().__init__()
        self.pool = make("a", "b", connections_max=2, fail_after=2)
        self.now = 0
        self.held = []
        self.waiting = []
        self.serial = 0

    def settle(self, effects):
        for handover in effects.handovers:
            self.waiting.remove(handover.waiter)
            self.held.append(handover.slot)
        for orphan in effects.orphans:
            self.waiting.remove(orphan)

    @rule()
    def arrive(self):
        slot = self.pool.acquire(now=self.now)
        if slot is not None:
            self.held.append(slot)
        elif self.pool.healthy_count(now=self.now):
            self.serial += 1
            self.waiting.append(self.serial)
            self.pool.wait(self.serial)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), end=st.sampled_from(["idle", "gone", "failed", "error"]))
    def finish(self, data, end):
        slot = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
        if end == "failed":
            is_connected = data.draw(st.booleans())
            self.pool.on_failure(slot.upstream, now=self.now, is_connected=is_connected)
        elif end in {"idle", "error"}:
            slot.upstream.answered(self.now, is_error=end == "error")
        if end == "idle":
            self.serial += 1
            self.settle(self.pool.put_idle(slot, slot.connection or self.serial, now=self.now))
        else:
            self.settle(self.pool.forget(slot, now=self.now))

    @precondition(lambda self: self.waiting)
    @rule()
    def leave(self):
        assert self.pool.withdraw(self.waiting.pop())

    @rule(step=st.integers(1, 3_000))
    def pass_time(self, step):
        self.now += step
        self.settle(self.pool.tick(now=self.now))

    @rule(end=st.sampled_from(["connected", "answered", "failed"]))
    def probe(self, end):
        for upstream in self.pool.due_probes(now=self.now):
            if end == "connected":
                self.serial += 1
                self.settle(self.pool.on_connected(upstream, self.serial, now=self.now))
            elif end == "answered":
                upstream.probe_answered(self.now)

    @rule(keys=st.sets(st.sampled_from("abc")))
    def configure(self, keys):
        self.settle(apply(self.pool, *sorted(keys)))

    @invariant()
    def books_agree(self):
        held = Counter(id(slot.upstream) for slot in self.held)
        for upstream in self.pool.upstreams:
            assert upstream.data.in_use == held[id(upstream)]
            assert upstream.data.in_use <= 2
            assert upstream.data.in_use + len(upstream.data.idle) <= 2
        assert self.pool.waiting == len(self.waiting)


AnyOrder.TestCase.settings = settings(deadline=None, max_examples=60, stateful_step_count=40)
TestAnyOrder = AnyOrder.TestCase


# --- Hands --------------------------------------------------------------------------------------


def hand_of(pool, keys):
    return tuple(upstream for upstream in pool.upstreams if upstream.key in keys)


def test_nobody_outside_the_hand_is_taken_whatever_happens_in_it():
    pool = make("a", "b", "c", connections_max=1, fail_after=1)
    hand = hand_of(pool, "ab")
    first = take(pool, hand=hand)
    assert take(pool, hand=hand).upstream.key != first.upstream.key
    assert pool.acquire(now=0, hand=hand) is None
    for upstream in hand:
        pool.on_failure(upstream, now=0)
    assert pool.healthy_count(now=0, hand=hand) == 0
    assert pool.healthy_count(now=0) == 1


def test_a_second_try_stays_in_the_hand_and_goes_to_another():
    pool = make("a", "b", "c")
    hand = hand_of(pool, "ab")
    first = take(pool, hand=hand).upstream
    second = take(pool, hand=hand, tried=(first,)).upstream
    assert {first.key, second.key} == {"a", "b"}
    assert take(pool, hand=hand, tried=(first, second)).upstream in hand


def test_who_waits_for_a_full_hand_is_in_nobodys_way():
    pool = make("a", "b", connections_max=1)
    full, free = take(pool, hand=hand_of(pool, "a")), take(pool, hand=hand_of(pool, "b"))
    pool.wait("one", hand_of(pool, "a"))
    pool.wait("two", hand_of(pool, "b"))
    (handover,) = pool.forget(free, now=0).handovers
    assert (handover.waiter, handover.slot.upstream.key) == ("two", "b")
    (handover,) = pool.put_idle(full, "conn", now=0).handovers
    assert (handover.waiter, pool.waiting) == ("one", 0)


def test_who_waits_for_a_hand_that_is_lost_is_told_and_others_wait_on():
    pool = make("a", "b", connections_max=1, fail_after=1)
    lost, full = take(pool, hand=hand_of(pool, "a")), take(pool, hand=hand_of(pool, "b"))
    pool.wait("one", hand_of(pool, "a"))
    pool.wait("two", hand_of(pool, "b"))
    pool.wait("three")
    pool.on_failure(lost.upstream, now=0)
    effects = pool.forget(lost, now=0)
    assert (effects.orphans, effects.handovers) == (["one"], [])
    assert [h.waiter for h in pool.forget(full, now=0).handovers] == ["two"]
    assert pool.waiting == 1


def test_a_hand_with_nobody_left_of_it_is_lost():
    pool = make("a", "b", connections_max=1)
    take(pool, hand=hand_of(pool, "a"))
    pool.wait("one", hand_of(pool, "a"))
    effects = pool.apply(
        ("b",), connections_max=1, fail_after=1, retry_after_ns=1, idle_max_ns=1, now=0
    )
    assert effects.orphans == ["one"]


def test_zones_are_those_of_the_keys_and_stay_away_until_told():
    pool = make("a", "b")
    pool.apply(
        ("a", "b"),
        connections_max=2,
        fail_after=1,
        retry_after_ns=1,
        idle_max_ns=1,
        now=0,
        zones=("x", "y"),
        own_zone="x",
    )
    assert take(pool).upstream.key == "a"
    pool.weigh_away({"x"})
    assert take(pool).upstream.key == "b"
    pool.weigh_away(())
    assert take(pool).upstream.key == "a"
