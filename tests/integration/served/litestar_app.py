from __future__ import annotations

from common import events, gate, shed, told
from litestar import Litestar, Request, WebSocket, get, post, websocket
from litestar.response import Stream

from shedproxy import ShedMiddleware


@get("/told")
async def read_told(request: Request) -> str:
    return told(request.scope)


@get("/sync", sync_to_thread=True)
def read_sync(request: Request) -> str:
    return request.scope["state"]["shedproxy"].route


@get("/hold")
async def hold(name: str) -> str:
    await gate(name).wait()
    return "held"


@get("/open")
async def open_gate(name: str) -> str:
    gate(name).set()
    return "open"


@post("/echo")
async def echo(request: Request) -> str:
    return str(len(await request.body()))


@get("/boom")
async def boom() -> None:
    raise LookupError


@get("/events")
async def read_events() -> Stream:
    return Stream(events(), media_type="text/event-stream")


@websocket("/socket")
async def socket(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_text(await socket.receive_text())


# Around the app: Litestar builds middleware once per handler, which would make a limit for each.
app = ShedMiddleware(
    Litestar([read_told, read_sync, hold, open_gate, echo, boom, read_events, socket]), **shed
)
