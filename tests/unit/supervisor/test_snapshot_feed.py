"""What a source says in one period after the other, and what is in force then."""

from __future__ import annotations

import asyncio

import pytest
from harness.snapshots import Fleet, document_of, moving_document

from shedproxy.core import CellTable, Instant, MovePhase, motion_place, seconds
from shedproxy.observability.metric_table import METRICS
from shedproxy.settings import load_settings
from shedproxy.snapshot import Document, SnapshotRefusal
from shedproxy.store import KeyRing, LastGood, PlaceFailedError
from shedproxy.supervisor.snapshot_feed import SnapshotFeed, phase_of
from shedproxy.supervisor.snapshot_judge import SnapshotJudge

pytestmark = pytest.mark.anyio


class Source:
    """A place that gives what the test puts there; an exception is raised."""

    def __init__(self) -> None:
        self.data: bytes | Exception = PlaceFailedError("nothing there")
        self.reads = 0

    async def read(self, size_max: int) -> bytes:
        self.reads += 1
        if isinstance(self.data, Exception):
            raise self.data
        return self.data[: size_max + 1]

    async def close(self) -> None:
        self.data = PlaceFailedError("closed")


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    return Fleet(tmp_path_factory.mktemp("fleet"))


class Bench:
    def __init__(self, fleet: Fleet, folder) -> None:
        self.source = Source()
        self.now = 1_000_000.0
        self.events: list[tuple[str, dict]] = []
        self.put: list[tuple[int, bool]] = []
        self.kept = LastGood(folder)
        settings = load_settings(
            overrides={
                "snapshot.source": "/nowhere",
                "snapshot.keys": [str(fleet.public)],
                "snapshot.folder": str(folder),
            }
        ).settings.snapshot
        judge = SnapshotJudge(
            KeyRing([fleet.public]),
            size_max=settings.size_max,
            shed_max=0.2,
            local=lambda: document_of(5),
            needs_upstream=True,
        )
        self.feed = SnapshotFeed(
            settings,
            instance="a",
            place=self.source,
            judge=judge,
            kept=self.kept,
            put_in_force=lambda accepted, is_new: self.put.append((accepted.revision, is_new)),
            report=lambda event, facts: self.events.append((event, facts)),
            wall=lambda: self.now,
            clock=lambda: Instant(round(self.now * 1e9)),
        )

    def said(self, event: str) -> list[dict]:
        return [facts for name, facts in self.events if name == event]

    async def pull(self, data: bytes | Exception) -> SnapshotFeed:
        self.source.data = data
        await self.feed.pull()
        return self.feed


@pytest.fixture
def bench(fleet, tmp_path):
    return Bench(fleet, tmp_path / "kept")


async def test_every_period_does_the_whole_work_and_only_news_is_new(bench, fleet):
    one, two = fleet.of(document_of(7), 1), fleet.of(document_of(8), 2)
    for data in (one, one, two, two):
        await bench.pull(data)
    assert bench.put == [(1, True), (1, False), (2, True), (2, False)]
    assert [facts["revision"] for facts in bench.said("snapshot in force")] == [1, 2]
    assert bench.kept.highest() == 2


async def test_a_refusal_is_said_once_with_its_reason_and_what_was_in_force_stays(bench, fleet):
    good = fleet.of(document_of(7), 5)
    await bench.pull(good)
    for _ in range(3):
        await bench.pull(fleet.of(document_of(8), 4))
    feed = bench.feed
    assert feed.revision == 5
    assert feed.refusal is SnapshotRefusal.REPLAYED
    assert feed.refused_revision == 4
    (facts,) = bench.said("snapshot refused")
    assert facts["reason"] == "replayed"
    assert "older than 5" in facts["why"]
    assert feed.view()["refusal"]["problems"]
    await bench.pull(good)
    assert feed.refusal is None
    counted = {(metric.name, labels): value for metric, labels, value in feed.samples()}
    assert counted["shedproxy.snapshot.refusals", ("replayed",)] == 3
    assert counted["shedproxy.snapshot.pulls", ("refused",)] == 3
    assert counted["shedproxy.snapshot.pulls", ("good",)] == 2
    assert counted["shedproxy.snapshot.revision", ()] == 5


