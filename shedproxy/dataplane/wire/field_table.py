"""What is done with each field, by name. Pure data for `headers`.

Fields that are not listed go through, unless Connection names them or their name is not ours to
pass on. Codes are plain integers: they are compared once per field of every request.
"""

from __future__ import annotations

from typing import Final

__all__ = [
    "ATTEMPT",
    "CONTENT_PREFIX",
    "CRITICALITY",
    "DATE",
    "DROP",
    "END_TO_END",
    "FORWARDED",
    "FORWARDED_FOR",
    "FORWARDED_HOST",
    "FORWARDED_OTHER",
    "FORWARDED_PROTO",
    "FROM_HEADERS_ONLY",
    "HOP_BY_HOP",
    "MAX_FORWARDS",
    "PASS",
    "REASONS",
    "REQUEST_ACTIONS",
    "RESPONSE_ACTIONS",
    "RETRY_AFTER",
    "TIME_LEFT",
    "UNKNOWN",
    "UPGRADE",
]

PASS: Final = 0
DROP: Final = 1
FORWARDED_FOR: Final = 2
FORWARDED_PROTO: Final = 3
FORWARDED_HOST: Final = 4
FORWARDED: Final = 5
FORWARDED_OTHER: Final = 6
CRITICALITY: Final = 7
ATTEMPT: Final = 8
TIME_LEFT: Final = 9
RETRY_AFTER: Final = 10
DATE: Final = 11
UPGRADE: Final = 12
UNKNOWN: Final = 13
MAX_FORWARDS: Final = 14


HOP_BY_HOP = (
    b"connection keep-alive te trailer transfer-encoding upgrade content-length http2-settings"
    b" proxy proxy-authenticate proxy-authorization proxy-connection proxy-authentication-info"
).split()

END_TO_END = frozenset(
    b"accept accept-encoding accept-language authorization baggage cache-control content-encoding"
    b" content-language content-length content-range content-type cookie date etag expires"
    b" forwarded from host if-match if-modified-since if-none-match if-range"
    b" if-unmodified-since last-modified location origin priority range referer retry-after"
    b" sec-websocket-accept sec-websocket-extensions sec-websocket-key sec-websocket-protocol"
    b" sec-websocket-version server set-cookie traceparent tracestate user-agent vary via"
    b" www-authenticate x-forwarded-for x-forwarded-host x-forwarded-proto x-real-ip"
    b" x-request-id".split()
)
"""Never dropped because Connection lists them: what policy, security or meaning hangs on."""

FROM_HEADERS_ONLY = (
    END_TO_END
    | frozenset(HOP_BY_HOP)
    | frozenset(
        b"accept-ranges access-control-allow-credentials access-control-allow-headers"
        b" access-control-allow-methods access-control-allow-origin access-control-expose-headers"
        b" access-control-max-age age allow alt-svc authentication-info clear-site-data expect"
        b" if-match max-forwards pragma refresh set-cookie2 strict-transport-security vary warning"
        b" www-authenticate x-accel-buffering x-accel-expires x-accel-redirect"
        b" x-content-type-options x-frame-options x-sendfile".split()
    )
) - {b"etag"}
"""Fields of no or evil effect after the body: framing, routing, authentication, cookies,
conditions, caching, what the content is (RFC 9110 6.5.1). An ETag may stand there (8.8.3)."""
CONTENT_PREFIX = b"content-"
"""Describes the content before it comes; but for Content-Digest (RFC 9530, 2)."""

REQUEST_ACTIONS: dict[bytes, int] = {
    **dict.fromkeys(END_TO_END, PASS),
    **dict.fromkeys(HOP_BY_HOP, DROP),
    # Host is written first; Expect is written anew where an upstream is asked.
    b"host": DROP,
    b"expect": DROP,
    b"x-forwarded-for": FORWARDED_FOR,
    b"x-forwarded-proto": FORWARDED_PROTO,
    b"x-forwarded-host": FORWARDED_HOST,
    b"forwarded": FORWARDED,
    b"x-forwarded-port": FORWARDED_OTHER,
    b"x-forwarded-prefix": FORWARDED_OTHER,
    b"x-forwarded-scheme": FORWARDED_OTHER,
    b"x-forwarded-server": FORWARDED_OTHER,
    b"x-forwarded-ssl": FORWARDED_OTHER,
    b"x-real-ip": FORWARDED_OTHER,
    b"x-request-start": FORWARDED_OTHER,
    b"max-forwards": MAX_FORWARDS,
    b"x-request-timeout-ms": TIME_LEFT,
    b"x-envoy-expected-rq-timeout-ms": TIME_LEFT,
}

RESPONSE_ACTIONS: dict[bytes, int] = {
    **dict.fromkeys(END_TO_END, PASS),
    **dict.fromkeys(HOP_BY_HOP, DROP),
    b"retry-after": RETRY_AFTER,
    b"date": DATE,
    b"upgrade": UPGRADE,
}

REASONS: dict[int, bytes] = {
    100: b"Continue",
    101: b"Switching Protocols",
    103: b"Early Hints",
    200: b"OK",
    201: b"Created",
    202: b"Accepted",
    204: b"No Content",
    206: b"Partial Content",
    301: b"Moved Permanently",
    302: b"Found",
    303: b"See Other",
    304: b"Not Modified",
    307: b"Temporary Redirect",
    308: b"Permanent Redirect",
    400: b"Bad Request",
    401: b"Unauthorized",
    403: b"Forbidden",
    404: b"Not Found",
    405: b"Method Not Allowed",
    409: b"Conflict",
    410: b"Gone",
    412: b"Precondition Failed",
    413: b"Content Too Large",
    415: b"Unsupported Media Type",
    422: b"Unprocessable Content",
    429: b"Too Many Requests",
    500: b"Internal Server Error",
    501: b"Not Implemented",
    502: b"Bad Gateway",
    503: b"Service Unavailable",
    504: b"Gateway Timeout",
}
