"""Managed mode on the real parts: a store in a folder, a configuration, copies on disk."""

from __future__ import annotations

import asyncio

import pytest
from harness.snapshots import Fleet, document_of, moving_document

from shedproxy.core import MovePhase, motion_place
from shedproxy.errors import ConfigInvalidError
from shedproxy.settings import load_settings
from shedproxy.snapshot import decode_report
from shedproxy.supervisor.configuration import Configuration
from shedproxy.supervisor.managed_mode import ManagedMode, report_url
from shedproxy.supervisor.move_watch import HostMoves
from shedproxy.supervisor.snapshot_feed import SnapshotFeed
from shedproxy.testing import eventually_async

pytestmark = pytest.mark.anyio


class Bench:
    def __init__(self, tmp_path, *, upstream: str = "http://127.0.0.1:9") -> None:
        self.fleet = Fleet(tmp_path)
        self.store = tmp_path / "store"
        self.store.mkdir()
        self.overrides = {
            "cell.default.upstream": [upstream] if upstream else None,
            "snapshot.source": f"file://{self.store}/{{instance}}/current",
            "snapshot.keys": [str(self.fleet.public)],
            "snapshot.folder": str(tmp_path / "kept"),
            "snapshot.instance": "edge-1",
        }
        self.configuration = Configuration(None, environ={}, overrides=self.overrides)
        self.events: list[tuple[str, dict]] = []
        self.managed = ManagedMode(
            self.configuration,
            lambda event, facts: self.events.append((event, facts)),
            needs_upstream=True,
        )

    def publish(self, data: bytes) -> None:
        file = self.store / "edge-1" / "current"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(data)


async def test_the_policy_is_that_of_the_snapshot_and_reports_lie_beside_it(tmp_path, monkeypatch):
    bench = Bench(tmp_path)
    bench.publish(bench.fleet.of(document_of(7, mode="observe"), 3))
    await bench.managed.boot()
    configuration = bench.configuration
    assert configuration.document.policy.cells[0].limit.maximum == 7
    assert configuration.configured_mode.label == "observe"
    assert configuration.revision == 2
    monkeypatch.setattr(SnapshotFeed, "_until_next", lambda _: 0.001)
    report = bench.store / "edge-1" / "reports" / "edge-1"
    facts = {"mode": "observe", "is_live": True}
    task = asyncio.create_task(bench.managed.run(lambda: (), lambda: facts))
    while not report.exists():
        await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert decode_report(report.read_bytes()).revision == 3
    assert configuration.revision == 2, "the same once more is no change"
    assert bench.managed.view()["revision"] == 3
    assert {metric.name for metric, _, _ in bench.managed.samples()} >= {
        "shedproxy.snapshot.age",
        "shedproxy.snapshot.reports",
    }
    bench.managed.close()


async def test_a_reload_takes_the_hosts_own_upstreams_and_leaves_the_policy(tmp_path):
    bench = Bench(tmp_path)
    bench.publish(bench.fleet.of(document_of(7, upstream=""), 3))
    await bench.managed.boot()
    configuration = bench.configuration
    assert configuration.document.proxy.upstreams[0].urls == ("http://127.0.0.1:9",)
    other = {**bench.overrides, "cell.default.upstream": ["http://127.0.0.1:8"]}
    configuration._overrides = other
    assert (await configuration._reload("request")).ok
    assert configuration.document.proxy.upstreams[0].urls == ("http://127.0.0.1:8",)
    assert configuration.document.policy.cells[0].limit.maximum == 7
    revision = configuration.revision
    await bench.managed.feed.pull()
    assert configuration.revision == revision, "the next period finds it in force"
    configuration._overrides = {**other, "cell.default.upstream": None}
    result = await configuration._reload("request")
    assert "no upstream" in result.problems[0].message
    configuration._overrides = {**other, "cell.default.limit": 9}
    result = await configuration._reload("request")
    assert "cell.default.limit" in result.problems[0].message
    assert configuration.document.proxy.upstreams[0].urls == ("http://127.0.0.1:8",)
    bench.managed.close()


async def test_nothing_to_serve_by_is_a_start_that_fails_with_its_mend(tmp_path):
    bench = Bench(tmp_path, upstream="")
    with pytest.raises(ConfigInvalidError, match="no upstream, and no snapshot"):
        await bench.managed.boot()
    bench.publish(bench.fleet.of(document_of(7), 1))
    await bench.managed.boot()
    bench.managed.close()


@pytest.mark.parametrize(
    ("source", "report", "url"),
    [
        ("s3://fleet/edge/current", "", "s3://fleet/edge/reports/{instance}"),
        ("file:///srv/fleet/current", "", "file:///srv/fleet/reports/{instance}"),
        ("https://host/current", "", ""),
        ("/srv/current", "", ""),
        ("/srv/current", "https://host/reports", "https://host/reports"),
    ],
)
async def test_reports_go_beside_an_object_or_where_they_are_wanted(tmp_path, source, report, url):
    (tmp_path / "a.pub").write_text("")
    settings = load_settings(
        overrides={
            "snapshot.source": source,
            "snapshot.report": report,
            "snapshot.keys": [str(tmp_path / "a.pub")],
            "snapshot.folder": str(tmp_path),
        }
    ).settings.snapshot
    assert report_url(settings) == url


async def test_another_table_alone_is_no_other_document(tmp_path):
    bench = Bench(tmp_path)
    adopted, told = [], []
    bench.configuration.on_document = adopted.append
    bench.managed.on_table = lambda: told.append(bench.managed.feed.in_force.table_version)
    for revision, place in enumerate((0, motion_place(0, 1, MovePhase.MARKED), 1), start=1):
        bench.publish(bench.fleet.of(moving_document(place, revision), revision))
        await bench.managed.feed.pull()
    assert len(adopted) == 1
    assert told == [2, 3]
    bench.publish(bench.fleet.of(moving_document(1, 4, limit=9), 4))
    await bench.managed.feed.pull()
    assert len(adopted) == 2


async def test_an_acknowledgement_waits_for_no_period(tmp_path, monkeypatch):
    """It says what all workers and the disk have, as soon as that is another."""
    bench = Bench(tmp_path)
    bench.publish(bench.fleet.of(moving_document(motion_place(0, 1, MovePhase.HELD), 3), 1))
    await bench.managed.boot()
    said = HostMoves(3, 1, 0, 2, is_settled=True)
    bench.managed.host_moves = lambda: said
    report = bench.store / "edge-1" / "reports" / "edge-1"
    monkeypatch.setattr(SnapshotFeed, "_until_next", lambda _: 3600.0)
    task = asyncio.create_task(bench.managed.run(lambda: (), dict))

    async def told(*expected: int) -> bool:
        bench.managed._has_moved.set()
        if not report.exists():
            return False
        found = decode_report(report.read_bytes())
        assert found.is_settled
        return (found.table_version, found.moving, found.held) == expected

    await eventually_async(lambda: told(3, 1, 2))
    said = HostMoves(4, 0, 0, 2, is_settled=True)
    await eventually_async(lambda: told(3, 0, 2), what="no later than what the disk has")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
