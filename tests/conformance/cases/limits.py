"""Limits, each with its own status. The bench "small" has them low; "plain" has the defaults."""

from __future__ import annotations

from conformance.case import Case, RequestCase, passes, refused
from conformance.cases.message import chunked, get, post

TARGET = "RFC 9110 15.5.15"
HEAD = "RFC 6585 5"
BODY = "RFC 9110 15.5.14"
FIELD_SIZE = b"x" * 1000


CASES: list[Case] = [
    passes(
        "a target of 8192 bytes", TARGET, get(target=b"/" + b"a" * 8191), target="/" + "a" * 8191
    ),
    refused("a target of 8193 bytes", TARGET, 414, get(target=b"/" + b"a" * 8192)),
    refused("a target of 20 KiB", TARGET, 414, get(target=b"/" + b"a" * 20_000)),
    refused("a target without end", TARGET, 414, b"GET /" + b"a" * 20_000),
    refused(
        "an absolute target that is too long", TARGET, 414, get(target=b"http://a/" + b"a" * 8192)
    ),
    passes("99 fields and Host", HEAD, get(*(b"X%d: y" % n for n in range(99)))),
    refused("100 fields and Host", HEAD, 431, get(*(b"X%d: y" % n for n in range(100)))),
    passes("a head of just under 16 KiB", HEAD, get(*(b"X: " + FIELD_SIZE for _ in range(16)))),
    refused("a head of over 16 KiB", HEAD, 431, get(*(b"X: " + FIELD_SIZE for _ in range(17)))),
    refused("a head without end", HEAD, 431, b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 17_000),
    refused("one field of over 16 KiB", HEAD, 431, get(b"X: " + b"x" * 17_000)),
    passes(
        "a target at a lower bound",
        TARGET,
        get(target=b"/" + b"a" * 199),
        target="/" + "a" * 199,
        bench="small",
    ),
    refused(
        "a target over a lower bound", TARGET, 414, get(target=b"/" + b"a" * 200), bench="small"
    ),
    refused("a head over a lower bound", HEAD, 431, get(b"X: " + b"x" * 1000), bench="small"),
    refused(
        "fields over a lower bound", HEAD, 431, get(*(b"X: y" for _ in range(20))), bench="small"
    ),
    passes(
        "a body at its bound",
        BODY,
        post(b"Content-Length: 1000", body=b"x" * 1000),
        method="POST",
        body=b"x" * 1000,
        bench="small",
    ),
    refused(
        "a length over the bound of bodies, before a byte of it",
        BODY,
        413,
        post(b"Content-Length: 100001", body=b""),
        bench="small",
    ),
    RequestCase(
        name="chunks over the bound of bodies",
        clause=BODY,
        sent=(chunked(b"3e9\r\n" + b"x" * 1001 + b"\r\n0\r\n\r\n"),),
        statuses=(413,),
        is_kept=True,
        bench="small",
        note="what is left of a short body is read and thrown away",
    ),
    refused(
        "chunks far over the bound of bodies",
        BODY,
        413,
        chunked(b"3d090\r\n" + b"x" * 250_000),
        bench="small",
    ),
    refused(
        "a body over the bound, with Expect",
        BODY,
        413,
        post(b"Content-Length: 1001", b"Expect: 100-continue", body=b""),
        bench="small",
    ),
]
