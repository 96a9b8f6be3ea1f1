"""What strangers say of themselves: it can cost them, and gains nothing (A1, A2, A4, A5, A8, A26,
A27)."""

from __future__ import annotations

import re

import pytest

from shedproxy.core import Criticality, LimitCause, seconds
from shedproxy.snapshot import Match, Rule

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

FRIEND = "127.0.0.9"


# --- A1: priority ---------------------------------------------------------------------------


@pytest.mark.attack("A1")
@pytest.mark.parametrize(
    ("lines", "stranger", "friend"),
    [
        ([], "critical", "critical"),
        (["X-Criticality: critical_plus"], "critical", "critical_plus"),
        (["X-CRITICALITY: CRITICAL_PLUS"], "critical", "critical_plus"),
        (["X-Criticality: sheddable"], "sheddable", "sheddable"),
        (["X-Criticality: sheddable", "X-Criticality: critical_plus"], "sheddable", "sheddable"),
        (["X-Criticality: critical_plus, sheddable"], "critical", "critical"),
        (["X-Criticality: " + "critical_plus" * 20], "critical", "critical"),
        (["Priority: u=0"], "critical", "critical"),
        (["Priority: u=7"], "sheddable", "sheddable"),
        (["X-Criticality: sheddable", "Priority: u=0"], "sheddable", "sheddable"),
    ],
)  # fmt: skip
async def test_a_stranger_can_only_lower_its_class(ring, lines, stranger, friend):
    """And the upstream hears what was decided, never what was claimed."""
    front = await ring.front((await ring.mirror()).url)
    answer = await front.get(*lines)
    assert front.last.criticality == stranger
    assert answer.seen.all("x-criticality") == [stranger]
    answer = await front.get(*lines, source=FRIEND)
    assert front.last.criticality == friend
    assert answer.seen.all("x-criticality") == [friend]


@pytest.mark.attack("A1")
async def test_a_rule_for_a_header_does_not_make_strangers_more_than_the_rule_says(ring):
    """A rule may ask for a header that anybody can send: that is the operator's choice, and the
    class of the rule is fixed for all."""
    rule = Rule(match=Match(path=("/pay/**",)), criticality=Criticality.SHEDDABLE)
    front = await ring.front((await ring.mirror()).url, classification={"rules": (rule,)})
    for source in ("127.0.0.1", FRIEND):
        await front.get("X-Criticality: critical_plus", path="/pay/1", source=source)
        assert front.last.criticality == "sheddable"


@pytest.mark.attack("A1")
async def test_nobody_speaks_in_the_proxys_own_name(ring):
    front = await ring.front((await ring.mirror()).url)
    said = ["Shedproxy-Id: x", "Shedproxy-Reason: y", "Shedproxy-Pressure: 0.99", "Proxy-X: 1"]
    for source in ("127.0.0.1", FRIEND):
        seen = (await front.get(*said, "Proxy: http://evil", source=source)).seen
        assert not {name for name in seen.names() if name.startswith(("shedproxy-", "proxy"))}


# --- A2: trailers ---------------------------------------------------------------------------


@pytest.mark.attack("A2")
@pytest.mark.parametrize("source", ["127.0.0.1", FRIEND])
async def test_trailers_are_no_headers(ring, source):
    """They come after the decision, and none is there for the upstream to read as a field."""
    mirror = await ring.mirror()
    front = await ring.front(mirror.url)
    trailers = (
        b"X-Criticality: critical_plus\r\nX-Tenant: acme\r\nAuthorization: Bearer x\r\n"
        b"X-Forwarded-For: 1.2.3.4\r\nX-Request-Timeout-Ms: 1\r\nHost: evil\r\n"
        b"Content-Length: 4\r\n"
    )
    plain = b"POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n%b\r\n2\r\nok\r\n0\r\n"
    bare = await front.ask(plain % b"" + b"\r\n", source)
    expected = front.last
    for head in (b"", b"Trailer: X-Criticality, X-Tenant\r\n", b"TE: trailers\r\n"):
        client = await front.connect(source)
        answer = await client.ask(plain % head + trailers + b"\r\n")
        if answer.status == 400:  # a trailer that no message may have
            continue
        assert front.last == expected
        names = answer.seen.names() - {"trailer", "te", "connection"}
        assert names == bare.seen.names()
    assert b"critical_plus" not in b"".join([*mirror.heads, *mirror.bodies])
    assert b"Bearer" not in b"".join([*mirror.heads, *mirror.bodies])


# --- A4: one tenant -------------------------------------------------------------------------

ACME = [
    "X-Tenant: acme",
    "x-tenant: ACME",
    "X-TENANT:acme",
    "X-Tenant: \t  Acme \t",
    "X-Tenant: \uff41\uff43\uff4d\uff45",  # full-width letters
]
STRASSE = ["X-Tenant: stra\u00dfe", "X-Tenant: STRASSE", "X-Tenant: stra\u017f\u017fe"]


