"""What clients do in a soak: good ones check every byte, hostile ones break off, stall and lie.

A conversation is a coroutine on one fresh connection; it notes what became of each request in the
tally. Good ones know what they must be told; hostile ones only must not be served by mistake.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from harness.service import pattern

from shedproxy.clock import monotonic_now
from shedproxy.core import NS_PER_S

__all__ = ["GOOD", "HOSTILE", "Loss", "Tally", "visit"]

PATIENCE_S = 15.0
"""So long a client waits for what comes next."""
GET = b"GET / HTTP/1.1\r\nhost: soak\r\n\r\n"
UPGRADE = (
    b"GET /socket HTTP/1.1\r\nhost: soak\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
    b"sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
MALFORMED = (
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
    b"GET /\x00 HTTP/1.1\r\nhost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nhost : a\r\n\r\n",
    b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx",
    b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n",
    b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
    b"GET / HTTP/1.1\r\nhost: a\r\n" + b"x: y\r\n" * 200 + b"\r\n",
    b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nhost: a\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 64 + b"\r\n\r\n",
)


@dataclass(frozen=True, slots=True)
class Loss:
    """A request of a good client that got no whole answer, or another one than its own."""

    at_s: float
    kind: str
    what: str
    """`lost`: not a byte, then the end; `cut`: a part, then the end; `stuck`: neither all of it nor
    the end; `wrong`: not the answer to it; `upstream`: 502 or 504."""
    silent_s: float = 0.0
    """So long the client had said nothing before it asked; 0.0: it was answered since."""
    how: str = ""
    """What the client saw of it."""


@dataclass(slots=True)
class Tally:
    """What became of everything."""

    began_at: int = field(default_factory=monotonic_now)
    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(kind of client, what became of a request) -> how often."""
    losses: list[Loss] = field(default_factory=list)

    def now_s(self) -> float:
        """Seconds since the start."""
        return (monotonic_now() - self.began_at) / NS_PER_S

    def note(self, kind: str, what: str, silent_s: float = 0.0, how: str = "") -> None:
        """One more; what a good client should not meet is kept with its time."""
        self.outcomes[kind, what] += 1
        if kind in GOOD and what not in {"served", "refused"}:
            self.losses.append(Loss(self.now_s(), kind, what, silent_s, how))


