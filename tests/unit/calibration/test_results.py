"""What a calibration found survives the way through JSON, and nothing else is taken for it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from shedproxy.calibration.results import (
    Calibration,
    Confidence,
    Findings,
    GeneratorHealth,
    Interval,
    Percentiles,
    Phase,
    Plan,
    Provenance,
    Slo,
    Step,
    StepState,
    UslFit,
    Verdict,
    decode_calibration,
    encode_calibration,
)
from shedproxy.core import milliseconds, seconds
from shedproxy.errors import DocumentInvalidError

INTERVAL = Interval(value=200.0, low=190.0, high=210.0)
MS = milliseconds(1)


def a_calibration() -> Calibration:
    latency = Percentiles(
        count=9, mean_ns=MS, p50_ns=MS, p90_ns=MS, p99_ns=MS, p999_ns=MS, max_ns=MS,
        histogram=((MS, 9),),
    )  # fmt: skip
    step = Step(
        index=0, phase=Phase.OPEN, pass_number=1, started_at_ns=MS, length_ns=MS, cut_ns=MS,
        state=StepState.VOID, reasons=("late",), planned_rps=100.0, concurrency=None,
        offered_rps=1.0, throughput_rps=1.0, goodput_rps=1.0, in_flight=0.5, offered_count=1,
        served_count=1, refused_count=0, failed_count=0, latency=latency,
        health=GeneratorHealth(
            send_lag_p50_ns=MS, send_lag_p99_ns=MS, send_lag_max_ns=MS, cpu_ratio=0.5,
            achieved_ratio=1.0, not_sent_count=0,
        ),
    )  # fmt: skip
    usl = UslFit(
        lambda_rps=INTERVAL, sigma=INTERVAL, kappa=INTERVAL, r_squared=0.99, point_count=6,
        peak_in_flight=None, peak_rps=None, ceiling_rps=None, band=((1.0, 2.0, 3.0, 4.0),),
    )  # fmt: skip
    return Calibration(
        plan=Plan(
            slo=Slo(percentile=0.99, latency_ns=milliseconds(250), error_ratio=0.005),
            budget_ns=seconds(180),
            deadline_ns=seconds(1),
        ),
        provenance=Provenance(
            id="a", target="http://127.0.0.1:1", command="calibrate", version="0",
            started="2026-11-22T20:41:07Z", finished="2026-11-22T20:44:07Z",
            fingerprint="sha256:5d0c", machine=(("cores", "2"),),
        ),
        steps=(step,),
        findings=Findings(capacity_rps=INTERVAL, usl=usl),
        thresholds=None,
        verification=(),
        verdict=Verdict(confidence=Confidence.HIGH, reasons=("steady",), headline="200/s"),
    )  # fmt: skip


def test_every_part_comes_back_as_it_was() -> None:
    calibration = a_calibration()
    assert decode_calibration(json.dumps(encode_calibration(calibration))) == calibration


def test_a_field_of_a_later_version_is_ignored() -> None:
    body = encode_calibration(a_calibration()) | {"mood": "good"}
    assert decode_calibration(json.dumps(body)) == a_calibration()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "not JSON"),
        ("[]", "not a calibration"),
        ('{"format": "other"}', "not a calibration"),
        (json.dumps(encode_calibration(replace(a_calibration(), schema=2))), "schema 2"),
        ('{"format": "shedproxy-calibration", "schema": 1}', "incomplete"),
    ],
)
def test_what_is_no_calibration_is_refused_with_a_reason(text: str, says: str) -> None:
    with pytest.raises(DocumentInvalidError, match=says):
        decode_calibration(text)
