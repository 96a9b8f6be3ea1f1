"""Refusing by chance, as often as the backend fails: Skipper's filter and Google's throttle.

Sources: `admissionControl` of zalando/skipper (filters/shedder/admission.go) and "Client-Side
Throttling" (Beyer et al., Site Reliability Engineering, 2016, chapter 21). Over the slots of the
window that are complete, p = ((total - success / threshold) / (total + 1)) ** exponent, at most
`reject_max`; below a least rate it refuses nobody. Google's is the same with threshold 1 / K and
two minutes, and counts what it refused itself among the requests.
"""

from __future__ import annotations

from collections.abc import Sequence

from shedproxy.core import (
    NS_PER_S,
    Decision,
    Instant,
    Mode,
    Nanos,
    Outcome,
    Permit,
    RejectReason,
    RequestInfo,
    Verdict,
    seconds,
)
from shedproxy.simulator.controllers.ledger import NO_VERDICTS, Ledger
from shedproxy.simulator.controllers.protocol import Reading
from shedproxy.workload import RandomSource

__all__ = ["AdmissionProbabilityControl"]

_SLOT_NS = seconds(1)
_SHED_LEVEL = RejectReason.SHED_LEVEL
_SUCCESS = Outcome.SUCCESS
_ENFORCE = Mode.ENFORCE


class AdmissionProbabilityControl(Ledger):
    """A coin for every arrival, loaded by the success rate.

    Args:
        rng: one draw per arrival.
        slot_ns: length of a slot; the share to refuse changes when one is complete.
        slot_count: slots in the window, 1 or more.
        rate_min_rps: answers per second below which nobody is refused.
        success_threshold: success rate that is good enough, above 0, at most 1.
        reject_max: most it refuses, 0..1.
        exponent: above 0; 1 is linear, 1/2 refuses more of a small excess.
        mode: below ENFORCE all are let through, and marked.
        uncounted: outcomes that are neither success nor failure: answers that another shedder on
            the way has marked as its own.
        counts_refusals: whether its own refusals are requests without success.
    """

    def __init__(
        self,
        *,
        rng: RandomSource,
        slot_ns: Nanos = _SLOT_NS,
        slot_count: int = 5,
        rate_min_rps: float = 10.0,
        success_threshold: float = 0.9,
        reject_max: float = 0.95,
        exponent: float = 1.0,
        mode: Mode = Mode.ENFORCE,
        uncounted: frozenset[Outcome] = frozenset(),
        counts_refusals: bool = False,
    ) -> None:
        super().__init__()
        self.reject_share = 0.0
        """Probability of a refusal now."""
        self._rng = rng
        self._slot_ns = slot_ns
        self._total_min = rate_min_rps * slot_ns * slot_count / NS_PER_S
        self._success_threshold = success_threshold
        self._reject_max = reject_max
        self._exponent = exponent
        self._mode = mode
        self._uncounted = uncounted
        self._counts_refusals = counts_refusals
        self._totals = [0] * slot_count
        self._successes = [0] * slot_count
        self._slot = 0
        self._slot_ends_at = int(slot_ns)
        self._total = 0
        self._success = 0

    @classmethod
    def client_throttle(
        cls, *, rng: RandomSource, accepts_factor: float = 2.0
    ) -> AdmissionProbabilityControl:
        """Google's: refuse max(0, (requests - K x accepts) / (requests + 1)) over two minutes."""
        return cls(
            rng=rng,
            slot_count=120,
            rate_min_rps=0.0,
            success_threshold=1.0 / accepts_factor,
            reject_max=1.0,
            counts_refusals=True,
        )

    def arrive(
        self,
        request: RequestInfo,
        *,
        now: Instant,
        flow_hash: int = 0,
        cohort: int = 0,
        time_left_ns: int | None = None,
    ) -> Decision:
        """Run, or no, by chance."""
        if now >= self._slot_ends_at:
            self._complete_slots(now)
        rejected = None
        if self._rng.random() < self.reject_share:
            if self._counts_refusals:
                self._total += 1
            rejected = self.reject(request, _SHED_LEVEL, now=now)
            if self._mode is _ENFORCE:
                return rejected
        expires_at = None if time_left_ns is None else Instant(now + time_left_ns)
        permit = self.admit(request, now=now, flow_hash=flow_hash, expires_at=expires_at)
        permit.would_reject = rejected
        return permit

    def release(
        self, permit: Permit, outcome: Outcome, *, now: Instant, stalled_ns: int = 0
    ) -> Sequence[Verdict]:
        """An answer counts, unless it would have been refused or is another's refusal."""
        self.give_back(permit)
        if now >= self._slot_ends_at:
            self._complete_slots(now)
        if permit.would_reject is None and outcome not in self._uncounted:
            self._total += 1
            if outcome is _SUCCESS:
                self._success += 1
        return NO_VERDICTS

    def _complete_slots(self, now: Instant) -> None:
        """Put the counts of the slot away, and zeros for those that passed unseen."""
        passed = 1 + (now - self._slot_ends_at) // self._slot_ns
        self._slot_ends_at += passed * self._slot_ns
        slot_count = len(self._totals)
        for _ in range(min(passed, slot_count + 1)):
            self._totals[self._slot] = self._total
            self._successes[self._slot] = self._success
            self._total = self._success = 0
            self._slot = (self._slot + 1) % slot_count
        self.reject_share = self._share()

    def _share(self) -> float:
        total = sum(self._totals)
        excess = total - sum(self._successes) / self._success_threshold
        if total < self._total_min or excess < 0:
            return 0.0
        share: float = (excess / (total + 1)) ** self._exponent
        return min(share, self._reject_max)

    def reading(self) -> Reading:
        """What is in flight, and the probability of a refusal."""
        share = self.reject_share if self._mode is _ENFORCE else 0.0
        return Reading(float("inf"), self.in_flight, 0, share, 0)
