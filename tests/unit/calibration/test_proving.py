"""What the verification reads off a run."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
from harness.calibrations import a_plan

from shedproxy.calibration.orders import Order, Played, Sent
from shedproxy.calibration.proving import (
    Proof,
    UnprovedError,
    proof_length_s,
    proof_ratios,
    proving_runs,
    recovery,
)
from shedproxy.calibration.results import VerificationRun
from shedproxy.core import Instant, milliseconds, seconds


def played(bad_until_s: float, *, length_s: float = 4.0) -> Played:
    rows = []
    for n in range(int(100 * length_s)):
        at = Instant(seconds(1) + n * milliseconds(10))
        latency = milliseconds(900 if n < 100 * bad_until_s else 20)
        rows.append(Sent(at, at, Instant(at + latency), 200))
    return Played(
        rows=rows, started_at=Instant(0), stopped_at=Instant(seconds(1)),
        ended_at=Instant(seconds(9)), planned_count=len(rows),
    )  # fmt: skip


def test_recovery_is_the_time_until_all_is_good_again() -> None:
    latency_ns = milliseconds(250)
    assert recovery(played(0), latency_ns) == 0
    assert recovery(played(1.2), latency_ns) == seconds(1.5)
    assert recovery(played(4), latency_ns) is None
    assert recovery(played(0, length_s=0), latency_ns) is None


def test_the_more_service_times_scatter_the_longer_is_a_run() -> None:
    assert proof_length_s(capacity_rps=200, cv=0, is_quick=False) == (8, 8)
    assert proof_length_s(capacity_rps=200, cv=1, is_quick=False)[0] == pytest.approx(51)
    assert proof_length_s(capacity_rps=1600, cv=1, is_quick=True)[0] == pytest.approx(7.25)
    assert proof_length_s(capacity_rps=200, cv=1, is_quick=True) == (30, 4)
    assert proof_length_s(capacity_rps=20, cv=3, is_quick=False) == (120, 8)


def test_no_load_is_above_the_cap_on_the_rate() -> None:
    assert proof_ratios(a_plan(), 100.0) == [0.8, 1.5, 3.0]
    assert proof_ratios(a_plan(rate_max_rps=150.0), 100.0) == [0.8, 1.5]


class Service:
    """Answers orders in virtual time: two requests a second, after `latency_ms`; 0: never."""

    def __init__(self, latency_ms: float, *, rate_max_rps: float | None = None) -> None:
        self.latency_ms = latency_ms
        self.now = Instant(0)
        self.orders: list[Order] = []
        self.plan = a_plan(rate_max_rps=rate_max_rps)
        self.dies_after = 10**9

    def play(self, order: Order) -> Played:
        self.orders.append(order)
        began_at = self.now
        is_there = self.latency_ms > 0 and len(self.orders) <= self.dies_after
        took_ns = milliseconds(self.latency_ms if is_there else 1_000)
        length_ns = order.length_ns + (order.then_ns or 0)
        rows = []
        for offset in range(0, length_ns, seconds(0.5)):
            at = Instant(began_at + offset)
            rows.append(Sent(at, at, Instant(at + took_ns), 200 if is_there else 0))
        self.now = Instant(began_at + length_ns + took_ns)
        return Played(
            rows=rows,
            started_at=began_at,
            stopped_at=Instant(began_at + order.length_ns),
            ended_at=self.now,
            planned_count=len(rows),
        )

    def prove(self) -> tuple[list[VerificationRun], str]:
        def proxy(upstream: str, file: Path, *, is_shedding: bool) -> nullcontext[SimpleNamespace]:
            return nullcontext(SimpleNamespace(url=upstream, control_port=None))

        proof = Proof(
            plan=self.plan, target="http://t", settings="", capacity_rps=100.0,
            open_player=lambda _: nullcontext(self), alone_ns=milliseconds(10),
            length_s=20.0, bare_s=8.0, after_s=5.0,
        )  # fmt: skip
        runs: list[VerificationRun] = []
        try:
            runs.extend(proving_runs(proof, proxy=proxy, clock=lambda: self.now))
        except UnprovedError as problem:
            return runs, str(problem)
        return runs, ""


def test_a_calm_service_is_proved_off_and_on_at_each_load() -> None:
    service = Service(10)
    runs, given_up = service.prove()
    assert given_up == ""
    assert [(run.load_ratio, run.is_shedding) for run in runs] == [
        (ratio, on) for ratio in (0.8, 1.5, 3.0) for on in (False, True)
    ]
    assert service.now < seconds(3 * 28 + 4 * 5 + 6)


def test_a_service_that_no_longer_answers_is_left_alone() -> None:
    service = Service(10)
    service.dies_after = 4
    runs, given_up = service.prove()
    assert len(runs) == 2
    assert given_up == (
        "the verification was given up: no answer with success came from the service in 60 tries "
        "after 0.8x, shedding on"
    )


def test_the_whole_has_a_bound_in_time() -> None:
    """A service that is slow for good is waited for before each run, until there is no time."""
    service = Service(900)
    runs, given_up = service.prove()
    assert 0 < len(runs) < 6
    assert "its runs take longer than the 268 s that they may" in given_up
    assert service.now < seconds(268 + 2), "a last try is finished"


def test_who_is_waited_for_is_not_asked_more_often_than_the_cap_allows() -> None:
    service = Service(10, rate_max_rps=200.0)
    service.prove()
    assert {order.rate_max_rps for order in service.orders if order.concurrency} == {200.0}
