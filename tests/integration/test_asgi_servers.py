"""One suite under every ASGI server: the middleware keeps its promises whoever carries it."""

from __future__ import annotations

import http.client
import json
import socket
import sys
import threading
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from shedproxy.testing import ServerProcess, eventually

pytestmark = pytest.mark.integration

PYTHON = [sys.executable, "-m"]
SERVERS = {
    "uvicorn": [
        *PYTHON, "uvicorn", "bare_app:middleware", "--port", "{port}", "--http", "httptools",
        "--log-level", "warning", "--timeout-graceful-shutdown", "1",
    ],
    "uvicorn-h11": [
        *PYTHON, "uvicorn", "bare_app:middleware", "--port", "{port}", "--http", "h11",
        "--loop", "asyncio", "--log-level", "warning", "--timeout-graceful-shutdown", "1",
    ],
    "hypercorn": [
        *PYTHON, "hypercorn", "bare_app:middleware", "--bind", "127.0.0.1:{port}",
        "--graceful-timeout", "1",
    ],
    "granian": [
        *PYTHON, "granian", "--interface", "asgi", "--host", "127.0.0.1", "--port", "{port}",
        "--workers", "1", "--workers-kill-timeout", "1", "--log-level", "warning",
        "bare_app:middleware",
    ],
}  # fmt: skip


