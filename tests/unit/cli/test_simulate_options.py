"""A shell completes what `shedproxy simulate` takes."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from shedproxy.cli import main, scenario_files


@pytest.mark.parametrize(
    ("typed", "completed"),
    [("simulate m", ["met", "missed"]), ("simulate met --controller env", ["envoy-gradient"])],
)
def test_scenarios_and_controllers_are_completed(
    typed: str, completed: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    scenario_files.SUITE.mkdir(parents=True)
    for name in ("met", "missed", "other"):
        (scenario_files.SUITE / f"{name}.toml").touch()
    environ = {
        "_SHEDPROXY_COMPLETE": "complete_bash",
        "COMP_WORDS": f"shedproxy {typed}",
        "COMP_CWORD": f"{len(typed.split())}",
    }
    result = CliRunner().invoke(main.app, [], prog_name="shedproxy", env=environ)
    assert result.stdout.split() == completed
