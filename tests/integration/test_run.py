"""`shedproxy run` as a user starts it: real processes, real sockets, a real upstream."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import time

import pytest
from harness.beside import in_thread

from shedproxy.testing import eventually_async

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

FILE = '[cell.default]\nupstream = "{url}"\nlimit = {limit}\n'


async def test_a_request_passes_and_is_counted(start, service, connect):
    proxy = await in_thread(start, "run", service.url)
    connection = await connect(await in_thread(lambda: proxy.address))
    assert await connection.get("/hello") == (200, b"ok\n")
    await eventually_async(lambda: in_thread(lambda: proxy.cell["admitted"] == 1))
    metrics = (await in_thread(proxy.http.get, "/metrics")).text
    assert "shedproxy_decisions_total" in metrics
    connection.close()
    assert await in_thread(proxy.end) == 0


async def test_reloads_under_load_drop_no_connection_and_keep_counters(
    start, service, load, tmp_path
):
    file = tmp_path / "shedproxy.toml"
    file.write_text(FILE.format(url=service.url, limit=32))
    proxy = await in_thread(start, "run", "--config", str(file))
    async with load(await in_thread(lambda: proxy.address), 8) as clients:
        await eventually_async(lambda: clients.ok > 50)
        for limit, revision in ((33, 2), (34, 3)):
            before = await in_thread(lambda: proxy.cell["admitted"])
            file.write_text(FILE.format(url=service.url, limit=limit))
            proxy.signal(signal.SIGHUP)
            await eventually_async(
                lambda revision=revision, limit=limit: in_thread(
                    lambda: (
                        proxy.status["workers"][0]["revision"] == revision
                        and proxy.cell["limit"] == limit
                    )
                )
            )
            assert await in_thread(lambda: proxy.cell["admitted"]) >= before
        seen = clients.ok
        await eventually_async(lambda: clients.ok > seen + 200)
    assert clients.errors == []
    assert clients.statuses == {200: clients.ok}


async def test_a_bad_file_is_refused_under_load_and_the_last_good_one_kept(
    start, service, load, tmp_path
):
    file = tmp_path / "shedproxy.toml"
    file.write_text(FILE.format(url=service.url, limit=32))
    proxy = await in_thread(start, "run", "--config", str(file))
    async with load(await in_thread(lambda: proxy.address), 4) as clients:
        file.write_text('mode = "loud"\n[cell.default]\nlimitt = 3\n')
        # Noticed by the watch: nobody has to ask.
        await eventually_async(lambda: in_thread(lambda: not proxy.status["config"]["ok"]))
        status = await in_thread(lambda: proxy.status)
        assert status["revision"] == 1
        assert len(status["config"]["problems"]) == 2
        answer = await proxy.post_async("/-/reload")
        assert answer.status_code == 422
        assert await in_thread(lambda: proxy.cell["limit"]) == 32
        seen = clients.ok
        await eventually_async(lambda: clients.ok > seen + 20)
    assert clients.errors == []


async def test_every_problem_is_told_at_the_start_with_exit_code_3(run_cli, tmp_path):
    (tmp_path / "bad.toml").write_text('mode = "loud"\nspeed = 1\n[server]\nworkers = 0\n')
    done = await in_thread(run_cli, "run", "http://127.0.0.1:9", "--config", "bad.toml")
    assert done.returncode == 3
    for told in ("mode", "speed", "workers", "bad.toml:1", "bad.toml:2", "bad.toml:4", "^"):
        assert told in done.stderr


async def test_without_an_upstream_the_start_says_what_is_missing(run_cli):
    done = await in_thread(run_cli, "run")
    assert done.returncode == 3
    assert "upstream" in done.stderr


async def test_a_taken_port_is_a_startup_failure(run_cli):
    with socket.create_server(("127.0.0.1", 0)) as holder:
        taken = f"127.0.0.1:{holder.getsockname()[1]}"
        done = await in_thread(run_cli, "run", "http://127.0.0.1:9", "--listen", taken)
    assert done.returncode == 3
    assert taken in done.stderr
    assert "choose another address" in done.stderr
    assert "Traceback" not in done.stderr


async def test_print_config_tells_each_value_and_its_source(run_cli):
    done = await in_thread(
        run_cli, "run", "http://127.0.0.1:9", "--print-config", SHEDPROXY_SERVER__WORKERS="2"
    )
    assert done.returncode == 0
    assert "server.workers = 2  # SHEDPROXY_SERVER__WORKERS" in done.stdout
    assert 'mode = "enforce"  # default' in done.stdout


async def test_mode_switches_under_load_drop_no_connection(start, service, load, run_cli):
    proxy = await in_thread(start, "run", service.url, "--workers", "2")
    url = f"unix:{proxy.control}"

    async def is_taken(mode: str) -> bool:
        workers = (await in_thread(lambda: proxy.status))["workers"]
        return {worker["mode"] for worker in workers} == {mode}

    async with load(await in_thread(lambda: proxy.address), 8) as clients:
        done = await in_thread(run_cli, "mode", "observe", url, "--for", "10m")
        assert done.returncode == 0, done.stderr
        await eventually_async(lambda: is_taken("observe"))
        for order, mode in (
            ({"mode": "off", "for": "10m"}, "off"),
            ({"mode": "configured"}, "enforce"),
        ):
            assert (await proxy.post_async("/-/mode", order)).is_success
            await eventually_async(lambda mode=mode: is_taken(mode))
        seen = clients.ok
        await eventually_async(lambda: clients.ok > seen + 50)
    assert clients.errors == []
    assert set(clients.statuses) == {200}


async def test_an_override_ends_by_itself_and_is_given_to_a_restarted_worker(start, service):
    proxy = await in_thread(start, "run", service.url)
    assert (await proxy.post_async("/-/mode", {"mode": "observe", "for": "10m"})).is_success
    pid = await in_thread(proxy.worker_pid)
    os.kill(pid, signal.SIGKILL)

    def mode_of_new_worker() -> str | None:
        worker = proxy.status["workers"][0]
        is_new = worker["pid"] not in {0, pid} and worker["state"] == "ready"
        return worker["mode"] if is_new else None

    await eventually_async(lambda: in_thread(mode_of_new_worker))
    assert await in_thread(mode_of_new_worker) == "observe"
    assert (await proxy.post_async("/-/mode", {"mode": "observe", "for": "1s"})).is_success
    await eventually_async(lambda: in_thread(lambda: mode_of_new_worker() == "enforce"))


async def test_a_killed_worker_heals_and_no_connection_is_refused(start, service, connect):
    began = time.perf_counter()
    proxy = await in_thread(start, "run", service.url)
    started_s = time.perf_counter() - began
    address = await in_thread(lambda: proxy.address)
    first = await connect(address)
    assert (await first.get())[0] == 200
    await eventually_async(lambda: in_thread(lambda: proxy.cell["admitted"] == 1))
    pid = await in_thread(proxy.worker_pid)
    os.kill(pid, signal.SIGKILL)
    began = time.perf_counter()
    # Not refused: it waits in the supervisor's own backlog for the next worker.
    second = await connect(address)
    assert (await asyncio.wait_for(second.get(), 20))[0] == 200
    # A worker starts sooner than the whole program, on a busy machine too.
    assert time.perf_counter() - began < 3 * started_s
    worker = (await in_thread(lambda: proxy.status))["workers"][0]
    assert worker["restarts"] == 1
    assert worker["last_exit"] == "ended by SIGKILL"
    await eventually_async(lambda: in_thread(lambda: proxy.cell["admitted"] >= 2))
    first.close()
    second.close()


async def test_two_workers_have_one_limit_and_one_serves_on_while_the_other_is_dead(
    start, service, load
):
    proxy = await in_thread(start, "run", service.url, "--workers", "2", "--limit", "5")
    await eventually_async(lambda: in_thread(lambda: proxy.cell["limit"] == 5))
    pids = [worker["pid"] for worker in (await in_thread(lambda: proxy.status))["workers"]]
    os.kill(pids[0], signal.SIGKILL)
    # What it had accepted dies with it, so clients come when it is gone.
    await eventually_async(lambda: in_thread(lambda: proxy.worker_pid(0) != pids[0]))
    async with load(await in_thread(lambda: proxy.address), 4) as clients:
        await eventually_async(lambda: clients.ok > 50)
    assert clients.errors == []


async def test_sigterm_finishes_what_is_in_flight(start, service, connect):
    proxy = await in_thread(start, "run", service.url)
    connection = await connect(await in_thread(lambda: proxy.address))
    slow = asyncio.create_task(connection.get("/slow/1"))
    await eventually_async(lambda: in_thread(lambda: proxy.cell["in_flight"] == 1))
    proxy.signal(signal.SIGTERM)
    assert await slow == (200, b"ok\n")
    assert connection.must_close
    assert await in_thread(proxy.process.wait, 20) == 0
    connection.close()


async def test_a_hung_upstream_ends_the_drain_at_its_grace(start, service, connect):
    proxy = await in_thread(start, "run", service.url, SHEDPROXY_SERVER__DRAIN__GRACE="500ms")
    connection = await connect(await in_thread(lambda: proxy.address))
    hung = asyncio.create_task(connection.get("/slow/600"))
    await eventually_async(lambda: in_thread(lambda: proxy.cell["in_flight"] == 1))
    assert await in_thread(proxy.end) == 0
    hung.cancel()
    await asyncio.gather(hung, return_exceptions=True)
    connection.close()


async def test_refusals_are_explained_by_their_id(start, service, connect, run_cli, tmp_path):
    file = tmp_path / "shedproxy.toml"
    file.write_text(
        FILE.format(url=service.url, limit=4)
        + '[[rule]]\nname = "closed"\nmatch.path = "/closed/**"\nlimit = 0\n'
    )
    proxy = await in_thread(start, "run", "--config", str(file))
    connection = await connect(await in_thread(lambda: proxy.address))
    status, body = await connection.get("/closed/now")
    assert status == 503
    problem = json.loads(body)
    refusal_id = next(value for value in problem.values() if len(str(value)) == 13)
    done = await in_thread(
        run_cli, "explain", "--id", refusal_id, "unix:" + proxy.control, "--json"
    )
    assert done.returncode == 0, done.stderr
    refusal = json.loads(done.stdout)["refusal"]
    assert refusal["reason"] == "route_limit"
    assert refusal["route"] == "closed"
    assert refusal["holds"] is True
    asked = await in_thread(run_cli, "explain", "GET", "/closed/x", "unix:" + proxy.control)
    assert "rule: closed (#1)" in asked.stdout
    assert "refuse (route_limit)" in asked.stdout
    connection.close()
