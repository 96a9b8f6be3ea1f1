"""Builders: defaults, and only what is named is changed."""

from __future__ import annotations

from shedproxy.core import CellPolicy, Criticality, Mode, Policy, RequestInfo
from shedproxy.testing import a_policy, a_request


def test_without_arguments_they_build_the_defaults():
    assert a_request() == RequestInfo()
    assert a_policy() == Policy()


def test_named_values_are_set():
    assert a_request(route="r", criticality=Criticality.SHEDDABLE).route == "r"
    policy = a_policy(
        limit=3, queue_length=7, wait_max_ns=11, mode=Mode.OBSERVE, name="c", resident_limit=2
    )
    (cell,) = policy.cells
    assert (policy.mode, cell.name, cell.resident_limit) == (Mode.OBSERVE, "c", 2)
    assert (cell.limit.algorithm, cell.limit.initial) == ("fixed", 3)
    assert (cell.queue.length_max, cell.queue.wait_max_ns) == (7, 11)
    assert cell.queue.shards == CellPolicy().queue.shards
