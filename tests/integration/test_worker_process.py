"""A real worker process: started, told, drained and left alone by its supervisor."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from shedproxy.core import Mode, Policy, seconds
from shedproxy.dataplane.share_page import SharePage, WorkerState
from shedproxy.snapshot import Document, ProxyDocument, UpstreamDocument, encode_document
from shedproxy.testing import eventually

pytestmark = pytest.mark.integration

GET = b"GET / HTTP/1.1\r\nHost: e\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"

APP = """
async def app(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200,
                "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"hello"})

def make():
    return app
"""


class WorkerProcess:
    def __init__(self, *arguments: str) -> None:
        self.page = SharePage.create(1)
        self.view = self.page.worker(0)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.ours, theirs = socket.socketpair()
        self.ours.settimeout(20)
        fds = (self.page.fd, theirs.fileno(), self.listener.fileno())
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "shedproxy.dataplane.worker", "--index", "0"),
                *("--page-fd", str(fds[0]), "--channel-fd", str(fds[1])),
                *("--listen-fds", str(fds[2]), *arguments),
            ],
            pass_fds=fds,
        )
        theirs.close()
        self._lines = self.ours.makefile("rb")

    def tell(self, op: str, **fields: object) -> None:
        self.ours.sendall(json.dumps({"op": op, **fields}).encode() + b"\n")

    def give(self, document: Document) -> None:
        self.tell("document", document=encode_document(document).decode())

    def hear(self, op: str) -> dict:
        """The next message of this kind."""
        while True:
            line = self._lines.readline()
            assert line, f"the channel ended before {op!r}"
            message = json.loads(line)
            if message["op"] == op:
                return message

    def connect(self) -> socket.socket:
        return socket.create_connection(self.listener.getsockname(), timeout=20)

    def ask(self, request: bytes = GET) -> bytes:
        with self.connect() as client:
            client.sendall(request)
            answer = b""
            while not answer.endswith(b"hello") and (data := client.recv(65536)):
                answer += data
            return answer

    def close(self) -> None:
        self._lines.close()
        self.ours.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(60)
        self.listener.close()
        self.page.close()


@contextmanager
def upstream(answer: bytes = OK, *, hang: bool = False) -> Iterator[str]:
    """A threaded upstream that answers every request alike."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    open_sockets: list[socket.socket] = []

    def serve(connection: socket.socket) -> None:
        try:
            while connection.recv(65536):
                if not hang:
                    connection.sendall(answer)
        except OSError:
            return

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            open_sockets.append(connection)
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)
        for connection in open_sockets:
            connection.close()


def document_for(url: str, **proxy: object) -> Document:
    return Document(proxy=ProxyDocument(upstreams=(UpstreamDocument(urls=(url,)),), **proxy))


@pytest.fixture
def start() -> Iterator:
    started: list[WorkerProcess] = []

    def make(*arguments: str) -> WorkerProcess:
        worker = WorkerProcess(*arguments)
        started.append(worker)
        return worker

    yield make
    for worker in started:
        worker.close()


def test_a_worker_serves_is_seen_on_the_page_and_drains(start) -> None:
    with upstream() as url:
        worker = start()
        worker.give(document_for(url, access_log="all"))
        assert worker.hear("applied")["revision"] == 0
        worker.hear("ready")
        assert worker.hear("upstreams")["cells"] == {"default": {url: True}}
        assert worker.ask().endswith(b"hello")
        view = worker.view
        assert (view.pid, view.state) == (worker.process.pid, WorkerState.SERVING)
        beat = eventually(lambda: view.heartbeat)
        eventually(lambda: view.heartbeat > beat)
        (line,) = worker.hear("log")["lines"]
        assert json.loads(line)["status"] == 200
        worker.tell("mode", mode="observe")
        eventually(lambda: view.mode is Mode.OBSERVE)
        worker.tell("announce")
        eventually(lambda: view.state is WorkerState.ANNOUNCED)
        assert b"connection: close" in worker.ask()
        worker.tell("drain", grace_ns=seconds(5))
        assert worker.hear("drained")["left"] == 0
        worker.tell("stop")
        assert worker.process.wait(60) == 0


def test_an_idle_worker_is_small(start) -> None:
    with upstream() as url:
        worker = start()
        worker.give(document_for(url))
        worker.hear("ready")
        with open(f"/proc/{worker.process.pid}/status") as status:
            (line,) = [line for line in status if line.startswith("VmRSS")]
        assert int(line.split()[1]) <= 45 * 1024


