from __future__ import annotations

import asyncio
import socket

import pytest

from shedproxy.core import seconds
from shedproxy.dataplane.wire.target import Target
from shedproxy.snapshot import TlsDocument

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
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", self.look_up)

    async def look_up(self, host, port, *, type):
        self.asked += 1
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return [(socket.AF_INET, type, 0, "", (address, port)) for address in answer]


async def test_the_last_good_answer_of_the_resolver_stays(monkeypatch) -> None:
    """U19."""
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    resolver = Resolver(monkeypatch)
    resolver.answers = [["127.0.0.1"], socket.gaierror("gone"), [], ["127.0.0.1"]]
    target = Target(f"http://name.example:{port}")
    for step in range(5):
        transport, _ = await target.connect(asyncio.Protocol, now=step * seconds(6))
        transport.close()
        await asyncio.sleep(0.001)
        if step == 3:
            assert resolver.asked == 4
            resolver.answers = [["127.0.0.1"]]
    # Within its period nothing is asked.
    transport, _ = await target.connect(asyncio.Protocol, now=4 * seconds(6) + 1)
    transport.close()
    assert resolver.asked == 5
    server.close()
    await server.wait_closed()


async def test_a_name_that_was_never_known_is_an_error(monkeypatch) -> None:
    resolver = Resolver(monkeypatch)
    resolver.answers = [socket.gaierror("unknown")]
    with pytest.raises(OSError):
        await Target("http://name.example").connect(asyncio.Protocol, now=0)


async def test_every_address_is_tried(monkeypatch) -> None:
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    resolver = Resolver(monkeypatch)
    resolver.answers = [["127.0.0.9", "127.0.0.1"]]
    transport, _ = await Target(f"http://name.example:{port}").connect(asyncio.Protocol, now=0)
    assert transport.get_extra_info("peername")[0] == "127.0.0.1"
    transport.close()
    server.close()
    await server.wait_closed()
