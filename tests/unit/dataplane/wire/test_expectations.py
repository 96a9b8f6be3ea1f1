"""Expect: 100-continue end to end (RFC 9110 10.1.1), where the slot is taken before the body."""

from __future__ import annotations

import pytest

from shedproxy.core import NS_PER_MS, milliseconds, seconds
from shedproxy.dataplane.stalls import STALL_NS
from shedproxy.dataplane.wire.client_end import LINGER_NS
from shedproxy.snapshot import Classification, Match, Rule

pytestmark = pytest.mark.anyio

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
HEAD = b" / HTTP/1.1\r\nHost: e\r\nExpect: 100-continue\r\n"
CHUNKED = b"POST" + HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
LARGE = b"POST" + HEAD + b"Content-Length: 200\r\n\r\n"
SMALL = b"POST" + HEAD + b"Content-Length: 100\r\n\r\n"
PUT = LARGE.replace(b"POST", b"PUT")
BODY = b"x" * 200
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
UNWANTED = b"HTTP/1.1 413 No\r\nContent-Length: 2\r\n\r\nno"
GET = b"GET / HTTP/1.1\r\nHost: e\r\n\r\n"
ASK = b"\r\nexpect: 100-continue\r\n"
SIZE = {"permit_body_size": 100}


def watch_releases(bench) -> list[tuple[int, int]]:
    """How long each permit was held, and what of that its client made the upstream wait."""
    released = []
    release_at = bench.driver.release_at

    def note(permit, outcome, stalled_ns, now):
        released.append((now - permit.admitted_at, stalled_ns))
        release_at(permit, outcome, stalled_ns, now)

    bench.driver.release_at = note
    return released


@pytest.mark.parametrize("head", [LARGE, CHUNKED])
async def test_the_client_is_asked_when_the_upstream_asks(still, head) -> None:
    bench = still(**SIZE)
    released = watch_releases(bench)
    client = bench.client()
    upstream = await bench.ask(client, head)
    sent = upstream.take()
    assert ASK in sent
    assert sent.endswith(b"\r\n\r\n")
    assert bench.cell.in_flight == 1
    await bench.advance(milliseconds(900))
    assert client.take() == b""
    upstream.protocol.data_received(CONTINUE)
    assert client.take() == CONTINUE
    bench.clock.advance(milliseconds(500))
    chunks = b"c8\r\n%b\r\n0\r\n\r\n" % BODY
    body = chunks if head is CHUNKED else BODY
    client.protocol.data_received(body)
    assert upstream.take() == body
    upstream.protocol.data_received(OK)
    assert client.take().endswith(b"ok")
    assert not client.is_closed
    assert not upstream.is_closed
    assert released == [(milliseconds(1400), milliseconds(500))], "the upload alone is the client's"


async def test_a_body_that_is_in_before_its_slot_is_asked_for_by_us(still) -> None:
    bench = still(**SIZE)
    client = bench.client()
    client.protocol.data_received(SMALL)
    assert client.take() == CONTINUE
    assert bench.cell.in_flight == 0
    upstream = await bench.ask(client, b"x" * 100)
    assert ASK not in upstream.take()
    upstream.protocol.data_received(CONTINUE + OK)
    assert client.take().startswith(b"HTTP/1.1 200 "), "nobody asked for that 100"


@pytest.mark.parametrize(
    "options",
    [{"timeouts": {"expect_continue_ns": 0}}, {"body_size_max": 100}],
    ids=["never asked", "no body is large"],
)
async def test_who_is_not_to_ask_the_upstream_asks_for_the_body_itself(still, options) -> None:
    bench = still(**SIZE, **options)
    client = bench.client()
    client.protocol.data_received(CHUNKED)
    assert client.take() == CONTINUE
    assert bench.cell.in_flight == 0
    upstream = await bench.ask(client, b"64\r\n%b\r\n0\r\n\r\n" % BODY[:100])
    assert ASK not in upstream.take()


async def test_a_final_answer_instead_of_100_is_the_last_word(still) -> None:
    """What comes of the body anyway is thrown away, and neither connection is used again."""
    bench = still(**SIZE)
    released = watch_releases(bench)
    client = bench.client()
    upstream = await bench.ask(client, LARGE)
    bench.clock.advance(milliseconds(200))
    upstream.protocol.data_received(UNWANTED)
    answer = client.take()
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close" in answer
    assert upstream.is_closed
    client.protocol.data_received(BODY + GET)
    await bench.advance(LINGER_NS + milliseconds(50))
    assert client.is_closed
    assert client.take() == b""
    assert bench.dials == 1
    assert released == [(milliseconds(200), 0)]


