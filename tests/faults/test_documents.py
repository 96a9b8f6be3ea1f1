"""Rows K1 to K15: settings that are cut, corrupt, absurd, late, or come and go under load."""

from __future__ import annotations

import asyncio
import http.client
import random
import signal
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from harness.beside import entered, in_thread
from harness.own_time import own_time
from harness.process import Prober, Service
from harness.proxy import Shedproxy
from harness.tries import in_time, three_tries
from harness.wire_bench import answering_after

from loadtests.keep_alive import Clients, Upstream
from shedproxy.dataplane.share_page import SharePage
from shedproxy.dataplane.worker import Worker
from shedproxy.dataplane.worker_options import Options
from shedproxy.dataplane.worker_page import WorkerPlace
from shedproxy.errors import ConfigInvalidError, DocumentInvalidError
from shedproxy.settings import load_settings
from shedproxy.snapshot import Document, decode_document, encode_document
from shedproxy.supervisor.rehearsal import rehearse
from shedproxy.testing import eventually, eventually_async

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
GET = b"GET / HTTP/1.1\r\nHost: e\r\n\r\n"
FILE = """[server]
workers = 2
body_rate_min = 500
[server.drain]
grace = "5s"
[cell.default]
upstream = "http://127.0.0.1:9"
limit = 12
[cell.slow]
limit = 3
[[rule]]
name = "slow"
match.path = "/slow/**"
cell = "slow"
"""


def problems_of(text: str, tmp_path: Path) -> list[str]:
    """What is said about a file; empty when it can be run."""
    file = tmp_path / "shedproxy.toml"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    try:
        rehearse(load_settings(file, environ={}).document)
    except (ConfigInvalidError, DocumentInvalidError) as error:
        return [problem.message for problem in error.problems]
    return []


@pytest.mark.fault("K1", "K3")
@three_tries
def test_without_a_file_and_with_a_busy_control_listener_requests_do_not_wait(
    tmp_path: Path, figure
) -> None:
    with Service(home=tmp_path) as service, Shedproxy(service.url, home=tmp_path) as proxy:
        assert proxy.cell()["limit"] >= 1
        urls = [f"{proxy.control_url}{path}" for path in ("/metrics", "/-/status", "/-/config")]
        took = []
        worker = proxy.worker_pid
        connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=20)
        with Prober(urls * 3, home=tmp_path) as prober:
            for _ in range(150):
                began = own_time(worker)
                connection.request("GET", "/wait?ms=1")
                assert connection.getresponse().read() == b"ok\n"
                took.append(own_time(worker) - began)
            asked = sum(path["count"] for path in prober.end().values())
        connection.close()
    p99_ms = sorted(took)[-2] * 1000
    in_time(p99_ms, 250)
    figure(f"defaults alone; p99 {p99_ms:.0f} ms beside {asked} questions to the control listener")


@pytest.mark.fault("K2")
async def test_workers_decide_on_while_the_supervisor_stands_still(tmp_path, figure) -> None:
    config = "[cell.default]\nlimit = 4\n"
    async with (
        Upstream(service_s=0.01) as upstream,
        entered(Shedproxy(upstream.url, home=tmp_path, config=config)) as proxy,
    ):
        async with Clients(proxy.port, 4, pause_s=0.002) as load:
            counts = []
            for signum in (signal.SIGCONT, signal.SIGSTOP):
                proxy.signal(signum)
                before = load.ok
                await asyncio.sleep(1.0)
                counts.append(load.ok - before)
            proxy.signal(signal.SIGCONT)
        assert upstream.most <= 4
    assert load.lost == []
    # The same throughput is promised; the margin is for a busy machine.
    assert counts[1] > counts[0] * 0.6
    figure(f"{counts[0]} requests a second with it, {counts[1]} without, none lost")


