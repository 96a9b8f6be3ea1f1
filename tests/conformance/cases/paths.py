r"""A rule is not dodged, nor borrowed, by another spelling; the path goes on as it came.

The bench has `/search/**` sheddable, `/checkout/**` critical, everything else critical_plus; what
was decided reaches the upstream as `x-criticality`. Who spells a path in two ways gets the lesser.
"""

from __future__ import annotations

from conformance.case import Case, passes
from conformance.cases.message import get

LESSER = "sheddable"
NORMAL = "RFC 3986 6.2"
CASE_CLAUSE = "RFC 3986 6.2.2.1"

DODGES = (
    ("as it is", b"/search/x", NORMAL),
    ("without the rest", b"/search", NORMAL),
    ("in capitals", b"/SEARCH/x", CASE_CLAUSE),
    ("doubled slashes", b"//search//x", NORMAL),
    ("an escaped letter", b"/%73earch/x", "RFC 3986 6.2.2.2"),
    ("a dot segment", b"/./search/x", "RFC 3986 6.2.2.3"),
    ("an escaped dot segment", b"/%2e/search/x", "RFC 3986 6.2.2.3"),
    ("up and down", b"/checkout/../search/x", "RFC 3986 5.2.4"),
    ("escaped up", b"/checkout/%2e%2e/search", "RFC 3986 5.2.4"),
    ("a parameter", b"/search;v=1/x", "RFC 3986 3.3"),
    ("a parameter at the end", b"/search;", "RFC 3986 3.3"),
    ("a slash at the end", b"/search/", NORMAL),
    ("a query", b"/search?x=/checkout", "RFC 3986 3.4"),
    ("an escaped question mark", b"/search/x%3f/checkout", "RFC 3986 2.2"),
    ("an escaped slash", b"/search%2fx", "RFC 3986 2.2"),
    ("a backslash", b"/search\\x", NORMAL),
    ("an absolute target", b"http://a/search/x", "RFC 9112 3.2.2"),
    ("out of the lesser by dots", b"/search/../checkout", "RFC 3986 5.2.4"),
    ("out of it by escaped dots and slashes", b"/search%2f..%2fcheckout", "RFC 3986 2.2"),
    ("a better rule borrowed by a backslash", b"/checkout\\..\\search", NORMAL),
)

ADVISORIES = {
    "an escaped slash": "Envoy, escaped slashes",
    "an escaped question mark": "Traefik, encoded paths",
    "escaped up": "Traefik, encoded paths",
}

CASES: list[Case] = [
    *(
        passes(
            f"rule for /search: {words}",
            clause,
            get(target=path),
            bench="ruled",
            target=path.decode().removeprefix("http://a"),
            fields={"x-criticality": LESSER},
            advisory=ADVISORIES.get(words, ""),
        )
        for words, path, clause in DODGES
    ),
    passes(
        "the rule for /checkout",
        NORMAL,
        get(target=b"/checkout/1"),
        target="/checkout/1",
        bench="ruled",
        fields={"x-criticality": "critical"},
    ),
    passes(
        "what no rule takes",
        NORMAL,
        get(target=b"/other"),
        target="/other",
        bench="ruled",
        fields={"x-criticality": "critical_plus"},
    ),
    passes(
        "Host does not move the path",
        "RFC 9110 7.1",
        get(target=b"/search", host=b"checkout"),
        target="/search",
        host="checkout",
        bench="ruled",
        fields={"x-criticality": LESSER},
        advisory="Starlette CVE-2026-48710",
    ),
]
