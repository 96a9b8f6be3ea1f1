from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import ExitStack

import pytest
import trustme

from shedproxy.core import NS_PER_S, seconds
from shedproxy.dataplane.wire import handshakes as module
from shedproxy.dataplane.wire.tls import server_context
from shedproxy.observability.meter import ProcessCounter
from shedproxy.snapshot import Classification, TlsDocument
from shedproxy.testing import eventually_async

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def tls(tmp_path_factory) -> TlsDocument:
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    trustme.CA().issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(file))
    return TlsDocument(cert=str(file), key=str(file))


def hello() -> bytes:
    """The first bytes of a TLS client."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    outgoing = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


class Door:
    """A listener with TLS on a clock that stands still, and bare sockets before it."""

    def __init__(self, bench, context: ssl.SSLContext, stack: ExitStack) -> None:
        self.bench = bench
        self.reception = bench.server.reception
        self._context = context
        self._stack = stack
        self._listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))

    async def open(self) -> Door:
        await self.reception.open([self._listener], self._context)
        self._stack.callback(self.reception.close)
        self.handshakes = self.reception._handshakes
        return self

    def connect(self, data: bytes = b"", source: str = "127.0.0.1") -> socket.socket:
        address = self._listener.getsockname()
        sock = socket.create_connection(address, source_address=(source, 0), timeout=5)
        self._stack.enter_context(sock)
        sock.send(data)
        return sock

    async def arrived(self, count: int) -> None:
        await eventually_async(lambda: len(self.reception.crowd) == count, what=f"{count} inside")

    @property
    def begun(self) -> int:
        return len(self.handshakes._shaking)


@pytest.fixture
async def door(still, tls):
    with ExitStack() as stack:

        async def make(*, rate: int = 0, **how) -> Door:
            bench = still(tls=tls, handshake_rate_max=rate, **how)
            return await Door(bench, server_context(tls), stack).open()

        yield make
    await asyncio.sleep(0)


async def test_a_handshake_begins_when_the_whole_hello_is_in(door) -> None:
    opened = await door()
    data = hello()
    client = opened.connect()
    await opened.arrived(1)
    for piece in (data[:3], data[3:100], data[100:-1]):
        client.send(piece)
        await asyncio.sleep(0.01)
        assert opened.begun == 0
    client.send(data[-1:])
    await eventually_async(lambda: opened.begun == 1)


async def test_half_a_hello_keeps_no_loop_busy(door) -> None:
    opened = await door()
    looks = []
    opened.connect(hello()[:50])
    await opened.arrived(1)
    (newcomer,) = opened.handshakes._silent
    missing = module.Newcomer.missing
    opened.bench.server.loop.remove_reader(newcomer.sock)
    opened.bench.server.loop.add_reader(newcomer.sock, lambda: looks.append(missing(newcomer)))
    await asyncio.sleep(0.05)
    assert not looks


async def test_who_ends_in_the_middle_of_its_hello_goes_at_once(door) -> None:
    """The kernel would tell of it in every turn of the loop, as long as it may take."""
    opened = await door()
    client = opened.connect(hello()[:50])
    await opened.arrived(1)
    client.shutdown(socket.SHUT_WR)
    await opened.arrived(0)
    assert not opened.handshakes._silent


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n\r\n", hello()[:5] + b"\xff" * 600])
async def test_what_is_no_tls_is_turned_away(door, data) -> None:
    opened = await door()
    client = opened.connect(data)
    client.setblocking(False)
    with pytest.raises((BlockingIOError, ssl.SSLError)):
        client.recv(1)
    await opened.arrived(0)
    assert not opened.reception.clients


async def test_no_more_begin_than_the_rate_allows(door) -> None:
    """20 a second: two at once, and then one every 50 ms."""
    opened = await door(rate=20)
    for _ in range(5):
        opened.connect(hello())
    await opened.arrived(5)
    await eventually_async(lambda: opened.begun == 2)
    await asyncio.sleep(0.15)
    assert opened.begun == 2, "the clock stands still"
    opened.bench.clock.advance(NS_PER_S // 20)
    await eventually_async(lambda: opened.begun == 3)
    opened.handshakes.set_rate(0)
    opened.bench.clock.advance(NS_PER_S)
    await eventually_async(lambda: opened.begun == 5)


async def test_trusted_come_first_and_other_addresses_take_turns(door, monkeypatch) -> None:
    trusted = Classification(trusted_peers=("127.0.0.9",))
    opened = await door(rate=20, document={"classification": trusted})
    order = []
    shake = opened.handshakes._shake

    def noting(newcomer) -> None:
        order.append(newcomer.sock.getpeername()[0])
        shake(newcomer)

    monkeypatch.setattr(opened.handshakes, "_shake", noting)
    sources = ["127.0.0.2"] * 5 + ["127.0.0.3", "127.0.0.9"]
    for count, source in enumerate(sources, start=1):
        opened.connect(hello(), source)
        await opened.arrived(count)
    await eventually_async(lambda: opened.begun == 2)
    opened.bench.clock.advance(NS_PER_S)
    opened.handshakes.set_rate(0)
    await eventually_async(lambda: len(order) == len(sources))
    assert order[2:5] in (
        ["127.0.0.9", "127.0.0.2", "127.0.0.3"],
        ["127.0.0.9", "127.0.0.3", "127.0.0.2"],
    )


@pytest.mark.parametrize("phase", ["silent", "ready", "called", "shaking"])
async def test_a_newcomer_can_be_let_go_of_in_every_phase(door, phase) -> None:
    opened = await door(rate=20)
    if phase in {"ready", "called"}:
        for _ in range(2):
            opened.connect(hello())
        await eventually_async(lambda: opened.begun == 2)
    already = len(opened.reception.crowd)
    client = opened.connect(b"" if phase == "silent" else hello())
    await opened.arrived(already + 1)
    if phase == "silent":
        (newcomer,) = opened.handshakes._silent
    elif phase == "shaking":
        await eventually_async(lambda: opened.begun == 1)
        (newcomer,) = opened.handshakes._shaking.values()
        await eventually_async(lambda: newcomer.has_begun)
    else:
        await eventually_async(lambda: opened.handshakes._ready)
        (line,) = opened.handshakes._ready.values()
        (newcomer,) = line
    if phase == "called":  # its handshake is to begin in the next turn of the loop
        opened.handshakes.set_rate(0)
        opened.handshakes._serve()
        assert not newcomer.has_begun
    opened.reception.evict(newcomer)
    opened.handshakes.drop(newcomer)
    assert opened.bench.driver.meter.counted(ProcessCounter.EVICTED_HANDSHAKE) == 1
    client.setblocking(False)

    def is_closed() -> bool:
        try:
            return not client.recv(65536)
        except BlockingIOError:
            return False
        except ConnectionError:
            return True

    await eventually_async(is_closed)
    assert len(opened.reception.crowd) == already
    assert not opened.handshakes._ready
    assert not opened.handshakes._silent


async def test_who_says_nothing_in_time_is_closed(door) -> None:
    opened = await door(timeouts={"client_head_ns": seconds(1)})
    opened.connect()
    await opened.arrived(1)
    await opened.bench.advance(seconds(2))
    assert len(opened.reception.crowd) == 0


async def test_beyond_so_many_the_kernel_keeps_the_rest(door, monkeypatch) -> None:
    """And those who say nothing make room after a second."""
    monkeypatch.setattr(module, "WAITING_MAX", 2)
    monkeypatch.setattr(module, "PAUSE_S", 0.01)
    opened = await door()
    for _ in range(3):
        opened.connect()
    await opened.arrived(2)
    await asyncio.sleep(0.05)
    assert len(opened.reception.crowd) == 2
    opened.bench.clock.advance(seconds(2))
    counted = opened.bench.driver.meter.counted
    await eventually_async(lambda: counted(ProcessCounter.EVICTED_HANDSHAKE) == 1)
    assert len(opened.reception.crowd) == 2


async def test_who_has_left_costs_no_turn(door) -> None:
    opened = await door(rate=20)
    for _ in range(2):
        opened.connect(hello())
    await eventually_async(lambda: opened.begun == 2)
    leavers = [opened.connect(hello(), "127.0.0.2") for _ in range(5)]
    await opened.arrived(7)
    for leaver in leavers:
        leaver.close()
    opened.connect(hello())
    opened.bench.clock.advance(NS_PER_S // 20)
    await eventually_async(lambda: opened.begun == 3)
    assert len(opened.reception.crowd) == 3


async def test_who_has_left_makes_room_for_who_waits_in_the_kernel(door, monkeypatch) -> None:
    monkeypatch.setattr(module, "WAITING_MAX", 2)
    monkeypatch.setattr(module, "PAUSE_S", 0.01)
    opened = await door(rate=20)
    for _ in range(2):
        opened.connect(hello())
    await eventually_async(lambda: opened.begun == 2)
    leavers = [opened.connect(hello()) for _ in range(2)]
    await opened.arrived(4)
    opened.connect(hello())
    for leaver in leavers:
        leaver.close()
    await opened.arrived(3)


async def test_who_is_handshaking_counts_for_the_bounds(door) -> None:
    opened = await door(connections_per_address_max=2)
    for _ in range(2):
        opened.connect()
    await opened.arrived(2)
    late = opened.connect()
    counted = opened.bench.driver.meter.counted
    await eventually_async(lambda: counted(ProcessCounter.CONNECTIONS_DROPPED) == 1)
    assert late.recv(1) == b""
    opened.connect(source="127.0.0.2")
    await opened.arrived(3)


async def test_at_the_bound_the_longest_waiting_newcomer_goes(door) -> None:
    opened = await door(connections_max=2)
    first = opened.connect()
    await opened.arrived(1)
    opened.bench.clock.advance(1)
    opened.connect()
    await opened.arrived(2)
    opened.connect()
    counted = opened.bench.driver.meter.counted
    await eventually_async(lambda: counted(ProcessCounter.EVICTED_HANDSHAKE) == 1)
    assert first.recv(1) == b""


async def test_without_descriptors_nothing_is_accepted_and_nothing_spins(door, monkeypatch) -> None:
    """H9."""
    monkeypatch.setattr(module, "PAUSE_S", 0.02)
    opened = await door()
    tried = []

    class Exhausted:
        def accept(self):
            tried.append(1)
            raise OSError(24, "Too many open files")

        def setblocking(self, _) -> None: ...

        def fileno(self) -> int:
            return opened._listener.fileno()

    opened.handshakes.stop()
    opened.handshakes._listeners = (Exhausted(),)
    opened.handshakes.open()
    opened.connect()
    await asyncio.sleep(0.1)
    assert 1 <= len(tried) <= 6
    opened.handshakes.stop()
    opened.handshakes._listeners = (opened._listener,)
    opened.handshakes.open()
    await opened.arrived(1)