@pytest.mark.fault("K4")
def test_a_file_that_was_cut_is_refused_or_is_a_whole_one(tmp_path: Path, figure) -> None:
    refused = sum(bool(problems_of(FILE[:end], tmp_path)) for end in range(len(FILE)))
    text = encode_document(Document())
    for end in range(0, len(text), 7):
        with pytest.raises(DocumentInvalidError):
            decode_document(text[:end])
    assert refused > len(FILE) // 2
    figure(
        f"{refused} of {len(FILE)} cuts of a file refused, the others are whole lines of it;"
        f" {-(-len(text) // 7)} of {-(-len(text) // 7)} cuts of a document refused"
    )


@pytest.mark.fault("K5")
def test_a_corrupt_file_never_runs_and_every_mistake_is_placed(tmp_path: Path, figure) -> None:
    wrong = ["nan", "-1", "inf", "-0.5", '"x"', "[]", "true", "1e400", "0x", "12 12"]
    for value in wrong:
        assert problems_of(FILE.replace("limit = 12", f"limit = {value}"), tmp_path), value
    chance = random.Random(4)
    refused = 0
    for _ in range(400):
        data = bytearray(FILE.encode())
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        refused += bool(problems_of(data.decode("utf-8", "surrogateescape"), tmp_path))
    document = encode_document(Document()).decode()
    for before, after in (("8192", "-1"), ("16384", "NaN"), ("0.01", "Infinity")):
        assert before in document
        with pytest.raises(DocumentInvalidError):
            decode_document(document.replace(before, after, 1).encode())
    assert refused > 150
    figure(
        f"{len(wrong)} of {len(wrong)} wrong values and {refused} of 400 flipped bits refused,"
        " the others mean something else that is valid; no crash"
    )


@pytest.mark.fault("K6")
def test_an_older_document_that_comes_late_is_refused(tmp_path: Path, figure) -> None:
    """The worker's rule; a supervisor's revisions only rise."""
    told: list[tuple[str, dict]] = []
    page = SharePage.create(1)
    worker = Worker(Options(), WorkerPlace(view=page.worker(0)))
    worker._channel.post = lambda op, **fields: told.append((op, fields))
    served: list[int] = []
    worker._service = SimpleNamespace(apply=lambda document: served.append(document.revision))
    for revision in (7, 6, 7, 8):
        text = encode_document(replace(Document(), revision=revision)).decode()
        worker._on_message({"op": "document", "document": text})
    page.close()
    assert served == [7, 7, 8]
    (refusal,) = [fields["problems"] for op, fields in told if op == "refused"]
    figure(f"refused: {refusal[0]['message']}")


@pytest.mark.fault("K7")
@pytest.mark.parametrize("limit", ["0", "1_000_000_000", "-5"])
def test_an_absurd_limit_is_refused(tmp_path: Path, figure, limit: str) -> None:
    (said, *_) = problems_of(FILE.replace("limit = 12", f"limit = {limit}"), tmp_path)
    figure(f"limit = {limit}: {said}")


@pytest.mark.fault("K10")
def test_every_key_that_is_not_known_is_named(tmp_path: Path, figure) -> None:
    text = FILE.replace("workers = 2", "workers = 2\nworker = 3") + '[limits]\nspeed = "high"\n'
    said = problems_of(text, tmp_path)
    assert any("worker" in message for message in said)
    assert any("limits" in message for message in said)
    figure("; ".join(said))


@pytest.mark.fault("K8")
async def test_a_flapping_file_is_applied_once_a_second_and_nothing_is_forgotten(
    tmp_path: Path, figure
) -> None:
    async with Upstream(service_s=0.005) as upstream:
        text = f'[server]\nbody_rate_min = {{}}\n[cell.default]\nupstream = "{upstream.url}"\n'
        proxy = Shedproxy(home=tmp_path, config=text.format(1))
        async with entered(proxy):
            async with Clients(proxy.port, 4, pause_s=0.005) as load:
                await eventually_async(
                    lambda: in_thread(lambda: proxy.cell()["baseline_ms"] is not None),
                    within_s=60,
                )
                before = await in_thread(proxy.cell)
                began = time.perf_counter()
                for number in range(25):
                    proxy.config_file.write_text(text.format(2 + number % 2))
                    proxy.signal(signal.SIGHUP)
                    await asyncio.sleep(0.1)
                length_s = time.perf_counter() - began
                status = await in_thread(proxy.status)
                after = status["cells"][0]
    applied = status["revision"] - 1
    assert 1 <= applied <= length_s + 2
    assert after["baseline_ms"] is not None
    assert after["admitted"] >= before["admitted"]
    assert load.lost == []
    figure(f"25 changes in {length_s:.1f} s: {applied} applied, baseline and counters kept, 0 lost")