async def test_a_source_that_is_gone_is_no_refusal(bench, fleet):
    await bench.pull(fleet.of(document_of(7), 5))
    for _ in range(3):
        await bench.pull(PlaceFailedError("gone"))
    assert bench.feed.revision == 5
    assert bench.feed.refusal is None
    assert bench.said("snapshot not fetched") == [{"why": "gone"}]


async def test_staleness_is_an_alarm_and_nothing_else(bench, fleet):
    await bench.pull(fleet.of(document_of(7), 5))
    bench.now += 299
    await bench.pull(PlaceFailedError("gone"))
    assert not bench.feed.is_stale
    bench.now += 2
    await bench.pull(PlaceFailedError("gone"))
    assert bench.feed.is_stale
    assert bench.feed.revision == 5
    assert bench.said("snapshot stale") == [{"revision": 5, "is_expired": False, "age_s": 301.0}]
    await bench.pull(fleet.of(document_of(7), 5))
    assert not bench.feed.is_stale
    assert len(bench.said("snapshot fresh")) == 1


async def test_one_that_has_expired_is_stale_and_serves_on(bench, fleet):
    await bench.pull(fleet.of(document_of(7), 5, expires_at_s=int(bench.now) - 1))
    assert bench.feed.revision == 5
    assert bench.feed.is_stale
    assert bench.said("snapshot stale")[0]["is_expired"]


async def again(bench, fleet, tmp_path) -> Bench:
    """The next start of the same instance, with its source gone."""
    after = Bench(fleet, tmp_path / "kept")
    after.now = bench.now + 60
    await after.feed.boot()
    return after


async def test_a_start_takes_the_copy_and_asks_nobody(bench, fleet, tmp_path):
    for revision in (1, 2):
        await bench.pull(fleet.of(document_of(6 + revision), revision))
    after = await again(bench, fleet, tmp_path)
    assert after.put == [(2, True)]
    assert after.source.reads == 0
    assert after.feed.highest == 2
    await after.pull(fleet.of(document_of(7), 1))
    assert after.feed.refusal is SnapshotRefusal.REPLAYED


@pytest.mark.parametrize("damage", [b"", b"junk", b"cut", b"flip"])
async def test_a_damaged_copy_is_reported_and_the_one_before_taken(bench, fleet, tmp_path, damage):
    for revision in (1, 2):
        await bench.pull(fleet.of(document_of(6 + revision), revision))
    file = tmp_path / "kept" / "current.snapshot"
    whole = file.read_bytes()
    middle = bytes([whole[700] ^ 1])
    flipped = whole[:700] + middle + whole[701:]
    file.write_bytes({b"cut": whole[:9000], b"flip": flipped}.get(damage, damage))
    after = await again(bench, fleet, tmp_path)
    assert after.put == [(1, True)]
    assert len(after.said("snapshot copy refused")) == 1
    assert after.feed.highest == 2, "the past does not come back"


async def test_the_good_copy_takes_the_place_of_a_damaged_one(bench, fleet, tmp_path):
    """Else the next that comes would make the damaged one the previous, and none were good."""
    for revision in (1, 2):
        await bench.pull(fleet.of(document_of(6 + revision), revision))
    (tmp_path / "kept" / "current.snapshot").write_bytes(b"junk")
    after = await again(bench, fleet, tmp_path)
    one, three = fleet.of(document_of(7), 1), fleet.of(document_of(9), 3)
    assert [copy.data for copy in after.kept.read()] == [one, one]
    await after.pull(three)
    assert [copy.data for copy in after.kept.read()] == [three, one]


