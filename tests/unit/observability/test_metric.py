"""The words of the table: slots by number, units in names."""

from __future__ import annotations

import pytest

from shedproxy.observability.metric import (
    DecisionOutcome,
    Gauge,
    Instrument,
    Label,
    Metric,
    ProcessCounter,
    ProcessGauge,
    RequestOutcome,
    WaitOutcome,
)


@pytest.mark.parametrize(
    "numbers",
    [DecisionOutcome, Gauge, ProcessCounter, ProcessGauge, RequestOutcome, WaitOutcome],
    ids=lambda numbers: numbers.__name__,
)
def test_what_numbers_slots_counts_from_zero_without_a_gap(numbers):
    assert [int(member) for member in numbers] == list(range(len(numbers)))


def test_a_label_loses_its_dots_for_prometheus():
    assert Label("shedproxy.cell").prometheus_name == "shedproxy_cell"


@pytest.mark.parametrize(
    ("name", "unit", "family", "suffix"),
    [
        ("a.duration", "s", "a_duration_seconds", "seconds"),
        ("a.seconds", "s", "a_seconds", ""),
        ("a.length", "{request}", "a_length", ""),
        ("a.share", "1", "a_share_ratio", "ratio"),
        ("a.rate", "{request}/s", "a_rate_per_second", ""),
    ],
)
def test_a_family_ends_with_its_unit_once(name, unit, family, suffix):
    metric = Metric(name=name, instrument=Instrument.GAUGE, unit=unit, meaning="A.")
    assert metric.prometheus_family == family
    if suffix:
        assert metric.prometheus_unit == suffix
