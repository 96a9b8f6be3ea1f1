"""Envoy's configuration: one listener before one cluster, tunnels allowed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.certificates import Certificate

__all__ = ["envoy_config"]

_FILTERS = "type.googleapis.com/envoy.extensions.filters"
_TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"


def envoy_config(
    port: int,
    up: int,
    *,
    limit: int,
    filters: Sequence[dict[str, Any]],
    certificate: Certificate | None,
) -> dict[str, Any]:
    """As JSON; `limit` bounds connections and requests at the cluster."""
    bounds = dict.fromkeys(
        ("max_connections", "max_pending_requests", "max_requests", "max_retries"), limit
    )
    chain: dict[str, Any] = {
        "filters": [
            {
                "name": "envoy.filters.network.http_connection_manager",
                "typed_config": _manager(filters),
            }
        ]
    }
    if certificate is not None:
        chain["transport_socket"] = _tls(certificate)
    listener = {"address": _at(port), "tcp_backlog_size": 4096, "filter_chains": [chain]}
    cluster = {
        "name": "up",
        "type": "STATIC",
        "connect_timeout": "2s",
        "circuit_breakers": {"thresholds": [bounds]},
        "load_assignment": {
            "cluster_name": "up",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _at(up)}}]}],
        },
    }
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


def _at(number: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": number}}


def _manager(filters: Sequence[dict[str, Any]]) -> dict[str, Any]:
    router = {
        "name": "envoy.filters.http.router",
        "typed_config": {"@type": f"{_FILTERS}.http.router.v3.Router"},
    }
    routes = [{"match": {"prefix": "/"}, "route": {"cluster": "up"}}]
    return {
        "@type": f"{_FILTERS}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "in",
        "use_remote_address": True,
        "generate_request_id": False,
        "codec_type": "HTTP1",
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "stream_idle_timeout": "600s",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
        "http_filters": [*filters, router],
    }


def _tls(certificate: Certificate) -> dict[str, Any]:
    files = {
        "certificate_chain": {"filename": str(certificate.chain)},
        "private_key": {"filename": str(certificate.key)},
    }
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {"@type": _TLS, "common_tls_context": {"tls_certificates": [files]}},
    }
