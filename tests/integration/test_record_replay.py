"""Recorded on real sockets under overload, replayed to the same bytes; and by stricter policies."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from harness import recorded_play
from harness.process import Service
from harness.proxy import Shedproxy

from shedproxy.testing import ServerProcess, eventually

pytestmark = pytest.mark.integration

POLICY = """
[cell.default]
limit = 4
queue.length_max = 8

[headers]
tenant = "x-tenant"

[server]
trusted_proxies = ["127.0.0.0/8"]
"""
STRICT = POLICY.replace("limit = 4", "limit = 1").replace("length_max = 8", "length_max = 2")
CLASSES = ("critical_plus", "critical", "sheddable_plus", "sheddable")
CLIENTS = 32
SECRETS = ("/checkout", "alice-and-bob", "task-77", "token=42")
"""What clients send, and no trace may hold."""

APP = """
import asyncio
from shedproxy import ShedMiddleware

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        for word in ("startup", "shutdown"):
            assert (await receive())["type"] == f"lifespan.{word}"
            await send({"type": f"lifespan.{word}.complete"})
        return
    await asyncio.sleep(0.02)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})

shed = ShedMiddleware(app, "shedproxy.toml", record="trace.jsonl")
"""


def overload(port: int, *, each: int = 12) -> Counter[int]:
    """More clients than slots and places in the queue, each asking in a loop; answers by status."""

    def ask(client: int) -> Counter[int]:
        statuses: Counter[int] = Counter()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        headers = {
            "x-criticality": CLASSES[client % 4],
            "x-tenant": "alice-and-bob" if client % 3 else f"tenant-{client}",
            "x-shedproxy-task": "task-77",
        }
        for number in range(each):
            method, body = ("POST", b"b" * 100) if number % 3 == 0 else ("GET", None)
            connection.request(method, "/checkout?token=42", body, headers)
            answer = connection.getresponse()
            answer.read()
            statuses[answer.status] += 1
        connection.close()
        return statuses

    with ThreadPoolExecutor(CLIENTS) as pool:
        return sum(pool.map(ask, range(CLIENTS)), Counter())


@pytest.fixture
def replay(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """`shedproxy replay` in the folder of the test."""

    def run(*arguments: object, **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "shedproxy", "replay", *map(str, arguments)],
            cwd=tmp_path,
            env={**os.environ, **environ},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return run


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """200 requests a second, four at a time."""
    with Service(home=tmp_path) as running:
        yield running


def test_a_proxy_under_overload_is_replayed_to_the_same_bytes(tmp_path, service, replay):
    with Shedproxy(
        service.url, home=tmp_path, config=POLICY, arguments=["--record", "trace.jsonl"]
    ) as proxy:
        statuses = overload(proxy.port)
        assert proxy.stop() == 0
    assert statuses[200] > 30
    assert statuses[503] + statuses[429] > 30
    trace = tmp_path / "trace.jsonl"
    same = replay("trace.jsonl", "--json")
    assert same.returncode == 0, same.stdout + same.stderr
    told = json.loads(same.stdout)
    assert (told["identical"], told["ended"]) == (True, "closed")
    text = trace.read_text()
    refused = text.count('["no",')
    assert refused == statuses[503] + statuses[429]
    assert not [secret for secret in SECRETS if secret in text]

    (tmp_path / "strict.toml").write_text(STRICT)
    arguments = ("trace.jsonl", "--policy", "strict.toml", "--json")
    stricter = replay(*arguments, PYTHONHASHSEED="1")
    assert stricter.returncode == 0, stricter.stderr
    assert replay(*arguments, PYTHONHASHSEED="4242").stdout == stricter.stdout
    classes = json.loads(stricter.stdout)["classes"].values()
    counts = {
        side: sum(found[side]["refused"] for found in classes) for side in ("recorded", "replayed")
    }
    assert counts["recorded"] == refused
    assert counts["replayed"] > refused


def test_each_worker_has_a_file_and_a_killed_one_leaves_what_can_be_mended(
    tmp_path, service, replay
):
    with Shedproxy(
        service.url,
        home=tmp_path,
        config=POLICY,
        arguments=["--workers", "2", "--record", "trace.jsonl"],
    ) as proxy:
        overload(proxy.port)
        first = tmp_path / "trace.0.jsonl"
        eventually(lambda: first.read_text().count('["tick"') > 5, what="some ticks on the disk")
        os.kill(proxy.worker_pid, signal.SIGKILL)
        former = tmp_path / "trace.0.jsonl.old"
        eventually(former.exists, within_s=60, what="the next trace of the worker")
        eventually(lambda: proxy.control("GET", "/readyz")[0] == 200, within_s=60)
        overload(proxy.port, each=2)
        assert proxy.stop() == 0
    for name in ("trace.0.jsonl", "trace.1.jsonl"):
        done = replay(name)
        assert done.stdout.startswith("identical: "), done.stdout + done.stderr
    cut = replay(former.name)
    assert cut.returncode == 3
    assert "it is cut" in cut.stderr
    found = re.search(r"head -n (\d+) TRACE; echo '(.*)'", cut.stderr)
    assert found is not None
    whole = former.read_text().splitlines(keepends=True)[: int(found[1])]
    (tmp_path / "mended.jsonl").write_text("".join([*whole, f"{found[2]}\n"]))
    mended = json.loads(replay("mended.jsonl", "--json").stdout)
    assert (mended["identical"], mended["ended"]) == (True, "cut")


def test_a_full_disk_ends_the_recording_and_nothing_else(tmp_path, service):
    with Shedproxy(
        service.url, home=tmp_path, config=POLICY, arguments=["--record", "/dev/full"]
    ) as proxy:
        eventually(lambda: proxy.events("recording ended"), within_s=60, what="the log line")
        assert overload(proxy.port, each=2)[200] > 0
        (event,) = proxy.events("recording ended")
        assert (event["level"], event["why"]) == (
            "warning",
            "cannot write: No space left on device",
        )
        assert proxy.stop() == 0


def test_the_middleware_under_uvicorn_is_replayed_to_the_same_bytes(tmp_path, replay):
    (tmp_path / "recorded_app.py").write_text(APP)
    (tmp_path / "shedproxy.toml").write_text(POLICY)
    command = [
        *(sys.executable, "-m", "uvicorn", "recorded_app:shed", "--port", "{port}"),
        *("--log-level", "warning", "--timeout-graceful-shutdown", "1"),
    ]
    with ServerProcess(command, cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}) as server:
        statuses = overload(server.port)
    assert statuses[200] > 30
    (trace,) = tmp_path.glob("trace.*.jsonl")
    assert trace.read_text().count('["no",') == statuses[503] + statuses[429] > 30
    done = replay(trace.name)
    assert done.stdout.startswith("identical: "), done.stdout + done.stderr
    (tmp_path / "strict.toml").write_text(STRICT)
    stricter = json.loads(replay(trace.name, "--policy", "strict.toml", "--json").stdout)
    more = [change for change in stricter["changed"] if change["replayed"] == "refused"]
    assert sum(change["count"] for change in more) > 30


def test_an_application_is_recorded_by_its_worker(tmp_path, replay):
    (tmp_path / "recorded_app.py").write_text(APP.partition("shed = ")[0])
    with Shedproxy(
        app="recorded_app:app",
        home=tmp_path,
        config=POLICY,
        arguments=["--record", "trace.jsonl"],
    ) as proxy:
        overload(proxy.port, each=3)
        assert proxy.stop() == 0
    assert replay("trace.jsonl").stdout.startswith("identical: ")


@pytest.mark.parametrize("seed", [7, 8])
def test_processes_with_different_hash_seeds_replay_alike(tmp_path, replay, seed):
    """Tenants, cells, classes and policy changes recorded in one process, replayed in another."""
    done = subprocess.run(
        [sys.executable, "-P", recorded_play.__file__, str(seed), tmp_path / "play.jsonl"],
        env={**os.environ, "PYTHONHASHSEED": "1"},
        check=True,
        timeout=300,
    )
    assert done.returncode == 0
    same = replay("play.jsonl", "--json", PYTHONHASHSEED="4242")
    assert json.loads(same.stdout)["identical"] is True
    assert json.loads(same.stdout)["arrivals"] == recorded_play.ARRIVALS
