from __future__ import annotations

import httpx2
import pytest
from starlette.responses import PlainTextResponse

from shedproxy.listening import AppServer
from shedproxy.supervisor.sockets import bind_all, close_all

pytestmark = [pytest.mark.anyio, pytest.mark.integration]


async def test_answers_on_the_sockets_it_was_given_until_stopped(tmp_path):
    async def app(scope, receive, send):
        await PlainTextResponse("here")(scope, receive, send)

    path = tmp_path / "control"
    listeners = bind_all(["127.0.0.1:0", f"unix:{path}"])
    control = AppServer(app, [listener.socket for listener in listeners])
    url = listeners[0].url
    await control.start()
    try:
        async with httpx2.AsyncClient(trust_env=False) as http:
            assert (await http.get(url)).text == "here"
        unix = httpx2.AsyncHTTPTransport(uds=str(path))
        async with httpx2.AsyncClient(transport=unix) as http:
            answer = await http.get("http://localhost/")
            assert answer.text == "here"
            assert "server" not in answer.headers
    finally:
        await control.stop()
        close_all(listeners)
    async with httpx2.AsyncClient(trust_env=False) as http:
        with pytest.raises(httpx2.ConnectError):
            await http.get(url)


async def test_stop_before_start_is_harmless():
    await AppServer(lambda scope, receive, send: None, []).stop()
