"""How a refusal is sent: as an answer, as a denial of a handshake, or as a close."""

from __future__ import annotations

import json

import pytest

from shedproxy.core import RejectReason
from shedproxy.dataplane.asgi.refusal import refusal_messages, refuse
from shedproxy.dataplane.rejection import Rejections
from shedproxy.snapshot import RejectDocument
from shedproxy.testing import a_request

pytestmark = pytest.mark.anyio


@pytest.fixture
def refused(a_driver):
    """Refuses once and returns the driver and what was sent."""

    async def run(scope, *, error=None):
        sent = []

        async def send(message):
            if error is not None:
                raise error
            sent.append(message)

        driver = a_driver()
        rejected = driver.reject(a_request(), RejectReason.CONNECTION_LIMIT, (3, 3))
        refusal_id = driver.ring.text_of(rejected.record_id)
        rejections = Rejections(RejectDocument())
        await refuse(refusal_messages(rejections, rejected, refusal_id, scope), send)
        return driver, sent

    return run


async def test_http(refused):
    driver, (start, body) = await refused({"type": "http", "method": "GET"})
    headers = dict(start["headers"])
    assert (start["type"], start["status"]) == ("http.response.start", 503)
    assert headers[b"shedproxy-reason"] == b"connection_limit"
    assert headers[b"cache-control"] == b"no-store"
    assert int(headers[b"content-length"]) == len(body["body"])
    refusal_id = driver.ring.parse_id(headers[b"shedproxy-id"].decode())
    assert driver.ring.find(refusal_id).numbers == (3, 3)
    assert json.loads(body["body"])["status"] == 503
    assert body["more_body"] is False


async def test_head(refused):
    _, (_, body) = await refused({"type": "http", "method": "HEAD"})
    assert body["body"] == b""


async def test_a_handshake_is_denied_with_an_answer(refused):
    scope = {"type": "websocket", "extensions": {"websocket.http.response": {}}}
    _, (start, body) = await refused(scope)
    assert (start["type"], body["type"]) == (
        "websocket.http.response.start",
        "websocket.http.response.body",
    )
    assert body["body"]


@pytest.mark.parametrize("scope", [{}, {"extensions": None}, {"extensions": {}}])
async def test_or_closed_before_it_is_accepted(refused, scope):
    _, sent = await refused({"type": "websocket", **scope})
    assert [message["type"] for message in sent] == ["websocket.close"]


async def test_a_client_that_left_is_no_error(refused):
    _, sent = await refused({"type": "http", "method": "GET"}, error=OSError())
    assert sent == []
