"""What tests of faults share: the wire bench, and an eye on what every proxy leaves behind.

The bench looks for leaks by itself.
"""

from __future__ import annotations

import pytest
from harness.leaks import MIB, Held
from harness.proxy import Shedproxy
from harness.wire_bench import answering, anyio_backend, bench

__all__ = ["answering", "anyio_backend", "bench"]


@pytest.fixture(autouse=True)
def nothing_is_left(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every shedproxy that still serves when a test stops it holds no more than it began with.

    `@pytest.mark.fault("H10", memory_mib=64)` lets its workers keep so much more memory: what the
    allocator does not give back of large buffers.
    """
    margins = [mark.kwargs.get("memory_mib", 16) for mark in request.node.iter_markers("fault")]
    memory_margin = max(margins, default=16) * MIB
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
                before.compare(memory_margin=memory_margin)
        finally:
            code = stop(proxy)
        return code

    monkeypatch.setattr(Shedproxy, "__enter__", begin)
    monkeypatch.setattr(Shedproxy, "stop", end)


def is_serving(proxy: Shedproxy) -> bool:
    """Whether it runs and nobody told it to end."""
    return proxy.returncode is None and proxy.status()["state"] == "serving"
