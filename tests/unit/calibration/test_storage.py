"""An interrupted calibration is on disk, step by step."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from harness.calibrations import a_plan, closed_step, rehearsed

from shedproxy.calibration.run import Measured
from shedproxy.calibration.storage import CalibrationFolder
from shedproxy.core import Criticality
from shedproxy.errors import StartupError
from shedproxy.loadgen.requests import RequestSet, RequestSpec

REQUESTS = RequestSet(
    [
        RequestSpec(path="/a", weight=2.0, headers=(("accept", "x"),)),
        RequestSpec(
            method="POST", path="/b", body=b"\x00\xff", criticality=Criticality.SHEDDABLE, name="b"
        ),
    ],
    {Criticality.CRITICAL: 1.0, Criticality.SHEDDABLE: 0.5},
)


def test_steps_come_back_as_they_were_measured(tmp_path: Path) -> None:
    steps, _ = rehearsed(a_plan(), seed=1)
    folder = CalibrationFolder(tmp_path / "a" / "b")
    folder.begin(a_plan(), "http://127.0.0.1:1", REQUESTS)
    measured = Measured()
    for step in steps[:4]:
        measured.steps.append(step)
        folder.keep(measured)
    target, plan, requests, again = CalibrationFolder(tmp_path / "a" / "b").resume()
    assert (target, plan) == ("http://127.0.0.1:1", a_plan())
    assert requests.messages("h") == REQUESTS.messages("h")
    assert requests.below == REQUESTS.below
    assert requests.routes == REQUESTS.routes
    assert again.steps == steps[:4]


def test_going_on_adds_to_what_is_there(tmp_path: Path) -> None:
    folder = CalibrationFolder(tmp_path)
    folder.begin(a_plan(), "t", REQUESTS)
    folder.keep(Measured(steps=[closed_step(2, 100)]))
    other = CalibrationFolder(tmp_path)
    _, _, _, measured = other.resume()
    measured.steps.append(closed_step(4, 200))
    other.keep(measured)
    assert len((tmp_path / "steps.jsonl").read_text().splitlines()) == 2


def test_what_an_earlier_one_came_to_gives_way(tmp_path: Path) -> None:
    """Else an interrupted one would be shown with the result of another service."""
    for name in ("report.json", "report.html", "report.md", "notes.md"):
        (tmp_path / name).write_text("earlier")
    CalibrationFolder(tmp_path).begin(a_plan(), "t", REQUESTS)
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "notes.md", "plan.json", "steps.jsonl",
    ]  # fmt: skip


def test_what_is_not_there_or_damaged_is_said(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="nothing to go on with"):
        CalibrationFolder(tmp_path).resume()
    CalibrationFolder(tmp_path).begin(a_plan(), "t", REQUESTS)
    (tmp_path / "steps.jsonl").write_text(json.dumps({"step": {"index": 1}}) + "\n")
    with pytest.raises(StartupError, match="cannot be gone on with"):
        CalibrationFolder(tmp_path).resume()


def test_a_step_that_was_cut_off_is_played_again(tmp_path: Path) -> None:
    folder = CalibrationFolder(tmp_path)
    folder.begin(a_plan(), "t", REQUESTS)
    folder.keep(Measured(steps=[closed_step(2, 100)]))
    with (tmp_path / "steps.jsonl").open("a") as lines:
        lines.write('{"step": {"ind')
    *_, measured = CalibrationFolder(tmp_path).resume()
    assert len(measured.steps) == 1
    assert (tmp_path / "steps.jsonl").read_text().endswith("}\n")
