"""A task has one cohort, which the salt moves; a lone request falls somewhere."""

from __future__ import annotations

from collections import Counter

from shedproxy.core import COHORTS
from shedproxy.dataplane.cohorts import Cohorts, lone_cohort

NAMES = (b"x-task", b"traceparent")


def test_the_first_header_that_names_somebody_counts() -> None:
    cohorts = Cohorts(NAMES, salt=b"a")
    task = cohorts.read({b"x-task": b"7"})
    assert cohorts.read({b"x-task": b" 7 ", b"traceparent": b"x"}) == task
    assert cohorts.read({b"x-task": b"  "}) == cohorts.read({}) == -1
    trace = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    assert cohorts.read({b"x-task": b"", b"traceparent": trace}) >= 0


def test_another_salt_is_another_order_and_all_cohorts_are_used() -> None:
    found = [{b"x-task": b"%d" % number} for number in range(20_000)]
    one, other = Cohorts(NAMES, salt=b"a"), Cohorts(NAMES, salt=b"b")
    counts = Counter(one.read(each) for each in found)
    assert set(counts) == set(range(COHORTS))
    assert max(counts.values()) < 60
    assert sum(one.read(each) == other.read(each) for each in found) < 60


def test_lone_requests_fall_evenly() -> None:
    counts = Counter(lone_cohort(serial) for serial in range(COHORTS * 8))
    assert set(counts) <= set(range(COHORTS))
    assert 4 <= min(counts.values()) <= max(counts.values()) <= 12
