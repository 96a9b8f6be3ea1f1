"""Heads of answers: what is passed on, what becomes a 502 and ends the connection."""

from __future__ import annotations

from conformance.case import AnswerCase, Case
from conformance.cases.message import get
from conformance.recorder import Script

STATUS = "RFC 9112 4"
FIELDS = "RFC 9112 5"
LENGTH = "RFC 9112 6.3"
OK = b"HTTP/1.1 200 OK\r\n"


def bad(
    name: str, clause: str, *answer: bytes, advisory: str = "", note: str = "", closes: bool = False
) -> Case:
    """502; the upstream's connection is dropped, the client's is not."""
    return AnswerCase(
        name=f"answer: {name}",
        clause=clause,
        sent=(get(),),
        script=Script(answer, closes),
        statuses=(502,),
        is_reused=False,
        advisory=advisory,
        note=note,
    )


def good(
    name: str,
    clause: str,
    head: bytes,
    *,
    status: int = 200,
    note: str = "",
    is_reused: bool = True,
    **fields: str | None,
) -> Case:
    return AnswerCase(
        name=f"answer: {name}",
        clause=clause,
        sent=(get(),),
        script=Script((head + b"Content-Length: 2\r\n\r\nok",)),
        statuses=(status,),
        body=b"ok",
        note=note,
        is_reused=is_reused,
        fields={key.replace("_", "-"): value for key, value in fields.items()},
    )


