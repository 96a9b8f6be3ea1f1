from __future__ import annotations

from common import events, gate, shed, told
from quart import Quart, Response, request, websocket

from shedproxy import ShedMiddleware

app = Quart(__name__)
app.asgi_app = ShedMiddleware(app.asgi_app, **shed)


@app.get("/told")
async def read_told():
    return told(request.scope)


@app.get("/sync")
def read_sync():
    return request.scope["state"]["shedproxy"].route


@app.get("/hold")
async def hold():
    await gate(request.args["name"]).wait()
    return "held"


@app.get("/open")
async def open_gate():
    gate(request.args["name"]).set()
    return "open"


@app.post("/echo")
async def echo():
    return str(len(await request.get_data()))


@app.get("/boom")
async def boom():
    raise LookupError


@app.get("/events")
async def read_events():
    response = Response(events(), mimetype="text/event-stream")
    response.timeout = None
    return response


@app.websocket("/socket")
async def socket():
    await websocket.send(await websocket.receive())
