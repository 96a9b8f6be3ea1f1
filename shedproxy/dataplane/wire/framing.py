"""Where a message ends and what its head asks for. Pure: bytes in, values out.

The caller finds a head (`find_head_end`), has it checked (`check_request_head`) and split, and gets
from here the one framing both sides of the proxy go by. Two framings, one where there can be none,
or a Host that means two things are refused: each repair (RFC 9112 6.3) has been an advisory.
"""

from __future__ import annotations

import enum
import ipaddress
import re
from collections.abc import Sequence
from functools import lru_cache

from shedproxy.compiling import mypyc_attr
from shedproxy.dataplane.wire.chunked import LAST_CHUNK, ChunkedReader, encode_chunk
from shedproxy.dataplane.wire.grammar import (
    REFUSED_METHODS,
    HeadError,
    begun_head_fault,
    check_request_head,
    check_response_head,
    find_head_end,
    is_hopeless,
    overflow_fault,
)
from shedproxy.observability.fault import Fault

__all__ = [
    "LAST_CHUNK",
    "BodyKind",
    "ChunkedReader",
    "HeadError",
    "RequestFraming",
    "ResponseFraming",
    "begun_head_fault",
    "check_request_head",
    "check_response_head",
    "encode_chunk",
    "find_head_end",
    "is_authority",
    "is_hopeless",
    "overflow_fault",
    "plain_length",
    "request_framing",
    "response_framing",
]

Headers = Sequence[tuple[bytes, bytes]]
"""Lower-case names and values as received, in order."""


class BodyKind(enum.IntEnum):
    """How the end of a body is known. SIZED has one byte or more."""

    NONE = 0
    SIZED = 1
    CHUNKED = 2
    UNTIL_CLOSE = 3


@mypyc_attr(acyclic=True, free_list_len=1)
class RequestFraming:
    """What a request head means. Never changed once made."""

    __slots__ = (
        "body",
        "connection_names",
        "expect_continue",
        "host",
        "keep_alive",
        "length",
        "path",
        "takes_trailers",
        "upgrade",
    )

    def __init__(
        self,
        body: int,
        length: int,
        keep_alive: bool,
        expect_continue: bool,
        upgrade: bytes,
        host: bytes,
        path: bytes,
        connection_names: frozenset[bytes],
        takes_trailers: bool,
    ) -> None:
        self.body = body
        """A BodyKind: NONE, SIZED or CHUNKED."""
        self.length = length
        """Bytes of a SIZED body; 0 for `Content-Length: 0`; -1 where nothing was said."""
        self.keep_alive = keep_alive
        self.expect_continue = expect_continue
        self.upgrade = upgrade
        """Lower-case protocol to switch to; empty: none, or one that is not offered."""
        self.host = host
        """The authority asked for; empty only in HTTP/1.0."""
        self.path = path
        """Origin-form to classify and to forward, query included; `*` for a server-wide OPTIONS."""
        self.connection_names = connection_names
        """Lower-case field names (and options) listed in Connection."""
        self.takes_trailers = takes_trailers
        """The client said `TE: trailers`: it keeps what stands after a chunked answer."""


class ResponseFraming:
    """What an answer head means. Never changed once made."""

    __slots__ = (
        "body",
        "connection_names",
        "is_event_stream",
        "keep_alive",
        "length",
        "upgrade",
    )

    def __init__(
        self,
        body: int,
        length: int,
        keep_alive: bool,
        is_event_stream: bool,
        upgrade: bytes,
        connection_names: frozenset[bytes],
    ) -> None:
        self.body = body
        """A BodyKind."""
        self.length = length
        """Bytes of a SIZED body; what Content-Length says of an absent one (HEAD, 304); else -1."""
        self.keep_alive = keep_alive
        self.is_event_stream = is_event_stream
        self.upgrade = upgrade
        """Lower-case protocol of a 101; empty for every other status."""
        self.connection_names = connection_names