CASES: list[Case] = [
    good("a plain answer", STATUS, OK, content_length="2"),
    good("no reason, with its blank", STATUS, b"HTTP/1.1 200 \r\n"),
    good(
        "no reason and no blank",
        STATUS,
        b"HTTP/1.1 200\r\n",
        note="often sent, and read alike by all",
    ),
    good("a reason with bytes above 127", STATUS, b"HTTP/1.1 200 \xc3\x9c\tb\r\n"),
    good("a status nobody knows", "RFC 9110 15", b"HTTP/1.1 299 Odd\r\n", status=299),
    good("599", "RFC 9110 15", b"HTTP/1.1 599 Odd\r\n", status=599),
    good(
        "connection fields end here",
        "RFC 9110 7.6.1",
        OK + b"Connection: x-hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=1\r\n",
        x_hop=None,
        keep_alive=None,
    ),
    good(
        "Connection cannot take Set-Cookie away",
        "RFC 9110 7.6.1",
        OK + b"Connection: set-cookie\r\nSet-Cookie: a=b\r\n",
        set_cookie="a=b",
    ),
    good(
        "Connection: close of the upstream is not the client's",
        "RFC 9112 9.6",
        OK + b"Connection: close\r\n",
        is_reused=False,
        connection=None,
    ),
    good(
        "Upgrade in another answer than 101 or 426",
        "RFC 9110 7.8",
        OK + b"Upgrade: h2c\r\n",
        upgrade=None,
    ),
    good(
        "426 says what to upgrade to",
        "RFC 9110 15.5.22",
        b"HTTP/1.1 426 No\r\nUpgrade: x\r\n",
        status=426,
        upgrade="x",
        connection="upgrade",
    ),
    good(
        "two Set-Cookies stay two",
        "RFC 9110 5.3",
        OK + b"Set-Cookie: a=b\r\nSet-Cookie: c=d\r\n",
        set_cookie="a=b, c=d",
    ),
    good(
        "a Date of the upstream is kept",
        "RFC 9110 6.6.1",
        OK + b"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n",
        date="Sun, 06 Nov 1994 08:49:37 GMT",
    ),
    good(
        "Proxy-Authenticate ends here",
        "RFC 9110 11.7.1",
        OK + b"Proxy-Authenticate: Basic\r\n",
        proxy_authenticate=None,
    ),
    bad("nothing but a close", LENGTH, closes=True),
    bad("a close inside the head", LENGTH, OK + b"X: ", closes=True),
    bad("no HTTP", STATUS, b"SSH-2.0-OpenSSH_9.2\r\n"),
    bad("HTML at once", STATUS, b"<html>hello</html>\n"),
    bad("TLS", STATUS, b"\x15\x03\x01\x00\x02\x02\x16"),
    bad("HTTP/2.0", "RFC 9112 2.3", b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n"),
    bad("HTTP/1.2", "RFC 9110 2.5", b"HTTP/1.2 200 OK\r\nContent-Length: 0\r\n\r\n"),
    bad("HTTP/0.9", "RFC 9112 2.3", b"HTTP/0.9 200 OK\r\nContent-Length: 0\r\n\r\n"),
    bad("a version in lower case", "RFC 9112 2.3", b"http/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    bad("ICY", STATUS, b"ICY 200 OK\r\nContent-Length: 0\r\n\r\n"),
    bad("a status of two digits", STATUS, b"HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n"),
    bad("a status of four digits", STATUS, b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n"),
    bad("a status with a sign", STATUS, b"HTTP/1.1 +20 OK\r\nContent-Length: 0\r\n\r\n"),
    bad("no blank after the status", STATUS, b"HTTP/1.1 200OK\r\nContent-Length: 0\r\n\r\n"),
    bad("no status", STATUS, b"HTTP/1.1\r\nContent-Length: 0\r\n\r\n"),
    bad("a request for an answer", STATUS, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    bad("status 000", "RFC 9110 15", b"HTTP/1.1 000 OK\r\nContent-Length: 0\r\n\r\n"),
    bad("status 600", "RFC 9110 15", b"HTTP/1.1 600 OK\r\nContent-Length: 0\r\n\r\n"),
    bad("two blanks before the status", STATUS, b"HTTP/1.1  200 OK\r\nContent-Length: 0\r\n\r\n"),
    bad("a blank before the line", STATUS, b" HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    bad("an empty line before", STATUS, b"\r\n" + OK + b"Content-Length: 0\r\n\r\n"),
    bad(
        "bare LF at the end of every line",
        "RFC 9112 2.2",
        b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    ),
    bad("bare LF after a field", "RFC 9112 2.2", OK + b"X: y\nContent-Length: 0\r\n\r\n"),
    bad("bare CR in a value", "RFC 9112 2.2", OK + b"X: a\rb\r\nContent-Length: 0\r\n\r\n"),
    bad("bare CR in the reason", "RFC 9112 2.2", b"HTTP/1.1 200 O\rK\r\nContent-Length: 0\r\n\r\n"),
    bad(
        "a folded line",
        "RFC 9112 5.2",
        OK + b"X: a\r\n b\r\nContent-Length: 0\r\n\r\n",
        note="a gateway MUST answer 502 or replace the fold; 502",
    ),
    bad(
        "a blank before the colon",
        "RFC 9112 5.1",
        OK + b"X : a\r\nContent-Length: 0\r\n\r\n",
        note="it MUST NOT be forwarded so; nothing is repaired",
    ),
    bad("no colon", FIELDS, OK + b"nonsense\r\nContent-Length: 0\r\n\r\n"),
    bad("an empty name", "RFC 9110 5.1", OK + b": y\r\nContent-Length: 0\r\n\r\n"),
    bad("a NUL in a value", "RFC 9110 5.5", OK + b"X: \0\r\nContent-Length: 0\r\n\r\n"),
    bad(
        "a control byte in a value", "RFC 9110 5.5", OK + b"X: \x1b[2J\r\nContent-Length: 0\r\n\r\n"
    ),
    bad(
        "a name of 300 bytes",
        "RFC 9110 5.1",
        OK + b"n" * 300 + b": y\r\nContent-Length: 0\r\n\r\n",
        note="a bound of ours",
    ),
    bad(
        "a head of over 64 KiB",
        "RFC 9110 5.4",
        OK + b"X: " + b"y" * 70_000 + b"\r\n\r\n",
        note="a bound of ours",
    ),
    bad("257 fields", "RFC 9110 5.4", OK + b"X: y\r\n" * 257 + b"\r\n", note="a bound of ours"),
    *(
        bad(
            f"Content-Length: {words}",
            "RFC 9110 8.6",
            OK + b"Content-Length: " + value + b"\r\n\r\nok",
        )
        for words, value in (
            ("a sign", b"+2"),
            ("negative", b"-2"),
            ("hex", b"0x2"),
            ("empty", b""),
            ("two values", b"2, 3"),
            ("two values that agree", b"2, 2"),
            ("a word", b"two"),
            ("above 2^63", b"9" * 19 + b"9"),
        )
    ),
    bad("two Content-Lengths", LENGTH, OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nok"),
    bad(
        "two Content-Lengths that agree",
        "RFC 9110 8.6",
        OK + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nok",
        note="a recipient MAY merge them; nothing is repaired",
    ),
    bad(
        "both framings",
        LENGTH,
        OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    bad(
        "Transfer-Encoding in HTTP/1.0",
        "RFC 9112 6.1",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    *(
        bad(
            f"Transfer-Encoding: {words}",
            LENGTH,
            OK + b"Transfer-Encoding: " + value + b"\r\n\r\n0\r\n\r\n",
            note="it could be read to the close; what we cannot decode we do not pass on"
            if value == b"gzip"
            else "",
        )
        for words, value in (
            ("gzip", b"gzip"),
            ("gzip before chunked", b"gzip, chunked"),
            ("chunked twice", b"chunked, chunked"),
            ("identity", b"identity"),
            ("a suffix", b"chunkedx"),
            ("empty", b""),
        )
    ),
    bad(
        "two Transfer-Encodings",
        LENGTH,
        OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
]
