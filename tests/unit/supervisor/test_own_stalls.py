from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time

import pytest

from shedproxy.core import milliseconds
from shedproxy.supervisor.own_stalls import OwnStalls
from shedproxy.supervisor.stall_places import OTHER, STOPPED
from shedproxy.testing import eventually_async

pytestmark = pytest.mark.anyio

BOUND_S = 0.1


def hold_the_loop_up() -> None:
    time.sleep(BOUND_S + 0.25)


class Watched:
    def __init__(self, bound_ms: int = 100) -> None:
        self.events: list[tuple[str, dict]] = []
        self.stalls = OwnStalls(
            bound=lambda: milliseconds(bound_ms),
            report=lambda event, facts: self.events.append((event, facts)),
        )
        self.task = asyncio.create_task(self.stalls.run())

    def counts(self) -> dict[str, int]:
        return dict(self.stalls.places.counts())

    async def end(self) -> None:
        self.task.cancel()
        await asyncio.wait((self.task,))


@pytest.fixture
async def watched():
    made: list[Watched] = []

    async def make(**how) -> Watched:
        made.append(Watched(**how))
        await asyncio.sleep(0)
        return made[-1]

    yield make
    for one in made:
        await one.end()


async def test_a_loop_that_is_held_up_is_counted_by_place_and_logged_with_its_stack(watched):
    seen = await watched()
    hold_the_loop_up()
    await eventually_async(lambda: seen.events)
    assert seen.counts() == {OTHER: 0, "test_own_stalls:hold_the_loop_up": 1}
    ((event, facts),) = seen.events
    assert (event, facts["process"]) == ("event loop stalled", "supervisor")
    assert facts["length_ms"] >= 250
    assert facts["stack"][0].startswith("hold_the_loop_up (")


PROGRAM = """
import asyncio
from shedproxy.core import milliseconds
from shedproxy.supervisor.own_stalls import OwnStalls

async def main():
    stalls = OwnStalls(bound=lambda: milliseconds(100), report=print)
    task = asyncio.create_task(stalls.run())
    print("up", flush=True)
    while sum(dict(stalls.places.counts()).values()) == 0:
        await asyncio.sleep(0.01)
    print(dict(stalls.places.counts()))

asyncio.run(main())
"""


def test_a_process_that_was_stopped_while_it_waited_is_not_to_blame():
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True, process_group=0
    ) as process:
        assert process.stdout.readline() == "up\n"
        time.sleep(0.1)
        os.kill(process.pid, signal.SIGSTOP)
        time.sleep(0.5)
        os.kill(process.pid, signal.SIGCONT)
        said = process.communicate(timeout=60)[0]
    assert said.strip() == str({OTHER: 0, STOPPED: 1})


async def test_a_bound_of_0_watches_nothing_and_nothing_is_left_behind(watched):
    seen = await watched(bound_ms=0)
    hold_the_loop_up()
    await asyncio.sleep(0.06)
    assert seen.counts() == {OTHER: 0}
    other = await watched()
    await other.end()
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
    assert signal.getsignal(signal.SIGALRM) is signal.SIG_DFL
