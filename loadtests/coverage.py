"""How often the interval of a capacity holds the truth: whole calibrations in virtual time.

The plan of `shedproxy calibrate` is played at stations whose capacity is known, once a seed; every
calibration has chance of its own in arrivals, order and service times.

    python -m loadtests coverage --law exponential --slots 4 --service 20ms --seeds 1000
    python -m loadtests coverage --law lognormal --slots 4 --service 20ms --seeds 1000 --quick

Exit code 0: 93 to 97 % of the intervals hold it. 1: more or fewer do.
"""

from __future__ import annotations

import argparse
import json
import random
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import NamedTuple

from shedproxy.calibration.fit import fit_capacity
from shedproxy.calibration.measurement import Plan, Slo
from shedproxy.calibration.rehearsal import StationPlayer, rehearse
from shedproxy.core import NS_PER_S, Nanos, milliseconds, seconds
from shedproxy.settings.quantities import parse_duration
from shedproxy.workload import StationSchedule
from shedproxy.workload.laws import service_law

__all__ = ["Answer", "add_options", "answer", "coverage", "summary"]

COVERAGE_MIN, COVERAGE_MAX = 0.93, 0.97
_LAWS = ("exponential", "constant", "bimodal", "lognormal")


class Answer(NamedTuple):
    """What one calibration said, over the truth; None: it had no answer."""

    seed: int
    value: float | None
    low: float = 0.0
    high: float = 0.0


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("--law", choices=_LAWS, default="exponential")
    parser.add_argument("--slots", type=int, default=4)
    parser.add_argument("--service", type=parse_duration, default=milliseconds(20))
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    parser.add_argument("--budget", type=parse_duration, help="3m, or 40s with --quick")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--each", action="store_true", help="a line for every seed, too")


def answer(seed: int, *, law: str, slots: int, service_ns: Nanos, plan: Plan) -> Answer:
    """One calibration of a station, and nothing but its capacity."""
    lengths = service_law(law, mean_ns=service_ns, rng=random.Random(f"work {seed}"))
    player = StationPlayer(
        lambda: StationSchedule(slots=slots, law=lengths),
        rng=random.Random,
        deadline_ns=plan.deadline_ns,
    )
    measured = rehearse(plan, player, random.Random(seed))
    found, _ = fit_capacity(measured.steps)
    if found is None or measured.stopped_by:
        return Answer(seed, None)
    truth = slots * NS_PER_S / service_ns
    return Answer(seed, found.value / truth, found.low / truth, found.high / truth)


def summary(answers: list[Answer]) -> dict[str, float]:
    """Shares and quantiles over all that answered; errors are relative."""
    found = [one for one in answers if one.value is not None]
    errors = sorted(abs(one.value - 1) for one in found if one.value is not None)
    widths = sorted((one.high - one.low) / 2 for one in found)
    return {
        "seeds": len(answers),
        "coverage_ratio": sum(one.low <= 1 <= one.high for one in found) / max(1, len(found)),
        "error_median_ratio": _at(errors, 0.5),
        "error_p95_ratio": _at(errors, 0.95),
        "error_max_ratio": _at(errors, 1.0),
        "half_width_median_ratio": _at(widths, 0.5),
        "no_answer_ratio": 1 - len(found) / len(answers),
    }


def coverage(chosen: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Run the seeds, print what came out; returns the exit code."""
    if chosen.seeds < 1 or chosen.slots < 1 or chosen.service <= 0 or chosen.processes < 1:
        parser.error("seeds, slots, service and processes are above 0")
    budget_ns = chosen.budget or seconds(40 if chosen.quick else 180)
    usual = 8 if budget_ns >= seconds(480) else 5
    plan = Plan(
        slo=Slo(percentile=0.99, latency_ns=milliseconds(250), error_ratio=0.005),
        budget_ns=budget_ns,
        deadline_ns=seconds(5),
        repeats=3 if chosen.quick else usual,
        is_quick=chosen.quick,
    )
    one = partial(answer, law=chosen.law, slots=chosen.slots, service_ns=chosen.service, plan=plan)
    with ProcessPoolExecutor(chosen.processes) as pool:
        seeds = range(chosen.first, chosen.first + chosen.seeds)
        answers = list(pool.map(one, seeds, chunksize=5))
    found = summary(answers)
    if chosen.each:
        for line in answers:
            print(json.dumps(line._asdict()))
    if chosen.json:
        print(json.dumps({"law": chosen.law, **found}))
    else:
        print(
            f"{chosen.law} {chosen.slots} x {chosen.service / 1e6:g} ms, {plan.budget_ns / 1e9:g} s"
            f", {len(answers)} seeds: coverage {found['coverage_ratio']:.1%}, error median"
            f" {found['error_median_ratio']:.1%}, p95 {found['error_p95_ratio']:.1%}, most"
            f" {found['error_max_ratio']:.1%}, no answer {found['no_answer_ratio']:.1%}"
        )
    return 0 if COVERAGE_MIN <= found["coverage_ratio"] <= COVERAGE_MAX else 1


def _at(ordered: list[float], share: float) -> float:
    return ordered[round(share * (len(ordered) - 1))] if ordered else 0.0
