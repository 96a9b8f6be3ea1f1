"""One worker process: started, spoken to, watched, and started again when it dies.

The worker's sockets are the supervisor's, so while a worker is away its clients wait in the
backlog. Exits are noticed by the channel's end, and by a poll in case a grandchild keeps it open.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import random
import signal
import socket
import subprocess
from dataclasses import dataclass, field
from typing import Any, Protocol

from shedproxy.clock import Clock, monotonic_now
from shedproxy.core import Instant, Nanos, seconds, to_seconds
from shedproxy.supervisor.channel import Channel, Message
from shedproxy.supervisor.stack_file import StackFile
from shedproxy.supervisor.worker_command import WorkerCommand

__all__ = [
    "Backoff",
    "Owner",
    "WorkerProcess",
    "WorkerState",
]

READY_BOUND = seconds(60)
"""A worker that is not ready after this long (a huge application) is started again."""
STABLE_AFTER = seconds(10)
"""A worker that served this long was no part of a crash loop."""
CRASH_LOOP_FAILURES = 3
"""So many deaths in a row, none of them stable, are called a crash loop."""
_EXIT_POLL = 0.25
_TERM_BOUND = 2.0


class WorkerState(enum.Enum):
    """Where a worker is in its life."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    BACKOFF = "backoff"
    """Died; waits before it is started again."""
    STOPPED = "stopped"


class Backoff:
    """Time before the next start: doubles from 0.1 s to 10 s, spread over half to all of it.

    The spread (jitter) keeps workers that died together from coming back together.
    """

    def __init__(
        self,
        *,
        first: Nanos | None = None,
        longest: Nanos | None = None,
        chance: random.Random | None = None,
    ) -> None:
        self._first = first if first is not None else seconds(0.1)
        self._longest = longest if longest is not None else seconds(10)
        self._chance = chance or random.Random()  # noqa: S311 - spreads restarts, keeps no secret
        self.failures = 0
        """Deaths in a row without a stable time between."""

    def next_delay(self) -> Nanos:
        """Count one more failure and say how long to wait."""
        exponent = min(self.failures, 30)
        self.failures += 1
        delay = min(self._first << exponent, self._longest)
        return Nanos(round(delay * self._chance.uniform(0.5, 1.0)))

    def reset(self) -> None:
        """It served long enough."""
        self.failures = 0


class Owner(Protocol):
    """What a worker process needs of the supervisor."""

    def first_messages(self, worker: WorkerProcess) -> list[dict[str, Any]]:
        """What a new worker is told, the document last: it begins with that."""

    def on_spawn(self, worker: WorkerProcess) -> None:
        """Before the process exists: its part of the page is made ready."""

    def on_message(self, worker: WorkerProcess, message: Message) -> None:
        """The worker said something that its process object does not handle itself."""

    def on_exit(self, worker: WorkerProcess, how: str, *, failures: int) -> None:
        """The worker died unasked."""


@dataclass(slots=True)
class _Life:
    """One process, from spawn to exit."""

    popen: subprocess.Popen[bytes]
    channel: Channel
    stacks: StackFile
    spawned_at: Instant
    ready_at: Instant | None = None
    drained: asyncio.Event = field(default_factory=asyncio.Event)


