"""Populations ask when, for what and as often as their scenario says."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
from harness.worlds import chance_of

from shedproxy.core import COHORTS, NS_PER_MS, NS_PER_S, Criticality, Instant
from shedproxy.simulator.call import Call, CallState
from shedproxy.simulator.clients import Population, flow_hash_of
from shedproxy.simulator.engine import Engine
from shedproxy.simulator.tally import End, Tally
from shedproxy.workload.scenario import BackendSpec, ClientSpec

MS = NS_PER_MS


class Bench:
    """A population in front of a server that answers every call after `answer_ms` with `ends`."""

    def __init__(self, *ends: End, answer_ms: float = 1, seed: int = 1, **spec: Any) -> None:
        self.engine = Engine()
        self.calls: list[Call] = []
        self.left: list[tuple[int, int]] = []
        self.ends = list(ends)
        self.answer_ns = int(answer_ms * MS)
        self.tally = Tally(deadline_ns=100 * MS, unscored=0, keeps_tenants=True, has_classes=True)
        self.population = Population(
            self.engine,
            ClientSpec(**spec),
            backend=BackendSpec(law="constant", service_ms=10.0),
            capacity_rps=100.0,
            deadline_ns=100 * MS,
            salt=seed,
            chance=chance_of(seed),
            offer=self.offer,
            leave=lambda call: self.left.append((call.serial, self.engine.now // MS)),
            tally=self.tally,
        )
        self.population.start()

    def offer(self, call: Call) -> None:
        call.state = CallState.RUNNING
        self.calls.append(call)
        end = self.ends.pop(0) if self.ends else End.SERVED
        if end is not End.LEFT:
            self.engine.at(self.engine.now + self.answer_ns, self.answer, (call, end))

    def answer(self, answered: tuple[Call, End]) -> None:
        call, end = answered
        if call.state is CallState.RUNNING:
            self.population.ended(call, end)

    def run(self, seconds: float = 10) -> list[float]:
        """When calls came, in ms."""
        self.engine.run(int(seconds * NS_PER_S))
        return [call.arrived_at / MS for call in self.calls]

    def run_tenants(self) -> list[int]:
        """Requests of each tenant, the busiest first."""
        self.run()
        counts = Counter(call.flow_hash for call in self.calls)
        return [count for _, count in counts.most_common()]


def test_constant_arrivals_come_in_equal_gaps_and_stop() -> None:
    assert Bench(arrivals="constant", rate_rps=100, requests=3).run() == [10, 20, 30]


def test_load_is_over_the_capacity_in_work() -> None:
    """100/s are possible. Twice that in calls twice as long and two wide, four a task: 12.5/s."""
    bench = Bench(load=2.0, service_factor=2.0, cost=2, calls_per_task=4, arrivals="constant")
    bench.run(8)
    assert bench.tally.offered == pytest.approx(100, abs=1)
    assert {call.work_ns for call in bench.calls} == {20 * MS}


def test_poisson_arrivals_have_their_rate_and_its_spread() -> None:
    times = Bench(rate_rps=100).run(100)
    assert len(times) == pytest.approx(10_000, rel=0.04)
    per_second = Counter(int(at // 1000) for at in times)
    variance = sum((per_second[s] - 100) ** 2 for s in range(100)) / 100
    assert variance == pytest.approx(100, rel=0.5)


def test_a_change_of_rate_takes_effect_at_once_and_zero_means_nobody() -> None:
    bench = Bench(arrivals="constant", rate_rps=1, schedule=((0.5, 100), (0.6, 0), (9, 1)))
    # Half of the first gap is over at 0.5 s; the other half is 5 ms at the new rate.
    assert bench.run() == [505, 515, 525, 535, 545, 555, 565, 575, 585, 595, pytest.approx(9500)]


def test_a_population_stops_for_good() -> None:
    assert max(Bench(rate_rps=100, stop_s=2).run()) < 2000


def test_all_at_once() -> None:
    assert Bench(arrivals="at_once", requests=5, start_s=1).run() == [1000] * 5


def test_closed_users_ask_again_after_answer_and_pause() -> None:
    times = Bench(arrivals="closed", users=1, think_ms=9).run(1)
    gaps = {round(b - a, 6) for a, b in zip(times, times[1:], strict=False)}
    assert gaps == {10}


def test_a_refused_closed_user_does_not_ask_again_at_the_same_instant() -> None:
    bench = Bench(*[End.REFUSED] * 99, arrivals="closed", users=1, answer_ms=0)
    times = bench.run(0.01)
    assert [round(b - a, 6) for a, b in zip(times[:4], times[1:4], strict=False)] == [1, 1, 1]


def test_who_has_waited_long_enough_leaves() -> None:
    bench = Bench(End.SERVED, End.LEFT, End.LEFT, arrivals="constant", rate_rps=50, requests=3)
    bench.run()
    assert bench.left == [(2, 140), (3, 160)]
    assert (bench.tally.served, bench.tally.left) == (1, 2)


def test_patience_may_be_its_own() -> None:
    bench = Bench(End.LEFT, arrivals="at_once", requests=1, timeout_ms=30)
    bench.run()
    assert bench.left == [(1, 30)]


def test_what_fails_is_tried_again_with_the_same_work_below_first_tries() -> None:
    bench = Bench(
        End.REFUSED, End.FAILED, arrivals="at_once", requests=1, attempts=3, law="exponential"
    )
    assert bench.run() == [0, 1, 2]
    assert [call.info.is_retry for call in bench.calls] == [False, True, True]
    assert len({call.work_ns for call in bench.calls}) == 1
    assert (bench.tally.offered, bench.tally.served, bench.tally.calls) == (1, 1, 3)


def test_attempts_run_out() -> None:
    bench = Bench(*[End.REFUSED] * 9, arrivals="at_once", requests=1, attempts=3)
    bench.run()
    assert (len(bench.calls), bench.tally.refused) == (3, 1)


def test_backoff_is_drawn_below_a_doubling_ceiling() -> None:
    bench = Bench(
        *[End.REFUSED] * 900, arrivals="at_once", requests=300, attempts=3, backoff_ms=100
    )
    bench.run()
    by_attempt: dict[int, list[float]] = {}
    seen: Counter[int] = Counter()
    for call in bench.calls:
        seen[id(call.task)] += 1
        by_attempt.setdefault(seen[id(call.task)], []).append(call.arrived_at / MS)
    second = [at - 1 for at in by_attempt[2]]
    assert sum(second) / 300 == pytest.approx(50, rel=0.15)
    assert max(second) <= 100
    assert sum(by_attempt[3]) / 300 - 2 == pytest.approx(150, rel=0.15)


def test_backoff_does_not_double_beyond_its_bound() -> None:
    bench = Bench(
        *[End.REFUSED] * 900, arrivals="at_once", requests=1, attempts=900, backoff_ms=10,
        backoff_max_ms=20,
    )  # fmt: skip
    bench.run()
    instants = [call.arrived_at / MS for call in bench.calls]
    assert max(later - at for at, later in pairwise(instants)) <= 22


def test_some_try_until_they_are_served() -> None:
    bench = Bench(*[End.REFUSED] * 50, arrivals="at_once", requests=1, retries_until_served=True)
    bench.run()
    assert (len(bench.calls), bench.tally.served, bench.tally.refused) == (51, 1, 0)


def test_a_task_is_its_calls_one_after_the_other_and_fails_with_the_first() -> None:
    bench = Bench(
        *[End.SERVED] * 4, End.REFUSED, arrivals="constant", rate_rps=1, requests=2,
        calls_per_task=3,
    )  # fmt: skip
    assert bench.run() == [1000, 1001, 1002, 2000, 2001]
    assert (bench.tally.offered, bench.tally.served, bench.tally.refused) == (2, 1, 1)


def test_a_session_is_pages_of_one_user_with_pauses_and_ends_with_a_failure() -> None:
    bench = Bench(
        *[End.SERVED] * 2, End.REFUSED, arrivals="constant", rate_rps=1, requests=2,
        session_pages=2, think_ms=100, tenants=5,
    )  # fmt: skip
    assert bench.run() == [1000, 1101, 2000]
    assert bench.tally.sessions_completed == 1
    assert bench.calls[0].flow_hash == bench.calls[1].flow_hash


@pytest.mark.parametrize(("cohort", "distinct"), [("task", 1), ("user", 1), ("request", 8)])
def test_the_cohort_is_of_the_task_or_of_each_call(cohort: str, distinct: int) -> None:
    bench = Bench(arrivals="at_once", requests=1, calls_per_task=8, cohort=cohort)
    bench.run()
    cohorts = {call.cohort for call in bench.calls}
    assert len(cohorts) == distinct
    assert max(cohorts) < COHORTS


def test_classes_are_drawn_by_weight() -> None:
    bench = Bench(rate_rps=1000, criticality=(("critical", 3.0), ("sheddable", 1.0)))
    bench.run()
    share = bench.tally.class_offered[Criticality.CRITICAL] / bench.tally.offered
    assert share == pytest.approx(0.75, abs=0.02)


def test_tenants_are_equal_or_follow_zipf_and_a_named_one_is_one() -> None:
    equal = Bench(rate_rps=1000, tenants=10).run_tenants()
    assert len(equal) == 10
    assert max(equal) / min(equal) < 1.4
    zipf = Bench(rate_rps=1000, tenants=10, tenant_law="zipf").run_tenants()
    assert zipf[0] / zipf[1] == pytest.approx(2, rel=0.15)
    assert len(Bench(rate_rps=100, tenant="noisy").run_tenants()) == 1


def test_named_tenants_differ_by_name_and_salt() -> None:
    hashes = {
        bench.calls[0].flow_hash
        for bench in (
            Bench(rate_rps=100, tenant="ab"),
            Bench(rate_rps=100, tenant="ba"),
            Bench(rate_rps=100, tenant="ab", seed=2),
        )
        if bench.run(1)
    }
    assert len(hashes) == 3


def test_a_flow_hash_is_64_bits_and_never_0() -> None:
    hashes = [flow_hash_of(tenant, salt) for tenant in range(300) for salt in range(3)]
    assert len(set(hashes)) == 900
    assert all(0 < value < 1 << 64 for value in hashes)


def test_what_answers_decide_leaves_later_draws_alone() -> None:
    """Refused or served, the same users ask for the same things at the same times."""
    spec: dict[str, Any] = {
        "rate_rps": 100, "attempts": 2, "backoff_ms": 50.0, "calls_per_task": 3, "tenants": 50,
        "criticality": (("critical", 1.0), ("sheddable", 1.0)), "cohort": "request",
        "law": "exponential",
    }  # fmt: skip

    def firsts(bench: Bench) -> list[tuple[Any, ...]]:
        bench.run(3)
        tasks = {id(call.task): call for call in reversed(bench.calls)}
        return sorted(
            (c.arrived_at, c.info.criticality, c.flow_hash, c.work_ns) for c in tasks.values()
        )

    assert firsts(Bench(**spec)) == firsts(Bench(*[End.REFUSED] * 400, **spec))


def test_a_call_knows_when_its_client_gives_up() -> None:
    bench = Bench(arrivals="at_once", requests=1, start_s=1, timeout_ms=30)
    bench.run(2)
    assert bench.calls[0].gives_up_at == Instant(1030 * MS)
