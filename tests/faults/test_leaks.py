"""The eye on leaks sees one."""

from __future__ import annotations

import socket

import pytest
from harness.leaks import Held
from harness.process import Service
from harness.proxy import Shedproxy

from shedproxy.testing import eventually

pytestmark = pytest.mark.integration


def test_a_request_that_stays_is_seen_and_one_that_ends_forgotten(tmp_path) -> None:
    with Service(home=tmp_path) as service, Shedproxy(service.url, home=tmp_path) as proxy:
        held = Held(proxy)
        with socket.create_connection(("127.0.0.1", proxy.port)) as client:
            client.sendall(b"GET /wait?ms=2500 HTTP/1.1\r\nhost: a\r\n\r\n")
            eventually(lambda: proxy.cell()["in_flight"] == 1)
            with pytest.raises(AssertionError, match="nothing in flight"):
                held.compare(within_s=0.3)
            assert client.recv(4096).startswith(b"HTTP/1.1 200")
        held.compare()
        with pytest.raises(AssertionError, match="has grown by"):
            held.compare(memory_margin=-(1024**3))
