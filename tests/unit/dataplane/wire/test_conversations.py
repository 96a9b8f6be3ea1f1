"""Random conversations through the proxy, read on both sides by parsers that are not its own.

A schedule is an interleaving, byte by byte if it comes to that, of what clients send and take, what
upstreams read and answer, peers that stop reading, leave or die, and time. Whatever the order: an
upstream reads exactly what a client sent, a client gets exactly the answers to its own requests in
their order, and in the end every permit and every connection has been given back.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest
from harness.messages import Message, Request, make_answer, make_request, parse

from shedproxy.core import milliseconds, seconds

pytestmark = pytest.mark.anyio

SEEDS = range(40)
CLIENTS = 5
REQUESTS = 6


class Peer:
    """One end of a connection: what it has still to send, and what it has been sent."""

    def __init__(self, chance: random.Random, transport) -> None:
        self.chance = chance
        self.transport = transport
        self.to_send = b""
        self.received = b""
        self.has_left = False

    @property
    def is_here(self) -> bool:
        return not (self.has_left or self.transport.is_closed)

    def send_some(self) -> None:
        if self.is_here and self.to_send and not self.transport.is_paused:
            size = self.chance.choice((1, 3, 50, 700, 10_000))
            piece, self.to_send = self.to_send[:size], self.to_send[size:]
            self.transport.protocol.data_received(piece)

    def take(self) -> None:
        if not self.transport.is_stuck:
            self.received += self.transport.take()

    def toggle_reading(self) -> None:
        if self.transport.is_stuck:
            self.transport.unstick()
        elif self.is_here:
            self.transport.is_stuck = True

    def leave(self) -> None:
        if self.is_here:
            self.has_left = True
            self.transport.lose(self.chance.choice((None, ConnectionResetError())))


class Client(Peer):
    def __init__(self, chance: random.Random, transport, number: int) -> None:
        super().__init__(chance, transport)
        count = chance.randint(1, REQUESTS)
        self.requests = [
            make_request(chance, f"{transport.peer}-{number}-{index}", is_last=index == count - 1)
            for index in range(count)
        ]
        self.to_send = b"".join(request.raw for request in self.requests)
        self.next = 0
        self.was_told_close = False
        self.refusals = 0

    def take(self) -> None:
        super().take()
        while self.received and self.next < len(self.requests):
            request = self.requests[self.next]
            message, rest = parse(self.received, is_bodiless=True)
            if message is None:
                return
            if message.status < 200:
                assert request.version_minor or message.status != 103
                self.received = rest
                continue
            is_bodiless = request.method == "HEAD" or message.status in {204, 304}
            message, rest = parse(self.received, is_bodiless=is_bodiless, until_close=True)
            assert not self.was_told_close, "an answer after the last one"
            if not message.is_whole:
                return
            self._check(request, message)
            self.received = rest
            self.next += 1
            self.was_told_close = message.get("connection") == "close"

    def _check(self, request: Request, message: Message) -> None:
        assert message.get("date") is not None
        if message.get("shedproxy-reason") is not None:
            self.refusals += 1
            return
        answer = make_answer(request.name, request.method)
        assert message.get("x-name") == request.name
        assert message.status == answer.status
        assert message.body == answer.body

    def finish(self) -> None:
        """The end of the connection ends a body that has no other end."""
        self.take()
        if self.received and not self.transport.is_aborted and not self.has_left:
            request = self.requests[self.next]
            message, rest = parse(self.received, until_close=True)
            if message.get("content-length") is None and message.get("transfer-encoding") is None:
                assert not request.version_minor
                self._check(request, message)
                self.next += 1


@dataclass
class Seen:
    """What reached the upstreams."""

    requests: dict[str, list[Message]] = field(default_factory=dict)


class Upstream(Peer):
    def __init__(self, chance: random.Random, transport, seen: Seen, *, is_hasty: bool) -> None:
        super().__init__(chance, transport)
        self.seen = seen
        self.is_hasty = is_hasty
        self.ends = False
        self.answered_early = False

    def take(self) -> None:
        super().take()
        while self.received and not self.to_send and not self.ends and not self.answered_early:
            message, rest = parse(self.received)
            if message is None:
                return
            if not message.is_whole:
                if not self.is_hasty or self.chance.random() < 0.9:
                    return
                self.answered_early = True
            else:
                self.received = rest
                self.seen.requests.setdefault(message.get("x-name"), []).append(message)
            answer = make_answer(message.get("x-name"), message.start.split()[0])
            self.to_send = answer.raw
            self.ends = answer.ends

    def send_some(self) -> None:
        super().send_some()
        if self.is_here and self.ends and not self.to_send and not self.transport.is_paused:
            self.has_left = True
            self.transport.protocol.eof_received()
            self.transport.lose()


class World:
    """All of them, and chance."""

    def __init__(self, bench, seed: int, *, has_faults: bool) -> None:
        self.bench = bench
        self.chance = random.Random(seed)
        self.has_faults = has_faults
        self.seen = Seen()
        self.clients = [
            Client(self.chance, bench.client(f"192.0.2.{number}"), number)
            for number in range(CLIENTS)
        ]
        self.upstreams: dict[int, Upstream] = {}

    def meet(self) -> None:
        for transport in self.bench.upstreams:
            if id(transport) not in self.upstreams:
                self.upstreams[id(transport)] = Upstream(
                    self.chance, transport, self.seen, is_hasty=self.has_faults
                )

    async def step(self) -> None:
        chance = self.chance
        self.meet()
        peer = chance.choice([*self.clients, *list(self.upstreams.values())[-8:]])
        dice = chance.random()
        if dice < 0.5:
            peer.send_some()
        elif dice < 0.85:
            peer.take()
        elif dice < 0.92:
            peer.toggle_reading()
        elif dice < 0.97:
            await self.bench.settle()
        elif dice < 0.985:
            await self.bench.advance(milliseconds(chance.choice((1, 30, 200))))
        elif self.has_faults and dice > 0.998:
            peer.leave()

    async def finish(self) -> None:
        """Everybody reads and sends on until nothing is left to say."""
        quiet = 0
        while quiet < 5:
            self.meet()
            peers = [*self.clients, *self.upstreams.values()]
            before = [(len(peer.to_send), len(peer.received)) for peer in peers]
            for peer in peers:
                if peer.transport.is_stuck:
                    peer.transport.unstick()
                peer.take()
                peer.send_some()
            await self.bench.settle()
            is_same = before == [(len(peer.to_send), len(peer.received)) for peer in peers]
            quiet = quiet + 1 if is_same else 0
        for _ in range(60):
            await self.bench.advance(seconds(1))
            self.bench.driver.tick()
        for client in self.clients:
            client.finish()


@pytest.mark.parametrize("has_faults", [False, True], ids=["sound", "faulty"])
@pytest.mark.parametrize("seed", SEEDS)
async def test_what_one_side_says_is_what_the_other_hears(still, seed, has_faults) -> None:
    bench = still(
        limit=2,
        permit_body_size=500,
        buffer_size=1500,
        upstream={"connections_max": 3},
        timeouts={
            "response_ns": seconds(4),
            "upstream_idle_ns": seconds(4),
            "client_body_ns": seconds(4),
            "client_write_ns": seconds(4),
            "client_head_ns": seconds(4),
            "client_idle_ns": seconds(5),
            "pool_idle_ns": seconds(5),
        },
    )
    world = World(bench, seed, has_faults=has_faults)
    for _ in range(700):
        await world.step()
    await world.finish()
    sent = {
        request.name: (client, request) for client in world.clients for request in client.requests
    }
    for name, messages in world.seen.requests.items():
        client, request = sent[name]
        for message in messages:
            assert message.start == f"{request.method} /{name}?a=b HTTP/1.1"
            assert message.get("host") == f"host-{name}"
            assert message.get("x-forwarded-for") == client.transport.peer
            assert message.body == request.body
        assert len(messages) == 1 or has_faults
        assert len(messages) == 1 or request.method not in {"POST"}
    if not has_faults:
        for client in world.clients:
            assert client.next == len(client.requests) or client.was_told_close
    cell = bench.cell
    assert (cell.in_flight, cell.queue_length, cell.residents, cell.zombies) == (0, 0, 0, 0)
    assert not bench.server.clients
    assert bench.server.upstream_connections == 0
    assert all(transport.is_closed for transport in bench.upstreams)
    assert not len(bench.server.wheel)
