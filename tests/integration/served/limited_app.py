"""An application of 20 ms a request that notes when each of them begins and ends."""

from __future__ import annotations

import asyncio
import os
import time

from shedproxy import CellPolicy, LimitPolicy, Policy, ShedMiddleware

_notes = os.open(os.environ["NOTES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def _note(step: str) -> None:
    os.write(_notes, f"{time.monotonic_ns()} {os.getpid()} {step}1\n".encode())


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return
    _note("+")
    try:
        await asyncio.sleep(0.02)
    finally:
        _note("-")
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]}
    )
    await send({"type": "http.response.body", "body": b"ok"})


_limit = LimitPolicy(algorithm="fixed", initial=4, maximum=4)
middleware = ShedMiddleware(app, Policy(cells=(CellPolicy(limit=_limit),)))
