from __future__ import annotations

import asyncio
import os
import socket
import stat
import tempfile
from pathlib import Path

import httpx2
import pytest
from starlette.responses import PlainTextResponse

from shedproxy.listening import AppServer, peer_of
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


async def test_it_is_closed_even_when_there_was_no_time_for_an_end_in_order(monkeypatch):
    """The loop stood still for longer than the bound, or an answer takes for ever."""
    monkeypatch.setattr("shedproxy.listening.server._STOP_BOUND", 0.0)
    begun = asyncio.Event()

    async def app(scope, receive, send):
        begun.set()
        await asyncio.Event().wait()

    (listener,) = bind_all(["127.0.0.1:0"])
    control = AppServer(app, [listener.socket])
    await control.start()
    reader, writer = await asyncio.open_connection(*listener.socket.getsockname())
    writer.write(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
    await begun.wait()
    await control.stop()
    assert listener.socket.fileno() == -1
    assert await reader.read() == b""
    writer.close()
    close_all([listener])


@pytest.mark.parametrize("user", [os.geteuid(), *([65534] if os.geteuid() == 0 else [])])
async def test_the_kernel_says_who_is_at_the_other_end_of_a_unix_socket(user):
    async def app(scope, receive, send):
        await PlainTextResponse(repr(peer_of(scope)))(scope, receive, send)

    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        path = f"{folder}/control"
        listeners = bind_all([f"unix:{path}", "127.0.0.1:0"])
        control = AppServer(app, [listener.socket for listener in listeners])
        await control.start()
        Path(path).chmod(stat.S_IRWXU | stat.S_IRWXG | stat.S_IRWXO)
        try:
            with socket.socket(socket.AF_UNIX) as caller:
                os.seteuid(user)
                try:
                    caller.connect(path)
                finally:
                    os.seteuid(os.getuid())
                caller.sendall(b"GET / HTTP/1.0\r\n\r\n")
                answer = await asyncio.to_thread(_read_all, caller)
            assert answer.endswith(f"Peer(address='', user={user})")
            async with httpx2.AsyncClient(trust_env=False) as http:
                answer = (await http.get(listeners[1].url)).text
            assert answer == f"Peer(address='{listeners[1].bound}', user=None)"
        finally:
            await control.stop()
            close_all(listeners)


def _read_all(caller: socket.socket) -> str:
    with caller.makefile("rb") as stream:
        return stream.read().decode()


async def test_a_start_that_fails_says_so_and_leaves_nothing_listening():
    listeners = bind_all(["127.0.0.1:0", "127.0.0.1:0"])
    first, second = listeners
    url = first.url
    second.socket.close()
    control = AppServer(lambda scope, receive, send: None, [first.socket, second.socket])
    with pytest.raises(OSError, match="Bad file descriptor"):
        await asyncio.wait_for(control.start(), 10)
    await asyncio.wait_for(control.stop(), 10)
    async with httpx2.AsyncClient(trust_env=False) as http:
        with pytest.raises(httpx2.ConnectError):
            await http.get(url)
    close_all(listeners)


async def test_stop_before_start_is_harmless():
    await AppServer(lambda scope, receive, send: None, []).stop()
