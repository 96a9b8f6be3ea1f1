"""Host: there once, a name or an address and maybe a port; against an absolute target."""

from __future__ import annotations

from conformance.case import Case, passes, refused
from conformance.cases.message import get

HOST = "RFC 9112 3.2"
FORM = "RFC 9110 7.2"

GOOD = (
    ("a name", b"example.com"),
    ("a port", b"example.com:8080"),
    ("a name in capitals", b"EXAMPLE.com"),
    ("the root's dot", b"example.com."),
    ("an underscore", b"my_service"),
    ("an address", b"127.0.0.1"),
    ("an address and a port", b"127.0.0.1:1"),
    ("an IPv6 address", b"[::1]"),
    ("an IPv6 address and a port", b"[2001:db8::1]:443"),
    ("an IPv6 address that ends in IPv4", b"[::ffff:1.2.3.4]"),
    ("port 65535", b"a:65535"),
)
BAD = (
    ("an empty value", b"", ""),
    ("a comma", b"a,b", ""),
    ("two names", b"a b", ""),
    ("a slash", b"a/b", "Starlette CVE-2026-48710"),
    ("a question mark", b"a?b", "Starlette CVE-2026-48710"),
    ("a fragment", b"a#b", ""),
    ("a user", b"u@a", ""),
    ("a user and a password", b"u:p@a", ""),
    ("a backslash", b"a\\b", ""),
    ("a scheme", b"http://a", ""),
    ("an escape", b"a%2fb", ""),
    ("a quote", b'a"b', ""),
    ("bytes above 127", b"\xc3\xa9", ""),
    ("an asterisk", b"*.a", ""),
    ("a port of letters", b"a:x", ""),
    ("a port with a sign", b"a:+1", ""),
    ("port 65536", b"a:65536", ""),
    ("a port of six digits", b"a:123456", ""),
    ("two ports", b"a:1:2", ""),
    ("a port alone", b":80", ""),
    ("a colon without a port", b"a:", ""),
    ("IPv6 without brackets", b"::1", ""),
    ("brackets without an address", b"[]", ""),
    ("IPv4 in brackets", b"[1.2.3.4]", ""),
    ("IPv6 of seven groups", b"[1:2:3:4:5:6:7]", ""),
    ("IPv6 with a zone", b"[fe80::1%25eth0]", ""),
    ("a bracket left open", b"[::1", ""),
    ("an address of the future", b"[v1.a]", ""),
    ("a semicolon", b"a;b", ""),
    ("angle brackets", b"<a>", ""),
    ("a name of 256 bytes", b"a" * 256, ""),
)

CASES: list[Case] = [
    *(passes(f"Host: {words}", FORM, get(host=host), host=host.decode()) for words, host in GOOD),
    *(
        refused(
            f"Host: {words}",
            HOST,
            400,
            get(host=host),
            advisory=advisory,
            note="the grammar allows it, and nobody sends it"
            if host in {b"a:", b"[v1.a]", b"a;b"}
            else "an http URI has a host"
            if not host
            else "",
        )
        for words, host, advisory in BAD
    ),
    refused("no Host in HTTP/1.1", HOST, 400, get(host=None)),
    passes(
        "no Host in HTTP/1.0",
        HOST,
        get(host=None, version=b"HTTP/1.0"),
        host="upstream",
        is_kept=False,
        bench="named",
    ),
    refused("two Hosts", HOST, 400, get(b"Host: b")),
    refused("two Hosts that agree", HOST, 400, get(b"Host: a")),
    refused("two Hosts, one of them in HTTP/1.0", HOST, 400, get(b"host: b", version=b"HTTP/1.0")),
    refused("Host with a blank before the colon", "RFC 9112 5.1", 400, get(b"Host : a", host=None)),
    refused("Host folded", "RFC 9112 5.2", 400, get(b"Host:", b" a", host=None)),
    passes(
        "an absolute target that agrees", "RFC 9112 3.2.2", get(target=b"http://a/x"), target="/x"
    ),
    passes(
        "an absolute target overrides Host",
        "RFC 9112 3.2.2",
        get(target=b"http://b/x", host=b"c"),
        target="/x",
        host="b",
        note="a proxy MUST replace Host by the host of the target; the upstream sees one host",
    ),
    refused(
        "an absolute target does not excuse a bad Host",
        HOST,
        400,
        get(target=b"http://a/", host=b"x/y"),
    ),
    refused(
        "an absolute target does not excuse a missing Host",
        HOST,
        400,
        get(target=b"http://a/", host=None),
    ),
    refused(
        "an absolute target does not excuse two Hosts",
        HOST,
        400,
        get(b"Host: b", target=b"http://a/"),
    ),
    refused(
        "an absolute target with a bad host", "RFC 9110 4.2.1", 400, get(target=b"http://a,b/")
    ),
    refused("an absolute target without a host", "RFC 9110 4.2.1", 400, get(target=b"http:///x")),
    refused("an absolute target with a user", "RFC 9110 4.2.4", 400, get(target=b"http://u@a/")),
]
