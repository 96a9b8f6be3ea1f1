"""The demo service has the capacity it says."""

from __future__ import annotations

import asyncio

import pytest

from shedproxy.core import Criticality, seconds
from shedproxy.loadgen import Player
from shedproxy.loadgen.service import DemoService
from shedproxy.workload import constant_arrivals


@pytest.mark.integration
def test_the_service_answers_within_its_capacity_and_ends_with_its_parent() -> None:
    """Half of 400 requests/s for half a second: all answered; then the process is gone."""
    with DemoService(slots=4, service_ms=10) as service:
        assert service.capacity_rps == 400
        player = Player(service.url, deadline_ns=seconds(5))
        schedule = (
            (offset, Criticality.CRITICAL)
            for offset in constant_arrivals(rate_rps=200, duration_ns=seconds(0.5))
        )
        asyncio.run(player.play(schedule))
        process = service._process
    assert [row.status for row in player.rows] == [200] * 100
    assert process is not None
    assert process.returncode == 0
