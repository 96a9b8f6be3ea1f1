"""Real proxies, signed snapshots and reports in a folder: a tenant is moved there and back."""

from __future__ import annotations

import pytest

from loadtests.move import moves

pytestmark = [pytest.mark.anyio, pytest.mark.integration]


async def test_a_tenant_is_moved_there_and_back_and_nobody_notices():
    done = await moves(2, workers=1, clients=1, service_s=0.01, steady_s=0.1)
    assert done.is_good, done
    assert done.moved == 2
    assert set(done.begun) == {"a", "b"}
    assert done.answered > 20
    assert max(done.held_ms) < 4_000
