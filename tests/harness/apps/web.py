"""A FastAPI application with one of everything that passes through a proxy."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import os
from collections.abc import AsyncIterator

from fastapi import FastAPI, Request, Response, WebSocket, WebSocketDisconnect
from fastapi.responses import HTMLResponse, RedirectResponse, StreamingResponse

app = FastAPI()

PAGE = """<!doctype html>
<html><head><title>shop</title><link rel="stylesheet" href="/assets/style.css">
<script src="/assets/page.js" defer></script><script src="/hold" async></script></head>
<body><h1>Shop</h1><ul id="items"></ul><img id="logo" src="/assets/logo.svg" alt=""></body></html>
"""
SCRIPT = """
async function show() {
  const items = await (await fetch("/api/items")).json();
  const posted = await (await fetch("/echo", {method: "POST", body: "from the page"})).json();
  const events = new EventSource("/events?count=3");
  const seen = [];
  await new Promise(done => { events.onmessage = e => { seen.push(e.data);
    if (seen.length === 3) { events.close(); done(); } }; });
  const socket = new WebSocket("ws://" + location.host + "/ws");
  const echoed = await new Promise(done => {
    socket.onopen = () => socket.send("over a socket");
    socket.onmessage = e => done(e.data);
  });
  socket.close();
  const logo = document.getElementById("logo");
  await logo.decode();
  const color = getComputedStyle(document.querySelector("h1")).color;
  const text = [...items, posted.size, ...seen, echoed, logo.naturalWidth, color].join("|");
  document.getElementById("items").innerHTML = "<li>" + text + "</li>";
}
show()
  .catch(error => { document.getElementById("items").textContent = "failed: " + error; })
  .finally(() => fetch("/release", {method: "POST"}));
"""
LOGO = '<svg xmlns="http://www.w3.org/2000/svg" width="64" height="32"><rect width="9"/></svg>'
ASSETS = {
    "style.css": ("text/css", "h1 { color: rgb(1, 2, 3); }"),
    "page.js": ("text/javascript", SCRIPT),
    "logo.svg": ("image/svg+xml", LOGO),
}


@app.get("/")
def page() -> HTMLResponse:
    return HTMLResponse(PAGE)


@app.get("/assets/{name}")
def asset(name: str) -> Response:
    kind, text = ASSETS[name]
    return Response(text, media_type=kind)


_released = asyncio.Event()


@app.get("/hold")
async def hold() -> Response:
    """Keeps the page from counting as loaded until its script has done everything."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(_released.wait(), 20)
    return Response("", media_type="text/javascript")


@app.post("/release")
async def release() -> None:
    _released.set()


@app.api_route("/api/items", methods=["GET", "HEAD"])
async def items() -> list[str]:
    return ["apple", "pear"]


@app.api_route("/echo", methods=["POST", "PUT", "PATCH", "DELETE"])
async def echo(request: Request) -> dict[str, object]:
    """What arrived; a body of any length is counted as it comes."""
    size = 0
    async for part in request.stream():
        size += len(part)
    return {
        "method": request.method,
        "size": size,
        "path": request.scope["raw_path"].decode(),
        "query": request.url.query,
        "headers": dict(request.headers),
        "expected": request.headers.get("expect"),
    }


@app.get("/redirect")
def redirect() -> RedirectResponse:
    return RedirectResponse("/api/items", 307)


@app.get("/gzip")
def compressed() -> Response:
    body = gzip.compress(b"compressed " * 1000, mtime=0)
    return Response(body, media_type="text/plain", headers={"content-encoding": "gzip"})


@app.get("/large-headers")
def large_headers(request: Request) -> Response:
    headers = {f"x-large-{n}": "v" * 200 for n in range(40)}
    sent = [value for name, value in request.headers.items() if name.startswith("x-large-")]
    headers["x-seen"] = str(sum(map(len, sent)))
    return Response("large", headers=headers)


@app.get("/chunks")
async def chunks() -> StreamingResponse:
    async def parts() -> AsyncIterator[bytes]:
        for n in range(5):
            yield b"part %d\n" % n
            await asyncio.sleep(0)

    return StreamingResponse(parts(), media_type="text/plain")


@app.get("/events")
async def events(count: int = 3) -> StreamingResponse:
    async def parts() -> AsyncIterator[str]:
        for n in range(count):
            yield f"id: {n}\ndata: event {n}\n\n"
            await asyncio.sleep(0.05)
        await asyncio.sleep(30)  # the client closes

    return StreamingResponse(parts(), media_type="text/event-stream")


@app.get("/nothing", status_code=204)
def nothing() -> None:
    return None


@app.get("/healthz")
async def healthz() -> str:
    return "ok"


@app.websocket("/ws")
async def socket(websocket: WebSocket) -> None:
    await websocket.accept(subprotocol=(websocket.scope["subprotocols"] or [None])[0])
    try:
        while True:
            message = await websocket.receive()
            if message["type"] == "websocket.disconnect":
                return
            if message.get("bytes") is not None:
                await websocket.send_bytes(message["bytes"])
            else:
                await websocket.send_text(message["text"])
    except WebSocketDisconnect:
        return


@app.get("/pid")
async def pid() -> int:
    return os.getpid()
