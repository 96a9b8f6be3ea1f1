"""prometheus_client writes the same series as the standard library's renderer."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as openmetrics_families,
)
from prometheus_client.parser import text_string_to_metric_families

from shedproxy.core import Criticality, RejectReason
from shedproxy.observability.exposition import CONTENT_TYPE, render_text
from shedproxy.observability.meter import Meter
from shedproxy.observability.metric_table import METRICS
from shedproxy.observability.prometheus import SampleCollector, render_for
from shedproxy.observability.reading import Sample, sample_of, samples
from shedproxy.observability.slot_layout import LAYOUT

EXTRA = [
    sample_of("shedproxy.workers", 2, "serving"),
    sample_of("shedproxy.mode", 1, "enforce"),
    sample_of("shedproxy.config.reloads", 3, "applied"),
    sample_of("shedproxy.worker.restarts", 1),
    sample_of("shedproxy.worker.stalls", 2, "re:match"),
    sample_of("shedproxy.supervisor.stalls", 1, "other"),
    sample_of("shedproxy.worker.stall.time", 0.7),
    sample_of("shedproxy.worker.heartbeat.age", 0.05),
    sample_of("shedproxy.worker.page_lost", 1),
    *(
        sample_of(f"shedproxy.worker.{name}", 2.5, "default", "1")
        for name in ("in_flight", "queue.length", "limit", "shed.level", "baseline", "demand")
    ),
    *(
        sample_of(f"shedproxy.worker.{name}", 3.5, "1")
        for name in ("loop_lag", "connections.open", "memory.usage")
    ),
    sample_of("shedproxy.workers.disagreement", 0.25, "default", "limit"),
    sample_of("shedproxy.calibration.age", 60.0, "default"),
    sample_of("shedproxy.calibration.drift", 1.3, "default"),
    sample_of("shedproxy.calibration.alarm", 1.0, "default"),
    *(
        sample_of(f"shedproxy.magazine.{name}", 4, "zone:a")
        for name in ("left", "out", "spent", "reloaded")
    ),
    *(sample_of(f"shedproxy.magazine.{name}", 1, "default") for name in ("frozen", "empty")),
    sample_of("shedproxy.snapshot.revision", 7),
    sample_of("shedproxy.snapshot.age", 3.5),
    sample_of("shedproxy.snapshot.stale", 1.0),
    sample_of("shedproxy.snapshot.absent", 0.0),
    sample_of("shedproxy.snapshot.pulls", 4, "good"),
    sample_of("shedproxy.snapshot.refusals", 2, "replayed"),
    sample_of("shedproxy.snapshot.reports", 5, "sent"),
]
OPENMETRICS = "application/openmetrics-text; version=1.0.0"


def everything() -> list[Sample]:
    """A sample of every series that there can be."""
    meter = Meter([(3 + slot) % 1000 + 1 for slot in range(LAYOUT.total)])
    return list(samples([meter.slots, meter.slots], ["shop", 'a "b"'], EXTRA))


def flat(families):
    return {
        family.name: {
            (sample.name, tuple(sorted(sample.labels.items())), sample.value)
            for sample in family.samples
        }
        for family in families
    }


def test_both_renderings_agree_on_every_series():
    ours = flat(text_string_to_metric_families(render_text(everything())))
    text, content_type = render_for(everything())
    assert ours == flat(text_string_to_metric_families(text.decode()))
    assert len(ours) == len(METRICS)
    assert content_type == CONTENT_TYPE


def test_both_renderings_say_the_same_help_and_type():
    def heads(text):
        return sorted(line for line in text.splitlines() if line.startswith("#"))

    assert heads(render_text(everything())) == heads(render_for(everything())[0].decode())


def test_openmetrics_is_written_for_who_asks():
    text, content_type = render_for(everything(), OPENMETRICS)
    assert content_type.startswith("application/openmetrics-text")
    assert text.endswith(b"# EOF\n")
    families = flat(openmetrics_families(text.decode()))
    assert set(families) == {metric.prometheus_family for metric in METRICS}


@pytest.mark.parametrize("accept", ["", "*/*", "text/html", "text/plain;version=0.0.4"])
def test_anybody_else_gets_text(accept):
    _, content_type = render_for([], accept)
    assert content_type.startswith("text/plain")


def test_a_registry_reads_the_slots_anew_at_every_scrape():
    meter = Meter()
    registry = CollectorRegistry()
    registry.register(SampleCollector(lambda: samples([meter.slots], ["shop"])))
    labels = {
        "shedproxy_cell": "shop",
        "shedproxy_class": "critical",
        "shedproxy_outcome": "rejected",
        "shedproxy_reason": "draining",
    }
    for times in (1, 2):
        meter.on_rejected(0, Criticality.CRITICAL, RejectReason.DRAINING)
        assert registry.get_sample_value("shedproxy_decisions_total", labels) == times
