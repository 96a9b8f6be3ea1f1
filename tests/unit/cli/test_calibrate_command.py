"""`shedproxy calibrate`, as far as no service is needed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from harness.sample_report import sample_calibration
from typer.testing import CliRunner

from shedproxy.calibration.measurement import Confidence
from shedproxy.cli import calibrate_command
from shedproxy.cli.main import app
from shedproxy.errors import StartupError

RUN = CliRunner()


def test_a_target_that_is_not_loopback_is_refused() -> None:
    result = RUN.invoke(app, ["calibrate", "http://203.0.113.7:80"])
    assert result.exit_code == 6
    assert "--allow-host 203.0.113.7" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["ftp://127.0.0.1"], "is no target"),
        ([], "is no target"),
        (["http://127.0.0.1:1", "--slo", "fast"], "objective"),
        (["http://127.0.0.1:1", "--budget", "1s"], "budget"),
        (["http://127.0.0.1:1", "--arrivals", "odd"], "poisson or constant"),
        (["http://127.0.0.1:1", "--request", "x"], "is no request"),
        (["http://127.0.0.1:1", "--mix", "vip=1"], "share of a class"),
        (["http://127.0.0.1:1", "--locustfile", "a.py"], "add --engine locust"),
        (["http://127.0.0.1:1", "--processes", "no"], "neither auto nor"),
        (["http://127.0.0.1:1", "--streams", "events"], "begins with /"),
        (
            ["http://127.0.0.1:1", "--engine=locust", "--locustfile=a.py", "--streams=/e"],
            "not a locustfile's",
        ),
        (
            ["http://127.0.0.1:1", "--engine=locust", "--locustfile=a.py", "--request=/e"],
            "brings its own requests",
        ),
    ],
)
def test_what_cannot_be_meant_is_said(arguments: list[str], says: str) -> None:
    result = RUN.invoke(app, ["calibrate", *arguments])
    assert result.exit_code == 2
    assert says in " ".join(result.stderr.replace("│", " ").split())


def test_nothing_that_answers_is_inconclusive_and_says_so(tmp_path) -> None:
    result = RUN.invoke(
        app, ["calibrate", "http://127.0.0.1:1", "--quick", "--out", str(tmp_path / "c")]
    )
    assert result.exit_code == 4
    assert "no answer with success" in " ".join(result.stderr.split())
    assert (tmp_path / "c" / "report.json").exists()
    resumed = ["calibrate", "--resume", str(tmp_path / "c")]
    assert RUN.invoke(app, resumed).exit_code == 4
    for more, says in (
        (["--budget=9m", "--max-rate=5"], "--budget, --max-rate would not count"),
        (["http://127.0.0.1:2"], "goes on with http://127.0.0.1:1, not with http://127.0.0.1:2"),
    ):
        other = RUN.invoke(app, [*resumed, *more])
        assert other.exit_code == 2
        assert says in " ".join(other.stderr.replace("│", " ").split())


@pytest.mark.parametrize(
    ("confidence", "stopped_by", "code", "says"),
    [
        (Confidence.HIGH, "", 0, "profile written"),
        (Confidence.INCONCLUSIVE, "", 4, "nothing written"),
        (Confidence.MEDIUM, "interrupted", 130, "nothing written"),
    ],
)
def test_only_what_is_believed_and_done_is_written(
    confidence: Confidence, stopped_by: str, code: int, says: str, tmp_path, monkeypatch
) -> None:
    made = sample_calibration()
    made = replace(
        made,
        verdict=replace(made.verdict, confidence=confidence),
        provenance=replace(made.provenance, stopped_by=stopped_by),
    )
    monkeypatch.setattr(calibrate_command, "observed_calibration", lambda *_, **__: made)
    file, out = tmp_path / "shedproxy.toml", tmp_path / "c"
    result = RUN.invoke(app, ["calibrate", "--from-observe=x", f"--write={file}", f"--out={out}"])
    assert result.exit_code == code
    assert says in " ".join(result.stderr.split())
    assert file.exists() is (code == 0)
    assert (out / "report.json").exists()


def test_a_measured_profile_goes_to_the_cell_that_is_named(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(calibrate_command, "_measured", lambda *_, **__: sample_calibration())
    file = tmp_path / "shedproxy.toml"
    arguments = ["http://127.0.0.1:1", f"--out={tmp_path / 'c'}", f"--write={file}", "--cell=a"]
    assert RUN.invoke(app, ["calibrate", *arguments]).exit_code == 0
    assert "[cell.a.profile]" in file.read_text()
    assert "default" not in file.read_text()


@pytest.mark.parametrize("flag", ["--write", "--diff"])
@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("folder", "Is a directory"),
        ("junk.toml", "it is not UTF-8 text"),
        ("cut.toml", "not TOML: expected"),
        ("gone/shedproxy.toml", "there is no folder"),
    ],
)
def test_a_file_that_cannot_take_the_profile_is_refused_before_any_load(
    tmp_path, flag: str, name: str, says: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "junk.toml").write_bytes(b"\xff\xfe")
    (tmp_path / "cut.toml").write_text("[cell")
    out = tmp_path / "out"
    result = RUN.invoke(
        app, ["calibrate", "http://127.0.0.1:1", flag, str(tmp_path / name), "--out", str(out)]
    )
    assert isinstance(result.exception, StartupError)
    assert says in str(result.exception)
    assert name in str(result.exception) or "gone" in str(result.exception)
    assert not out.exists()
