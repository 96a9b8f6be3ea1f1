from __future__ import annotations

import socket
import struct

import pytest

from shedproxy.dataplane.wire.tcp_state import has_left
from shedproxy.testing import eventually


@pytest.fixture
def pair():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
    yield client, server
    client.close()
    server.close()


def test_who_is_there_has_not_left(pair) -> None:
    client, server = pair
    client.send(b"x")
    assert not has_left(server, or_half=True)


def test_a_closed_sending_side_counts_when_asked_for(pair) -> None:
    """Whatever was sent before and not read."""
    client, server = pair
    client.send(b"x")
    client.shutdown(socket.SHUT_WR)
    eventually(lambda: has_left(server, or_half=True))
    assert not has_left(server, or_half=False)


def test_a_reset_counts_always(pair) -> None:
    client, server = pair
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    eventually(lambda: has_left(server, or_half=False))


def test_a_closed_socket_has_nobody_and_a_unix_socket_tells_nothing(pair) -> None:
    _, server = pair
    server.close()
    assert has_left(server, or_half=False)
    one, other = socket.socketpair()
    other.close()
    assert not has_left(one, or_half=True)
    one.close()
