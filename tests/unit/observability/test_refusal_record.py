"""A refusal is read as it was written, whatever was written before it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from harness.refusals import CHECKOUT, record, refusal

from shedproxy.core import Criticality, Instant, Mode, RejectReason, RequestInfo
from shedproxy.observability.ring import RefusalRing

ANOTHER = {
    "waited_ns": 6_000_000,
    "retry_after_ns": 3_000_000_000,
    "in_flight": 7,
    "limit": 9,
    "queue_length": 17,
    "reason": RejectReason.FAIR_SHARE,
    "numbers": (16, 2100, 3001),
    "at": Instant(123_456_789_012_346),
}


@pytest.mark.parametrize("field", ANOTHER)
def test_what_differs_from_the_refusal_before_is_recorded(field):
    ring = RefusalRing()
    rejected = [refusal(), refusal(**{field: ANOTHER[field]}), refusal()]
    found = [ring.find(record(ring, each)) for each in rejected]
    assert [getattr(each, field) for each in found] == [getattr(each, field) for each in rejected]


@pytest.mark.parametrize(
    ("field", "another"),
    [
        ("route", "basket"),
        ("cost", 4),
        ("criticality", Criticality.SHEDDABLE),
        ("is_retry", False),
    ],
)
def test_a_request_that_differs_from_the_one_before_is_recorded(field, another):
    ring = RefusalRing()
    requests = [CHECKOUT, replace(CHECKOUT, **{field: another}), CHECKOUT]
    found = [ring.find(record(ring, refusal(request=request))) for request in requests]
    assert [each.to_rejected("shop").request for each in found] == requests


def test_cell_mode_and_bar_that_differ_from_those_before_are_recorded():
    ring = RefusalRing()
    said = [(1, Mode.ENFORCE, 0), (2, Mode.ENFORCE, 0), (2, Mode.OBSERVE, 0), (2, Mode.OBSERVE, 3)]
    ids = []
    for cell, mode, bar in said:
        rejected = refusal()
        rejected.spill_bar = bar
        ids.append(ring.record(rejected, cell=cell, mode=mode, wall_ns=17))
    found = [ring.find(each) for each in ids]
    assert [(each.cell, each.mode, each.spill_bar) for each in found] == said


def test_a_long_route_is_cut_to_whole_characters():
    ring = RefusalRing()
    request = RequestInfo(route="x" * 35 + "\u00e9")
    assert ring.find(record(ring, refusal(request=request))).route == "x" * 35


def test_a_route_that_is_no_unicode_is_recorded_all_the_same():
    """JSON can bring half of a surrogate pair into a name."""
    ring = RefusalRing()
    found = ring.find(record(ring, refusal(request=RequestInfo(route="a\ud800b"))))
    assert found is not None
    assert found.route == "a?b"


def test_numbers_that_do_not_fit_are_clamped_rather_than_lost():
    ring = RefusalRing()
    rejected = refusal(numbers=(2**80, -(2**80), 1), in_flight=-1, limit=2**40)
    found = ring.find(record(ring, rejected))
    assert found.numbers == (2**63 - 1, 1 - 2**63, 1)
    assert (found.in_flight, found.limit) == (0, 2**32 - 1)
    found = ring.find(record(ring, refusal()))
    assert (found.in_flight, found.limit) == (8, 8)
