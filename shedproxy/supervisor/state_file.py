"""What was learnt, in a file: so that a proxy restarted under overload need not learn from that.

The file is replaced whole, at most once in ten seconds and at the end, and is for its owner only.
What stood under its name at the start and could not be used is never written over. Nothing about
it ends a start or a run: what is wrong is said, with the mend.
"""

from __future__ import annotations

import asyncio
import errno
import os
import re
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import shedproxy
from shedproxy.clock import wall_seconds
from shedproxy.core import Memory, Nanos, seconds, to_seconds
from shedproxy.errors import DocumentInvalidError, Problem
from shedproxy.snapshot import STATE_SIZE_MAX, Document, State, decode_state, encode_state
from shedproxy.store import replace_file

__all__ = ["StateFile", "lasting"]

PERIOD = seconds(10)
"""Least time between two writes."""

_MEND_READ = "it is left as it is, and nothing is kept: remove it, or name another file"
_MEND_WRITE = (
    "until it can be, what is learnt ends with this process; tried again every 10 s: make its"
    " folder writable, or name another file"
)

_NOT_OURS = "what was there at the start is there still"

_PLACE = re.compile(r"rule-\d+")
"""What a rule without a name is called."""


def lasting(
    memory: Mapping[str, Memory], document: Document, *, has_marks: bool
) -> dict[str, Memory]:
    """The part that means the same in another process: no cell or route that is no more, and none
    that is known by its place among the rules.

    `has_marks`: the application names routes too, and nobody here knows them all.
    """
    named = {"default", *(rule.name for rule in document.classification.rules if rule.name)}

    def lasts(route: str) -> bool:
        return route in named or (has_marks and not _PLACE.fullmatch(route))

    return {
        cell.name: {route: known for route, known in memory[cell.name].items() if lasts(route)}
        for cell in document.policy.cells
        if cell.name in memory
    }


class StateFile:
    """One file; "" keeps nothing.

    Args:
        file: its name.
        report: takes an event and its facts.
        select: the part of a memory that is written, and used of what is read.
        wall: seconds since the epoch.
    """

    def __init__(
        self,
        file: str,
        report: Callable[[str, dict[str, Any]], None],
        *,
        select: Callable[[Mapping[str, Memory]], dict[str, Memory]] = dict,
        wall: Callable[[], float] = wall_seconds,
    ) -> None:
        # Behind a link: what is replaced is the file, not the link.
        self._path = Path(os.path.realpath(file)) if file else None
        self._report = report
        self._select = select
        self._wall = wall
        self._kept: dict[str, Memory] = {}
        """What the file holds."""
        self._is_ours = True
        self._fault = ""
        """Why the last write failed."""
        self._writing = threading.Lock()

    def read(self) -> dict[str, Memory]:
        """What a predecessor had learnt; empty where there is nothing, or nothing to be used."""
        if self._path is None:
            return {}
        try:
            state = _read(self._path)
        except (DocumentInvalidError, OSError) as error:
            self._is_ours, self._fault = False, _NOT_OURS
            self._say("state not read", _reason(error), _MEND_READ)
            return {}
        if state is None:
            if not self._path.parent.is_dir():
                self._fault = os.strerror(errno.ENOENT)
                self._say("state not kept", self._fault, _MEND_WRITE)
            return {}
        self._kept = self._select(state.memory)
        age_s = round(max(0.0, self._wall() - state.written_at), 1)
        self._report(
            "state read", {"file": str(self._path), "version": state.version, "age_s": age_s}
        )
        return self._kept

    async def run(self, memory: Callable[[], Mapping[str, Memory]], period: Nanos = PERIOD) -> None:
        """Write what `memory` returns, once in each period, until cancelled."""
        while True:
            await asyncio.sleep(to_seconds(period))
            await self.save(memory)

    async def save(self, memory: Callable[[], Mapping[str, Memory]]) -> None:
        """Write what `memory` returns, if it is something, and news."""
        if self._path is None:
            return
        known = self._select(memory())
        if not any(known.values()) or known == self._kept:
            return
        state = State(memory=known, written_at=self._wall(), version=shedproxy.__version__)
        # In a thread: a slow disk must not hold up the health checks.
        fault = await asyncio.to_thread(self._write, self._path, state)
        if fault and fault != self._fault:
            self._say("state not kept", fault, _MEND_WRITE)
        elif not fault:
            self._kept = known
        self._fault = fault

    def _write(self, path: Path, state: State) -> str:
        """Replace the file; what went wrong, if anything did."""
        with self._writing:
            try:
                if not self._is_ours and path.exists():
                    return _NOT_OURS
                replace_file(path, encode_state(state))
            except OSError as error:
                return _reason(error)
            self._is_ours = True
            return ""

    def _say(self, event: str, why: str, help_text: str) -> None:
        self._report(event, {"file": str(self._path), "why": why, "help": help_text})


def _reason(error: DocumentInvalidError | OSError) -> str:
    return str(error) if isinstance(error, DocumentInvalidError) else error.strerror or str(error)


def _read(path: Path) -> State | None:
    """The state in a file; None when there is no file, or an empty one."""
    if not path.exists():
        return None
    if not path.is_file():
        # A device or a pipe: reading may never end, and replacing it would break the host.
        raise DocumentInvalidError([Problem(message="it is no regular file")])
    with path.open("rb") as stream:
        data = stream.read(STATE_SIZE_MAX + 1)
    if len(data) > STATE_SIZE_MAX:
        raise DocumentInvalidError([Problem(message=f"it is longer than {STATE_SIZE_MAX} bytes")])
    return decode_state(data) if data else None
