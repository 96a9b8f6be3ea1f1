"""What a case of the conformance table is: bytes, a clause, and what must come of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from conformance.recorder import Script

__all__ = ["AnswerCase", "Case", "Read", "RequestCase", "closed", "passes", "refused"]

GOOD = 200


@dataclass(frozen=True)
class Read:
    """One request as the upstream must read it."""

    method: str = "GET"
    target: str = "/"
    body: bytes = b""
    host: str = "a"
    fields: Mapping[str, str | None] = field(default_factory=dict)
    """Values of some fields, joined by a comma; None: the field must not be there."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """Common to both directions."""

    name: str
    clause: str
    """The clause that decides, e.g. "RFC 9112 6.3"."""
    sent: tuple[bytes, ...]
    """What the client sends, in segments."""
    script: Script = Script()
    """What the upstream does."""
    bench: str = "plain"
    """Which configuration of the proxy."""
    note: str = ""
    """Why, where the clause leaves it open."""
    advisory: str = ""

    @property
    def is_head(self) -> bool:
        return self.sent[0].startswith(b"HEAD")


@dataclass(frozen=True, kw_only=True)
class RequestCase(Case):
    """From the client to the upstream."""

    reads: tuple[Read, ...] = ()
    """The requests that reach the upstream, and no other."""
    statuses: tuple[int, ...] = ()
    """Of the answers the client gets, interim ones included."""
    waits: bool = False
    """The client sends what follows its first segment after a 100 only."""
    is_kept: bool = False
    """The client's connection is open after them and serves a request more; else it is closed."""
    answers: Mapping[str, str | None] = field(default_factory=dict)
    """Fields of the last answer."""


@dataclass(frozen=True, kw_only=True)
class AnswerCase(Case):
    """From the upstream to the client, after a plain request."""

    statuses: tuple[int, ...]
    body: bytes = b""
    fields: Mapping[str, str | None] = field(default_factory=dict)
    """Of the final answer."""
    trailers: tuple[tuple[str, str], ...] = ()
    is_cut: bool = False
    """The client can see that the answer is not whole."""
    is_kept: bool = True
    """The client's connection serves another request."""
    is_reused: bool = True
    """The upstream's connection carries the next request; else it is closed."""


def refused(name: str, clause: str, status: int, *sent: bytes, **more: object) -> RequestCase:
    """Answered with this status, closed, and unknown to the upstream."""
    return RequestCase(name=name, clause=clause, sent=sent, statuses=(status,), **more)


def closed(name: str, clause: str, *sent: bytes, **more: object) -> RequestCase:
    """Closed without an answer."""
    return RequestCase(name=name, clause=clause, sent=sent, **more)


def passes(
    name: str,
    clause: str,
    *sent: bytes,
    method: str = "GET",
    target: str = "/",
    body: bytes = b"",
    host: str = "a",
    fields: Mapping[str, str | None] | None = None,
    reads: tuple[Read, ...] = (),
    statuses: tuple[int, ...] = (),
    is_kept: bool = True,
    **more: object,
) -> RequestCase:
    """Forwarded with exactly this reading, and answered."""
    reads = reads or (Read(method, target, body, host, fields or {}),)
    return RequestCase(
        name=name,
        clause=clause,
        sent=sent,
        reads=reads,
        statuses=statuses or (GOOD,) * len(reads),
        is_kept=is_kept,
        **more,
    )
