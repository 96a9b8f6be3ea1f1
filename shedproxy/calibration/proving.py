"""The same load once more through the real proxy: bare, and with the thresholds that were written.

Beyond capacity a run is followed by load that the service can carry, so that the recovery is seen.
A run with shedding lasts until chance moves its goodput by little; one without is short, so that
nobody is held in collapse. The whole has a bound in time, whatever the service does.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from shedproxy.calibration.digest import digest, percentiles_of
from shedproxy.calibration.measurement import Phase, Plan, StepState
from shedproxy.calibration.orders import Order, Played
from shedproxy.calibration.proxy_signals import summarise_signals, watching
from shedproxy.calibration.results import Aftermath, VerificationRun
from shedproxy.calibration.verdict import LOAD_RATIOS
from shedproxy.clock import Clock, monotonic_now
from shedproxy.core import NS_PER_S, Nanos, seconds
from shedproxy.loadgen.demo import ProxyProcess

__all__ = ["Proof", "UnprovedError", "proof_length_s", "proof_ratios", "proving_runs", "recovery"]

_BIN_NS = seconds(0.5)
_RECOVERED = 0.95
_SETTLE_S = 1.0
_AFTER_RATIO = 0.8
_CALM_TURNS, _CALM_RATIO = 60, 2
_BOUND_RATIO, _BOUND_MORE_S = 2.0, 60.0
"""All runs may take so many times what they should, and so much more for what is worked off."""
_IN_FLIGHT_MAX = 20_000
_ERROR = 0.01
"""Standard error of goodput, as a share of it, that a run with shedding may have."""
_BARE_S, _QUICK_BARE_S = 8.0, 4.0
_LENGTH_MAX_S, _QUICK_LENGTH_MAX_S = 120.0, 30.0
"""Nobody is kept waiting for longer: at 200/s and a cv of 2 it leaves an error of 1.3 %."""


class UnprovedError(Exception):
    """The runs were given up; the message says why, in a sentence."""


class OrderPlayer(Protocol):
    """`LivePlayer` and `LocustPlayer` are."""

    def play(self, order: Order) -> Played:
        """Play one order, from idle to idle again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What is to be proved: `open_player` gives one for a URL, `settings` is the whole TOML."""

    plan: Plan
    target: str
    settings: str
    capacity_rps: float
    open_player: Callable[[str], AbstractContextManager[OrderPlayer]]
    alone_ns: Nanos
    """Usual latency of a request with nothing else in flight."""
    length_s: float
    """Of a run with shedding."""
    bare_s: float
    after_s: float

    def run_s(self, ratio: float, *, is_shedding: bool) -> float:
        """How long a run at this load plays."""
        length_s = self.length_s if is_shedding else self.bare_s
        return length_s + (self.after_s if ratio > 1 else 0.0)

    @property
    def bound_s(self) -> float:
        """No run is begun that would end later than this."""
        ratios = proof_ratios(self.plan, self.capacity_rps)
        played_s = sum(self.run_s(r, is_shedding=on) for r in ratios for on in (False, True))
        return _BOUND_RATIO * played_s + _BOUND_MORE_S


def proof_length_s(*, capacity_rps: float, cv: float, is_quick: bool) -> tuple[float, float]:
    """How long to run with shedding and without; `cv` is that of the service times.

    The work done in a time scatters as a renewal process: by cv over the root of the answers.
    """
    bare_s = _QUICK_BARE_S if is_quick else _BARE_S
    longest_s = _QUICK_LENGTH_MAX_S if is_quick else _LENGTH_MAX_S
    counted_s = (cv / _ERROR) ** 2 / capacity_rps
    return max(bare_s, min(longest_s, _SETTLE_S + counted_s)), bare_s


def proof_ratios(plan: Plan, capacity_rps: float) -> list[float]:
    """Those of `LOAD_RATIOS` that the plan's cap on the rate leaves."""
    most = math.inf if plan.rate_max_rps is None else plan.rate_max_rps
    return [ratio for ratio in LOAD_RATIOS if ratio * capacity_rps <= most]


class _Proxied(Protocol):
    url: str
    control_port: int | None


class ProxyMaker(Protocol):
    """Makes a proxy before an upstream, with these settings."""

    def __call__(
        self, upstream: str, file: Path, *, is_shedding: bool
    ) -> AbstractContextManager[_Proxied]:
        """A proxy for a `with` block."""


class _ConfiguredProxy(ProxyProcess):
    def __init__(self, upstream: str, file: Path, *, is_shedding: bool) -> None:
        super().__init__(upstream)
        mode = "--enforce" if is_shedding else "--off"
        self._command += [f"--config={file}", mode]


