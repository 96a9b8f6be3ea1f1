"""How a refusal is written: 128 bytes, a record of the `ring`.

A refusal must be cheap, and what costs is each number that is made an object to be written. So what
a refusal shares with the one before it on its route (`State`) is written once, and copied.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from shedproxy.core import Criticality, Instant, Mode, Rejected, RejectReason, RequestInfo

__all__ = ["PACK_INTO", "RECORD_SIZE", "RefusalRecord", "State", "pack_clamped", "unpack"]

RECORD_SIZE: Final = 128
_NUMBERS_MAX: Final = 4
_ROUTE_SIZE: Final = 36

# Eight bytes: of the two formats that are so long, what is packed at half the price.
_LONG: Final = "n" if struct.calcsize("n") == 8 else "q"
_STATE: Final = struct.Struct("=2q3I2HI36s")
"""Waited, retry after; in flight, limit, queue length; cell, cost; marks; route."""
_RECORD: Final = struct.Struct(f"@3{_LONG}{_STATE.size}s{_NUMBERS_MAX}{_LONG}")
"""The id; wall, at; the state; numbers. Written in this order, one after the other."""
_BODY: Final = struct.Struct(f"=2q{_STATE.format[1:]}{_NUMBERS_MAX}q")
"""What stands behind the id, field by field."""
PACK_INTO: Final = _RECORD.pack_into
# Marks, from the lowest byte on: reason, criticality, mode, count of numbers (three bits) and why
# no other cell took it (four); the top bit says whether it is a retry.
_CRITICALITY_AT: Final = 8
_MODE_AT: Final = 16
_COUNT_AT: Final = 24
_COUNT_MASK: Final = 0x07
_BAR_AT: Final = 27
_BAR_MASK: Final = 0x0F
_RETRY_BIT: Final = 0x80 << _COUNT_AT
_U16, _U32 = 0xFFFF, 0xFFFF_FFFF
_I64: Final = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusalRecord:
    """One refusal as it was recorded: enough to recompute it."""

    id: int
    wall_ns: int
    """When, in nanoseconds since the epoch; for people."""
    at: Instant
    reason: RejectReason
    criticality: Criticality
    is_retry: bool
    cell: int
    route: str
    """Name of the route, cut to 36 bytes."""
    cost: int
    mode: Mode
    """OBSERVE: it was served all the same."""
    in_flight: int
    limit: int
    queue_length: int
    waited_ns: int
    retry_after_ns: int
    numbers: tuple[int, ...]
    spill_bar: int = 0
    """Why no other cell took it (a `SpillBar`); 0: none was asked."""

    def to_rejected(self, cell_name: str = "default") -> Rejected:
        """The refusal as the core made it, for `explain_refusal` and `refusal_holds`."""
        request = RequestInfo(
            route=self.route,
            cell=cell_name,
            criticality=self.criticality,
            cost=self.cost,
            is_retry=self.is_retry,
        )
        rejected = Rejected(
            request=request,
            reason=self.reason,
            at=self.at,
            numbers=self.numbers,
            in_flight=self.in_flight,
            limit=self.limit,
            queue_length=self.queue_length,
            retry_after_ns=self.retry_after_ns,
            waited_ns=self.waited_ns,
        )
        rejected.spill_bar = self.spill_bar
        return rejected


class State:
    """The state in which a request of a route was refused last, as it is written.

    Where refusals are many, most find things as the one before them did.
    """

    __slots__ = (
        "_cell",
        "_cost",
        "_in_flight",
        "_limit",
        "_marks",
        "_packed",
        "_queue_length",
        "_retry_after_ns",
        "_route",
        "_waited_ns",
    )

    def __init__(self, route: str) -> None:
        self._route = _spell(route)
        self._cell = self._cost = self._marks = -1
        self._in_flight = self._limit = self._queue_length = -1
        self._waited_ns = self._retry_after_ns = -1
        self._packed = b""

    def of(self, rejected: Rejected, cell: int, mode: int) -> bytes:
        """The state of this refusal, which is of the route."""
        cost, marks = rejected.request.cost, _marks_of(rejected, mode)
        waited_ns, retry_after_ns = rejected.waited_ns, rejected.retry_after_ns
        in_flight, limit = rejected.in_flight, rejected.limit
        queue_length = rejected.queue_length
        if (
            in_flight == self._in_flight
            and queue_length == self._queue_length
            and limit == self._limit
            and waited_ns == self._waited_ns
            and retry_after_ns == self._retry_after_ns
            and marks == self._marks
            and cell == self._cell
            and cost == self._cost
        ):
            return self._packed
        self._packed = _STATE.pack(
            waited_ns,
            retry_after_ns,
            in_flight,
            limit,
            queue_length,
            cell,
            cost,
            marks,
            self._route,
        )
        self._waited_ns, self._retry_after_ns = waited_ns, retry_after_ns
        self._in_flight, self._limit, self._queue_length = in_flight, limit, queue_length
        self._cell, self._cost, self._marks = cell, cost, marks
        return self._packed


def pack_clamped(
    buffer: memoryview,
    at: int,
    refusal_id: int,
    rejected: Rejected,
    cell: int,
    mode: int,
    wall_ns: int,
) -> None:
    """Record numbers that do not fit as the nearest that do: a record beats an exception."""
    request = rejected.request
    numbers = [_clamp(number, -_I64, _I64) for number in rejected.numbers]
    PACK_INTO(
        buffer,
        at,
        refusal_id,
        _clamp(wall_ns, -_I64, _I64),
        _clamp(rejected.at, -_I64, _I64),
        _STATE.pack(
            _clamp(rejected.waited_ns, -_I64, _I64),
            _clamp(rejected.retry_after_ns, -_I64, _I64),
            _clamp(rejected.in_flight, 0, _U32),
            _clamp(rejected.limit, 0, _U32),
            _clamp(rejected.queue_length, 0, _U32),
            _clamp(cell, 0, _U16),
            _clamp(request.cost, 0, _U16),
            _marks_of(rejected, mode),
            _spell(request.route),
        ),
        *numbers,
        *(0,) * (_NUMBERS_MAX - len(numbers)),
    )


def unpack(refusal_id: int, body: bytes) -> RefusalRecord:
    """Read what was written behind the id."""
    fields = _BODY.unpack_from(body)
    wall_ns, at, waited_ns, retry_after_ns, in_flight, limit, queue_length = fields[:7]
    cell, cost, marks, route = fields[7:11]
    count = marks >> _COUNT_AT & _COUNT_MASK
    numbers = fields[11 : 11 + count]
    return RefusalRecord(
        id=refusal_id,
        wall_ns=wall_ns,
        at=Instant(at),
        reason=RejectReason(marks & 0xFF),
        criticality=Criticality(marks >> _CRITICALITY_AT & 0xFF),
        is_retry=bool(marks & _RETRY_BIT),
        cell=cell,
        route=route.rstrip(b"\0").decode(errors="ignore"),
        cost=cost,
        mode=Mode(marks >> _MODE_AT & 0xFF),
        in_flight=in_flight,
        limit=limit,
        queue_length=queue_length,
        waited_ns=waited_ns,
        retry_after_ns=retry_after_ns,
        numbers=numbers,
        spill_bar=marks >> _BAR_AT & _BAR_MASK,
    )


def _spell(route: str) -> bytes:
    """The name of a route as it is written."""
    return route.encode(errors="replace")[:_ROUTE_SIZE]


def _marks_of(rejected: Rejected, mode: int) -> int:
    request = rejected.request
    # As plain integers: of members of an enum every operation would be a call.
    reason: int = rejected.reason
    criticality: int = request.criticality
    marks = reason | criticality << _CRITICALITY_AT | mode << _MODE_AT
    marks |= len(rejected.numbers) << _COUNT_AT | rejected.spill_bar << _BAR_AT
    return marks | _RETRY_BIT if request.is_retry else marks


def _clamp(number: int, lowest: int, highest: int) -> int:
    return max(lowest, min(number, highest))
