"""Random conversations over real sockets: what one side says is what the other hears.

`tests/unit/dataplane/wire/test_conversations.py` tries far more orders, without a kernel.
"""

from __future__ import annotations

import asyncio
import random

import pytest
from harness.messages import make_answer, make_request, parse

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

CLIENTS = 6


class Handler:
    """An upstream that answers each request with the one answer to it, in random pieces."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.requests = {}

    async def __call__(self, talk) -> None:
        received = b""
        while True:
            message, rest = parse(received)
            if message is None or not message.is_whole:
                piece = await talk.reader.read(self.chance.choice((1, 100, 65536)))
                if not piece:
                    return
                received += piece
                continue
            received = rest
            name = message.get("x-name")
            assert name not in self.requests
            self.requests[name] = message
            answer = make_answer(name, message.start.split()[0])
            await send(self.chance, talk.writer, answer.raw)
            if answer.ends:
                return


async def send(chance: random.Random, writer, data: bytes) -> None:
    while data:
        size = chance.choice((1, 40, 1000, 100_000))
        piece, data = data[:size], data[size:]
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(chance.choice((0, 0, 0, 0.0005)))


async def converse(chance: random.Random, proxy, number: int, sent: dict) -> None:
    count = chance.randint(1, 8)
    requests = [
        make_request(chance, f"{number}-{index}", is_last=index == count - 1)
        for index in range(count)
    ]
    sent.update({request.name: request for request in requests})
    client = await proxy.connect()
    raw = b"".join(request.raw for request in requests)
    sending = asyncio.create_task(send(chance, client.writer, raw))
    for request in requests:
        answer = await client.answer(head=request.method == "HEAD")
        while answer.status < 200:
            answer = await client.answer(head=request.method == "HEAD")
        expected = make_answer(request.name, request.method)
        assert (answer.status, answer.body) == (expected.status, expected.body)
        assert answer.field("x-name") == request.name
    await sending


@pytest.mark.parametrize("seed", range(15))
async def test_what_one_side_says_is_what_the_other_hears(bench, seed) -> None:
    chance = random.Random(seed)
    handlers = [Handler(chance), Handler(chance)]
    upstreams = [await bench.upstream(handler) for handler in handlers]
    proxy = await bench.proxy(
        *(upstream.url for upstream in upstreams),
        limit=3,
        upstream={"connections_max": 2},
        proxy={"permit_body_size": 1000, "buffer_size": 4096},
    )
    sent: dict = {}
    await asyncio.gather(*(converse(chance, proxy, number, sent) for number in range(CLIENTS)))
    seen = handlers[0].requests | handlers[1].requests
    assert seen.keys() == sent.keys()
    for name, message in seen.items():
        assert message.start == f"{sent[name].method} /{name}?a=b HTTP/1.1"
        assert message.body == sent[name].body
        assert message.get("host") == f"host-{name}"
    await proxy.idle()
