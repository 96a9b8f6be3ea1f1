from __future__ import annotations

import json

import pytest

from shedproxy.observability.ring import find_refusal
from shedproxy.snapshot import Classification, Rule

pytestmark = pytest.mark.anyio

CLOSED = {"classification": Classification(rules=(Rule(name="closed", limit=0),))}
GET = b"GET /a?b HTTP/1.1\r\nHost: e\r\n\r\n"


def answers(client) -> list[tuple[bytes, bytes]]:
    """Heads and bodies of what was sent to the client."""
    rest, found = bytes(client.take()), []
    while rest:
        head, _, rest = rest.partition(b"\r\n\r\n")
        size = int(head.partition(b"content-length: ")[2].split(b"\r\n")[0])
        found.append((head, rest[:size]))
        rest = rest[size:]
    return found


async def test_who_is_refused_at_once_has_an_answer_a_record_and_no_exchange(still) -> None:
    bench = still(document=CLOSED, access_log="all")
    client = bench.client()
    client.protocol.data_received(GET)
    ((head, body),) = answers(client)
    assert head.startswith(b"HTTP/1.1 503 ")
    assert b"\r\ndate: " in head
    record = find_refusal([bench.driver.ring], json.loads(body)["id"])
    assert record.route == "closed"
    assert client.protocol.exchange is None
    assert client.protocol.deadline_at > bench.clock()
    line = json.loads(bench.server.log_lines()[0])
    assert (line["outcome"], line["status"], line["path"]) == ("rejected", 503, "/a")
    assert line["id"] == json.loads(body)["id"]


async def test_a_refusal_with_the_body_behind_its_head_leaves_the_next_request(still) -> None:
    bench = still(document=CLOSED)
    client = bench.client()
    post = b"POST / HTTP/1.1\r\nHost: e\r\nContent-Length: 3\r\n\r\nGET"
    client.protocol.data_received(post + GET + b"HEAD" + GET[3:])
    one, two, three = answers_of_three(client)
    assert one.startswith(b"HTTP/1.1 503 ")
    assert two.startswith(b"HTTP/1.1 503 ")
    assert three.endswith(b"\r\n\r\n")  # the body of a HEAD is left out


async def test_who_does_not_take_its_refusal_takes_a_place_in_the_cell(still) -> None:
    bench = still(document=CLOSED)
    group = bench.server.live.group_of("default")
    client = bench.client()
    client.is_stuck = True
    client.protocol.data_received(GET)
    assert (client.protocol.is_write_blocked, group.clients) == (True, 1)
    client.protocol.resume_writing()
    assert group.clients == 0


def answers_of_three(client) -> list[bytes]:
    parts = bytes(client.take()).split(b"HTTP/1.1 503 ")[1:]
    assert len(parts) == 3
    return [b"HTTP/1.1 503 " + part for part in parts]


@pytest.mark.parametrize(
    ("head", "keeps"),
    [
        (GET, True),
        (GET.replace(b"1.1", b"1.0"), False),
        (GET.replace(b"Host", b"Connection: close\r\nHost"), False),
    ],
)
async def test_the_connection_stays_where_the_client_knows_that_it_does(still, head, keeps) -> None:
    client = still(document=CLOSED).client()
    client.protocol.data_received(head)
    ((answer, _),) = answers(client)
    assert (b"connection: close" not in answer) is keeps
    assert client.protocol.is_ending is not keeps
