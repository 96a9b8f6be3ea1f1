"""What clients and other proxies say about a request, parsed. Nonsense says nothing; never raises.

Pure. Whether the one who says it is believed is decided elsewhere (`classify`, `trust`).
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from shedproxy.core import NS_PER_MS, NS_PER_S, NS_PER_US

__all__ = [
    "DEADLINE_MAX_NS",
    "VALUE_SIZE_MAX",
    "canonical_tenant",
    "is_repeated",
    "parse_deadline_ns",
    "parse_queued_ns",
    "parse_urgency",
    "trace_id",
]

DEADLINE_MAX_NS: Final = 3600 * NS_PER_S
"""Most time a header can claim to have left."""

QUEUED_MAX_NS: Final = 60 * NS_PER_S
"""A request that has waited longer before us is not believed: clocks differ more easily."""

VALUE_SIZE_MAX: Final = 256
"""Bytes of a tenant or task that count."""

_NO_TRACE: Final = b"0" * 32

_GRPC_UNITS: Final = {
    b"H": 3600 * NS_PER_S,
    b"M": 60 * NS_PER_S,
    b"S": NS_PER_S,
    b"m": NS_PER_MS,
    b"u": NS_PER_US,
    b"n": 1,
}
_REQUEST_START: Final = re.compile(rb"(?:t=)?([0-9]{9,17})(?:\.([0-9]{1,9}))?")
_FIRST_REPEAT: Final = {b"grpc-previous-rpc-attempts": 1}
"""This header counts the tries before; all others count from 1 and a repeated try is 2 or more."""


def is_repeated(name: bytes, value: bytes) -> bool:
    """Whether an attempt header says that this is not the first try."""
    value = value.strip()
    return len(value) <= 9 and value.isdigit() and int(value) >= _FIRST_REPEAT.get(name, 2)


def parse_deadline_ns(value: bytes) -> int | None:
    """Time left in ns, 0 to one hour, from integer ms or grpc-timeout syntax; None for nonsense.

    grpc-timeout: up to 8 digits and one of `H M S m u n` (gRPC over HTTP/2, "Requests").
    """
    value = value.strip()
    if value.isdigit():
        amount, unit_ns = value, NS_PER_MS
    else:
        amount, unit_ns = value[:-1], _GRPC_UNITS.get(value[-1:], 0)
        if not unit_ns or not amount.isdigit() or len(amount) > 8:
            return None
    if len(amount) > 15:
        return DEADLINE_MAX_NS
    return min(int(amount) * unit_ns, DEADLINE_MAX_NS)


def parse_queued_ns(value: bytes, wall_ns: int) -> int:
    """Time since an X-Request-Start, in ns: how long the request waited before us, at least.

    The value is a time since the epoch, with or without `t=`: seconds (nginx, with a fraction),
    milliseconds (Heroku) or microseconds (Apache), told apart by their size. `wall_ns` is now. 0
    for nonsense, for the future, and for more than a minute ago.
    """
    match = _REQUEST_START.fullmatch(value.strip())
    if match is None:
        return 0
    whole, fraction = match.groups()
    unit_ns = NS_PER_S if len(whole) <= 11 else NS_PER_MS if len(whole) <= 14 else NS_PER_US
    started_at = int(whole) * unit_ns
    if fraction is not None:
        started_at += int(fraction) * unit_ns // 10 ** len(fraction)
    queued_ns = wall_ns - started_at
    return queued_ns if 0 < queued_ns <= QUEUED_MAX_NS else 0


def parse_urgency(value: bytes) -> int:
    """The urgency of a Priority field (RFC 9218, 4.1): 0 to 7; 3 when absent or nonsense."""
    urgency = 3
    for member in value[:VALUE_SIZE_MAX].split(b","):
        key, _, said = member.partition(b";")[0].strip(b" \t").partition(b"=")
        if key == b"u" and len(said) == 1 and b"0" <= said <= b"7":
            urgency = int(said)
    return urgency


def canonical_tenant(value: bytes) -> bytes:
    """One spelling of a tenant: outer blanks, case and Unicode compatibility forms do not count."""
    value = value[:VALUE_SIZE_MAX].strip()
    if value.isascii():
        return value.lower()
    text = unicodedata.normalize("NFKC", value.decode("utf-8", "surrogateescape")).strip()
    return text.casefold().encode("utf-8", "surrogateescape")


def trace_id(traceparent: bytes) -> bytes:
    """The trace id of a traceparent (W3C Trace Context, 3.2), or b"" when it has none."""
    traceparent = traceparent.strip()
    trace_id = traceparent[3:35]
    is_valid = len(traceparent) >= 55 and traceparent[2] == traceparent[35] == 45  # "-"
    return trace_id if is_valid and trace_id != _NO_TRACE else b""
