"""Plays a case against a proxy on a port, and says what came of it."""

from __future__ import annotations

import itertools
import select
import socket
from dataclasses import dataclass, field

from conformance.case import AnswerCase, Case, RequestCase
from conformance.recorder import SENTINEL, Recorder
from conformance.strict import MalformedError, Message, read_answer

__all__ = ["Observation", "observe"]

_numbers = itertools.count(1)


@dataclass
class Observation:
    """What a client and a recording upstream saw."""

    answers: list[Message] = field(default_factory=list)
    requests: list[Message] = field(default_factory=list)
    """What reached the upstream, the sentinel not counted."""
    end: str = "waits"
    """kept: the connection served another request; closed; waits: neither within our patience."""
    is_reused: bool | None = None
    """Whether the next request took the same upstream connection; None: there was none."""
    is_upstream_closed: bool | None = None
    problems: list[str] = field(default_factory=list)
    """What a strict reader could not take, on either side."""
    received: bytes = b""

    @property
    def statuses(self) -> tuple[int, ...]:
        return tuple(answer.status for answer in self.answers)


class _Client:
    """A client's connection."""

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=5)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.received = b""
        self.is_ended = False

    def send(self, *segments: bytes) -> None:
        try:
            for segment in segments:
                self.sock.sendall(segment)
                if segment is not segments[-1]:
                    select.select([self.sock], [], [], 0.004)
        except OSError:
            self.is_ended = not self._fill(0)

    def _fill(self, patience: float) -> bool:
        """Read what comes within `patience` seconds; False: nothing did."""
        if self.is_ended or not select.select([self.sock], [], [], patience)[0]:
            return False
        try:
            data = self.sock.recv(1 << 20)
        except OSError:
            data = b""
        self.is_ended = not data
        self.buffer += data
        self.received += data
        return bool(data)

    def answer(self, *, is_head: bool, patience: float) -> Message | None:
        """The next answer; None when there is none within `patience` seconds."""
        while True:
            found = read_answer(self.buffer, is_head=is_head, at_end=self.is_ended)
            if found is not None:
                message, self.buffer = found
                return message
            if not self._fill(patience) and not self.is_ended:
                return None
            if self.is_ended and not self.buffer:
                return None
            if self.is_ended:
                found = read_answer(self.buffer, is_head=is_head, at_end=True)
                self.buffer = b""
                return None if found is None else found[0]

    def ends(self, patience: float) -> bool:
        """Whether the other side closes within `patience` seconds."""
        while self._fill(patience):
            continue
        return self.is_ended


def observe(port: int, recorder: Recorder, case: Case, *, patience: float = 2.0) -> Observation:
    """Send, read as many answers as the case expects, then see what the connection is good for."""
    recorder.begin(case.script)
    seen = Observation()
    client = _Client(port)
    try:
        if isinstance(case, RequestCase) and case.waits:
            client.send(case.sent[0])
            _read_answers(client, case, seen, patience, until=100)
            if seen.statuses[-1:] == (100,):
                client.send(*case.sent[1:])
        else:
            client.send(*case.sent)
        _read_answers(client, case, seen, patience)
        _see_end(client, case, recorder, seen, port, patience)
    except MalformedError as error:
        seen.problems.append(f"answer: {error}")
    finally:
        client.sock.close()
        seen.received = client.received
        seen.requests = list(recorder.requests)
        seen.problems += recorder.problems
    return seen


def _read_answers(
    client: _Client, case: Case, seen: Observation, patience: float, *, until: int = 0
) -> None:
    """As many as the case expects, or up to one with the status `until`."""
    wanted = len(case.statuses)
    while len(seen.answers) < wanted and (not until or seen.statuses[-1:] != (until,)):
        answer = client.answer(is_head=case.is_head, patience=patience)
        if answer is None:
            return
        seen.answers.append(answer)


def _see_end(
    client: _Client,
    case: Case,
    recorder: Recorder,
    seen: Observation,
    port: int,
    patience: float,
) -> None:
    if recorder.requests:
        recorder.is_answered.wait(patience)
    last = seen.answers[-1] if seen.answers else None
    says_close = last is not None and "close" in (last.get("connection") or "").lower()
    is_kept = case.is_kept
    if not client.is_ended and (says_close or not is_kept):
        client.ends(patience if says_close or not seen.answers else min(patience, 0.3))
    target = f"{SENTINEL}{next(_numbers)}"
    sentinel = f"GET {target} HTTP/1.1\r\nHost: sentinel\r\n\r\n".encode()
    if client.is_ended:
        seen.end = "closed"
        if client.buffer:
            seen.problems.append(f"bytes after the last answer: {client.buffer[:200]!r}")
    else:
        client.send(sentinel)
        while (answer := client.answer(is_head=False, patience=patience)) is not None:
            if answer.body.decode("latin-1") == target[1:]:
                seen.end = "kept"
                break
            seen.answers.append(answer)
        else:
            seen.end = "closed" if client.is_ended else "waits"
    if not recorder.requests:
        return
    if seen.end != "kept":
        other = _Client(port)
        other.send(sentinel)
        other.answer(is_head=False, patience=patience)
        other.sock.close()
    number = recorder.requests[-1].connection
    if recorder.sentinels:
        seen.is_reused = recorder.sentinels[-1].connection == number
    line = recorder.line_of(recorder.requests[-1])
    if isinstance(case, AnswerCase) and not seen.is_reused:
        seen.is_upstream_closed = line is None or line.ended.wait(patience)
