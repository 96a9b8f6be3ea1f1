"""The chunked coding: sizes, extensions, ends of line, trailers."""

from __future__ import annotations

from conformance.case import Case, Read, passes, refused
from conformance.cases.message import chunked, get

CHUNK = "RFC 9112 7.1"
EXTENSION = "RFC 9112 7.1.1"
TRAILER = "RFC 9112 7.1.2"
END = b"0\r\n\r\n"

GOOD = (
    ("one chunk", b"5\r\nhello\r\n" + END, b"hello"),
    ("two chunks", b"2\r\nhe\r\n3\r\nllo\r\n" + END, b"hello"),
    ("no chunk", END, b""),
    ("hex in capitals", b"A\r\n0123456789\r\n" + END, b"0123456789"),
    ("hex in small letters", b"a\r\n0123456789\r\n" + END, b"0123456789"),
    ("leading zeros", b"00005\r\nhello\r\n" + END, b"hello"),
    ("16 digits", b"0000000000000005\r\nhello\r\n" + END, b"hello"),
    ("a last chunk of zeros", b"5\r\nhello\r\n0000\r\n\r\n", b"hello"),
    ("CRLF in the data", b"4\r\n\r\n\r\n\r\n" + END, b"\r\n\r\n"),
    ("a chunk size in the data", b"5\r\n0\r\n\r\n\r\n" + END, b"0\r\n\r\n"),
    ("NUL in the data", b"3\r\na\0b\r\n" + END, b"a\0b"),
)
BAD = (
    ("a sign +", b"+5\r\nhello\r\n" + END, CHUNK, ""),
    ("a sign -", b"-5\r\nhello\r\n" + END, CHUNK, ""),
    ("0x", b"0x5\r\nhello\r\n" + END, CHUNK, ""),
    ("a blank before", b" 5\r\nhello\r\n" + END, CHUNK, ""),
    ("a blank after", b"5 \r\nhello\r\n" + END, CHUNK, ""),
    ("a tab after", b"5\t\r\nhello\r\n" + END, CHUNK, ""),
    ("an underscore", b"0_5\r\nhello\r\n" + END, CHUNK, ""),
    ("empty", b"\r\nhello\r\n" + END, CHUNK, ""),
    ("a letter beyond hex", b"g\r\nhello\r\n" + END, CHUNK, ""),
    ("a comma", b"5,5\r\nhello\r\n" + END, CHUNK, ""),
    ("17 digits", b"0" * 16 + b"5\r\nhello\r\n" + END, CHUNK, ""),
    ("2^63", b"8000000000000000\r\nhello\r\n" + END, CHUNK, ""),
    ("2^64 + 5", b"10000000000000005\r\nhello\r\n" + END, CHUNK, ""),
    ("quotes", b'"5"\r\nhello\r\n' + END, CHUNK, ""),
    ("a NUL", b"5\0\r\nhello\r\n" + END, CHUNK, ""),
    ("digits of another script", "٥".encode() + b"\r\nhello\r\n" + END, CHUNK, ""),
    ("bare LF after the size", b"5\nhello\r\n" + END, CHUNK, "Go CVE-2025-22871"),
    ("bare CR after the size", b"5\rhello\r\n" + END, CHUNK, ""),
    ("CR CR LF after the size", b"5\r\r\nhello\r\n" + END, CHUNK, "fasthttp pull 1899"),
    ("bare LF after the data", b"5\r\nhello\n" + END, CHUNK, "h11 CVE-2025-43859"),
    ("two other bytes after the data", b"5\r\nhelloXX" + END, CHUNK, "h11 CVE-2025-43859"),
    ("data longer than its size", b"4\r\nhello\r\n" + END, CHUNK, ""),
    ("data shorter than its size", b"6\r\nhello\r\n" + END, CHUNK, ""),
    ("bare LF after the last size", b"5\r\nhello\r\n0\n\r\n", CHUNK, "Go CVE-2025-22871"),
    (
        "bare LF at the very end",
        b"5\r\nhello\r\n0\r\n\n",
        CHUNK,
        "Apache Traffic Server CVE-2024-53868",
    ),
    ("an empty line between chunks", b"2\r\nhe\r\n\r\n3\r\nllo\r\n" + END, CHUNK, ""),
    ("bare LF in an extension", b"5;a\nb\r\nhello\r\n" + END, EXTENSION, "Kestrel CVE-2025-55315"),
    ("bare CR in an extension", b"5;a\rb\r\nhello\r\n" + END, EXTENSION, "Kestrel CVE-2025-55315"),
    ("bare LF ends an extension", b"5;a\nhello\r\n" + END, EXTENSION, "Netty CVE-2025-58056"),
    ("NUL in an extension", b"5;\0\r\nhello\r\n" + END, EXTENSION, ""),
    (
        "an extension without a semicolon",
        b"5 a=b\r\nhello\r\n" + END,
        EXTENSION,
        "aiohttp CVE-2024-52304",
    ),
    (
        "an extension of 257 bytes",
        b"5;" + b"a" * 256 + b"\r\nhello\r\n" + END,
        EXTENSION,
        "Go CVE-2023-39326",
    ),
    (
        "extensions of 17 KiB in all",
        b"".join(b"1;" + b"a" * 250 + b"\r\nx\r\n" for _ in range(70)) + END,
        EXTENSION,
        "Go CVE-2023-39326",
    ),
    (
        "a trailer without a colon",
        b"0\r\nGET / HTTP/1.1\r\n\r\n",
        TRAILER,
        "eventlet CVE-2025-58068",
    ),
    ("a trailer with a blank before the colon", b"0\r\nX : y\r\n\r\n", TRAILER, ""),
    ("a trailer with an empty name", b"0\r\n: y\r\n\r\n", TRAILER, ""),
    ("a folded trailer", b"0\r\nX: y\r\n z\r\n\r\n", TRAILER, ""),
    ("bare LF after a trailer", b"0\r\nX: y\n\r\n", TRAILER, "aiohttp CVE-2025-53643"),
    ("a NUL in a trailer", b"0\r\nX: \0\r\n\r\n", TRAILER, ""),
    ("33 trailers", b"0\r\n" + b"X: y\r\n" * 33 + b"\r\n", TRAILER, ""),
    ("trailers of 5 KiB", b"0\r\n" + b"X: " + b"y" * 5000 + b"\r\n\r\n", TRAILER, ""),
)
BOUNDS = {
    "17 digits",
    "33 trailers",
    "an extension of 257 bytes",
    "extensions of 17 KiB in all",
    "trailers of 5 KiB",
}
ODD_TRAILERS = (
    ("Content-Length", b"Content-Length: 5", "content-length"),
    ("Host", b"Host: b", ""),
    ("Authorization", b"Authorization: x", "authorization"),
    ("X-Forwarded-For", b"X-Forwarded-For: 1.2.3.4", ""),
    ("X-Criticality", b"X-Criticality: critical_plus", ""),
    ("Connection", b"Connection: close", "connection"),
    ("Cookie", b"Cookie: a=b", "cookie"),
    ("X-Tenant", b"X-Tenant: vip", "x-tenant"),
)

