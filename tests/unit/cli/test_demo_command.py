"""The first command of the README: options that fail well, tables that can be read."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from shedproxy.cli import demo_command
from shedproxy.cli.main import app
from shedproxy.core import Criticality, Nanos, milliseconds, seconds
from shedproxy.loadgen import PlayerHealth
from shedproxy.loadgen.demo import DemoResult
from shedproxy.workload import ClassSummary, Summary

RUNNER = CliRunner()


def summary(served: int, refused: int) -> Summary:
    return Summary(
        offered=1000,
        served=served,
        refused=refused,
        failed=1000 - served - refused,
        offered_rps=600,
        goodput_rps=served / 5,
        p50_ns=milliseconds(20),
        p99_ns=milliseconds(80) if served else None,
        refusal_p99_ns=None,
        by_class={Criticality.CRITICAL: ClassSummary(1000, served, refused)},
    )


class StillDemo:
    """Ends at once with a known result."""

    lag: Nanos = Nanos(0)

    def __init__(self, *, duration_ns: Nanos) -> None:
        self.duration_ns = duration_ns

    def run(self, progress) -> DemoResult:
        progress("bare", 1.0, [])
        return DemoResult(
            capacity_rps=200,
            overload=3,
            deadline_ns=seconds(1),
            bare=summary(100, 0),
            shed=summary(950, 50),
            health=PlayerHealth(send_lag_p99_ns=self.lag, not_sent=0),
        )


@pytest.mark.parametrize(
    ("text", "expected"),
    [("20s", 20.0), ("1m", 60.0), ("4500ms", 4.5), ("10", 10.0), (" 5s ", 5.0)],
)
def test_durations_are_read_as_people_write_them(text: str, expected: float) -> None:
    """A unit or plain seconds."""
    assert demo_command.parse_duration(text) == seconds(expected)


@pytest.mark.parametrize("text", ["soon", "", "1s", "11m", "-5s", "nan"])
def test_a_bad_duration_is_a_usage_error(text: str) -> None:
    """Exit 2, and the words say what would be right."""
    done = RUNNER.invoke(app, ["demo", "--for", text])
    assert done.exit_code == 2


def test_json_is_one_object_on_standard_output(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is shown meanwhile goes elsewhere."""
    monkeypatch.setattr(demo_command, "Demo", StillDemo)
    done = RUNNER.invoke(app, ["demo", "--json"])
    assert done.exit_code == 0
    assert json.loads(done.stdout)["shed"]["goodput_ratio"] == 0.95


def test_the_table_compares_both_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Goodput first; a late generator is admitted."""
    monkeypatch.setattr(demo_command, "Demo", StillDemo)
    done = RUNNER.invoke(app, ["demo"])
    assert "goodput / capacity" in done.output
    assert "95%" in done.output
    assert "late or capped" not in done.output
    monkeypatch.setattr(StillDemo, "lag", seconds(1))
    assert "late or capped" in RUNNER.invoke(app, ["demo"]).output
