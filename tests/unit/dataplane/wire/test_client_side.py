from __future__ import annotations

import pytest

from shedproxy.core import Lane, seconds
from shedproxy.dataplane.wire import client_end
from shedproxy.dataplane.wire.client_side import DISCARD_SIZE_MAX, TURN_REQUESTS_MAX
from shedproxy.snapshot import Classification, Match, Rule

pytestmark = pytest.mark.anyio

GET = b"GET / HTTP/1.1\r\nHost: e\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n"
NO = b"GET /no HTTP/1.1\r\nHost: e\r\n\r\n"
CONTROL = Classification(rules=(Rule(match=Match(path=("/health",)), lane=Lane.CONTROL),))
SOME = Classification(rules=(Rule(match=Match(path=("/no",)), limit=0),))


async def test_a_head_in_pieces_has_one_bound_from_its_first_byte(still) -> None:
    bench = still(timeouts={"client_head_ns": seconds(10)})
    client = bench.client()
    for byte in GET[:9]:
        client.protocol.data_received(bytes([byte]))
        await bench.advance(seconds(1))
    assert client.take() == b""
    await bench.advance(seconds(2))
    assert client.take().startswith(b"HTTP/1.1 408 ")


async def test_the_next_request_waits_for_the_answer_before_it(still) -> None:
    bench = still()
    client = bench.client()
    upstream = await bench.ask(client, GET + b"GET /two HTTP/1.1\r\nHost: e\r\n\r\n")
    assert upstream.take().count(b"HTTP/1.1\r\n") == 1
    upstream.protocol.data_received(OK)
    await bench.settle()
    assert upstream.take().startswith(b"GET /two ")
    upstream.protocol.data_received(OK)
    assert client.take().count(b"HTTP/1.1 200 OK") == 2


async def test_what_is_sent_ahead_is_not_read_without_end(still) -> None:
    bench = still(head_size_max=1024)
    client = bench.client()
    upstream = await bench.ask(client, GET)
    client.protocol.data_received(b"x" * 1025)
    assert client.is_paused
    upstream.protocol.data_received(OK)
    await bench.settle()
    assert client.take().endswith(b'"reason":"head_too_large"}')


async def test_an_unwanted_body_is_worth_reading_up_to_a_size(still) -> None:
    bench = still(body_size_max=1)
    for size, is_kept in ((DISCARD_SIZE_MAX, True), (DISCARD_SIZE_MAX + 1, False)):
        client = bench.client()
        head = b"POST / HTTP/1.1\r\nHost: e\r\nContent-Length: %d\r\n\r\n" % size
        client.protocol.data_received(head)
        assert (b"connection: close" not in client.take()) is is_kept
        assert client.has_eof is not is_kept


async def test_chunks_of_an_unwanted_body_are_counted_as_they_come(still) -> None:
    bench = still(body_size_max=1)
    client = bench.client()
    client.protocol.data_received(
        b"POST / HTTP/1.1\r\nHost: e\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n"
    )
    assert client.take().startswith(b"HTTP/1.1 413 ")
    client.protocol.data_received(b"100000\r\n" + b"x" * (DISCARD_SIZE_MAX + 1))
    assert client.has_eof


async def test_a_new_client_is_trusted_by_the_document_it_meets(still) -> None:
    bench = still()
    end = bench.client("127.0.0.1").protocol
    assert not end.is_trusted_by(bench.server.live)
    assert (end.peer, end.peer_bytes) == ("127.0.0.1", b"127.0.0.1")


async def test_a_client_that_does_not_read_is_not_served_on(still) -> None:
    """C5, A23: its next requests wait, bounded, and in the end it is cut off."""
    bench = still(buffer_size=1000, timeouts={"client_write_ns": seconds(30)})
    client = bench.client()
    client.is_stuck = True
    upstream = await bench.ask(client, GET)
    upstream.protocol.data_received(
        b"HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n" + b"x" * 2000
    )
    assert client.is_blocked
    while not client.is_paused:
        client.protocol.data_received(GET)
        await bench.settle()
        assert upstream.protocol.exchange is None
    await bench.advance(seconds(10))
    assert not client.is_closed
    client.unstick()
    await bench.settle()
    assert upstream.protocol.exchange is not None
    client.is_stuck = True
    upstream.protocol.data_received(
        b"HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n" + b"x" * 2000
    )
    await bench.advance(seconds(31))
    assert client.is_aborted
    assert bench.cell.in_flight == 0


