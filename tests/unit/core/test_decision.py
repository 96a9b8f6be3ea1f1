"""Every refusal carries the numbers that decided, and they can be checked afterwards."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shedproxy.core import (
    EVIDENCE,
    Instant,
    Rejected,
    RejectReason,
    RequestInfo,
    refusal_holds,
)

R = RejectReason

TRUE_AND_FALSE = [
    (R.ROUTE_LIMIT, (4, 1, 4), (3, 1, 4)),
    (R.CLASS_LIMIT, (0, 1, 0), (0, 1, 1)),
    (R.SHED_LEVEL, (99, 100, 0, 0), (101, 100, 0, 0)),
    (R.SHED_LEVEL, (100, 100, 500_000, 499_999), (100, 100, 500_000, 500_000)),
    (R.QUEUE_FULL, (8, 5, 5), (9, 5, 5)),
    (R.QUEUE_TIMEOUT, (500, 500), (499, 500)),
    (R.EVICTED, (8, 5, 6, 10), (8, 6, 6, 10)),
    (R.EVICTED, (8, 4095, 4096, 10), (9, 4095, 4096, 10)),
    (R.DEADLINE, (0, 0, 0), (10, 5, 5)),
    (R.DEADLINE, (9, 5, 5), (11, 5, 5)),
    (R.FAIR_SHARE, (4, 1, 4, 2), (4, 1, 4, 1)),
    (R.RESIDENT_LIMIT, (10, 10), (9, 10)),
    (R.CONTROL_BUDGET, (16, 16), (15, 16)),
    (R.NO_UPSTREAM, (0, 2), (1, 2)),
    (R.CONNECTION_LIMIT, (100, 100), (99, 100)),
    (R.CELL_SHARE, (80, 80), (79, 80)),
]


def rejected(reason: RejectReason, numbers: tuple[int, ...]) -> Rejected:
    return Rejected(RequestInfo(), reason, Instant(0), numbers, queue_length=8)


@pytest.mark.parametrize(("reason", "true", "false"), TRUE_AND_FALSE)
def test_the_numbers_prove_the_reason_or_they_do_not(
    reason: RejectReason, true: tuple[int, ...], false: tuple[int, ...]
) -> None:
    """The checker believes the numbers, not the label."""
    assert refusal_holds(rejected(reason, true))
    assert not refusal_holds(rejected(reason, false))


@given(reason=st.sampled_from(RejectReason), numbers=st.lists(st.integers(), max_size=6))
def test_numbers_of_the_wrong_count_never_hold(reason: RejectReason, numbers: list[int]) -> None:
    """A truncated record proves nothing."""
    if len(numbers) != len(EVIDENCE[reason]):
        assert not refusal_holds(rejected(reason, tuple(numbers)))


def test_evidence_is_named() -> None:
    """For people and for JSON."""
    assert rejected(R.QUEUE_TIMEOUT, (7, 5)).evidence == {"waited_ns": 7, "wait_max_ns": 5}


def test_a_bound_is_a_number_in_the_settings_and_not_want_of_capacity() -> None:
    assert {reason for reason in RejectReason if reason.is_bound} == {
        RejectReason.ROUTE_LIMIT,
        RejectReason.CLASS_LIMIT,
        RejectReason.RESIDENT_LIMIT,
        RejectReason.CONTROL_BUDGET,
        RejectReason.CONNECTION_LIMIT,
        RejectReason.ADDRESS_LIMIT,
    }
