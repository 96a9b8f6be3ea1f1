"""The control listener composed, on real sockets: who may give orders at each kind of address."""

from __future__ import annotations

import contextlib

import httpx2
import pytest

from shedproxy.listening import read_order_key
from shedproxy.settings import ControlSettings
from shedproxy.supervisor.control_lane import ControlLane
from shedproxy.supervisor.sockets import bind_all, close_all

pytestmark = [pytest.mark.anyio, pytest.mark.integration]


class Drained:
    """Operations of which only one is asked for here."""

    status = config = points = upstreams = dict

    def drain(self, *, who):
        return {"who": who}


@contextlib.asynccontextmanager
async def lane(listen: str, folder, **settings):
    events = []
    listeners = bind_all([listen])
    running = ControlLane(
        listeners,
        Drained(),
        lambda: ControlSettings(**settings),
        environ={"XDG_RUNTIME_DIR": str(folder)},
        report=lambda event, facts: events.append((event, facts)),
    )
    await running.start()
    try:
        yield running, listeners[0], events
    finally:
        await running.stop()
        close_all(listeners)
        assert not list(folder.glob("shedproxy/*")), "it leaves no key behind"


async def drain(listener, token: str = "") -> httpx2.Response:
    headers = {"authorization": f"Bearer {token}"} if token else {}
    is_unix = listener.bound.startswith("unix:")
    transport = httpx2.AsyncHTTPTransport(uds=listener.bound[5:] if is_unix else None)
    url = "http://localhost" if is_unix else listener.url
    async with httpx2.AsyncClient(transport=transport, trust_env=False) as http:
        return await http.post(f"{url}/-/drain", json={}, headers=headers)


async def test_on_loopback_the_key_is_what_gives_orders(tmp_path):
    async with lane("127.0.0.1:0", tmp_path) as (running, listener, events):
        answer = await drain(listener)
        assert answer.status_code == 401
        assert answer.json()["order_key"] == running.key.file()
        secret = read_order_key(running.key.file(), listener.bound)
        assert (await drain(listener, secret)).status_code == 202
        assert events == []


async def test_two_do_not_take_each_others_orders(tmp_path):
    async with (
        lane("127.0.0.1:0", tmp_path) as (first, listener, _),
        contextlib.AsyncExitStack() as end,
    ):
        listeners = bind_all(["127.0.0.1:0"])
        other = ControlLane(
            listeners,
            Drained(),
            ControlSettings,
            environ={"XDG_RUNTIME_DIR": str(tmp_path)},
            report=lambda _event, _facts: None,
        )
        end.callback(close_all, listeners)
        end.push_async_callback(other.stop)
        await other.start()
        secret = read_order_key(first.key.file(), listener.bound)
        assert (await drain(listeners[0], secret)).status_code == 401
        assert (await drain(listener, secret)).status_code == 202


async def test_at_a_unix_socket_of_this_user_nothing_is_asked(tmp_path):
    async with lane(f"unix:{tmp_path}/control", tmp_path) as (running, listener, events):
        assert running.key.file() == ""
        assert (await drain(listener)).status_code == 202
        assert events == []


async def test_where_others_can_reach_it_there_is_no_key(tmp_path):
    async with lane("0.0.0.0:0", tmp_path) as (running, listener, events):
        assert running.key.file() == ""
        answer = await drain(listener)
        assert (answer.status_code, answer.json()["title"]) == (403, "No token configured")
        assert events == []


@pytest.mark.parametrize("has_token", [False, True])
async def test_without_a_folder_it_serves_and_says_that_nobody_gives_orders(
    tmp_path, monkeypatch, has_token
):
    token = tmp_path / "token"
    token.write_text("t0ken")
    settings = {"token_file": str(token)} if has_token else {}
    monkeypatch.setattr("shedproxy.listening.order_key._folders", lambda _: [tmp_path / "a" / "b"])
    async with lane("127.0.0.1:0", tmp_path, **settings) as (_, listener, events):
        assert (await drain(listener)).status_code == (401 if has_token else 403)
        assert (await drain(listener, "t0ken")).status_code == (202 if has_token else 403)
        assert [event for event, _ in events] == ([] if has_token else ["no order key"])
        for _, facts in events:
            assert "No such file" in facts["why"]
            assert "control.token_file" in facts["help"]
