"""Bytes of a request, from its parts."""

from __future__ import annotations

__all__ = ["chunked", "get", "post"]


def get(
    *lines: bytes,
    method: bytes = b"GET",
    target: bytes = b"/",
    version: bytes = b"HTTP/1.1",
    host: bytes | None = b"a",
    body: bytes = b"",
) -> bytes:
    """A request head of these field lines, and what follows it."""
    hosts = () if host is None else (b"Host: " + host,)
    start = b"%b %b %b" % (method, target, version)
    return b"\r\n".join((start, *hosts, *lines)) + b"\r\n\r\n" + body


def post(*lines: bytes, body: bytes = b"hello", **parts: bytes | None) -> bytes:
    """A POST whose framing is one of the lines."""
    return get(*lines, method=b"POST", body=body, **parts)


def chunked(body: bytes, *lines: bytes, **parts: bytes | None) -> bytes:
    """A POST with this raw chunked body."""
    return post(b"Transfer-Encoding: chunked", *lines, body=body, **parts)