async def test_with_the_highest_revision_lost_too_marked_keys_are_held(bench, fleet, tmp_path):
    marked, held = (motion_place(0, 1, phase) for phase in (MovePhase.MARKED, MovePhase.HELD))
    data = fleet.of(moving_document(marked, 4), 3)
    await bench.pull(data)
    await bench.pull(fleet.of(moving_document(1, 5), 4))
    for name in ("highest.json", "current.snapshot"):
        (tmp_path / "kept" / name).write_bytes(b"junk")
    after = await again(bench, fleet, tmp_path)
    assert CellTable(after.feed.in_force.snapshot.table).find(7) == held
    await after.pull(data)
    assert CellTable(after.feed.in_force.snapshot.table).find(7) == marked, "the source knows"
    assert after.kept.highest() == 3, "and it is on the disk again"


async def test_without_any_copy_that_is_good_the_settings_serve(bench, fleet, tmp_path):
    for revision in (1, 2):
        await bench.pull(fleet.of(document_of(6 + revision), revision))
    for file in (tmp_path / "kept").iterdir():
        file.write_bytes(b"junk")
    after = await again(bench, fleet, tmp_path)
    assert after.put == []
    assert len(after.said("snapshot copy refused")) == 3
    assert len(after.said("no snapshot")) == 1
    assert after.feed.awaited_s == 60


def sampled(bench: Bench, name: str) -> list[float]:
    return [value for metric, _, value in bench.feed.samples() if metric.name == name]


async def in_periods(bench: Bench, times: list[float], monkeypatch) -> None:
    """Run from one of these instants to the next, a period each."""
    left = iter(times)

    async def sleep(_length: float) -> None:
        bench.now = next(left, None)
        if bench.now is None:
            raise asyncio.CancelledError

    async def on_period() -> None:
        pass

    monkeypatch.setattr("shedproxy.supervisor.snapshot_feed.asyncio.sleep", sleep)
    with pytest.raises(asyncio.CancelledError):
        await bench.feed.run(on_period)


async def test_without_any_snapshot_it_waits_for_one_for_a_while_and_then_serves(
    bench, monkeypatch
):
    start = bench.now
    await bench.feed.boot()
    assert bench.feed.awaited_s == bench.feed.view()["awaited_s"] == 60
    assert bench.said("no snapshot")[0]["not_ready_s"] == 60
    assert bench.feed._until_next() <= 1, "it asks more often meanwhile"
    assert sampled(bench, "shedproxy.snapshot.absent") == [0]
    await in_periods(bench, [start + 30, start + 59.5], monkeypatch)
    bench.now = start + 59.5
    assert bench.feed.awaited_s == 0.5
    assert not bench.said("serving without snapshot")
    await in_periods(bench, [start + 60, start + 70, start + 80], monkeypatch)
    bench.now = start + 80
    assert bench.feed.awaited_s == 0
    assert len(bench.said("serving without snapshot")) == 1
    assert sampled(bench, "shedproxy.snapshot.absent") == [1]


async def test_the_first_snapshot_ends_the_wait(bench, fleet):
    await bench.feed.boot()
    await bench.pull(b"junk")
    assert bench.feed.awaited_s == 60, "what is refused is none"
    await bench.pull(fleet.of(document_of(7), 1))
    assert bench.feed.awaited_s == 0
    assert not bench.feed.is_absent
    assert sampled(bench, "shedproxy.snapshot.absent") == [0]


async def test_the_first_start_of_all_fetches_once(bench, fleet):
    bench.source.data = fleet.of(document_of(7), 1)
    await bench.feed.boot()
    assert bench.source.reads == 1
    assert bench.put == [(1, True)]


