"""Stalls as they are noticed, with a page and a clock that the test moves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest

from shedproxy.core import Instant, milliseconds, seconds
from shedproxy.dataplane.share_page import SharePage, WorkerState
from shedproxy.supervisor.stack_file import StackFile
from shedproxy.supervisor.stall_places import OTHER, STOPPED
from shedproxy.supervisor.stalls import StallWatch
from shedproxy.testing import eventually

pytestmark = pytest.mark.anyio


class Bench:
    def __init__(self, page: SharePage) -> None:
        self.now = Instant(seconds(100))
        self.bound = milliseconds(250)
        self.view = page.worker(0)
        self.view.state = WorkerState.SERVING
        self.worker = SimpleNamespace(
            index=0, region=0, pid=4_000_000, ready_at=Instant(seconds(90)), stacks=None
        )
        self.events: list[tuple[str, dict]] = []
        self.watch = StallWatch(
            page,
            SimpleNamespace(workers=[self.worker]),
            bound=lambda: self.bound,
            report=lambda event, facts: self.events.append((event, facts)),
            clock=lambda: self.now,
        )
        self.beat()

    def beat(self) -> None:
        self.view.heartbeat = self.now

    def look_for(self, length_ms: int, *, beats: bool = False) -> list:
        """Looks as they come, every 50 ms; the stalls that began."""
        begun = []
        for _ in range(length_ms // 50):
            self.now = Instant(self.now + milliseconds(50))
            if beats:
                self.beat()
            begun += self.watch.look()
        return begun


@pytest.fixture
def bench():
    page = SharePage.create(1)
    yield Bench(page)
    page.close()


def test_a_stall_is_noticed_once_and_timed_between_its_heartbeats(bench):
    assert bench.look_for(250) == []
    (stall,) = bench.look_for(400)
    assert (bench.watch.count, stall.worker) == (1, 0)
    assert bench.watch.total_ns == milliseconds(650)
    assert not bench.watch.last(0)["is_over"]
    bench.beat()
    bench.look_for(50)
    assert bench.watch.total_ns == milliseconds(650)
    assert bench.watch.last(0)["is_over"]
    assert bench.watch.last(0)["length_ms"] == 650
    assert bench.look_for(1000, beats=True) == []
    assert bench.watch.last(1) is None


def test_a_host_that_was_paused_is_no_stall(bench):
    """The watch and the workers wake together; who wakes first must not accuse the other."""
    bench.now = Instant(bench.now + seconds(5))
    assert bench.watch.look() == []
    bench.beat()
    assert bench.look_for(200) == []
    assert bench.watch.count == 0


@pytest.mark.parametrize("state", [WorkerState.STARTING, WorkerState.STOPPED])
def test_only_a_loop_that_should_turn_can_stall(bench, state):
    bench.view.state = state
    assert bench.look_for(1000) == []


def test_a_bound_of_0_asks_nobody_and_a_small_one_is_above_the_beat(bench):
    bench.bound = 0
    assert bench.look_for(500) == []
    bench.beat()
    bench.bound = milliseconds(1)
    assert bench.look_for(200) == []
    assert len(bench.look_for(100)) == 1


def test_a_stall_that_ends_with_its_process_is_over(bench):
    bench.look_for(400)
    bench.worker.pid, bench.worker.ready_at = 0, None
    bench.look_for(50)
    assert bench.watch.total_ns == milliseconds(450)


async def test_a_stopped_process_is_not_asked_but_said(bench):
    program = [sys.executable, "-c", "input()"]
    with subprocess.Popen(program, stdin=subprocess.PIPE, process_group=0) as process:
        os.kill(process.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
        bench.worker.pid, bench.worker.stacks = process.pid, StackFile.create()
        (stall,) = bench.look_for(300)
        await bench.watch.name(stall)
        process.kill()
    assert stall.is_stopped
    assert dict(bench.watch.places.counts()) == {OTHER: 0, STOPPED: 1}
    (event, facts) = bench.events[0]
    assert (event, facts["why"]) == ("event loop stalled", "the process is stopped by a signal")
    bench.worker.stacks.close()


async def test_the_same_place_is_logged_once_in_ten_seconds(bench):
    for _ in range(4):
        (stall,) = bench.look_for(300)
        await bench.watch.name(stall)
        bench.beat()
        bench.look_for(50)
    assert bench.watch.count == 4
    assert len(bench.events) == 1
    bench.look_for(10_000, beats=True)
    (stall,) = bench.look_for(300)
    await bench.watch.name(stall)
    assert len(bench.events) == 2


async def test_an_answer_is_the_stack(bench):
    stacks = StackFile.create()
    bench.worker.stacks = stacks
    program = (
        "import sys; from shedproxy.dataplane.stack import tell_stack_to\n"
        "def f(): print(1, flush=True); input()\n"
        "tell_stack_to(int(sys.argv[1])); f()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(stacks.fd)],
        pass_fds=(stacks.fd,),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        eventually(lambda: process.stdout.readline() == b"1\n")
        bench.worker.pid = process.pid
        (stall,) = bench.look_for(300)
        await bench.watch.name(stall)
        process.kill()
    assert stall.stack[0].startswith("f (<string>:2)")
    assert bench.events[0][1]["stack"] == list(stall.stack)
    assert dict(bench.watch.places.counts()) == {OTHER: 0, "<string>:f": 1}
    stacks.close()
