"""Counting on the hot path: additions to integer slots, nothing else.

A slot is an item of a list (middleware) or of a memory view on the shared page (worker). Reading,
naming and merging happen elsewhere, when somebody asks. One writer per meter: the thread of the
event loop. A reader may see one request half counted; it never sees half a number.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

from shedproxy.core import NS_PER_S, RejectReason
from shedproxy.observability.metric import (
    Eviction,
    Gauge,
    ProcessCounter,
    ProcessGauge,
    RequestOutcome,
    WaitOutcome,
)
from shedproxy.observability.metric_labels import DURATION_BOUNDS, WAIT_BOUNDS
from shedproxy.observability.slot_layout import DURATION_OUTCOMES, LAYOUT

__all__ = ["Eviction", "Gauge", "Meter", "ProcessCounter", "ProcessGauge", "Slots", "clear_gauges"]

Slots: TypeAlias = "list[int] | memoryview[int]"
"""Where a meter counts: a list, or a view of 64-bit integers on a shared page."""

_DURATION_BOUNDS_NS: Final = [round(bound * NS_PER_S) for bound in DURATION_BOUNDS]
_WAIT_BOUNDS_NS: Final = [round(bound * NS_PER_S) for bound in WAIT_BOUNDS]

# Module constants: an attribute of LAYOUT would cost a look-up on every addition.
_STRIDE: Final = LAYOUT.cell_stride
_REASONS: Final = len(RejectReason)
_ADMITTED: Final = LAYOUT.cells + LAYOUT.cell_admitted
_REJECTED: Final = LAYOUT.cells + LAYOUT.cell_rejected
_WOULD_REJECT: Final = LAYOUT.cells + LAYOUT.cell_would_reject
_BYPASS: Final = LAYOUT.cells + LAYOUT.cell_bypass
_GOODPUT: Final = LAYOUT.cells + LAYOUT.cell_goodput
_FAULTS: Final = LAYOUT.cells + LAYOUT.cell_faults
_LIMIT_CHANGES: Final = LAYOUT.cells + LAYOUT.cell_limit_changes
_RETRIES: Final = LAYOUT.cells + LAYOUT.cell_retries
_RETRIES_DENIED: Final = LAYOUT.cells + LAYOUT.cell_retries_denied
_SPILLED: Final = LAYOUT.cells + LAYOUT.cell_spilled
_HELD: Final = LAYOUT.cells + LAYOUT.cell_held
_GAUGES: Final = LAYOUT.cells + LAYOUT.cell_gauges
_WAITS: Final = LAYOUT.cells + LAYOUT.cell_waits
_DURATIONS: Final = LAYOUT.cells + LAYOUT.cell_durations
_WAIT_STRIDE: Final = LAYOUT.wait_stride
_WAIT_SUM: Final = LAYOUT.wait_stride - 1
_CLASS_WAIT_STRIDE: Final = LAYOUT.wait_stride * len(WaitOutcome)
_WAIT_REJECTED: Final = LAYOUT.wait_stride * WaitOutcome.REJECTED
_DURATION_STRIDE: Final = LAYOUT.duration_stride
_DURATION_SUM: Final = LAYOUT.duration_stride - 1
_CLASS_DURATION_STRIDE: Final = LAYOUT.duration_stride * DURATION_OUTCOMES
_PROCESS_FAULTS: Final = LAYOUT.process_faults


def _outcome_of(status: int) -> RequestOutcome:
    if status in {0, 499}:
        return RequestOutcome.ABANDONED
    if 400 <= status < 500:
        return RequestOutcome.CLIENT_ERROR
    return RequestOutcome.SERVER_ERROR if status >= 500 else RequestOutcome.SUCCESS


_OUTCOME_START: Final = [_outcome_of(status) * _DURATION_STRIDE for status in range(1000)]
"""By status: where in a class's durations its histogram starts."""


