"""What tests of faults share: the wire bench, and an eye on what every proxy leaves behind.

The bench looks for leaks by itself.
"""

from __future__ import annotations

import pytest
from harness.leaks import Held
from harness.proxy import Shedproxy
from harness.wire_bench import answering, anyio_backend, bench

__all__ = ["answering", "anyio_backend", "bench"]


@pytest.fixture(autouse=True)
def nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every shedproxy that still serves when a test stops it holds no more than it began with."""
    enter, stop = Shedproxy.__enter__, Shedproxy.stop
    held: dict[Shedproxy, Held] = {}

    def begin(proxy: Shedproxy) -> Shedproxy:
        enter(proxy)
        held[proxy] = Held(proxy)
        return proxy

    def end(proxy: Shedproxy) -> int:
        before = held.pop(proxy, None)
        try:
            if before is not None and is_serving(proxy):
                before.compare()
        finally:
            code = stop(proxy)
        return code

    monkeypatch.setattr(Shedproxy, "__enter__", begin)
    monkeypatch.setattr(Shedproxy, "stop", end)


def is_serving(proxy: Shedproxy) -> bool:
    """Whether it runs and nobody told it to end."""
    return proxy.returncode is None and proxy.status()["state"] == "serving"
