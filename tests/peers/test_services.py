"""Real clients before real services: through shedproxy nothing changes."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest
from harness.peers import gunicorn, nginx, program, uvicorn
from harness.process import Listening
from harness.proxy import Shedproxy

from shedproxy.testing import free_port

pytestmark = pytest.mark.integration

NGINX = """
  gzip on; gzip_types text/plain; gzip_proxied any; gzip_min_length 100;
  large_client_header_buffers 4 16k;
  server {
    listen 127.0.0.1:PORT;
    root HOME;
    client_max_body_size 0;
    location = /api/items { default_type application/json; return 200 '["apple","pear"]'; }
    location = /redirect { return 307 /api/items; }
    location = /large-headers { HEADERS return 200 large; }
    location = /gzip { default_type text/plain; try_files /compressed.txt =404; }
    location = /echo { proxy_pass http://127.0.0.1:PORT/sink; }
    location = /sink {
      default_type application/json;
      return 200 '{"method": "$request_method", "size": $content_length}';
    }
  }
"""


def make_nginx(home: Path) -> Listening:
    port = free_port()
    (home / "compressed.txt").write_bytes(b"compressed " * 1000)
    headers = "".join(f"add_header x-large-{n} {'v' * 200};" for n in range(40))
    http = NGINX.replace("PORT", str(port)).replace("HOME", str(home))
    return nginx(home, http.replace("HEADERS", headers), port=port)


def make_gunicorn(home: Path) -> Listening:
    return gunicorn(home, workers=2)


SERVICES = {"uvicorn": uvicorn, "gunicorn": make_gunicorn, "nginx": make_nginx}


@dataclass
class Pair:
    """A service and shedproxy before it."""

    name: str
    direct: str
    proxy: Shedproxy


@pytest.fixture(
    scope="module",
    params=[
        "uvicorn",
        pytest.param("gunicorn", marks=pytest.mark.peers("gunicorn")),
        pytest.param("nginx", marks=pytest.mark.peers("nginx")),
    ],
)
def pair(request, tmp_path_factory) -> Iterator[Pair]:
    home = tmp_path_factory.mktemp(request.param)
    with (
        SERVICES[request.param](home) as service,
        Shedproxy(service.url, home=home) as proxy,
    ):
        yield Pair(request.param, service.url, proxy)


def curl(*arguments: str | Path, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    done = subprocess.run(
        [program("curl"), "--silent", "--show-error", "--max-time", "20", *arguments],
        input=stdin,
        capture_output=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr.decode()
    return done


HOP = {"date", "connection", "keep-alive", "via", "server"}
"""Fields that may differ: a hop's own, and the time."""


def answer(*arguments: str) -> tuple[str, dict[str, list[str]], bytes]:
    """Status line, fields that a proxy must keep, and the raw body."""
    head, _, body = curl("--include", *arguments).stdout.partition(b"\r\n\r\n")
    while body.startswith(b"HTTP/1.1 "):  # what came before the last answer
        head, _, body = body.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    fields: dict[str, list[str]] = {}
    for line in lines:
        name, _, value = line.partition(":")
        if name.lower() not in HOP:
            fields.setdefault(name.lower(), []).append(value.strip())
    return status, fields, body


LARGE = [part for n in range(4) for part in ("-H", f"x-large-{n}: {'h' * 2000}")]
PASSES_UNCHANGED = {
    "get": ["/api/items"],
    "query": ["/api/items?a=1&b=%20x&a=2"],
    "head": ["--head", "/api/items"],
    "redirect": ["/redirect"],
    "followed redirect": ["--location", "/redirect"],
    "404": ["/not-there/at%2Fall"],
    "gzip": ["-H", "accept-encoding: gzip", "/gzip"],
    "large headers": [*LARGE, "/large-headers"],
    "http/1.0": ["--http1.0", "/api/items"],
}


@pytest.mark.peers("curl")
def test_curl_gets_the_same_answer_with_and_without(pair: Pair) -> None:
    """Status, fields and body bytes are those of the service."""
    for name, (*options, path) in PASSES_UNCHANGED.items():
        direct = answer(*options, pair.direct + path)
        through = answer(*options, pair.proxy.url + path)
        if name == "gzip":
            assert direct[2].startswith(b"\x1f\x8b"), "the service did not compress"
        if name == "http/1.0":  # each hop frames with its own version
            direct = (direct[0].replace("1.1", "1.0"), *direct[1:])
            through = (through[0].replace("1.1", "1.0"), *through[1:])
        assert through == direct, name


@pytest.mark.peers("curl")
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_curl_sends_bodies_whole(pair: Pair, method: str) -> None:
    """Sized and chunked, small and larger than every buffer."""
    for size in (0, 1, 70_000, 3_000_000):
        for coding in ([], ["-H", "transfer-encoding: chunked"]):
            done = curl(
                *("--request", method, *coding, "-H", "expect:", "--data-binary", "@-"),
                pair.proxy.url + "/echo",
                stdin=b"x" * size,
            )
            said = json.loads(done.stdout)
            assert (said["method"], said["size"]) == (method, size), coding


@pytest.mark.peers("curl")
def test_curl_is_told_to_go_on_before_a_large_upload(pair: Pair) -> None:
    """2 MiB with Expect: 100-continue, as curl does by itself."""
    done = curl(
        *("--verbose", "-H", "expect: 100-continue", "--expect100-timeout", "15"),
        *("--data-binary", "@-", pair.proxy.url + "/echo"),
        stdin=b"x" * (2 * 1024 * 1024),
    )
    assert b"< HTTP/1.1 100" in done.stderr, "curl was left waiting"
    assert json.loads(done.stdout)["size"] == 2 * 1024 * 1024


@pytest.mark.peers("curl")
def test_curl_keeps_its_connection(pair: Pair) -> None:
    """Keep-alive holds towards the client, whatever the service does on its side."""
    url = pair.proxy.url + "/api/items"
    done = curl("--write-out", " %{num_connects}\n", url, url, url)
    assert re.findall(r" (\d)$", done.stdout.decode(), re.MULTILINE) == ["1", "0", "0"]


def test_httpx2_works_through_it(pair: Pair) -> None:
    """A client with a pool: bodies from a generator, decoding, redirects."""
    with httpx2.Client(base_url=pair.proxy.url, follow_redirects=True, timeout=20) as client:
        assert client.get("/api/items").json() == ["apple", "pear"]
        assert client.head("/api/items").content == b""
        assert client.get("/redirect").json() == ["apple", "pear"]
        assert client.get("/gzip").text == "compressed " * 1000
        assert client.get("/missing").status_code == 404
        parts = (b"x" * 10_000 for _ in range(20))
        assert client.post("/echo", content=parts).json()["size"] == 200_000
        assert client.post("/echo", json={"a": 1}).json()["method"] == "POST"


@pytest.mark.peers("wrk")
def test_wrk_sees_no_error(pair: Pair) -> None:
    """Eight connections as fast as they can, on both sides of the pool."""
    done = subprocess.run(
        [program("wrk"), "-t1", "-c8", "-d1s", pair.proxy.url + "/api/items"],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    assert "Non-2xx" not in done.stdout, done.stdout
    assert "Socket errors" not in done.stdout, done.stdout
    requests = re.search(r"(\d+) requests in", done.stdout)
    assert requests is not None and int(requests[1]) > 100, done.stdout


def test_nothing_is_left_in_flight(pair: Pair) -> None:
    """After all of that (this test is the last of its service) every permit is back."""
    from shedproxy.testing import eventually

    eventually(pair.proxy.is_idle, what="an idle proxy")
    assert pair.proxy.returncode is None
    assert pair.proxy.cell()["rejected"] == 0
