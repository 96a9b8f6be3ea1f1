"""The budget of retries: a share of successes, a floor, a bound, and a half for each tenant."""

from __future__ import annotations

import sys

from hypothesis import given
from hypothesis import strategies as st

from shedproxy.core import NS_PER_S, RetryBudget, RetryPolicy

A, B = 0x1234_5678_9ABC_DEF0, 0x0FED_CBA9_8765_4321


def made(**policy) -> RetryBudget:
    return RetryBudget(RetryPolicy(**policy), now=0)


def spent(budget: RetryBudget, flow: int = 0, *, now: int = 0, tries: int = 1000) -> int:
    return sum(budget.spend(flow, now=now) for _ in range(tries))


def test_successes_earn_their_share() -> None:
    budget = made(floor_rps=0)
    assert spent(budget) == 0
    for _ in range(305):
        budget.earn(0)
    assert spent(budget) == 30


def test_a_quiet_service_may_retry_too() -> None:
    budget = made(budget_ppm=0, floor_rps=4)
    assert spent(budget, A) + spent(budget, B) == 40, "ten seconds of it to begin with"
    assert spent(budget, A, now=10 * NS_PER_S) == 20, "one tenant half of it"
    assert spent(budget, B, now=10 * NS_PER_S) == 20


def test_nothing_is_earned_while_everything_fails() -> None:
    budget = made(floor_rps=0)
    for _ in range(200):
        budget.earn(0)
    first = spent(budget)
    assert (first, spent(budget, now=NS_PER_S * 3600)) == (20, 0)


def test_what_is_saved_is_bounded() -> None:
    budget = made()
    for _ in range(1_000_000):
        budget.earn(A)
    assert budget.saved_count == 100
    assert spent(budget, A) == 50
    assert spent(budget, A, now=NS_PER_S * 3600) == 50


def test_one_tenant_cannot_spend_it_for_all() -> None:
    """The attack: many requests of one tenant that all fail."""
    budget = made(floor_rps=0)
    for _ in range(1000):
        budget.earn(B)
    assert spent(budget, A) == 0
    assert spent(budget, B) == 50


def test_without_tenants_all_is_one() -> None:
    budget = made(floor_rps=0)
    for _ in range(500):
        budget.earn(0)
    assert spent(budget) == 50


def test_a_new_policy_keeps_what_was_saved() -> None:
    budget = made(floor_rps=2)
    budget.apply(RetryPolicy(budget_ppm=500_000, floor_rps=0))
    assert budget.saved_count == 20
    budget.earn(A)
    budget.earn(A)
    assert spent(budget, A) == 11


def test_memory_does_not_depend_on_the_number_of_tenants() -> None:
    def size(budget: RetryBudget) -> int:
        return sum(
            sys.getsizeof(getattr(budget, name)) for name in ("_tenant_saved", "_tenant_seen_at")
        )

    budget = made()
    before = size(budget)
    for flow in range(50_000):
        budget.earn(flow)
        budget.spend(flow, now=flow)
    assert size(budget) == before < 8 * 1024


@given(
    st.lists(st.tuples(st.integers(0, NS_PER_S), st.integers(0, 3), st.booleans()), max_size=200),
    st.integers(0, 1_000_000),
    st.integers(0, 20),
)
def test_never_more_is_spent_than_was_earned(events, ppm: int, floor: int) -> None:
    budget = made(budget_ppm=ppm, floor_rps=floor)
    now = successes = retries = 0
    for wait_ns, flow, is_success in events:
        now += wait_ns
        if is_success:
            successes += 1
            budget.earn(flow)
        else:
            retries += budget.spend(flow, now=now)
    earned_ppm = successes * ppm + floor * 1_000_000 * (10 + now / NS_PER_S)
    assert retries * 1_000_000 <= earned_ppm + 1
