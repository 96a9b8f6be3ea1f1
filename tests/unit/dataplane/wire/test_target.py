from __future__ import annotations

import asyncio
import socket
import time

import pytest

from shedproxy.core import milliseconds, seconds
from shedproxy.dataplane.wire.target import Target, bound_silence
from shedproxy.snapshot import TlsDocument
from shedproxy.testing import eventually_async

pytestmark = pytest.mark.anyio


def test_urls_are_taken_apart() -> None:
    plain = Target("http://10.0.0.1:8080")
    assert (plain.host, plain.port, plain.authority) == ("10.0.0.1", 8080, b"10.0.0.1:8080")
    assert plain.context is None
    six = Target("http://[::1]")
    assert (six.host, six.port, six.authority) == ("::1", 80, b"[::1]")
    for url in ("unix:/run/a.sock", "unix:///run/a.sock"):
        unix = Target(url)
        assert (unix.path, unix.authority) == ("/run/a.sock", b"localhost")


def test_tls_asks_for_the_name_of_the_url_or_another() -> None:
    target = Target("https://shop.example")
    assert (target.port, target.server_name) == (443, "shop.example")
    assert target.context is not None
    named = Target("https://10.0.0.1", TlsDocument(server_name="shop.example", verify=False))
    assert named.server_name == "shop.example"


@pytest.mark.parametrize("url", ["ftp://a", "10.0.0.1:80", "http://", "", "http://a:99999"])
def test_what_is_no_upstream_is_refused(url: str) -> None:
    with pytest.raises(ValueError):
        Target(url).port


def test_the_scheme_decides_about_credentials_in_a_url() -> None:
    assert Target("http://user:word@host:1").authority == b"host:1"


class Resolver:
    """Stands for the loop's resolver: says what the test wrote down."""

    def __init__(self, monkeypatch) -> None:
        self.answers: list = []
        self.asked = 0
        self.hangs = False
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", self.look_up)

    async def look_up(self, host, port, *, type):
        self.asked += 1
        if self.hangs:
            await asyncio.Event().wait()
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return [(socket.AF_INET, type, 0, "", (address, port)) for address in answer]


@pytest.fixture
async def listener():
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()


async def connect(target: Target) -> str:
    """The address that a new connection goes to."""
    transport, _ = await target.connect(asyncio.Protocol, now=0)
    address = transport.get_extra_info("peername")[0]
    transport.abort()
    await asyncio.sleep(0)
    return address


async def test_the_last_good_answer_of_the_resolver_stays(monkeypatch, listener) -> None:
    """U19."""
    resolver = Resolver(monkeypatch)
    resolver.answers = [["127.0.0.1"], socket.gaierror("gone"), [], ["127.0.0.1", "127.0.0.1"]]
    target = Target(f"http://name.example:{listener}")
    for step in range(4):
        target.refresh(seconds(6 * step))
        assert await connect(target) == "127.0.0.1"
        await eventually_async(lambda step=step: resolver.asked == step + 1)
    assert target.generation == 1
    target.refresh(seconds(19))
    await asyncio.sleep(0)
    assert resolver.asked == 4, "within its period nothing is asked"


async def test_no_connection_waits_for_the_resolver_but_the_first(monkeypatch, listener) -> None:
    """U19."""
    resolver = Resolver(monkeypatch)
    resolver.answers = [["127.0.0.1"]]
    target = Target(f"http://name.example:{listener}")
    await connect(target)
    resolver.hangs = True
    target.refresh(seconds(60))
    target.refresh(seconds(120))
    assert await connect(target) == "127.0.0.1"
    assert resolver.asked == 2, "one question at a time"
    target.close()
    await asyncio.sleep(0)


async def test_a_changed_answer_is_taken_over_and_counted(monkeypatch, listener) -> None:
    """U19."""
    resolver = Resolver(monkeypatch)
    resolver.answers = [["127.0.0.1"], ["127.0.0.2", "127.0.0.1"]]
    target = Target(f"http://name.example:{listener}")
    await connect(target)
    generation = target.generation
    target.refresh(seconds(60))
    await eventually_async(lambda: target.generation == generation + 1)
    assert sorted(target.addresses) == ["127.0.0.1", "127.0.0.2"]


