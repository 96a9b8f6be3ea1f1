"""`shedproxy report` shows, compares, imports, and says what it cannot do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from harness.load_files import FILES
from harness.sample_report import sample_calibration
from typer.testing import CliRunner

from shedproxy.calibration.results import encode_calibration
from shedproxy.cli import main
from shedproxy.errors import DocumentInvalidError


@pytest.fixture
def base(tmp_path: Path) -> str:
    file = tmp_path / "report.json"
    file.write_text(json.dumps(encode_calibration(sample_calibration())))
    return str(file)


@pytest.fixture
def later(tmp_path: Path) -> str:
    file = tmp_path / "later.json"
    file.write_text(json.dumps(encode_calibration(sample_calibration(wobble=3))))
    return str(file)


def report(*arguments: str) -> Any:
    return CliRunner().invoke(main.app, ["report", *arguments])


def test_it_prints_a_summary(base: str) -> None:
    done = report(base)
    assert done.exit_code == 0
    assert done.stdout.startswith("About 245 requests/s at 12 in flight (confidence high)\n")
    for part in ("- Not enough data", "What changes", "Estimates", "Goodput with shedding"):
        assert part in done.stdout


def test_it_writes_page_and_markdown(base: str, tmp_path: Path) -> None:
    html, markdown = tmp_path / "r.html", tmp_path / "r.md"
    done = report(base, "--html", str(html), "--md", str(markdown))
    assert (done.exit_code, done.stdout) == (0, "")
    assert html.read_text().startswith("<!doctype html>")
    assert markdown.read_text().startswith("# Calibration of")


def test_json_is_what_was_read(base: str) -> None:
    assert json.loads(report(base, "--json").stdout) == json.loads(Path(base).read_text())


def test_two_are_compared(base: str, later: str) -> None:
    assert "Comparison with the earlier report" in report("--compare", base, later).stdout
    plain = json.loads(report("--compare", base, later, "--json").stdout)
    assert plain["differences"][0]["name"] == "capacity"


def test_files_of_other_tools_are_read(tmp_path: Path) -> None:
    names = [str(FILES / f"locust_{kind}.csv") for kind in ("stats", "stats_history", "failures")]
    done = report("--from", *names)
    assert done.stdout.startswith("Locust: 200 answers/s")
    plain = json.loads(report("--from", *names, "--json").stdout)
    assert plain["runs"][0]["capacity_rps"] == 200.0
    assert plain["runs"][0]["record"]["loop"] == "closed"
    html, markdown = tmp_path / "i.html", tmp_path / "i.md"
    assert report("--from", *names, "--html", str(html), "--md", str(markdown)).exit_code == 0
    assert "lower bounds" in html.read_text()
    assert "lower bounds" in markdown.read_text()


def test_loop_and_unit_are_believed() -> None:
    done = report(
        "--from", str(FILES / "spectrum.hgrm"), "--loop", "open", "--unit", "us", "--json"
    )
    record = json.loads(done.stdout)["runs"][0]["record"]
    assert record["loop"] == "open"
    assert record["total"]["latency"]["max_ns"] == 80_127


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--compare", "a"], "name two reports"),
        (["a", "b"], "name one report"),
        (["--from", "--compare", "a"], "do not go together"),
        (["a", "--loop", "open"], "only --from has use for it"),
        (["--from", "a", "--loop", "ajar"], "'ajar' is none of open, closed"),
        (["--from", "a", "--unit", "h"], "'h' is none of ns, us, ms, s, m"),
    ],
)
def test_what_cannot_be_meant_is_refused(arguments: list[str], said: str) -> None:
    done = report(*arguments)
    assert done.exit_code == 2
    assert said in done.stderr


def test_an_unknown_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("hello\n")
    done = report("--from", str(file))
    assert isinstance(done.exception, DocumentInvalidError)
    assert done.exception.problems[0].source == str(file)


def test_usage_names_its_files_plainly() -> None:
    assert "report [OPTIONS] FILE...\n" in report("--help").stdout
