"""Hosts and magazines as rows and samples."""

from __future__ import annotations

from shedproxy.core import (
    CellInput,
    Ejector,
    HostInput,
    Instant,
    Ledger,
    OutlierReason,
    seconds,
)
from shedproxy.snapshot import UpstreamDocument
from shedproxy.supervisor.host_views import host_rows, magazine_rows, magazine_samples

NOW = Instant(seconds(100))
HOSTS = ("h1", "h2", "h3")


def an_ejector() -> Ejector:
    sizes = dict.fromkeys(("cell:a", "zone:p", "all"), 9)
    ledger = Ledger().spend("a", "h1", "p", OutlierReason.SLOW, sizes)
    ejector = Ejector(ledger, now=NOW)
    hosts = tuple(HostInput(host=host, zone="p") for host in HOSTS)
    ejector.step(NOW, [CellInput(cell="a", hosts=hosts)])
    return ejector


def test_each_host_says_where_it_is_and_why():
    upstream = UpstreamDocument(cell="a", urls=HOSTS, zones=("p", "p", "p"))
    out, drained, lost = host_rows(
        an_ejector(),
        upstream,
        now=Instant(NOW + seconds(5)),
        drains={("a", "h2"): seconds(60)},
        weights={"h1": 0, "h2": 0, "h3": 1000},
        reached={"h1": True, "h2": True, "h3": False},
    )
    assert (out["state"], out["reason"], out["out_s"], out["bullet"]) == ("out", "slow", 5.0, 1)
    assert (drained["state"], drained["drained_for_s"], drained["weight"]) == ("drained", 60.0, 0)
    assert (lost["state"], lost["weight"], lost["zone"]) == ("unreachable", 1.0, "p")


def test_each_magazine_says_what_is_left_and_metrics_say_the_same():
    rows = magazine_rows(an_ejector(), NOW)
    assert [(row["domain"], row["size"], row["left"], row["out"]) for row in rows] == [
        ("all", 1, 0, 1), ("cell:a", 1, 0, 1), ("zone:p", 1, 0, 1),
    ]  # fmt: skip
    samples = {(s.metric.name, s.labels): s.value for s in magazine_samples(rows, {"a": 3})}
    assert samples["shedproxy.magazine.left", ("zone:p",)] == 0
    assert samples["shedproxy.magazine.spent", ("all",)] == 1
    assert samples["shedproxy.magazine.empty", ("a",)] == 3
    assert samples["shedproxy.magazine.frozen", ("a",)] == 0
