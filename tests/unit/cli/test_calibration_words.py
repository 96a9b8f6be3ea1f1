"""Sentences of a report."""

from __future__ import annotations

import tomllib
from dataclasses import replace

from harness.sample_report import sample_calibration

from shedproxy.calibration.results import Findings, ObservedLoad
from shedproxy.cli.calibration_words import (
    method_notes,
    reasons_of,
    reproduce,
    toml_of,
    validity,
)
from shedproxy.core import seconds


def test_where_it_comes_from_is_said() -> None:
    calibration = sample_calibration()
    assert validity(calibration).startswith(
        "Measured with builtin load, 55 steps, good for 30 days"
    )
    observed = replace(
        calibration, provenance=replace(calibration.provenance, source="observed"), thresholds=None
    )
    assert validity(observed).startswith("Fitted to what a live proxy observed, 55 steps. Obj")


def test_the_method_names_the_arrivals() -> None:
    notes = method_notes(sample_calibration())
    assert len(notes) == 7
    assert "arrivals are poisson" in notes[0]


def test_the_method_of_live_points_is_another() -> None:
    observed = ObservedLoad(
        point_count=60, span_ns=seconds(600), upstreams=1, highest_in_flight=4.0, highest_rps=200.0
    )
    calibration = replace(sample_calibration(), observed=observed)
    assert "Nothing was played" in method_notes(calibration)[0]
    assert "60 points of 10 min" in validity(calibration)


def test_each_reason_is_told_once() -> None:
    calibration = sample_calibration()
    verdict = replace(calibration.verdict, reasons=("stopped", "capacity: too few"))
    findings = Findings(missing=("capacity: too few", "USL: too few"))
    made = replace(calibration.provenance, stopped_by="stopped")
    told = replace(calibration, verdict=verdict, findings=findings, provenance=made)
    assert reasons_of(told) == [
        "Stopped early: stopped",
        "Not enough data: capacity: too few",
        "Not enough data: USL: too few",
    ]


def test_changes_are_toml() -> None:
    assert tomllib.loads(toml_of(sample_calibration())) == {
        "cell": {"default": {"limit": {"initial": 12, "maximum": 12}}}
    }


def test_the_command_comes_with_what_it_ran_on() -> None:
    assert reproduce(sample_calibration()).splitlines() == [
        "# python==3.11.7 uvloop==0.22.1",
        "shedproxy calibrate http://127.0.0.1:8000 --slo 'p99<250ms, errors<0.5%'",
    ]
