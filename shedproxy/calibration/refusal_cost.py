"""What a refusal costs the proxy: CPU of its workers, read while it serves and while it refuses.

In turns: idle, at a load that is served whole, and at three times the capacity, with the thresholds
that are to be written. The second tells what a served request costs, the third, less what its
served ones cost, what a refused one does; the beginning of each, in which connections are opened,
is left out. Turns are independent, so that the mean of what refusals cost in them has Student's
interval.

A system that is short of what refusals are paid with does at best (1 - r L) / (1 - r) of its
capacity at a load of L times that (every refusal takes r of a served request's room). The worker
is not what is short as long as the service is: `full_ratio` says up to which load.
"""

from __future__ import annotations

import http.client
import json
import math
import select
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from shedproxy.calibration.estimates import mean_interval
from shedproxy.calibration.measurement import Phase
from shedproxy.calibration.orders import Order, Played
from shedproxy.calibration.results import RefusalCost
from shedproxy.clock import monotonic_now
from shedproxy.core import NS_PER_S, Nanos, seconds
from shedproxy.loadgen.demo import ProxyProcess

__all__ = ["CpuTurn", "best_goodput", "cpu_ns", "cpu_turns", "measure_refusals", "refusal_cost"]

TURNS, QUICK_TURNS = 5, 3
_SERVED_RATIO, _REFUSED_RATIO = 0.7, 3.0
_PLAY_S, _IDLE_S = 2.5, 0.5
_COLD_SHARE = 0.3
"""Of a load, in which its connections are opened."""
_REFUSED_MIN = 50
_OVERLOADS = (3.0, 10.0)
_TASKS = "/proc/{}/task"


_Watch = Callable[[Order, float], None]


class _Player(Protocol):
    def play(self, order: Order) -> Played:
        """One order."""


class CpuTurn(NamedTuple):
    """CPU of the workers, and what they did: idle, serving, and refusing as well."""

    idle_ratio: float
    """CPU over time."""
    serving_ns: int
    serving_s: float
    served_count: int
    refusing_ns: int
    refusing_s: float
    refusing_served_count: int
    refused_count: int


def measure_refusals(
    target: str,
    settings: str,
    make_player: Callable[[str, _Watch], _Player],
    *,
    capacity_rps: float,
    is_quick: bool,
) -> RefusalCost | None:
    """Start a proxy with these settings before the target, and read what refusals cost it.

    Raises:
        RuntimeError: the proxy does not start.
    """
    turns: list[CpuTurn] = []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "shedproxy.toml"
        file.write_text(settings)
        with _Proxy(target, file) as proxy:
            try:
                turns += cpu_turns(
                    lambda watch: make_player(proxy.url, watch),
                    proxy.workers(),
                    capacity_rps=capacity_rps,
                    count=QUICK_TURNS if is_quick else TURNS,
                )
            except OSError:
                return None
    return refusal_cost(turns, capacity_rps=capacity_rps)


class _Proxy(ProxyProcess):
    def __init__(self, upstream: str, file: Path) -> None:
        super().__init__(upstream)
        self._command += [f"--config={file}", "--enforce"]

    def workers(self) -> list[int]:
        connection = http.client.HTTPConnection("127.0.0.1", self.control_port, timeout=5)
        try:
            connection.request("GET", "/-/status")
            status = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        return [worker["pid"] for worker in status["workers"]]


def cpu_ns(pids: Sequence[int]) -> int:
    """What these processes have used, in ns, all threads that live.

    Raises:
        OSError: one of them is gone, or this system does not say.
    """
    total = 0
    for pid in pids:
        for task in Path(_TASKS.format(pid)).iterdir():
            total += int((task / "schedstat").read_text().split()[0])
    return total


class _Marks:
    """When and at what CPU the warm part of a load began, and where it was seen last."""

    def __init__(self, now: Callable[[], tuple[int, int]]) -> None:
        self._now = now
        self.begun: tuple[int, int] | None = None
        self.seen = (0, 0)

    def watch(self, _: Order, share: float) -> None:
        """Told a few times a second which share is over."""
        if _COLD_SHARE <= share < 1:
            self.seen = self._now()
            self.begun = self.begun or self.seen


