"""Bodies of answers: where they end, what is cut, what is reused, what comes after them."""

from __future__ import annotations

from conformance.case import AnswerCase, Case
from conformance.cases.message import get
from conformance.recorder import PLAIN, Script

LENGTH = "RFC 9112 6.3"
CHUNK = "RFC 9112 7.1"
TRAILER = "RFC 9110 6.5.1"
REUSE = "RFC 9112 9.3"
SPLIT = "RFC 9112 11.1"
OK = b"HTTP/1.1 200 OK\r\n"
SIZED = OK + b"Content-Length: 2\r\n\r\nok"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
HEAD = get(method=b"HEAD")
EVIL = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"


def whole(
    name: str,
    clause: str,
    *answer: bytes,
    sent: bytes = b"",
    status: int = 200,
    body: bytes = b"ok",
    closes: bool = False,
    is_kept: bool = True,
    is_reused: bool = True,
    advisory: str = "",
    note: str = "",
    trailers: tuple[tuple[str, str], ...] = (),
    fields: dict[str, str | None] | None = None,
) -> Case:
    return AnswerCase(
        name=f"answer: {name}",
        clause=clause,
        sent=(sent or get(),),
        script=Script(answer, closes),
        statuses=(status,),
        body=body,
        is_kept=is_kept,
        is_reused=is_reused,
        advisory=advisory,
        note=note,
        trailers=trailers,
        fields=fields or {},
    )


def cut(
    name: str,
    clause: str,
    *answer: bytes,
    body: bytes = b"",
    closes: bool = False,
    advisory: str = "",
) -> Case:
    """The client sees that it is not whole."""
    return AnswerCase(
        name=f"answer: {name}",
        clause=clause,
        sent=(get(),),
        script=Script(answer, closes),
        statuses=(200,),
        body=body,
        is_cut=True,
        is_kept=False,
        is_reused=False,
        advisory=advisory,
    )


def odd_chunk(name: str, raw: bytes, advisory: str = "") -> Case:
    """A good chunk first, so that the head is on its way."""
    return cut(
        f"chunks: {name}",
        CHUNK,
        CHUNKED + b"2\r\nok\r\n",
        raw,
        body=b"ok",
        advisory=advisory,
    )


ASKS = get(b"TE: trailers", b"Connection: te")
GRPC = b"2\r\nok\r\n0\r\nGrpc-Status: 0\r\nSet-Cookie: a=b\r\nContent-Length: 7\r\nX-Sum: 9\r\n\r\n"