async def test_a_client_that_catches_up_has_the_whole_idle_time(still) -> None:
    bench = still(buffer_size=1000, timeouts={"client_idle_ns": seconds(75)})
    client = bench.client()
    client.is_stuck = True
    upstream = await bench.ask(client, GET)
    upstream.protocol.data_received(
        b"HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n" + b"x" * 2000
    )
    await bench.advance(seconds(10))
    client.unstick()
    await bench.advance(seconds(74))
    assert not client.is_closed
    await bench.advance(seconds(2))
    assert client.is_closed


async def test_what_tls_writes_as_it_begins_is_no_answer(still) -> None:
    """It is taken a turn later: the first word is awaited no longer for it, and is not ahead."""
    bench = still(timeouts={"client_head_ns": seconds(10), "client_idle_ns": seconds(75)})
    silent, client = bench.client(), bench.client()
    for each in (silent, client):
        each.protocol.pause_writing()
    client.protocol.data_received(GET)
    for each in (silent, client):
        each.protocol.resume_writing()
    await bench.settle()
    (upstream,) = bench.upstreams
    assert not client.protocol.sends_ahead
    assert silent.protocol.waits_since == bench.clock()
    upstream.protocol.data_received(OK)
    await bench.advance(seconds(11))
    assert silent.is_closed
    assert not client.is_closed


async def test_a_flood_of_refused_requests_leaves_the_loop_to_others(still) -> None:
    """A24: pipelined refusals are answered a few in a turn, all of them and in order."""
    bench = still(
        document={
            "classification": Classification(rules=(Rule(match=Match(path=("/**",)), limit=0),))
        }
    )
    client = bench.client()
    client.protocol.data_received(GET * 100)
    refused = client.sent.count(b"HTTP/1.1 503 ")
    assert refused == TURN_REQUESTS_MAX
    assert client.is_paused
    for _ in range(10):
        await bench.settle()
    assert client.sent.count(b"HTTP/1.1 503 ") == 100
    assert not client.is_paused


async def test_requests_sent_ahead_of_a_half_close_are_answered(still) -> None:
    """C9: also when it is seen between two of them."""
    bench = still()
    client = bench.client()
    upstream = await bench.ask(client, GET)
    client.protocol.data_received(GET)
    upstream.protocol.data_received(OK)
    assert client.protocol.eof_received()
    await bench.settle()
    upstream.protocol.data_received(OK)
    assert client.sent.count(b"200 OK") == 2
    assert client.is_closed


async def test_half_a_request_before_a_half_close_is_not_waited_for(still) -> None:
    bench = still()
    client = bench.client()
    upstream = await bench.ask(client, GET)
    client.protocol.data_received(GET[:10])
    assert client.protocol.eof_received()
    upstream.protocol.data_received(OK)
    await bench.settle()
    assert client.is_closed
    assert b" 408 " not in client.sent


async def test_a_broken_body_is_read_on_so_that_its_answer_arrives(still) -> None:
    bench = still()
    client = bench.client()
    client.protocol.data_received(
        b"POST / HTTP/1.1\r\nHost: e\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"
    )
    assert client.take().startswith(b"HTTP/1.1 400 ")
    assert client.has_eof
    assert not client.is_closed
    client.protocol.data_received(GET)
    assert client.take() == b""


async def test_a_bug_in_a_requests_way_ends_its_connection_and_costs_no_slot(
    still, monkeypatch
) -> None:
    bench = still()
    client = bench.client()

    def fail(*_, **__):
        raise ValueError("bug")

    monkeypatch.setattr(bench.group, "acquire", fail)
    with pytest.raises(ValueError, match="bug"):
        client.protocol.data_received(GET)
    await bench.settle()
    assert client.is_closed
    assert bench.cell.in_flight == 0


