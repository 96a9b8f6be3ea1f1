"""What another objective and another limit would come to."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from harness.calibrations import a_plan, rehearsed
from harness.sample_report import sample_calibration

from shedproxy.calibration.fit import fit_findings
from shedproxy.calibration.results import Slo
from shedproxy.calibration.sensitivity import limit_costs, objective_rates
from shedproxy.core import Nanos


def test_an_objective_that_nothing_keeps_has_no_rate() -> None:
    calibration = sample_calibration()
    plan = replace(
        calibration.plan, slo=Slo(percentile=0.99, latency_ns=Nanos(1_000), error_ratio=0.005)
    )
    rates = objective_rates(replace(calibration, plan=plan))
    assert [each.rate_rps for each in rates] == [None] * 5
    assert all(each.is_bound for each in rates)


def test_an_objective_that_everything_keeps_is_not_bound() -> None:
    calibration = sample_calibration()
    steps = [step for step in calibration.steps if not step.failed_count]
    plan = replace(
        calibration.plan, slo=Slo(percentile=0.99, latency_ns=Nanos(10**12), error_ratio=0.5)
    )
    rates = objective_rates(replace(calibration, plan=plan, steps=tuple(steps)))
    assert not any(each.is_bound for each in rates)


def test_the_own_objective_has_the_rate_that_was_found() -> None:
    plan = a_plan()
    steps, _ = rehearsed(plan, seed=1)
    findings = fit_findings(steps, plan, rng=random.Random(1))
    assert findings.slo_rps is not None
    calibration = replace(sample_calibration(), plan=plan, steps=tuple(steps), findings=findings)
    rates = [each.rate_rps for each in objective_rates(calibration)]
    assert rates[2] == findings.slo_rps.value
    assert rates == sorted(rates)


def test_a_limit_costs_what_the_measured_curve_says() -> None:
    """Straight between what was measured at 8, 12 and 16; latency is limit over throughput."""
    costs = {each.limit: each for each in limit_costs(sample_calibration())}
    assert sorted(costs) == [10, 12, 14]
    assert costs[10].throughput_rps < costs[12].throughput_rps
    assert costs[12].mean_ns == pytest.approx(12 / costs[12].throughput_rps * 1e9)


def test_without_a_limit_or_a_sweep_nothing_is_said() -> None:
    calibration = sample_calibration()
    assert limit_costs(replace(calibration, steps=())) == []
    verdict = replace(calibration.verdict, limit=None)
    assert limit_costs(replace(calibration, verdict=verdict)) == []
