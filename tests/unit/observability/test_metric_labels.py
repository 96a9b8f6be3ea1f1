"""Sets and bounds are those that were promised."""

from __future__ import annotations

from shedproxy.core import Criticality
from shedproxy.observability import metric_labels
from shedproxy.observability.metric import Label
from shedproxy.observability.metric_labels import CLASS, DURATION_BOUNDS, WAIT_BOUNDS


def test_waits_are_told_apart_more_finely_than_durations() -> None:
    assert (DURATION_BOUNDS[0], DURATION_BOUNDS[-1]) == (0.005, 10.0)
    assert set(DURATION_BOUNDS) < set(WAIT_BOUNDS)


def test_requests_that_were_not_read_have_an_empty_class() -> None:
    assert CLASS.values == ("", *(member.label for member in Criticality))


def test_every_label_is_one_that_the_module_offers() -> None:
    found = [name for name, value in vars(metric_labels).items() if isinstance(value, Label)]
    assert found
    assert set(found) <= set(metric_labels.__all__)
