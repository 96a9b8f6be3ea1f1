"""Whether a queue swells: it grows because more is asked for than is served.

A burst and the beginning of a flood look the same, and differ in what the order of service does.
While a queue swells at x times capacity, first come first served makes each wait longer than the
last one, for nothing: in a flood those that wait are refused in the end, and whoever was served
meanwhile waited in vain. Newest first serves without a wait, and costs a burst little: as soon as
the queue is seen to fall (`_TURN`) the oldest come first, and after a burst of length d nobody has
waited much longer than the greater of d and (x - 1) d, which is what first come first served makes
of it too when x is 2 or more. (Adaptive LIFO: Maurer, "Fail at Scale", 2015, which turns by length
alone.)

A queue that was short grows in a pause of the service as well, and the service then catches up. So
what comes to a short queue while nobody is served counts for chance at most, however much it is:
of a flood more comes with everybody who is served.

A crowd that came at once and whose members each come back as they are served stays as long as it
is, and grows no more: nobody is refused in the end, and who is oldest would be passed by for no
more than having come first.

Counts are of waiters; it knows no time.
"""

from __future__ import annotations

from typing import Final

__all__ = ["Swell"]

_CHANCE: Final = 12
"""Growth beyond its share of what was served that is more than chance (a cumulative sum, after
Page, 1954). At 0.9 of the capacity of four slots of exponential work it makes the longest wait of
99 % of all 1.13 times that of first come first served; 8 makes it 1.37 times, 16 1.03."""
_SERVED_PER_GROWN: Final = 4
"""It swells while demand is above 1.25 of what is served. Nearer to 1 a queue wanders for longer
than it grows, and the oldest would wait for the end of that."""
_TURN: Final = 8
"""So many below its peak, and it falls. Chance alone takes a queue that far at 1.25 of capacity in
one of 25 falls (exp(-2 drift / variance) for each waiter), at 1.5 in one of 200."""
_STANDING: Final = 128
"""So many served since its peak, and it grows no more. Chance alone keeps a queue below its peak
for that long at 1.25 of capacity in one of 25 times (exp(-drift^2 / (2 variance)) for each)."""


class Swell:
    """Told the length after every change; constant time and memory."""

    __slots__ = ("_come", "_peak", "_served", "_since_peak", "_trough")

    def __init__(self) -> None:
        self._trough = 0
        """Length where it began to grow."""
        self._peak = 0
        """The most since then."""
        self._served = 0
        """Waiters served since then."""
        self._since_peak = 0
        """And since it was last longer than before."""
        self._come = 0
        """Waiters that came since the last one was served."""

    def rise(self, length: int) -> None:
        """One more waits."""
        self._come = come = self._come + 1
        if come >= _CHANCE and length - come < _CHANCE:
            self._trough += 1  # a pause, or a burst that nobody has had time to end
        if length > self._peak:
            self._peak = length
            self._since_peak = 0

    def serve(self) -> None:
        """One of them is served; `fall` follows."""
        self._served += 1
        self._since_peak += 1
        self._come = 0

    def fall(self, length: int) -> None:
        """One less waits."""
        if length <= self._trough or length < self._peak - _TURN or self._since_peak >= _STANDING:
            self._trough = self._peak = length
            self._served = self._since_peak = 0

    def is_on(self, length: int) -> bool:
        """Whether it has grown by more than chance, for what was served meanwhile."""
        grown = length - self._trough
        return (grown - _CHANCE) * _SERVED_PER_GROWN >= self._served

    def is_gentle(self, length: int) -> bool:
        """Whether it grows by no more than is served: the oldest wait longer than length tells.

        Above twice what is served, length is told first. Where nothing is served, as in a pause,
        nobody has been passed by.
        """
        return length - self._trough <= self._served
