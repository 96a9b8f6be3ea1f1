"""`shedproxy gate` passes, fails and doubts, by exit code."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from harness.sample_report import sample_calibration
from typer.testing import CliRunner

from shedproxy.calibration.results import Calibration, Confidence, Interval, encode_calibration
from shedproxy.cli import main
from shedproxy.cli.exit_codes import EXIT_INCONCLUSIVE, EXIT_REGRESSED

BASE = sample_calibration()


def written(folder: Path, name: str, calibration: Calibration) -> str:
    file = folder / name
    file.write_text(json.dumps(encode_calibration(calibration)))
    return str(file)


def with_capacity(value: float, half: float) -> Calibration:
    interval = Interval(value=value, low=value - half, high=value + half)
    return replace(BASE, findings=replace(BASE.findings, capacity_rps=interval))


def gate(folder: Path, after: Calibration, *arguments: str) -> Any:
    base, report = written(folder, "base.json", BASE), written(folder, "report.json", after)
    return CliRunner().invoke(main.app, ["gate", report, "--against", base, *arguments])


def test_noise_passes(tmp_path: Path) -> None:
    done = gate(tmp_path, sample_calibration(wobble=3))
    assert done.exit_code == 0
    assert done.stdout.endswith("gate passed\n")


def test_a_sure_loss_fails(tmp_path: Path) -> None:
    done = gate(tmp_path, with_capacity(200, 3), "--junit", str(tmp_path / "j.xml"))
    assert done.exit_code == EXIT_REGRESSED
    assert done.stdout.endswith("gate failed\n")
    assert ET.parse(tmp_path / "j.xml").getroot().get("failures") == "1"


def test_the_bound_is_the_callers(tmp_path: Path) -> None:
    assert gate(tmp_path, with_capacity(200, 3), "--max-regression", "25%").exit_code == 0
    assert gate(tmp_path, with_capacity(200, 3), "--max-regression", "0.25").exit_code == 0


def test_a_wide_interval_passes_unless_strict(tmp_path: Path) -> None:
    vague = with_capacity(245, 60)
    assert gate(tmp_path, vague).exit_code == 0
    assert gate(tmp_path, vague, "--strict").exit_code == EXIT_INCONCLUSIVE


def test_an_inconclusive_report_is_no_pass(tmp_path: Path) -> None:
    vague = replace(BASE, verdict=replace(BASE.verdict, confidence=Confidence.INCONCLUSIVE))
    done = gate(tmp_path, vague, "--json")
    assert done.exit_code == EXIT_INCONCLUSIVE
    assert json.loads(done.stdout)["result"] == "inconclusive"


@pytest.mark.parametrize("share", ["10", "x", "-5%", "100%"])
def test_what_is_no_share_is_refused(tmp_path: Path, share: str) -> None:
    done = gate(tmp_path, BASE, "--max-regression", share)
    assert done.exit_code == 2
    assert "is no share from 0 to 1" in done.stderr
