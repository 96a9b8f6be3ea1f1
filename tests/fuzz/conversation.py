"""Target `exchange`: an input is a script of what peers do, when, and how long nothing happens.

The first byte picks a configuration. Then steps, each ended by 0xFF: one byte says what, one byte
says who and whether the loop runs after it, the rest is what is said. Every input is a script.
"""

from __future__ import annotations

from dataclasses import replace

from fuzz.expectations import check_silence
from fuzz.world import World

from shedproxy.core import NS_PER_MS, CellPolicy, LimitPolicy, Policy, QueuePolicy, seconds
from shedproxy.snapshot import Document, ProxyDocument, Timeouts, UpstreamDocument

__all__ = ["DICTIONARY", "DOCUMENTS", "OPERATIONS", "Conversation", "steps_of", "script_of"]

END = b"\xff"
STEPS_MAX = 60
FLOOD = 24
CLIENTS = 3
TIMES_MS = (1, 30, 120, 260, 600, 1100, 2300, 4600, 9000, 20_000)
DIALS = ("ok", "refused", "silent", "late")

OPERATIONS = {
    "c": "client says",
    "C": "client says byte by byte",
    "f": "client says many times",
    "n": "client connects anew",
    "e": "client ends its side",
    "r": "client resets",
    "b": "client stops taking",
    "g": "client takes again",
    "u": "upstream says",
    "U": "upstream says byte by byte",
    "F": "upstream says many times",
    "a": "upstream answers",
    "E": "upstream ends its side",
    "R": "upstream resets",
    "B": "upstream stops taking",
    "G": "upstream takes again",
    "t": "time passes",
    "d": "connects become",
    "l": "configuration becomes",
    "N": "announce",
    "D": "drain",
}
_CODES = "".join(OPERATIONS)

_OK = b"HTTP/1.1 200 OK\r\n"
_HOST = b" HTTP/1.1\r\nHost: e\r\n"
_CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
_EXPECT = b"Expect: 100-continue\r\n"
_UPGRADE = b"Connection: upgrade\r\nUpgrade: websocket\r\n"

ANSWERS = (
    _OK + b"Content-Length: 8\r\nX-A: @@@@\r\n\r\n@@@@body",
    _OK + _CHUNKED + b"4\r\n@@@@\r\n3;a=b\r\nabc\r\n0\r\nT: v\r\n\r\n",
    b"HTTP/1.1 204 No\r\nX-A: @@@@\r\n\r\n",
    b"HTTP/1.1 503 No\r\nContent-Length: 4\r\nRetry-After: 1\r\n\r\n@@@@",
    b"HTTP/1.1 103 Early\r\nLink: a\r\n\r\n" + _OK + b"Content-Length: 4\r\n\r\n@@@@",
    _OK + b"Content-Type: text/event-stream\r\n\r\ndata: @@@@\n\n",
    b"HTTP/1.1 101 S\r\n" + _UPGRADE + b"X-A: @@@@\r\n\r\n@@@@",
    _OK + b"Connection: close\r\nContent-Length: 4\r\n\r\n@@@@",
    b"HTTP/1.0 200 OK\r\n\r\n@@@@",
    b"HTTP/1.1 304 N\r\nContent-Length: 99\r\nETag: @@@@\r\n\r\n",
    _OK + b"Content-Length: 9\r\n\r\n@@@@",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 413 No\r\nContent-Length: 4\r\n\r\n@@@@",
)

DICTIONARY = (
    *(
        END + step
        for step in (
            b"c0GET /" + _HOST + b"\r\n",
            b"c1POST /b" + _HOST + b"Content-Length: 5\r\n\r\nhello",
            b"cpPUT /" + _HOST + _CHUNKED,
            b"c0GET /w" + _HOST + _UPGRADE + b"\r\n",
            b"c0POST /e" + _HOST + _EXPECT + b"Content-Length: 300\r\n\r\n",
            b"c1PUT /e" + _HOST + _EXPECT + _CHUNKED,
            b"u0HTTP/1.1 100 Continue\r\n\r\n",
            b"u0" + _OK + b"Content-Length: 8\r\n\r\n@@@@",
            b"f0xxxxxxxxxxxxxxxxxxxxxxxx",
            b"F0yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy",
            *b"a00 a01 a04 a05 a06 a0; a0< apx t03 t06 t08 d00 d01 d02 d03 l01 N0 D0 up cq".split(),
            *b"r0 e0 b0 g0 n0 R0 E0 B0 G0 Rp".split(),
        )
    ),
    _EXPECT,
    b" HTTP/1.0\r\n",
    b"HEAD ",
    b"@@@@",
    b"5\r\nhello\r\n0\r\n\r\n",
    b"X-Request-Timeout-Ms: 50\r\n",
    b"X-Criticality: sheddable\r\n",
    b"TE: trailers\r\n",
)


