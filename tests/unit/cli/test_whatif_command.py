"""`shedproxy whatif` says what would happen, for one cell or those that are left."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from harness.sample_report import sample_calibration
from typer.testing import CliRunner

from shedproxy.calibration.results import (
    Calibration,
    CellThresholds,
    Findings,
    Thresholds,
    encode_calibration,
)
from shedproxy.cli import main
from shedproxy.errors import StartupError

SAMPLE = sample_calibration()
TWO = Thresholds(
    cells=(
        CellThresholds(name="a", start=6, floor=2, ceiling=12),
        CellThresholds(name="b", start=6, floor=2, ceiling=12),
    )
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def whatif(folder: Path, *arguments: str, of: Calibration = SAMPLE) -> Any:
    file = folder / "report.json"
    file.write_text(json.dumps(encode_calibration(of)))
    return CliRunner().invoke(main.app, ["whatif", str(file), "--for", "5", *arguments])


def test_it_prints_what_each_class_gets(folder: Path) -> None:
    done = whatif(folder, "--load", "2x")
    assert done.exit_code == 0, done.output
    for part in (
        "cell default: ",
        "offered to 244.9/s",
        "critical",
        "Wait p99, ms",
        "note: service",
    ):
        assert part in done.stdout


def test_json_has_the_figures(folder: Path) -> None:
    plain = json.loads(whatif(folder, "--load", "2x", "--json").stdout)
    (cell,) = plain["cells"]
    assert cell["capacity_rps"] == pytest.approx(244.9, abs=0.1)
    critical, *_, sheddable = cell["classes"]
    assert critical["served_ratio"] > 0.95
    assert sheddable["served_ratio"] < 0.2
    assert cell["station"]["slots"] == 5


def test_a_limit_is_fixed(folder: Path) -> None:
    plain = json.loads(whatif(folder, "--load", "2x", "--limit", "40", "--json").stdout)
    assert plain["cells"][0]["limit_mean"] == 40
    assert "in time, and good: within 250 ms, the objective" in plain["remarks"]


def test_few_recorded_requests_say_how_little_is_known(folder: Path) -> None:
    route = SAMPLE.findings.routes[0]
    assert route.latency is not None
    few = replace(route, law=None, latency=replace(route.latency, count=45))
    found = replace(SAMPLE.findings, routes=(few,))
    plain = json.loads(whatif(folder, "--json", of=replace(SAMPLE, findings=found)).stdout)
    assert plain["remarks"][0] == (
        "service times: recorded, as measured without load of 45 requests: nothing is known of "
        "them beyond p97.78"
    )


def test_a_rate_may_be_given(folder: Path) -> None:
    plain = json.loads(whatif(folder, "--load", "100/s", "--json").stdout)
    assert plain["cells"][0]["offered_rps"] == pytest.approx(100, rel=0.2)


def test_a_lost_cell_leaves_its_load(folder: Path) -> None:
    two = replace(SAMPLE, thresholds=TWO)
    both = json.loads(whatif(folder, "--load", "0.5x", "--json", of=two).stdout)
    assert [cell["name"] for cell in both["cells"]] == ["a", "b"]
    assert all(cell["goodput_ratio"] > 0.95 for cell in both["cells"])
    one = json.loads(whatif(folder, "--load", "0.5x", "--lose-cell", "b", "--json", of=two).stdout)
    assert [cell["name"] for cell in one["cells"]] == ["a"]
    assert one["cells"][0]["offered_rps"] == pytest.approx(122, rel=0.15)


def test_a_high_rate_is_simulated_for_a_shorter_time(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from shedproxy.cli import whatif_command

    monkeypatch.setattr(whatif_command, "_REQUESTS_MAX", 500)
    done = whatif(folder, "--load", "1x", "--for", "60")
    assert "5 s were simulated" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--load", "2"], "'2' is no load"),
        (["--load", "0x"], "'0x' is no load"),
        (["--lose-cell", "b"], "there is no cell 'b'; there are: default"),
        (["--lose-cell", "default"], "no cell is left"),
    ],
)
def test_what_cannot_be_meant_is_refused(folder: Path, arguments: list[str], said: str) -> None:
    done = whatif(folder, *arguments)
    assert done.exit_code == 2
    assert said in done.stderr


def test_a_report_without_capacity_says_what_to_do(folder: Path) -> None:
    done = whatif(folder, of=replace(SAMPLE, findings=Findings()))
    assert isinstance(done.exception, StartupError)
    assert "calibrate again" in str(done.exception)


def test_settings_with_a_profile_do_as_well(folder: Path) -> None:
    file = folder / "shedproxy.toml"
    file.write_text(
        '[cell.default]\nupstream = ["http://127.0.0.1:1"]\n[cell.default.profile]\nid = "c-1"\n'
        'capacity = [200.0, 195.0, 205.0]\nroutes = { "*" = ["20ms", "19ms", "21ms"] }\n'
    )
    done = CliRunner().invoke(main.app, ["whatif", str(file), "--for", "5", "--load", "2x"])
    assert done.exit_code == 0, done.output
    assert "offered to 200/s (4 x 20 ms)" in done.stdout.replace("200.0/s", "200/s")
    assert "critical requests only" in done.stdout
