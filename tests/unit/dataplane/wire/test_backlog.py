from __future__ import annotations

import socket

from shedproxy.dataplane.wire.backlog import take_waiting


def test_every_connection_that_waits_is_taken_and_none_is_waited_for():
    with (
        socket.create_server(("127.0.0.1", 0)) as one,
        socket.create_server(("127.0.0.1", 0)) as other,
    ):
        assert take_waiting([one, other]) == []
        clients = [
            socket.create_connection(listener.getsockname()) for listener in (one, other, one)
        ]
        taken = take_waiting([one, other])
        assert {sock.getpeername() for sock in taken} == {sock.getsockname() for sock in clients}
        assert not any(sock.getblocking() for sock in taken)
        assert take_waiting([one, other]) == []
        for sock in (*clients, *taken):
            sock.close()


def test_a_listener_that_is_closed_has_nobody():
    listener = socket.create_server(("127.0.0.1", 0))
    listener.close()
    assert take_waiting([listener]) == []