@pytest.mark.fault("K9")
async def test_a_request_is_served_by_the_document_it_began_with(bench, figure) -> None:
    go = asyncio.Event()

    upstream = await bench.upstream(answering_after(go, OK))
    proxy = await bench.proxy(upstream.url)
    first, second = await proxy.connect(), await proxy.connect()
    first.send(GET)
    await eventually_async(lambda: len(upstream.heads) == 1)
    proxy.server.apply(replace(proxy.document, revision=9))
    second.send(GET)
    await eventually_async(lambda: len(upstream.heads) == 2)
    served_by = {
        client.exchange.live.document.revision
        for client in proxy.server.clients
        if client.exchange is not None
    }
    go.set()
    for client in (first, second):
        assert (await client.answer()).status == 200
    assert served_by == {0, 9}
    figure("two requests at once, one by the former document and one by the new one")


@pytest.mark.fault("K11", "K12")
async def test_cells_come_and_go_under_load_and_a_drain_takes_a_reload(tmp_path, figure) -> None:
    async with Upstream(service_s=0.005) as upstream:
        base = f'[cell.default]\nupstream = "{upstream.url}"\n'
        rule = (
            '[cell.{0}]\nlimit = 2\n[[rule]]\nname = "s"\nmatch.path = "/slow/**"\ncell = "{0}"\n'
        )
        proxy = Shedproxy(home=tmp_path, config=base + rule.format("old"))
        async with entered(proxy):
            async with Clients(proxy.port, 4, pause_s=0.005) as load:
                reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
                writer.write(b"GET /slow/3 HTTP/1.1\r\nhost: a\r\n\r\n")
                await eventually_async(
                    lambda: in_thread(lambda: proxy.cell("old")["in_flight"] == 1)
                )
                for revision, text in enumerate((base + rule.format("new"), base), 2):
                    proxy.config_file.write_text(text)
                    await in_thread(lambda: proxy.control("POST", "/-/reload"))
                    assert (await in_thread(proxy.status))["revision"] >= revision
                answer = await reader.readuntil(b"ok\n")
                assert answer.startswith(b"HTTP/1.1 200 ")
                writer.close()
                await writer.wait_closed()
            proxy.signal(signal.SIGTERM)
            proxy.signal(signal.SIGHUP)
            assert await in_thread(proxy.stop) == 0
            assert "Traceback" not in proxy.text()
    assert load.lost == []
    figure(
        f"added, renamed, removed: 0 of {load.ok} lost, what the removed one had was answered;"
        " SIGHUP in the drain: exit code 0"
    )


POISON = """
import os
async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    if scope["path"] == "/raise":
        raise ValueError("poison")
    if scope["path"] == "/exit":
        os._exit(9)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})
"""


@pytest.mark.fault("K15")
def test_poison_costs_its_own_request_or_at_most_its_worker(tmp_path: Path, figure) -> None:
    (tmp_path / "shop.py").write_text(POISON)

    def ask(path: str) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=20)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return 0
        finally:
            connection.close()

    with Shedproxy(app="shop:app", home=tmp_path) as proxy:
        pid = proxy.worker_pid
        assert {ask("/raise") for _ in range(10)} == {500}
        assert (ask("/"), proxy.worker_pid) == (200, pid)
        began = time.perf_counter()
        assert ask("/exit") == 0
        assert ask("/") == 200  # waits in the backlog for the next worker
        took_s = time.perf_counter() - began
        eventually(lambda: proxy.status()["workers"][0]["restarts"] == 1)
        assert proxy.cell()["in_flight"] == 0
    assert took_s < 10
    figure(
        f"10 raising handlers: 500 each, same worker; os._exit: served again {took_s:.1f} s later"
    )
