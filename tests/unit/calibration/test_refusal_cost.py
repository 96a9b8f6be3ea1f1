"""The cost of a refusal is told from turns of CPU, with what it bounds."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from shedproxy.calibration.orders import Order, Played, Sent
from shedproxy.calibration.refusal_cost import (
    CpuTurn,
    best_goodput,
    cpu_ns,
    cpu_turns,
    measure_refusals,
    refusal_cost,
)
from shedproxy.core import Instant, Nanos, seconds

SERVED_NS, REFUSED_NS, IDLE = 100_000, 20_000, 0.01


class Worker:
    """Uses exactly so much CPU; its player's time is its clock. Its beginnings are dear."""

    def __init__(self) -> None:
        self.now = 0
        self.used = 0.0
        self.watch: Callable[[Order, float], None] = lambda *_: None

    def pass_(self, length_s: float) -> None:
        self.now += seconds(length_s)
        self.used += IDLE * seconds(length_s)

    def made(self, watch: Callable[[Order, float], None]) -> Worker:
        self.watch = watch
        return self

    def play(self, order: Order) -> Played:
        assert order.planned_rps is not None
        assert order.not_sent_max is None
        rows, begun_at = [], self.now
        served_max = 200 / order.planned_rps
        gap_s, credit = 1 / order.planned_rps, 0.0
        told = 0
        for _ in range(round(order.planned_rps * order.length_ns / 1e9)):
            self.pass_(gap_s)
            credit = min(1.0, credit) + served_max
            is_served = credit >= 1
            credit -= is_served
            share = (self.now - begun_at) / order.length_ns
            at = Instant(self.now)
            rows.append(Sent(at, at, at, 200 if is_served else 503))
            self.used += (SERVED_NS if is_served else REFUSED_NS) * (1 if share > 0.29 else 9)
            if share * 20 > told:
                told += 1
                # Rows of the very instant of a mark are after it.
                self.now += 1
                self.watch(order, share)
        stop = Instant(self.now)
        return Played(
            rows=rows, started_at=Instant(begun_at), stopped_at=stop, ended_at=stop,
            planned_count=len(rows),
        )  # fmt: skip


def turns(count: int) -> list[CpuTurn]:
    worker = Worker()
    return list(
        cpu_turns(
            worker.made, [1], capacity_rps=200.0, count=count, clock=lambda: worker.now,
            pause=worker.pass_, read=lambda _: round(worker.used),
        )
    )  # fmt: skip


def test_served_and_refused_are_told_apart_whatever_it_uses_idle() -> None:
    found = refusal_cost(turns(4), capacity_rps=200.0)
    assert found is not None
    assert found.served_ns == pytest.approx(SERVED_NS, rel=0.02)
    assert found.refused_ns == pytest.approx(REFUSED_NS, rel=0.05)
    assert found.ratio.value == pytest.approx(0.2, rel=0.05)
    assert found.ratio.low <= found.ratio.value <= found.ratio.high
    assert dict(found.best_goodput)[3.0] == pytest.approx(0.5, rel=0.1)
    assert dict(found.best_goodput)[10.0] == 0
    # 2 % of the CPU at capacity; 98 % are left for refusals of 20 us.
    assert found.full_ratio == pytest.approx(1 + 0.98 / 20e-6 / 200, rel=0.06)


def test_a_single_turn_or_too_few_refusals_are_not_enough() -> None:
    assert refusal_cost(turns(1), capacity_rps=200.0) is None
    few = [turn._replace(refused_count=10) for turn in turns(4)]
    assert refusal_cost(few, capacity_rps=200.0) is None


def test_refusals_as_dear_as_requests_leave_nothing() -> None:
    assert best_goodput(1.0, 3.0) == 0
    assert best_goodput(0.0, 10.0) == 1
    assert best_goodput(0.1, 0.5) == 1


def test_cpu_is_read_of_processes_that_live() -> None:
    before = cpu_ns([os.getpid()])
    # The kernel adds what runs now at its next tick.
    assert any(sum(range(100_000)) and cpu_ns([os.getpid()]) > before for _ in range(1_000))
    with pytest.raises(OSError, match="No such file"):
        cpu_ns([2**22 + 1])


def test_a_proxy_whose_cpu_cannot_be_read_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxy is real, what is asked of it is nothing."""

    def gone(*_: object, **__: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr("shedproxy.calibration.refusal_cost.cpu_turns", gone)
    told = measure_refusals(
        "http://127.0.0.1:1", "", lambda *_: Worker(), capacity_rps=Nanos(1), is_quick=True
    )
    assert told is None
