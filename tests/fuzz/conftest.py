"""Fresh fuzzing runs beside the tests that come before its own, at the lowest priority: it takes
what they leave of two cores, and costs no time of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from fuzz.targets import TARGETS

FRESH_SECONDS = 30
_ROOT = Path(__file__).resolve().parents[2]
_running = pytest.StashKey[list["subprocess.Popen[str]"]]()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Begin, if somebody will look at what is found."""
    config = session.config
    wanted = any("fresh_fuzzing" in getattr(item, "fixturenames", ()) for item in session.items)
    if not wanted or config.option.collectonly:
        return
    command = [sys.executable, "-P", str(_ROOT / "tests" / "fuzz" / "__main__.py")]
    config.stash[_running] = [
        subprocess.Popen(
            [*command, target, "--seconds", str(FRESH_SECONDS)],
            cwd=_ROOT,
            # The source: coverage guides, and what is compiled shows none.
            env={**os.environ, "PYTHONPATH": str(_ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=lambda: os.nice(19),
        )
        for target in TARGETS
    ]


def pytest_unconfigure(config: pytest.Config) -> None:
    """Leave nothing running when the session ends early."""
    for process in config.stash.get(_running, []):
        if process.poll() is None:
            process.kill()
            process.communicate()


@pytest.fixture
def fresh_fuzzing(pytestconfig: pytest.Config) -> list[tuple[int, str]]:
    """Exit code and output of each target, once they have ended."""
    running = pytestconfig.stash[_running]
    said = [process.communicate(timeout=FRESH_SECONDS + 240)[0] for process in running]
    return [(process.returncode, text) for process, text in zip(running, said, strict=True)]
