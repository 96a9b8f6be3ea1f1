"""The text of the standard library is what Prometheus reads."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from shedproxy.core import Criticality, RejectReason
from shedproxy.observability.exposition import render_text
from shedproxy.observability.meter import Gauge, Meter
from shedproxy.observability.reading import samples

MS = 1_000_000


def scraped(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_a_counter_a_gauge_and_a_histogram_parse():
    meter = Meter()
    meter.on_rejected(0, Criticality.CRITICAL, RejectReason.QUEUE_FULL)
    meter.on_finished(0, Criticality.CRITICAL, 200, 30 * MS, True)
    meter.set_gauge(0, Gauge.PRESSURE_PPM, 125_000)
    seen = scraped(render_text(samples([meter.slots], ["shop"])))
    cell = ("shedproxy_cell", "shop")
    critical = ("shedproxy_class", "critical")
    outcome = ("shedproxy_outcome", "rejected")
    reason = ("shedproxy_reason", "queue_full")
    assert seen["shedproxy_decisions_total", frozenset({cell, critical, outcome, reason})] == 1
    assert seen["shedproxy_pressure_ratio", frozenset({cell})] == 0.125
    name = "http_server_request_duration_seconds"
    success = {cell, critical, ("shedproxy_outcome", "success")}
    assert seen[f"{name}_bucket", frozenset({*success, ("le", "0.025")})] == 0
    assert seen[f"{name}_bucket", frozenset({*success, ("le", "0.05")})] == 1
    assert seen[f"{name}_bucket", frozenset({*success, ("le", "+Inf")})] == 1
    assert seen[f"{name}_count", frozenset(success)] == 1
    assert seen[f"{name}_sum", frozenset(success)] == 0.03


def test_a_cell_with_any_name_keeps_it():
    name = 'a "cell"\\with\nlines'
    seen = scraped(render_text(samples([Meter().slots], [name])))
    assert ("shedproxy_limit", frozenset({("shedproxy_cell", name)})) in seen


def test_every_family_says_its_help_and_type_once():
    text = render_text(samples([Meter([1] * len(Meter().slots)).slots], ["a", "b"]))
    heads = [line for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(heads) == len(set(heads)) > 20
    assert text.endswith("\n")


def test_nothing_is_an_empty_page():
    assert render_text([]) == ""
