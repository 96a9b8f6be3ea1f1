"""Expect: 100-continue, from the client to the upstream and back."""

from __future__ import annotations

from conformance.case import Case, passes, refused
from conformance.cases.message import chunked, get, post
from conformance.recorder import PLAIN, Script

EXPECT = "RFC 9110 10.1.1"
INTERIM = "RFC 9110 15.2"
ASKS = b"Expect: 100-continue"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
ASKED = {"expect": "100-continue"}
LARGE = b"x" * 70_000
SIZED = post(b"Content-Length: 70000", ASKS, body=b"")
CHUNKED = chunked(b"", ASKS)
CHUNKS = b"5\r\nhello\r\n0\r\n\r\n"


def denied(status: int) -> Script:
    no = b"HTTP/1.1 %d No\r\nContent-Length: 2\r\n\r\nno" % status
    return Script(answer=(no,), is_early=True)


CASES: list[Case] = [
    passes(
        "100-continue, the body after it",
        EXPECT,
        post(b"Content-Length: 5", b"Expect: 100-continue", body=b""),
        b"hello",
        method="POST",
        body=b"hello",
        statuses=(100, 200),
        fields={"expect": None},
        note="a small body is in before anybody works on it: 100 as soon as admission lets it come",
    ),
    passes(
        "100-continue in capitals",
        EXPECT,
        post(b"Content-Length: 5", b"Expect: 100-CONTINUE"),
        method="POST",
        body=b"hello",
        statuses=(100, 200),
        fields={"expect": None},
    ),
    passes(
        "100-continue without a body", EXPECT, get(b"Expect: 100-continue"), fields={"expect": None}
    ),
    passes(
        "100-continue in HTTP/1.0 is ignored",
        EXPECT,
        post(b"Content-Length: 5", b"Expect: 100-continue", version=b"HTTP/1.0"),
        method="POST",
        body=b"hello",
        fields={"expect": None},
        is_kept=False,
    ),
    refused("another expectation", EXPECT, 417, get(b"Expect: tea")),
    refused("100-continue and another", EXPECT, 417, get(b"Expect: 100-continue, tea")),
    refused("100-continue with a value", EXPECT, 417, get(b"Expect: 100-continue=1")),
    refused("an empty expectation", EXPECT, 417, get(b"Expect:")),
    passes(
        "an early answer to a body that waits for 100",
        EXPECT,
        post(b"Content-Length: 5", b"Expect: 100-continue"),
        method="POST",
        body=b"hello",
        script=Script(answer=(PLAIN,)),
        statuses=(100, 200),
    ),
    passes(
        "the upstream says 100 to a large body",
        EXPECT,
        SIZED,
        LARGE,
        waits=True,
        method="POST",
        body=LARGE,
        script=Script(on_expect=CONTINUE),
        statuses=(100, 200),
        fields=ASKED,
    ),
    passes(
        "the upstream says 100 to chunks",
        EXPECT,
        CHUNKED,
        CHUNKS,
        waits=True,
        method="POST",
        body=b"hello",
        script=Script(on_expect=CONTINUE),
        statuses=(100, 200),
        fields=ASKED,
    ),
    passes(
        "the upstream says 100 late, and hints before",
        INTERIM,
        CHUNKED,
        CHUNKS,
        waits=True,
        method="POST",
        body=b"hello",
        script=Script(on_expect=b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + CONTINUE),
        statuses=(103, 100, 200),
        fields=ASKED,
    ),
    *(
        passes(
            f"the upstream says {status} in place of 100 to {what}",
            EXPECT,
            head,
            get(target=b"/admin"),
            waits=True,
            method="POST",
            script=denied(status),
            statuses=(status,),
            fields=ASKED,
            is_kept=False,
            note="nobody is asked for a body that nobody wants",
        )
        for status, what, head in (
            (401, "a large body", SIZED),
            (413, "a large body", SIZED),
            (413, "chunks", CHUNKED),
            (417, "chunks", CHUNKED),
        )
    ),
    passes(
        "the upstream says no, and the body comes anyway",
        EXPECT,
        SIZED,
        LARGE[:1000] + get(target=b"/admin"),
        method="POST",
        script=denied(403),
        statuses=(403,),
        fields=ASKED,
        is_kept=False,
        note="it is thrown away, and never read as a request",
    ),
    passes(
        "the upstream says nothing to a large body",
        EXPECT,
        SIZED,
        LARGE,
        waits=True,
        method="POST",
        body=LARGE,
        statuses=(100, 200),
        fields=ASKED,
        note="nobody may wait for a 100 for ever: we say it after `expect_continue`",
    ),
    passes(
        "the upstream says nothing to chunks",
        EXPECT,
        CHUNKED,
        CHUNKS,
        waits=True,
        method="POST",
        body=b"hello",
        statuses=(100, 200),
        fields=ASKED,
        note="the same",
    ),
    passes(
        "a large body that does not wait for 100",
        EXPECT,
        SIZED,
        LARGE,
        method="POST",
        body=LARGE,
        fields=ASKED,
        note="a client need not wait",
    ),
    passes(
        "chunks that do not wait, and a 100 all the same",
        INTERIM,
        CHUNKED,
        CHUNKS,
        method="POST",
        body=b"hello",
        script=Script(on_expect=CONTINUE),
        statuses=(100, 200),
        fields=ASKED,
    ),
    passes(
        "two 100s of the upstream",
        INTERIM,
        CHUNKED,
        CHUNKS,
        waits=True,
        method="POST",
        body=b"hello",
        script=Script(on_expect=CONTINUE * 2),
        statuses=(100, 100, 200),
        fields=ASKED,
    ),
]
