"""Which build a calibration is of, and files that speak of another."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from harness.sample_report import sample_calibration

from shedproxy.calibration.results import Calibration
from shedproxy.calibration.target_build import build_in_files, build_problems, check_build

SAMPLE = sample_calibration()
PROFILE = '[cell.default.profile]\nid = "x"\nbuild = "7"\n'


def of(build: str) -> Calibration:
    return replace(SAMPLE, provenance=replace(SAMPLE.provenance, target_build=build))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "shedproxy.toml"


@pytest.mark.parametrize("name", ["a\nb", "x" * 201, "\x1b[1m"])
def test_a_name_is_one_line_of_text(name: str) -> None:
    assert check_build(" v1.2+3 ") == "v1.2+3"
    with pytest.raises(ValueError, match="one line"):
        check_build(name)


@pytest.mark.parametrize(
    ("upstreams", "build"),
    [
        ('["http://a:1 version=7", "http://b:1 zone=z version=7"]', "7"),
        ('["http://a:1 version=7", "http://b:1 version=8"]', ""),
        ('["http://a:1 version=7", "http://b:1"]', ""),
        ('["http://a:1"]', ""),
    ],
)
def test_the_one_version_of_all_upstreams_is_the_build(
    file: Path, upstreams: str, build: str
) -> None:
    file.write_text(f"[cell.default]\nupstream = {upstreams}\n[cell.spare]\n")
    assert build_in_files([file.with_name("none.toml"), file], "default") == build
    # A cell without upstreams of its own has those of the default.
    assert build_in_files([file], "spare") == build


def test_a_file_about_another_build_is_warned_of(file: Path) -> None:
    file.write_text('[cell.default]\nupstream = ["http://a:1 version=8"]\n' + PROFILE)
    assert [problem.message for problem in build_problems(of("9"), file)] == [
        f'the profile of cell "default" in {file} was made for build 7, this one for 9',
        f'this profile was made for build 9; upstreams of cell "default" in {file} have 8',
    ]
    assert {problem.severity for problem in build_problems(of("9"), file)} == {"warning"}


def test_what_is_not_known_is_no_other_build(file: Path) -> None:
    assert not list(build_problems(of("7"), file))
    file.write_text('[cell.default]\nupstream = ["http://a:1 version=7"]\n' + PROFILE)
    assert not list(build_problems(of("7"), file))
    assert not list(build_problems(of(""), file))
