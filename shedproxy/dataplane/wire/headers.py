"""The heads the proxy sends: what is forwarded, what is dropped, what is ours. Pure.

A head goes through unchanged (order, values) except for what ends at this hop. Framing fields are
always written anew, so that nobody downstream reads a framing we did not decide. Names that we
add or decide by are never taken from strangers. RFC 9110 7.6, RFC 7239.

These run once per request: one pass, one dictionary look-up per field, one join.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from shedproxy.dataplane.wire.field_table import (
    ATTEMPT,
    CONTENT_PREFIX,
    CRITICALITY,
    DATE,
    DROP,
    END_TO_END,
    FORWARDED,
    FORWARDED_FOR,
    FORWARDED_HOST,
    FORWARDED_OTHER,
    FORWARDED_PROTO,
    FROM_HEADERS_ONLY,
    HOP_BY_HOP,
    MAX_FORWARDS,
    PASS,
    REASONS,
    REQUEST_ACTIONS,
    RESPONSE_ACTIONS,
    RETRY_AFTER,
    TIME_LEFT,
    UNKNOWN,
)
from shedproxy.dataplane.wire.framing import (
    LAST_CHUNK,
    BodyKind,
    Headers,
    RequestFraming,
    ResponseFraming,
)
from shedproxy.dataplane.wire.http_date import is_http_date

__all__ = [
    "CONTINUE",
    "HeaderContext",
    "answer_body",
    "build_request_head",
    "build_response_head",
    "forwarding",
    "header_context",
    "last_chunk",
]

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

RETRY_AFTER_MAX_S = 86_400
"""An upstream's Retry-After above a day is a mistake or an attack on the service's callers."""

_CHUNKED: Final = int(BodyKind.CHUNKED)
_UNTIL_CLOSE: Final = int(BodyKind.UNTIL_CLOSE)
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z:]*")
_OWN_PREFIXES = (b"shedproxy-", b"proxy-")
_ENVOY_TIME_LEFT = b"x-envoy-expected-rq-timeout-ms"
_line = b": ".join
"""A field line from its (name, value); the quickest way there is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderContext:
    """What is the same for every request of one listener. Made by `header_context`."""

    ends: tuple[bytes, bytes]
    """How a head ends for a request that came in HTTP/1.0 and in HTTP/1.1: with Via, or bare."""
    scheme: bytes
    preserve_host: bool
    forward_criticality: bool
    criticality_name: bytes
    attempt_name: bytes
    actions: dict[bytes, int]
    protected: frozenset[bytes]
    """Names that Connection cannot make the proxy drop."""


def header_context(
    *,
    via: str = "shedproxy",
    scheme: str = "http",
    preserve_host: bool = True,
    forward_criticality: bool = True,
    criticality_header: str = "x-criticality",
    attempt_headers: Sequence[str] = ("x-envoy-attempt-count", "x-retry-attempt"),
    policy_headers: Sequence[str] = (),
) -> HeaderContext:
    """Compile what the configuration says into look-ups.

    `policy_headers` are the other names decisions are made by (tenant, cohort, deadline, rules):
    they reach the upstream whatever Connection lists.

    Raises:
        ValueError: a name or the pseudonym could not stand in a head.
    """
    for text in (via, criticality_header, *attempt_headers, *policy_headers):
        if _NAME.fullmatch(text) is None:
            raise ValueError(f"not a name that can stand in a head: {text!r}")
    criticality_name = criticality_header.lower().encode("latin-1")
    attempts = [name.lower().encode("latin-1") for name in attempt_headers]
    policy = [name.lower().encode("latin-1") for name in policy_headers]
    actions = dict(REQUEST_ACTIONS)
    for name in attempts:
        actions[name] = ATTEMPT
    if criticality_name:
        actions[criticality_name] = CRITICALITY
    pseudonym = via.encode("latin-1")
    ends = (b"via: 1.0 %b\r\n\r\n" % pseudonym, b"via: 1.1 %b\r\n\r\n" % pseudonym)
    return HeaderContext(
        ends=ends if via else (b"\r\n", b"\r\n"),
        scheme=scheme.encode("latin-1"),
        preserve_host=preserve_host,
        forward_criticality=forward_criticality and bool(criticality_name),
        criticality_name=criticality_name,
        attempt_name=attempts[0] if attempts else b"",
        actions=actions,
        protected=END_TO_END | set(actions) - set(HOP_BY_HOP) | set(policy),
    )