async def test_a_final_answer_of_any_length_is_not_cut_for_a_body_nobody_asked_for(still) -> None:
    bench = still(**SIZE)
    client = bench.client()
    upstream = await bench.ask(client, LARGE)
    upstream.protocol.data_received(b"HTTP/1.1 403 No\r\nContent-Length: 4\r\n\r\n")
    for letter in (b"a", b"b", b"c", b"d"):
        await bench.advance(seconds(20))
        upstream.protocol.data_received(letter)
    assert client.take().endswith(b"\r\n\r\nabcd")


async def test_an_upstream_that_says_nothing_lets_the_body_come(still) -> None:
    bench = still(**SIZE, timeouts={"expect_continue_ns": milliseconds(300)})
    released = watch_releases(bench)
    client = bench.client()
    upstream = await bench.ask(client, LARGE)
    upstream.take()
    await bench.advance(milliseconds(275))
    assert client.take() == b""
    await bench.advance(milliseconds(50))
    assert client.take() == CONTINUE
    bench.clock.advance(milliseconds(100))
    client.protocol.data_received(BODY)
    assert upstream.take() == BODY
    upstream.protocol.data_received(CONTINUE + OK)
    assert client.take().startswith(CONTINUE + b"HTTP/1.1 200 "), "a proxy keeps no 1xx back"
    ((held_ns, stalled_ns),) = released
    assert held_ns - stalled_ns >= milliseconds(300), "the silence is the upstream's"
    assert stalled_ns >= milliseconds(100)


async def test_of_a_deadline_an_upstream_that_says_nothing_has_half(still) -> None:
    """The body and the answer have the rest."""
    bench = still(**SIZE)
    client = bench.client()
    timed = LARGE.replace(b"Expect:", b"X-Request-Timeout-Ms: 400\r\nExpect:")
    upstream = await bench.ask(client, timed)
    assert ASK in upstream.take()
    await bench.advance(milliseconds(175))
    assert client.take() == b""
    await bench.advance(milliseconds(50))
    assert client.take() == CONTINUE
    client.protocol.data_received(BODY)
    assert upstream.take() == BODY
    upstream.protocol.data_received(OK)
    assert client.take().startswith(b"HTTP/1.1 200 ")


