"""Jobs, each in a process of its own: one after the other, or several at a time.

Those that run at a time are made ready one by one, and begin together soon after the last is: no
program is started while another is measured.
"""

from __future__ import annotations

import multiprocessing
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from benchmarks.method import NotMeasuredError

__all__ = ["side_by_side", "takes_s"]

Fits = Callable[[Sequence[Any], Any], bool]
"""Whether one more may run beside those that do."""
_READY = "ready"
REST_S = 1.0
"""Between the last that is ready and the beginning: what starting put off is done by then."""


def side_by_side(
    jobs: Sequence[Any],
    run: Callable[[Any, Callable[[], None]], Any],
    *,
    fits: Fits,
    on_done: Callable[[Any, Any], Any],
) -> None:
    """Run all, in order; `on_done` gets each with its result, and may give one to run at once.

    `run` gets the job and a function to call when it is ready; that returns when all are. The
    result of one that raised NotMeasuredError, or whose process died, is a NotMeasuredError.
    """
    pending = deque(jobs)
    while pending:
        batch = _next(pending, fits)
        again = [on_done(job, result) for job, result in _run(batch, run)]
        pending.extendleft(reversed([job for job in again if job is not None]))


def takes_s(
    jobs: Sequence[Any], length_s: Callable[[Any], float], *, ready_s: float, fits: Fits
) -> float:
    """How long all take if each is ready after `ready_s`, lasts its length, and is not repeated."""
    pending, whole_s = deque(jobs), 0.0
    while pending:
        batch = _next(pending, fits)
        whole_s += REST_S + ready_s * len(batch) + max(map(length_s, batch))
    return whole_s


def _next(pending: deque[Any], fits: Fits) -> list[Any]:
    """The first, and of those after it whatever may run beside."""
    batch = [pending.popleft()]
    later = []
    while pending:
        job = pending.popleft()
        (batch if fits(batch, job) else later).append(job)
    pending.extend(later)
    return batch


def _run(
    batch: Sequence[Any], run: Callable[[Any, Callable[[], None]], Any]
) -> Iterator[tuple[Any, Any]]:
    # Not forked: a process that measures inherits neither loops nor what is to be collected.
    context = multiprocessing.get_context("spawn")
    processes: list[Any] = []
    ready: list[tuple[Any, Any]] = []
    try:
        for job in batch:
            here, there = context.Pipe()
            process = context.Process(target=_child, args=(there, run, job))
            process.start()
            processes.append(process)
            there.close()
            said = _received(here, job)
            if said == _READY:
                ready.append((job, here))
            else:
                yield job, said
        if ready:
            time.sleep(REST_S)
        for _, here in ready:
            here.send(None)
        for job, here in ready:
            yield job, _received(here, job)
        for process in processes:
            process.join()
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.join()


def _received(here: Any, job: Any) -> Any:
    try:
        return here.recv()
    except (EOFError, OSError):
        return NotMeasuredError(f"a process died: {job}")


def _child(there: Any, run: Callable[[Any, Callable[[], None]], Any], job: Any) -> None:
    # In order: else the servers that it has started would outlive it. Whoever runs a loop hears of
    # an interrupt; what a handler raises in a callback of uvloop is lost.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))

    def begin() -> None:
        there.send(_READY)
        there.recv()

    try:
        there.send(run(job, begin))
    except NotMeasuredError as error:
        there.send(error)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
