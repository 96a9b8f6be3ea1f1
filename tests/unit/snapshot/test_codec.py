"""A document survives the journey unchanged, or is refused with everything that is wrong."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import typing

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shedproxy.core import (
    CellPolicy,
    Criticality,
    Lane,
    LimitPolicy,
    Mode,
    Nanos,
    Policy,
    RequestInfo,
)
from shedproxy.errors import DocumentInvalidError
from shedproxy.snapshot import (
    DOCUMENT_SIZE_MAX,
    Classification,
    Document,
    Match,
    ProxyDocument,
    Rule,
    Signed,
    TlsDocument,
    UpstreamDocument,
    decode_document,
    document_digest,
    encode_document,
    from_plain,
    to_plain,
)

INTEGERS = st.integers(min_value=0, max_value=2**62)
st.register_type_strategy(int, INTEGERS)
st.register_type_strategy(Nanos, INTEGERS)
st.register_type_strategy(
    float, st.floats(min_value=0, allow_nan=False, allow_infinity=False, allow_subnormal=False)
)


def all_fields(cls):
    """Every field is drawn: from_type alone would leave those with defaults at their defaults."""
    hints = typing.get_type_hints(cls)
    return st.builds(
        cls, **{field.name: of_type(hints[field.name]) for field in dataclasses.fields(cls)}
    )


def of_type(hint):
    if dataclasses.is_dataclass(hint):
        return all_fields(hint)
    args = typing.get_args(hint)
    if typing.get_origin(hint) is tuple:
        if args[-1] is ...:
            return st.lists(of_type(args[0]), max_size=2).map(tuple)
        return st.tuples(*(of_type(arg) for arg in args))
    if args and type(None) in args:
        return st.none() | of_type(next(arg for arg in args if arg is not type(None)))
    return st.from_type(hint)


def made_possible(document: Document) -> Document:
    """The same document where cells have names of their own and rules cost something."""
    cells = document.policy.cells or (CellPolicy(),)
    cells = tuple(dataclasses.replace(cell, name=f"{cell.name}{i}") for i, cell in enumerate(cells))
    rules = document.classification.rules
    rules = tuple(dataclasses.replace(rule, cost=max(1, rule.cost)) for rule in rules)
    return dataclasses.replace(
        document,
        schema=1,
        policy=dataclasses.replace(document.policy, cells=cells),
        classification=dataclasses.replace(document.classification, rules=rules),
    )


DOCUMENTS = all_fields(Document).map(made_possible)


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(DOCUMENTS)
def test_any_document_comes_back_equal(document):
    data = encode_document(document)
    assert decode_document(data) == document
    assert b"\n" not in data
    assert data.isascii()


def test_the_default_document_comes_back_equal():
    assert decode_document(encode_document(Document())) == Document()


def test_enums_travel_by_label():
    document = Document(policy=Policy(mode=Mode.OBSERVE))
    assert json.loads(encode_document(document))["document"]["policy"]["mode"] == "observe"


def test_the_digest_tells_documents_apart_and_nothing_else():
    one = Document(policy=Policy(mode=Mode.OBSERVE))
    assert document_digest(one) == document_digest(decode_document(encode_document(one)))
    assert document_digest(one) != document_digest(Document())
    assert json.loads(encode_document(one))["digest"] == document_digest(one)


def altered(change, *, resign=True):
    """The bytes of a rich document after `change` was applied to its body."""
    document = Document(
        policy=Policy(cells=(CellPolicy(limit=LimitPolicy(initial=4)),)),
        classification=Classification(
            rules=(Rule(name="a", match=Match(path=("/a",), header=(("k", "v"),))),),
            default_criticality=Criticality.SHEDDABLE,
        ),
        proxy=ProxyDocument(upstreams=(UpstreamDocument(tls=TlsDocument()),)),
    )
    envelope = json.loads(encode_document(document))
    change(envelope["document"])
    if resign:
        from shedproxy.snapshot import codec

        envelope["digest"] = codec._digest(envelope["document"])
    return json.dumps(envelope).encode()


def test_unknown_fields_are_ignored():
    def change(body):
        body["colour"] = "blue"
        body["policy"]["cells"][0]["limit"]["jerk"] = {"x": [1]}

    assert decode_document(altered(change)).policy.cells[0].limit.initial == 4


def test_missing_fields_have_their_defaults():
    def change(body):
        del body["proxy"]
        del body["policy"]["cells"][0]["queue"]

    document = decode_document(altered(change))
    assert document.proxy == ProxyDocument()
    assert document.policy.cells[0].queue == CellPolicy().queue


def problems_of(data):
    with pytest.raises(DocumentInvalidError) as caught:
        decode_document(data)
    return caught.value.problems


def test_every_problem_is_reported_with_its_path():
    def change(body):
        body["policy"]["mode"] = "on"
        body["policy"]["cells"][0]["limit"]["initial"] = "4"
        body["policy"]["cells"][0]["limit"]["minimum"] = -1
        body["policy"]["cells"][0]["limit"]["maximum"] = True
        body["policy"]["cells"][0]["queue"]["deadline_share"] = "x"
        body["policy"]["cells"][0]["fairness"]["enabled"] = 1
        body["classification"]["rules"][0]["match"]["path"] = "/a"
        body["classification"]["rules"][0]["match"]["header"] = [["k"]]
        body["classification"]["rules"][0]["lane"] = Lane.DATA.value
        body["proxy"]["via"] = None
        body["proxy"]["timeouts"] = []
        body["reject"]["headers"] = [1]

    assert {
        ".".join(problem.path): problem.message for problem in problems_of(altered(change))
    } == {
        "policy.mode": 'policy.mode: expected one of off, observe, enforce, found "on"',
        "policy.cells.0.limit.initial": (
            'policy.cells.0.limit.initial: expected an integer from 0, found "4"'
        ),
        "policy.cells.0.limit.minimum": (
            "policy.cells.0.limit.minimum: expected an integer from 0, found -1"
        ),
        "policy.cells.0.limit.maximum": (
            "policy.cells.0.limit.maximum: expected an integer from 0, found true"
        ),
        "policy.cells.0.queue.deadline_share": (
            'policy.cells.0.queue.deadline_share: expected a number from 0, found "x"'
        ),
        "policy.cells.0.fairness.enabled": (
            "policy.cells.0.fairness.enabled: expected true or false, found 1"
        ),
        "classification.rules.0.match.path": (
            'classification.rules.0.match.path: expected a list, found "/a"'
        ),
        "classification.rules.0.match.header.0": (
            'classification.rules.0.match.header.0: expected a list of 2, found ["k"]'
        ),
        "classification.rules.0.lane": (
            "classification.rules.0.lane: expected one of data, control, found 0"
        ),
        "proxy.via": "proxy.via: expected a string, found null",
        "proxy.timeouts": "proxy.timeouts: expected an object, found []",
        "reject.headers.0": "reject.headers.0: expected a list of 2, found 1",
    }


def test_an_altered_copy_is_refused():
    def change(body):
        body["revision"] = 7

    (problem,) = problems_of(altered(change, resign=False))
    assert "digest" in problem.message


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_single_changed_byte_gets_through(data):
    good = encode_document(Document())
    at = data.draw(st.integers(0, len(good) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda value: value != good[at]))
    bad = good[:at] + bytes((byte,)) + good[at + 1 :]
    with contextlib.suppress(DocumentInvalidError):
        assert decode_document(bad) == Document()  # e.g. an escape spelled in the other case


def test_a_newer_schema_is_refused_whole():
    def change(body):
        body["schema"] = 2

    (problem,) = problems_of(altered(change))
    assert "newer" in problem.message
    assert problem.help


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"{}",
        b'{"format": "shedproxy-document"}',
        b'{"format": "shedproxy-document", "document": []}',
        b'{"format": "shedproxy-document", "format": "x"}',
        b'{"format": NaN}',
        b"[" * 100_000,
        b"\xff\xfe",
        encode_document(Document())[:-10],
    ],
)
def test_what_is_no_document_is_refused(data):
    assert len(problems_of(data)) == 1


def test_long_documents_are_refused_both_ways():
    (problem,) = problems_of(b" " * (DOCUMENT_SIZE_MAX + 1))
    assert "too long" in problem.message
    with pytest.raises(DocumentInvalidError, match="too long"):
        encode_document(Document(proxy=ProxyDocument(via="x" * DOCUMENT_SIZE_MAX)))


def test_long_values_are_cut_in_messages():
    def change(body):
        body["policy"]["mode"] = "x" * 1000

    (problem,) = problems_of(altered(change))
    assert len(problem.message) < 120


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        (Document(policy=Policy(cells=())), "policy.cells: expected 1 to 64 cells"),
        (
            Document(policy=Policy(cells=tuple(CellPolicy(name=f"c{n}") for n in range(65)))),
            "policy.cells: 65 are too many: 64 at most",
        ),
        (
            Document(policy=Policy(cells=(CellPolicy(), CellPolicy()))),
            'policy.cells.1: a second cell is called "default"',
        ),
        (
            Document(classification=Classification(rules=(Rule(), Rule(cost=0)))),
            "classification.rules.1.cost: expected 1 or more",
        ),
    ],
)
def test_a_document_that_nothing_can_be_run_by_is_refused(document, problem):
    """Valid field by field; a data plane would stumble over it."""
    with pytest.raises(DocumentInvalidError) as caught:
        decode_document(encode_document(document))
    assert [found.message for found in caught.value.problems] == [problem]


def test_an_integer_beyond_every_float_is_refused_where_a_number_is_expected():
    """Not with an OverflowError: that would end the worker."""
    huge = 10**400
    document = dataclasses.replace(Document(), proxy=ProxyDocument(access_log_share=huge))
    with pytest.raises(DocumentInvalidError, match="access_log_share"):
        decode_document(encode_document(document))


def test_a_part_of_a_document_travels_alone():
    policy = Policy(mode=Mode.OBSERVE, cells=(CellPolicy(name="slow"),), salt=7)
    plain = json.loads(json.dumps(to_plain(policy)))
    assert from_plain(Policy, plain) == policy
    request = RequestInfo(criticality=Criticality.SHEDDABLE, lane=Lane.CONTROL, route_limit=0)
    plain = json.loads(json.dumps(to_plain(request)))
    assert not {"is_aside", "is_plain", "rank_min"} & set(plain), "these follow from the others"
    assert from_plain(RequestInfo, plain) == request


def test_a_part_that_does_not_fit_is_refused_with_every_problem():
    with pytest.raises(DocumentInvalidError) as caught:
        from_plain(Policy, {"mode": "loud", "salt": -1})
    assert [problem.path for problem in caught.value.problems] == [("mode",), ("salt",)]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """Something with a number that may be less than nothing."""

    value: Signed


@pytest.mark.parametrize("value", [-1.5, 0, 2.5])
def test_a_signed_number_may_be_less_than_nothing(value):
    assert from_plain(Balance, to_plain(Balance(value=Signed(value)))) == Balance(value=value)


@pytest.mark.parametrize("value", [True, "1", float("inf"), float("-inf"), float("nan")])
def test_a_signed_number_is_a_number(value):
    with pytest.raises(DocumentInvalidError, match="value: expected a number"):
        from_plain(Balance, {"value": value})
