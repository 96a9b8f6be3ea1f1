"""The control lane while the data lane has five times the load it can serve."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from harness.process import Prober, Service
from harness.proxy import Shedproxy

from shedproxy.core import Criticality, seconds
from shedproxy.loadgen.player import Player
from shedproxy.testing import eventually
from shedproxy.workload import poisson_arrivals, summarise

pytestmark = pytest.mark.integration

TRIES = 3
CONTROL = ("/livez", "/readyz", "/metrics", "/-/status")


def play(url: str, *, rate_rps: float, for_s: float) -> float:
    """Offer load open loop; returns good answers per second."""
    duration = seconds(for_s)
    player = Player(f"{url}/", deadline_ns=seconds(1))
    offsets = poisson_arrivals(rate_rps=rate_rps, duration_ns=duration, rng=random.Random(5))
    asyncio.run(player.play((offset, Criticality.CRITICAL) for offset in offsets))
    return summarise(player.rows, duration_ns=duration, deadline_ns=seconds(1)).goodput_rps


def test_control_answers_fast_at_five_times_the_load(tmp_path: Path) -> None:
    """Control listener and control routes: p99 below 50 ms, and not one failure.

    Another program can only lengthen what is seen: what is in time is asked three times at most.
    """
    with (
        Service(home=tmp_path, slots=4, service_ms=20) as service,
        Shedproxy(service.url, home=tmp_path) as proxy,
    ):
        urls = [proxy.control_url + path for path in CONTROL] + [proxy.url + "/healthz"]
        for _ in range(TRIES):
            before = proxy.cell()["rejected"]
            with Prober(urls, home=tmp_path, pids=[proxy.pid, proxy.worker_pid]) as prober:
                goodput_rps = play(proxy.url, rate_rps=5 * service.capacity_rps, for_s=4)
                found = prober.end()
            assert proxy.cell()["rejected"] > before + 1000, "that was no overload"
            assert set(found) == {*CONTROL, "/healthz"}
            judge(found)
            if goodput_rps > service.capacity_rps / 2 and is_in_time(found, 50):
                return
    pytest.fail(f"{goodput_rps} good answers a second; {found}")


def judge(found: dict[str, dict[str, Any]]) -> None:
    for path, result in found.items():
        assert result["count"] > 20, (path, result)
        assert result["failures"] == 0, (path, result)


def is_in_time(found: dict[str, dict[str, Any]], bound_ms: float) -> bool:
    return all(result["p99_ms"] < bound_ms for result in found.values())


def test_control_listener_answers_fast_while_a_worker_stands_still(tmp_path: Path) -> None:
    """Two seconds of SIGSTOP: p99 below 100 ms, no failure within the liveness bound."""
    with (
        Service(home=tmp_path) as service,
        Shedproxy(service.url, home=tmp_path) as proxy,
    ):
        stopped = proxy.worker_pid
        urls = [proxy.control_url + path for path in ("/livez", "/metrics", "/-/status")]
        for _ in range(TRIES):
            os.kill(stopped, signal.SIGSTOP)
            try:
                with Prober(urls, home=tmp_path, pids=[proxy.pid]) as prober:
                    time.sleep(2)
                    found = prober.end()
            finally:
                os.kill(stopped, signal.SIGCONT)
            assert proxy.worker_pid == stopped, "the worker was restarted within its bound"
            judge(found)
            if is_in_time(found, 100):
                return
            eventually(lambda: proxy.control("GET", "/readyz")[0] == 200)
    pytest.fail(f"{found}")