def proving_runs(
    proof: Proof,
    *,
    proxy: ProxyMaker | None = None,
    clock: Clock = monotonic_now,
) -> Iterator[VerificationRun]:
    """Off and on at each of `proof_ratios`, the service left to recover between.

    Raises:
        RuntimeError: the proxy does not start.
        UnprovedError: the service is not there any more, or it all takes longer than its bound.
    """
    open_proxy = proxy or _ConfiguredProxy
    end_at = clock() + seconds(proof.bound_s)
    before = ""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "shedproxy.toml"
        file.write_text(proof.settings)
        with proof.open_player(proof.target) as bare:
            for ratio in proof_ratios(proof.plan, proof.capacity_rps):
                for is_shedding in (False, True):
                    _calm(proof, bare, before, is_over=lambda: clock() > end_at)
                    run_ns = seconds(proof.run_s(ratio, is_shedding=is_shedding))
                    if clock() + run_ns > end_at:
                        raise UnprovedError(
                            "the verification was given up: its runs take longer than the "
                            f"{proof.bound_s:.0f} s that they may"
                        )
                    with (
                        open_proxy(proof.target, file, is_shedding=is_shedding) as proxied,
                        proof.open_player(proxied.url) as player,
                    ):
                        with watching(proxied.control_port) as watch:
                            run = _run(proof, player, ratio, is_shedding=is_shedding)
                        seen = watch.seen if watch is not None else ()
                        yield replace(run, signals=summarise_signals(seen))
                    before = f" after {ratio:g}x, shedding {'on' if is_shedding else 'off'}"


def _calm(proof: Proof, player: OrderPlayer, before: str, *, is_over: Callable[[], bool]) -> None:
    """One request at a time at the service itself, until what the run before left is worked off.

    Not through the proxy: it would learn a service that is busy with what nobody waits for. One
    that is slow for good is not waited for any longer; one that does not answer is left alone.
    """
    is_there, tries = False, 0
    order = Order(
        phase=Phase.IDLE,
        pass_number=0,
        length_ns=seconds(_SETTLE_S / 2),
        settle_ns=seconds(0),
        seed=1,
        concurrency=1,
        rate_max_rps=proof.plan.rate_max_rps,
    )
    while tries < _CALM_TURNS and not is_over():
        tries += 1
        played = player.play(order)
        latencies = sorted(row.done_at - row.sent_at for row in played.rows if row.status == 200)
        is_there = bool(latencies)
        if latencies and latencies[len(latencies) // 2] <= _CALM_RATIO * proof.alone_ns:
            return
    if not is_there:
        raise UnprovedError(
            "the verification was given up: no answer with success came from the service in "
            f"{tries} tries{before}"
        )


def _run(proof: Proof, player: OrderPlayer, ratio: float, *, is_shedding: bool) -> VerificationRun:
    rate = ratio * proof.capacity_rps
    order = Order(
        phase=Phase.OPEN,
        pass_number=0,
        length_ns=seconds(proof.length_s if is_shedding else proof.bare_s),
        settle_ns=seconds(_SETTLE_S),
        seed=round(100 * ratio),
        planned_rps=rate,
        in_flight_max=proof.plan.in_flight_max or _IN_FLIGHT_MAX,
        then_rps=_AFTER_RATIO * proof.capacity_rps if ratio > 1 else None,
        then_ns=seconds(proof.after_s) if ratio > 1 else None,
    )
    played = player.play(order)
    step = digest(
        order, played, slo=proof.plan.slo, index=0, origin=played.started_at,
        cuts_warm_up=False,
    )  # fmt: skip
    span_s = (step.length_ns - step.cut_ns) / NS_PER_S
    offered_rps = step.offered_count / span_s
    refusals = sorted(
        row.done_at - row.intended_at
        for row in played.rows
        if row.status in {429, 503} and row.intended_at < played.stopped_at
    )
    goodput_rps = step.goodput_rps
    reasons = list(step.reasons) if step.state is StepState.VOID else []
    if not_sent := step.health.not_sent_count:
        reasons.append(f"{not_sent} arrivals were not sent: no connection, or too many in flight")
    return VerificationRun(
        load_ratio=ratio,
        is_shedding=is_shedding,
        offered_rps=offered_rps,
        goodput_rps=goodput_rps,
        goodput_ratio=goodput_rps / min(proof.capacity_rps, offered_rps),
        offered_count=step.offered_count,
        served_count=step.served_count,
        refused_count=step.refused_count,
        failed_count=step.failed_count,
        latency=step.latency,
        refusal=percentiles_of(refusals),
        health=step.health,
        classes=step.classes,
        windows=step.windows,
        aftermath=(
            Aftermath(
                recovery_ns=recovery(played, proof.plan.slo.latency_ns),
                watched_ns=seconds(proof.after_s),
            )
            if ratio > 1
            else None
        ),
        is_void=bool(reasons),
        reasons=tuple(reasons),
    )


def recovery(played: Played, latency_ns: Nanos) -> Nanos | None:
    """From the end of the overload to the last half second that was not as good as it should be."""
    offered: dict[int, int] = {}
    good: dict[int, int] = {}
    for row in played.rows:
        place = (row.intended_at - played.stopped_at) // _BIN_NS
        if place >= 0:
            offered[place] = offered.get(place, 0) + 1
            is_good = 200 <= row.status < 400 and row.done_at - row.intended_at <= latency_ns
            good[place] = good.get(place, 0) + is_good
    bad = [place for place, count in offered.items() if good[place] < _RECOVERED * count]
    if not offered or (bad and max(bad) == max(offered)):
        return None
    return Nanos((max(bad) + 1) * _BIN_NS) if bad else Nanos(0)