class Client:
    """Asks one server, one connection per request unless kept."""

    def __init__(self, server: ServerProcess, name: str) -> None:
        self.name = name
        self.server = server
        self.port = server.port

    def ask(self, path, method="GET", body=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body=body, headers=headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read(), {k.lower(): v for k, v in answer.getheaders()}
        finally:
            connection.close()

    def open(self, path, method="GET", headers=""):
        """A raw connection on which the head of a request was sent."""
        raw = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        raw.sendall(f"{method} {path} HTTP/1.1\r\nHost: test\r\n{headers}\r\n".encode())
        return raw

    def stats(self, cell="default"):
        status, body, _ = self.ask("/-test/stats")
        assert status == 200
        return json.loads(body)[cell]

    def wait_for(self, cell="default", **expected):
        def condition():
            stats = self.stats(cell)
            return all(stats[key] == value for key, value in expected.items())

        eventually(condition, within_s=60, what=f"{expected}")


@pytest.fixture(scope="module", params=SERVERS)
def client(request):
    served = Path(__file__).parent / "served"
    env = {"PYTHONPATH": str(served), "PYTHONWARNINGS": ""}
    with ServerProcess(SERVERS[request.param], cwd=served, env=env) as server:
        yield Client(server, request.param)


@pytest.fixture(autouse=True)
def nothing_is_left(client):
    """Every test ends with every slot free."""
    yield
    client.wait_for(in_flight=0, residents=0, queue_length=0)
    client.wait_for("queued", in_flight=0, queue_length=0)


@pytest.fixture
def held(client, request):
    """Requests that hold slots until the test ends."""
    threads = []
    name = request.node.name.translate({ord(c): "-" for c in "[]"})

    def hold(count, path="/hold", cell="default"):
        before = client.stats(cell)["in_flight"]
        for _ in range(count):
            thread = threading.Thread(target=client.ask, args=(f"{path}?{name}",))
            thread.start()
            threads.append(thread)
        client.wait_for(cell, in_flight=before + count)

    hold.open = lambda: client.ask(f"/-test/open?{name}")
    yield hold
    hold.open()
    for thread in threads:
        thread.join(30)


def test_an_answer_passes(client):
    assert client.ask("/")[:2] == (200, b"critical default")
    assert client.ask("/", headers={"x-criticality": "sheddable"})[1] == b"sheddable default"
    assert client.ask("/", "HEAD")[:2] == (200, b"")


def test_bodies_pass(client):
    body = bytes(range(256)) * 4096
    assert client.ask("/echo", "POST", body)[1] == body


def test_an_upload_that_stops_is_let_in_and_loses_nothing(client):
    body = bytes(range(250)) * 160
    with client.open("/echo", "POST", f"Content-Length: {len(body)}\r\n") as raw:
        raw.sendall(body[:10_000])
        client.wait_for(in_flight=1)
        for at in range(10_000, len(body), 5_000):
            raw.sendall(body[at : at + 5_000])
        answer = http.client.HTTPResponse(raw)
        answer.begin()
        assert (answer.status, answer.read()) == (200, body)


def test_a_refusal_is_complete(client, held):
    held(2)
    status, body, headers = client.ask("/")
    assert status == 503
    assert headers["content-type"] == "application/problem+json"
    assert headers["shedproxy-reason"] == "queue_full"
    assert headers["cache-control"] == "no-store"
    assert int(headers["retry-after"]) >= 1
    assert json.loads(body)["id"] == headers["shedproxy-id"]
    assert int(headers["content-length"]) == len(body)


def test_a_refused_head_and_a_refused_upload(client, held):
    held(2)
    assert client.ask("/", "HEAD")[:2] == (503, b"")
    assert client.ask("/echo", "POST", b"x" * 100_000)[0] == 503


def test_control_routes_pass_a_full_service(client, held):
    held(2)
    assert client.ask("/livez")[:2] == (200, b"alive")
    assert client.ask("/")[0] == 503


def test_a_streamed_answer_passes(client):
    assert client.ask("/stream")[1] == b"data: 0\n\ndata: 1\n\ndata: 2\n\n"


def test_an_event_stream_takes_no_slot(client):
    raw = client.open("/sse")
    got = b""
    while b"data: 2" not in got:
        got += raw.recv(4096)
    client.wait_for(in_flight=0, residents=1)
    raw.close()
    client.wait_for(residents=0)


def test_a_socket_echoes_and_takes_no_slot(client):
    with connect(f"ws://127.0.0.1:{client.port}/echo") as connection:
        connection.send("hello")
        assert connection.recv() == "hello"
        client.wait_for(in_flight=0, residents=1)


def test_a_socket_is_refused_before_it_is_accepted(client):
    with pytest.raises(InvalidStatus) as refused:
        connect(f"ws://127.0.0.1:{client.port}/closed")
    response = refused.value.response
    assert response.status_code == 503
    assert response.headers["shedproxy-reason"] == "route_limit"


def test_an_exception_frees_its_slot(client):
    for _ in range(5):
        assert client.ask("/boom")[0] == 500
    client.wait_for(in_flight=0)


def test_a_client_that_leaves_frees_its_slot(client):
    for _ in range(3):
        raw = client.open("/until-gone")
        client.wait_for(in_flight=1)
        raw.close()
        client.wait_for(in_flight=0)


def test_a_waiter_runs_when_the_slot_is_free_and_gets_its_body(client, held):
    held(1, "/queued/hold", "queued")
    answers = []
    body = b"waited" * 20_000
    waiter = threading.Thread(
        target=lambda: answers.append(client.ask("/queued/echo", "POST", body))
    )
    waiter.start()
    client.wait_for("queued", queue_length=1)
    held.open()
    waiter.join(30)
    assert answers[0][:2] == (200, body)


def test_a_waiter_that_leaves_is_abandoned(client, held):
    held(1, "/queued/hold", "queued")
    raw = client.open("/queued/echo")
    client.wait_for("queued", queue_length=1)
    raw.close()
    client.wait_for("queued", queue_length=0)


def test_a_connection_goes_on_after_a_refusal(client, held):
    held(2)
    connection = http.client.HTTPConnection("127.0.0.1", client.port, timeout=30)
    connection.request("GET", "/")
    refused = connection.getresponse()
    assert (refused.status, bool(refused.read())) == (503, True)
    held.open()
    client.wait_for(in_flight=0)
    connection.request("GET", "/")
    assert connection.getresponse().read() == b"critical default"
    connection.close()
