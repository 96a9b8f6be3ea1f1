"""Every refusal and every fault has an answer, and the answer is the right one."""

import json
from collections import Counter
from itertools import product

import pytest

from shedproxy.core import (
    Criticality,
    Instant,
    Rejected,
    RejectReason,
    RequestInfo,
    milliseconds,
    seconds,
)
from shedproxy.dataplane.rejection import ID_LENGTH, Rejections
from shedproxy.dataplane.rejection_table import FAULTS, FRONTS, REASONS
from shedproxy.dataplane.wire.grammar import check_response_head
from shedproxy.observability.fault import Fault
from shedproxy.observability.ring import RefusalRing
from shedproxy.snapshot import RejectDocument

ID = b"01JD9X2M7QABC"
PROBLEMS = "https://iana.org/assignments/http-problem-types#"


def refusal(reason=RejectReason.QUEUE_FULL, *, criticality=Criticality.SHEDDABLE, hint_ns=0):
    info = RequestInfo(criticality=criticality)
    return Rejected(info, reason, Instant(0), (), retry_after_ns=hint_ns)


def parse(raw):
    head, _, body = raw.partition(b"\r\n\r\n")
    check_response_head(head + b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    fields = [tuple(line.split(": ", 1)) for line in lines]
    assert len({name for name, _ in fields}) == len(fields)
    return int(first.split(" ")[1]), dict(fields), body


def wire(document=None, rejected=None, *, text=ID, head=False, keep_alive=True):
    rejections = Rejections(document or RejectDocument())
    return parse(rejections.wire(rejected or refusal(), text, head=head, keep_alive=keep_alive))


# --- Tables -------------------------------------------------------------------------------------


def test_every_reason_and_every_fault_has_an_entry():
    assert set(REASONS) == set(RejectReason)
    assert set(FAULTS) == set(Fault)


@pytest.mark.parametrize(
    ("reason", "status", "retry_after"),
    [
        (RejectReason.ROUTE_LIMIT, 503, True),
        (RejectReason.CLASS_LIMIT, 503, True),
        (RejectReason.SHED_LEVEL, 503, True),
        (RejectReason.QUEUE_FULL, 503, True),
        (RejectReason.QUEUE_TIMEOUT, 503, True),
        (RejectReason.EVICTED, 503, True),
        (RejectReason.DEADLINE, 503, False),
        (RejectReason.FAIR_SHARE, 429, True),
        (RejectReason.RESIDENT_LIMIT, 503, True),
        (RejectReason.CONTROL_BUDGET, 503, True),
        (RejectReason.DRAINING, 503, True),
        (RejectReason.NO_UPSTREAM, 503, True),
        (RejectReason.CONNECTION_LIMIT, 503, True),
        (RejectReason.CELL_SHARE, 503, True),
    ],
)
def test_the_status_says_whose_shortage_it_is(reason, status, retry_after):
    answered, fields, body = wire(rejected=refusal(reason))
    problem = json.loads(body)
    assert answered == problem["status"] == status
    assert Rejections(RejectDocument()).status(reason) == status
    assert ("retry-after" in fields) is retry_after
    kind = "quota-exceeded" if status == 429 else "temporary-reduced-capacity"
    assert problem["type"] == PROBLEMS + kind


def test_every_reason_has_its_own_words():
    assert len({entry.detail for entry in REASONS.values()}) == len(RejectReason)


# --- One refusal --------------------------------------------------------------------------------


def test_a_refusal_carries_its_reason_and_its_id():
    status, fields, body = wire()
    assert status == 503
    assert fields["content-type"] == "application/problem+json"
    assert fields["cache-control"] == "no-store"
    assert fields["shedproxy-reason"] == "queue_full"
    assert fields["shedproxy-id"] == ID.decode()
    assert int(fields["retry-after"]) >= 1
    assert "connection" not in fields
    assert json.loads(body) == {
        "type": PROBLEMS + "temporary-reduced-capacity",
        "title": "Request cannot be satisfied due to temporary server capacity constraints",
        "status": 503,
        "detail": REASONS[RejectReason.QUEUE_FULL].detail,
        "reason": "queue_full",
        "criticality": "sheddable",
        "id": ID.decode(),
    }


def test_strangers_learn_nothing_about_capacity():
    rejected = Rejected(
        RequestInfo(cell="secret", route="hidden"),
        RejectReason.QUEUE_FULL,
        Instant(0),
        (4711, 1, 2),
        in_flight=4712,
        limit=4713,
        queue_length=4714,
    )
    raw = Rejections(RejectDocument()).wire(rejected, ID, head=False, keep_alive=True)
    for word in (b"471", b"secret", b"hidden"):
        assert word not in raw


@pytest.mark.parametrize("style", ["problem", "text", "empty"])
@pytest.mark.parametrize("reason", RejectReason)
def test_the_length_is_the_bodys_for_every_reason_class_and_style(style, reason):
    document = RejectDocument(body=style)
    for criticality in Criticality:
        rejected = refusal(reason, criticality=criticality)
        _, fields, body = wire(document, rejected)
        assert int(fields["content-length"]) == len(body)
        assert (ID in body) is (style != "empty")
        assert ("content-type" in fields) is (style != "empty")


@pytest.mark.parametrize("style", ["problem", "text", "empty"])
@pytest.mark.parametrize("reason", [RejectReason.QUEUE_FULL, RejectReason.DEADLINE])
def test_head_is_answered_with_the_same_fields_and_no_body(style, reason):
    document = RejectDocument(body=style)
    with_body = wire(document, refusal(reason))
    without = wire(document, refusal(reason), head=True)
    assert without[:2] == with_body[:2]
    assert without[2] == b""


@pytest.mark.parametrize("reason", [RejectReason.QUEUE_FULL, RejectReason.DEADLINE])
def test_a_connection_that_does_not_stay_says_so(reason):
    assert wire(rejected=refusal(reason), keep_alive=False)[1]["connection"] == "close"


def test_the_text_style_is_one_line_for_people():
    _, fields, body = wire(RejectDocument(body="text"))
    detail = REASONS[RejectReason.QUEUE_FULL].detail
    assert body.decode() == f"503 queue_full: {detail} id {ID.decode()}\n"
    assert fields["content-type"] == "text/plain; charset=utf-8"


def test_the_ring_gives_ids_of_the_length_that_is_rendered():
    assert len(RefusalRing.format_id(2**63 + 5)) == ID_LENGTH == len(ID)


@pytest.mark.parametrize("style", ["problem", "text", "empty"])
@pytest.mark.parametrize("reason", RejectReason)
def test_the_middleware_answers_what_the_proxy_answers(style, reason):
    document = RejectDocument(body=style, headers=(("X-Own", "1"),))
    rejected = refusal(reason)
    status, headers, body = Rejections(document).asgi(rejected, ID)
    fields = {name.decode(): value.decode() for name, value in headers}
    assert len(fields) == len(headers)
    assert (status, fields, body) == wire(document, rejected)


# --- Retry-After --------------------------------------------------------------------------------


def spread(document, hint_ns=0):
    rejections = Rejections(document)
    found = Counter()
    for serial in range(4000):
        rejected = refusal(hint_ns=hint_ns)
        rejected.record_id = 2**60 + serial
        raw = rejections.wire(rejected, ID, head=True, keep_alive=True)
        found[int(parse(raw)[1]["retry-after"])] += 1
    return found


def test_retry_after_is_spread_evenly_over_its_range():
    # Attack A19: those refused together must not come back together.
    found = spread(RejectDocument())
    assert set(found) == set(range(1, 9))
    assert min(found.values()) > 4000 / 8 / 2
    assert max(found.values()) < 4000 / 8 * 2


@pytest.mark.parametrize(
    ("least_ns", "most_ns", "hint_ns", "low", "high"),
    [
        (seconds(1), seconds(8), 0, 1, 8),
        (0, 0, 0, 1, 1),
        (milliseconds(200), milliseconds(900), 0, 1, 1),
        (milliseconds(1500), milliseconds(2500), 0, 2, 3),
        (seconds(5), seconds(5), 0, 5, 5),
        (seconds(5), seconds(2), 0, 5, 5),
        (seconds(1), seconds(8), milliseconds(2100), 3, 8),
        (seconds(1), seconds(8), seconds(6), 6, 12),
        (seconds(2), seconds(3), seconds(1), 2, 3),
    ],
)
def test_retry_after_is_whole_seconds_between_its_bounds(least_ns, most_ns, hint_ns, low, high):
    document = RejectDocument(retry_after_min_ns=least_ns, retry_after_max_ns=most_ns)
    found = spread(document, hint_ns)
    assert (min(found), max(found)) == (low, high)


def test_the_same_refusal_always_says_the_same():
    assert wire() == wire()


# --- Fronts and templates -----------------------------------------------------------------------


@pytest.mark.parametrize("front", ["envoy", "haproxy", "nginx", "alb"])
def test_no_front_is_shown_a_5xx_for_shedding(front):
    # A run of 503 gets a healthy host ejected or the request repeated.
    for reason, entry in REASONS.items():
        status, _, _ = wire(RejectDocument(front=front), refusal(reason))
        assert (status >= 500) is (entry.blame.name == "INSTANCE")


@pytest.mark.parametrize("front", FRONTS)
def test_an_instance_that_cannot_serve_says_503_to_be_replaced(front):
    for reason in (RejectReason.DRAINING, RejectReason.NO_UPSTREAM):
        status, fields, _ = wire(RejectDocument(front=front), refusal(reason))
        assert status == 503
        assert "x-envoy-ratelimited" not in fields


@pytest.mark.parametrize(("front", "says"), [("envoy", True), ("none", False), ("nginx", False)])
def test_envoy_is_told_not_to_retry_when_the_cell_is_short(front, says):
    document = RejectDocument(front=front)
    assert ("x-envoy-ratelimited" in wire(document)[1]) is says
    tenant = wire(document, refusal(RejectReason.FAIR_SHARE))
    assert "x-envoy-ratelimited" not in tenant[1]


@pytest.mark.parametrize("front", FRONTS)
def test_configured_statuses_win_over_the_preset(front):
    document = RejectDocument(front=front, status_capacity=529, status_tenant=403)
    assert wire(document)[0] == 529
    assert wire(document, refusal(RejectReason.FAIR_SHARE))[0] == 403


@pytest.mark.parametrize("status", [404, 405, 410, 414, 429, 501, 503])
def test_without_a_body_no_store_is_said_where_the_status_does_not_say_it(status):
    fields = wire(RejectDocument(body="empty", status_capacity=status))[1]
    is_stored = status not in {429, 503}  # RFC 9110 15.1
    assert ("cache-control" in fields) is is_stored
    assert wire(RejectDocument(status_capacity=status))[1]["cache-control"] == "no-store"


def test_configured_headers_are_added_and_replace_ours_but_not_the_framing():
    document = RejectDocument(
        headers=(
            ("Access-Control-Allow-Origin", "*"),
            ("Cache-Control", "max-age=1"),
            ("Retry-After", "30"),
            ("Content-Length", "0"),
            ("Connection", "close"),
        )
    )
    _, fields, body = wire(document)
    assert fields["access-control-allow-origin"] == "*"
    assert fields["cache-control"] == "max-age=1"
    assert fields["retry-after"] == "30"
    assert int(fields["content-length"]) == len(body)
    assert "connection" not in fields


@pytest.mark.parametrize(
    "document",
    [
        RejectDocument(front="apache"),
        RejectDocument(body="html"),
        RejectDocument(status_capacity=200),
        RejectDocument(status_tenant=1000),
        RejectDocument(headers=(("x-a", "1\r\nset-cookie: b"),)),
        RejectDocument(headers=(("x-a: b\r\nx-c", "1"),)),
        RejectDocument(headers=(("", "1"),)),
        RejectDocument(headers=(("x-a", "\u20ac"),)),
    ],
)
def test_a_document_that_would_break_the_answer_is_refused_whole(document):
    with pytest.raises(ValueError, match="reject"):
        Rejections(document)


# --- Faults -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "style", "head", "keep_alive"),
    list(product(Fault, ["problem", "text", "empty"], [False, True], [False, True])),
)
def test_every_fault_has_an_answer(fault, style, head, keep_alive):
    rejections = Rejections(RejectDocument(body=style))
    status, fields, body = parse(rejections.fault_wire(fault, head=head, keep_alive=keep_alive))
    assert status == fault.status
    assert fields["shedproxy-reason"] == fault.label
    assert "shedproxy-id" not in fields
    assert ("connection" in fields) != keep_alive
    assert len(body) == (0 if head else int(fields["content-length"]))
    if body and style == "problem":
        assert json.loads(body)["detail"] == FAULTS[fault]


def test_a_fault_in_text_is_one_line():
    raw = Rejections(RejectDocument(body="text")).fault_wire(
        Fault.UPSTREAM_CONNECT, head=False, keep_alive=True
    )
    assert parse(raw)[2] == b"502 upstream_connect: The service could not be reached.\n"


@pytest.mark.parametrize("keep_alive", [False, True])
def test_an_answer_of_ours_has_the_date_it_is_given(keep_alive):
    rejections = Rejections(RejectDocument())
    for raw in (
        rejections.wire(refusal(), ID, head=False, keep_alive=keep_alive, date=b"D"),
        rejections.fault_wire(Fault.BAD_REQUEST, head=False, keep_alive=keep_alive, date=b"D"),
    ):
        _, fields, body = parse(raw)
        assert fields["date"] == "D"
        assert len(body) == int(fields["content-length"])