CASES: list[Case] = [
    whole("a sized body", LENGTH, SIZED, fields={"content-length": "2"}),
    whole("a sized body in pieces", LENGTH, OK + b"Content-Length: 2\r\n\r\n", b"o", b"k"),
    whole("an empty body", LENGTH, OK + b"Content-Length: 0\r\n\r\n", body=b""),
    whole(
        "a chunked body",
        CHUNK,
        CHUNKED + b"1\r\no\r\n1\r\nk\r\n0\r\n\r\n",
        fields={"transfer-encoding": "chunked"},
    ),
    whole("an extension is dropped", "RFC 9112 7.1.1", CHUNKED + b"2;a=b\r\nok\r\n0\r\n\r\n"),
    whole(
        "a chunked body for HTTP/1.0",
        "RFC 9112 6.1",
        CHUNKED + b"2\r\nok\r\n0\r\n\r\n",
        sent=get(version=b"HTTP/1.0"),
        is_kept=False,
        fields={"transfer-encoding": None},
    ),
    whole(
        "a body until close goes on in chunks",
        LENGTH,
        OK + b"\r\nok",
        closes=True,
        is_reused=False,
        fields={"transfer-encoding": "chunked"},
        note="so that a cut can be told from an end",
    ),
    whole(
        "a body until close for HTTP/1.0",
        LENGTH,
        OK + b"\r\nok",
        closes=True,
        sent=get(version=b"HTTP/1.0"),
        is_kept=False,
        is_reused=False,
    ),
    whole(
        "an answer of HTTP/1.0",
        REUSE,
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        is_reused=False,
    ),
    whole(
        "an answer of HTTP/1.0 that keeps alive",
        REUSE,
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok",
    ),
    whole(
        "an answer that closes",
        "RFC 9112 9.6",
        OK + b"Connection: close\r\nContent-Length: 2\r\n\r\nok",
        is_reused=False,
    ),
    whole(
        "204",
        "RFC 9110 15.3.5",
        b"HTTP/1.1 204 No\r\n\r\n",
        status=204,
        body=b"",
        fields={"content-length": None, "transfer-encoding": None},
    ),
    whole(
        "204 with a length of 0",
        "RFC 9110 8.6",
        b"HTTP/1.1 204 No\r\nContent-Length: 0\r\n\r\n",
        status=204,
        body=b"",
        fields={"content-length": None},
    ),
    whole(
        "204 with a length",
        "RFC 9110 8.6",
        b"HTTP/1.1 204 No\r\nContent-Length: 2\r\n\r\n",
        status=204,
        body=b"",
        is_reused=False,
        fields={"content-length": None},
        note="a body may follow: not to be met by the next answer",
    ),
    whole(
        "204 with a body",
        LENGTH,
        b"HTTP/1.1 204 No\r\nContent-Length: 2\r\n\r\nok",
        status=204,
        body=b"",
        is_reused=False,
        advisory="httpcore, measured",
    ),
    whole(
        "204 with a coding",
        "RFC 9112 6.1",
        b"HTTP/1.1 204 No\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        status=204,
        body=b"",
        is_reused=False,
        fields={"transfer-encoding": None},
    ),
    whole(
        "304",
        "RFC 9110 15.4.5",
        b'HTTP/1.1 304 No\r\nETag: "1"\r\n\r\n',
        status=304,
        body=b"",
        fields={"etag": '"1"'},
    ),
    whole(
        "304 with the length of what was not sent",
        "RFC 9110 8.6",
        b"HTTP/1.1 304 No\r\nContent-Length: 99\r\n\r\n",
        status=304,
        body=b"",
        fields={"content-length": "99"},
    ),
    whole(
        "304 with a body",
        LENGTH,
        b"HTTP/1.1 304 No\r\nContent-Length: 2\r\n\r\nok",
        status=304,
        body=b"",
        is_reused=False,
    ),
    whole(
        "HEAD with a length",
        "RFC 9110 9.3.2",
        OK + b"Content-Length: 99\r\n\r\n",
        sent=HEAD,
        body=b"",
        fields={"content-length": "99"},
    ),
    whole("HEAD with a coding", "RFC 9112 6.1", CHUNKED, sent=HEAD, body=b""),
    whole("HEAD without a length", "RFC 9110 9.3.2", OK + b"\r\n", sent=HEAD, body=b""),
    whole(
        "HEAD with a body",
        LENGTH,
        SIZED,
        sent=HEAD,
        body=b"",
        is_reused=False,
        advisory="httpcore, measured",
    ),
    whole(
        "205",
        "RFC 9110 15.3.6",
        b"HTTP/1.1 205 Reset\r\nContent-Length: 0\r\n\r\n",
        status=205,
        body=b"",
    ),
    # --- after the answer
    whole(
        "bytes after a sized body",
        SPLIT,
        SIZED + b"x",
        is_reused=False,
        advisory="httpcore, measured",
    ),
    whole(
        "a second answer after the first",
        SPLIT,
        SIZED + EVIL,
        is_reused=False,
        advisory="httpcore, measured",
    ),
    whole(
        "a second answer in its own segment",
        SPLIT,
        SIZED,
        EVIL,
        is_reused=False,
        advisory="aiohttp issue 13656",
    ),
    whole(
        "a second answer after chunks",
        SPLIT,
        CHUNKED + b"2\r\nok\r\n0\r\n\r\n" + EVIL,
        is_reused=False,
        advisory="Twisted CVE-2024-41671",
    ),
    whole(
        "a second answer after 204",
        SPLIT,
        b"HTTP/1.1 204 No\r\n\r\n" + EVIL,
        status=204,
        body=b"",
        is_reused=False,
    ),
    whole(
        "a second answer after 304",
        SPLIT,
        b"HTTP/1.1 304 No\r\n\r\n" + EVIL,
        status=304,
        body=b"",
        is_reused=False,
    ),
    whole(
        "a second answer after HEAD",
        SPLIT,
        OK + b"Content-Length: 4\r\n\r\n" + EVIL,
        sent=HEAD,
        body=b"",
        is_reused=False,
    ),
    whole("an empty line after the answer", SPLIT, SIZED + b"\r\n", is_reused=False),
    whole(
        "a 100 after the answer", SPLIT, SIZED + b"HTTP/1.1 100 Continue\r\n\r\n", is_reused=False
    ),
    whole(
        "a body longer than its length",
        LENGTH,
        OK + b"Content-Length: 2\r\n\r\nokok",
        is_reused=False,
    ),
    whole(
        "CRLF in a value, escaped, stays a value",
        SPLIT,
        OK + b"X: a%0d%0aSet-Cookie: b\r\nContent-Length: 2\r\n\r\nok",
        fields={"x": "a%0d%0aSet-Cookie: b", "set-cookie": None},
        advisory="uvicorn CVE-2020-7695",
    ),
    # --- cut
    cut(
        "a sized body cut short",
        "RFC 9112 8",
        OK + b"Content-Length: 5\r\n\r\nok",
        body=b"ok",
        closes=True,
    ),
    cut("chunks without the last", "RFC 9112 8", CHUNKED + b"2\r\nok\r\n", body=b"ok", closes=True),
    cut("chunks cut inside one", "RFC 9112 8", CHUNKED + b"5\r\nok", body=b"ok", closes=True),
    cut(
        "chunks cut inside the trailers",
        "RFC 9112 8",
        CHUNKED + b"2\r\nok\r\n0\r\nX: y\r\n",
        body=b"ok",
        closes=True,
    ),
    odd_chunk("a sign", b"+1\r\nx\r\n0\r\n\r\n"),
    odd_chunk("0x", b"0x1\r\nx\r\n0\r\n\r\n"),
    odd_chunk("a blank after the size", b"1 \r\nx\r\n0\r\n\r\n"),
    odd_chunk("bare LF after the size", b"1\nx\r\n0\r\n\r\n", "Go CVE-2025-22871"),
    odd_chunk("two other bytes after the data", b"1\r\nxXX0\r\n\r\n", "h11 CVE-2025-43859"),
    odd_chunk("2^64", b"10000000000000000\r\nx\r\n0\r\n\r\n"),
    odd_chunk(
        "an extension of 300 bytes", b"1;" + b"a" * 300 + b"\r\nx\r\n0\r\n\r\n", "Go CVE-2023-39326"
    ),
    odd_chunk("bare LF in an extension", b"1;a\nb\r\nx\r\n0\r\n\r\n", "Kestrel CVE-2025-55315"),
    odd_chunk("a trailer without a colon", b"0\r\nHTTP/1.1 200 OK\r\n\r\n"),
    odd_chunk("trailers of 5 KiB", b"0\r\nX: " + b"y" * 5000 + b"\r\n\r\n"),
    # --- trailers
    whole("trailers for who did not ask", TRAILER, CHUNKED + GRPC),
    whole(
        "trailers for who asked, those without effect",
        TRAILER,
        CHUNKED + GRPC,
        sent=ASKS,
        trailers=(("grpc-status", "0"), ("x-sum", "9")),
        note="cookies and framing are not for after the body",
    ),
    whole(
        "trailers do not become headers",
        TRAILER,
        CHUNKED + GRPC,
        sent=ASKS,
        trailers=(("grpc-status", "0"), ("x-sum", "9")),
        fields={"x-sum": None, "set-cookie": None},
    ),
    whole(
        "trailers for HTTP/1.0",
        TRAILER,
        CHUNKED + GRPC,
        sent=get(b"TE: trailers", version=b"HTTP/1.0"),
        is_kept=False,
    ),
    whole(
        "trailers in a second segment",
        TRAILER,
        CHUNKED + b"2\r\nok\r\n",
        b"0\r\nX-Sum: 9\r\n\r\n",
        sent=ASKS,
        trailers=(("x-sum", "9"),),
    ),
    whole(
        "a second answer after trailers",
        SPLIT,
        CHUNKED + GRPC + PLAIN,
        sent=ASKS,
        is_reused=False,
        trailers=(("grpc-status", "0"), ("x-sum", "9")),
    ),
]
