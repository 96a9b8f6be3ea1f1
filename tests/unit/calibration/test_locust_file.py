"""What the program that loads a locustfile says becomes requests, or an error that explains."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from shedproxy.calibration.locust_file import read_locustfile
from shedproxy.core import Criticality
from shedproxy.errors import StartupError


def said(monkeypatch: pytest.MonkeyPatch, out: str, err: str = "", code: int = 0) -> None:
    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        assert command[-1] == "mine.py"
        return subprocess.CompletedProcess(command, code, out, err)

    monkeypatch.setattr(subprocess, "run", run)


def test_tasks_are_requests_of_their_class(monkeypatch: pytest.MonkeyPatch) -> None:
    said(monkeypatch, 'hello\n{"kinds": [["U.a", 2, "sheddable"], ["U.b", 1, ""]]}\n')
    specs = read_locustfile(Path("mine.py"))
    assert [(spec.route, spec.weight, spec.criticality) for spec in specs] == [
        ("U.a", 2.0, Criticality.SHEDDABLE), ("U.b", 1.0, Criticality.CRITICAL),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("out", "err", "says"),
    [
        ('{"unfit": "it has no user"}', "", "cannot be played: it has no user"),
        (
            "",
            "Traceback\nModuleNotFoundError: No module named 'locust'",
            "No module named 'locust'",
        ),
        ("nonsense", "", "exit code 1"),
    ],
)
def test_why_not_is_said(monkeypatch: pytest.MonkeyPatch, out: str, err: str, says: str) -> None:
    said(monkeypatch, out, err, 1)
    with pytest.raises(StartupError, match=says):
        read_locustfile(Path("mine.py"))


def test_one_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_: object, **__: object) -> None:
        raise subprocess.TimeoutExpired("x", 60)

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(StartupError, match="not loaded within 60 s"):
        read_locustfile(Path("mine.py"))
