"""What an acceptance reads off a report."""

from __future__ import annotations

from harness.sample_report import sample_calibration

from loadtests.acceptance import read_run


def test_a_report_becomes_a_run() -> None:
    calibration = sample_calibration()
    run = read_run(calibration, name="4x20-constant", seed=3, truth_rps=200.0)
    capacity = calibration.findings.capacity_rps
    assert capacity is not None
    assert (run.service, run.seed, run.value_rps) == ("4x20-constant", 3, capacity.value)
    assert run.budget_s == calibration.plan.budget_ns / 1e9
    assert set(run.verification) == {
        f"{kind}-{ratio:g}x"
        for ratio in {one.load_ratio for one in calibration.verification}
        for kind in ("bare", "shed")
    }
    sound = [one for one in calibration.verification if one.is_shedding and one.load_ratio == 3]
    assert run.verification["shed-3x"]["refused"] == sound[0].refused_count
