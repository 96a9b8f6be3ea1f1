"""The watch on scripted workers: what it keeps before it acts, and what it says."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from types import SimpleNamespace

import pytest

from shedproxy.core import BulletState, Errand, Instant, seconds
from shedproxy.snapshot import Document, ProxyDocument, ReplacementDocument, UpstreamDocument
from shedproxy.supervisor.bullet_file import BulletFile
from shedproxy.supervisor.host_tallies import HostTallies
from shedproxy.supervisor.orders import HostOrder, OrderInvalidError
from shedproxy.supervisor.outlier_watch import OutlierWatch
from shedproxy.testing import eventually_async

pytestmark = pytest.mark.anyio

URLS = tuple(f"http://10.0.0.{n}:80" for n in range(5))


class Bench:
    """Five hosts of ten requests a second each, seen by one worker."""

    def __init__(self, file: str = "", **proxy: object) -> None:
        self.now = Instant(seconds(1000))
        self.events: list[tuple[str, dict]] = []
        self.sent: list[dict] = []
        self.counts = {url: [0, 0, 0, 0.0, 1] for url in URLS}
        self.failing: set[str] = set()
        self.load = (10.0, 500.0)
        self.fleet = SimpleNamespace(tallies=HostTallies(), set_weights=self.sent.append)
        upstream = UpstreamDocument(cell="a", urls=URLS, zones=("p", "p", "p", "q", "q"))
        self.document = Document(proxy=ProxyDocument(upstreams=(upstream,), **proxy))
        self.watch = OutlierWatch(
            self.fleet,
            SimpleNamespace(load=lambda *_: self.load),
            document=lambda: self.document,
            file=file,
            report=lambda event, facts: self.events.append((event, dict(facts))),
            clock=lambda: self.now,
        )

    async def run(self, count: int) -> None:
        for _ in range(count):
            self.now = Instant(self.now + seconds(1))
            out = self.sent[-1].get("a", {}) if self.sent else {}
            for url, counts in self.counts.items():
                if out.get(url, 1):
                    failed = 10 * (url in self.failing)
                    counts[0] += 10
                    counts[1] += failed
                    counts[2] += 10 - failed
                    counts[3] += (10 - failed) * 24.0
            told = {url: list(counts) for url, counts in self.counts.items()}
            self.fleet.tallies.take(1, {"a": told})
            await self.watch.step()

    async def leave(self) -> None:
        """Its process ends."""
        await self.watch._errands.close()
        self.watch._file.leave()

    def said(self) -> list[str]:
        return [event for event, _ in self.events]


async def test_a_bad_host_is_out_for_all_workers_within_seconds():
    bench = Bench()
    await bench.run(12)
    assert bench.sent == []
    bench.failing = {URLS[1]}
    await bench.run(5)
    assert bench.sent == [{"a": {URLS[1]: 0}}]
    ((event, facts),) = bench.events
    assert (event, facts["upstream"], facts["reason"]) == ("host out", URLS[1], "failing")
    (row,) = [row for row in bench.watch.view()["hosts"] if row["host"] == URLS[1]]
    assert (row["state"], row["zone"], row["weight"]) == ("out", "p", 0)


async def test_an_empty_magazine_is_said_once_and_counted():
    bench = Bench()
    bench.load = (500.0, 500.0)
    bench.failing = {URLS[1]}
    await bench.run(20)
    assert bench.said() == ["magazine empty"]
    facts = bench.events[0][1]
    assert (facts["hosts"], facts["needed"], facts["left_without_a_zone"]) == (5, 6, 5)
    assert bench.sent == []
    samples = {(s.metric.name, s.labels): s.value for s in bench.watch.samples()}
    assert samples["shedproxy.magazine.empty", ("a",)] == 1


async def test_too_much_at_once_freezes_and_is_said():
    bench = Bench()
    bench.failing = set(URLS[:2])
    await bench.run(20)
    assert bench.said()[0] == "outliers frozen"
    assert bench.sent == [] or bench.sent[-1] == {}


async def test_a_lull_does_not_fill_the_magazine():
    bench = Bench()
    bench.load = (500.0, 500.0)
    await bench.run(5)
    bench.load = (1.0, 500.0)
    bench.failing = {URLS[1]}
    await bench.run(5)
    assert bench.sent == []
    await bench.run(10)
    assert bench.sent[-1] == {"a": {URLS[1]: 0}}


async def test_a_cell_that_is_gone_leaves_no_demand_behind():
    bench = Bench()
    bench.load = (500.0, 500.0)
    await bench.run(2)
    (upstream,) = bench.document.proxy.upstreams
    document = bench.document
    bench.document = Document(proxy=ProxyDocument(upstreams=(replace(upstream, cell="b"),)))
    await bench.run(1)
    bench.document, bench.load = document, (1.0, 500.0)
    bench.failing = {URLS[1]}
    await bench.run(5)
    assert bench.sent[-1] == {"a": {URLS[1]: 0}}


async def test_nothing_is_done_before_it_is_kept(tmp_path):
    bench = Bench(str(tmp_path / "none" / "b"))
    bench.failing = {URLS[1]}
    await bench.run(20)
    assert bench.sent == []
    assert bench.said() == ["bullets not kept"]
    assert bench.events[0][1]["file"] == str(tmp_path / "none" / "b")
    assert bench.watch.view()["fault"] == "No such file or directory"
    (tmp_path / "none").mkdir()
    await bench.run(1)
    assert bench.sent == [{"a": {URLS[1]: 0}}]


async def test_whoever_may_come_back_does_not_wait_for_a_disk_that_fails(tmp_path):
    folder = tmp_path / "kept"
    folder.mkdir()
    bench = Bench(str(folder / "b"))
    bench.failing = {URLS[1]}
    await bench.run(10)
    assert bench.sent == [{"a": {URLS[1]: 0}}]
    folder.rename(tmp_path / "away")
    bench.failing = set()
    await bench.run(60)
    assert bench.said() == ["host out", "bullets not kept", "host back"]
    assert bench.sent[-1].get("a", {}).get(URLS[1], 1000) > 0
    assert bench.watch.ejector.ledger.out("cell:a") == 1, "nothing is reloaded before it is kept"
    (tmp_path / "away").rename(folder)
    await bench.run(1)
    assert not bench.watch.view()["fault"]
    assert BulletFile(str(folder / "b")).read() == bench.watch.ejector.ledger


async def test_a_successor_goes_on_with_what_was_kept_and_asks_again(tmp_path):
    asked = {"replacement": ReplacementDocument(command=("/none",), attempts=1)}
    bench = Bench(str(tmp_path / "b"), **asked)
    bench.failing = {URLS[1]}
    await bench.run(10)
    assert bench.sent[-1] == {"a": {URLS[1]: 0}}
    await bench.leave()
    successor = Bench(str(tmp_path / "b"), **asked)
    await successor.run(1)
    assert successor.sent == [{"a": {URLS[1]: 0}}]
    assert successor.watch.ejector.ledger == bench.watch.ejector.ledger
    assert len(successor.watch._errands._tasks) == 1
    await successor.watch._errands.close()


async def test_a_successor_asks_for_no_host_in_place_of_one_that_is_back(tmp_path):
    asked = ReplacementDocument(command=("/none",), attempts=1, within_ns=seconds(20))
    bench = Bench(str(tmp_path / "b"), replacement=asked)
    bench.failing = {URLS[1]}
    await bench.run(8)
    bench.failing = set()
    await bench.run(30)
    assert "host back" in bench.said()
    await bench.leave()
    successor = Bench(str(tmp_path / "b"), replacement=asked)
    await successor.run(1)
    (bullet,) = successor.watch.ejector.ledger.bullets
    assert (bullet.state, bullet.errand) == (BulletState.BACK, Errand.ASKED)
    assert not successor.watch._errands._tasks
    await successor.watch._errands.close()


async def test_who_takes_over_changes_nothing_before_the_other_has_ended(tmp_path):
    bench = Bench(str(tmp_path / "b"))
    bench.failing = {URLS[1]}
    await bench.run(10)
    successor = Bench(str(tmp_path / "b"))
    successor.failing = {URLS[1], URLS[3]}
    await successor.run(10)
    assert successor.sent == [{"a": {URLS[1]: 0}}], "who is out stays out"
    assert "until it ends" in successor.watch.view()["fault"]
    with pytest.raises(OrderInvalidError, match="another process"):
        await successor.watch.order(HostOrder(action="forgive", serial=1), who="x")
    bench.failing = set()
    await bench.run(150)
    assert bench.sent[-1] == {}
    await bench.leave()
    await successor.run(1)
    assert successor.watch.ejector.ledger == bench.watch.ejector.ledger
    assert successor.sent[1:] == [{}]
    assert not successor.watch.view()["fault"]
    await successor.leave()


async def test_a_ledger_that_cannot_be_believed_lets_nobody_go(tmp_path):
    (tmp_path / "b").write_text("{}")
    bench = Bench(str(tmp_path / "b"))
    bench.failing = {URLS[1]}
    await bench.run(20)
    assert bench.sent == []
    assert bench.said() == ["bullets not read"]
    assert (tmp_path / "b").read_text() == "{}"


async def test_a_replacement_that_does_not_come_is_reported():
    within = seconds(20)
    asked = ReplacementDocument(command=("/bin/true",), attempts=1, within_ns=within)
    bench = Bench(replacement=asked)
    bench.failing = {URLS[1]}
    await bench.run(8)
    bench.failing = set()
    await bench.run(40)
    assert bench.said().count("replacement overdue") == 1
    await bench.watch._errands.close()


async def test_a_bug_here_ends_nothing_and_is_said_once(monkeypatch):
    bench = Bench()
    steps: list[int] = []

    async def step() -> None:
        steps.append(1)
        raise ZeroDivisionError("of ours")

    monkeypatch.setattr("shedproxy.supervisor.outlier_watch._PERIOD", 0.001)
    monkeypatch.setattr(bench.watch, "step", step)
    task = asyncio.create_task(bench.watch.run())
    await eventually_async(lambda: len(steps) > 3)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert bench.events == [("outlier watch failed", {"why": "ZeroDivisionError: of ours"})]


async def test_a_host_is_drained_by_hand_until_it_expires():
    bench = Bench()
    await bench.run(2)
    order = HostOrder.parse({"action": "drain", "host": URLS[0], "for": "5s"})
    view = await bench.watch.order(order, who="me")
    assert bench.sent[-1] == {"a": {URLS[0]: 0}}
    assert view["hosts"][0]["drained_for_s"] == 5.0
    await bench.run(6)
    assert bench.sent[-1] == {}
    assert bench.said() == ["upstream drained", "drain over"]
    await bench.watch.order(order, who="me")
    await bench.watch.order(HostOrder.parse({"action": "undrain", "host": URLS[0]}), who="me")
    assert bench.sent[-1] == {}
    with pytest.raises(OrderInvalidError, match="no upstream"):
        await bench.watch.order(
            HostOrder.parse({"action": "drain", "host": "http://x:1"}), who="me"
        )


async def test_who_changes_the_ledger_waits_for_who_does(tmp_path, monkeypatch):
    """A bullet is written off while a step is being made safe: that does not bring it back."""
    bench = Bench(str(tmp_path / "bullets"))
    bench.failing = {URLS[1]}
    await bench.run(16)
    assert bench.said() == ["host out"]
    (upstream,) = bench.document.proxy.upstreams
    more = replace(
        upstream, urls=(*URLS, "http://10.0.0.9:80"), zones=("p", "p", "p", "q", "q", "q")
    )
    bench.document = replace(bench.document, proxy=ProxyDocument(upstreams=(more,)))
    begun, go = threading.Event(), threading.Event()
    save = BulletFile.save

    def slow_once(self, ledger) -> None:
        if not begun.is_set():
            begun.set()
            go.wait(10)
        save(self, ledger)

    monkeypatch.setattr(BulletFile, "save", slow_once)
    stepping = asyncio.create_task(bench.run(1))
    await asyncio.to_thread(begun.wait, 10)
    order = HostOrder.parse({"action": "forgive", "serial": 1})
    forgiving = asyncio.create_task(bench.watch.order(order, who="me"))
    await asyncio.wait({forgiving}, timeout=0.1)
    go.set()
    await asyncio.gather(stepping, forgiving)
    ledger = bench.watch.ejector.ledger
    assert ledger.bullets == ()
    assert ("a", "http://10.0.0.9:80") in ledger.known
    assert BulletFile(str(tmp_path / "bullets")).read() == ledger


async def test_a_bullet_that_nobody_will_pay_for_is_written_off():
    bench = Bench()
    bench.failing = {URLS[1]}
    await bench.run(10)
    forgive = HostOrder.parse({"action": "forgive", "serial": 1})
    view = await bench.watch.order(forgive, who="me")
    assert view["bullets"] == []
    with pytest.raises(OrderInvalidError, match="no bullet 1 is out"):
        await bench.watch.order(forgive, who="me")
