from __future__ import annotations

from common import events, gate, shed, told
from fastapi import APIRouter, FastAPI, Request, WebSocket
from fastapi.responses import StreamingResponse

from shedproxy import ShedMiddleware, criticality

app = FastAPI()
app.add_middleware(ShedMiddleware, **shed)
router = APIRouter(prefix="/marked")


@app.get("/told")
async def read_told(request: Request) -> str:
    return told(request.scope)


@app.get("/sync")
def read_sync(request: Request) -> str:
    return request.state.shedproxy.route


@app.get("/hold")
async def hold(name: str) -> str:
    await gate(name).wait()
    return "held"


@app.get("/open")
async def open_gate(name: str) -> str:
    gate(name).set()
    return "open"


@app.post("/echo")
async def echo(request: Request) -> int:
    return len(await request.body())


@app.get("/boom")
async def boom() -> None:
    raise LookupError


@app.get("/events")
async def read_events() -> StreamingResponse:
    return StreamingResponse(events(), media_type="text/event-stream")


@router.get("/reports/{number}")
@criticality("sheddable")
async def report(number: int, request: Request) -> str:
    return told(request.scope)


@router.post("/never")
@criticality("sheddable", limit=0)
def never() -> str:
    return "never"


app.include_router(router)


@app.websocket("/socket")
async def socket(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text(await websocket.receive_text())
