"""Content-Length: one plain number, or no request at all."""

from __future__ import annotations

from conformance.case import Case, Read, passes, refused
from conformance.cases.message import get, post

FIELD = "RFC 9110 8.6"
FRAMING = "RFC 9112 6.3"

GOOD = (
    ("5", b"5", b"hello"),
    ("leading zeros", b"005", b"hello"),
    ("blanks around", b" \t5 \t", b"hello"),
    ("0", b"0", b""),
    ("000", b"000", b""),
)
BAD = (
    ("a sign +", b"+5", "aiohttp CVE-2023-47627"),
    ("a sign -", b"-5", ""),
    ("-0", b"-0", ""),
    ("hex", b"0x5", ""),
    ("hex digits", b"5a", ""),
    ("an exponent", b"5e0", ""),
    ("a fraction", b"5.0", ""),
    ("an underscore", b"0_5", "aiohttp CVE-2023-47627"),
    ("empty", b"", "HAProxy CVE-2023-40225"),
    ("only blanks", b"   ", "HAProxy CVE-2023-40225"),
    ("a blank inside", b"5 5", ""),
    ("a tab inside", b"5\t5", ""),
    ("two values", b"5, 6", ""),
    ("two values that agree", b"5, 5", ""),
    ("a comma after", b"5,", ""),
    ("a comma before", b",5", ""),
    ("a semicolon", b"5;a", ""),
    ("quotes", b'"5"', ""),
    ("a word", b"five", ""),
    ("infinite", b"inf", ""),
    ("NaN", b"NaN", ""),
    ("digits of another script", "٥".encode(), ""),
    ("above 2^63", b"9223372036854775808", ""),
    ("above 2^64", b"18446744073709551621", ""),
    ("a hundred digits", b"9" * 100, ""),
    ("a hundred zeros before", b"0" * 100 + b"5", ""),
    ("a vertical tab before", b"\x0b5", "waitress CVE-2022-24761"),
    ("a no-break space before", b"\xa05", ""),
    ("a NUL after", b"5\x00", ""),
    ("a percent escape", b"%35", ""),
    ("a colon", b"5:5", ""),
)

CASES: list[Case] = [
    *(
        passes(
            f"Content-Length: {words}",
            FIELD,
            post(b"Content-Length:" + value, body=body),
            method="POST",
            body=body,
            fields={"content-length": str(len(body)), "transfer-encoding": None},
        )
        for words, value, body in GOOD
    ),
    *(
        refused(
            f"Content-Length: {words}",
            FIELD if b"," not in value else FRAMING,
            400,
            post(b"Content-Length:" + (b" " if value else b"") + value),
            advisory=advisory,
            note="a list of equal values MAY be taken; two readers that differ are smuggled past"
            if value == b"5, 5"
            else "",
        )
        for words, value, advisory in BAD
    ),
    refused("two Content-Lengths", FRAMING, 400, post(b"Content-Length: 5", b"Content-Length: 6")),
    refused(
        "two Content-Lengths, the larger first",
        FRAMING,
        400,
        post(b"Content-Length: 6", b"content-length: 5"),
    ),
    refused(
        "two Content-Lengths that agree",
        FIELD,
        400,
        post(b"Content-Length: 5", b"Content-Length: 5"),
        note="a recipient MAY reject or merge them; rejected",
    ),
    refused(
        "two Content-Lengths, one empty",
        FRAMING,
        400,
        post(b"Content-Length:", b"Content-Length: 5"),
        advisory="HAProxy CVE-2023-40225",
    ),
    refused(
        "two Content-Lengths that differ in zeros",
        FRAMING,
        400,
        post(b"Content-Length: 5", b"Content-Length: 05"),
    ),
    passes(
        "Content-Length of a GET",
        "RFC 9110 9.3.1",
        get(b"Content-Length: 5", body=b"hello"),
        body=b"hello",
    ),
    passes(
        "Content-Length of a HEAD",
        "RFC 9112 6.3",
        get(b"Content-Length: 5", method=b"HEAD", body=b"hello"),
        method="HEAD",
        body=b"hello",
    ),
    passes(
        "Content-Length of a DELETE",
        "RFC 9110 9.3.5",
        get(b"Content-Length: 5", method=b"DELETE", body=b"hello"),
        method="DELETE",
        body=b"hello",
    ),
    passes(
        "a body in pieces",
        FRAMING,
        post(b"Content-Length: 5", body=b"he"),
        b"ll",
        b"o",
        method="POST",
        body=b"hello",
    ),
    passes(
        "the body ends where the length says",
        FRAMING,
        post(b"Content-Length: 5") + get(target=b"/b"),
        reads=(Read("POST", body=b"hello"), Read(target="/b")),
    ),
    passes(
        "a body that looks like a request",
        FRAMING,
        post(b"Content-Length: %d" % len(get(target=b"/admin")), body=get(target=b"/admin")),
        method="POST",
        body=get(target=b"/admin"),
    ),
    passes(
        "without a length there is no body",
        FRAMING,
        get(method=b"POST") + get(target=b"/b"),
        reads=(Read("POST"), Read(target="/b")),
    ),
    passes(
        "bytes after a request without a length are no request",
        FRAMING,
        get(method=b"POST", body=b"hello world\r\n\r\n"),
        reads=(Read("POST"),),
        statuses=(200, 400),
        is_kept=False,
    ),
    refused(
        "HTTP/1.0 POST without a length",
        "RFC 9110 15.5.12",
        411,
        post(version=b"HTTP/1.0"),
        note="its body would last until close, or is forgotten",
        advisory="Pingora CVE-2026-2836",
    ),
    refused(
        "HTTP/1.0 PUT without a length",
        "RFC 9110 15.5.12",
        411,
        get(method=b"PUT", version=b"HTTP/1.0"),
        advisory="Pingora CVE-2026-2836",
    ),
    passes(
        "HTTP/1.0 POST with a length",
        FRAMING,
        post(b"Content-Length: 5", version=b"HTTP/1.0"),
        method="POST",
        body=b"hello",
        is_kept=False,
    ),
    passes(
        "HTTP/1.0 GET: what follows is not read",
        FRAMING,
        get(version=b"HTTP/1.0") + get(target=b"/b"),
        is_kept=False,
        advisory="Pingora CVE-2026-2836",
    ),
]
