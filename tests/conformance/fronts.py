"""nginx, HAProxy and Envoy as plain reverse proxies, each before several recording upstreams.

Each is set up as its documentation shows a reverse proxy with kept upstream connections; whatever
is strict or lax about messages is left as it comes.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from harness.peers import envoy, haproxy, nginx, program
from harness.process import Listening

from shedproxy.testing import free_port

__all__ = ["FRONTS", "start", "version"]

FRONTS = ("nginx", "haproxy", "envoy")


def start(name: str, home: Path, upstreams: Sequence[int]) -> tuple[Listening, list[int]]:
    """The peer, not yet entered, and its port for each upstream's."""
    ports = [free_port() for _ in upstreams]
    make = {"nginx": _nginx, "haproxy": _haproxy, "envoy": _envoy}[name]
    return make(home, list(zip(ports, upstreams, strict=True))), ports


def version(name: str) -> str:
    """As the program says it."""
    if name == "envoy":
        command = [Path(sys.executable).parent / "envoy", "--version"]
    else:
        command = [program(name), "-v"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = re.search(r"\d+\.\d+\.\d+", done.stdout + done.stderr)
    assert found is not None, done
    return found[0]


def _nginx(home: Path, pairs: list[tuple[int, int]]) -> Listening:
    blocks = "".join(
        f"""
        upstream u{port} {{ server 127.0.0.1:{target}; keepalive 16; }}
        server {{
          listen 127.0.0.1:{port};
          location / {{
            proxy_pass http://u{port};
            proxy_http_version 1.1;
            proxy_set_header Host $http_host;
            proxy_set_header Connection "";
          }}
        }}"""
        for port, target in pairs
    )
    return nginx(home, blocks, port=pairs[0][0])


def _haproxy(home: Path, pairs: list[tuple[int, int]]) -> Listening:
    blocks = "".join(
        f"listen l{port}\n  bind 127.0.0.1:{port}\n  server u 127.0.0.1:{target}\n"
        for port, target in pairs
    )
    config = f"""
defaults
  mode http
  http-reuse always
  timeout connect 1s
  timeout client 5s
  timeout server 5s
{blocks}"""
    return haproxy(home, config, port=pairs[0][0])


def _envoy(home: Path, pairs: list[tuple[int, int]]) -> Listening:
    listeners = [_envoy_listener(port) for port, _ in pairs]
    clusters = [_envoy_cluster(port, target) for port, target in pairs]
    config = {"static_resources": {"listeners": listeners, "clusters": clusters}}
    return envoy(home, json.dumps(config), port=pairs[0][0])


def _envoy_listener(port: int) -> dict[str, object]:
    network = "type.googleapis.com/envoy.extensions.filters"
    router = {"@type": f"{network}.http.router.v3.Router"}
    manager = {
        "@type": f"{network}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "front",
        "delayed_close_timeout": "0.1s",
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": f"u{port}"}}],
                }
            ]
        },
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": router}],
    }
    return {
        "address": _address(port),
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }


def _envoy_cluster(port: int, target: int) -> dict[str, object]:
    endpoint = {"endpoint": {"address": _address(target)}}
    return {
        "name": f"u{port}",
        "connect_timeout": "1s",
        "load_assignment": {
            "cluster_name": f"u{port}",
            "endpoints": [{"lb_endpoints": [endpoint]}],
        },
    }


def _address(port: int) -> dict[str, dict[str, object]]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}
