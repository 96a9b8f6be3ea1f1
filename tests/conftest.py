"""Options and fixtures of the whole suite."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from harness.bad_network import is_possible
from hypothesis import HealthCheck, settings

pytest_plugins = ["faults.plugin"]

# The same examples every time, and nothing that a busy machine can miss: no time for an example, no
# time for drawing one. `--hypothesis-profile=search` draws fresh ones for whoever looks for more.
_untimed = settings(deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("search", _untimed)
settings.register_profile("suite", _untimed, derandomize=True)
settings.load_profile("suite")


def _module(name: str) -> Callable[[], bool]:
    return lambda: importlib.util.find_spec(name) is not None


def _program(*names: str) -> Callable[[], bool]:
    return lambda: any(shutil.which(name, path=_PATH) for name in names)


_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

PEERS: dict[str, Callable[[], bool]] = {
    "nginx": _program("nginx"),
    "haproxy": _program("haproxy"),
    "wrk": _program("wrk"),
    "curl": _program("curl"),
    "chromium": _program("chromium"),
    "redis": _program("redis-server"),
    "envoy": _module("envoy"),
    "gunicorn": _module("gunicorn"),
    "moto": _module("moto"),
    "netns": is_possible,
}
"""Real programs that some tests talk to, by the name their marker gives."""

_absent: dict[str, int] = {}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--peers", action="store_true", help="fail where a peer is missing, instead of leaving out"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out, by name, the tests whose peer is not on this machine (an error with --peers)."""
    kept, left_out = [], []
    for item in items:
        wanted = [name for mark in item.iter_markers("peers") for name in mark.args]
        missing = [name for name in wanted if not PEERS[name]()]
        for name in missing:
            _absent[name] = _absent.get(name, 0) + 1
        (left_out if missing else kept).append(item)
    if left_out and config.getoption("--peers"):
        raise pytest.UsageError(f"--peers: not on this machine: {', '.join(sorted(_absent))}")
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = kept


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _absent:
        missing = ", ".join(f"{name} ({count} tests)" for name, count in sorted(_absent.items()))
        terminalreporter.write_line(f"not run, the peer is not installed: {missing}", yellow=True)


@pytest.fixture
def anyio_backend() -> str:
    """shedproxy runs on asyncio: the servers it stands beside do too."""
    return "asyncio"


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return Path(__file__).resolve().parent.parent
