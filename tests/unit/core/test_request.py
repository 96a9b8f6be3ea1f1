"""Criticality by name, and the rank that follows from class, attempt and cohort."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shedproxy.core import Criticality, RequestInfo, rank_of
from shedproxy.core.request import IN_PROGRESS, LEVEL_BITS

COHORT = st.integers(0, 1023)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("critical", Criticality.CRITICAL),
        (" Critical-Plus ", Criticality.CRITICAL_PLUS),
        ("SHEDDABLE_PLUS", Criticality.SHEDDABLE_PLUS),
        ("urgent", None),
        ("", None),
        ("critical\u00a0x", None),
    ],
)
def test_criticality_parses_the_spellings_people_use(
    text: str, expected: Criticality | None
) -> None:
    """Case, dashes and blanks do not matter; anything else is unknown."""
    assert Criticality.parse(text) is expected


@given(a=st.sampled_from(Criticality), b=st.sampled_from(Criticality), cohort=COHORT, other=COHORT)
def test_a_higher_class_outranks_whatever_the_cohort(
    a: Criticality, b: Criticality, cohort: int, other: int
) -> None:
    """Strict order of classes."""
    if a > b:
        low = rank_of(RequestInfo(criticality=b), other)
        assert rank_of(RequestInfo(criticality=a, is_retry=True), cohort) > low


@given(criticality=st.sampled_from(Criticality), cohort=COHORT, other=COHORT)
def test_a_retry_ranks_below_every_first_try_of_its_class(
    criticality: Criticality, cohort: int, other: int
) -> None:
    """Attempt 2 and later come last."""
    first = rank_of(RequestInfo(criticality=criticality), cohort)
    retry = rank_of(RequestInfo(criticality=criticality, is_retry=True), other)
    assert retry < first
    assert 0 <= retry < first <= 4095


@given(cohort=COHORT, other=COHORT, is_retry=st.booleans())
def test_a_task_under_way_ranks_above_every_other_of_its_class_and_attempt(
    cohort: int, other: int, is_retry: bool
) -> None:
    """And in no other class: the bit is the highest of those inside a level."""
    info = RequestInfo(is_retry=is_retry)
    later, first = rank_of(info, cohort) | IN_PROGRESS, rank_of(info, other)
    assert later > first
    assert later >> LEVEL_BITS == first >> LEVEL_BITS


@given(cohort=COHORT, other=COHORT)
def test_among_tasks_under_way_the_cohort_decides_as_among_others(cohort: int, other: int) -> None:
    """The same order in both halves."""
    first, second = rank_of(RequestInfo(), cohort), rank_of(RequestInfo(), other)
    assert (first < second) == (first | IN_PROGRESS < second | IN_PROGRESS)
