"""Refusals and faults as HTTP answers, by what `rejection_table` says of each.

A refusal must cost far less than the work it turns away, so everything but its id and its
Retry-After is rendered once per document; one refusal joins a handful of ready pieces.
The body is RFC 9457 problem+json with the types the IETF HTTPAPI group registers for capacity
(`temporary-reduced-capacity`) and quota (`quota-exceeded`). It tells strangers the reason, never
how much capacity there is.
"""

from __future__ import annotations

import json
import re
from http import HTTPStatus
from typing import Final

from shedproxy.core import NS_PER_S, Criticality, Rejected, RejectReason
from shedproxy.dataplane.rejection_table import FAULTS, FRONTS, REASONS, Blame, Front
from shedproxy.observability.fault import Fault
from shedproxy.snapshot import RejectDocument

__all__ = ["ID_LENGTH", "Rejections"]

ID_LENGTH: Final = 13
"""Characters of a refusal's id: fixed, so that the length of the body is known beforehand."""

_TYPES: Final = "https://iana.org/assignments/http-problem-types#"
_CAPACITY: Final = (
    _TYPES + "temporary-reduced-capacity",
    "Request cannot be satisfied due to temporary server capacity constraints",
)
_QUOTA: Final = (
    _TYPES + "quota-exceeded",
    "Request cannot be satisfied as assigned quota has been exceeded",
)
_FRAMING_NAMES: Final = frozenset(
    ("connection", "content-length", "shedproxy-id", "transfer-encoding")
)
_CONTENT_TYPES: Final = {"problem": "application/problem+json", "text": "text/plain; charset=utf-8"}
_ALLOW: Final = "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"
"""Goes with a 405 (RFC 9110 15.5.6); methods of extensions are forwarded too."""
_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_CRITICALITIES: Final = len(Criticality)
_ID_MARK: Final = "0" * ID_LENGTH
_MASK: Final = 0x3FFFFFFF
"""Of factors of at most 30 bits compiled code makes the product without a call."""
_KEEP: Final = b"\r\n\r\n"
_CLOSE: Final = b"\r\nconnection: close\r\n\r\n"
_SECONDS: Final = [b"%d\r\nshedproxy-id: " % seconds for seconds in range(256)]
"""What a Retry-After says, and what stands between it and the id."""
_RETRIES: Final = [(b"retry-after", b"%d" % seconds) for seconds in range(256)]
_STORED: Final = frozenset((404, 405, 410, 414, 501))
"""Refusing statuses that a cache may store without being told (RFC 9110 15.1)."""


class _Rendered:
    """One reason and criticality: an answer without its Retry-After, id and connection."""

    __slots__ = ("body", "body_end", "head", "headers", "says_retry", "status")

    def __init__(
        self,
        head: bytes,
        status: int,
        headers: tuple[tuple[bytes, bytes], ...],
        body: bytes,
        body_end: bytes,
        says_retry: bool,
    ) -> None:
        self.head = head
        """Up to and with `retry-after: `, or up to and with `shedproxy-id: ` when there is none."""
        self.status = status
        self.headers = headers
        self.body = body
        """Up to the id; empty when there is no body."""
        self.body_end = body_end
        self.says_retry = says_retry


