from __future__ import annotations

import contextlib
import socket
import struct

import pytest

from shedproxy.dataplane.wire.tcp_state import acknowledged, has_left, unacknowledged
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


def test_what_the_other_kernel_has_not_taken_is_known_to_the_byte(pair) -> None:
    """However much ours has taken."""
    client, server = pair
    server.setblocking(False)
    sent = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            sent += server.send(bytes(65536))
    left = unacknowledged(server)
    assert 0 < left < sent
    seen = 0
    while seen < sent:
        seen += len(client.recv(sent))
        assert unacknowledged(server) <= left
    eventually(lambda: unacknowledged(server) == 0)


def test_of_a_closed_socket_nothing_is_held(pair) -> None:
    _, server = pair
    server.close()
    assert unacknowledged(server) == 0


def test_what_the_other_kernel_has_taken_grows_with_it(pair) -> None:
    client, server = pair
    before = acknowledged(server)
    server.send(bytes(10_000))
    assert client.recv(10_000, socket.MSG_WAITALL)
    eventually(lambda: acknowledged(server) - before == 10_000)


def test_of_what_is_no_tcp_nobody_knows_what_was_taken(pair) -> None:
    _, server = pair
    server.close()
    assert acknowledged(server) is None
    one, other = socket.socketpair()
    assert acknowledged(one) is None
    one.close()
    other.close()
