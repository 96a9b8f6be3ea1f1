"""How long clients wait before they leave: no wait beyond it is worth while.

Most clients never say when they stop waiting. When they do stop, work for them is in vain, and a
queue in which they stop makes all of it so. Ages at which requests end are counted by quarters of
an octave, those of clients that left apart. Patience ends where, of all that came to such an age,
half or more left at it (the hazard rate of Kaplan and Meier, 1958). A few that leave early, out of
impatience or malice, therefore move nothing.
"""

from __future__ import annotations

from typing import Final

from shedproxy.core.units import Nanos

__all__ = ["Patience"]

_LEAST_BITS: Final = 20
"""Ages below 2^20 ns, a millisecond, are one."""
_BUCKETS: Final = 4 * 16 + 1
"""Up to 2^36 ns, a minute; longer ones are one."""
_LEFT_MIN: Final = 4
"""Fewer who left at an age are chance."""
_MEMORY: Final = 2048
"""Ends after which all that was counted weighs half."""


class Patience:
    """Costs nothing until somebody leaves. `bound_ns` is brought up to date by `update`."""

    __slots__ = ("_count", "_has_news", "_left", "_stayed", "bound_ns", "is_asked")

    def __init__(self) -> None:
        self._left = [0] * _BUCKETS
        self._stayed = [0] * _BUCKETS
        self._count = 0
        self._has_news = False
        self.is_asked = False
        """Somebody has left lately: `stay` wants to know who did not."""
        self.bound_ns: Nanos | None = None
        """The age at which most leave; None: there is none that is known."""

    def leave(self, age_ns: int) -> None:
        """A client left so long after its request had arrived, and the work for it goes on.

        `age_ns` should be no less than an answer takes: who leaves sooner does so without a wait.
        """
        self.is_asked = self._has_news = True
        self._left[_bucket(age_ns)] += 1
        self._forget()

    def stay(self, age_ns: int) -> None:
        """A client was answered at that age."""
        self._stayed[_bucket(age_ns)] += 1
        self._forget()

    def update(self) -> None:
        """Find `bound_ns` anew, if somebody has left since the last time."""
        if not self._has_news:
            return
        self._has_news = False
        self.bound_ns = None
        reached = 0
        for bucket in reversed(range(_BUCKETS)):
            left = self._left[bucket]
            reached += left + self._stayed[bucket]
            if left >= _LEFT_MIN and 2 * left >= reached:
                self.bound_ns = _begin_ns(bucket)

    def _forget(self) -> None:
        self._count += 1
        if self._count >= _MEMORY:
            self._count //= 2
            self._left = [count // 2 for count in self._left]
            self._stayed = [count // 2 for count in self._stayed]
            self._has_news = True
            self.is_asked = any(self._left)


def _bucket(age_ns: int) -> int:
    octave = age_ns.bit_length() - _LEAST_BITS - 1
    if octave < 0:
        return 0
    return min(_BUCKETS - 1, 4 * octave + (age_ns >> (octave + _LEAST_BITS - 2) & 3) + 1)


def _begin_ns(bucket: int) -> Nanos:
    if not bucket:
        return Nanos(0)
    octave, quarter = divmod(bucket - 1, 4)
    return Nanos((4 + quarter) << (octave + _LEAST_BITS - 2))
