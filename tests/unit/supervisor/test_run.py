"""The whole supervisor in this process, with a scripted worker: order of start and end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from pathlib import Path

import httpx2
import pytest

from shedproxy.errors import ConfigInvalidError, StartupError
from shedproxy.supervisor.configuration import Configuration
from shedproxy.supervisor.run import RunOptions, Supervisor, run_supervisor
from shedproxy.testing import eventually_async

FAKE = (str(Path(__file__).parent / "fake_worker.py"),)

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

FILE = '[cell.default]\nupstream = "http://127.0.0.1:9"\nlimit = {}\n'


@pytest.fixture
def control(tmp_path) -> str:
    return str(tmp_path / "control")


def options_for(control: str, **changes) -> RunOptions:
    overrides = {
        "server.listen": ["127.0.0.1:0"],
        "control.listen": f"unix:{control}",
        "cell.default.upstream": ["http://127.0.0.1:9"],
        **changes.pop("overrides", {}),
    }
    return RunOptions(overrides=overrides, environ={}, worker_program=FAKE, **changes)


@contextlib.asynccontextmanager
async def running(options: RunOptions, control: str):
    configuration = Configuration(
        options.file, environ=options.environ, overrides=options.overrides
    )
    task = asyncio.create_task(Supervisor(configuration, options).run())
    transport = httpx2.AsyncHTTPTransport(uds=control)
    try:
        async with httpx2.AsyncClient(
            transport=transport, base_url="http://localhost", timeout=10
        ) as http:
            await eventually_async(lambda: _is_ready(http, task))
            yield http, task
    finally:
        if not task.done():
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.wait_for(task, 20)


async def _is_ready(http: httpx2.AsyncClient, task: asyncio.Task) -> bool:
    if task.done():
        await task
    return (await http.get("/readyz")).status_code == 200


async def test_serves_until_asked_to_end(control):
    async with running(options_for(control), control) as (http, task):
        status = (await http.get("/-/status")).json()
        assert status["state"] == "serving"
        assert status["workers"][0]["state"] == "ready"
        assert status["listening"][0].startswith("127.0.0.1:")
        answer = await http.post("/-/drain", headers={"content-type": "application/json"})
        assert answer.status_code == 202
        await asyncio.wait_for(task, 20)
    assert not Path(control).exists()


async def test_sigterm_fails_readiness_first_and_then_ends(control):
    options = options_for(control, overrides={"server.drain.announce": "500ms"})
    async with running(options, control) as (http, task):
        os.kill(os.getpid(), signal.SIGTERM)
        await eventually_async(lambda: _status_of(http, "/readyz", 503))
        assert await _status_of(http, "/livez", 200)
        await asyncio.wait_for(task, 20)


async def _status_of(http: httpx2.AsyncClient, path: str, status: int) -> bool:
    return (await http.get(path)).status_code == status


async def test_a_second_signal_waits_for_nothing(control):
    options = options_for(control, overrides={"server.drain.announce": "1h"})
    async with running(options, control) as (http, task):
        os.kill(os.getpid(), signal.SIGTERM)
        await eventually_async(lambda: _status_of(http, "/readyz", 503))
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.wait_for(task, 20)


async def test_hangup_reloads_and_a_bad_file_keeps_the_last_good_one(control, tmp_path):
    file = tmp_path / "shedproxy.toml"
    file.write_text(FILE.format(5))
    async with running(options_for(control, file=file), control) as (http, _):
        file.write_text(FILE.format(6))
        os.kill(os.getpid(), signal.SIGHUP)

        async def revision() -> int:
            return (await http.get("/-/status")).json()["revision"]

        await eventually_async(lambda: _equals(revision(), 2))
        file.write_text('mode = "loud"\n')
        headers = {"content-type": "application/json"}
        answer = await http.post("/-/reload", headers=headers)
        assert answer.status_code == 422
        assert "mode must be one of" in answer.json()["problems"][0]["message"]
        assert await revision() == 2
        text = (await http.get("/metrics")).text
        assert 'shedproxy_config_reloads_total{shedproxy_result="refused"}' in text


async def _equals(found, wanted) -> bool:
    return await found == wanted


async def test_a_token_that_cannot_be_read_opens_nothing(control, tmp_path):
    file = tmp_path / "token"
    file.write_text("s3cret\n")
    options = options_for(control, overrides={"control.token_file": str(file)})
    async with running(options, control) as (http, _):
        headers = {"content-type": "application/json", "authorization": "Bearer s3cret"}
        order = b'{"mode":"observe","for":"1m"}'
        assert (await http.post("/-/mode", content=order, headers=headers)).status_code == 200
        file.write_text("rotated")
        assert (await http.post("/-/mode", content=order, headers=headers)).status_code == 401
        file.unlink()
        headers["authorization"] = "Bearer x"
        assert (await http.post("/-/mode", content=order, headers=headers)).status_code == 401


async def test_systemd_is_told_of_each_state(control, tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.setblocking(False)
        base = options_for(control)
        options = RunOptions(
            overrides=base.overrides,
            environ={"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "200000"},
            worker_program=FAKE,
        )
        async with running(options, control) as (_, task):
            loop = asyncio.get_running_loop()
            first = await asyncio.wait_for(loop.sock_recv(manager, 999), 10)
            assert first.startswith(b"READY=1\nSTATUS=mode enforce")
            assert await asyncio.wait_for(loop.sock_recv(manager, 999), 10) == b"WATCHDOG=1"
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.wait_for(task, 20)
            said = []
            with contextlib.suppress(BlockingIOError):
                while True:
                    said.append(manager.recv(999))
            assert any(message.startswith(b"STOPPING=1") for message in said)


def test_without_an_upstream_there_is_nothing_to_run():
    with pytest.raises(ConfigInvalidError, match="upstream"):
        run_supervisor(RunOptions(environ={}, worker_program=FAKE))


def test_a_taken_port_is_found_before_anything_runs(control):
    with socket.create_server(("127.0.0.1", 0)) as holder:
        taken = f"127.0.0.1:{holder.getsockname()[1]}"
        options = options_for(control, overrides={"server.listen": [taken]})
        with pytest.raises(StartupError, match=f"{taken}: the address is taken"):
            run_supervisor(options)


def test_a_worker_that_cannot_start_ends_the_start(control, tmp_path):
    program = tmp_path / "broken.py"
    program.write_text("raise SystemExit(9)\n")
    base = options_for(control)
    options = RunOptions(overrides=base.overrides, environ={}, worker_program=(str(program),))
    with pytest.raises(StartupError, match="worker 0 did not start: exit code 9"):
        run_supervisor(options)