def test_a_reload_is_applied_and_a_bad_one_is_refused_with_its_problems(start) -> None:
    with upstream() as url:
        worker = start()
        document = document_for(url)
        worker.give(document)
        worker.hear("ready")
        with worker.connect() as client:
            client.sendall(GET)
            assert client.recv(65536).endswith(b"hello")
            worker.give(replace(document, revision=7, policy=Policy(mode=Mode.OFF)))
            assert worker.hear("applied")["revision"] == 7
            worker.tell("document", document='{"format": "nonsense"}')
            assert worker.hear("refused")["problems"]
            worker.give(replace(document, revision=8, proxy=ProxyDocument()))
            assert "upstream" in worker.hear("refused")["problems"][0]["message"]
            # The connection that was open before is open still, under the last good document.
            client.sendall(GET)
            assert client.recv(65536).endswith(b"hello")
        assert worker.view.revision == 7


@pytest.mark.fault("K6")
def test_an_older_document_that_comes_late_is_refused(start, figure) -> None:
    with upstream() as url:
        worker = start()
        worker.give(replace(document_for(url), revision=7))
        worker.hear("ready")
        worker.give(replace(document_for(url), revision=6, policy=Policy(mode=Mode.OFF)))
        assert "older than 7" in worker.hear("refused")["problems"][0]["message"]
        assert worker.view.revision == 7
        assert worker.view.mode is Mode.ENFORCE
    figure("revision 6 after 7: refused and said, 7 stayed")


def test_a_reload_that_comes_while_the_worker_starts_is_applied_after(start) -> None:
    with upstream() as url:
        worker = start()
        document = document_for(url)
        for revision in (1, 2, 3):
            worker.give(replace(document, revision=revision))
        assert worker.hear("applied")["revision"] == 1
        assert worker.hear("applied")["revision"] == 3
        assert worker.ask().endswith(b"hello")


def test_what_a_worker_is_told_it_knows_and_says_again(start) -> None:
    """Before any request, and at the latest when it is drained. What it cannot read is nothing."""
    cells = {"default": {"r": {"mean_ns": 5_000_000, "sample_count": 40, "variance": 1.5}}}
    with upstream() as url:
        worker = start()
        worker.tell("memory", cells=cells)
        worker.tell("memory", cells={"default": {"r": {"mean_ns": "long"}}})
        worker.give(document_for(url))
        worker.hear("ready")
        worker.tell("drain", grace_ns=seconds(5))
        assert worker.hear("memory")["cells"] == cells
        worker.hear("drained")


def test_a_bad_first_document_ends_the_worker_with_3(start) -> None:
    worker = start()
    worker.give(document_for("ftp://nowhere"))
    assert "ftp" in worker.hear("refused")["problems"][0]["message"]
    assert worker.process.wait(60) == 3


def test_a_worker_ends_with_its_supervisor_after_what_is_under_way(start) -> None:
    with upstream(hang=True) as url:
        worker = start()
        worker.give(document_for(url, drain_grace_ns=seconds(0.3)))
        worker.hear("ready")
        with worker.connect() as client:
            client.sendall(GET)
            eventually(lambda: worker.view.slots)
            time.sleep(0.1)
            worker.ours.shutdown(socket.SHUT_RDWR)
            assert client.recv(65536).startswith(b"HTTP/1.1 504")
        assert worker.process.wait(60) == 0


def test_signals_for_the_supervisor_do_nothing_here(start) -> None:
    """A service manager sends them to every process of the service."""
    with upstream() as url:
        worker = start()
        worker.give(document_for(url))
        worker.hear("ready")
        for signum in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
            os.kill(worker.process.pid, signum)
            assert worker.ask().endswith(b"hello")


def test_at_sigterm_the_supervisor_is_told_and_at_a_second_one_it_drains(start) -> None:
    with upstream() as url:
        worker = start()
        worker.give(document_for(url))
        worker.hear("ready")
        os.kill(worker.process.pid, signal.SIGTERM)
        worker.hear("terminated")
        assert worker.ask().endswith(b"hello")
        os.kill(worker.process.pid, signal.SIGTERM)
        worker.hear("drained")
        assert worker.process.wait(60) == 0


