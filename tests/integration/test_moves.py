"""Real proxies and a real control plane: a tenant is moved there and back, and nobody notices."""

from __future__ import annotations

import pytest

from loadtests.move import moves

pytestmark = [pytest.mark.anyio, pytest.mark.integration]


async def test_a_tenant_is_moved_and_nobody_notices_even_if_who_moves_it_is_killed_meanwhile():
    done = await moves(3, workers=1, clients=1, service_s=0.01, steady_s=0.1, killed={2})
    assert done.is_good, done
    assert done.killed == 1
    assert done.moved >= 2
    assert set(done.begun) == {"a", "b"}
    assert done.answered > 20
    assert max(done.held_ms) < 5_000
