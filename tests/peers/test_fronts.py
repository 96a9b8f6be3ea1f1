"""Balancers in front of shedproxy: a run of refusals gets no host ejected and nothing repeated.

Each balancer is set up as its own documentation recommends against bad hosts (ejection after few
failures, retries on 503), over two listeners of one shedproxy, which it takes for two hosts. A
second run without the preset shows that this set-up does eject or repeat: the test can see it.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from harness.peers import envoy, haproxy, nginx
from harness.process import Listening, Service, free_port
from harness.proxy import Shedproxy

from shedproxy.testing import eventually

pytestmark = pytest.mark.integration

REFUSALS = 40


def make_nginx(home: Path, hosts: list[int]) -> Listening:
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


def make_haproxy(home: Path, hosts: list[int]) -> Listening:
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


def make_envoy(home: Path, hosts: list[int]) -> Listening:
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
    config = {"static_resources": {"listeners": [listener], "clusters": [cluster]}}
    return envoy(home, json.dumps(config), port=port)


def _address(port: int) -> dict[str, dict[str, object]]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


BALANCERS = {"nginx": make_nginx, "haproxy": make_haproxy, "envoy": make_envoy}
Ask = Callable[[str], tuple[int, str]]


@pytest.fixture(params=[pytest.param(n, marks=pytest.mark.peers(n)) for n in BALANCERS])
def balancer(request) -> str:
    return request.param


@pytest.fixture
def stand(tmp_path: Path) -> Iterator[Callable[[str, str], tuple[Shedproxy, Ask]]]:
    """Puts a balancer before a shedproxy with a preset; gives the way to ask through both."""
    with ExitStack() as stack:

        def make(name: str, preset: str) -> tuple[Shedproxy, Ask]:
            config = (
                f'[reject]\nfront = "{preset}"\n\n'
                '[[rule]]\nname = "refused"\nlimit = 0\nmatch = { path = "/refused" }\n'
            )
            service = stack.enter_context(Service(home=tmp_path, slots=50, service_ms=1))
            proxy = stack.enter_context(
                Shedproxy(service.url, home=tmp_path, config=config, listeners=2)
            )
            front = stack.enter_context(BALANCERS[name](tmp_path, proxy.ports))

            def ask(path: str) -> tuple[int, str]:
                connection = http.client.HTTPConnection("127.0.0.1", front.port, timeout=10)
                try:
                    connection.request("GET", path)
                    answer = connection.getresponse()
                    answer.read()
                    return answer.status, answer.getheader("x-host", "")
                finally:
                    connection.close()

            eventually(lambda: ask("/")[0] == 200, what=f"{name} in service")
            return proxy, ask

        yield make


def hosts_that_serve(ask: Ask) -> set[str]:
    answers = [ask("/") for _ in range(12)]
    return {host for status, host in answers if status == 200}


def test_a_run_of_refusals_ejects_and_repeats_nothing(balancer, stand) -> None:
    """With the preset of the balancer, both hosts stay in and each refusal is sent once."""
    proxy, ask = stand(balancer, balancer)
    before = proxy.cell()["rejected"]
    answers = [ask("/refused") for _ in range(REFUSALS)]
    assert {status for status, _ in answers} == {429}
    assert proxy.cell()["rejected"] - before == REFUSALS, "the balancer repeated refusals"
    assert len(hosts_that_serve(ask)) == 2, "the balancer took a host out"


def test_without_the_preset_the_same_balancer_does(balancer, stand) -> None:
    """The set-up above bites: plain 503 are repeated, or cost a host."""
    proxy, ask = stand(balancer, "none")
    before = proxy.cell()["rejected"]
    answers = [ask("/refused") for _ in range(REFUSALS)]
    was_repeated = proxy.cell()["rejected"] - before > REFUSALS
    was_ejected = len(hosts_that_serve(ask)) < 2 or proxy.cell()["rejected"] - before < REFUSALS
    assert was_repeated or was_ejected, answers[-1]
