from __future__ import annotations

from common import events, gate, shed, told
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute

from shedproxy import ShedMiddleware, criticality


async def read_told(request):
    return PlainTextResponse(told(request.scope))


def read_sync(request):
    return PlainTextResponse(request.state.shedproxy.route)


async def hold(request):
    await gate(request.query_params["name"]).wait()
    return PlainTextResponse("held")


async def open_gate(request):
    gate(request.query_params["name"]).set()
    return PlainTextResponse("open")


async def echo(request):
    return PlainTextResponse(str(len(await request.body())))


async def boom(request):
    raise LookupError


async def read_events(request):
    return StreamingResponse(events(), media_type="text/event-stream")


@criticality("sheddable")
async def report(request):
    return PlainTextResponse(told(request.scope))


@criticality("sheddable", limit=0)
def never(request):
    return PlainTextResponse("never")


async def socket(websocket):
    await websocket.accept()
    await websocket.send_text(await websocket.receive_text())


app = Starlette(
    routes=[
        Route("/told", read_told),
        Route("/sync", read_sync),
        Route("/hold", hold),
        Route("/open", open_gate),
        Route("/echo", echo, methods=["POST"]),
        Route("/boom", boom),
        Route("/events", read_events),
        Mount(
            "/marked",
            routes=[
                Route("/reports/{number:int}", report),
                Route("/never", never, methods=["POST"]),
            ],
        ),
        WebSocketRoute("/socket", socket),
    ],
    middleware=[Middleware(ShedMiddleware, **shed)],
)
