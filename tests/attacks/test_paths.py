"""Paths and names that try to be something else for the rule than for the service (A6, A7, A14,
A15)."""

from __future__ import annotations

import pytest

from shedproxy.snapshot import Match, Rule

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

CLOSED = {"rules": (Rule(name="closed", match=Match(path=("/admin/**",)), limit=0),)}
"""Nobody may have anything below /admin."""
PLAIN = b"GET %b HTTP/1.1\r\nHost: %b\r\n\r\n"


@pytest.mark.attack("A6")
@pytest.mark.parametrize(
    ("target", "host"),
    [
        (b"/admin/a", b"h"),
        (b"http://h/admin/a", b"h"),
        (b"HTTP://other.example/admin/a", b"other.example"),
        (b"http://h:80/admin/a", b"h"),
        (b"http://h/admin/a", b"h/../public"),
        (b"http://h/public/../admin/a", b"h"),
        (b"/admin/a", b"h/public?"),
        (b"/admin/a", b"public@h"),
        (b"/admin/a", b"h, public"),
        (b"/admin/a#/public", b"h"),
        (b"//h/admin/a", b"h"),
    ],
)
async def test_neither_host_nor_absolute_form_moves_a_path_out_of_its_rule(ring, target, host):
    mirror = await ring.mirror()
    front = await ring.front(mirror.url, classification=CLOSED)
    answer = await front.ask(PLAIN % (target, host))
    if answer.status == 400:  # the request cannot be read in one way only
        return
    if target.startswith(b"//"):  # a path like any other: the service sees it as it is
        assert answer.seen.target == target.decode()
        return
    assert answer.fields["shedproxy-reason"] == "route_limit"
    assert not mirror.heads


@pytest.mark.attack("A6")
async def test_a_host_with_a_path_in_it_is_refused(ring):
    mirror = await ring.mirror()
    front = await ring.front(mirror.url, classification=CLOSED)
    for host in (b"h/admin", b"h/..", b"a,b", b"a@b", b"a b", b"h?x", b"h#x", b"[::1", b"h:x"):
        assert (await front.ask(PLAIN % (b"/a", host))).status == 400
    twice = b"GET /a HTTP/1.1\r\nHost: h\r\nHost: i\r\n\r\n"
    assert (await front.ask(twice)).status == 400
    against = b"GET http://h/a HTTP/1.1\r\nHost: i\r\n\r\n"
    answer = await front.ask(against)
    # The authority of the target wins where both are given (RFC 9112 3.2.2), or it is refused.
    assert answer.status == 400 or answer.seen.all("host") == ["h"]


@pytest.mark.attack("A6")
async def test_a_rule_for_a_host_sees_the_host_that_the_service_sees(ring):
    """That of an absolute target, whatever Host says beside it (RFC 9112 3.2.2)."""
    mirror = await ring.mirror()
    closed = Rule(name="closed", match=Match(host=("closed.example",)), limit=0)
    front = await ring.front(mirror.url, classification={"rules": (closed,)})
    for hidden in (
        b"GET http://closed.example/a HTTP/1.1\r\nHost: open.example\r\n\r\n",
        b"GET http://CLOSED.example:80 HTTP/1.1\r\nHost: open.example\r\n\r\n",
        b"OPTIONS http://closed.example HTTP/1.1\r\nHost: open.example\r\n\r\n",
        b"GET http://closed.example/a HTTP/1.0\r\n\r\n",
    ):
        assert (await front.ask(hidden)).fields["shedproxy-reason"] == "route_limit"
    named = b"GET http://open.example/a HTTP/1.1\r\nHost: closed.example\r\n\r\n"
    assert (await front.ask(named)).seen.all("host") == ["open.example"]
    assert len(mirror.heads) == 1


@pytest.mark.attack("A7")
@pytest.mark.parametrize(
    "path",
    [b"/admin/a", b"/ADMIN/a", b"/%61dmin/a", b"/%2561dmin/../admin/a", b"//admin/a", b"/./admin/a",
     b"/x/../admin/a", b"/x/%2e%2e/admin/a", b"/x/%2E./admin/a", b"/admin;v=1/a", b"/admin/;/a",
     b"/admin/a?x=/../../public", b"/admin//a", b"/admin/./a", b"/admin/%2e/a", b"/\\admin/a",
     b"/x\\..\\admin/a", b"/admin%2fa", b"/x/..%2fadmin/a", b"/admin/../admin/a", b"/admin/",
     b"/admin"],
)  # fmt: skip
async def test_no_spelling_of_a_path_gets_out_of_its_rule(ring, path):
    """Where routers disagree on what a path means, the lesser rule counts."""
    mirror = await ring.mirror()
    front = await ring.front(mirror.url, classification=CLOSED)
    answer = await front.ask(PLAIN % (path, b"h"))
    assert answer.status in {400, 503}
    assert not mirror.heads


