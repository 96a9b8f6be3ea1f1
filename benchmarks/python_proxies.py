"""Proxies as they are written in Python with a client library: what shedproxy stands in for.

Each passes the request on with its head and body and streams the answer. Made when asked for: the
libraries may not be on this machine.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

__all__ = ["serve_aiohttp"]

HOP = {"connection", "keep-alive", "transfer-encoding", "host", "te", "upgrade"}


def _upstream() -> str:
    return f"http://127.0.0.1:{os.environ['BENCHMARKS_FORWARD_TO']}"


def _with_starlette(library: str) -> Any:
    """uvicorn + starlette + a client of httpx's kind."""
    client_library = importlib.import_module(library)
    applications = importlib.import_module("starlette.applications")
    streaming = importlib.import_module("starlette.responses").StreamingResponse
    route = importlib.import_module("starlette.routing").Route
    background = importlib.import_module("starlette.background").BackgroundTask
    bounds = client_library.Limits(max_connections=None, max_keepalive_connections=1024)
    client = client_library.AsyncClient(limits=bounds, timeout=30)
    base = _upstream()

    async def proxy(request: Any) -> Any:
        headers = [(k, v) for k, v in request.headers.raw if k.decode().lower() not in HOP]
        body = await request.body() if request.method == "POST" else None
        asked = client.build_request(
            request.method, f"{base}{request.url.path}", headers=headers, content=body
        )
        answer = await client.send(asked, stream=True)
        kept = {k: v for k, v in answer.headers.items() if k.lower() not in HOP}
        return streaming(
            answer.aiter_raw(),
            status_code=answer.status_code,
            headers=kept,
            background=background(answer.aclose),
        )

    routes = [route("/{path:path}", proxy, methods=["GET", "POST"])]
    return applications.Starlette(routes=routes)


def serve_aiohttp(port: int) -> None:
    """aiohttp's server before aiohttp's client, on uvloop, until a signal."""
    aiohttp = importlib.import_module("aiohttp")
    web = importlib.import_module("aiohttp.web")
    uvloop = importlib.import_module("uvloop")
    base = _upstream()

    async def open_client(app: Any) -> Any:
        connector = aiohttp.TCPConnector(limit=0)
        app["client"] = aiohttp.ClientSession(connector=connector, auto_decompress=False)
        yield
        await app["client"].close()

    async def proxy(request: Any) -> Any:
        headers = [(k, v) for k, v in request.headers.items() if k.lower() not in HOP]
        body = request.content if request.body_exists else None
        ask = request.app["client"].request(
            request.method, f"{base}{request.path}", headers=headers, data=body
        )
        async with ask as answer:
            kept = {k: v for k, v in answer.headers.items() if k.lower() not in HOP}
            response = web.StreamResponse(status=answer.status, headers=kept)
            await response.prepare(request)
            async for piece in answer.content.iter_any():
                await response.write(piece)
            await response.write_eof()
            return response

    app = web.Application(client_max_size=1 << 24)
    app.cleanup_ctx.append(open_client)
    app.router.add_route("*", "/{path:.*}", proxy)
    loop = uvloop.new_event_loop()
    web.run_app(app, host="127.0.0.1", port=port, access_log=None, print=None, loop=loop)


def __getattr__(name: str) -> Any:
    """A server that is told `benchmarks.python_proxies:httpx` finds it."""
    if name in {"httpx", "httpx2"}:
        return _with_starlette(name)
    raise AttributeError(name)


if __name__ == "__main__":
    serve_aiohttp(int(sys.argv[1]))