def _document(
    *, limit: int = 2, upstreams: int = 1, connections: int = 2, queue: int = 2, **proxy
) -> Document:
    timeouts = {
        "response_ns": seconds(4),
        "upstream_idle_ns": seconds(4),
        "client_body_ns": seconds(4),
        "client_write_ns": seconds(3),
        "client_head_ns": seconds(3),
        "client_idle_ns": seconds(5),
        "pool_idle_ns": seconds(5),
        "tunnel_idle_ns": seconds(6),
    }
    urls = tuple(f"http://10.0.0.{number + 1}:80" for number in range(upstreams))
    cancels = proxy.pop("cancels", "auto")
    timeouts["expect_continue_ns"] = proxy.pop("expect_ns", seconds(1))
    size = {"permit_body_size": 200, "buffer_size": 800, "head_size_max": 1500}
    return Document(
        policy=Policy(
            cells=(
                CellPolicy(
                    limit=LimitPolicy(algorithm="fixed", initial=limit),
                    queue=replace(QueuePolicy(), length_max=queue),
                ),
            )
        ),
        proxy=ProxyDocument(
            upstreams=(UpstreamDocument(urls=urls, connections_max=connections, cancels=cancels),),
            timeouts=replace(Timeouts(), **timeouts),
            **{**size, **proxy},
        ),
    )


DOCUMENTS = (
    _document(),
    _document(limit=1, connections=1, expect_ns=0),
    _document(upstreams=2, cancels="true", permit_body_size=1, expect_ns=300 * NS_PER_MS),
    _document(limit=1, queue=1, body_size_max=60),
    _document(requests_per_connection_max=2, connections_max=2),
    _document(limit=3, connections=1, permit_body_size=10_000, preserve_host=False),
)
"""Small bounds, so that a short script meets them."""


# --- bytes and steps ----------------------------------------------------------------------------

Step = tuple[str, int, bool, bytes]
"""What, who, whether the loop comes to rest after it, and what is said."""


def steps_of(data: bytes) -> tuple[int, list[Step]]:
    """The configuration and the steps."""
    steps = []
    for part in data[1:].split(END)[:STEPS_MAX]:
        if len(part) < 2:
            continue
        what, who = chr(part[0]), part[1]
        if what not in OPERATIONS:
            what = _CODES[part[0] % len(_CODES)]
        steps.append((what, who & 3, not who & 0x40, part[2:]))
    return pick(data, len(DOCUMENTS)), steps


def script_of(number: int, steps: list[Step]) -> bytes:
    """The other way."""
    parts = [
        what.encode() + bytes([who | (0x30 if rests else 0x70)]) + said
        for what, who, rests, said in steps
    ]
    return b"%d" % number + END.join(parts)


def pick(said: bytes, count: int) -> int:
    return (said[0] - 0x30) % count if said else 0


# --- playing ------------------------------------------------------------------------------------


