"""The request line: method, version, blanks, ends of line, what comes before it."""

from __future__ import annotations

from conformance.case import Case, Read, passes, refused
from conformance.cases.message import get, post

LINE = "RFC 9112 3"
END = "RFC 9112 2.2"
METHOD = "RFC 9110 9.1"
VERSION = "RFC 9112 2.3"
H = b"Host: a\r\n\r\n"

CASES: list[Case] = [
    passes("a plain request", LINE, get()),
    *(
        passes(f"method {method.decode()}", METHOD, get(method=method), method=method.decode())
        for method in (b"DELETE", b"OPTIONS", b"PROPFIND", b"QUERY", b"PURGE", b"M-SEARCH")
    ),
    passes("HEAD", "RFC 9110 9.3.2", get(method=b"HEAD"), method="HEAD"),
    passes("POST without a body", "RFC 9112 6.3", get(method=b"POST"), method="POST"),
    refused(
        "HEAD that is refused has no body", "RFC 9110 9.3.2", 400, get(b"X : y", method=b"HEAD")
    ),
    refused("a method nobody knows", METHOD, 501, get(method=b"FOO")),
    refused("a method in lower case is another", METHOD, 501, get(method=b"get")),
    refused("a method of 200 bytes", LINE, 501, get(method=b"M" * 200)),
    refused("a method that is no token", METHOD, 400, get(method=b"G@T")),
    refused("a method with a colon", METHOD, 400, get(method=b"GET:")),
    refused("no method", LINE, 400, b" / HTTP/1.1\r\n" + H),
    refused(
        "CONNECT is not allowed",
        "RFC 9110 9.3.6",
        405,
        get(method=b"CONNECT", target=b"a:443"),
        answers={"allow": "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"},
        note="a tunnel to anywhere is no work of a reverse proxy",
    ),
    refused("CONNECT to a path", "RFC 9112 3.2.3", 405, get(method=b"CONNECT")),
    refused(
        "TRACE is not allowed",
        "RFC 9110 9.3.8",
        405,
        get(method=b"TRACE"),
        note="it echoes what only the service should see",
    ),
    refused("two blanks after the method", LINE, 400, b"GET  / HTTP/1.1\r\n" + H),
    refused("two blanks before the version", LINE, 400, b"GET /  HTTP/1.1\r\n" + H),
    refused("a tab between the parts", LINE, 400, b"GET\t/\tHTTP/1.1\r\n" + H),
    refused("a vertical tab between the parts", LINE, 400, b"GET\x0b/ HTTP/1.1\r\n" + H),
    refused("a blank before the line", LINE, 400, b" GET / HTTP/1.1\r\n" + H),
    refused("a blank after the line", LINE, 400, b"GET / HTTP/1.1 \r\n" + H),
    refused("a blank in the target", LINE, 400, b"GET /a b HTTP/1.1\r\n" + H),
    refused("no target", LINE, 400, b"GET HTTP/1.1\r\n" + H),
    refused("two requests in a line", LINE, 400, b"GET / HTTP/1.1 GET /b HTTP/1.1\r\n" + H),
    passes("HTTP/1.0", VERSION, get(version=b"HTTP/1.0"), is_kept=False),
    refused("HTTP/0.9", VERSION, 400, b"GET /\r\n"),
    refused(
        "HTTP/1.2",
        "RFC 9110 2.5",
        505,
        get(version=b"HTTP/1.2"),
        note="SHOULD be taken for 1.1; nobody sends it, and what it would change nobody knows",
    ),
    refused("HTTP/2.0", "RFC 9110 15.6.6", 505, get(version=b"HTTP/2.0")),
    refused("HTTP/0.9 said aloud", "RFC 9110 15.6.6", 505, get(version=b"HTTP/0.9")),
    refused("HTTP/3", "RFC 9110 15.6.6", 505, get(version=b"HTTP/3")),
    refused("the preface of HTTP/2", "RFC 9113 3.4", 505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    refused("a version in lower case", VERSION, 400, get(version=b"http/1.1")),
    refused("a version padded with a zero", VERSION, 400, get(version=b"HTTP/01.1")),
    refused("a version of two digits", VERSION, 400, get(version=b"HTTP/1.10")),
    refused("a version with a sign", VERSION, 400, get(version=b"HTTP/+1.1")),
    refused("a version with a comma", VERSION, 400, get(version=b"HTTP/1,1")),
    refused("another protocol", VERSION, 400, get(version=b"HTTPS/1.1")),
    refused(
        "bare LF at the end of every line",
        END,
        400,
        b"GET / HTTP/1.1\nHost: a\n\n",
        note="a recipient MAY take it for an end of line; readers that differ are smuggled past",
    ),
    refused("bare LF after the request line", END, 400, b"GET / HTTP/1.1\n" + H),
    refused("bare LF after a field", END, 400, b"GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n"),
    refused("bare LF at the end of the head", END, 400, b"GET / HTTP/1.1\r\nHost: a\r\n\n"),
    refused("bare CR after the request line", END, 400, b"GET / HTTP/1.1\rHost: a\r\r"),
    refused("CR CR LF", END, 400, b"GET / HTTP/1.1\r\r\n" + H),
    refused("bare CR in a value", END, 400, get(b"X: a\rb")),
    passes("one empty line before", END, b"\r\n" + get()),
    passes("two empty lines before", END, b"\r\n\r\n" + get()),
    refused(
        "three empty lines before",
        END,
        400,
        b"\r\n\r\n\r\n" + get(),
        note="at least one must be ignored; more is no HTTP",
    ),
    refused("a bare LF before", END, 400, b"\n" + get()),
    refused("a blank line of blanks before", END, 400, b" \r\n" + get()),
    passes(
        "an empty line between two requests",
        END,
        get() + b"\r\n" + get(target=b"/b"),
        reads=(Read(), Read(target="/b")),
    ),
    passes(
        "an empty line after a body",
        "RFC 9112 2.2",
        post(b"Content-Length: 5") + b"\r\n" + get(target=b"/b"),
        reads=(Read("POST", body=b"hello"), Read(target="/b")),
    ),
    passes("every byte alone", LINE, *(bytes((byte,)) for byte in get(b"X: y"))),
    passes("cut between CR and LF", LINE, b"GET / HTTP/1.1\r", b"\nHost: a\r\n\r", b"\n"),
    refused("TLS on a plain port", LINE, 400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    refused("another protocol's first line", LINE, 400, b"EHLO example.com\r\n"),
    refused("a byte order mark", LINE, 400, b"\xef\xbb\xbf" + get()),
]
