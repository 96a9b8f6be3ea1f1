"""A WSGI application: one of everything, and work of a fixed length that it counts.

`COUNT_DIR` names a directory where each piece of work appends a byte to `started` when it begins
and to `finished` when it ends: sizes of files are counters that processes share.
"""

from __future__ import annotations

import gzip
import json
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

WORK_S = float(os.environ.get("WORK_MS", "200")) / 1000
Start = Callable[[str, list[tuple[str, str]]], Any]


def _count(name: str) -> None:
    with (Path(os.environ["COUNT_DIR"]) / name).open("ab", buffering=0) as file:
        file.write(b".")


def work() -> bytes:
    _count("started")
    time.sleep(WORK_S)
    _count("finished")
    return b"done\n"


def echo(environ: dict[str, Any]) -> bytes:
    size = 0
    while part := environ["wsgi.input"].read(64 * 1024):
        size += len(part)
    headers = {
        name[5:].lower().replace("_", "-"): value
        for name, value in environ.items()
        if name.startswith("HTTP_")
    }
    said = {
        "method": environ["REQUEST_METHOD"],
        "size": size,
        "path": environ["RAW_URI"].partition("?")[0],
        "query": environ["QUERY_STRING"],
        "headers": headers,
    }
    return json.dumps(said).encode()


def app(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
    path = environ["PATH_INFO"]
    status, headers, body = "200 OK", [("content-type", "text/plain")], b""
    if path == "/work":
        body = work()
    elif path == "/echo":
        body = echo(environ)
    elif path == "/api/items":
        headers, body = [("content-type", "application/json")], b'["apple","pear"]'
    elif path == "/redirect":
        status, headers = "307 Temporary Redirect", [("location", "/api/items")]
    elif path == "/gzip":
        headers.append(("content-encoding", "gzip"))
        body = gzip.compress(b"compressed " * 1000, mtime=0)
    elif path == "/large-headers":
        seen = sum(len(v) for n, v in environ.items() if n.startswith("HTTP_X_LARGE_"))
        headers += [(f"x-large-{n}", "v" * 200) for n in range(40)]
        headers.append(("x-seen", str(seen)))
        body = b"large"
    elif path == "/chunks":
        start(status, headers)
        return (b"part %d\n" % n for n in range(5))
    else:
        status, body = "404 Not Found", b"nothing here\n"
    if environ["REQUEST_METHOD"] == "HEAD":
        headers.append(("content-length", str(len(body))))
        start(status, headers)
        return []
    start(status, [*headers, ("content-length", str(len(body)))])
    return [body]
