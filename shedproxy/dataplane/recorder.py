"""Records what a Shedder is told and answers, into a bounded file, for `shedproxy replay`.

The event loop makes a line of text per call and hands them on ten times a second; a thread of its
own opens the file and writes, so that a slow or full disk delays nobody. Not recording costs
nothing: nothing of this is imported then.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from shedproxy import __version__
from shedproxy.core import Instant, Policy, Shedder
from shedproxy.errors import StartupError
from shedproxy.workload.trace import TraceHeader, encode_end, encode_header
from shedproxy.workload.traced_shedder import TracedShedder

__all__ = [
    "BYTES_MAX",
    "RECORDS_MAX",
    "Recorder",
    "Stop",
    "check_record_file",
    "numbered",
    "recorder_of_process",
]

RECORDS_MAX = 1_000_000
"""Records of a trace, its last one not counted."""
BYTES_MAX = 64 * 1024 * 1024
"""Bytes of a trace. Whatever is reached first ends the recording."""

_END_ROOM = 64
"""Bytes kept for the last record."""
_CLOSE_BOUND_S = 5.0

_log = logging.getLogger("shedproxy")


class Stop(NamedTuple):
    """Why a recording ended before its process, and what the file holds."""

    file: str
    why: str
    records: int
    size: int
    """Bytes."""


def numbered(file: str, number: int | str) -> str:
    """The name of one file of several: the number goes before the suffix."""
    path = Path(file)
    return str(path.with_name(f"{path.stem}.{number}{path.suffix}"))


def check_record_file(file: str) -> None:
    """Refuse at the start what can never be written.

    Raises:
        StartupError: there is no such folder, or nothing may be written there.
    """
    folder = Path(file).absolute().parent
    if not folder.is_dir():
        raise StartupError(f"cannot record to {file}: there is no folder {folder}")
    if Path(file).is_dir():
        raise StartupError(f"cannot record to {file}: it is a folder")
    if not os.access(folder, os.W_OK):
        raise StartupError(f"cannot record to {file}: {folder} is not writable")


def recorder_of_process(file: str, loop: int) -> Recorder:
    """A recorder for event loop `loop` (from 1) of a process that knows of no other workers.

    Its file has the number of the process before the suffix; that it ended is said in the log.
    """
    pid = os.getpid()

    def on_stop(stop: Stop) -> None:
        _log.warning("recording to %s ended: %s", stop.file, stop.why)

    return Recorder(numbered(file, pid if loop == 1 else f"{pid}-{loop}"), on_stop=on_stop)


class Recorder:
    """One trace of one Shedder. Belongs to an event loop; only the writing is a thread's.

    Args:
        file: where to; one that is there is kept as `FILE.old`.
        worker: which of `workers` this is.
        workers: among how many the traffic is divided.
        on_stop: told once, on the loop, when the recording ends before it is closed.
        records_max: bound in records.
        bytes_max: bound in bytes.
    """

    def __init__(
        self,
        file: str,
        *,
        worker: int = 0,
        workers: int = 1,
        on_stop: Callable[[Stop], None] | None = None,
        records_max: int = RECORDS_MAX,
        bytes_max: int = BYTES_MAX,
    ) -> None:
        self.file = file
        self._worker = worker
        self._workers = workers
        self._on_stop = on_stop
        self._records_max = records_max
        self._bytes_max = bytes_max - _END_ROOM
        self._records = 0
        self._size = 0
        self._lines: list[str] = []
        self._shedder: TracedShedder | None = None
        self._chunks: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._failure = ""
        """Set by the thread."""
        self._thread = threading.Thread(target=self._write_all, name="recorder", daemon=True)

    def make_shedder(self, policy: Policy, *, now: Instant) -> Shedder:
        """The Shedder to record; called once.

        Raises:
            ValueError: as `Shedder` does.
        """
        self._shedder = TracedShedder(policy, now=now, write=self._take)
        header = encode_header(
            TraceHeader(
                policy=policy,
                started_at=now,
                version=__version__,
                worker=self._worker,
                workers=self._workers,
            )
        )
        self._lines.append(header)
        self._size = len(header) + 1
        self._thread.start()
        return self._shedder

    def flush(self) -> None:
        """Hand on what was recorded since the last call. Never waits."""
        if self._failure:
            self._stop(self._failure)
        elif self._lines:
            self._lines.append("")
            self._chunks.put("\n".join(self._lines).encode())
            self._lines.clear()

    def close(self) -> None:
        """End the trace in order; waits for the disk, for a few seconds at most."""
        was_open = self._end("closed")
        if self._thread.is_alive():
            self._thread.join(_CLOSE_BOUND_S)
        if was_open and self._failure:
            self._tell(self._failure)

    def _take(self, line: str) -> None:
        size = self._size + len(line) + 1
        if self._records >= self._records_max:
            self._stop(f"{self._records_max} records are enough")
        elif size > self._bytes_max:
            self._stop(f"{self._bytes_max + _END_ROOM} bytes are enough")
        else:
            self._records += 1
            self._size = size
            self._lines.append(line)

    def _stop(self, why: str) -> None:
        if self._end(why):
            self._tell(why)

    def _tell(self, why: str) -> None:
        if self._on_stop is not None:
            self._on_stop(Stop(self.file, why, self._records, self._size))

    def _end(self, why: str) -> bool:
        """Write the last record; False when that was done before."""
        shedder, self._shedder = self._shedder, None
        if shedder is None:
            return False
        shedder.stop()
        self._lines += (encode_end(shedder.at_ns, why), "")
        self._chunks.put("\n".join(self._lines).encode())
        self._chunks.put(None)
        self._lines.clear()
        return True

    # --- the thread -------------------------------------------------------------------------

    def _write_all(self) -> None:
        try:
            path = Path(self.file)
            if path.is_file():
                path.replace(f"{self.file}.old")
            # Traffic is nobody's business: for the owner only.
            with open(self.file, "wb", opener=_open_private) as stream:
                while (chunk := self._chunks.get()) is not None:
                    stream.write(chunk)
                    stream.flush()
        except OSError as error:
            self._failure = f"cannot write: {error.strerror or error}"


def _open_private(file: str, flags: int) -> int:
    return os.open(file, flags, 0o600)
