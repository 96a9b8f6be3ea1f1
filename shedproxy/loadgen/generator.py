"""A generator process: programs come in, performances go out. See `loadgen.crew`, who starts it.

`python -m shedproxy.loadgen.generator` reads from standard input: a program, answered with "ready",
then the instant to begin at, answered with the performance; and so on, until its input ends.
SIGINT ends the sending of a performance, not the performance.
"""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sys
from io import FileIO
from typing import BinaryIO

import uvloop

from shedproxy.core import Instant
from shedproxy.loadgen.crew import LENGTH, READY
from shedproxy.loadgen.program import (
    Performance,
    Program,
    decode_program,
    encode_performance,
    perform,
)

__all__ = ["main"]


def main() -> None:
    """Play what comes until nothing does."""
    # Not buffered: that its input has ended must be seen by who waits for it to be readable.
    told, said = os.fdopen(0, "rb", buffering=0), sys.stdout.buffer
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    stop = _Stop()
    signal.signal(signal.SIGINT, stop.ask)
    while (order := _read(told)) is not None:
        program = decode_program(order)
        _write(said, READY)
        when = _read(told)
        if when is None:
            return
        begin_at = Instant(LENGTH.unpack(when)[0])
        performance = uvloop.run(_perform(program, begin_at, told, stop))
        stop.is_asked = False
        _write(said, encode_performance(performance))


class _Stop:
    is_asked = False

    def ask(self, *_: object) -> None:
        self.is_asked = True


async def _perform(program: Program, begin_at: Instant, told: FileIO, stop: _Stop) -> Performance:
    loop = asyncio.get_running_loop()
    # Nothing is said while it plays: what can be read is the end, and nobody wants the rest.
    loop.add_reader(told.fileno(), lambda: os._exit(1))
    try:
        return await perform(program, begin_at=begin_at, is_stopped=lambda: stop.is_asked)
    finally:
        loop.remove_reader(told.fileno())
        # The loop made it one that never waits.
        os.set_blocking(told.fileno(), True)


def _read(stream: FileIO) -> bytes | None:
    head = _exactly(stream, LENGTH.size)
    return None if head is None else _exactly(stream, LENGTH.unpack(head)[0])


def _exactly(stream: FileIO, size: int) -> bytes | None:
    data = bytearray()
    while len(data) < size:
        part = stream.read(size - len(data))
        if not part:
            return None
        data += part
    return bytes(data)


def _write(stream: BinaryIO, data: bytes) -> None:
    stream.write(LENGTH.pack(len(data)) + data)
    stream.flush()


if __name__ == "__main__":
    main()
