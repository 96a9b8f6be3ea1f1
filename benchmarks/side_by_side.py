"""Jobs, each in a process of its own: one after the other, or several that disturb nobody."""

from __future__ import annotations

import heapq
import multiprocessing
import signal
import sys
from collections import deque
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any

from benchmarks.method import NotMeasuredError

__all__ = ["side_by_side", "takes_s"]

Fits = Callable[[Sequence[Any], Any], bool]
"""Whether one more may run beside those that do."""


def side_by_side(
    jobs: Sequence[Any],
    run: Callable[[Any], Any],
    *,
    fits: Fits,
    on_done: Callable[[Any, Any], Any],
) -> None:
    """Run all, in order; `on_done` gets each with its result, and may give one to run at once.

    The result of one that raised NotMeasuredError, or whose process died, is a NotMeasuredError.
    """
    # Not forked: a process that measures inherits neither loops nor what is to be collected.
    context = multiprocessing.get_context("spawn")
    pending = deque(jobs)
    busy: dict[Any, tuple[Any, Any]] = {}
    try:
        while pending or busy:
            while pending and (not busy or fits([job for _, job in busy.values()], pending[0])):
                job = pending.popleft()
                here, there = context.Pipe(duplex=False)
                process = context.Process(target=_child, args=(there, run, job))
                process.start()
                there.close()
                busy[here] = (process, job)
            for ended in wait(list(busy)):
                process, job = busy.pop(ended)
                again = on_done(job, _received(ended, job))
                process.join()
                if again is not None:
                    pending.appendleft(again)
    finally:
        for process, _ in busy.values():
            process.terminate()
        for process, _ in busy.values():
            process.join()


def _received(here: Any, job: Any) -> Any:
    try:
        return here.recv()
    except EOFError:
        return NotMeasuredError(f"a process died: {job}")
    finally:
        here.close()


def _child(there: Connection, run: Callable[[Any], Any], job: Any) -> None:
    # In order: else the servers that it has started would outlive it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        there.send(run(job))
    except NotMeasuredError as error:
        there.send(error)


def takes_s(jobs: Sequence[Any], length_s: Callable[[Any], float], *, fits: Fits) -> float:
    """How long all take if each takes its length, and none is repeated."""
    now_s = 0.0
    busy: list[tuple[float, int, Any]] = []
    for number, job in enumerate(jobs):
        while busy and not fits([each for *_, each in busy], job):
            now_s = heapq.heappop(busy)[0]
        heapq.heappush(busy, (now_s + length_s(job), number, job))
    return max((end_s for end_s, *_ in busy), default=0.0)
