"""A load connection reports each request once."""

from __future__ import annotations

import asyncio

import pytest

from shedproxy.loadgen.client import LoadConnection

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Wire(asyncio.Transport):
    """What was written; never sends."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""
        self.is_aborted = False

    def write(self, data: bytes) -> None:
        self.sent += data

    def abort(self) -> None:
        self.is_aborted = True


def connect() -> tuple[LoadConnection, Wire, list[int]]:
    seen: list[int] = []
    connection = LoadConnection(lambda _, status: seen.append(status))
    wire = Wire()
    connection.connection_made(wire)
    return connection, wire, seen


@pytest.mark.parametrize("cut", range(1, len(ANSWER)))
def test_an_answer_in_two_pieces_is_one_answer(cut: int) -> None:
    """Wherever it is cut."""
    connection, wire, seen = connect()
    connection.send(b"GET")
    connection.data_received(ANSWER[:cut])
    connection.data_received(ANSWER[cut:])
    assert (wire.sent, seen, connection.is_open) == (b"GET", [200], True)


def test_a_lost_connection_ends_the_request_without_status() -> None:
    """And only once."""
    connection, _, seen = connect()
    connection.send(b"GET")
    connection.connection_lost(None)
    connection.connection_lost(None)
    assert seen == [0]


def test_garbage_ends_the_connection() -> None:
    """Not HTTP: status 0, aborted."""
    connection, wire, seen = connect()
    connection.send(b"GET")
    connection.data_received(b"nonsense\r\n\r\n")
    assert (seen, wire.is_aborted) == ([0], True)


def test_connection_close_is_honoured() -> None:
    """The connection is not offered again."""
    connection, _, seen = connect()
    connection.send(b"GET")
    connection.data_received(b"HTTP/1.1 503 X\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
    assert (seen, connection.is_open) == ([503], False)


@pytest.mark.parametrize("announced", [b"content-length: 2000", b"transfer-encoding: chunked"])
def test_an_answer_to_head_is_its_head(announced: bytes) -> None:
    """Whatever it announces, nothing follows."""
    connection, _, seen = connect()
    for turn in (1, 2):
        connection.send(b"HEAD / HTTP/1.1")
        connection.data_received(b"HTTP/1.1 200 OK\r\n" + announced + b"\r\n\r\n")
        assert (seen, connection.is_open) == ([200] * turn, True)
    connection.send(b"GET")
    connection.data_received(ANSWER)
    assert len(seen) == 3