@pytest.mark.parametrize(
    "head", [b"HEAD / HTTP/1.1\r\n\r\n", b"\r\nHEAD / HTTP/1.1\r\nHost: e\r\nA : b\r\n\r\n"]
)
async def test_a_refused_head_request_gets_no_body(still, head) -> None:
    """RFC 9110 9.3.2: none, whatever the answer is."""
    bench = still()
    client = bench.client()
    client.protocol.data_received(head)
    sent = client.take()
    assert sent.startswith(b"HTTP/1.1 400 ")
    assert sent.endswith(b"\r\n\r\n")


async def test_a_head_request_that_never_ends_gets_no_body(still) -> None:
    bench = still(timeouts={"client_head_ns": seconds(1)})
    client = bench.client()
    client.protocol.data_received(b"HEAD / HTTP/1.1\r\nHost")
    await bench.advance(seconds(2))
    sent = client.take()
    assert sent.startswith(b"HTTP/1.1 408 ")
    assert sent.endswith(b"\r\n\r\n")


async def test_a_stream_that_ends_with_its_reader_is_seen_to_be_cut(still) -> None:
    """HTTP/1.0 has no other sign of a whole answer than the end of the connection."""
    bench = still()
    client = bench.client()
    upstream = await bench.ask(client, b"GET / HTTP/1.0\r\n\r\n")
    upstream.protocol.data_received(STREAM)
    assert not client.protocol.eof_received()
    assert client.is_aborted
    assert client.socket.options


@pytest.mark.parametrize("is_late", [False, True], ids=["with the request", "late"])
async def test_a_long_download_outlasts_the_half_close_of_its_reader(
    still, monkeypatch, is_late
) -> None:
    """What takes long and has an end is no stream: nobody could get it by `nc -N` else."""
    monkeypatch.setattr(client_end, "has_left", lambda _, *, or_half: or_half)
    bench = still(timeouts={"response_ns": seconds(2)})
    client = bench.client()
    upstream = await bench.ask(client, GET)
    if not is_late:
        assert client.protocol.eof_received()
    upstream.protocol.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")
    for second in range(9):
        if is_late and second == 5:
            assert client.protocol.eof_received()
        await bench.advance(seconds(1))
        upstream.protocol.data_received(b"x")
    assert client.take().endswith(b"x" * 9)
    assert not client.is_aborted


@pytest.mark.parametrize("path", [b"/", b"/health"], ids=["data", "control"])
async def test_who_leaves_a_silent_stream_by_half_is_gone(still, monkeypatch, path: bytes) -> None:
    bench = still(document={"classification": CONTROL})
    client = bench.client()
    upstream = await bench.ask(client, GET.replace(b"/ ", path + b" "))
    assert client.protocol.eof_received()
    upstream.protocol.data_received(STREAM)
    monkeypatch.setattr(client_end, "has_left", lambda _, *, or_half: or_half)
    await bench.advance(seconds(1))
    assert client.is_aborted
    assert client.socket.options, "it must not take what it has for all of it"


async def test_a_stream_that_others_of_its_client_were_refused_before_goes_on(still) -> None:
    """Reading stopped for a turn of the loop, and not because of what was sent ahead."""
    bench = still(document={"classification": SOME})
    client = bench.client()
    upstream = await bench.ask(client, NO * TURN_REQUESTS_MAX + GET)
    upstream.protocol.data_received(STREAM)
    await bench.advance(seconds(1))
    assert not client.is_aborted
    assert not client.is_paused, "its good-bye is heard"
    upstream.protocol.data_received(b"data: 2\n\n")
    assert client.take().endswith(b"data: 2\n\n\r\n")


async def test_one_that_more_was_sent_ahead_of_than_is_read_ends(still) -> None:
    """What is behind it is never served, and hides that the client leaves."""
    bench = still(head_size_max=1024)
    client = bench.client()
    upstream = await bench.ask(client, GET)
    client.protocol.data_received(GET * 100)
    upstream.protocol.data_received(STREAM)
    await bench.advance(seconds(1))
    assert client.is_aborted
