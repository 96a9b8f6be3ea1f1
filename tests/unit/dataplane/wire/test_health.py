"""When an upstream is out, when it is probed, and how it comes back. Time is a number."""

from __future__ import annotations

import pytest

from shedproxy.dataplane.wire.health import (
    NEVER,
    TRIAL_NS,
    TRIAL_STEPS,
    UNPROVEN_NS,
    WARM_COUNT,
    WARM_STEP_NS,
    Health,
)

EVERY_NS = 400_000_000


def fail(health: Health, now: int = 0, *, times: int = 1, is_connected: bool = False) -> bool:
    return [
        health.failed(now, fail_after=3, probe_every_ns=EVERY_NS, is_connected=is_connected)
        for _ in range(times)
    ][-1]


def test_three_failures_in_a_row_take_it_out() -> None:
    health = Health()
    assert not fail(health, times=2)
    assert health.is_open(0)
    assert fail(health)
    assert not health.is_open(NEVER - 1)


def test_an_answer_breaks_the_row_even_an_error() -> None:
    health = Health()
    fail(health, times=2)
    assert not health.answered(0, is_error=True), "it was in service"
    fail(health, times=2)
    assert health.is_open(0)
    assert len(health.ghosts) == 5, "failures and errors count as in use for a while"


def test_probes_begin_soon_and_come_at_growing_intervals() -> None:
    health = Health()
    fail(health, times=3)
    at, intervals = 0, []
    for _ in range(6):
        intervals.append(health.probe_at - at)
        at = health.probe_at
        health.plan_probe(at, probe_every_ns=EVERY_NS)
    longest = [EVERY_NS // 4, EVERY_NS // 2, *[EVERY_NS] * 4]
    for interval, most in zip(intervals, longest, strict=True):
        assert 0.75 * most <= interval <= most
    assert len(set(intervals[2:])) > 1, "no two processes in step"


def test_late_failures_do_not_put_the_probes_off() -> None:
    health = Health()
    fail(health, times=3)
    at = health.probe_at
    fail(health, at - 1, times=5)
    assert health.probe_at == at


def test_who_refused_is_back_when_it_connects_until_the_next_failure() -> None:
    health = Health()
    fail(health, times=3)
    assert health.probe_connected(5, fail_after=3)
    assert health.is_open(5)
    assert not health.ghosts, "what it failed at before is over"
    assert health.probe_at == NEVER
    assert fail(health, 6)
    health.probe_connected(7, fail_after=3)
    health.answered(8)
    assert not fail(health, 9), "an answer is better proof"


def test_who_did_not_answer_must_answer() -> None:
    health = Health()
    fail(health, times=3, is_connected=True)
    fail(health)
    assert not health.probe_connected(5, fail_after=3)
    assert not health.is_open(5)
    health.probe_answered(6)
    assert health.is_open(6)
    assert health.out_until is not None, "on trial only"
    health.begin_trial(6)
    assert not health.is_open(6)
    assert health.answered(7)
    assert health.out_until is None
    assert not health.must_answer


def test_trials_without_an_answer_come_at_growing_intervals() -> None:
    health = Health()
    fail(health, times=3, is_connected=True)
    now, waits = 0, []
    for _ in range(TRIAL_STEPS + 3):
        health.probe_answered(now)
        assert health.probe_at == NEVER
        waits.append(health.out_until - now)
        now = health.out_until
        health.begin_trial(now)
        fail(health, now, is_connected=True)
        assert health.probe_at != NEVER, "probed again first"
    assert waits[0] == 0
    assert waits[1:4] == [2 * TRIAL_NS, 4 * TRIAL_NS, 8 * TRIAL_NS]
    assert waits[-1] == TRIAL_NS << TRIAL_STEPS


def test_who_answers_no_probe_gets_a_request_now_and_then() -> None:
    health = Health()
    fail(health, times=3, is_connected=True)
    for begin in range(0, 5 * UNPROVEN_NS, UNPROVEN_NS):
        assert not health.is_open(begin + UNPROVEN_NS - 1)
        assert health.is_open(begin + UNPROVEN_NS)
        health.begin_trial(begin + UNPROVEN_NS)
        assert health.probe_at != NEVER, "probed all the while"
        fail(health, begin + UNPROVEN_NS, is_connected=True)
    health.begin_trial(0)
    assert health.answered(0)


def test_a_trial_that_never_came_back_blocks_the_next_for_a_while_only() -> None:
    health = Health()
    fail(health, times=3, is_connected=True)
    health.probe_answered(0)
    health.begin_trial(0)
    assert not health.is_open(TRIAL_NS - 1)
    assert health.is_open(TRIAL_NS)


def test_an_answered_probe_is_a_sign_of_life() -> None:
    health = Health()
    health.probe_answered(0)
    assert health.answers == 1
    assert health.out_until is None, "it was in service"


@pytest.mark.parametrize(("steps", "room"), [(0, WARM_COUNT), (1, 2 * WARM_COUNT), (50, 512)])
def test_room_doubles_after_a_return(steps: int, room: int) -> None:
    health = Health()
    assert health.room(512, 0) == 512
    fail(health, times=3)
    health.probe_connected(0, fail_after=3)
    assert health.room(512, steps * WARM_STEP_NS) == room
    assert (health.warm_since is not None) == (room < 512)
    assert health.room(2, 0) == 2


def test_a_smaller_weight_makes_a_load_larger_and_is_due_after_its_part_of_turns() -> None:
    health = Health()
    health.weight = 250
    assert [health.weighed(load, 1000) for load in (0, 1, 3)] == [3, 7, 15]
    health.credit = 0
    assert [health.weighed(1, 2) for _ in range(9)] == [7] * 7 + [1, 1]