async def test_other_interim_answers_go_through_before_100(still) -> None:
    bench = still(**SIZE)
    client = bench.client()
    upstream = await bench.ask(client, LARGE)
    upstream.protocol.data_received(b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n")
    assert client.take().startswith(b"HTTP/1.1 103 ")
    upstream.protocol.data_received(CONTINUE + CONTINUE)
    assert client.take() == CONTINUE * 2


@pytest.mark.parametrize("together", [True, False])
async def test_a_client_that_does_not_wait_is_heard_as_it_comes(still, together) -> None:
    bench = still(**SIZE)
    released = watch_releases(bench)
    client = bench.client()
    if together:
        upstream = await bench.ask(client, LARGE + BODY[:50])
    else:
        upstream = await bench.ask(client, LARGE)
        bench.clock.advance(milliseconds(200))
        client.protocol.data_received(BODY[:50])
    assert upstream.take().endswith(b"\r\n\r\n" + BODY[:50])
    bench.clock.advance(milliseconds(300))
    client.protocol.data_received(BODY[50:])
    assert upstream.take() == BODY[50:]
    upstream.protocol.data_received(CONTINUE)
    assert client.take() == (b"" if together else CONTINUE), "passed on where it was asked for"
    upstream.protocol.data_received(OK)
    assert client.take().endswith(b"ok")
    assert not client.is_closed
    assert not upstream.is_closed
    assert released == [(milliseconds(300 if together else 500), milliseconds(300))]


async def test_who_began_while_it_waited_for_a_slot_is_not_asked_about(still) -> None:
    """It may wait with the rest, and gets its 100 then, as nobody else will tell it."""
    bench = still(**SIZE, limit=1)
    first, client = bench.client(), bench.client()
    upstream = await bench.ask(first, GET)
    client.protocol.data_received(LARGE + BODY[:50])
    upstream.take()
    upstream.protocol.data_received(OK)
    await bench.settle()
    sent = upstream.take()
    assert ASK not in sent
    assert sent.endswith(BODY[:50])
    await bench.advance(seconds(1) + milliseconds(25))
    assert client.take() == CONTINUE
    client.protocol.data_received(BODY[50:])
    upstream.protocol.data_received(OK)
    assert client.take().endswith(b"ok")


async def test_a_100_of_an_upstream_that_was_not_asked_ends_here_after_one_that_was(still) -> None:
    bench = still(**SIZE, upstream={"urls": ("http://10.0.0.1:80", "http://10.0.0.2:80")})
    client = bench.client()
    upstream = await bench.ask(client, PUT)
    upstream.lose()
    client.protocol.data_received(BODY)
    await bench.settle()
    second = bench.upstreams[-1]
    assert ASK not in second.take()
    second.protocol.data_received(CONTINUE + OK)
    assert client.take().startswith(b"HTTP/1.1 200 ")


async def test_who_is_refused_is_not_asked(still) -> None:
    closed = Classification(rules=(Rule(match=Match(path=("/**",)), limit=0),))
    bench = still(**SIZE, document={"classification": closed})
    client = bench.client()
    client.protocol.data_received(LARGE)
    answer = client.take()
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"connection: close" in answer
    assert bench.dials == 0


@pytest.mark.parametrize(("head", "runs"), [(PUT, 2), (LARGE, 1)], ids=["PUT", "POST"])
async def test_a_body_not_begun_keeps_nobody_from_another_upstream(still, head, runs) -> None:
    """That one is asked anew."""
    bench = still(**SIZE, upstream={"urls": ("http://10.0.0.1:80", "http://10.0.0.2:80")})
    client = bench.client()
    upstream = await bench.ask(client, head)
    await bench.advance(milliseconds(600))
    upstream.lose()
    await bench.settle()
    assert bench.dials == runs
    if runs == 1:
        assert client.take().startswith(b"HTTP/1.1 502 ")
        return
    second = bench.upstreams[-1]
    assert ASK in second.take()
    await bench.advance(milliseconds(600))
    assert client.take() == b"", "its time is its own"
    second.protocol.data_received(CONTINUE)
    assert client.take() == CONTINUE
    client.protocol.data_received(BODY)
    assert second.take() == BODY
    second.protocol.data_received(OK)
    assert client.take().endswith(b"ok")


@pytest.mark.parametrize("begun", [b"x", CONTINUE], ids=["by the client", "by the upstream"])
async def test_a_body_begun_is_not_sent_to_another_upstream(still, begun) -> None:
    bench = still(**SIZE, upstream={"urls": ("http://10.0.0.1:80", "http://10.0.0.2:80")})
    client = bench.client()
    upstream = await bench.ask(client, PUT)
    (upstream if begun is CONTINUE else client).protocol.data_received(begun)
    upstream.lose()
    await bench.settle()
    assert bench.dials == 1
    assert b"HTTP/1.1 502 " in client.take()


async def test_who_waits_for_100_is_not_slow_and_who_has_it_is(still) -> None:
    """The upstream thinks for longer than any client may take."""
    bench = still(
        **SIZE, limit=1, timeouts={"expect_continue_ns": seconds(50), "client_body_ns": seconds(3)}
    )
    client = bench.client()
    upstream = await bench.ask(client, LARGE)
    await bench.advance(seconds(4))
    bench.client().protocol.data_received(GET)
    await bench.advance(STALL_NS + milliseconds(300))
    assert (bench.cell.in_flight, bench.cell.queue_length) == (1, 1)
    assert client.take() == b""
    upstream.protocol.data_received(CONTINUE)
    assert client.take() == CONTINUE
    bench.client().protocol.data_received(GET)
    await bench.advance(STALL_NS + milliseconds(300))
    assert client.take().startswith(b"HTTP/1.1 408 ")
    assert upstream.is_closed


async def test_without_others_it_has_the_time_of_a_body_from_its_100_on(still) -> None:
    bench = still(
        **SIZE, timeouts={"expect_continue_ns": seconds(50), "client_body_ns": seconds(3)}
    )
    client = bench.client()
    upstream = await bench.ask(client, LARGE)
    await bench.advance(seconds(10))
    upstream.protocol.data_received(CONTINUE)
    await bench.advance(seconds(3) - 50 * NS_PER_MS)
    assert client.take() == CONTINUE
    await bench.advance(100 * NS_PER_MS)
    assert client.take().startswith(b"HTTP/1.1 408 ")


async def test_the_time_of_an_answer_begins_anew_with_the_100(still) -> None:
    """A client that takes its time with the body must not make the upstream look silent."""
    bench = still(**SIZE, timeouts={"expect_continue_ns": seconds(50), "response_ns": seconds(10)})
    client = bench.client()
    upstream = await bench.ask(client, LARGE)
    await bench.advance(seconds(8))
    upstream.protocol.data_received(CONTINUE)
    await bench.advance(seconds(4))
    assert client.take() == CONTINUE
    client.protocol.data_received(BODY)
    upstream.protocol.data_received(OK)
    assert client.take().endswith(b"ok")


async def test_a_client_that_leaves_while_it_waits_ends_the_request(still) -> None:
    bench = still(**SIZE)
    client = bench.client()
    upstream = await bench.ask(client, LARGE)
    client.lose()
    assert upstream.is_closed
    assert bench.cell.in_flight == 0


async def test_a_final_answer_after_100_ends_the_upload(still) -> None:
    bench = still(**SIZE)
    client = bench.client()
    upstream = await bench.ask(client, LARGE)
    upstream.protocol.data_received(CONTINUE)
    client.protocol.data_received(BODY[:50])
    upstream.protocol.data_received(UNWANTED)
    assert client.take().startswith(CONTINUE + b"HTTP/1.1 413 ")
    assert upstream.is_closed
