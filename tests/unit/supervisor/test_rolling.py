from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from shedproxy.core import seconds
from shedproxy.supervisor.rolling import RollingRestart
from shedproxy.testing import eventually_async

pytestmark = pytest.mark.anyio


class Bench:
    """A fleet of three whose replacements are scripted."""

    def __init__(self, *answers: str) -> None:
        self.answers = [*answers]
        self.replaced: list[int] = []
        self.gate = asyncio.Event()
        self.events: list[tuple[str, dict]] = []
        self.fleet = SimpleNamespace(workers=[0, 1, 2], is_started=True, replace=self.replace)
        self.rolling = RollingRestart(
            self.fleet,
            grace=lambda: seconds(5),
            report=lambda event, facts: self.events.append((event, facts)),
        )

    async def replace(self, index, grace):
        assert grace == seconds(5)
        await self.gate.wait()
        self.replaced.append(index)
        return self.answers.pop(0) if self.answers else ""

    async def ended(self) -> dict:
        self.gate.set()
        while self.rolling.view()["state"] == "running":
            await asyncio.sleep(0)
        return self.rolling.view()


async def test_workers_are_replaced_in_order_and_one_restart_is_enough():
    bench = Bench()
    assert bench.rolling.view()["state"] == "none"
    bench.rolling.begin("SIGUSR2")
    bench.rolling.begin("SIGUSR2")
    assert bench.rolling.view() == {"state": "running", "replaced": 0, "workers": 3, "why": ""}
    assert (await bench.ended())["state"] == "done"
    assert bench.replaced == [0, 1, 2]
    assert [event for event, _ in bench.events] == ["restarting", "restarted"]


async def test_one_that_breaks_is_a_failure_and_does_not_last():
    bench = Bench()

    async def broken(index, grace):
        raise OSError(24, "Too many open files")

    bench.fleet.replace = broken
    bench.rolling.begin("x")
    view = await asyncio.wait_for(bench.ended(), 30)
    assert view == {
        "state": "failed",
        "replaced": 0,
        "workers": 3,
        "why": "OSError: [Errno 24] Too many open files",
    }
    assert bench.events[-1] == ("restart failed", {"worker": 0, "why": view["why"]})
    await bench.rolling.cancel()
    bench.fleet.replace = bench.replace
    bench.rolling.begin("y")
    assert (await bench.ended())["state"] == "done"


async def test_it_ends_at_the_first_that_cannot_be_replaced_and_may_be_tried_again():
    bench = Bench("", "no app")
    bench.rolling.begin("x")
    assert await bench.ended() == {"state": "failed", "replaced": 1, "workers": 3, "why": "no app"}
    assert bench.events[-1] == ("restart failed", {"worker": 1, "why": "no app"})
    bench.rolling.begin("y")
    assert (await bench.ended())["replaced"] == 3


async def test_nothing_begins_before_the_workers_have_started():
    bench = Bench()
    bench.fleet.is_started = False
    bench.rolling.begin("x")
    assert bench.rolling.view()["state"] == "none"
    await bench.rolling.cancel()


async def test_one_that_somebody_else_told_to_end_is_replaced_after_what_is_under_way():
    bench = Bench()
    workers = [SimpleNamespace(pid=pid) for pid in (7, 8, 9)]
    bench.fleet.workers = workers
    bench.rolling.begin("x")
    bench.fleet.on_terminated(workers[1])
    bench.fleet.on_terminated(SimpleNamespace(pid=6))  # it has handed over already
    assert (await bench.ended())["state"] == "done"
    await asyncio.sleep(0)
    assert bench.replaced == [0, 1, 2, 1]
    assert bench.events[2:] == [("worker terminated", {"worker": 1, "worker_pid": 8})]
    assert bench.rolling.view()["replaced"] == 3


async def test_who_is_told_to_end_stays_where_no_successor_starts():
    bench = Bench("no app")
    bench.fleet.workers = [SimpleNamespace(pid=7)]
    bench.gate.set()
    bench.fleet.on_terminated(bench.fleet.workers[0])
    await eventually_async(lambda: len(bench.events) == 2)
    assert bench.events[1] == ("restart failed", {"worker": 0, "why": "no app"})
    assert bench.rolling.view()["state"] == "none"


async def test_nobody_is_replaced_any_more_when_the_service_ends():
    bench = Bench()
    bench.fleet.on_terminated(0)
    await bench.rolling.cancel()
    assert (bench.replaced, bench.fleet.on_terminated) == ([], None)


async def test_it_can_be_given_up():
    bench = Bench()
    bench.rolling.begin("x")
    await bench.rolling.cancel()
    assert bench.replaced == []
