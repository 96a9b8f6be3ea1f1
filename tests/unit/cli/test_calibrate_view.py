"""What a calibration shows."""

from __future__ import annotations

import io
from pathlib import Path

from harness.calibrations import a_plan, closed_step, latency
from rich.console import Console

from shedproxy.calibration.measurement import Confidence, Phase
from shedproxy.calibration.orders import Order
from shedproxy.calibration.provenance import make_provenance
from shedproxy.calibration.results import (
    Aftermath,
    Calibration,
    Findings,
    Verdict,
    VerificationRun,
)
from shedproxy.cli.calibrate_view import CalibrationView, show_result
from shedproxy.core import seconds


def test_time_left_and_what_is_played_are_shown() -> None:
    out = io.StringIO()
    order = Order(
        phase=Phase.SEARCH, pass_number=0, length_ns=seconds(10), settle_ns=seconds(1), seed=1,
        concurrency=4,
    )  # fmt: skip
    with CalibrationView(Console(file=out, force_terminal=True, width=120), a_plan()) as view:
        view.watch(order, 0.5)
        view.step(closed_step(4, 100, ended_at_ns=seconds(20)))
        view.watch(order, 0.0)
        view.proving(1, 6)
    assert "1 of 6 runs" in out.getvalue()


def test_the_result_has_headline_reasons_and_both_sides_of_the_verification() -> None:
    run = VerificationRun(
        load_ratio=3, is_shedding=True, offered_rps=600, goodput_rps=198, goodput_ratio=0.99,
        offered_count=1, served_count=1, refused_count=402, failed_count=0, latency=latency(20),
        refusal=None, health=closed_step(4, 100).health,
        aftermath=Aftermath(recovery_ns=None, watched_ns=seconds(5)),
    )  # fmt: skip
    calibration = Calibration(
        plan=a_plan(),
        provenance=make_provenance(target="t", command="c", started_s=0.0),
        steps=(),
        findings=Findings(),
        thresholds=None,
        verification=(run,),
        verdict=Verdict(confidence=Confidence.MEDIUM, reasons=("a", "b"), headline="200/s"),
    )
    out = io.StringIO()
    show_result(Console(file=out, width=120), calibration, Path("d/report.json"))
    text = out.getvalue()
    assert "200/s" in text
    assert "confidence medium: a; b" in text
    assert "99.0%" in text
    assert "not seen" in text