async def test_a_disk_that_fails_is_said_and_holds_nothing_up(bench, fleet, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(LastGood, "keep", full)
    await bench.pull(fleet.of(document_of(7), 1))
    assert bench.put == [(1, True)]
    assert "space" in bench.said("snapshot not kept")[0]["why"]


async def test_a_copy_signed_by_the_new_key_replaces_that_of_the_old(fleet, bench, tmp_path):
    from shedproxy.snapshot import encode_snapshot, snapshot_of

    same = snapshot_of(document_of(7), revision=1)
    other = Fleet(tmp_path, "other")
    await bench.pull(fleet.sign(same))
    both = encode_snapshot(same, [other.key.sign, fleet.key.sign])
    await bench.pull(both)
    assert [is_new for _, is_new in bench.put] == [True, False]
    copies = [copy.data for copy in bench.kept.read()]
    assert copies[0] == both


async def test_instances_are_spread_over_the_period_and_each_stays_at_its_place(bench):
    period = seconds(10)
    phases = [phase_of(f"host-{number}", period) for number in range(400)]
    assert phases == [phase_of(f"host-{number}", period) for number in range(400)]
    by_second = [sum(second == phase // seconds(1) for phase in phases) for second in range(10)]
    assert min(by_second) > 15
    feed, waits = bench.feed, []
    for _ in range(5):
        bench.now += 3.3
        waits.append(round((bench.now + feed._until_next()) % 10, 3))
    assert len(set(waits)) == 1


async def test_while_a_key_moves_it_fetches_often(bench, fleet):
    bench.now = 12.0 - bench.feed._phase_ns / 1e9
    assert bench.feed._until_next() > 0.2
    await bench.pull(fleet.of(moving_document(motion_place(0, 1, MovePhase.MARKED), 1), 1))
    assert bench.feed._until_next() == pytest.approx(0.2)
    await bench.pull(fleet.of(moving_document(1, 2), 2))
    assert bench.feed._until_next() > 0.2


async def test_it_knows_which_table_its_disk_has(bench, fleet, tmp_path, monkeypatch):
    await bench.pull(fleet.of(moving_document(0, 4), 1))
    assert bench.feed.kept_table == 4

    def full(*_: object) -> None:
        raise OSError("no space")

    with monkeypatch.context() as patch:
        patch.setattr(bench.kept, "keep", full)
        await bench.pull(fleet.of(moving_document(1, 5), 2))
    assert bench.feed.in_force.table_version == 5, "it is in force all the same"
    assert bench.feed.kept_table == 0
    await bench.pull(bench.source.data)
    assert bench.feed.kept_table == 5, "it is kept as soon as it can be"
    after = Bench(fleet, tmp_path / "kept")
    await after.feed.boot()
    assert after.feed.kept_table == 5


async def test_it_runs_until_it_is_cancelled(bench, fleet, monkeypatch):
    bench.source.data = fleet.of(document_of(7), 1)
    monkeypatch.setattr(SnapshotFeed, "_until_next", lambda _: 0.001)
    periods = asyncio.Queue()

    async def on_period() -> None:
        periods.put_nowait(bench.feed.revision)

    task = asyncio.create_task(bench.feed.run(on_period))
    assert [await periods.get() for _ in range(3)] == [1, 1, 1]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_bug_here_ends_nothing_and_is_said_once(bench, fleet, monkeypatch):
    bench.source.data = fleet.of(document_of(7), 1)
    monkeypatch.setattr(SnapshotFeed, "_until_next", lambda _: 0.001)
    periods = asyncio.Queue()

    async def on_period() -> None:
        periods.put_nowait(bench.feed.revision)
        raise RuntimeError("odd")

    task = asyncio.create_task(bench.feed.run(on_period))
    assert [await periods.get() for _ in range(3)] == [1, 1, 1]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert bench.said("snapshot feed failed") == [{"why": "RuntimeError: odd"}]


async def test_an_empty_snapshot_is_refused_and_the_old_one_served(bench, fleet):
    await bench.pull(fleet.of(document_of(7), 1))
    await bench.pull(fleet.of(Document(), 2))
    assert bench.feed.revision == 1
    assert bench.feed.refusal is SnapshotRefusal.EMPTY


async def test_every_refusal_has_its_label_in_the_metrics():
    (metric,) = (metric for metric in METRICS if metric.name == "shedproxy.snapshot.refusals")
    assert metric.labels[0].values == tuple(refusal.label for refusal in SnapshotRefusal)