def build_request_head(
    context: HeaderContext,
    method: bytes,
    framing: RequestFraming,
    headers: Headers,
    *,
    version_minor: int,
    peer: bytes,
    is_trusted: bool,
    authority: bytes,
    criticality: bytes,
    retries: int = 0,
    time_left_ms: int = -1,
    added: bytes = b"",
) -> bytes:
    """The head sent to the upstream, in HTTP/1.1.

    `headers` are as received (lower-case names); `peer` is the client's address as text, empty on
    a unix socket; `is_trusted` says whether its forwarded headers count. `authority` is the
    upstream's own, used where Host is not preserved or absent. `retries` counts our own tries
    before this one, `time_left_ms` is -1 when unknown, `added` are lines of ours.
    """
    host = framing.host
    lines = [
        b"%b %b HTTP/1.1\r\nhost: %b"
        % (method, framing.path, host if context.preserve_host and host else authority)
    ]
    names, action_of = framing.connection_names, context.actions.get
    special: list[tuple[int, bytes, bytes]] = []
    for pair in headers:
        name = pair[0]
        action = action_of(name, UNKNOWN)
        if action == UNKNOWN:
            if (
                b"_" in name
                or name.startswith(_OWN_PREFIXES)
                or (name in names and name not in context.protected)
            ):
                continue
        elif action != PASS:
            if action != DROP:
                special.append((action, name, pair[1]))
            continue
        lines.append(_line(pair))
    if special:
        _add_forwarding(lines, context, special, peer, host, is_trusted=is_trusted)
    else:
        lines.append(forwarding(peer, context.scheme, host))
    if special or retries:
        _add_claims(lines, context, special, method, is_trusted, retries, time_left_ms)
    if context.forward_criticality:
        lines.append(_line((context.criticality_name, criticality)))
        if time_left_ms >= 0:
            lines.append(b"x-request-timeout-ms: %d" % time_left_ms)
    if added:
        lines.append(added)
    if framing.body or framing.length >= 0 or framing.upgrade or framing.takes_trailers:
        _add_framing(lines, framing)
    lines.append(context.ends[version_minor])
    return b"\r\n".join(lines)


def _add_framing(lines: list[bytes], framing: RequestFraming) -> None:
    if framing.body == _CHUNKED:
        lines.append(b"transfer-encoding: chunked")
    elif framing.length >= 0:
        lines.append(b"content-length: %d" % framing.length)
    if framing.upgrade:
        lines.append(b"connection: upgrade\r\nupgrade: " + framing.upgrade)
    elif framing.takes_trailers:
        lines.append(b"connection: te\r\nte: trailers")


def build_response_head(
    status: int,
    reason: bytes,
    framing: ResponseFraming,
    headers: Headers,
    *,
    version_minor: int,
    keep_alive: bool,
    date: bytes = b"",
) -> bytes:
    """The head sent to the client, for a final answer, a 101 or another interim answer.

    `version_minor` is the client's. The body must then be sent as `answer_body` says; where that
    is UNTIL_CLOSE the connection is closed whatever `keep_alive` says. `date` is added to an
    answer that has none; an empty `reason` is looked up.
    """
    lines = [b"HTTP/1.1 %d %b" % (status, reason or REASONS.get(status, b""))]
    names = framing.connection_names
    for pair in headers:
        name = pair[0]
        action = RESPONSE_ACTIONS.get(name, UNKNOWN)
        if action == UNKNOWN:
            if name.startswith(_OWN_PREFIXES) or (name in names and name not in END_TO_END):
                continue
        elif action != PASS:
            if action == DATE:
                date = b""
            elif action == RETRY_AFTER:
                value = _retry_after(pair[1])
                if not value:
                    continue
                pair = (name, value)  # noqa: PLW2901 - clamped, else as it came
            elif action == DROP or status != 426:
                continue
        lines.append(_line(pair))
    if date:
        lines.append(b"date: " + date)
    if status < 200:
        if framing.upgrade:
            lines.append(b"connection: upgrade\r\nupgrade: " + framing.upgrade)
    else:
        body = answer_body(framing.body, version_minor)
        if body == _CHUNKED:
            lines.append(b"transfer-encoding: chunked")
        elif framing.length >= 0:
            lines.append(b"content-length: %d" % framing.length)
        if not keep_alive or body == _UNTIL_CLOSE:
            lines.append(b"connection: close")
        elif version_minor == 0:
            lines.append(b"connection: keep-alive")
        if status == 426:
            lines.append(b"connection: upgrade")
    lines.append(b"\r\n")
    return b"\r\n".join(lines)


def answer_body(body: int, version_minor: int) -> int:
    """How the client is told where an answer ends, given how the upstream told us.

    A body without a length goes on in chunks, so that a cut is seen; HTTP/1.0 knows no chunks.
    """
    if body in (_CHUNKED, _UNTIL_CLOSE):
        return _CHUNKED if version_minor == 1 else _UNTIL_CLOSE
    return body