@pytest.mark.attack("A4")
@pytest.mark.parametrize("spellings", [ACME, STRASSE], ids=["ascii", "unicode"])
async def test_a_tenant_is_one_however_it_is_spelled(ring, spellings):
    front = await ring.front((await ring.mirror()).url)
    for spelling in spellings:
        assert (await front.get(spelling, source=FRIEND)).status == 200
    assert len({decided.flow_hash for decided in front.decided}) == 1


@pytest.mark.attack("A4")
async def test_of_a_tenant_sent_twice_the_first_counts(ring):
    front = await ring.front((await ring.mirror()).url)
    await front.get("X-Tenant: acme", source=FRIEND)
    for second in ("X-Tenant: other", "x-tenant: acme", "X-Tenant:"):
        await front.get("X-Tenant: acme", second, source=FRIEND)
    assert len({decided.flow_hash for decided in front.decided}) == 1


@pytest.mark.attack("A4")
async def test_high_bytes_are_one_tenant_each_and_control_bytes_none(ring):
    front = await ring.front((await ring.mirror()).url)
    for _ in range(2):
        assert (await front.get(b"X-Tenant: \xff\xfe\x80", source=FRIEND)).status == 200
    assert len({decided.flow_hash for decided in front.decided}) == 1
    count = len(front.decided)
    for bad in (b"\0", b"\x01", b"\x7f", b"a\rb"):
        assert (await front.get(b"X-Tenant: ac" + bad + b"me", source=FRIEND)).status == 400
    assert len(front.decided) == count


@pytest.mark.attack("A4")
async def test_a_stranger_is_its_address_whatever_it_calls_itself(ring):
    front = await ring.front((await ring.mirror()).url)
    await front.get("X-Tenant: acme", source=FRIEND)
    acme = front.last.flow_hash
    found = set()
    for name in ("acme", "other", "", "127.0.0.9"):
        await front.get(f"X-Tenant: {name}")
        found.add(front.last.flow_hash)
    await front.get()
    found.add(front.last.flow_hash)
    assert len(found) == 1
    assert not found & {acme, 0}


# --- A5: Connection -------------------------------------------------------------------------

KEPT = {
    "X-Tenant": "acme",
    "Authorization": "Bearer x",
    "Cookie": "a=b",
    "Traceparent": "00-" + "1" * 32 + "-" + "2" * 16 + "-01",
    "X-Request-Timeout-Ms": "4000",
    "X-Retry-Attempt": "2",
    "Priority": "u=3",
}


@pytest.mark.attack("A5")
@pytest.mark.parametrize("source", ["127.0.0.1", FRIEND])
async def test_connection_strips_nothing_that_policy_needs(ring, source):
    front = await ring.front((await ring.mirror()).url)
    lines = [f"{name}: {value}" for name, value in KEPT.items()]
    await front.get(*lines, source=source)
    expected = front.last
    names = ", ".join([*KEPT, "X-Criticality", "X-Forwarded-For", "Host", "Via", "X-Mine"])
    answer = await front.get(f"Connection: {names}", "X-Mine: 1", *lines, source=source)
    decided = front.last
    decided.time_left_ns = expected.time_left_ns
    assert decided == expected
    assert {name.lower() for name in KEPT} <= answer.seen.names()
    assert answer.seen.all("x-criticality") == [expected.criticality]
    assert {"x-forwarded-for", "host", "via"} <= answer.seen.names()
    assert not {"x-mine", "connection"} & answer.seen.names()


# --- A8: underscores ------------------------------------------------------------------------


@pytest.mark.attack("A8")
@pytest.mark.parametrize("source", ["127.0.0.1", FRIEND])
async def test_underscore_twins_are_dropped(ring, source):
    """Many services read X_Tenant and X-Tenant as the same variable."""
    front = await ring.front((await ring.mirror()).url)
    twins = ["X_Criticality: critical_plus", "X_Tenant: acme", "X_Forwarded_For: 1.2.3.4"]
    twins += ["X-Forwarded_For: 1.2.3.4", "Content_Length: 9", "Transfer_Encoding: chunked"]
    answer = await front.get(*twins, source=source)
    assert answer.status == 200
    assert front.last.criticality == "critical"
    assert not [name for name in answer.seen.names() if "_" in name]


# --- A26: deadlines -------------------------------------------------------------------------


