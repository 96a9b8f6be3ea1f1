"""A bare ASGI app behind the middleware: what every server must be able to carry.

`/-test/*` are control routes by rule: they answer when the service is full.
"""

from __future__ import annotations

import asyncio
import json

from shedproxy import CellPolicy, LimitPolicy, Match, Policy, QueuePolicy, Rule, ShedMiddleware
from shedproxy.core import Lane, ShedLevelPolicy, seconds

gates: dict[str, asyncio.Event] = {}
middleware: ShedMiddleware


def gate(name: str) -> asyncio.Event:
    return gates.setdefault(name, asyncio.Event())


def start(status=200, content_type=b"text/plain", **more):
    headers = [(b"content-type", content_type)]
    return {"type": "http.response.start", "status": status, "headers": headers, **more}


async def whole(send, body: bytes, status: int = 200) -> None:
    await send(start(status))
    await send({"type": "http.response.body", "body": body})


async def read_body(receive) -> bytes:
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return body
        body += message.get("body", b"")
        if not message.get("more_body", False):
            return body


async def lifespan(receive, send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def socket(scope, receive, send) -> None:
    assert (await receive())["type"] == "websocket.connect"
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message.get("text") or ""})


async def parts(send, content_type: bytes, receive=None) -> None:
    await send(start(content_type=content_type))
    for number in range(3):
        body = b"data: %d\n\n" % number
        await send({"type": "http.response.body", "body": body, "more_body": True})
    if receive is not None:
        while (await receive())["type"] != "http.disconnect":
            pass
        return
    await send({"type": "http.response.body", "body": b""})


def stats() -> bytes:
    runtime = next(iter(middleware._runtimes.values()))
    cells = runtime.driver.shedder.stats().cells
    return json.dumps(
        {
            cell.name: {
                "in_flight": cell.in_flight,
                "queue_length": cell.queue_length,
                "residents": cell.residents,
            }
            for cell in cells
        }
    ).encode()


async def app(scope, receive, send) -> None:
    if scope["type"] == "lifespan":
        return await lifespan(receive, send)
    if scope["type"] == "websocket":
        return await socket(scope, receive, send)
    path = scope["path"]
    match path:
        case "/-test/stats":
            await whole(send, stats())
        case "/-test/open":
            gate(scope["query_string"].decode()).set()
            await whole(send, b"open")
        case "/hold" | "/queued/hold":
            await gate(scope["query_string"].decode()).wait()
            await whole(send, b"held")
        case "/stream":
            await parts(send, b"text/plain")
        case "/sse":
            await parts(send, b"text/event-stream", receive)
        case "/boom":
            raise LookupError("boom")
        case "/until-gone":
            while (await receive())["type"] != "http.disconnect":
                pass
        case "/queued/echo" | "/echo":
            await whole(send, await read_body(receive))
        case "/livez":
            await whole(send, b"alive")
        case _:
            state = scope["state"]["shedproxy"]
            await whole(send, f"{state.criticality.label} {state.route}".encode())


def fixed(limit: int, queue_length: int) -> dict:
    return {
        "limit": LimitPolicy(algorithm="fixed", initial=limit, maximum=limit),
        "queue": QueuePolicy(length_max=queue_length, wait_max_ns=seconds(60)),
        # Tests fill the cell on purpose; its memory of that must not reach the next test.
        "shed_level": ShedLevelPolicy(enabled=False),
    }


middleware = ShedMiddleware(
    app,
    Policy(
        cells=(
            CellPolicy(**fixed(2, 0), resident_limit=4),
            CellPolicy(name="queued", **fixed(1, 4)),
        )
    ),
    rules=[
        Rule(name="test", match=Match(path=("/-test/*",)), lane=Lane.CONTROL),
        Rule(name="queued", match=Match(path=("/queued/*",)), cell="queued"),
        Rule(name="closed", match=Match(path=("/closed",)), limit=0),
    ],
)
