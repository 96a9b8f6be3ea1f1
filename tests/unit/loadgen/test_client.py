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


def test_what_a_parser_says_late_is_not_about_the_next_request() -> None:
    """A body after the answer to HEAD: the request that is sent at once has a connection left."""
    seen: list[int] = []

    def on_done(connection: LoadConnection, status: int) -> None:
        seen.append(status)
        if len(seen) == 1 and connection.is_open:
            connection.send(b"GET")

    connection, wire = LoadConnection(on_done), Wire()
    connection.connection_made(wire)
    connection.send(b"HEAD / HTTP/1.1")
    connection.data_received(ANSWER)
    assert (seen, connection.is_open, wire.is_aborted) == ([200], False, True)


@pytest.mark.parametrize("early", [b"103 Early Hints\r\nlink: </a>", b"100 Continue"])
@pytest.mark.parametrize("is_apart", [False, True])
def test_an_interim_answer_is_not_the_answer(early: bytes, is_apart: bool) -> None:
    """The final one is."""
    connection, _, seen = connect()
    connection.send(b"GET")
    pieces = [b"HTTP/1.1 " + early + b"\r\n\r\n", ANSWER]
    for piece in pieces if is_apart else [b"".join(pieces)]:
        connection.data_received(piece)
    assert (seen, connection.is_open) == ([200], True)


@pytest.mark.parametrize("is_apart", [False, True])
def test_an_answer_that_nobody_asked_for_ends_the_connection(is_apart: bool) -> None:
    """With the one before it, or by itself."""
    connection, wire, seen = connect()
    connection.send(b"GET")
    for piece in [ANSWER, ANSWER] if is_apart else [ANSWER * 2]:
        connection.data_received(piece)
    assert (seen, connection.is_open, wire.is_aborted) == ([200], False, True)


def test_an_answer_that_changes_the_protocol_ends_the_connection() -> None:
    """Nobody asked for one."""
    connection, wire, seen = connect()
    connection.send(b"GET")
    connection.data_received(
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"
    )
    assert (seen, connection.is_open, wire.is_aborted) == ([0], False, True)
