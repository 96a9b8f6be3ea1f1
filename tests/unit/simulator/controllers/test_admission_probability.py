"""Skipper's own cases, with the chance its tests use, and Google's formula."""

from __future__ import annotations

from random import Random

import pytest

from shedproxy.core import Mode, Outcome, Rejected, RejectReason, RequestInfo
from shedproxy.simulator.controllers.admission_probability import AdmissionProbabilityControl

MS = 1_000_000
S = 1_000_000_000
MASK = (1 << 64) - 1
INFO = RequestInfo()


class Pcg:
    """`rand.New(rand.NewPCG(2, 3)).Float64` of Go: the published expectations rest on it."""

    def __init__(self, high=2, low=3):
        self._state = high << 64 | low

    def random(self):
        factor = 2549297995355413924 << 64 | 4865540595714422341
        addend = 6364136223846793005 << 64 | 1442695040888963407
        self._state = (self._state * factor + addend) & (MASK << 64 | MASK)
        high, low = self._state >> 64, self._state & MASK
        high ^= high >> 32
        high = high * 0xDA942042E4DD58B5 & MASK
        high ^= high >> 48
        high = high * (low | 1) & MASK
        return (high & ((1 << 53) - 1)) / (1 << 53)


def published(threshold=0.9, **others):
    """admissionControl("testmetric", "active", "10ms", 5, 10, threshold, 0.95, 1.0)."""
    return AdmissionProbabilityControl(
        rng=Pcg(), slot_ns=10 * MS, success_threshold=threshold, **others
    )


def refusals(control, error_rate, calls=1000):
    """One call per ms, answered at once by a backend that fails by chance."""
    backend = Pcg()
    count = 0
    for call in range(1, calls + 1):
        now = call * MS
        decision = control.arrive(INFO, now=now)
        if isinstance(decision, Rejected):
            count += 1
        else:
            failed = backend.random() < error_rate
            outcome = Outcome.OVERLOAD if failed else Outcome.SUCCESS
            control.release(decision, outcome, now=now)
    return count


@pytest.mark.parametrize(
    ("threshold", "error_rate", "expected"),
    [
        (0.9, 0.0, 0),
        (0.9, 1.0, 854),
        (0.9, 0.01, 0),
        (0.99, 0.1, 86),
        (0.9, 0.2, 99),
        (0.9, 0.5, 429),
        (0.9, 0.8, 698),
    ],
)
def test_refusals_are_those_that_were_published(threshold, error_rate, expected):
    """TestAdmissionControl. It accepts 5 more or less; with its chance there is no difference."""
    assert refusals(published(threshold), error_rate) == expected


@pytest.mark.parametrize("mode", [Mode.OFF, Mode.OBSERVE])
def test_inactive_modes_refuse_nobody(mode):
    """The cases `inactive` and `logInactive`; who would have been refused is marked, and what
    becomes of it counts no more than a refusal would.
    """
    control = published(mode=mode)
    assert refusals(control, 0.8) == 0
    assert control.reject_share > 0.3
    assert control.reading().refused_share == 0.0
    permits = [control.arrive(INFO, now=S + 1) for _ in range(100)]
    marked = [permit for permit in permits if permit.would_reject is not None]
    assert 0 < len(marked) < 100
    before = control._total
    for permit in permits:
        control.release(permit, Outcome.OVERLOAD, now=S + 1)
    assert control._total - before == 100 - len(marked)


def refusals_in_front(*, inner=None, uncounted=frozenset()):
    """Of 1 000 calls, 50 a second, to a backend that fails every second one that reaches it."""
    outer = AdmissionProbabilityControl(
        rng=Pcg(), slot_ns=50 * MS, slot_count=10, uncounted=uncounted
    )
    refused = reached = 0
    for call in range(1000):
        now = call * 20 * MS
        permit = outer.arrive(INFO, now=now)
        if isinstance(permit, Rejected):
            refused += 1
            continue
        outcome = Outcome.IGNORE
        inner_permit = inner.arrive(INFO, now=now) if inner else None
        if not isinstance(inner_permit, Rejected):
            reached += 1
            outcome = Outcome.OVERLOAD if reached % 2 == 0 else Outcome.SUCCESS
            if inner_permit:
                inner.release(inner_permit, outcome, now=now)
        outer.release(permit, outcome, now=now)
    return refused


def test_answers_shed_further_on_are_no_failures():
    """TestAdmissionControlChainOnlyBackendErrorPass: behind the filter stands another, of 5 slots
    of 5 ms. The outer one refuses as many as without it, within 5 % of all; were the inner's
    refusals failures, it would refuse more.
    """

    def inner():
        return AdmissionProbabilityControl(rng=Pcg(), slot_ns=5 * MS, rate_min_rps=5.0)

    alone = refusals_in_front()
    marked = refusals_in_front(inner=inner(), uncounted=frozenset({Outcome.IGNORE}))
    unmarked = refusals_in_front(inner=inner())
    assert abs(marked - alone) <= 50 < unmarked - alone