@pytest.mark.attack("A7")
async def test_what_is_let_through_is_forwarded_byte_by_byte(ring):
    """A rule is decided on what the path may mean, the service gets what was sent."""
    front = await ring.front((await ring.mirror()).url, classification=CLOSED)
    for path in ("/a//b", "/a/%2e%2e/b", "/a/../b?c=/../admin", "/A;x=1/b", "/%61"):
        answer = await front.get(path=path)
        assert answer.seen.target == path


# --- A14: the free lane ---------------------------------------------------------------------


@pytest.mark.attack("A14")
@pytest.mark.parametrize(
    ("method", "target", "is_free"),
    [
        (b"GET", b"/healthz", True),
        (b"HEAD", b"/healthz", True),
        (b"POST", b"/healthz", False),
        (b"OPTIONS", b"/healthz", False),
        (b"GET", b"/healthz/", False),
        (b"GET", b"/healthz/../api", False),
        (b"GET", b"/healthz/%2e%2e/api", False),
        (b"GET", b"/HEALTHZ", False),
        (b"GET", b"/%68ealthz", False),
        (b"GET", b"//healthz", False),
        (b"GET", b"/./healthz", False),
        (b"GET", b"/healthz;x", False),
        (b"GET", b"/api?/healthz", False),
    ],
)
async def test_the_free_lane_is_for_exactly_the_health_path(ring, method, target, is_free):
    front = await ring.front((await ring.mirror()).url)
    await front.ask(method + b" " + target + b" HTTP/1.1\r\nHost: h\r\n\r\n")
    assert front.last.is_control == is_free


@pytest.mark.attack("A14")
async def test_the_free_lane_has_a_budget(ring):
    """It is a path of the service: whoever floods it gets no more than that at a time."""
    rule = {"control_paths": ("/wait/0.3",)}
    front = await ring.front((await ring.mirror()).url, classification=rule)
    clients = [await front.connect() for _ in range(20)]
    for client in clients:
        client.writer.write(PLAIN % (b"/wait/0.3", b"h"))
    answers = [await client.answer() for client in clients]
    refused = [answer for answer in answers if answer.status == 503]
    assert len(refused) == 4
    assert {answer.fields["shedproxy-reason"] for answer in refused} == {"control_budget"}
    assert front.cell.in_flight == 0


@pytest.mark.attack("A14")
async def test_asking_for_a_stream_is_no_way_past_the_limit(ring):
    """Streams take no slot: a stranger's wish for one is seen only when the answer is one."""
    front = await ring.front((await ring.mirror()).url, limit=1)
    holder = await front.connect()
    holder.writer.write(PLAIN % (b"/wait/0.3", b"h"))
    asked = b"Accept: text/event-stream", b"Connection: upgrade", b"Upgrade: websocket"
    for lines in ((asked[0],), (asked[1], asked[2])):
        assert (await front.get(*lines, "X-Request-Timeout-Ms: 100")).status == 503
        assert front.cell.residents == 0
    assert (await holder.answer()).status == 200


# --- A15: the control listener's pages --------------------------------------------------------


@pytest.mark.attack("A15")
@pytest.mark.parametrize(
    "path",
    [
        "/metrics",
        "/-/status",
        "/-/config",
        "/-/points",
        "/-/explain?path=/a",
        "/livez",
        "/readyz",
    ],
)
async def test_the_data_port_serves_nothing_of_the_control_listener(ring, path):
    """Such a path is the service's own, and is forwarded like any other."""
    front = await ring.front((await ring.mirror()).url)
    assert (await front.get(path=path)).seen.target == path


@pytest.mark.attack("A15")
async def test_the_data_port_takes_no_orders(ring):
    front = await ring.front((await ring.mirror()).url)
    order = b'{"mode":"off"}'
    for path in (b"/-/mode", b"/-/reload", b"/-/drain"):
        answer = await front.ask(
            b"POST %b HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (path, len(order), order)
        )
        assert answer.seen.target == path.decode()
    assert front.driver.mode.label == "enforce"
