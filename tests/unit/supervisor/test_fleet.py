"""All workers together, played by a script that speaks the protocol."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from pathlib import Path

import pytest

import shedproxy.supervisor.fleet as fleet_module
from shedproxy.core import Mode, Remembered, milliseconds, seconds
from shedproxy.errors import StartupError
from shedproxy.supervisor.fleet import Fleet
from shedproxy.supervisor.process import Backoff
from shedproxy.supervisor.worker_command import WorkerCommand
from shedproxy.testing import eventually_async

FAKE = str(Path(__file__).parent / "fake_worker.py")

pytestmark = pytest.mark.anyio


class FakeDocument:
    """Stands for a Document: the fake worker reads what it should do from its text."""

    def __init__(self, on_start: str = "ready", revision: int = 1) -> None:
        self.revision = revision
        self.text = json.dumps({"on_start": on_start, "revision": revision})


class Journal:
    def __init__(self) -> None:
        self.resets: list[int] = []
        self.events: list[tuple[str, dict]] = []
        self.lines: list[str] = []


@pytest.fixture(autouse=True)
def plain_documents(monkeypatch):
    monkeypatch.setattr(fleet_module, "encode_document", lambda document: document.text.encode())
    monkeypatch.setattr(fleet_module, "document_for_worker", lambda document, *_, **__: document)


def make_fleet(
    journal: Journal, document=None, *arguments: str, workers: int = 2, memory=None
) -> Fleet:
    return Fleet(
        WorkerCommand(page_fd=2, listen_fds=(), program=(FAKE,), arguments=arguments),
        workers=workers,
        document=document or FakeDocument(),
        reset_worker=journal.resets.append,
        report=lambda event, facts: journal.events.append((event, facts)),
        on_log_lines=journal.lines.extend,
        memory=memory,
        make_backoff=lambda: Backoff(first=milliseconds(5)),
    )


@contextlib.asynccontextmanager
async def started(journal: Journal, *arguments: str):
    fleet = make_fleet(journal, None, *arguments)
    try:
        await fleet.start()
        yield fleet
    finally:
        await fleet.stop()


async def test_start_returns_when_every_worker_is_ready():
    journal = Journal()
    async with started(journal) as fleet:
        assert fleet.is_started
        assert len({worker.pid for worker in fleet.workers}) == 2
        assert sorted(journal.resets) == [0, 1]


async def test_a_worker_that_cannot_start_is_a_startup_failure_and_leaves_nothing():
    fleet = make_fleet(Journal(), FakeDocument("refuse"))
    with pytest.raises(StartupError, match=r"exit code 3\n  cannot import app"):
        await fleet.start()
    assert all(worker.pid == 0 for worker in fleet.workers)


async def test_a_worker_killed_while_it_starts_is_started_again():
    fleet = make_fleet(Journal(), FakeDocument("hang"), workers=1)
    start = asyncio.create_task(fleet.start())
    try:
        await eventually_async(lambda: fleet.workers[0].pid)
        assert not fleet.is_started
        fleet.apply(FakeDocument())
        os.kill(fleet.workers[0].pid, signal.SIGKILL)
        await start
        assert fleet.restarts == 1
        assert fleet.is_started
    finally:
        await fleet.stop()


async def test_a_new_document_reaches_every_worker_and_those_started_later():
    journal = Journal()
    async with started(journal) as fleet:
        fleet.apply(FakeDocument(revision=2))
        assert await fleet.applied(2, seconds(10)) == 2
        os.kill(fleet.workers[0].pid, signal.SIGKILL)
        await eventually_async(lambda: fleet.restarts == 1)
        await eventually_async(lambda: fleet.workers[0].pid)
        assert await fleet.applied(2, seconds(10)) == 2
        assert "worker died" in [event for event, _ in journal.events]


async def test_what_a_worker_had_against_the_document_before_is_not_held_against_the_next():
    async with started(Journal()) as fleet:
        for worker in fleet.workers:
            worker.problems = [{"message": "of revision 1"}]
        fleet.apply(FakeDocument(revision=2))
        assert await fleet.applied(2, seconds(10)) == 2


async def test_a_mode_is_sent_alone():
    journal = Journal()
    async with started(journal) as fleet:
        fleet.set_mode(FakeDocument(revision=1), Mode.OBSERVE)
        await eventually_async(
            lambda: [line for line in journal.lines if '"mode":"observe"' in line][1]
        )


async def test_what_changed_while_a_worker_started_is_said_when_it_is_ready():
    journal = Journal()
    fleet = make_fleet(journal, workers=1)
    start = asyncio.create_task(fleet.start())
    try:
        await eventually_async(lambda: fleet.workers[0].pid)
        fleet.apply(FakeDocument(revision=2))
        fleet.set_mode(FakeDocument(revision=3), Mode.OBSERVE)
        fleet.announce()
        await start
        assert await fleet.applied(3, seconds(10)) == 1
        await eventually_async(lambda: any("announce" in line for line in journal.lines))
        assert not any('"op":"mode"' in line for line in journal.lines)
    finally:
        await fleet.stop()


async def test_upstreams_are_healthy_when_one_worker_can_use_them():
    journal = Journal()
    async with started(journal) as fleet:
        await eventually_async(lambda: len(journal.lines) == 2)
        fleet.on_message(
            fleet.workers[0], {"op": "upstreams", "cells": {"default": {"http://a": False}}}
        )
        assert fleet.upstreams() == {"default": {"http://a": True}}
        fleet.on_message(
            fleet.workers[1], {"op": "upstreams", "cells": {"default": {"http://a": False}}}
        )
        assert fleet.upstreams() == {"default": {"http://a": False}}
        fleet.on_message(fleet.workers[1], {"op": "upstreams", "cells": "nonsense"})


async def test_an_upstream_that_leaves_service_for_all_is_said_once():
    journal = Journal()
    async with started(journal) as fleet:
        await eventually_async(lambda: len(journal.lines) == 2)
        for index, ok in ((0, False), (1, False), (0, True), (1, True)):
            message = {"op": "upstreams", "cells": {"default": {"http://a": ok}}}
            fleet.on_message(fleet.workers[index], message)
        facts = {"cell": "default", "upstream": "http://a"}
        assert journal.events[-2:] == [("upstream out", facts), ("upstream back", facts)]


async def test_what_hosts_did_is_added_up_over_workers():
    fleet = make_fleet(Journal())
    for worker in fleet.workers:
        fleet.on_message(worker, {"op": "hosts", "cells": {"a": {"h": [5, 1, 4, 8.0, 1]}}})
    assert fleet.tallies.total("a", "h") == (10, 2, 8, 16.0)


async def test_parts_of_hosts_reach_every_worker_and_those_started_later():
    journal = Journal()
    fleet = make_fleet(journal, workers=1)
    weights = {"a": {"http://a": 0}}

    def told() -> list[dict]:
        messages = [json.loads(line) for line in journal.lines if line.startswith("{")]
        return [message["cells"] for message in messages if message["op"] == "weights"]

    try:
        await fleet.start()
        fleet.set_weights(weights)
        await eventually_async(told)
        os.kill(fleet.workers[0].pid, signal.SIGKILL)
        await eventually_async(lambda: len(told()) == 2)
    finally:
        await fleet.stop()
    assert told() == [weights, weights]


async def test_a_recording_that_ended_is_said():
    journal = Journal()
    fleet = make_fleet(journal)
    stop = {"file": "t.1.jsonl", "why": "64 bytes are enough", "records": 1, "size": 60}
    fleet.on_message(fleet.workers[1], {"op": "recorded", **stop})
    assert journal.events == [("recording ended", {"worker": 1, **stop})]


async def test_a_worker_started_again_is_told_what_was_learnt():
    journal = Journal()
    fleet = make_fleet(journal, workers=1, memory={"default": {"r": Remembered(5, 40, 1.5)}})
    cells = {"default": {"r": {"mean_ns": 7, "sample_count": 50, "variance": 2.5}}}

    def told() -> list[dict]:
        messages = [json.loads(line) for line in journal.lines if line.startswith("{")]
        return [message["cells"] for message in messages if message["op"] == "memory"]

    try:
        await fleet.start()
        await eventually_async(told)
        fleet.on_message(fleet.workers[0], {"op": "memory", "cells": cells})
        assert fleet.memory() == {"default": {"r": Remembered(7, 50, 2.5)}}
        os.kill(fleet.workers[0].pid, signal.SIGKILL)
        await eventually_async(lambda: len(told()) == 2)
    finally:
        await fleet.stop()
    before = {"default": {"r": {"mean_ns": 5, "sample_count": 40, "variance": 1.5}}}
    assert told() == [before, cells]


async def test_drain_is_complete_when_every_worker_says_so():
    async with started(Journal()) as fleet:
        assert await fleet.drain(seconds(5))


async def test_a_stubborn_worker_ends_the_drain_at_its_bound():
    async with started(Journal(), "--stubborn", "yes") as fleet:
        pids = [worker.pid for worker in fleet.workers]
        assert not await fleet.drain(milliseconds(10))
        await fleet.stop(in_hurry=True)
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


async def test_a_successor_is_ready_before_the_former_drains():
    journal = Journal()
    async with started(journal) as fleet:
        former = fleet.workers[1]
        pid = former.pid
        fleet.apply(FakeDocument(revision=4))
        assert await fleet.replace(1, seconds(5)) == ""
        successor = fleet.workers[1]
        assert (successor.index, successor.region) == (1, 2)
        assert successor.pid not in {0, pid}
        assert former.pid == 0
        assert await fleet.applied(4, seconds(10)) == 2
        # The region of the former serves the next successor.
        assert await fleet.replace(0, seconds(5)) == ""
        assert fleet.workers[0].region == 1
        assert fleet.restarts == 0


async def test_deaths_of_who_was_replaced_stay_counted():
    async with started(Journal()) as fleet:
        os.kill(fleet.workers[0].pid, signal.SIGKILL)
        await eventually_async(lambda: fleet.restarts == 1 and fleet.workers[0].pid)
        assert await fleet.replace(0, seconds(5)) == ""
        assert fleet.restarts == 1


async def test_a_successor_that_cannot_start_changes_nothing():
    async with started(Journal()) as fleet:
        former = fleet.workers[0]
        fleet.apply(FakeDocument("refuse"))
        assert "cannot import app" in await fleet.replace(0, seconds(5))
        assert fleet.workers[0] is former
        assert former.pid
        fleet.apply(FakeDocument())
        assert await fleet.replace(0, seconds(5)) == ""


async def test_a_stop_between_two_processes_leaves_none():
    async with started(Journal()) as fleet:
        fleet.apply(FakeDocument("hang"))
        replacing = asyncio.create_task(fleet.replace(0, seconds(5)))
        await eventually_async(lambda: len(fleet.pids) == 3)
        replacing.cancel()
        await asyncio.gather(replacing, return_exceptions=True)
        pids = fleet.pids
    assert not fleet.pids
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
