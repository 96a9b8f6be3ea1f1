"""The control lane on its thread: answers from integers, also while the loop is blocked."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from http.client import HTTPConnection

import pytest
from prometheus_client.parser import text_string_to_metric_families

from shedproxy import ShedMiddleware
from shedproxy.dataplane.asgi import control_thread
from shedproxy.dataplane.asgi.control_thread import ControlThread, parse_address
from shedproxy.testing import AsgiProbe, a_policy

pytestmark = pytest.mark.anyio


async def hello(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


@pytest.fixture
async def middleware():
    made = ShedMiddleware(hello, a_policy(limit=4), control="127.0.0.1:0")
    await AsgiProbe(made).request().end()
    yield made
    made.close()


def ask(port, path, method="GET"):
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), dict(answer.getheaders())
    finally:
        connection.close()


async def asked(middleware, path, method="GET"):
    return await asyncio.to_thread(ask, middleware._control.port, path, method)


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/livez?verbose"])
async def test_health(middleware, path):
    status, body, _ = await asked(middleware, path)
    assert (status, json.loads(body)["status"]) == (200, "ok")


async def test_status(middleware):
    status, body, headers = await asked(middleware, "/-/status")
    told = json.loads(body)
    assert (status, told["mode"], told["event_loops"]) == (200, "enforce", 1)
    (cell,) = told["cells"]
    assert (cell["name"], cell["limit"], cell["admitted"]) == ("default", 4, 1)
    assert cell["rejected"] == {}
    assert headers["cache-control"] == "no-store"


async def test_metrics_are_prometheus_text(middleware):
    _, body, _ = await asked(middleware, "/metrics")
    families = {family.name: family for family in text_string_to_metric_families(body)}
    (limit,) = families["shedproxy_limit"].samples
    assert (limit.labels, limit.value) == ({"shedproxy_cell": "default"}, 4)
    modes = {
        sample.labels["shedproxy_mode"]: sample.value
        for sample in families["shedproxy_mode_ratio"].samples
    }
    assert modes == {"off": 0, "observe": 0, "enforce": 1}
    assert "shedproxy_worker_heartbeat_age_seconds" in families


async def test_other_paths_and_methods(middleware):
    assert (await asked(middleware, "/admin"))[0] == 404
    assert (await asked(middleware, "/livez", "POST"))[0] == 501
    status, body, headers = await asked(middleware, "/livez", "HEAD")
    assert (status, body) == (200, "")
    assert int(headers["content-length"]) > 0


async def test_it_answers_while_the_loop_is_blocked_and_says_so(middleware, monkeypatch):
    monkeypatch.setattr(control_thread, "LIVE_BOUND_NS", 100_000_000)
    port = middleware._control.port
    answers = []
    unblock = threading.Event()

    def watch():
        ends_at = time.monotonic() + 10
        while time.monotonic() < ends_at:
            answers.append(ask(port, "/livez")[0])
            if answers[-1] == 503:
                break
            time.sleep(0.01)
        unblock.set()

    thread = threading.Thread(target=watch)
    thread.start()
    unblock.wait(20)  # the event loop stands still here
    thread.join()
    assert answers[-1] == 503


async def test_a_taken_port_costs_the_lane_not_the_service(middleware, caplog):
    port = middleware._control.port
    second = ShedMiddleware(hello, control=f"127.0.0.1:{port}")
    request = AsgiProbe(second).request()
    await request.end()
    assert request.status == 200
    assert "no control lane" in caplog.text
    assert second._control.port == 0
    second.close()


async def test_the_end_frees_the_port(middleware):
    port = middleware._control.port
    middleware.close()
    with pytest.raises(OSError):
        await asyncio.to_thread(ask, port, "/livez")


def test_nothing_is_watched_before_the_first_loop():
    control = ControlThread("127.0.0.1:0")
    assert control.port == 0
    assert control.answer("/livez")[0] == 200
    assert json.loads(control.answer("/-/status")[2])["cells"] == []
    assert control.answer("/metrics")[2] == ""
    control.close()


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1:9900", ("127.0.0.1", 9900)),
        (":9900", ("127.0.0.1", 9900)),
        ("[::1]:0", ("::1", 0)),
        ("localhost:1", ("localhost", 1)),
    ],
)
def test_addresses(address, expected):
    assert parse_address(address) == expected


@pytest.mark.parametrize("address", ["", "9900x", "host", "host:", "host:70000", "host:-1"])
def test_what_is_no_address(address):
    with pytest.raises(ValueError, match="no address"):
        parse_address(address)


def test_a_loop_that_has_ended_is_not_blocked(monkeypatch):
    """Others go on; who is well shall not be restarted for it."""
    monkeypatch.setattr(control_thread, "LIVE_BOUND_NS", 0)
    made = ShedMiddleware(hello, a_policy(limit=4), control="127.0.0.1:0")

    async def once() -> None:
        await AsgiProbe(made).request().end()

    async def served() -> tuple[int, int]:
        await once()
        await asyncio.to_thread(asyncio.run, once())
        before = len(made._control._beats)
        made.close()
        return before, made._control.answer("/livez")[0]

    assert asyncio.run(served()) == (2, 200)
