"""The table is total, its labels are closed, and both naming conventions hold."""

from __future__ import annotations

import re

import pytest

from shedproxy.core import Criticality, LimitCause, RejectReason
from shedproxy.observability.fault import Fault
from shedproxy.observability.metric import Instrument
from shedproxy.observability.metric_labels import CELL, DOMAIN, PLACE
from shedproxy.observability.metric_table import METRICS, metric_named
from shedproxy.snapshot import CELLS_MAX

NEVER_LABELS = re.compile(r"tenant|path|client|user|flow|\bid\b|route|address|method|url")


def ids(metric):
    return metric.name


def values_of(name: str, label: str) -> set[str]:
    (found,) = [entry for entry in metric_named(name).labels if entry.name == label]
    return set(found.values)


def test_names_are_unique_in_both_conventions():
    assert len({metric.name for metric in METRICS}) == len(METRICS)
    assert len({metric.prometheus_family for metric in METRICS}) == len(METRICS)


@pytest.mark.parametrize("metric", METRICS, ids=ids)
def test_a_metric_has_a_unit_a_meaning_and_a_valid_name(metric):
    assert metric.unit
    assert metric.meaning.endswith(".")
    assert re.fullmatch(r"[a-z]+(\.[a-z_]+)+", metric.name)
    assert re.fullmatch(r"[a-z_]+", metric.prometheus_family)
    assert not metric.prometheus_family.endswith("_total")


@pytest.mark.parametrize("metric", METRICS, ids=ids)
def test_the_number_of_series_is_bounded_whatever_the_traffic(metric):
    for label in metric.labels:
        assert not NEVER_LABELS.search(label.name)
        assert label in {CELL, DOMAIN, PLACE} or 1 <= len(label.values) <= 64
        assert len(set(label.values)) == len(label.values)
    assert CELLS_MAX == 64


def test_every_class_reason_cause_and_fault_is_a_value_of_its_label():
    assert values_of("shedproxy.decisions", "shedproxy.class") == {
        "",
        *(member.label for member in Criticality),
    }
    assert values_of("shedproxy.decisions", "shedproxy.reason") == {
        "",
        *(member.label for member in RejectReason),
    }
    assert values_of("shedproxy.limit.changes", "shedproxy.cause") == {
        cause.label for cause in LimitCause
    }
    assert values_of("shedproxy.faults", "shedproxy.fault") == {fault.label for fault in Fault}


def test_every_arrival_has_one_of_four_outcomes():
    outcomes = values_of("shedproxy.decisions", "shedproxy.outcome")
    assert outcomes == {"admitted", "rejected", "would_reject", "bypass"}


def test_refusals_have_an_outcome_of_their_own_among_durations():
    outcomes = values_of("http.server.request.duration", "shedproxy.outcome")
    assert {"success", "rejected"} <= outcomes


def test_histograms_have_growing_bounds_in_seconds():
    for metric in METRICS:
        assert bool(metric.bounds) == (metric.instrument is Instrument.HISTOGRAM)
        assert list(metric.bounds) == sorted(set(metric.bounds))


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("http.server.request.duration", "http_server_request_duration_seconds"),
        ("shedproxy.decisions", "shedproxy_decisions"),
        ("shedproxy.pressure", "shedproxy_pressure_ratio"),
        ("shedproxy.demand", "shedproxy_demand_per_second"),
        ("process.memory.usage", "process_memory_usage_bytes"),
    ],
)
def test_prometheus_names_are_the_usual_translation(name, family):
    assert metric_named(name).prometheus_family == family


def test_what_the_table_does_not_have_cannot_be_shown():
    with pytest.raises(KeyError):
        metric_named("shedproxy.tenants")