_FRAMING_NAMES = frozenset(
    (
        b"host",
        b"connection",
        b"content-length",
        b"transfer-encoding",
        b"expect",
        b"max-forwards",
        b"te",
        b"upgrade",
    )
)
_RESPONSE_NAMES = frozenset(
    (b"connection", b"content-length", b"content-type", b"transfer-encoding", b"upgrade")
)
_NO_NAMES: frozenset[bytes] = frozenset()
_LENGTH = re.compile(rb"[0-9]{1,19}")
_LENGTH_MAX = 2**63 - 1
PORT_MAX = 65535
_HOST = re.compile(rb"(?:[0-9A-Za-z_~.\-]{1,255}|\[([0-9A-Fa-f:.]{2,45})\])(?::([0-9]{1,5}))?")
_ABSOLUTE = re.compile(rb"https?://([^/?]*+)(.*+)", re.IGNORECASE | re.DOTALL)
_CODINGS = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]++(?:[ \t]*+,[ \t]*+[!#$%&'*+\-.^_`|~0-9a-z]++)*+")
_PROTOCOL = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]++(?:/[!#$%&'*+\-.^_`|~0-9a-z]++)?")
_BODY_METHODS = frozenset((b"PATCH", b"POST", b"PUT"))
_HTTP_PROTOCOLS = (b"h2", b"http/", b"tls/")
"""Switching to another HTTP inside the tunnel would carry requests past every decision."""


def request_framing(
    method: bytes, version_minor: int, target: bytes, headers: Headers
) -> RequestFraming:
    """The one reading of a checked request head, or its refusal.

    Raises:
        HeadError: METHOD_NOT_ALLOWED for CONNECT, TRACE, and OPTIONS that is meant for us;
            METHOD for transfer codings not implemented; EXPECTATION; LENGTH_REQUIRED for a method
            with a body in HTTP/1.0 that does not say where the body ends; BAD_REQUEST for
            everything that two readers could take differently.
    """
    hosts: list[bytes] = []
    lengths: list[bytes] = []
    codings: list[bytes] = []
    upgrades: list[bytes] = []
    names = _NO_NAMES
    expects = takes_trailers = False
    for name, value in headers:
        if name not in _FRAMING_NAMES:
            continue
        if name == b"host":
            hosts.append(value)
        elif name == b"connection":
            names = _union(names, value)
        elif name == b"content-length":
            lengths.append(value)
        elif name == b"transfer-encoding":
            codings.append(value)
        elif name == b"upgrade":
            upgrades.append(value)
        elif name == b"te":
            takes_trailers |= b"trailers" in _split_options(value)
        elif name == b"max-forwards":
            if method == b"OPTIONS" and not value.strip(b"0 \t") and value:
                # Whom it is meant to reach last is us (RFC 9110 7.6.2).
                raise HeadError(Fault.METHOD_NOT_ALLOWED, "OPTIONS that goes no further")
        else:
            expects = _expects_continue(value)
    body, length = _body(version_minor, lengths, codings, Fault.BAD_REQUEST)
    if version_minor == 0 and length < 0 and method in _BODY_METHODS:
        # A body that lasts until close is of the days before HTTP/1.0: none, or not known.
        raise HeadError(Fault.LENGTH_REQUIRED, "HTTP/1.0 body without Content-Length")
    host, path = _route(method, target, _host(hosts, version_minor))
    has_body = body != BodyKind.NONE
    upgrade = b""
    if upgrades and version_minor == 1 and not has_body and b"upgrade" in names:
        upgrade = _protocol(upgrades)
    return RequestFraming(
        body,
        length,
        _keeps_alive(version_minor, names),
        expects and has_body and version_minor == 1,
        upgrade,
        host,
        path,
        names,
        takes_trailers and version_minor == 1,
    )


def response_framing(
    request_method: bytes, status: int, version_minor: int, headers: Headers
) -> ResponseFraming:
    """The one reading of a checked answer head, or its refusal.

    Raises:
        HeadError: UPSTREAM_BAD_RESPONSE for a framing that two readers could take differently.
    """
    lengths: list[bytes] = []
    codings: list[bytes] = []
    upgrades: list[bytes] = []
    names = _NO_NAMES
    is_event_stream = False
    for name, value in headers:
        if name not in _RESPONSE_NAMES:
            continue
        if name == b"content-length":
            lengths.append(value)
        elif name == b"content-type":
            is_event_stream = value[:17].lower() == b"text/event-stream"
        elif name == b"connection":
            names = _union(names, value)
        elif name == b"transfer-encoding":
            codings.append(value)
        else:
            upgrades.append(value)
    body, length = _body(version_minor, lengths, codings, Fault.UPSTREAM_BAD_RESPONSE)
    keep_alive = _keeps_alive(version_minor, names)
    upgrade = b""
    if status < 200 or status == 204:
        # A sender that frames a body here may send one: do not meet it in the next answer.
        keep_alive = keep_alive and body == BodyKind.NONE
        body, length = BodyKind.NONE, -1
        if status == 101:
            upgrade = _protocol(upgrades)
            if not upgrade:
                raise HeadError(Fault.UPSTREAM_BAD_RESPONSE, "101 without one protocol")
    elif status == 304 or request_method == b"HEAD":
        body = BodyKind.NONE
    elif body == BodyKind.NONE and length < 0:
        body, keep_alive = BodyKind.UNTIL_CLOSE, False
    return ResponseFraming(body, length, keep_alive, is_event_stream, upgrade, names)


def _body(
    version_minor: int, lengths: list[bytes], codings: list[bytes], fault: Fault
) -> tuple[int, int]:
    """Body kind and length from the two framing fields; both absent: (NONE, -1)."""
    if codings:
        if lengths:
            raise HeadError(fault, "Transfer-Encoding and Content-Length")
        if version_minor == 0:
            raise HeadError(fault, "Transfer-Encoding in HTTP/1.0")
        if len(codings) > 1:
            raise HeadError(fault, "more than one Transfer-Encoding")
        coding = codings[0].strip(b" \t").lower()
        if coding == b"chunked":
            return BodyKind.CHUNKED, -1
        if fault is Fault.BAD_REQUEST and _is_unknown_coding(coding):
            raise HeadError(Fault.METHOD, "transfer coding is not implemented")
        raise HeadError(fault, "Transfer-Encoding is not exactly one chunked")
    if not lengths:
        return BodyKind.NONE, -1
    if len(lengths) > 1:
        raise HeadError(fault, "more than one Content-Length")
    length = plain_length(lengths[0].strip(b" \t"))
    if length < 0:
        raise HeadError(fault, "Content-Length is not one plain number")
    return (BodyKind.SIZED if length else BodyKind.NONE), length


def plain_length(digits: bytes) -> int:
    """What a Content-Length says; -1 for anything that is not one number of our size."""
    if _LENGTH.fullmatch(digits) is None or (length := int(digits)) > _LENGTH_MAX:
        return -1
    return length


def _is_unknown_coding(coding: bytes) -> bool:
    """True for a well-formed message in a coding we lack, e.g. `gzip, chunked`.

    Where chunked is not the last, nobody knows where the body ends (RFC 9112 6.3, rule 4).
    """
    if _CODINGS.fullmatch(coding) is None:
        return False
    *others, last = [word.strip(b" \t") for word in coding.split(b",")]
    return last == b"chunked" and b"chunked" not in others


def _host(hosts: list[bytes], version_minor: int) -> bytes:
    """The Host field, which must be there once and name one host."""
    if not hosts:
        if version_minor == 1:
            raise HeadError(Fault.BAD_REQUEST, "Host is missing")
        return b""
    if len(hosts) > 1:
        raise HeadError(Fault.BAD_REQUEST, "more than one Host")
    host = hosts[0].strip(b" \t")
    if not is_authority(host):
        raise HeadError(Fault.BAD_REQUEST, "Host is not a host and a port")
    return host


def is_authority(text: bytes) -> bool:
    """A name or an address, and a port if any: no user, no escapes, nothing a path could be."""
    match = _HOST.fullmatch(text)
    if match is None or (match[2] is not None and int(match[2]) > PORT_MAX):
        return False
    if match[1] is not None:
        try:
            ipaddress.IPv6Address(match[1].decode())
        except ValueError:
            return False
    return True


def _route(method: bytes, target: bytes, host: bytes) -> tuple[bytes, bytes]:
    """Host and origin-form path; an absolute target overrides Host (RFC 9112 3.2.2)."""
    if method in REFUSED_METHODS:
        raise HeadError(Fault.METHOD_NOT_ALLOWED, "method is not allowed")
    if target.startswith(b"/"):
        return host, target
    if target == b"*":
        if method != b"OPTIONS":
            raise HeadError(Fault.BAD_REQUEST, "target * is for OPTIONS")
        return host, target
    match = _ABSOLUTE.fullmatch(target)
    if match is None or not is_authority(match[1]):
        raise HeadError(Fault.BAD_REQUEST, "target is neither a path nor an http URL")
    path = match[2]
    if not path:
        path = b"*" if method == b"OPTIONS" else b"/"
    elif path.startswith(b"?"):
        path = b"/" + path
    return match[1], path


def _protocol(upgrades: list[bytes]) -> bytes:
    """The one protocol of an Upgrade field; empty when there are several, or it is an HTTP."""
    if len(upgrades) != 1:
        return b""
    protocol = upgrades[0].strip(b" \t").lower()
    if _PROTOCOL.fullmatch(protocol) is None or protocol.startswith(_HTTP_PROTOCOLS):
        return b""
    return protocol


def _expects_continue(value: bytes) -> bool:
    if value.strip(b" \t").lower() != b"100-continue":
        raise HeadError(Fault.EXPECTATION, "only 100-continue can be expected")
    return True


def _keeps_alive(version_minor: int, names: frozenset[bytes]) -> bool:
    if not names:
        return version_minor == 1
    if b"close" in names:
        return False
    return version_minor == 1 or b"keep-alive" in names


def _union(names: frozenset[bytes], value: bytes) -> frozenset[bytes]:
    found = _option_names(value) if len(value) <= 64 else _split_options(value)
    return names | found if names else found


def _split_options(value: bytes) -> frozenset[bytes]:
    return frozenset(word for part in value.lower().split(b",") if (word := part.strip(b" \t")))


_option_names = lru_cache(maxsize=256)(_split_options)
"""Nearly every Connection field is one of a few; only short ones are kept."""