class Wire:
    """One connection of a client."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, begun_at: int
    ) -> None:
        self.reader = reader
        self.writer = writer
        self.has_answer = False
        """Whether a byte of the present answer has come."""
        self.is_over = False
        self.answers = 0
        self.silent_s = 0.0
        self._heard_at = self._said_at = begun_at

    async def send(self, data: bytes) -> None:
        self.has_answer = False
        self._said_at = monotonic_now()
        self.silent_s = (self._said_at - self._heard_at) / NS_PER_S
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self) -> tuple[int, bytes]:
        """The next final answer, whole."""
        while True:
            head = (await self.reader.readuntil(b"\r\n\r\n")).lower()
            self.has_answer = True
            status = int(head.split(b" ", 2)[1])
            if status >= 200 or status == 101:
                break
        self.is_over = b"\r\nconnection: close" in head
        length = head.partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0]
        body = await self.reader.readexactly(int(length or 0))
        self.answers += 1
        self.silent_s = 0.0
        self._heard_at = monotonic_now()
        return status, body

    def story(self, error: Exception) -> str:
        """What this is the end of."""
        said_s = (monotonic_now() - self._said_at) / NS_PER_S
        return (
            f"{type(error).__name__} behind {self.answers} answers,"
            f" said {said_s:.2f} s ago after {self.silent_s:.2f} s"
        )


@asynccontextmanager
async def wire(port: int) -> AsyncIterator[Wire]:
    # The proxy may be waiting for a word before we know that we are connected.
    begun_at = monotonic_now()
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=256 * 1024)
    try:
        yield Wire(reader, writer, begun_at)
    finally:
        writer.transport.abort()


async def visit(kind: str, port: int, tally: Tally, rng: random.Random) -> None:
    """One conversation of a kind, to its end."""
    is_good = kind in GOOD
    talk = (GOOD if is_good else HOSTILE)[kind]
    line: Wire | None = None
    try:
        async with asyncio.timeout(PATIENCE_S) as patience, wire(port) as line:
            async for what in talk(line, rng):
                tally.note(kind, what)
                patience.reschedule(asyncio.get_running_loop().time() + PATIENCE_S)
    except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
        has_answer, silent_s, how = False, 0.0, f"{type(error).__name__}, not connected"
        if line is not None:
            has_answer, silent_s, how = line.has_answer, line.silent_s, line.story(error)
        if isinstance(error, TimeoutError):  # which is an OSError
            what = "stuck"
        elif is_good:
            what = "cut" if has_answer else "lost"
        else:
            what = "ended by the proxy"
        tally.note(kind, what, silent_s, how)


def judged(status: int, *, is_right: bool) -> str:
    """What a good client makes of an answer."""
    if status in {429, 503}:
        return "refused"
    if status in {502, 504}:
        return "upstream"
    return "served" if status == 200 and is_right else f"wrong {status}"


# --- good ------------------------------------------------------------------------------------


async def keep_alive(line: Wire, rng: random.Random) -> AsyncIterator[str]:
    """Some requests, a pause between."""
    for _ in range(rng.randrange(1, 12)):
        await line.send(GET)
        status, body = await line.answer()
        yield judged(status, is_right=body == b"ok\n")
        if line.is_over:
            return
        await asyncio.sleep(rng.uniform(0, 0.05))


async def once(line: Wire, rng: random.Random) -> AsyncIterator[str]:
    """One request that asks for the connection to be closed."""
    await line.send(GET[:-2] + b"connection: close\r\n\r\n")
    status, body = await line.answer()
    yield judged(status, is_right=body == b"ok\n" and not await line.reader.read())


async def pipelined(line: Wire, rng: random.Random) -> AsyncIterator[str]:
    """Several requests in one go; their answers differ in length."""
    sizes = [rng.randrange(1, 2000) for _ in range(rng.randrange(2, 9))]
    asked = (b"GET /download?size=%d HTTP/1.1\r\nhost: soak\r\n\r\n" % size for size in sizes)
    await line.send(b"".join(asked))
    for size in sizes:
        line.has_answer = False
        status, body = await line.answer()
        yield judged(status, is_right=body == pattern(0, size))
        if line.is_over:
            return


async def upload(line: Wire, rng: random.Random) -> AsyncIterator[str]:
    """A body, counted or in chunks; the service says whether it is what was sent."""
    size = rng.choice((1, 1000, 70_000, 500_000))
    body = bytes(pattern(0, size))
    if rng.random() < 0.5:
        framing, body = b"transfer-encoding: chunked", b"%x\r\n%b\r\n0\r\n\r\n" % (size, body)
    else:
        framing = b"content-length: %d" % size
    await line.send(b"POST /upload HTTP/1.1\r\nhost: soak\r\n%b\r\n\r\n" % framing)
    with suppress(ConnectionError):  # refused already: the answer is there to read
        line.writer.write(body)
        await line.writer.drain()
    status, answer = await line.answer()
    yield judged(status, is_right=status != 200 or _is_good(answer, size))


def _is_good(answer: bytes, size: int) -> bool:
    return json.loads(answer) == {"size": size, "is_good": True}


async def download(line: Wire, rng: random.Random) -> AsyncIterator[str]:
    """A large answer, compared with what it must be."""
    size = rng.choice((100_000, 1_000_000))
    await line.send(b"GET /download?size=%d HTTP/1.1\r\nhost: soak\r\n\r\n" % size)
    status, body = await line.answer()
    yield judged(status, is_right=body == pattern(0, size))


async def web_socket(line: Wire, rng: random.Random) -> AsyncIterator[str]:
    """An upgrade, and some echoes."""
    await line.send(UPGRADE)
    status, _ = await line.answer()
    if status != 101:
        yield judged(status, is_right=False)
        return
    for _ in range(rng.randrange(1, 5)):
        said = rng.randbytes(rng.randrange(1, 3000))
        await line.send(said)
        line.has_answer = True
        if await line.reader.readexactly(len(said)) != said:
            yield "wrong echo"
            return
        await asyncio.sleep(rng.uniform(0, 0.05))
    yield "served"


async def events(line: Wire, rng: random.Random) -> AsyncIterator[str]:
    """An event stream: its first event, then the client leaves."""
    await line.send(b"GET /sse HTTP/1.1\r\nhost: soak\r\n\r\n")
    status, _ = await line.answer()
    if status != 200:
        yield judged(status, is_right=False)
        return
    event = await line.reader.readuntil(b"\n\n\r\n")
    yield "served" if b"data: hello" in event else "wrong event"
    await asyncio.sleep(rng.uniform(0, 0.2))


# --- hostile ---------------------------------------------------------------------------------


async def slow_head(line: Wire, rng: random.Random) -> AsyncIterator[str]:
    """A byte now and then, and never the end."""
    for byte in GET[:-1]:
        await line.send(bytes([byte]))
        await asyncio.sleep(rng.uniform(0.05, 0.3))
    yield "left"


async def slow_body(line: Wire, rng: random.Random) -> AsyncIterator[str]:
    """A body of which next to nothing comes, before or after it has a slot."""
    sent = rng.choice((1, 100_000))
    await line.send(b"POST /upload HTTP/1.1\r\nhost: soak\r\ncontent-length: 900000\r\n\r\n")
    await line.send(b"x" * sent)
    for _ in range(20):
        await line.send(b"x")
        await asyncio.sleep(rng.uniform(0.1, 0.5))
    yield "left"


async def slow_reader(line: Wire, rng: random.Random) -> AsyncIterator[str]:
    """Asks for much and reads little of it."""
    await line.send(b"GET /download?size=8000000 HTTP/1.1\r\nhost: soak\r\n\r\n")
    line.writer.transport.pause_reading()
    await asyncio.sleep(rng.uniform(0.5, 6))
    yield "left"


async def leaver(line: Wire, rng: random.Random) -> AsyncIterator[str]:
    """Breaks off at any moment of any request."""
    post = b"POST /upload HTTP/1.1\r\nhost: soak\r\ncontent-length: 200000\r\n\r\n"
    data = rng.choice((GET, post + b"x" * 200_000, UPGRADE, GET * 4))
    await line.send(data[: rng.randrange(1, len(data) + 1)])
    await asyncio.sleep(rng.choice((0, 0.002, 0.01, 0.03)))
    yield "left"


async def malformed(line: Wire, rng: random.Random) -> AsyncIterator[str]:
    """Something that is not HTTP/1.1: refused by a 4xx or closed."""
    await line.send(rng.choice(MALFORMED))
    status, _ = await line.answer()
    yield "refused" if 400 <= status < 500 or status == 501 else f"wrong {status}"


Talk = Callable[[Wire, random.Random], AsyncIterator[str]]
GOOD: dict[str, Talk] = {
    talk.__name__: talk
    for talk in (keep_alive, once, pipelined, upload, download, web_socket, events)
}
HOSTILE: dict[str, Talk] = {
    talk.__name__: talk for talk in (slow_head, slow_body, slow_reader, leaver, malformed)
}
