"""One suite in every framework, mounted by the line that its documentation gives for middleware.

The control lane on its thread is the witness: it tells what is in flight.
"""

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

from shedproxy.testing import ServerProcess, eventually, free_port

pytestmark = pytest.mark.integration

FRAMEWORKS = ["fastapi", "starlette", "litestar", "django", "quart"]
WITH_SOCKETS = {"fastapi", "starlette", "litestar", "quart"}
WITH_MARKS = {"fastapi", "starlette"}


class Client:
    def __init__(self, server, control_port, name):
        self.name = name
        self.server = server
        self.port = server.port
        self.control_port = control_port

    def ask(self, path, method="GET", body=None, headers=None, port=None):
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=30)
        try:
            connection.request(method, path, body=body, headers=headers or {})
            answer = connection.getresponse()
            headers = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, answer.read().decode().strip('"'), headers
        finally:
            connection.close()

    def cell(self):
        status, body, _ = self.ask("/-/status", port=self.control_port)
        assert status == 200
        return json.loads(body)["cells"][0]

    def wait_for(self, **expected):
        def condition():
            cell = self.cell()
            return all(cell[key] == value for key, value in expected.items())

        eventually(condition, within_s=60, what=f"{expected}")


@pytest.fixture(scope="module", params=FRAMEWORKS)
def client(request):
    served = Path(__file__).parent / "served"
    control_port = free_port()
    command = [
        sys.executable, "-m", "uvicorn", f"{request.param}_app:app", "--port", "{port}",
        "--log-level", "warning", "--timeout-graceful-shutdown", "1",
    ]  # fmt: skip
    env = {"PYTHONPATH": str(served), "CONTROL_PORT": str(control_port), "PYTHONWARNINGS": ""}
    with ServerProcess(command, cwd=served, env=env) as server:
        made = Client(server, control_port, request.param)
        assert made.ask("/told")[0] == 200, server.output
        yield made


@pytest.fixture(autouse=True)
def nothing_is_left(client):
    yield
    client.wait_for(in_flight=0, residents=0, queue_length=0)


@pytest.fixture
def held(client, request):
    threads = []
    name = "".join(c for c in request.node.name if c.isalnum())

    def hold(count):
        for _ in range(count):
            thread = threading.Thread(target=client.ask, args=(f"/hold?name={name}",))
            thread.start()
            threads.append(thread)

    hold.open = lambda: client.ask(f"/open?name={name}")
    yield hold
    hold.open()
    for thread in threads:
        thread.join(30)


def test_the_app_answers_and_is_told_of_the_load(client):
    assert client.ask("/told")[:2] == (200, "default critical")
    assert client.ask("/told", headers={"x-criticality": "sheddable"})[1] == "default sheddable"


def test_a_plain_function_as_handler(client):
    assert client.ask("/sync")[:2] == (200, "default")


def test_a_body_reaches_the_handler(client):
    assert client.ask("/echo", "POST", b"x" * 300_000)[1] == "300000"


def test_a_closed_route_is_refused(client):
    status, body, headers = client.ask("/closed")
    assert (status, headers["shedproxy-reason"]) == (503, "route_limit")
    assert json.loads(body)["status"] == 503


def test_waiters_run_when_slots_are_free(client, held):
    held(5)
    client.wait_for(in_flight=2, queue_length=3)
    assert held.open()[0] == 200
    client.wait_for(in_flight=0, queue_length=0)


def test_a_full_queue_refuses_who_matters_less(client, held):
    held(6)
    client.wait_for(in_flight=2, queue_length=4)
    status, _, headers = client.ask("/told", headers={"x-criticality": "sheddable"})
    assert (status, headers["shedproxy-reason"]) == (503, "queue_full")


def test_a_failing_handler_frees_its_slot(client):
    for _ in range(4):
        assert client.ask("/boom")[0] == 500
    client.wait_for(in_flight=0)


def test_an_event_stream_is_a_resident_until_its_client_leaves(client):
    raw = socket.create_connection(("127.0.0.1", client.port), timeout=30)
    raw.sendall(b"GET /events HTTP/1.1\r\nHost: test\r\n\r\n")
    got = b""
    while b"data: 2" not in got:
        got += raw.recv(4096)
    client.wait_for(in_flight=0, residents=1)
    raw.close()
    client.wait_for(residents=0)


def test_sockets(client):
    if client.name not in WITH_SOCKETS:
        with pytest.raises(InvalidStatus):
            connect(f"ws://127.0.0.1:{client.port}/socket")
        return
    with connect(f"ws://127.0.0.1:{client.port}/socket") as connection:
        client.wait_for(in_flight=0, residents=1)
        connection.send("hello")
        assert connection.recv() == "hello"
    with pytest.raises(InvalidStatus) as refused:
        connect(f"ws://127.0.0.1:{client.port}/closed")
    assert refused.value.response.status_code == 503


def test_marks(client):
    if client.name not in WITH_MARKS:
        assert client.ask("/marked/reports/7")[0] == 404
        return
    assert client.ask("/marked/reports/7")[1] == "GET /marked/reports/{number} sheddable"
    status, _, headers = client.ask("/marked/never", "POST")
    assert (status, headers["shedproxy-reason"]) == (503, "route_limit")
    assert client.ask("/marked/never", "GET")[0] == 405
