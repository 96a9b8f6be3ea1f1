"""Reports are read and written, or it is said why not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from harness.sample_report import sample_calibration

from shedproxy.calibration.results import encode_calibration
from shedproxy.cli.report_files import read_calibration, read_text, write_text, write_views
from shedproxy.errors import DocumentInvalidError, StartupError


def test_a_report_is_read_by_its_file_or_its_folder(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    file.write_text(json.dumps(encode_calibration(sample_calibration())))
    assert read_calibration(file) == read_calibration(tmp_path) == sample_calibration()


def test_another_file_is_refused_by_name_with_what_to_do(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    file.write_text("{}")
    with pytest.raises(DocumentInvalidError) as caught:
        read_calibration(file)
    problem = caught.value.problems[0]
    assert problem.source == str(file)
    assert "--from" in problem.help


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="cannot read .*none"):
        read_text(tmp_path / "none")
    with pytest.raises(StartupError, match="cannot write .*none"):
        write_text(tmp_path / "none/file", "text")


def test_views_are_written_beside_the_report(tmp_path: Path) -> None:
    write_views(tmp_path, sample_calibration())
    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")
    assert (tmp_path / "report.md").read_text().startswith("# Calibration of")
