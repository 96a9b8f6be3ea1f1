"""Configuration that is cut, wrong, late or flapping, and a control plane that is not there."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest
from harness.process import Service
from harness.proxy import Shedproxy
from harness.storm import Crowd

from shedproxy.core import CellPolicy
from shedproxy.snapshot import Classification, Match, Rule, UpstreamDocument
from shedproxy.testing import eventually

pytestmark = pytest.mark.integration

RATE_RPS = 150.0
"""Half of what the service can do."""


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with Service(home=tmp_path, slots=6, service_ms=20) as running:
        yield running


@pytest.fixture
def mortal(tmp_path: Path, service: Service) -> Iterator[Shedproxy]:
    """One that the test may end."""
    arguments = ("--workers=2",)
    with Shedproxy(service.url, home=tmp_path, arguments=arguments) as running:
        yield running


@pytest.fixture
def proxy(mortal: Shedproxy, leaks) -> Iterator[Shedproxy]:
    """One that holds no more after the test than before."""
    with leaks(mortal):
        yield mortal


@contextmanager
def load(proxy: Shedproxy, *, for_s: float) -> Iterator[Crowd]:
    """Users who come all the while; entered when they do, left when the last one has its answer."""
    crowd = Crowd(proxy.port, rate_rps=RATE_RPS, for_s=for_s, seed=1)
    thread = threading.Thread(target=lambda: asyncio.run(crowd.play()))
    thread.start()
    try:
        eventually(lambda: len(crowd.told) > 20)
        yield crowd
    finally:
        thread.join()


def statuses(crowd: Crowd) -> dict[int, int]:
    return dict(Counter(call.status for call in crowd.told))


def ask(proxy: Shedproxy, path: str = "/") -> tuple[int, str]:
    """Status and the field `x-document`, over a connection of its own."""
    connection = HTTPConnection("127.0.0.1", proxy.port, timeout=10)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        return answer.status, answer.getheader("x-document", "")
    finally:
        connection.close()


def reload(proxy: Shedproxy, config: str) -> tuple[int, dict]:
    proxy.config_file.write_text(config)
    status, body = proxy.control("POST", "/-/reload")
    return status, json.loads(body)


@pytest.mark.fault("K1")
def test_it_starts_without_a_file_and_without_anybody_to_ask(tmp_path, service, figure) -> None:
    began = time.perf_counter()
    with Shedproxy(service.url, home=tmp_path) as proxy:
        took_s = time.perf_counter() - began
        assert ask(proxy)[0] == 200
        limit = proxy.cell()["limit"]
    assert limit == 8
    figure(f"from an empty file ready after {took_s:.1f} s with a limit of {limit}")


@pytest.mark.fault("K2", "K14")
def test_workers_decide_alone(proxy, figure) -> None:
    """The supervisor and one worker stand still; the other one serves everybody as before."""
    with load(proxy, for_s=1) as before:
        pass
    stopped = [proxy.pid, proxy.worker_pid]
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        # Connections that the stopped worker has taken already would wait for it.
        with load(proxy, for_s=2) as during:
            pass
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
    assert statuses(before) == {200: len(before.told)}
    assert statuses(during) == {200: len(during.told)}
    figure(f"supervisor and a worker stopped: {len(during.told)} of {len(during.told)} served")


@pytest.mark.fault("K3")
def test_no_request_waits_for_the_control_listener(proxy, figure) -> None:
    """It is asked for the heaviest pages all the time, and by clients that never finish asking."""
    ends = threading.Event()

    def pester() -> None:
        while not ends.is_set():
            proxy.control("GET", "/metrics")

    half = [socket.create_connection(("127.0.0.1", proxy.control_port)) for _ in range(50)]
    for sock in half:
        sock.sendall(b"GET /metrics HT")
    threads = [threading.Thread(target=pester) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        with load(proxy, for_s=3) as crowd:
            pass
    finally:
        ends.set()
        for thread in threads:
            thread.join()
        for sock in half:
            sock.close()
    took = sorted(call.ended_s - call.intended_s for call in crowd.told)
    median_ms = took[len(took) // 2] * 1000
    assert statuses(crowd) == {200: len(crowd.told)}
    assert median_ms < 200
    figure(f"{len(took)} of {len(took)} served meanwhile, p50 {median_ms:.0f} ms of 20 ms work")


GOOD = '[cell.default]\nlimit = {limit}\n[reject]\nheaders = {{ x-document = "{limit}" }}\n'
UNREADABLE = ["limit = 4\nlimit = 5", "limit = 4 \x00", "limit = 4 \udcff"]
WRONG = {
    "K5": [
        "limit = nan",
        "limit = -4",
        "limit = 0",
        "limit = true",
        'limit = "many"',
        "limit = { algorithm = 'fixed', initial = nan }",
        "queue = { deadline_share = inf }",
        "queue = 7",
    ],
    "K7": [
        "limit = 1000000000",
        "queue = { length_max = 1e9 }",
        "transport = { connections_max = 0 }",
        "retries = { attempts = 1000 }",
        "fairness = { slack = 0 }",
    ],
    "K10": ["limits = 4", "limit = { maximum = 7 }", "backend = { url = 'x' }"],
}
"""What may stand in the table of a cell by mistake."""


@pytest.mark.parametrize(
    "row",
    [
        pytest.param("K5", marks=pytest.mark.fault("K5")),
        pytest.param("K7", marks=pytest.mark.fault("K7")),
        pytest.param("K10", marks=pytest.mark.fault("K10")),
    ],
)
def test_what_is_wrong_is_refused_as_a_whole_and_located(proxy, figure, row) -> None:
    """All mistakes of a file are told at once, each with its line."""
    assert reload(proxy, GOOD.format(limit=16))[0] == 200
    cells = [f"[cell.c{number}]\n{line}\n" for number, line in enumerate(WRONG[row])]
    status, content = reload(proxy, 'mode = "observe"\n' + "".join(cells))
    assert status == 422
    lines = {problem["line"] for problem in content["problems"]}
    assert lines == {3 + 2 * number for number in range(len(cells))}
    assert_unchanged(proxy)
    figure(f"{len(cells)} mistakes in one file: each told with its line, the former file stayed")


@pytest.mark.fault("K5")
@pytest.mark.parametrize("line", UNREADABLE, ids=["twice", "nul", "not-utf-8"])
def test_what_is_no_toml_is_refused(proxy, line) -> None:
    assert reload(proxy, GOOD.format(limit=16))[0] == 200
    text = f'mode = "observe"\n[cell.default]\n{line}\n'
    proxy.config_file.write_bytes(text.encode(errors="surrogateescape"))
    assert proxy.control("POST", "/-/reload")[0] == 422
    assert_unchanged(proxy)


def assert_unchanged(proxy: Shedproxy) -> None:
    now = proxy.status()
    assert (now["mode"], now["revision"]) == ("enforce", 2)
    assert proxy.cell()["limit"] == 16
    assert ask(proxy)[0] == 200


@pytest.mark.fault("K4")
def test_a_cut_file_is_refused_unless_what_is_left_is_whole(proxy, figure) -> None:
    """What is left of it is a document of fewer lines only where the cut is between two lines."""
    whole = GOOD.format(limit=16)
    assert reload(proxy, whole)[0] == 200
    ends = [n for n in range(1, len(whole) - 1, 14) if whole[n] != "\n" and whole[n - 1] != "\n"]
    for length in ends:
        status, content = reload(proxy, whole[:length])
        assert status == 422, whole[:length]
        assert content["problems"]
    assert_unchanged(proxy)
    figure(f"{len(ends)} of {len(ends)} cuts refused, the former file stayed")


@pytest.mark.fault("K8")
def test_a_flapping_file_is_applied_at_a_bounded_rate(proxy, figure) -> None:
    """Written twenty times a second: fewer documents than writes, nothing lost or forgotten."""
    with load(proxy, for_s=2):
        pass
    eventually(lambda: proxy.cell()["baseline_ms"] is not None)
    before = proxy.status()["revision"], proxy.cell()["baseline_ms"]
    with load(proxy, for_s=3) as crowd:
        for number in range(50):
            proxy.config_file.write_text(f"[cell.default.queue]\nlength_max = {100 + number}\n")
            time.sleep(0.05)
    eventually(lambda: proxy.control("GET", "/readyz")[0] == 200)
    applied = proxy.status()["revision"] - before[0]
    baseline_ms = proxy.cell()["baseline_ms"]
    assert 1 <= applied <= 30
    assert before[1] * 0.5 < baseline_ms < before[1] * 2
    assert statuses(crowd) == {200: len(crowd.told)}
    figure(
        f"50 writes in 2.5 s: {applied} documents, 0 of {len(crowd.told)} requests failed, "
        f"baseline {before[1]:.0f} -> {baseline_ms:.0f} ms"
    )


def document(number: int) -> str:
    """Each has a status and a field of its own for refusals."""
    return (
        f"[reject]\nstatus_capacity = {500 + number}\n"
        f'headers = {{ x-document = "{number}" }}\n'
        '[[rule]]\nname = "no"\nlimit = 0\nmatch = { path = "/no" }\n'
    )


@pytest.mark.fault("K9")
def test_every_request_is_decided_by_one_document(proxy, figure) -> None:
    """The workers take a new document one after the other, while somebody keeps asking."""
    assert reload(proxy, document(1))[0] == 200
    told: Counter[tuple[int, str]] = Counter()
    ends = threading.Event()

    def keep_asking() -> None:
        while not ends.is_set():
            told[ask(proxy, "/no")] += 1

    thread = threading.Thread(target=keep_asking)
    thread.start()
    try:
        for number in range(2, 6):
            assert reload(proxy, document(number))[0] == 200
    finally:
        ends.set()
        thread.join()
    assert len(told) > 2
    mixed = {key: n for key, n in told.items() if key[0] != 500 + int(key[1])}
    assert not mixed
    figure(f"4 reloads: {told.total()} answers, {len(told)} documents seen, 0 answers of two")


@pytest.mark.fault("K11")
def test_cells_come_and_go_under_load(proxy, service, figure) -> None:
    """A cell is added, renamed and removed; what it had in flight is finished."""
    cell = f'[cell.{{name}}]\nupstream = ["{service.url}"]\n[[rule]]\ncell = "{{name}}"\n'
    cell += 'match = {{ path = "/wait" }}\n'
    held: list[tuple[int, str]] = []
    with load(proxy, for_s=5) as crowd:
        for name in ("a", "b", "c"):
            assert reload(proxy, cell.format(name=name))[0] == 200
            thread = threading.Thread(target=lambda: held.append(ask(proxy, "/wait?ms=700")))
            thread.start()
            eventually(lambda name=name: proxy.cell(name)["in_flight"] == 1)
            assert reload(proxy, "")[0] == 200
            assert [cell["name"] for cell in proxy.status()["cells"]] == ["default"]
            thread.join()
    assert [status for status, _ in held] == [200] * 3
    assert statuses(crowd) == {200: len(crowd.told)}
    figure(f"3 cells came and went: 0 of {len(crowd.told)} requests failed, 3 of 3 in flight ended")


@pytest.mark.fault("K12")
@pytest.mark.parametrize("order", ["reload-first", "drain-first"])
def test_a_reload_during_a_drain_breaks_nothing(mortal, figure, order) -> None:
    held: list[int] = []
    thread = threading.Thread(target=lambda: held.append(ask(mortal, "/wait?ms=1200")[0]))
    thread.start()
    eventually(lambda: mortal.cell()["in_flight"] == 1)
    mortal.config_file.write_text("[cell.default]\nlimit = 5\n")
    signals = [signal.SIGHUP, signal.SIGTERM]
    for number in signals if order == "reload-first" else reversed(signals):
        mortal.signal(number)
    eventually(lambda: mortal.returncode is not None, what="its end")
    thread.join()
    assert held == [200]
    assert mortal.returncode == 0
    figure(f"{order}: what was in flight got 200, exit code 0")


@pytest.mark.fault("K15")
@pytest.mark.anyio
async def test_poison_stays_in_its_cell(bench, figure) -> None:
    """A request that kills whoever handles it takes its own cell's upstream out, and no other."""

    async def crash(talk) -> None:
        await talk.head()
        talk.reset()

    async def serve(talk) -> None:
        while True:
            await talk.head()
            talk.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    poisoned, well = await bench.upstream(crash), await bench.upstream(serve)
    proxy = await bench.proxy(
        policy={"cells": (CellPolicy(), CellPolicy(name="odd"))},
        proxy={
            "upstreams": (
                UpstreamDocument(urls=(well.url,)),
                UpstreamDocument(cell="odd", urls=(poisoned.url,)),
            )
        },
        document={
            "classification": Classification(
                rules=(Rule(name="odd", match=Match(path=("/odd",)), cell="odd"),)
            )
        },
    )
    told: Counter[int] = Counter()
    good = await proxy.connect()
    for _ in range(30):
        client = await proxy.connect()
        answer = await client.ask(b"GET /odd HTTP/1.1\r\nHost: e\r\n\r\n")
        told[answer.status] += 1
        assert (await good.ask(b"GET / HTTP/1.1\r\nHost: e\r\n\r\n")).status == 200
    assert set(told) <= {502, 503}
    assert proxy.driver.cells[:2] == ("default", "odd")
    figure(f"30 crashes answered {dict(told)}; 30 of 30 of the other cell served on the same proxy")