def last_chunk(trailers: Headers) -> bytes:
    """The end of a chunked answer, with those of its trailers that may be passed on.

    They have one meaning after the body only where no reader could take them for headers that
    decide something: the rest is left out (RFC 9110 6.5.1).
    """
    if not trailers:
        return LAST_CHUNK
    lines = [b"0"]
    for pair in trailers:
        name = pair[0]
        if (
            name in FROM_HEADERS_ONLY
            or (name.startswith(CONTENT_PREFIX) and name != b"content-digest")
            or name.startswith(_OWN_PREFIXES)
            or b"_" in name
        ):
            continue
        lines.append(_line(pair))
    lines.append(b"\r\n")
    return b"\r\n".join(lines)


def forwarding(peer: bytes, scheme: bytes, host: bytes) -> bytes:
    """The X-Forwarded fields of a request that came with none."""
    if peer and host:
        return b"x-forwarded-for: %b\r\nx-forwarded-proto: %b\r\nx-forwarded-host: %b" % (
            peer,
            scheme,
            host,
        )
    lines = [b"x-forwarded-proto: " + scheme]
    if peer:
        lines.append(b"x-forwarded-for: " + peer)
    if host:
        lines.append(b"x-forwarded-host: " + host)
    return b"\r\n".join(lines)


def _add_forwarding(
    lines: list[bytes],
    context: HeaderContext,
    special: list[tuple[int, bytes, bytes]],
    peer: bytes,
    host: bytes,
    *,
    is_trusted: bool,
) -> None:
    """Extend what a trusted peer says of its client; replace what a stranger says."""
    chain: list[bytes] = []
    elements: list[bytes] = []
    scheme, forwarded_host, has_elements = context.scheme, host, False
    for action, name, value in special:
        if action == FORWARDED:
            has_elements = True
            if is_trusted:
                elements.append(value)
        elif not is_trusted:
            continue
        elif action == FORWARDED_FOR:
            chain.append(value)
        elif action == FORWARDED_PROTO:
            scheme = value
        elif action == FORWARDED_HOST:
            forwarded_host = value
        elif action == FORWARDED_OTHER:
            lines.append(_line((name, value)))
    if peer:
        chain.append(peer)
    lines.append(forwarding(b", ".join(chain), scheme, forwarded_host))
    if has_elements:
        node = b'"[%b]"' % peer if b":" in peer else peer or b"unknown"
        element = b"for=%b;proto=%b" % (node, context.scheme)
        if host:
            element += b';host="%b"' % host
        lines.append(b"forwarded: " + b", ".join([*elements, element]))


def _add_claims(
    lines: list[bytes],
    context: HeaderContext,
    special: list[tuple[int, bytes, bytes]],
    method: bytes,
    is_trusted: bool,
    retries: int,
    time_left_ms: int,
) -> None:
    """What came about criticality, attempt, time and hops: replaced where decided, else as it was.

    A stranger's criticality is never passed on; its attempt and its time left can only demote.
    """
    says_time = context.forward_criticality and time_left_ms >= 0
    tries = 1
    for action, name, value in special:
        if action == CRITICALITY:
            if is_trusted and not context.forward_criticality:
                lines.append(_line((name, value)))
        elif action == ATTEMPT:
            if not retries:
                lines.append(_line((name, value)))
            elif len(value) < 4 and value.isdigit():
                tries = max(tries, int(value))
        elif action == TIME_LEFT:
            if not says_time:
                lines.append(_line((name, value)))
            elif name == _ENVOY_TIME_LEFT:
                lines.append(b"%b: %d" % (name, time_left_ms))
        elif action == MAX_FORWARDS:
            lines.append(_line((name, _one_less(method, value))))
    if retries and context.attempt_name:
        lines.append(b"%b: %d" % (context.attempt_name, tries + retries))


def _one_less(method: bytes, value: bytes) -> bytes:
    """Max-Forwards of OPTIONS counts hops (RFC 9110 7.6.2); that of 0 has been refused."""
    if method == b"OPTIONS" and len(value) < 10 and value.isdigit():
        return b"%d" % max(0, int(value) - 1)
    return value


def _retry_after(value: bytes) -> bytes:
    """Seconds above a day become a day, a date goes through, nonsense becomes nothing."""
    if value.isdigit():
        is_absurd = len(value) > 9 or int(value) > RETRY_AFTER_MAX_S
        return b"%d" % RETRY_AFTER_MAX_S if is_absurd else value
    return value if is_http_date(value) else b""
