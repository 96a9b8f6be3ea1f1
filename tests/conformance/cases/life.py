"""Connections: keep-alive, pipelining, early answers, what a refusal does to what follows."""

from __future__ import annotations

from conformance.case import Case, Read, passes, refused
from conformance.cases.message import chunked, get, post
from conformance.recorder import PLAIN, Script

PIPELINE = "RFC 9112 9.3.2"
TEARDOWN = "RFC 9112 9.6"
EARLY = "RFC 9112 9.5"
DENIED = b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno"

CASES: list[Case] = [
    passes(
        "two requests in one segment",
        PIPELINE,
        get(target=b"/1") + get(target=b"/2"),
        reads=(Read(target="/1"), Read(target="/2")),
    ),
    passes(
        "sixteen requests ahead",
        PIPELINE,
        b"".join(get(target=b"/%d" % n) for n in range(16)),
        reads=tuple(Read(target=f"/{n}") for n in range(16)),
    ),
    passes(
        "a second request cut in the middle",
        PIPELINE,
        get() + b"GET /b HT",
        b"TP/1.1\r\nHost: a\r\n\r\n",
        reads=(Read(), Read(target="/b")),
    ),
    passes(
        "a body and a request in one segment",
        PIPELINE,
        post(b"Content-Length: 5")
        + chunked(b"2\r\nhi\r\n0\r\n\r\n", target=b"/2")
        + get(target=b"/3"),
        reads=(Read("POST", body=b"hello"), Read("POST", "/2", b"hi"), Read(target="/3")),
    ),
    passes(
        "a bad request after a good one",
        PIPELINE,
        get() + b"nonsense\r\n\r\n",
        reads=(Read(),),
        statuses=(200, 400),
        is_kept=False,
    ),
    passes(
        "nothing after a bad request is served",
        TEARDOWN,
        get() + get(b"X : y") + get(target=b"/b"),
        reads=(Read(),),
        statuses=(200, 400),
        is_kept=False,
        advisory="waitress CVE-2024-49768",
    ),
    refused(
        "a bad request and a good one",
        TEARDOWN,
        400,
        b"nonsense\r\n\r\n" + get(),
        advisory="waitress CVE-2024-49768",
    ),
    refused(
        "bad chunks and a good request", TEARDOWN, 400, chunked(b"x\r\n" + get(target=b"/admin"))
    ),
    refused(
        "a smuggled request in a doubtful body",
        "RFC 9112 11.2",
        400,
        post(
            b"Content-Length: 4",
            b"Transfer-Encoding: chunked",
            body=b"0\r\n\r\n" + get(target=b"/x"),
        ),
    ),
    passes(
        "a long connection",
        "RFC 9112 9.3",
        *(get(target=b"/%d" % n) for n in range(5)),
        reads=tuple(Read(target=f"/{n}") for n in range(5)),
    ),
    passes(
        "an early answer while the body is sent",
        EARLY,
        post(b"Content-Length: 1000000", body=b"x" * 70_000),
        b"y",
        body=b"",
        method="POST",
        script=Script(answer=(DENIED,), is_early=True),
        statuses=(403,),
        is_kept=False,
        note="what is left of the body must not be read as a request",
        advisory="Caddy, measured",
    ),
    passes(
        "an early answer and a request in the body",
        EARLY,
        post(b"Content-Length: 1000000", body=b"x" * 70_000),
        get(target=b"/admin"),
        method="POST",
        script=Script(answer=(DENIED,), is_early=True),
        statuses=(403,),
        is_kept=False,
        advisory="Pingora CVE-2025-4366",
    ),
    passes(
        "an early answer while chunks are sent",
        EARLY,
        chunked(b"11170\r\n" + b"x" * 70_000 + b"\r\n"),
        get(target=b"/admin"),
        method="POST",
        script=Script(answer=(DENIED,), is_early=True),
        statuses=(403,),
        is_kept=False,
    ),
    passes(
        "an answer of HTTP/1.0 to HTTP/1.1",
        "RFC 9112 9.3",
        get(),
        script=Script(answer=(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",), closes=True),
    ),
    passes(
        "103 is passed on",
        "RFC 9110 15.2",
        get(),
        statuses=(103, 200),
        script=Script(answer=(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", PLAIN)),
    ),
    passes(
        "103 in one segment with the answer",
        "RFC 9110 15.2",
        get(),
        statuses=(103, 200),
        script=Script(answer=(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + PLAIN,)),
    ),
    passes(
        "an unknown 1xx is passed on",
        "RFC 9110 15.2",
        get(),
        statuses=(199, 200),
        script=Script(answer=(b"HTTP/1.1 199 Odd\r\n\r\n" + PLAIN,)),
    ),
    passes(
        "102 and 103",
        "RFC 9110 15.2",
        get(),
        statuses=(102, 103, 200),
        script=Script(
            answer=(b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n" + PLAIN,)
        ),
    ),
    passes(
        "1xx is kept from HTTP/1.0",
        "RFC 9110 15.2",
        get(version=b"HTTP/1.0"),
        is_kept=False,
        script=Script(answer=(b"HTTP/1.1 103 Early Hints\r\n\r\n" + PLAIN,)),
    ),
    passes(
        "the upstream's 100 ends here",
        EARLY,
        get(),
        script=Script(answer=(b"HTTP/1.1 100 Continue\r\n\r\n" + PLAIN,)),
        note="nobody expects it: no client has to know what to make of it",
    ),
    passes(
        "103 with a length has no body",
        "RFC 9110 8.6",
        get(),
        statuses=(103, 200),
        script=Script(answer=(b"HTTP/1.1 103 Early\r\nContent-Length: 2\r\n\r\n" + PLAIN,)),
    ),
    passes(
        "103 with a body",
        "RFC 9112 6.3",
        get(),
        statuses=(103, 502),
        script=Script(answer=(b"HTTP/1.1 103 Early\r\nContent-Length: 2\r\n\r\nhi" + PLAIN,)),
    ),
    passes(
        "103 and nothing after it",
        "RFC 9110 15.2",
        get(),
        statuses=(103, 502),
        script=Script(answer=(b"HTTP/1.1 103 Early\r\n\r\n",), closes=True),
    ),
    passes(
        "seventeen 1xx",
        "RFC 9110 15.2",
        get(),
        statuses=(103,) * 16 + (502,),
        script=Script(answer=(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 17 + PLAIN,)),
        note="a bound of ours",
    ),
    refused(
        "a head that does not end",
        "RFC 9110 15.5.9",
        408,
        b"GET / HTTP/1.1\r\nHost: a\r\n",
        bench="impatient",
    ),
    refused(
        "a body that does not come",
        "RFC 9110 15.5.9",
        408,
        post(b"Content-Length: 5", body=b"he"),
        bench="impatient",
    ),
    passes(
        "the third of three requests is the last",
        TEARDOWN,
        *(get() for _ in range(3)),
        reads=(Read(),) * 3,
        is_kept=False,
        bench="small",
        answers={"connection": "close"},
    ),
]
