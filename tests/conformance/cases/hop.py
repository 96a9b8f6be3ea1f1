"""What ends at this hop: Connection and what it lists, TE, Upgrade."""

from __future__ import annotations

from conformance.case import Case, Read, RequestCase, passes, refused
from conformance.cases.message import get, post
from conformance.recorder import Script

HOP = "RFC 9110 7.6.1"
UPGRADE = "RFC 9110 7.8"
TE = "RFC 9110 10.1.4"
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "
WEBSOCKET = (
    b"Connection: Upgrade",
    b"Upgrade: websocket",
    b"Sec-WebSocket-Version: 13",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)


def dropped(name: str, line: bytes, *more: bytes, clause: str = HOP, note: str = "") -> Case:
    key = line.partition(b":")[0].decode().lower()
    return passes(name, clause, get(line, *more), fields={key: None, "x-other": None}, note=note)


def protected(name: str, field: bytes, note: str, bench: str = "plain") -> Case:
    key, _, value = field.partition(b": ")
    return passes(
        f"Connection cannot take {name} away",
        HOP,
        get(field, b"Connection: " + key),
        fields={key.decode().lower(): value.decode(), "connection": None},
        note=note,
        bench=bench,
    )


CASES: list[Case] = [
    dropped("Connection ends here", b"Connection: x-other", b"X-Other: y"),
    dropped("Connection lists two", b"Connection: foo, X-OTHER", b"X-Other: y"),
    dropped("Connection in two lines", b"Connection: foo", b"Connection: x-other", b"X-Other: y"),
    dropped("Connection lists what is not there", b"Connection: x-other"),
    dropped("an odd list in Connection", b"Connection: ,, \t,@", note="nonsense names nothing"),
    dropped("Keep-Alive", b"Keep-Alive: timeout=5"),
    dropped("Proxy-Connection", b"Proxy-Connection: keep-alive", clause="RFC 9110 7.6.1"),
    dropped("Proxy-Authorization", b"Proxy-Authorization: Basic x", clause="RFC 9110 11.7.2"),
    dropped(
        "Proxy (httpoxy)", b"Proxy: http://evil", note="CGI programs would take it for HTTP_PROXY"
    ),
    dropped("Trailer", b"Trailer: X", clause="RFC 9110 6.6.2"),
    dropped("HTTP2-Settings", b"HTTP2-Settings: AAMAAABkAAQAAP__", clause="RFC 9113 3.1"),
    dropped("TE: gzip", b"TE: gzip", clause=TE),
    passes(
        "TE: trailers is said anew",
        TE,
        get(b"TE: trailers", b"Connection: TE"),
        fields={"te": "trailers", "connection": "te"},
    ),
    passes(
        "TE: trailers among others", TE, get(b"TE: gzip;q=0.5, Trailers"), fields={"te": "trailers"}
    ),
    passes(
        "Max-Forwards of OPTIONS counts down",
        "RFC 9110 7.6.2",
        get(b"Max-Forwards: 3", method=b"OPTIONS"),
        method="OPTIONS",
        fields={"max-forwards": "2"},
    ),
    refused(
        "OPTIONS that goes no further",
        "RFC 9110 7.6.2",
        405,
        get(b"Max-Forwards: 0", method=b"OPTIONS"),
        note="MUST be answered here; Allow says what is served",
    ),
    passes(
        "Max-Forwards of GET means nothing",
        "RFC 9110 7.6.2",
        get(b"Max-Forwards: 0"),
        fields={"max-forwards": "0"},
    ),
    protected("Authorization", b"Authorization: x", "the service decides by it"),
    protected("Cookie", b"Cookie: a=b", "the service decides by it"),
    protected("X-Request-Id", b"X-Request-Id: 7", "it is traced by it"),
    protected("the tenant", b"X-Tenant: t", "policy decides by it", bench="ruled"),
    protected("Cache-Control", b"Cache-Control: no-store", "never to be listed (7.6.1)"),
    passes(
        "Connection cannot take X-Forwarded-For away",
        HOP,
        get(b"X-Forwarded-For: 1.2.3.4", b"Connection: x-forwarded-for"),
        fields={"x-forwarded-for": "127.0.0.1"},
    ),
    passes("Connection cannot take Host away", HOP, get(b"Connection: host")),
    passes(
        "Connection cannot take Content-Length away",
        HOP,
        post(b"Content-Length: 5", b"Connection: content-length"),
        method="POST",
        body=b"hello",
    ),
    passes(
        "Connection: close",
        "RFC 9112 9.6",
        get(b"Connection: close"),
        is_kept=False,
        answers={"connection": "close"},
    ),
    passes(
        "Connection: Close among others",
        "RFC 9112 9.6",
        get(b"Connection: keep-alive, CLOSE"),
        is_kept=False,
    ),
    passes(
        "close in a second line",
        "RFC 9112 9.6",
        get(b"Connection: keep-alive", b"Connection: close"),
        is_kept=False,
    ),
    passes(
        "what follows a close is not served",
        "RFC 9112 9.6",
        get(b"Connection: close") + get(target=b"/b"),
        is_kept=False,
    ),
    passes(
        "HTTP/1.0 that keeps alive",
        "RFC 9112 9.3",
        get(b"Connection: Keep-Alive", version=b"HTTP/1.0"),
        answers={"connection": "keep-alive"},
    ),
    # --- Upgrade
    passes(
        "an upgrade that the upstream declines",
        UPGRADE,
        get(*WEBSOCKET),
        fields={"connection": "upgrade", "upgrade": "websocket"},
    ),
    passes(
        "an upgrade that Connection does not list",
        UPGRADE,
        get(b"Upgrade: websocket"),
        fields={"upgrade": None, "connection": None},
    ),
    passes(
        "Connection: upgrade without a protocol",
        UPGRADE,
        get(b"Connection: upgrade"),
        fields={"upgrade": None, "connection": None},
    ),
    passes(
        "an upgrade to one of two",
        UPGRADE,
        get(b"Connection: upgrade", b"Upgrade: websocket, x"),
        fields={"upgrade": None, "connection": None},
        note="only one protocol is passed on",
    ),
    passes(
        "an upgrade in two lines",
        UPGRADE,
        get(b"Connection: upgrade", b"Upgrade: websocket", b"Upgrade: x"),
        fields={"upgrade": None},
    ),
    passes(
        "an upgrade to h2c",
        "RFC 9113 3.1",
        get(b"Connection: upgrade, http2-settings", b"Upgrade: h2c", b"HTTP2-Settings: AAA"),
        fields={"upgrade": None, "http2-settings": None},
        note="a tunnel of HTTP would carry requests past every decision",
        advisory="h2c smuggling",
    ),
    passes(
        "an upgrade to TLS",
        "RFC 2817 3",
        get(b"Connection: upgrade", b"Upgrade: TLS/1.0"),
        fields={"upgrade": None},
        note="the same",
    ),
    passes(
        "an upgrade to HTTP/2.0",
        UPGRADE,
        get(b"Connection: upgrade", b"Upgrade: HTTP/2.0"),
        fields={"upgrade": None},
    ),
    passes(
        "an upgrade in HTTP/1.0",
        UPGRADE,
        get(*WEBSOCKET, version=b"HTTP/1.0"),
        fields={"upgrade": None},
        is_kept=False,
    ),
    passes(
        "an upgrade with a body is none",
        UPGRADE,
        post(*WEBSOCKET, b"Content-Length: 5"),
        method="POST",
        body=b"hello",
        fields={"upgrade": None},
        advisory="uvicorn with httptools loses the body",
    ),
    passes(
        "what follows a declined upgrade is a request",
        UPGRADE,
        get(*WEBSOCKET) + get(target=b"/b"),
        reads=(Read(fields={"upgrade": "websocket"}), Read(target="/b")),
        advisory="Pingora CVE-2026-2833",
    ),
    RequestCase(
        name="an upgrade that the upstream takes",
        clause=UPGRADE,
        sent=(get(*WEBSOCKET),),
        script=Script(answer=(SWITCH + b"websocket\r\n\r\n",), closes=True),
        reads=(Read(),),
        statuses=(101,),
        answers={"upgrade": "websocket", "connection": "upgrade"},
    ),
    passes(
        "101 that nobody asked for",
        "RFC 9110 15.2.2",
        get(),
        statuses=(502,),
        script=Script(answer=(SWITCH + b"websocket\r\n\r\n",)),
        advisory="Envoy CVE-2024-23326",
    ),
    passes(
        "101 to another protocol",
        "RFC 9110 15.2.2",
        get(*WEBSOCKET),
        statuses=(502,),
        script=Script(answer=(SWITCH + b"other\r\n\r\n",)),
    ),
    passes(
        "101 to two protocols",
        "RFC 9110 15.2.2",
        get(*WEBSOCKET),
        statuses=(502,),
        script=Script(answer=(SWITCH + b"websocket, h2c\r\n\r\n",)),
    ),
    passes(
        "101 without a protocol",
        "RFC 9110 15.2.2",
        get(*WEBSOCKET),
        statuses=(502,),
        script=Script(answer=(b"HTTP/1.1 101 Switching\r\n\r\n",)),
    ),
    passes(
        "101 to a request with a body",
        "RFC 9110 15.2.2",
        post(*WEBSOCKET, b"Content-Length: 5"),
        method="POST",
        body=b"hello",
        statuses=(502,),
        script=Script(answer=(SWITCH + b"websocket\r\n\r\n",)),
        advisory="nghttpx CVE-2026-58055",
    ),
]
