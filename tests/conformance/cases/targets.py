"""The four forms of a target, and paths that are forwarded byte for byte."""

from __future__ import annotations

from conformance.case import Case, passes, refused
from conformance.cases.message import get

FORM = "RFC 9112 3.2"
ORIGIN = "RFC 9112 3.2.1"
ABSOLUTE = "RFC 9112 3.2.2"
ASTERISK = "RFC 9112 3.2.4"
UNTOUCHED = "RFC 9110 7.7"

PATHS = (
    ("a query", b"/a?b=c&d"),
    ("an empty query", b"/a?"),
    ("a second question mark", b"/a?b?c"),
    ("dot segments", b"/a/./b/../c"),
    ("more dots than segments", b"/../../a"),
    ("doubled slashes", b"//a//b"),
    ("an escaped slash", b"/a%2Fb%2f"),
    ("escaped dots", b"/%2e%2E/a"),
    ("a double escape", b"/a%252fb"),
    ("an escape of nothing", b"/a%zz%"),
    ("parameters", b"/a;b=c/d;e"),
    ("a backslash", b"/a\\b"),
    ("an escaped NUL", b"/a%00b"),
    ("an escaped end of line", b"/a%0d%0aX:y"),
    ("an at sign and a colon", b"//b@c:80/"),
    ("visible bytes no URI has", b'/a"<>^`{|}'),
    ("a URL in the query", b"/a?u=http://b/c"),
    ("an escaped fragment", b"/a%23b"),
)

CASES: list[Case] = [
    *(
        passes(
            f"path: {words} goes through untouched",
            UNTOUCHED,
            get(target=path),
            target=path.decode(),
            advisory="uvicorn CVE-2020-7694" if b"%0d%0a" in path else "",
        )
        for words, path in PATHS
    ),
    passes("absolute form", ABSOLUTE, get(target=b"http://a/x?y"), target="/x?y"),
    passes("absolute form with https", ABSOLUTE, get(target=b"https://a/x"), target="/x"),
    passes(
        "absolute form, scheme in capitals",
        "RFC 9110 4.2.3",
        get(target=b"HTTP://a/x"),
        target="/x",
    ),
    passes("absolute form without a path", ABSOLUTE, get(target=b"http://a"), target="/"),
    passes("absolute form with a query only", ABSOLUTE, get(target=b"http://a?x"), target="/?x"),
    passes(
        "absolute form with a port",
        ABSOLUTE,
        get(target=b"http://a:81/x"),
        target="/x",
        host="a:81",
    ),
    passes(
        "absolute form of OPTIONS without a path",
        ASTERISK,
        get(method=b"OPTIONS", target=b"http://a"),
        method="OPTIONS",
        target="*",
    ),
    passes(
        "asterisk form", ASTERISK, get(method=b"OPTIONS", target=b"*"), method="OPTIONS", target="*"
    ),
    refused("asterisk form of GET", ASTERISK, 400, get(target=b"*")),
    refused("asterisk with a path", ASTERISK, 400, get(method=b"OPTIONS", target=b"*/x")),
    refused("authority form of GET", "RFC 9112 3.2.3", 400, get(target=b"a:80")),
    refused("no slash", FORM, 400, get(target=b"x")),
    refused("a backslash first", FORM, 400, get(target=b"\\x")),
    refused("a query only", FORM, 400, get(target=b"?x")),
    refused("another scheme", FORM, 400, get(target=b"ftp://a/x")),
    refused("a file", FORM, 400, get(target=b"file:///etc/passwd")),
    refused("a scheme without slashes", FORM, 400, get(target=b"http:a")),
    refused("a fragment", ORIGIN, 400, get(target=b"/a#b"), advisory="HAProxy CVE-2023-45539"),
    refused("a fragment only", ORIGIN, 400, get(target=b"#b"), advisory="HAProxy CVE-2023-45539"),
    refused("a fragment after an absolute target", ABSOLUTE, 400, get(target=b"http://a/#b")),
    refused("a NUL", ORIGIN, 400, get(target=b"/a\x00b")),
    refused("a control byte", ORIGIN, 400, get(target=b"/a\x01b")),
    refused("DEL", ORIGIN, 400, get(target=b"/a\x7fb")),
    refused(
        "bytes above 127",
        "RFC 3986 2",
        400,
        get(target=b"/\xc3\xa9"),
        note="a URI is ASCII; escaped it goes through",
    ),
]