def cpu_turns(
    make_player: Callable[[_Watch], _Player],
    pids: Sequence[int],
    *,
    capacity_rps: float,
    count: int,
    clock: Callable[[], int] = monotonic_now,
    pause: Callable[[float], None] | None = None,
    read: Callable[[Sequence[int]], int] = cpu_ns,
) -> Iterator[CpuTurn]:
    """So many turns through the proxy whose workers those are.

    Raises:
        OSError: the CPU cannot be read.
    """

    def now() -> tuple[int, int]:
        return clock(), read(pids)

    for turn in range(count):
        begun_at, before = now()
        (pause or _pause)(_IDLE_S)
        ended_at, after = now()
        done = []
        for ratio in (_SERVED_RATIO, _REFUSED_RATIO):
            marks = _Marks(now)
            played = make_player(marks.watch).play(_order(ratio * capacity_rps, turn))
            first_at, first = marks.begun or marks.seen
            last_at, last = marks.seen
            warm = [row for row in played.rows if first_at <= row.done_at < last_at]
            served = sum(200 <= row.status < 400 for row in warm)
            refused = sum(row.status in {429, 503} for row in warm)
            done.append((last - first, (last_at - first_at) / NS_PER_S, served, refused))
        (used, took_s, served, _), (more, longer_s, beside, refused) = done
        idle_ratio = (after - before) / max(1, ended_at - begun_at)
        yield CpuTurn(idle_ratio, used, took_s, served, more, longer_s, beside, refused)


def _pause(length_s: float) -> None:
    # Nothing is measured while it blocks but how little the workers do by themselves.
    select.select([], [], [], length_s)


def _order(rate_rps: float, turn: int) -> Order:
    return Order(
        phase=Phase.REFUSAL,
        pass_number=turn + 1,
        length_ns=seconds(_PLAY_S),
        settle_ns=seconds(0),
        seed=100 + turn,
        planned_rps=rate_rps,
        in_flight_max=20_000,
        not_sent_max=None,
    )


def refusal_cost(turns: Sequence[CpuTurn], *, capacity_rps: float) -> RefusalCost | None:
    """The cost with its interval; None where too few were refused to tell."""
    sound = [
        turn
        for turn in turns
        if turn.refused_count >= _REFUSED_MIN and turn.served_count >= _REFUSED_MIN
    ]
    if not sound:
        return None
    idle = NS_PER_S * math.fsum(turn.idle_ratio for turn in sound) / len(sound)
    serving = math.fsum(turn.serving_ns - idle * turn.serving_s for turn in sound)
    served_ns = serving / sum(turn.served_count for turn in sound)
    if served_ns <= 0:
        return None
    refused = [
        (turn.refusing_ns - idle * turn.refusing_s - served_ns * turn.refusing_served_count)
        / turn.refused_count
        for turn in sound
    ]
    ratio = mean_interval([max(0.0, each) / served_ns for each in refused])
    if ratio is None:
        return None
    refused_ns = ratio.value * served_ns
    left = 1 - capacity_rps * served_ns / NS_PER_S
    return RefusalCost(
        ratio=ratio,
        served_ns=Nanos(round(served_ns)),
        refused_ns=Nanos(round(refused_ns)),
        best_goodput=tuple((load, best_goodput(ratio.value, load)) for load in _OVERLOADS),
        full_ratio=(
            1 + left * NS_PER_S / refused_ns / capacity_rps if refused_ns > 0 and left > 0 else None
        ),
    )


def best_goodput(ratio: float, load: float) -> float:
    """Of capacity, at `load` times it, where refusals are paid with what is short; 0..1."""
    if ratio >= 1:
        return 0.0
    return min(1.0, max(0.0, (1 - ratio * load) / (1 - ratio)))
