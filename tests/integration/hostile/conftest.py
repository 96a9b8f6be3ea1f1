"""A worker in a process of its own, an event-driven service behind it, hostile clients in front."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from harness.process import Service
from harness.proxy import Shedproxy

LIMIT = """
[cell.default.limit]
algorithm = "fixed"
initial = {}
"""


@pytest.fixture
def anyio_backend():
    return ("asyncio", {"use_uvloop": True})


@pytest.fixture(scope="session")
def upstream(tmp_path_factory) -> Iterator[Service]:
    """Far more slots than shedproxy's limit, 20 ms each."""
    with Service(home=tmp_path_factory.mktemp("service"), slots=64) as service:
        yield service


@pytest.fixture
def serve(upstream: Service, tmp_path: Path) -> Iterator[Callable[..., Shedproxy]]:
    """Starts shedproxy before the service; `config` is added to a fixed limit."""
    with ExitStack() as stack:

        def start(config: str = "", *, descriptors: int = 0, limit: int = 16) -> Shedproxy:
            running = Shedproxy(upstream.url, home=tmp_path, config=config + LIMIT.format(limit))
            if descriptors:
                bound = f'ulimit -n {descriptors}; exec "$@"'
                running._command = ["sh", "-c", bound, "sh", *running._command]
            return stack.enter_context(running)

        yield start
