"""Transfer-Encoding: exactly one `chunked`, in HTTP/1.1, without a length beside it."""

from __future__ import annotations

from conformance.case import Case, passes, refused
from conformance.cases.message import post

CODING = "RFC 9112 6.1"
FRAMING = "RFC 9112 6.3"
BODY = b"5\r\nhello\r\n0\r\n\r\n"

GOOD = (
    ("chunked", b"chunked"),
    ("in capitals", b"CHUNKED"),
    ("in mixed case", b"cHuNkEd"),
    ("blanks around", b" \t chunked \t"),
)
NO_END = (
    ("gzip alone", b"gzip", ""),
    ("identity", b"identity", ""),
    ("chunked before gzip", b"chunked, gzip", ""),
    ("chunked twice", b"chunked, chunked", "Tornado, doubled chunked"),
    ("chunked before identity", b"chunked, identity", "gunicorn CVE-2024-1135"),
    ("a prefix", b"xchunked", "gunicorn CVE-2024-6827"),
    ("a suffix", b"chunkedx", ""),
    ("one letter short", b"chunke", ""),
    ("a parameter", b"chunked;a=b", ""),
    ("quotes", b'"chunked"', ""),
    ("a comma before", b", chunked", ""),
    ("a comma after", b"chunked,", ""),
    ("empty", b"", ""),
    ("a blank inside", b"chun ked", ""),
    ("two words", b"chunked gzip", ""),
    ("a vertical tab before", b"\x0bchunked", "waitress CVE-2022-24761"),
    ("a form feed after", b"chunked\x0c", ""),
    ("a NUL after", b"chunked\x00", ""),
    ("a no-break space before", b"\xa0chunked", ""),
    ("a fullwidth letter", "ｃhunked".encode(), ""),
    ("a colon", b"chunked:", ""),
    ("an escape", b"%63hunked", ""),
    ("a bare CR before", b"\rchunked", ""),
    ("a question mark", b"?chunked", ""),
)
UNKNOWN = (
    ("gzip before chunked", b"gzip, chunked"),
    ("two before chunked", b"gzip,deflate ,Chunked"),
    ("identity before chunked", b"identity, chunked"),
    ("nonsense before chunked", b"xyz, chunked"),
)

CASES: list[Case] = [
    *(
        passes(
            f"Transfer-Encoding: {words}",
            "RFC 9112 7",
            post(b"Transfer-Encoding:" + value, body=BODY),
            method="POST",
            body=b"hello",
            fields={"transfer-encoding": "chunked", "content-length": None},
        )
        for words, value in GOOD
    ),
    *(
        refused(
            f"Transfer-Encoding: {words}",
            FRAMING,
            400,
            post(b"Transfer-Encoding: " + value, body=BODY),
            advisory=advisory,
            note="empty members of the list MAY be ignored; readers that differ are smuggled past"
            if value in {b", chunked", b"chunked,"}
            else "",
        )
        for words, value, advisory in NO_END
    ),
    *(
        refused(
            f"Transfer-Encoding: {words}",
            CODING,
            501,
            post(b"Transfer-Encoding: " + value, body=BODY),
        )
        for words, value in UNKNOWN
    ),
    refused(
        "two Transfer-Encodings",
        "RFC 9112 7",
        400,
        post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked", body=BODY),
    ),
    refused(
        "two Transfer-Encodings, one unknown",
        CODING,
        400,
        post(b"Transfer-Encoding: gzip", b"Transfer-Encoding: chunked", body=BODY),
    ),
    refused(
        "two Transfer-Encodings, the last identity",
        FRAMING,
        400,
        post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity", body=BODY),
    ),
    refused(
        "both framings",
        FRAMING,
        400,
        post(b"Content-Length: 5", b"Transfer-Encoding: chunked", body=BODY),
        note="an attempt at smuggling: ought to be an error",
        advisory="Twisted CVE-2022-24801",
    ),
    refused(
        "both framings, the coding first",
        FRAMING,
        400,
        post(b"Transfer-Encoding: chunked", b"Content-Length: 0", body=BODY),
    ),
    refused(
        "both framings, the length empty",
        FRAMING,
        400,
        post(b"Transfer-Encoding: chunked", b"Content-Length:", body=BODY),
    ),
    refused(
        "both framings, the coding unknown",
        FRAMING,
        400,
        post(b"Transfer-Encoding: gzip, chunked", b"Content-Length: 5", body=BODY),
    ),
    refused(
        "both framings, the coding malformed",
        FRAMING,
        400,
        post(b"Transfer-Encoding: xchunked", b"Content-Length: 5"),
        advisory="gunicorn CVE-2024-6827",
    ),
    refused(
        "Transfer-Encoding in HTTP/1.0",
        CODING,
        400,
        post(b"Transfer-Encoding: chunked", version=b"HTTP/1.0", body=BODY),
        advisory="Pingora CVE-2026-2835",
    ),
    refused(
        "Transfer-Encoding in HTTP/1.0 that keeps alive",
        CODING,
        400,
        post(
            b"Transfer-Encoding: chunked", b"Connection: keep-alive", version=b"HTTP/1.0", body=BODY
        ),
        advisory="Pingora CVE-2026-2835",
    ),
    refused(
        "both framings in HTTP/1.0",
        CODING,
        400,
        post(b"Transfer-Encoding: chunked", b"Content-Length: 5", version=b"HTTP/1.0", body=BODY),
        advisory="Pingora CVE-2026-2835",
    ),
    refused(
        "a blank before the colon of Transfer-Encoding",
        "RFC 9112 5.1",
        400,
        post(b"Transfer-Encoding : chunked", body=BODY),
    ),
    passes(
        "X-Transfer-Encoding is another field",
        CODING,
        post(b"X-Transfer-Encoding: chunked", b"Content-Length: 5"),
        method="POST",
        body=b"hello",
    ),
    refused(
        "Transfer-Encoding by Connection is still a framing",
        "RFC 9110 7.6.1",
        400,
        post(
            b"Connection: transfer-encoding",
            b"Content-Length: 5",
            b"Transfer-Encoding: chunked",
            body=BODY,
        ),
    ),
]
