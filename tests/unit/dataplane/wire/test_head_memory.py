from __future__ import annotations

import gc

import pytest

from shedproxy.dataplane.wire.field_memory import AnswerFields
from shedproxy.dataplane.wire.framing import BodyKind, HeadError
from shedproxy.dataplane.wire.head_memory import (
    REMEMBERED_SIZE_MAX,
    RequestHeads,
    ResponseHeads,
    answer_head,
)

pytestmark = pytest.mark.anyio

GET = b"GET /a HTTP/1.1\r\nHost: e\r\n\r\n"
SIZED = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"


async def test_the_same_head_is_read_once(still) -> None:
    live = still().server.live
    heads = RequestHeads()
    first = heads.read(GET, live)
    assert heads.read(bytes(bytearray(GET)), live) is first
    other = heads.read(GET.replace(b"/a", b"/b"), live)
    assert other[0].target == b"/b"
    assert heads.read(GET, live)[0].target == b"/a"


@pytest.mark.parametrize(
    "data",
    [
        GET[:-2],
        GET[:-1],
        GET[:-1] + b"\n" + GET,
        GET + GET,
        b"\r\n" + GET,
        GET.replace(b"Host", b"Host "),
        GET.replace(b"1.1", b"1.0"),
        GET[:-2] + b"A: " + b"x" * 70_000 + b"\r\n\r\n",
        b"\r\n\r\n",
    ],
)
async def test_only_a_usual_head_whose_end_is_plain_is_recalled(still, data) -> None:
    live = still().server.live
    heads = RequestHeads()
    first = heads.recall(GET, live)
    assert first is not None
    assert heads.recall(data, live) is None
    assert heads.recall(GET, live) is first


async def test_a_head_as_long_as_the_one_before_it_is_recalled_with_what_follows(still) -> None:
    live = still().server.live
    heads = RequestHeads()
    assert heads.recall(GET + b"body", live) is None, "nothing came before"
    first = heads.recall(GET, live)
    assert heads.recall(GET + b"body", live) is first
    assert heads.end == len(GET)
    other = heads.recall(GET.replace(b"/a", b"/b") + b"body", live)
    assert other is not None
    assert (other[0].target, heads.end) == (b"/b", len(GET))
    assert heads.recall(GET.replace(b"/a", b"/abc") + b"body", live) is None


@pytest.mark.parametrize("line", [b"\r\n\r\nB: c", b"A :b", b"A: \x00b"])
async def test_no_head_of_the_same_length_passes_for_a_usual_one(still, line) -> None:
    live = still().server.live
    heads = RequestHeads()
    heads.recall(GET[:-2] + b"A: " + b"x" * (len(line) - 3) + b"\r\n\r\n", live)
    assert heads.recall(GET[:-2] + line + b"\r\n\r\nbody", live) is None


async def test_a_head_that_is_not_recalled_is_read_the_careful_way(still) -> None:
    live = still().server.live
    heads = RequestHeads()
    old = GET.replace(b"1.1", b"1.0")
    assert heads.recall(old, live) is None
    tokens, _ = heads.read(old, live)
    assert (tokens.version_minor, tokens.lines) == (0, None)
    assert heads.read(GET, live)[0].lines is not None


async def test_another_configuration_reads_it_anew(still) -> None:
    bench = still()
    heads = RequestHeads()
    first = heads.read(GET, bench.server.live)
    bench.server.apply(bench.driver.document)
    assert heads.read(GET, bench.server.live) is not first


async def test_the_former_configuration_is_let_go_of_whatever_comes_next(still) -> None:
    bench = still()
    heads = RequestHeads()
    former = bench.server.live
    heads.read(GET, former)
    bench.server.apply(bench.driver.document)
    heads.read(GET[:-2] + b"A: " + b"x" * REMEMBERED_SIZE_MAX + b"\r\n\r\n", bench.server.live)
    assert heads not in gc.get_referrers(former)


async def test_a_large_head_is_not_remembered_and_a_bad_one_not_accepted(still) -> None:
    live = still().server.live
    heads = RequestHeads()
    large = GET[:-2] + b"A: " + b"x" * REMEMBERED_SIZE_MAX + b"\r\n\r\n"
    assert heads.read(large, live) is not heads.read(large, live)
    for _ in range(2):
        with pytest.raises(HeadError):
            heads.read(b"GET / HTTP/1.1\r\n\r\n", live)


async def test_an_answer_means_what_its_request_makes_it_mean() -> None:
    heads = ResponseHeads(AnswerFields())
    first = heads.read(SIZED, b"GET")
    assert heads.read(SIZED, b"GET") is first
    assert first[1].body == BodyKind.SIZED
    assert heads.read(SIZED, b"HEAD")[1].body == BodyKind.NONE
    assert heads.read(SIZED, b"GET")[1].body == BodyKind.SIZED


async def test_repeated_requests_are_the_same_on_both_sides_of_the_memory(still) -> None:
    bench = still()
    client = bench.client()
    sent, got = set(), set()
    for _ in range(3):
        upstream = await bench.ask(client, GET)
        sent.add(upstream.take())
        upstream.protocol.data_received(SIZED + b"hello")
        got.add(client.take())
    assert len(sent) == len(got) == 1
    # The memory of one client is not another's: each has its own address in the head.
    other = bench.client("198.51.100.9")
    upstream = await bench.ask(other, GET)
    assert b"x-forwarded-for: 198.51.100.9" in upstream.take()


async def test_an_answers_head_gets_a_date_where_it_has_none() -> None:
    tokens, framing = ResponseHeads(AnswerFields()).read(SIZED, b"GET")
    for minor, keep_alive in ((1, True), (1, False), (0, False)):
        head = answer_head(tokens, framing, minor, keep_alive, b"D1")
        assert head.count(b"\r\ndate: D1\r\n") == 1
        assert (b"connection: close" in head) is not keep_alive
    tokens, framing = ResponseHeads(AnswerFields()).read(
        b"HTTP/1.1 103 Early Hints\r\n\r\n", b"GET"
    )
    assert b"date" not in answer_head(tokens, framing, 1, True, b"D1")
