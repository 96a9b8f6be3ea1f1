"""A profile goes into a settings file, and everything else in it stays."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from harness.calibrations import a_plan

from shedproxy.calibration.derive import derive_thresholds
from shedproxy.calibration.measurement import Confidence, Interval
from shedproxy.calibration.profile_file import (
    check_profile_file,
    current_values,
    for_cell,
    profile_changes,
    with_profile,
    write_profile,
)
from shedproxy.calibration.provenance import make_provenance
from shedproxy.calibration.results import Calibration, Findings, ResidentsFit, Verdict
from shedproxy.settings import load_settings

FOUND = Findings(
    capacity_rps=Interval(value=200.123, low=195, high=205),
    capacity_in_flight=8,
    knee_in_flight=Interval(value=4.1, low=4.0, high=4.2),
)
CALIBRATION = Calibration(
    plan=a_plan(),
    provenance=make_provenance(target="http://127.0.0.1:1", command="x", started_s=1.8e9),
    steps=(),
    findings=FOUND,
    thresholds=derive_thresholds(FOUND, a_plan()),
    verification=(),
    verdict=Verdict(confidence=Confidence.HIGH, reasons=(), headline=""),
)
TEXT = """\
# of the team that pays
version = 1

[cell.default]
upstream = ["http://127.0.0.1:9"]  # keep me

[cell.default.limit]
max = 900  # too much?
initial = 6
"""


def test_values_change_in_place_and_comments_stay(tmp_path: Path) -> None:
    file = tmp_path / "shedproxy.toml"
    file.write_text(TEXT)
    changes = write_profile(CALIBRATION, file)
    text = file.read_text()
    assert text.startswith(TEXT.replace("900", "9"))
    assert [(change.key, change.before, change.after) for change in changes] == [
        ("cell.default.limit.min", "", "5"),
        ("cell.default.limit.max", "900", "9"),
        ("cell.default.queue.wait_max", "", '"460ms"'),
    ]
    assert list(tmp_path.iterdir()) == [file]


def test_the_profile_names_the_build_that_was_measured() -> None:
    made = replace(CALIBRATION.provenance, target_build="v7+rc.1")
    assert 'build = "v7+rc.1"' in with_profile(replace(CALIBRATION, provenance=made), TEXT)


def test_what_is_written_is_a_valid_settings_file(tmp_path: Path) -> None:
    file = tmp_path / "shedproxy.toml"
    file.write_text(TEXT)
    write_profile(CALIBRATION, file)
    settings = load_settings(file, environ={}).settings
    cell = settings.cell["default"]
    assert (cell.limit.initial, cell.limit.min, cell.limit.max) == (6, 5, 9)
    assert cell.profile.capacity == [200.1, 195.0, 205.0]
    assert cell.profile.id == CALIBRATION.provenance.id
    assert profile_changes(CALIBRATION, file.read_text()) == ()


@pytest.mark.parametrize(
    "fixed",
    [
        "[cell.default]\nlimit = 64\n",
        '[cell.default.limit]\nalgorithm = "fixed"\ninitial = 64\n',
        '[cell.default]\nlimit = { algorithm = "fixed", initial = 64 }\n',
        '[cell.default.limit]\nalgorithm = "vegas"\ninitial = 64\n',
    ],
)
def test_another_limit_gives_way_to_the_one_that_was_proved_and_the_change_is_shown(
    fixed: str, tmp_path: Path
) -> None:
    file = tmp_path / "shedproxy.toml"
    file.write_text(fixed)
    shown = {change.key: change.after for change in write_profile(CALIBRATION, file)}
    assert shown["cell.default.limit.algorithm"] == '"adaptive"'
    limit = load_settings(file, environ={}).settings.cell["default"].limit
    assert (limit.algorithm, limit.initial, limit.min, limit.max) == ("adaptive", 6, 5, 9)
    assert "64" not in file.read_text()
    assert profile_changes(CALIBRATION, file.read_text()) == ()


def test_an_empty_file_is_enough_and_nothing_is_not_written() -> None:
    assert current_values(with_profile(CALIBRATION, ""))["cell.default.limit.initial"] == "6"
    with pytest.raises(ValueError, match="inconclusive"):
        with_profile(replace(CALIBRATION, thresholds=None), "")
    with pytest.raises(ValueError, match="no table"):
        with_profile(CALIBRATION, "cell = 3")


def test_the_limit_of_streams_is_written_with_its_reason(tmp_path: Path) -> None:
    residents = ResidentsFit(
        path="/e", kind="sse", limit=64, is_bound=False, ordinary_rps=1.0, reason="64 did no harm"
    )
    assert CALIBRATION.thresholds is not None
    (cell,) = CALIBRATION.thresholds.cells
    held = replace(
        CALIBRATION,
        findings=replace(FOUND, residents=residents),
        thresholds=replace(CALIBRATION.thresholds, cells=(replace(cell, resident_limit=64),)),
    )
    (change,) = [c for c in profile_changes(held, "") if c.key == "cell.default.streams.limit"]
    assert (change.after, change.reason) == ("64", "64 did no harm")
    file = tmp_path / "a.toml"
    write_profile(held, file)
    assert load_settings(file, environ={}).document.policy.cells[0].resident_limit == 64


def test_a_file_that_would_not_be_valid_is_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "shedproxy.toml"
    text = '[upstream]\nurl = "http://127.0.0.1:9"\n'
    file.write_text(text)
    with pytest.raises(ValueError, match="unknown key"):
        check_profile_file(file)
    with pytest.raises(ValueError, match="unknown key"):
        write_profile(CALIBRATION, file)
    assert file.read_text() == text
    assert list(tmp_path.iterdir()) == [file]


def test_a_floor_that_was_carried_raises_a_lower_maximum(tmp_path: Path) -> None:
    assert CALIBRATION.thresholds is not None
    (cell,) = CALIBRATION.thresholds.cells
    carried = replace(cell, ceiling=None, start=50, floor=50)
    found = replace(CALIBRATION, thresholds=replace(CALIBRATION.thresholds, cells=(carried,)))
    file = tmp_path / "shedproxy.toml"
    file.write_text("[cell.default.limit]\nmax = 20\n")
    write_profile(found, file)
    assert load_settings(file, environ={}).settings.cell["default"].limit.max == 50
    assert "cell.default.limit.max" not in [c.key for c in profile_changes(found, "")]


def test_a_profile_goes_to_the_cell_that_is_named(tmp_path: Path) -> None:
    file = tmp_path / "shedproxy.toml"
    file.write_text('[cell.a]\nupstream = ["http://127.0.0.1:9"]\n')
    named = for_cell(CALIBRATION, "a")
    assert named.thresholds is not None
    assert {change.key.split(".")[1] for change in named.thresholds.changes} == {"a"}
    write_profile(named, file)
    loaded = load_settings(file, environ={})
    assert list(loaded.settings.cell) == ["a"]
    assert loaded.settings.cell["a"].limit.initial == 6
    assert [profile.cell for profile in loaded.document.profiles] == ["a"]
    assert for_cell(CALIBRATION, "default") is CALIBRATION
