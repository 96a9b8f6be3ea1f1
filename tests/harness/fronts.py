"""Balancers before several shedproxies, set up as their documentation recommends against bad hosts.

Hosts go out after few failures, and 503 is repeated on another one. Every answer names the host in
`x-host`. `ejections` counts how often a balancer took one out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from harness.peers import envoy, haproxy, nginx
from harness.process import Listening
from shedproxy.testing import free_port

__all__ = ["BALANCERS", "ejections"]


def make_nginx(home: Path, hosts: Sequence[int]) -> Listening:
    """One failure takes a host out for 30 s; 503 counts as one and is repeated elsewhere."""
    port = free_port()
    servers = "".join(f"server 127.0.0.1:{n} max_fails=1 fail_timeout=30s;" for n in hosts)
    return nginx(
        home,
        f"""
        upstream hosts {{ {servers} }}
        server {{
          listen 127.0.0.1:{port};
          location / {{
            proxy_pass http://hosts;
            proxy_next_upstream error timeout http_502 http_503 http_504;
            add_header x-host $upstream_addr always;
          }}
        }}
        """,
        port=port,
    )


def make_haproxy(home: Path, hosts: Sequence[int]) -> Listening:
    """Three errors in the traffic mark a host down; failures are repeated on another."""
    port = free_port()
    servers = "".join(
        f"  server host{n} 127.0.0.1:{n} check inter 60s observe layer7 error-limit 3"
        " on-error mark-down\n"
        for n in hosts
    )
    config = f"""
defaults
  mode http
  timeout connect 5s
  timeout client 20s
  timeout server 20s
  option redispatch 1
  retries 2
  retry-on all-retryable-errors
frontend front
  bind 127.0.0.1:{port}
  default_backend hosts
backend hosts
  balance roundrobin
  http-response set-header x-host %s
{servers}"""
    return haproxy(home, config, port=port)


def make_envoy(home: Path, hosts: Sequence[int]) -> Listening:
    """Outlier detection after three 5xx in a row; retries on 5xx, and on 429 and 503 by status."""
    port = free_port()
    route = {
        "match": {"prefix": "/"},
        "route": {
            "cluster": "hosts",
            "retry_policy": {
                "retry_on": "5xx,gateway-error,reset,connect-failure,retriable-status-codes",
                "retriable_status_codes": [429, 503],
                "num_retries": 2,
            },
        },
        "response_headers_to_add": [
            {"header": {"key": "x-host", "value": "%UPSTREAM_REMOTE_ADDRESS%"}}
        ],
    }
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network."
        "http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "front",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
                },
            }
        ],
    }
    cluster = {
        "name": "hosts",
        "connect_timeout": "2s",
        "lb_policy": "ROUND_ROBIN",
        "outlier_detection": {
            "consecutive_5xx": 3,
            "consecutive_gateway_failure": 3,
            "enforcing_consecutive_gateway_failure": 100,
            "interval": "0.2s",
            "base_ejection_time": "30s",
            "max_ejection_percent": 50,
        },
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        "load_assignment": {
            "cluster_name": "hosts",
            "endpoints": [
                {"lb_endpoints": [{"endpoint": {"address": _address(n)}} for n in hosts]}
            ],
        },
    }
    listener = {
        "address": _address(port),
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }
    config = {
        "static_resources": {"listeners": [listener], "clusters": [cluster]},
        "cluster_manager": {"outlier_detection": {"event_log_path": "/dev/stderr"}},
    }
    return envoy(home, json.dumps(config), port=port)


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


BALANCERS: dict[str, Callable[[Path, Sequence[int]], Listening]] = {
    "nginx": make_nginx,
    "haproxy": make_haproxy,
    "envoy": make_envoy,
}
"""By name, which is the name of the preset too: home, ports of the hosts -> the balancer."""

_EJECTIONS = ("upstream server temporarily disabled", " is DOWN", '"action":"EJECT"')
"""What nginx, HAProxy and Envoy say when they take a host out."""


def ejections(front: Listening) -> int:
    """How often a balancer took a host out."""
    said = front.text()
    return sum(said.count(words) for words in _EJECTIONS)
