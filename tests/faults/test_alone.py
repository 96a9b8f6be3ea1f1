"""Nothing is shared that could be lost: a worker decides from its own part of the limits."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest
from harness.process import Service
from harness.proxy import Shedproxy
from harness.storm import Crowd

pytestmark = pytest.mark.integration


@pytest.mark.fault("K14")
def test_a_worker_goes_on_without_the_others_and_the_supervisor(tmp_path, figure) -> None:
    """The supervisor and one of two workers stand still; the other one serves everybody."""
    with (
        Service(home=tmp_path, slots=6, service_ms=20) as service,
        Shedproxy(service.url, home=tmp_path, arguments=("--workers=2",)) as proxy,
    ):
        stopped = [proxy.pid, proxy.worker_pid]
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        try:
            crowd = Crowd(proxy.port, rate_rps=100, for_s=1.5, seed=1)
            asyncio.run(crowd.play())
        finally:
            for pid in stopped:
                os.kill(pid, signal.SIGCONT)
    assert {call.status for call in crowd.told} == {200}
    figure(f"supervisor and a worker stopped: {len(crowd.told)} of {len(crowd.told)} served")