def test_running_out_of_descriptors_is_survived_without_a_busy_loop(start) -> None:
    """H9."""
    with upstream() as url:
        worker = start()
        worker.give(document_for(url))
        worker.hear("ready")
        pid = worker.process.pid
        assert worker.ask().endswith(b"hello")
        used = len(os.listdir(f"/proc/{pid}/fd"))
        _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + 4, hard))
        crowd = [worker.connect() for _ in range(20)]
        before = _cpu_ticks(pid)
        time.sleep(1)
        busy_share = (_cpu_ticks(pid) - before) / os.sysconf("SC_CLK_TCK")
        assert busy_share < 0.2
        assert worker.process.poll() is None
        for client in crowd:
            client.close()
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (hard, hard))

        def serves() -> bool:
            return worker.ask().endswith(b"hello")

        assert eventually(serves)


def _cpu_ticks(pid: int) -> int:
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


@pytest.mark.parametrize("arguments", [("--app", "shop:app"), ("--app", "shop:make", "--factory")])
def test_a_worker_runs_an_application(start, tmp_path, arguments) -> None:
    (tmp_path / "shop.py").write_text(APP)
    worker = start("--kind", "asgi", "--app-dir", str(tmp_path), *arguments)
    worker.give(Document())
    worker.hear("ready")
    assert worker.ask().endswith(b"hello")
    assert worker.view.state is WorkerState.SERVING
    worker.tell("announce")
    eventually(lambda: b"connection: close" in worker.ask().lower())
    worker.tell("drain", grace_ns=seconds(5))
    assert worker.hear("drained")["left"] == 0
    worker.tell("stop")
    assert worker.process.wait(60) == 0


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: e\r\nX: " + b"a" * 20_000,
        b"POST / HTTP/1.1\r\nHost: e\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
    ],
    ids=["no-host", "no-end", "two-lengths"],
)
def test_an_application_is_not_given_heads_that_the_proxy_would_refuse(
    start, tmp_path, head: bytes
) -> None:
    """uvicorn's quicker parser passes them on."""
    (tmp_path / "shop.py").write_text(APP)
    worker = start("--kind", "asgi", "--app-dir", str(tmp_path), "--app", "shop:app")
    worker.give(Document())
    worker.hear("ready")
    with socket.create_connection(worker.listener.getsockname(), timeout=10) as client:
        client.sendall(head)
        assert client.recv(100).startswith(b"HTTP/1.1 4")


SLOW_APP = """
import asyncio, pathlib

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        while not pathlib.Path(GATE).exists():
            await asyncio.sleep(0.01)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    await send({"type": "http.response.start", "status": 200,
                "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"hello"})
"""


def test_a_drain_waits_for_a_start(start, tmp_path) -> None:
    """Who connects while the application starts, and others accept no more, is served."""
    gate = tmp_path / "gate"
    (tmp_path / "shop.py").write_text(f"GATE = {str(gate)!r}\n{SLOW_APP}")
    worker = start("--kind", "asgi", "--app-dir", str(tmp_path), "--app", "shop:app")
    worker.give(Document())
    with worker.connect() as client:
        client.sendall(GET)
        worker.tell("drain", grace_ns=seconds(20))
        eventually(lambda: worker.view.state is WorkerState.DRAINING)
        gate.touch()
        assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
    worker.hear("ready")
    assert worker.hear("drained")["left"] == 0
    assert worker.view.state is WorkerState.DRAINING
    worker.tell("stop")
    assert worker.process.wait(60) == 0


def test_an_application_whose_lifespan_fails_is_said(start, tmp_path) -> None:
    (tmp_path / "shop.py").write_text(
        "async def app(scope, receive, send):\n"
        "    await receive()\n"
        "    await send({'type': 'lifespan.startup.failed', 'message': 'no database'})\n"
    )
    worker = start("--kind", "asgi", "--app-dir", str(tmp_path), "--app", "shop:app")
    worker.give(Document())
    assert "lifespan failed" in worker.hear("refused")["problems"][0]["message"]
    assert worker.process.wait(60) == 3


@pytest.mark.parametrize("target", ["nowhere:app", "shop:nothing"])
def test_an_application_that_is_not_there_is_said(start, tmp_path, target) -> None:
    (tmp_path / "shop.py").write_text(APP)
    worker = start("--kind", "asgi", "--app-dir", str(tmp_path), "--app", target)
    worker.give(Document())
    assert "no" in worker.hear("refused")["problems"][0]["message"]
    assert worker.process.wait(60) == 3
