"""What a proxy has learnt outlives its workers, and with a state file itself."""

from __future__ import annotations

import json
import os
import signal

import pytest
from harness.beside import in_thread

from shedproxy.testing import eventually_async

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

APP = """
import asyncio

async def app(scope, receive, send):
    assert scope["type"] == "http"
    await asyncio.sleep(0.002)
    await send({"type": "http.response.start", "status": 200,
                "headers": [(b"content-length", b"3")]})
    await send({"type": "http.response.body", "body": b"ok\\n"})
"""


async def baseline_of(proxy) -> float | None:
    return (await in_thread(lambda: proxy.cell))["baseline_ms"]


async def learn(proxy, connect) -> float:
    """Ask one by one until there is a baseline."""
    connection = await connect(await in_thread(lambda: proxy.address))

    async def has_learnt() -> float | None:
        for _ in range(50):
            assert (await connection.get())[0] == 200
        return await baseline_of(proxy)

    learnt = await eventually_async(has_learnt, within_s=120)
    connection.close()
    return learnt


def kept(file) -> dict:
    return json.loads(file.read_text())["cells"]["default"]["default"]


async def test_a_restarted_proxy_knows_the_baseline_before_any_request(
    start, service, connect, run_cli, tmp_path
):
    file = tmp_path / "state.json"
    first = await in_thread(start, "run", service.url, "--state", "state.json")
    assert await baseline_of(first) is None
    await learn(first, connect)
    assert await in_thread(first.end) == 0
    baseline_ms = kept(file)["mean_ns"] / 1e6

    arguments = ("--state", "state.json", "--workers", "2", "--record", "trace.jsonl")
    second = await in_thread(start, "run", service.url, *arguments)
    # Published by each worker ten times a second.
    await eventually_async(lambda: baseline_of(second))
    assert await baseline_of(second) == pytest.approx(baseline_ms)
    assert (await in_thread(lambda: second.cell))["admitted"] == 0
    assert await in_thread(second.end) == 0
    assert kept(file)["mean_ns"] / 1e6 == pytest.approx(baseline_ms), "unasked, it is the same"
    # What was remembered is part of what is replayed.
    done = await in_thread(run_cli, "replay", "trace.0.jsonl")
    assert done.returncode == 0, done.stderr
    assert '["remember",0,' in (tmp_path / "trace.0.jsonl").read_text()


async def test_a_killed_worker_leaves_what_it_knew_to_the_next(start, service, connect, tmp_path):
    file = tmp_path / "state.json"
    proxy = await in_thread(start, "run", service.url, "--state", str(file))
    await learn(proxy, connect)
    # A worker tells every ten seconds, and the file says that it did; nobody reads it again.
    await eventually_async(file.exists, within_s=60)
    file.unlink()
    learnt_ms, pid = await baseline_of(proxy), await in_thread(proxy.worker_pid)
    os.kill(pid, signal.SIGKILL)
    await eventually_async(lambda: in_thread(lambda: _is_new(proxy, pid)))
    await eventually_async(lambda: _is_published(proxy, learnt_ms))


def _is_new(proxy, pid: int) -> bool:
    worker = proxy.status["workers"][0]
    return worker["pid"] not in {0, pid} and worker["state"] == "ready"


async def _is_published(proxy, baseline_ms: float) -> bool:
    """By the new worker: the gauges of the dead one were cleared, and nobody has asked since."""
    return await baseline_of(proxy) == pytest.approx(baseline_ms, rel=0.5)


@pytest.mark.parametrize("content", ["{ cut", '{"format": "shedproxy-state", "schema": 99}'])
async def test_a_state_that_cannot_be_used_is_a_warning(start, service, connect, content, tmp_path):
    file = tmp_path / "state.json"
    file.write_text(content)
    proxy = await in_thread(
        start, "run", service.url, ready=False, SHEDPROXY_SERVER__STATE_FILE=str(file)
    )
    await in_thread(proxy.wait_ready)
    await learn(proxy, connect)
    assert await in_thread(proxy.end) == 0
    events = [json.loads(line) for line in proxy.process.stderr if line.startswith("{")]
    (warning,) = [event for event in events if event.get("event") == "state not read"]
    assert warning["level"] == "warning"
    assert warning["file"] == str(file)
    assert "remove it, or name another file" in warning["help"]
    assert file.read_text() == content


async def test_an_application_worker_remembers_too(start, connect, tmp_path):
    (tmp_path / "shop.py").write_text(APP)
    file = tmp_path / "state.json"
    arguments = ("app", "shop:app", "--app-dir", str(tmp_path), "--state", str(file))
    first = await in_thread(start, *arguments)
    await learn(first, connect)
    assert await in_thread(first.end) == 0
    second = await in_thread(start, *arguments)
    await eventually_async(lambda: baseline_of(second))
    assert await baseline_of(second) == pytest.approx(kept(file)["mean_ns"] / 1e6)