@pytest.mark.attack("A26")
@pytest.mark.parametrize(
    "value",
    ["NaN", "inf", "-1", "1e9", "0x10", "1.5", "", " ", "1 2", "1,2", "+5", "\u0661\u0662",
     "9" * 5000, "1S1", "S", "5Y", "1_000"],
)  # fmt: skip
async def test_a_deadline_of_nonsense_says_nothing(ring, value):
    cell = {"default_timeout_ns": seconds(3)}
    front = await ring.front((await ring.mirror()).url, cell=cell)
    for source in ("127.0.0.1", FRIEND):
        answer = await front.get(f"X-Request-Timeout-Ms: {value}", source=source)
        assert answer.status == 200
        left_ns = front.last.time_left_ns
        # Digits without end are a number, and clamped to an hour.
        most = seconds(3600) if source == FRIEND and re.fullmatch("[0-9]+", value) else seconds(3)
        assert left_ns == (most if left_ns is not None else None)


@pytest.mark.attack("A26")
async def test_a_stranger_can_only_shorten_its_time(ring):
    front = await ring.front((await ring.mirror()).url, cell={"default_timeout_ns": seconds(3)})
    for value, stranger, friend in (
        ("1000", seconds(1), seconds(1)),
        ("9000", seconds(3), seconds(9)),
        ("999999999", seconds(3), seconds(3600)),
    ):
        await front.get(f"X-Request-Timeout-Ms: {value}")
        assert front.last.time_left_ns in {stranger, None}
        await front.get(f"X-Request-Timeout-Ms: {value}", source=FRIEND)
        assert front.last.time_left_ns == friend


@pytest.mark.attack("A26")
async def test_no_time_left_is_refused_without_work_and_without_retry_after(ring):
    mirror = await ring.mirror()
    front = await ring.front(mirror.url)
    answer = await front.get("X-Request-Timeout-Ms: 0")
    assert (answer.status, answer.fields["shedproxy-reason"]) == (503, "deadline")
    assert "retry-after" not in answer.fields
    assert not mirror.heads


@pytest.mark.attack("A26")
async def test_short_deadlines_of_a_stranger_do_not_pull_the_limit_down(ring):
    """They end as timeouts of its own choice, which say nothing about the service."""
    front = await ring.front((await ring.mirror()).url, limit=8)
    before = front.cell.limit
    for _ in range(20):
        # Far longer than a busy machine stands still: what is there by then is read and handed on.
        answer = await front.get("X-Request-Timeout-Ms: 5", path="/wait/2")
        assert answer.status in {503, 504}
    assert front.cell.limit == before
    # Where all took a second, a window was judged; there was nothing in it.
    change = front.cell.last_change
    assert change is None or change.cause is LimitCause.STEADY


# --- A27: addresses -------------------------------------------------------------------------

BY_CLIENT = {"tenant_header": "@client"}


@pytest.mark.attack("A27")
async def test_a_stranger_cannot_forward_for_others(ring):
    """Its own address is its tenant, and what it wrote does not reach the upstream."""
    front = await ring.front((await ring.mirror()).url, classification=BY_CLIENT)
    flows = set()
    for number in range(8):
        answer = await front.get(
            f"X-Forwarded-For: 10.0.0.{number}",
            f"Forwarded: for=10.0.0.{number}",
            f"X-Real-IP: 10.0.0.{number}",
        )
        flows.add(front.last.flow_hash)
        assert answer.seen.all("x-forwarded-for") == ["127.0.0.1"]
        assert not any(f"10.0.0.{number}" in value for _, value in answer.seen.fields)
    assert len(flows) == 1


@pytest.mark.attack("A27")
async def test_behind_a_trusted_proxy_the_right_most_stranger_counts(ring):
    """What stands left of it was written by that stranger."""
    front = await ring.front((await ring.mirror()).url, classification=BY_CLIENT)

    async def flow(*lines: str) -> int:
        await front.get(*lines, source=FRIEND)
        return front.last.flow_hash

    real = await flow("X-Forwarded-For: 203.0.113.7")
    for spoofed in (
        ["X-Forwarded-For: 198.51.100.1, 203.0.113.7"],
        ["X-Forwarded-For: 198.51.100.1", "X-Forwarded-For: 203.0.113.7"],
        ["X-Forwarded-For: 127.0.0.9, 203.0.113.7"],
        ["X-Forwarded-For: nonsense, 203.0.113.7"],
        ["X-Forwarded-For: 203.0.113.7, 127.0.0.9"],
        ["X-Forwarded-For: ::ffff:203.0.113.7"],
        ["X-Forwarded-For: " + "1.1.1.1, " * 300 + "203.0.113.7"],
    ):
        assert await flow(*spoofed) == real, spoofed
    assert await flow("X-Forwarded-For: 203.0.113.8") != real


@pytest.mark.attack("A27")
async def test_a_host_of_ipv6_is_one_tenant_by_its_network(ring):
    front = await ring.front((await ring.mirror()).url, classification=BY_CLIENT)
    for number in range(1, 20):
        await front.get(f"X-Forwarded-For: 2001:db8:1:2::{number:x}", source=FRIEND)
    assert len({decided.flow_hash for decided in front.decided}) == 1
