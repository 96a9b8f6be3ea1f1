"""What all workers together saw of each host: their counts added up, those of ended ones kept."""

from __future__ import annotations

from typing import Any

from shedproxy.core import Tally

__all__ = ["HostTallies"]

_Counts = tuple[float, float, float, float]
_NOTHING: _Counts = (0, 0, 0, 0)


class HostTallies:
    """Fed by the messages of workers, which count from their own start."""

    def __init__(self) -> None:
        self._totals: dict[tuple[str, str], _Counts] = {}
        self._last: dict[Any, dict[tuple[str, str], _Counts]] = {}
        """What each worker said last of each host, however long ago: it goes on from there."""
        self._can_use: dict[Any, dict[tuple[str, str], bool]] = {}
        """What its last message says."""

    def take(self, worker: Any, cells: Any) -> None:
        """What a worker says; anything else than counts is left out."""
        if not isinstance(cells, dict):
            return
        last = self._last.setdefault(worker, {})
        can_use: dict[tuple[str, str], bool] = {}
        for cell, hosts in cells.items():
            for host, numbers in hosts.items() if isinstance(hosts, dict) else ():
                counts = _read(numbers)
                if counts is None:
                    continue
                key = (str(cell), str(host))
                can_use[key] = bool(numbers[4])
                then = last.get(key, _NOTHING)
                if counts[0] < then[0]:
                    then = _NOTHING
                total = self._totals.get(key, _NOTHING)
                self._totals[key] = (
                    total[0] + counts[0] - then[0],
                    total[1] + counts[1] - then[1],
                    total[2] + counts[2] - then[2],
                    total[3] + counts[3] - then[3],
                )
                last[key] = counts
        self._can_use[worker] = can_use

    def forget(self, worker: Any) -> None:
        """The worker is gone; what it counted stays."""
        self._last.pop(worker, None)
        self._can_use.pop(worker, None)

    def total(self, cell: str, host: str) -> Tally:
        """What a host did since it was first heard of."""
        requests, failed, timed, log2_sum = self._totals.get((cell, host), _NOTHING)
        return Tally(int(requests), int(failed), int(timed), log2_sum)

    def is_reachable(self, cell: str, host: str) -> bool:
        """Whether some worker can use it, or nobody has said."""
        said = [known[cell, host] for known in self._can_use.values() if (cell, host) in known]
        return not said or any(said)

    def keep(self, present: set[tuple[str, str]]) -> None:
        """Drop hosts that are configured no more."""
        for known in (self._totals, *self._last.values()):
            for key in known.keys() - present:
                del known[key]


def _read(numbers: Any) -> _Counts | None:
    if not isinstance(numbers, list) or len(numbers) != 5:
        return None
    if not all(isinstance(number, int | float) for number in numbers):
        return None
    return numbers[0], numbers[1], numbers[2], numbers[3]
