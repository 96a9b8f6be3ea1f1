"""What a proxy shows of itself, read while load goes through it."""

from __future__ import annotations

import pytest

from shedproxy.calibration.proxy_signals import (
    Look,
    SignalWatch,
    look_at,
    summarise_signals,
    watching,
)
from shedproxy.core import milliseconds, seconds
from shedproxy.loadgen.demo import ProxyProcess
from shedproxy.testing import eventually


def waits(within_100_ms: int) -> str:
    """A hundred that waited and got a slot, as metrics are written, and some that got none."""
    name, rest = "shedproxy_queue_wait_duration_seconds", 'shedproxy_class="critical"'
    lines = [
        f'{name}_bucket{{le="{bound}",{rest},shedproxy_outcome="{outcome}"}} {count}'
        for bound, outcome, count in (
            ("0.01", "admitted", 60), ("0.1", "admitted", within_100_ms),
            ("+Inf", "admitted", 100), ("0.1", "rejected", 0), ("+Inf", "rejected", 900),
        )
    ]  # fmt: skip
    sums = (("admitted", 2.5), ("rejected", 90.0))
    lines += [f'{name}_sum{{{rest},shedproxy_outcome="{one}"}} {value}' for one, value in sums]
    return "\n".join(lines)


def look(at_s: float, *, cpu_s: float, limit: int = 8, waited: str = "") -> Look:
    return Look(
        at_ns=seconds(at_s), limit=limit, in_flight=4, waiting_count=2,
        loop_lag_ns=milliseconds(at_s), memory_bytes=1_000,
        metrics=f"process_cpu_time_seconds_total {cpu_s}\n{waited}",
    )  # fmt: skip


def test_a_run_is_summed_up() -> None:
    found = summarise_signals([look(1, cpu_s=2.0), look(3, cpu_s=3.0, limit=12, waited=waits(99))])
    assert found is not None
    assert found.points == ((0, 8, 4, 2), (2, 12, 4, 2))
    assert found.cpu_ratio == pytest.approx(0.5)
    assert found.loop_lag_max_ns == milliseconds(3)
    assert found.queue_wait_mean_ns == milliseconds(25)
    assert found.queue_wait_p99_ns == milliseconds(100)


def test_what_was_not_seen_is_not_known() -> None:
    assert summarise_signals([look(1, cpu_s=1.0)]) is None
    found = summarise_signals([look(1, cpu_s=1.0), look(2, cpu_s=1.0)._replace(metrics="")])
    assert found is not None
    assert (found.cpu_ratio, found.queue_wait_mean_ns, found.queue_wait_p99_ns) == (None,) * 3
    found = summarise_signals([look(1, cpu_s=1.0), look(2, cpu_s=1.0, waited=waits(98))])
    assert found is not None
    assert found.queue_wait_p99_ns is None


def test_it_looks_again_and_again_and_once_more_at_the_end() -> None:
    watch = SignalWatch(lambda: look(1, cpu_s=1.0), every_s=0.01)
    watch.start()
    eventually(lambda: len(watch.seen) >= 3)
    watch.stop()
    count = len(watch.seen)
    assert count >= 4
    with watching(None) as nothing:
        assert nothing is None


def test_a_real_proxy_shows_all_of_it() -> None:
    with ProxyProcess("http://127.0.0.1:1") as proxy, watching(proxy.control_port) as watch:
        assert watch is not None
        eventually(lambda: watch.seen)
    found = summarise_signals(watch.seen)
    assert found is not None
    assert found.cpu_ratio is not None
    assert found.points[0][1] >= 1
    assert found.memory_bytes > 1_000_000
    # It is gone now.
    assert look_at(proxy.control_port) is None