class WorkerProcess:
    """Keeps worker `index` alive until `stop`."""

    def __init__(
        self,
        index: int,
        command: WorkerCommand,
        owner: Owner,
        *,
        clock: Clock = monotonic_now,
        backoff: Backoff | None = None,
        ready_bound: Nanos = READY_BOUND,
        region: int | None = None,
    ) -> None:
        self.index = index
        """Which part of the work is its; the process that takes it over has the same."""
        self.region = index if region is None else region
        """Of the page, its own while it lives."""
        self.state = WorkerState.STOPPED
        self.restarts = 0
        self.revision = -1
        """Of the document it runs, as it reported; -1 before the first report."""
        self.page_lost = ""
        """Why the running process writes to no page, as it said; "": it does."""
        self.last_exit = ""
        self.has_ended_itself = False
        """The last process ended by an exit, not by a signal."""
        self.problems: list[Any] = []
        """Why it refused its document or could not start, as it reported."""
        self.last_stack: tuple[str, ...] = ()
        """Where the last process crashed, innermost first, when it could still say."""
        self.has_been_ready = False
        self.changed = asyncio.Event()
        """Set at every change of state; whoever waits clears it."""
        self._command = command
        self._owner = owner
        self._clock = clock
        self._backoff = backoff or Backoff()
        self._ready_bound = ready_bound
        self._life: _Life | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._is_stopping = False

    @property
    def pid(self) -> int:
        """Of the running process; 0 when there is none."""
        return self._life.popen.pid if self._life is not None else 0

    @property
    def ready_at(self) -> Instant | None:
        """When the running process became ready; None: it is not."""
        return self._life.ready_at if self._life is not None else None

    @property
    def stacks(self) -> StackFile | None:
        """Where the running process writes its stack when it is asked to."""
        return self._life.stacks if self._life is not None else None

    @property
    def failures(self) -> int:
        """Deaths in a row; `CRASH_LOOP_FAILURES` or more is a crash loop."""
        return (
            0 if self._life is not None and self._is_stable(self._life) else self._backoff.failures
        )

    @property
    def is_crash_looping(self) -> bool:
        """It dies as often as it is started."""
        return self.failures >= CRASH_LOOP_FAILURES

    def start(self) -> None:
        """Start the process, and again whenever it dies."""
        self._set_state(WorkerState.STARTING)
        self._keeper = asyncio.create_task(self._keep(), name=f"worker {self.index}")

    def post(self, op: str, **fields: Any) -> None:
        """Send a message to the process, if there is one; a new one gets `first_messages`."""
        if self._life is not None:
            self._life.channel.post(op, **fields)

    def drain(self, grace: Nanos) -> None:
        """No new requests; those in flight have `grace`."""
        if self.state in {WorkerState.READY, WorkerState.STARTING}:
            self._set_state(WorkerState.DRAINING)
        self._is_stopping = True
        self.post("drain", grace_ns=int(grace))

    async def drained(self, bound: Nanos) -> bool:
        """Wait until it reported an empty house, or is gone; False after `bound`."""
        life = self._life
        if life is None or self._keeper is None:
            return True
        report = asyncio.create_task(life.drained.wait())
        done, _ = await asyncio.wait(
            {report, self._keeper},
            timeout=to_seconds(bound),
            return_when=asyncio.FIRST_COMPLETED,
        )
        report.cancel()
        return bool(done)

    async def stop(self, bound: float = _TERM_BOUND) -> None:
        """End the process in order: asked, then SIGTERM, then SIGKILL; seconds for each step."""
        self._is_stopping = True
        life, keeper = self._life, self._keeper
        if keeper is None:
            return
        if life is None:
            keeper.cancel()
        else:
            life.channel.post("stop")
            for signum in (signal.SIGTERM, signal.SIGKILL):
                if (await asyncio.wait({keeper}, timeout=bound))[0]:
                    break
                if life.popen.poll() is None:
                    life.popen.send_signal(signum)
        with contextlib.suppress(asyncio.CancelledError):
            await keeper
        self._keeper = None

    async def _keep(self) -> None:
        try:
            while not self._is_stopping:
                life = await self._spawn()
                if life is not None:
                    try:
                        await self._serve(life)
                    finally:
                        await self._bury(life)
                    if self._is_stable(life):
                        self._backoff.reset()
                if self._is_stopping:
                    break
                delay = self._backoff.next_delay()
                self._set_state(WorkerState.BACKOFF)
                self._owner.on_exit(self, self.last_exit, failures=self.failures)
                await asyncio.sleep(to_seconds(delay))
                self.restarts += 1
                self._set_state(WorkerState.STARTING)
        finally:
            self._set_state(WorkerState.STOPPED)

    async def _spawn(self) -> _Life | None:
        self._owner.on_spawn(self)
        try:
            self._life = life = await self._start_process()
        except OSError as error:
            # No memory, no descriptor, no more processes: tried again like a crash.
            self.last_exit = f"cannot start: {error.strerror}"
            return None
        for message in self._owner.first_messages(self):
            life.channel.post(**message)
        return life

    async def _start_process(self) -> _Life:
        async with contextlib.AsyncExitStack() as undo:
            ours, theirs = socket.socketpair()
            with theirs:
                undo.callback(ours.close)
                stacks = StackFile.create()
                undo.callback(stacks.close)
                channel = await Channel.open(ours)
                undo.push_async_callback(channel.close)
                popen = subprocess.Popen(  # noqa: ASYNC220 - our own interpreter; a vfork
                    self._command.argv(self.index, self.region, theirs.fileno(), stacks.fd),
                    stdin=subprocess.DEVNULL,
                    pass_fds=(*self._command.fds, theirs.fileno(), stacks.fd),
                    process_group=0,  # Ctrl-C is for the supervisor, which drains the workers
                )
            undo.pop_all()
            return _Life(popen, channel, stacks, self._clock())

    async def _serve(self, life: _Life) -> None:
        """Read the worker's messages until it ends, breaks the protocol or is not ready in time."""
        reader = asyncio.create_task(self._read(life))
        ready_by = life.spawned_at + self._ready_bound
        try:
            while life.popen.poll() is None:
                done, _ = await asyncio.wait({reader}, timeout=_EXIT_POLL)
                if done:
                    break
                if life.ready_at is None and self._clock() > ready_by:
                    self.last_exit = "not ready in time"
                    break
        finally:
            reader.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reader

    async def _read(self, life: _Life) -> None:
        async for message in life.channel.messages():
            match message["op"]:
                case "ready":
                    life.ready_at = self._clock()
                    self.has_been_ready = True
                    self._set_state(
                        WorkerState.DRAINING if self._is_stopping else WorkerState.READY
                    )
                case "applied":
                    self.revision = int(message.get("revision", -1))
                    self.problems = []
                case "refused":
                    self.problems = list(message.get("problems", ()))
                case "drained":
                    life.drained.set()
            self.changed.set()
            self._owner.on_message(self, message)

    async def _bury(self, life: _Life) -> None:
        """Close the channel (a living worker ends by that), then make sure the process is gone."""
        await life.channel.close()
        if not await _gone(life.popen, _TERM_BOUND):
            life.popen.kill()
            await _gone(life.popen, _TERM_BOUND)
        code = life.popen.poll()
        how = _describe_exit(code)
        self.has_ended_itself = code is not None and code >= 0
        self.last_exit = f"{self.last_exit}; {how}" if self._was_slow(life) else how
        self.last_stack = life.stacks.crash()
        self.page_lost = ""
        life.stacks.close()
        self._life = None

    def _is_stable(self, life: _Life) -> bool:
        return life.ready_at is not None and self._clock() - life.ready_at >= STABLE_AFTER

    def _was_slow(self, life: _Life) -> bool:
        return life.ready_at is None and self.last_exit == "not ready in time"

    def _set_state(self, state: WorkerState) -> None:
        self.state = state
        self.changed.set()


async def _gone(popen: subprocess.Popen[bytes], bound: float) -> bool:
    """Wait for the process to end without blocking the loop; False after `bound` seconds."""
    for _ in range(max(1, round(bound / 0.01))):
        if popen.poll() is not None:
            return True
        await asyncio.sleep(0.01)
    return popen.poll() is not None


def _describe_exit(code: int | None) -> str:
    if code is None:
        return "does not end"
    if code >= 0:
        return f"exit code {code}"
    with contextlib.suppress(ValueError):
        return f"ended by {signal.Signals(-code).name}"
    return f"ended by signal {-code}"