class Meter:
    """The counters and gauges of one worker.

    Args:
        slots: `LAYOUT.total` integers, a list of zeros when not given. Counters go on from what
            the slots hold.
    """

    __slots__ = ("slots",)

    def __init__(self, slots: Slots | None = None) -> None:
        if slots is None:
            slots = [0] * LAYOUT.total
        if len(slots) < LAYOUT.total:
            raise ValueError(f"a meter needs {LAYOUT.total} slots, not {len(slots)}")
        self.slots: Slots = slots

    def on_admitted(self, cell: int, criticality: int, waited_ns: int) -> None:
        """An arrival was admitted, at once (`waited_ns` 0) or after a wait in the queue."""
        slots = self.slots
        base = cell * _STRIDE
        _add(slots, base + criticality + _ADMITTED, 1)
        if waited_ns > 0:
            at = base + _WAITS + criticality * _CLASS_WAIT_STRIDE
            _add(slots, at + _bucket(_WAIT_BOUNDS_NS, waited_ns), 1)
            _add(slots, at + _WAIT_SUM, waited_ns)

    def on_rejected(self, cell: int, criticality: int, reason: int, waited_ns: int = 0) -> None:
        """An arrival was refused, at once (`waited_ns` 0) or after a wait in the queue."""
        slots = self.slots
        base = cell * _STRIDE
        _add(slots, base + criticality * _REASONS + reason + _REJECTED, 1)
        if waited_ns > 0:
            at = base + _WAITS + criticality * _CLASS_WAIT_STRIDE + _WAIT_REJECTED
            _add(slots, at + _bucket(_WAIT_BOUNDS_NS, waited_ns), 1)
            _add(slots, at + _WAIT_SUM, waited_ns)

    def on_would_reject(self, cell: int, criticality: int, reason: int) -> None:
        """Observe mode served what enforce mode would have refused. Instead of `on_admitted`."""
        self.slots[cell * _STRIDE + criticality * _REASONS + reason + _WOULD_REJECT] += 1

    def on_bypass(self, cell: int) -> None:
        """A control request was served without admission."""
        self.slots[cell * _STRIDE + _BYPASS] += 1

    def on_finished(
        self, cell: int, criticality: int, status: int, duration_ns: int, goodput: bool
    ) -> None:
        """An admitted request ended.

        Args:
            cell: Number of the cell.
            criticality: Its class.
            status: Status that was answered, 100 to 999; 0 or 499 when the client left first.
            duration_ns: Arrival to the end of the answer.
            goodput: Whether it ended well and within its deadline.
        """
        slots = self.slots
        base = cell * _STRIDE
        at = base + _DURATIONS + criticality * _CLASS_DURATION_STRIDE + _OUTCOME_START[status]
        _add(slots, at + _bucket(_DURATION_BOUNDS_NS, duration_ns), 1)
        _add(slots, at + _DURATION_SUM, duration_ns)
        if goodput:
            _add(slots, base + criticality + _GOODPUT, 1)

    def on_fault(self, cell: int, fault: int) -> None:
        """An exchange failed; `cell` is -1 when its head was not understood."""
        if cell < 0:
            self.slots[_PROCESS_FAULTS + fault] += 1
        else:
            self.slots[cell * _STRIDE + _FAULTS + fault] += 1

    def on_limit_change(self, cell: int, cause: int) -> None:
        """The limit of a cell was updated, for this LimitCause."""
        self.slots[cell * _STRIDE + _LIMIT_CHANGES + cause] += 1

    def on_retry(self, cell: int, cause: int) -> None:
        """A request is sent to an upstream once more, for this RetryCause."""
        self.slots[cell * _STRIDE + _RETRIES + cause] += 1

    def on_retry_denied(self, cell: int, denial: int) -> None:
        """A request could have been sent once more and was not, for this RetryDenial."""
        self.slots[cell * _STRIDE + _RETRIES_DENIED + denial] += 1

    def on_spilled(self, cell: int, side: int, count: int) -> None:
        """So many more requests went from, or came to, a cell that is not their own (SpillSide)."""
        self.slots[cell * _STRIDE + _SPILLED + side] += count

    def on_held(self, cell: int, count: int, length_ns: int) -> None:
        """So much waited for its turn of the loop, for so long in all; `cell` -1: it has none."""
        slots = self.slots
        if cell < 0:
            slots[LAYOUT.process_counters + ProcessCounter.HELD] += count
            slots[LAYOUT.process_counters + ProcessCounter.HELD_NS] += length_ns
        else:
            slots[cell * _STRIDE + _HELD] += count
            slots[cell * _STRIDE + _HELD + 1] += length_ns

    def set_gauge(self, cell: int, gauge: int, value: int) -> None:
        """Publish the present value of a cell's Gauge."""
        self.slots[cell * _STRIDE + _GAUGES + gauge] = value

    def set_process(self, gauge: int, value: int) -> None:
        """Publish the present value of a ProcessGauge."""
        self.slots[gauge] = value

    def count(self, counter: int, amount: int = 1) -> None:
        """Add to a ProcessCounter."""
        self.slots[LAYOUT.process_counters + counter] += amount

    def gauge(self, cell: int, gauge: int) -> int:
        """The value last published of a cell's Gauge."""
        return self.slots[cell * _STRIDE + _GAUGES + gauge]

    def process(self, gauge: int) -> int:
        """The value last published of a ProcessGauge."""
        return self.slots[gauge]

    def counted(self, counter: int) -> int:
        """What a ProcessCounter stands at."""
        return self.slots[LAYOUT.process_counters + counter]

    def admitted(self, cell: int, criticality: int | None = None) -> int:
        """Arrivals admitted, of one class or of all; tests and the status page read this."""
        return _sum_from(self.slots, cell * _STRIDE + _ADMITTED, criticality, 1)

    def rejected(self, cell: int, reason: int | None = None) -> int:
        """Arrivals refused, for one reason or for any."""
        return self._by_reason(cell * _STRIDE + _REJECTED, reason)

    def would_reject(self, cell: int, reason: int | None = None) -> int:
        """Arrivals that enforce mode would have refused."""
        return self._by_reason(cell * _STRIDE + _WOULD_REJECT, reason)

    def bypassed(self, cell: int) -> int:
        """Control requests served."""
        return self.slots[cell * _STRIDE + _BYPASS]

    def goodput(self, cell: int, criticality: int | None = None) -> int:
        """Requests that ended well and in time."""
        return _sum_from(self.slots, cell * _STRIDE + _GOODPUT, criticality, 1)

    def finished(self, cell: int) -> int:
        """Admitted requests that ended, however."""
        start = cell * _STRIDE + _DURATIONS
        return sum(
            sum(self.slots[at : at + _DURATION_SUM])
            for at in range(start, start + 4 * _CLASS_DURATION_STRIDE, _DURATION_STRIDE)
        )

    def faults(self, cell: int, fault: int) -> int:
        """Exchanges that failed this way; cell -1: before they had a cell."""
        start = _PROCESS_FAULTS if cell < 0 else cell * _STRIDE + _FAULTS
        return self.slots[start + fault]

    def limit_changes(self, cell: int, cause: int) -> int:
        """Updates of the limit for this cause."""
        return self.slots[cell * _STRIDE + _LIMIT_CHANGES + cause]

    def retries(self, cell: int, cause: int) -> int:
        """Requests sent once more for this cause."""
        return self.slots[cell * _STRIDE + _RETRIES + cause]

    def retries_denied(self, cell: int, denial: int) -> int:
        """Requests not sent once more for this reason."""
        return self.slots[cell * _STRIDE + _RETRIES_DENIED + denial]

    def spilled(self, cell: int, side: int) -> int:
        """Requests that a cell sent away, or took of others."""
        return self.slots[cell * _STRIDE + _SPILLED + side]

    def held(self, cell: int) -> tuple[int, int]:
        """How much waited for its turn of the loop, for how many ns in all; cell -1: of none."""
        at = cell * _STRIDE + _HELD if cell >= 0 else LAYOUT.process_counters + ProcessCounter.HELD
        return self.slots[at], self.slots[at + 1]

    def _by_reason(self, start: int, reason: int | None) -> int:
        block = self.slots[start : start + 4 * _REASONS]
        return sum(block) if reason is None else sum(block[reason::_REASONS])


def _add(slots: Slots, at: int, amount: int) -> None:
    """As `slots[at] += amount`, which compiled code does with objects of all three."""
    place: Any = at  # one object for both
    count: int = slots[place]
    slots[place] = count + amount


def _bucket(bounds: list[int], value: int) -> int:
    """As `bisect_left`, which from compiled code costs five times as much."""
    low, high = 0, len(bounds)
    while low < high:
        middle = (low + high) >> 1
        if bounds[middle] < value:
            low = middle + 1
        else:
            high = middle
    return low


def _sum_from(slots: Slots, start: int, criticality: int | None, width: int) -> int:
    if criticality is None:
        return sum(slots[start : start + 4 * width])
    return slots[start + criticality * width]


def clear_gauges(slots: Slots) -> None:
    """Set what describes the present to 0 and leave every counter: its worker is gone.

    Cells that were never used are not touched, so that their memory stays unused.
    """
    for gauge in ProcessGauge:
        slots[gauge] = 0
    for start in range(_GAUGES, LAYOUT.total, _STRIDE):
        for at in range(start, start + len(Gauge)):
            if slots[at]:
                slots[at] = 0
