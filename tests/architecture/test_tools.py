"""Format, lint, types and import rules are tests like any other."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent


@pytest.mark.parametrize(
    "command",
    [
        ["ruff", "format", "--check", "."],
        ["ruff", "check", "."],
        ["mypy"],
        ["lint-imports"],
    ],
    ids=lambda command: command[0] + "-" + command[-1].strip("."),
)
def test_tool_finds_nothing(command: list[str], root: Path, tmp_path: Path) -> None:
    """What a reviewer need not look for."""
    if command[0] == "mypy":
        command = [*command, "--cache-dir", str(tmp_path)]
    if command[0] == "lint-imports":
        command = [*command, "--no-cache"]
    done = subprocess.run(
        [str(BIN / command[0]), *command[1:]],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