class Rejections:
    """The refusals and faults of one document, rendered as far as they can be beforehand.

    Raises:
        ValueError: the document names a front, a body or a status that there is none of, or a
            header that would break the head.
    """

    __slots__ = ("_date", "_dated", "_document", "_fault_rendered", "_max_s", "_min_s", "_rendered")

    def __init__(self, document: RejectDocument) -> None:
        _check(document)
        self._document = document
        self._min_s = max(1, -(-document.retry_after_min_ns // NS_PER_S))
        self._max_s = max(self._min_s, -(-document.retry_after_max_ns // NS_PER_S))
        self._rendered = [
            self._render(RejectReason(reason), Criticality(criticality))
            for reason in range(len(RejectReason))
            for criticality in range(_CRITICALITIES)
        ]
        self._fault_rendered = [self._render_fault(fault) for fault in Fault]
        self._date = b""
        self._dated = _KEEP
        """What ends the head of an answer of that date after which the connection stays."""

    def wire(
        self,
        rejected: Rejected,
        refusal_id: bytes,
        *,
        head: bool,
        keep_alive: bool,
        date: bytes = b"",
    ) -> bytes:
        """The whole answer to a request refused by the proxy.

        `refusal_id` has `ID_LENGTH` characters. `head`: the method was HEAD, so the body is left
        out and its length is said all the same. `date` is the field's value; empty: none is sent.
        """
        rendered = self._rendered_for(rejected)
        end = self._end(date, keep_alive)
        between = b""
        if rendered.says_retry:
            seconds = self._retry_after_s(rejected)
            between = _SECONDS[seconds] if seconds < 256 else b"%d\r\nshedproxy-id: " % seconds
        start, body = rendered.head, rendered.body
        if head or not body:
            return b"".join((start, between, refusal_id, end))
        return b"".join((start, between, refusal_id, end, body, refusal_id, rendered.body_end))

    def asgi(
        self, rejected: Rejected, refusal_id: bytes
    ) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        """Status, headers and body of a request refused by the middleware."""
        rendered = self._rendered_for(rejected)
        headers = [*rendered.headers, (b"shedproxy-id", refusal_id)]
        if rendered.says_retry:
            seconds = self._retry_after_s(rejected)
            headers.append(
                _RETRIES[seconds] if seconds < 256 else (b"retry-after", b"%d" % seconds)
            )
        if not rendered.body:
            return rendered.status, headers, b""
        return rendered.status, headers, b"".join((rendered.body, refusal_id, rendered.body_end))

    def _rendered_for(self, rejected: Rejected) -> _Rendered:
        # As plain integers: of members of an enum every operation would be a call.
        reason: int = rejected.reason
        criticality: int = rejected.request.criticality
        return self._rendered[reason * _CRITICALITIES + criticality]

    def _end(self, date: bytes, keep_alive: bool) -> bytes:
        """What ends the head of an answer. A date is that of many."""
        if not keep_alive:
            return b"\r\ndate: " + date + _CLOSE if date else _CLOSE
        if date is not self._date:
            self._date = date
            self._dated = b"\r\ndate: " + date + _KEEP if date else _KEEP
        return self._dated

    def fault_wire(self, fault: Fault, *, head: bool, keep_alive: bool, date: bytes = b"") -> bytes:
        """The whole answer to a fault of the proxy; `date` is the field's value, empty for none."""
        start, body = self._fault_rendered[fault]
        return b"".join((start, self._end(date, keep_alive), b"" if head else body))

    def fault_asgi(self, fault: Fault) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        """Status, headers and body of a request that failed before the app had answered."""
        headers, body = self._fault_answer(fault)
        return fault.status, [(n.encode("latin-1"), v.encode("latin-1")) for n, v in headers], body

    def status(self, reason: RejectReason) -> int:
        """The HTTP status a refusal for this reason is answered with."""
        return self._rendered[reason * _CRITICALITIES].status

    def _retry_after_s(self, rejected: Rejected) -> int:
        """Whole seconds, spread by the id so that those refused together do not come back so.

        From the larger of the configured least and the core's hint, up to the configured most, or
        twice the hint where that is more.
        """
        low, high, hint_ns = self._min_s, self._max_s, rejected.retry_after_ns
        if hint_ns > low * NS_PER_S:
            low = -(-hint_ns // NS_PER_S)
            high = max(high, 2 * low)
        if high == low:
            return low
        # The multiplier is 2^30 / golden ratio: ids that follow each other land far apart.
        spread = (rejected.record_id & _MASK) * 0x278DDE6D & _MASK
        return low + (spread >> 6) % (high - low + 1)

    def _render(self, reason: RejectReason, criticality: Criticality) -> _Rendered:
        document = self._document
        entry = REASONS[reason]
        front = FRONTS[document.front]
        added = list(document.headers)
        status = document.status_capacity
        if entry.blame is Blame.TENANT:
            status = document.status_tenant
        elif entry.blame is Blame.CELL:
            added += front.headers_cell
            if status == Front().status_cell:
                status = front.status_cell
        kind, title = _QUOTA if entry.blame is Blame.TENANT else _CAPACITY
        problem: dict[str, str | int] = {
            "type": kind,
            "title": title,
            "status": status,
            "detail": entry.detail,
            "reason": reason.label,
            "criticality": criticality.label,
            "id": _ID_MARK,
        }
        body = self._body(problem)
        before, _, after = body.rpartition(_ID_MARK.encode("ascii"))
        headers = _headers(reason.label, status, len(body), self._content_type, added)
        says_retry = entry.retry_after and all(name != "retry-after" for name, _ in headers)
        start = _start(status, headers)
        return _Rendered(
            start + (b"\r\nretry-after: " if says_retry else b"\r\nshedproxy-id: "),
            status,
            tuple((n.encode("latin-1"), v.encode("latin-1")) for n, v in headers),
            before,
            after,
            says_retry,
        )

    def _render_fault(self, fault: Fault) -> tuple[bytes, bytes]:
        headers, body = self._fault_answer(fault)
        return _start(fault.status, headers), body

    def _fault_answer(self, fault: Fault) -> tuple[list[tuple[str, str]], bytes]:
        problem: dict[str, str | int] = {
            "type": "about:blank",
            "title": _phrase(fault.status),
            "status": fault.status,
            "detail": FAULTS[fault],
            "reason": fault.label,
        }
        body = self._body(problem)
        added = [("allow", _ALLOW)] if fault.status == HTTPStatus.METHOD_NOT_ALLOWED else []
        return _headers(fault.label, fault.status, len(body), self._content_type, added), body

    @property
    def _content_type(self) -> str | None:
        return _CONTENT_TYPES.get(self._document.body)

    def _body(self, problem: dict[str, str | int]) -> bytes:
        """The body in the document's style; the id, if any, is its last part."""
        if self._document.body == "problem":
            return json.dumps(problem, separators=(",", ":")).encode("ascii")
        if self._document.body == "text":
            line = f"{problem['status']} {problem['reason']}: {problem['detail']}"
            return (f"{line} id {problem['id']}\n" if "id" in problem else line + "\n").encode()
        return b""


def _check(document: RejectDocument) -> None:
    """Refuse a document whose answers would not be HTTP."""
    if document.front not in FRONTS:
        raise ValueError(f"reject.front is none of {', '.join(FRONTS)}: {document.front!r}")
    if document.body not in {*_CONTENT_TYPES, "empty"}:
        raise ValueError(f"reject.body is none of problem, text, empty: {document.body!r}")
    for status in (document.status_capacity, document.status_tenant):
        if not 400 <= status <= 599:
            raise ValueError(f"reject.status is not between 400 and 599: {status}")
    for name, value in document.headers:
        if _NAME.fullmatch(name) is None or _VALUE.fullmatch(value) is None:
            raise ValueError(f"reject.headers has one that breaks the head: {name!r}: {value!r}")


def _headers(
    reason: str, status: int, length: int, content_type: str | None, added: list[tuple[str, str]]
) -> list[tuple[str, str]]:
    """Header fields of an answer. Configured ones replace ours, framing excepted.

    Without a body an answer says the least that there is to say: that it must not be stored is
    said where its status does not say so.
    """
    own = [("content-type", content_type)] if content_type else []
    if content_type or status in _STORED:
        own.append(("cache-control", "no-store"))
    own.append(("shedproxy-reason", reason))
    given = [(n.lower(), v) for n, v in added if n.lower() not in _FRAMING_NAMES]
    replaced = {name for name, _ in given}
    kept = [(name, value) for name, value in own if name not in replaced]
    return [*kept, *given, ("content-length", str(length))]


def _start(status: int, headers: list[tuple[str, str]]) -> bytes:
    lines = [f"HTTP/1.1 {status} {_phrase(status)}", *(f"{n}: {v}" for n, v in headers)]
    return "\r\n".join(lines).encode("latin-1")


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Client Closed Request" if status == 499 else "Refused"
