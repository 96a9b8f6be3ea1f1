"""One worker process under the supervisor, played by a script that speaks the protocol."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import random
import signal
import socket
from pathlib import Path

import pytest

from shedproxy.clock import monotonic_now
from shedproxy.core import Instant, milliseconds, seconds
from shedproxy.supervisor.process import STABLE_AFTER, Backoff, WorkerProcess, WorkerState
from shedproxy.supervisor.stack_file import StackFile
from shedproxy.supervisor.worker_command import WorkerCommand
from shedproxy.testing import eventually_async

FAKE = str(Path(__file__).parent / "fake_worker.py")

pytestmark = pytest.mark.anyio


class Owner:
    def __init__(self, on_start: str = "ready") -> None:
        self.document = {"on_start": on_start, "revision": 5}
        self.messages: list[dict] = []
        self.spawns = 0
        self.exits: list[tuple[str, int]] = []

    def first_messages(self, worker):
        return [{"op": "document", "document": json.dumps(self.document)}]

    def on_spawn(self, worker):
        self.spawns += 1

    def on_message(self, worker, message):
        self.messages.append(message)

    def on_exit(self, worker, how, *, failures):
        self.exits.append((how, failures))


@contextlib.asynccontextmanager
async def running(owner: Owner, *arguments: str, **options):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        command = WorkerCommand(
            page_fd=2,
            listen_fds=(listener.fileno(),),
            program=(FAKE,),
            arguments=arguments,
        )
        worker = WorkerProcess(0, command, owner, **options)
        worker.start()
        try:
            yield worker
        finally:
            await worker.stop()
    assert worker.state is WorkerState.STOPPED
    assert worker.pid == 0


async def ready(worker: WorkerProcess) -> WorkerProcess:
    await eventually_async(lambda: worker.state is WorkerState.READY)
    return worker


async def test_a_worker_gets_the_document_first_and_reports_what_it_applied():
    owner = Owner()
    async with running(owner) as worker:
        await ready(worker)
        await eventually_async(lambda: worker.revision == 5)
        assert worker.pid > 0
        assert worker.restarts == 0
        await eventually_async(lambda: {"ready", "log"} <= {m["op"] for m in owner.messages})


async def test_a_killed_worker_is_started_again_within_a_second():
    owner = Owner()
    async with running(owner) as worker:
        first = (await ready(worker)).pid
        killed_at = monotonic_now()
        os.kill(first, signal.SIGKILL)
        await eventually_async(lambda: worker.pid not in {0, first})
        # The bound is 1 s; the margin is for a busy machine.
        assert monotonic_now() - killed_at < seconds(3)
        await ready(worker)
        assert worker.restarts == 1
        assert owner.spawns == 2
        assert owner.exits == [("ended by SIGKILL", 1)]


async def test_a_crash_loop_is_counted_and_slows_down():
    owner = Owner("exit")
    backoff = Backoff(first=milliseconds(1), longest=milliseconds(20))
    async with running(owner, backoff=backoff) as worker:
        await eventually_async(lambda: worker.is_crash_looping)
        assert worker.last_exit == "exit code 7"
        assert [failures for _, failures in owner.exits][:3] == [1, 2, 3]


async def test_who_has_served_for_long_is_in_no_crash_loop():
    """Said of it for ever, on the status page, because it died thrice before."""
    clock = [monotonic_now()]
    backoff = Backoff(first=milliseconds(1))
    backoff.failures = 3
    async with running(Owner(), backoff=backoff, clock=lambda: clock[0]) as worker:
        await ready(worker)
        assert worker.is_crash_looping
        clock[0] = Instant(clock[0] + STABLE_AFTER)
        assert (worker.is_crash_looping, worker.failures) == (False, 0)


async def test_a_worker_that_breaks_the_protocol_is_replaced():
    owner = Owner("garbage")
    async with running(owner, backoff=Backoff(first=milliseconds(1))) as worker:
        await eventually_async(lambda: worker.restarts >= 1)


async def test_a_worker_that_is_not_ready_in_time_is_replaced():
    owner = Owner("hang")
    async with running(owner, ready_bound=milliseconds(100)) as worker:
        await eventually_async(lambda: worker.restarts >= 1)
        assert worker.last_exit.startswith("not ready in time")


async def test_why_a_worker_cannot_start_is_kept():
    owner = Owner("refuse")
    async with running(owner) as worker:
        await eventually_async(lambda: worker.state is WorkerState.BACKOFF)
        assert worker.problems == [{"message": "cannot import app"}]
        assert worker.last_exit == "exit code 3"


async def test_a_worker_that_cannot_be_started_for_want_of_anything_is_tried_again(monkeypatch):
    """H9: of descriptors, here."""
    create, refusals = StackFile.create, [1, 2]

    def refuse() -> StackFile:
        if refusals:
            refusals.pop()
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return create()

    monkeypatch.setattr(StackFile, "create", refuse)
    owner = Owner()
    async with running(owner, backoff=Backoff(first=milliseconds(1))) as worker:
        await ready(worker)
        assert owner.exits == [("cannot start: Too many open files", n) for n in (1, 2)]


async def test_drain_waits_for_the_report():
    owner = Owner()
    async with running(owner) as worker:
        await ready(worker)
        worker.drain(seconds(5))
        assert worker.state is WorkerState.DRAINING
        assert await worker.drained(seconds(10))


async def test_a_worker_that_ignores_everything_is_killed_in_bounded_time():
    owner = Owner()
    async with running(owner, "--stubborn", "yes") as worker:
        pid = (await ready(worker)).pid
        worker.drain(milliseconds(10))
        assert not await worker.drained(milliseconds(50))
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert owner.exits == []


async def test_a_worker_ends_when_its_channel_does():
    owner = Owner()
    async with running(owner) as worker:
        pid = (await ready(worker)).pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_backoff_doubles_within_its_bounds_and_spreads():
    backoff = Backoff(chance=random.Random(1))
    delays = [backoff.next_delay() for _ in range(12)]
    for exponent, delay in enumerate(delays):
        full = min(seconds(0.1) << exponent, seconds(10))
        assert full / 2 <= delay <= full
    assert backoff.failures == 12
    backoff.reset()
    assert backoff.next_delay() <= seconds(0.1)