def test_share_is_what_the_formula_says():
    """4 of 10 succeed, 0.9 is good enough: (10 - 4 / 0.9) / 11; exponent 1/2 is its root."""
    for exponent in (1.0, 0.5):
        control = published(exponent=exponent)
        permits = [control.arrive(INFO, now=0) for _ in range(10)]
        for index, permit in enumerate(permits):
            outcome = Outcome.SUCCESS if index < 4 else Outcome.IGNORE
            control.release(permit, outcome, now=9 * MS)
        control.arrive(INFO, now=10 * MS)
        expected = ((10 - 4 / 0.9) / 11) ** exponent
        assert control.reading().refused_share == pytest.approx(expected)


def test_only_complete_slots_count_and_leave_after_the_window():
    """Failures of the first 10 ms count from 10 ms on, for 50 ms."""
    control = published()
    for permit in [control.arrive(INFO, now=0) for _ in range(10)]:
        control.release(permit, Outcome.OVERLOAD, now=0)
    shares = []
    for now_ms in (9, 10, 59, 60):
        control.arrive(INFO, now=now_ms * MS)
        shares.append(control.reject_share)
    assert shares == [0.0, 10 / 11, 10 / 11, 0.0]


def test_below_the_least_rate_nobody_is_refused():
    """100 answers per second are wanted: 5 in 50 ms."""
    for answers, expected in ((4, 0.0), (5, 5 / 6)):
        control = published(rate_min_rps=100.0)
        for permit in [control.arrive(INFO, now=0) for _ in range(answers)]:
            control.release(permit, Outcome.OVERLOAD, now=0)
        control.arrive(INFO, now=10 * MS)
        assert control.reject_share == expected


def test_client_throttle_sends_twice_what_is_accepted():
    """K = 2: of 100 requests a second a backend takes 25; the client comes to send it 50."""
    control = AdmissionProbabilityControl.client_throttle(rng=Random(1))
    sent = accepted = 0
    for second in range(1000):
        room = 25
        for part in range(100):
            now = second * S + part * 10 * MS
            decision = control.arrive(INFO, now=now)
            if isinstance(decision, Rejected):
                assert decision.reason is RejectReason.SHED_LEVEL
                continue
            outcome = Outcome.SUCCESS if room else Outcome.OVERLOAD
            control.release(decision, outcome, now=now)
            if second >= 500:
                sent += 1
                accepted += 1 if room else 0
            room = max(0, room - 1)
    assert sent == pytest.approx(2 * accepted, rel=0.02)
    assert accepted == 25 * 500
    assert control.reading().refused_share == pytest.approx(0.5, abs=0.02)


class Drawn:
    """A chance that is given."""

    def __init__(self, value=0.0):
        self.value = value

    def random(self):
        return self.value


def filter_of_envoy(rng, *, aggression=1.0, window_s=10):
    """Its filter has the same formula, 1 / aggression being the exponent, and no most here."""
    return AdmissionProbabilityControl(
        rng=rng,
        slot_count=window_s,
        rate_min_rps=0.0,
        success_threshold=1.0,
        reject_max=1.0,
        exponent=1 / aggression,
    )


def answer(control, now, outcomes):
    permits = [control.arrive(INFO, now=now) for _ in outcomes]
    for permit, outcome in zip(permits, outcomes, strict=True):
        control.release(permit, outcome, now=now)


def is_refused(control, now):
    decision = control.arrive(INFO, now=now)
    if not isinstance(decision, Rejected):
        control.release(decision, Outcome.IGNORE, now=now)
    return isinstance(decision, Rejected)


def test_filter_behavior_of_envoy():
    """FilterBehaviorBasic: of 1 000 answers none is good, then there are none, then half are."""
    chance = Drawn(0.99)
    control = filter_of_envoy(chance)
    answer(control, 0, [Outcome.OVERLOAD] * 1000)
    assert is_refused(control, S)
    assert not is_refused(control, 60 * S), "what was is over"
    control = filter_of_envoy(chance)
    answer(control, 0, [Outcome.SUCCESS, Outcome.OVERLOAD] * 500)
    for drawn, expected in ((0.55, False), (0.45, True)):
        chance.value = drawn
        assert is_refused(control, S) is expected


def test_filter_integration_of_envoy():
    """HttpTest: 300 failures, then 0.98 +- 0.05 of 300 are refused; two minutes later nobody is.

    Aggression 2, a threshold of 100 %, a window of 120 s.
    """
    control = filter_of_envoy(Random(1), aggression=2, window_s=120)
    answer(control, 0, [Outcome.OVERLOAD] * 300)
    refused = 0
    for _ in range(300):
        decision = control.arrive(INFO, now=S)
        if isinstance(decision, Rejected):
            refused += 1
        else:
            control.release(decision, Outcome.OVERLOAD, now=S)
    assert refused / 300 == pytest.approx(0.98, abs=0.05)
    answer(control, 122 * S, [Outcome.SUCCESS] * 100)
    assert not any(is_refused(control, 123 * S) for _ in range(100))