async def test_a_reload_keeps_what_is_known_of_a_name(monkeypatch, listener) -> None:
    resolver = Resolver(monkeypatch)
    resolver.answers = [["127.0.0.1"]]
    former = Target(f"http://name.example:{listener}")
    former.refresh(seconds(1))
    assert await connect(former) == "127.0.0.1"
    target = Target(former.url)
    target.inherit(former)
    assert await connect(target) == "127.0.0.1"
    target.refresh(seconds(2))
    assert resolver.asked == 1
    assert target.generation == former.generation


async def test_who_waits_for_the_first_answer_outlives_a_reload(monkeypatch, listener) -> None:
    """U19."""
    resolver = Resolver(monkeypatch)
    resolver.answers = [["127.0.0.1"]]
    former = Target(f"http://name.example:{listener}")
    waiting = asyncio.create_task(connect(former))
    await asyncio.sleep(0)
    Target(former.url).inherit(former)
    assert await waiting == "127.0.0.1"


async def test_who_waits_for_a_question_that_is_called_off_is_told(monkeypatch) -> None:
    """U19: and not cancelled with it, for its slot would be lost."""
    resolver = Resolver(monkeypatch)
    resolver.hangs = True
    target = Target("http://name.example:1")
    waiting = asyncio.create_task(target.connect(asyncio.Protocol, now=0))
    await eventually_async(lambda: resolver.asked == 1)
    target.close()
    with pytest.raises(OSError, match="no address"):
        await waiting


async def test_a_name_that_was_never_known_is_an_error_and_asked_for_again(monkeypatch) -> None:
    resolver = Resolver(monkeypatch)
    resolver.answers = [socket.gaierror("unknown"), ["127.0.0.1"]]
    target = Target("http://name.example:1")
    with pytest.raises(socket.gaierror):
        await target.connect(asyncio.Protocol, now=0)
    with pytest.raises(socket.gaierror):
        await target.connect(asyncio.Protocol, now=1)
    assert resolver.asked == 1
    with pytest.raises(ConnectionRefusedError):
        await target.connect(asyncio.Protocol, now=seconds(2))


async def test_connections_are_spread_over_all_addresses(monkeypatch) -> None:
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "0.0.0.0", 0)
    port = server.sockets[0].getsockname()[1]
    resolver = Resolver(monkeypatch)
    resolver.answers = [["127.0.0.1", "127.0.0.2", "127.0.0.3"]]
    target = Target(f"http://name.example:{port}")
    met = [await connect(target) for _ in range(6)]
    assert sorted(met[:3]) == ["127.0.0.1", "127.0.0.2", "127.0.0.3"]
    assert met[3:] == met[:3]
    server.close()
    await server.wait_closed()


async def test_an_address_that_fails_comes_last_until_the_resolver_was_asked(
    monkeypatch, listener
) -> None:
    resolver = Resolver(monkeypatch)
    resolver.answers = [["127.0.0.9", "127.0.0.1"]] * 2
    target = Target(f"http://name.example:{listener}")
    tried = []
    loop = asyncio.get_running_loop()
    create_connection = loop.create_connection

    async def counted(factory, address, *rest, **options):
        tried.append(address)
        return await create_connection(factory, address, *rest, **options)

    monkeypatch.setattr(loop, "create_connection", counted)
    for _ in range(4):
        assert await connect(target) == "127.0.0.1"
    assert tried.count("127.0.0.9") == 1
    target.refresh(seconds(60))
    await eventually_async(lambda: resolver.asked == 2)
    for _ in range(2):
        assert await connect(target) == "127.0.0.1"
    assert tried.count("127.0.0.9") == 2


async def test_each_address_has_its_part_of_the_time(monkeypatch) -> None:
    """U2: one that drops every packet does not cost the others their turn."""
    resolver = Resolver(monkeypatch)
    resolver.answers = [["10.0.0.1", "10.0.0.2"]]
    target = Target("http://name.example:80")
    target.connect_ns = milliseconds(60)

    async def hang(*_, **__):
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", hang)
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        await target.connect(asyncio.Protocol, now=0)
    assert 0.05 < time.monotonic() - began < 10


async def test_a_peer_that_acknowledges_nothing_is_given_up(listener) -> None:
    """U18: the options that make the kernel see it within 15 s."""
    transport, _ = await Target(f"http://127.0.0.1:{listener}").connect(asyncio.Protocol, now=0)
    sock = transport.get_extra_info("socket")
    option = (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
    assert sock.getsockopt(*option) == 10_000
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    bound_silence(transport, is_bound=False)
    assert sock.getsockopt(*option) == 0
    transport.abort()