class Conversation:
    """Plays one script in a world and keeps what an oracle needs."""

    def __init__(self, data: bytes) -> None:
        self.number, self.steps = steps_of(data)
        self.world = World(DOCUMENTS[self.number])
        self.documents = [DOCUMENTS[self.number]]
        """Every configuration that requests may have been served by."""
        self.current: dict[int, object] = {}
        """The connection of each client now."""
        self.marks: dict[bytes, tuple[object, int]] = {}
        """By tag: on which upstream connection it was said, and when."""
        self.tasks: list = []
        self.has_drained = False
        self.held_max = 0

    def play(self) -> None:
        for what, who, rests, said in self.steps:
            self.do(what, who, said)
            if rests:
                self.world.rest()
            self.look()

    def do(self, what: str, who: int, said: bytes) -> None:
        if what in "cCfnerbg":
            self._client(what, who % CLIENTS, said)
        elif what in "uUFaERBG":
            self._upstream(what, who, said)
        elif what == "t":
            # Not so long at once that nobody could tell two deadlines apart.
            length_ns = TIMES_MS[pick(said, len(TIMES_MS))] * NS_PER_MS
            self.world.advance(length_ns, max(25 * NS_PER_MS, length_ns // 8))
        elif what == "d":
            self.world.dial = DIALS[pick(said, len(DIALS))]
        elif what == "l":
            self.documents.append(DOCUMENTS[pick(said, len(DOCUMENTS))])
            self.world.server.apply(self.documents[-1])
        elif what == "N":
            self.world.server.announce()
        elif not self.has_drained:
            self.has_drained = True
            self.tasks.append(self.world.loop.create_task(self.world.server.drain(seconds(2))))

    def _client(self, what: str, who: int, said: bytes) -> None:
        transport = self.current.get(who)
        if what == "n" or transport is None or transport.has_lost:
            transport = self.world.client()
            self.current[who] = transport
        if what == "c":
            transport.say(said)
        elif what == "C":
            for index in range(min(len(said), 300)):
                transport.say(said[index : index + 1])
        elif what == "f":
            transport.say(said * FLOOD)
        else:
            self._act(transport, what)

    def _upstream(self, what: str, who: int, said: bytes) -> None:
        here = [one for one in self.world.upstreams if not one.has_lost]
        if not here:
            return
        transport = here[who % len(here)]
        if what == "a":
            said = ANSWERS[pick(said, len(ANSWERS))]
        if what in "ua":
            transport.say(self._tagged(transport, said))
        elif what == "U":
            said = self._tagged(transport, said)
            for index in range(min(len(said), 300)):
                transport.say(said[index : index + 1])
        elif what == "F":
            for _ in range(FLOOD):
                transport.say(self._tagged(transport, said))
        else:
            self._act(transport, what.lower())

    @staticmethod
    def _act(transport, what: str) -> None:
        if what == "e":
            transport.end()
        elif what == "r":
            transport.reset()
        elif what == "b":
            transport.stick()
        elif what == "g":
            transport.unstick()

    def _tagged(self, transport, said: bytes) -> bytes:
        """`@@@@` becomes a mark that tells who said it when; no other mark can be said."""
        parts = said.split(b"@@@@")
        tag = b"@%03x" % len(self.marks)
        self.marks[tag] = (transport, self.world.next_number())
        return tag.join(part.replace(b"@", b"A") for part in parts)

    # --- bounds -----------------------------------------------------------------------------

    def look(self) -> None:
        """Nobody's peer makes the proxy hold more than its bounds."""
        for transport in self.world.clients:
            if transport.has_lost:
                continue
            connection = transport.protocol
            held = len(connection._buffer) + transport.pending
            exchange = connection.exchange
            if exchange is not None:
                held += sum(map(len, exchange._held or ()))
                if exchange.upstream is not None:
                    held += exchange.upstream.transport.get_write_buffer_size()
            self.held_max = max(self.held_max, held)

    # --- the end ----------------------------------------------------------------------------

    def wind_up(self) -> None:
        """Nobody says anything more, and time passes; then everybody leaves."""
        world = self.world
        world.dial = "ok"
        for transport in (*world.clients, *world.upstreams):
            transport.unstick()
        world.rest()
        world.advance(seconds(2))
        check_silence(self)
        world.advance(seconds(6), seconds(2))
        for transport in (*world.upstreams, *world.clients):
            transport.unstick()
            transport.end()
            world.rest()
        world.advance(seconds(2), seconds(2))
        world.is_kind = True
        for transport in (*world.upstreams, *world.clients):
            transport.reset()
        for _ in range(6):
            world.advance(seconds(10), seconds(5))
            if self.is_clean:
                break

    @property
    def is_clean(self) -> bool:
        """Whether more time could change nothing."""
        world = self.world
        cell = world.driver.shedder.stats().cells[0]
        open_count = world.server.upstream_connections + len(world.server.clients)
        # An upstream that is out waits for its next probe or trial, half a minute at most.
        is_planned = any(group.deadline_at for group in world.server._groups.values())
        return not (
            cell.in_flight or cell.zombies or open_count or world.loop.pending or is_planned
        )