CASES: list[Case] = [
    *(
        passes(
            f"chunks: {words}",
            CHUNK,
            chunked(raw),
            method="POST",
            body=body,
            fields={"transfer-encoding": "chunked"},
        )
        for words, raw, body in GOOD
    ),
    passes(
        "chunks: every byte alone",
        CHUNK,
        chunked(b""),
        *(bytes((byte,)) for byte in b"5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n"),
        method="POST",
        body=b"hello",
    ),
    *(
        refused(
            f"chunks: {words}",
            clause,
            400,
            chunked(raw),
            advisory=advisory,
            note="a bound of ours" if words in BOUNDS else "",
        )
        for words, raw, clause, advisory in BAD
    ),
    passes(
        "an extension is dropped",
        EXTENSION,
        chunked(b'5;a="b;c";d\r\nhello\r\n' + END),
        method="POST",
        body=b"hello",
    ),
    passes(
        "blanks before an extension",
        EXTENSION,
        chunked(b"5 \t;a=b\r\nhello\r\n" + END),
        method="POST",
        body=b"hello",
        note="bad blanks (RFC 9110 5.6.3): MUST be parsed, MUST NOT be sent",
    ),
    passes(
        "an extension of 256 bytes",
        EXTENSION,
        chunked(b"5;" + b"a" * 255 + b"\r\nhello\r\n" + END),
        method="POST",
        body=b"hello",
    ),
    passes(
        "an extension of the last chunk",
        EXTENSION,
        chunked(b"5\r\nhello\r\n0;a\r\n\r\n"),
        method="POST",
        body=b"hello",
    ),
    *(
        passes(
            f"a trailer {words} is dropped",
            "RFC 9110 6.5.1",
            chunked(b"5\r\nhello\r\n0\r\n" + line + b"\r\n\r\n"),
            method="POST",
            body=b"hello",
            fields={name: None} if name else {},
            note="a trailer never becomes a header: what decides was read before it",
            advisory="uvicorn with httptools merges it",
        )
        for words, line, name in ODD_TRAILERS
    ),
    passes(
        "32 trailers",
        TRAILER,
        chunked(b"5\r\nhello\r\n0\r\n" + b"X: y\r\n" * 32 + b"\r\n"),
        method="POST",
        body=b"hello",
        fields={"x": None},
    ),
    passes(
        "the body ends at the last chunk",
        CHUNK,
        chunked(END) + get(target=b"/b"),
        reads=(Read("POST"), Read(target="/b")),
    ),
    passes(
        "a request after trailers",
        CHUNK,
        chunked(b"0\r\nX: y\r\n\r\n") + get(target=b"/b"),
        reads=(Read("POST"), Read(target="/b", fields={"x": None})),
    ),
    passes(
        "chunks in a GET",
        "RFC 9110 9.3.1",
        get(b"Transfer-Encoding: chunked", body=b"5\r\nhello\r\n" + END),
        body=b"hello",
    ),
    passes(
        "half a trailer announced",
        "RFC 9110 6.6.2",
        chunked(END, b"Trailer: X"),
        method="POST",
        fields={"trailer": None},
    ),
]
