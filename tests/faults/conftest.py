"""What tests of faults share: the wire bench in this process, and a watch on real processes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
from harness.leaks import no_leaks
from harness.proxy import Shedproxy
from harness.wire_bench import answering, anyio_backend, bench

__all__ = ["answering", "anyio_backend", "bench"]


@pytest.fixture
def leaks() -> Callable[[Shedproxy], AbstractContextManager[None]]:
    """`with leaks(proxy):` around the fault: afterwards everything is back where it was.

    The bench checks the same by itself for the proxies in this process.
    """
    return no_leaks
