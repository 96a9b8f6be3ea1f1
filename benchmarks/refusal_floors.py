"""What no refusal can be cheaper than: the same bytes, sent without looking at the request.

`wire` goes out of a bare protocol on uvloop, which is what the proxy stands on; `app` out of an
ASGI application, which is what the middleware stands in for. What a refusal costs above them is
what shedproxy decides, counts and records.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import uvloop

from shedproxy.core import Instant, Rejected, RejectReason, RequestInfo
from shedproxy.dataplane.rejection import ID_LENGTH, Rejections
from shedproxy.snapshot import RejectDocument

__all__ = ["app", "serve"]

_ID = b"0" * ID_LENGTH
_REFUSED = Rejected(RequestInfo(), RejectReason.ROUTE_LIMIT, Instant(0), (0, 1, 0))
_REJECTIONS = Rejections(RejectDocument())
_STATUS, _HEADERS, _BODY = _REJECTIONS.asgi(_REFUSED, _ID)
_WIRE = _REJECTIONS.wire(
    _REFUSED, _ID, head=False, keep_alive=True, date=b"Thu, 01 Jan 1970 00:00:00 GMT"
)


async def app(_scope: Any, _receive: Any, send: Any) -> None:
    """A refusal by nobody's decision."""
    await send({"type": "http.response.start", "status": _STATUS, "headers": _HEADERS})
    await send({"type": "http.response.body", "body": _BODY})


class _Wire(asyncio.BufferedProtocol):
    """Takes each read for one whole request."""

    __slots__ = ("_transport",)
    _buffer = memoryview(bytearray(64 * 1024))

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._transport.write(_WIRE)


async def serve(port: int) -> None:
    """Until a signal."""
    server = await asyncio.get_running_loop().create_server(_Wire, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
