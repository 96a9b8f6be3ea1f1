"""`shedproxy calibrate --from-observe`: from a file, from a control listener, and errors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from harness.observed import seen
from typer.testing import CliRunner

from shedproxy.cli import calibrate_observed
from shedproxy.cli.control_client import ControlError
from shedproxy.cli.main import app
from shedproxy.errors import StartupError
from shedproxy.observability.load_points import LoadPoint, LoadPoints

RUN = CliRunner()


def shown(points: list[LoadPoint]) -> dict[str, object]:
    return LoadPoints().view() | {"cells": {"default": [list(point) for point in points]}}


def observed(tmp_path: Path, points: list[LoadPoint], *more: str):
    file = tmp_path / "points.json"
    file.write_text(json.dumps(shown(points)))
    out = str(tmp_path / "out")
    return RUN.invoke(app, ["calibrate", "--from-observe", str(file), "--out", out, *more])


def test_a_profile_is_written_from_what_was_seen(tmp_path: Path) -> None:
    settings = tmp_path / "shedproxy.toml"
    result = observed(tmp_path, seen(4, 20.0, "exponential", upto=0.95), "--write", str(settings))
    assert result.exit_code == 0, result.output
    assert "as observed" in result.stderr
    text = settings.read_text()
    assert 'source = "observed"' in text
    assert "initial = 5" in text
    assert (
        json.loads((tmp_path / "out" / "report.json").read_text())["observed"]["point_count"] == 60
    )
    assert "Live traffic" in (tmp_path / "out" / "report.html").read_text()
    assert RUN.invoke(app, ["check", str(settings)]).exit_code == 0
    forecast = RUN.invoke(
        app, ["whatif", str(tmp_path / "out" / "report.json"), "--load", "0.5x", "--json"]
    )
    (critical,) = json.loads(forecast.stdout)["cells"][0]["classes"]
    assert critical["served_ratio"] > 0.9


def test_too_little_is_inconclusive_and_writes_nothing(tmp_path: Path) -> None:
    settings = tmp_path / "shedproxy.toml"
    result = observed(
        tmp_path, seen(4, 20.0, "exponential", upto=0.95, count=3), "--write", str(settings)
    )
    assert result.exit_code == 4
    assert "not enough data" in " ".join(result.stderr.split())
    assert not settings.exists()


def test_a_listener_is_asked_with_its_token(tmp_path: Path, monkeypatch) -> None:
    token = tmp_path / "token"
    token.write_text("s3cret\n")
    asked: list[tuple[str, ...]] = []

    class Client:
        def __init__(self, url: str, *, token: str) -> None:
            asked.append((url, token))

        def __enter__(self):
            return self

        def __exit__(self, *_: object) -> None: ...

        def ask(self, method: str, path: str) -> dict[str, object]:
            asked.append((method, path))
            if asked[0][0] == "http://gone":
                raise ControlError("nothing answers at http://gone")
            return shown(seen(16, 40.0, "exponential", upto=0.6))

    monkeypatch.setattr(calibrate_observed, "ControlClient", Client)
    command = ["calibrate", "--out", str(tmp_path), "--token-file", str(token), "--from-observe"]
    result = RUN.invoke(app, [*command, "http://127.0.0.1:9900"])
    assert result.exit_code == 0, result.output
    assert asked == [("http://127.0.0.1:9900", "s3cret"), ("GET", "/-/points")]
    assert "floor only" in result.stderr
    asked.clear()
    gone = RUN.invoke(app, [*command, "http://gone"])
    assert isinstance(gone.exception, StartupError)
    assert "no points: nothing answers" in str(gone.exception)


@pytest.mark.parametrize("slo", ["fast", "errors<1%"])
def test_an_objective_that_is_none_is_said(slo: str, tmp_path: Path) -> None:
    result = observed(tmp_path, [], "--slo", slo)
    assert result.exit_code == 2


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("gone.json", "cannot read gone.json: No such file"),
        ("./gone", "cannot read gone: No such file"),
        ("folder", "cannot read folder: Is a directory"),
        ("junk", "it is not JSON, as /-/points answers"),
    ],
)
def test_a_file_that_has_no_points_is_named_as_a_file(
    name: str, says: str, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "junk").write_bytes(b"\xff\xfe{")
    result = RUN.invoke(app, ["calibrate", "--from-observe", name])
    assert isinstance(result.exception, StartupError)
    assert says in str(result.exception)
