"""A head becomes a RequestInfo: rules, classes, trust, cohorts, flows, deadlines."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import pytest

from shedproxy.core import (
    BUCKETS,
    COHORTS,
    CellPolicy,
    Criticality,
    Kind,
    Lane,
    Measure,
    Policy,
    milliseconds,
    seconds,
)
from shedproxy.dataplane.classify import Classifier
from shedproxy.errors import DocumentInvalidError
from shedproxy.snapshot import CellRouting, Classification, Match, Rule, cell_hash

FRIEND = "10.1.2.3"
STRANGER = "203.0.113.9"
TRUSTED = ("10.0.0.0/8", "fd00::/8")
TRACE = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def classify(classification, *headers, method="GET", path=b"/", peer=STRANGER, serial=1, **more):
    return Classifier(classification).classify(
        method, path, headers, peer=peer, serial=serial, **more
    )


def test_without_rules_everything_is_the_default_route():
    got = classify(Classification())
    assert (got.info.route, got.info.cell, got.info.criticality, got.rule) == (
        "default",
        "default",
        Criticality.CRITICAL,
        -1,
    )
    assert (got.flow_hash, got.time_left_ns, got.info.lane) == (0, None, Lane.DATA)


def test_a_rule_gives_all_its_values():
    rule = Rule(
        name="reports",
        match=Match(path=("/reports/**",)),
        criticality=Criticality.SHEDDABLE,
        cell="slow",
        kind=Kind.LONGPOLL,
        measure=Measure.HEAD,
        cost=8,
        limit=2,
    )
    info = classify(Classification(rules=(rule,)), path=b"/reports/7").info
    assert (info.route, info.cell, info.criticality, info.kind) == (
        "reports",
        "slow",
        Criticality.SHEDDABLE,
        Kind.LONGPOLL,
    )
    assert (info.measure, info.cost, info.route_limit) == (Measure.HEAD, 8, 2)


def test_an_unnamed_rule_is_named_by_its_place():
    rules = (Rule(match=Match(path=("/a",))), Rule(match=Match(path=("/b",))))
    got = classify(Classification(rules=rules), path=b"/b")
    assert (got.info.route, got.rule) == ("rule-1", 1)


@pytest.mark.parametrize("path", [b"//checkout/", b"/%63heckout", b"/x/../checkout", b"/CHECKOUT"])
def test_another_spelling_of_a_path_does_not_dodge_its_rule(path):
    rule = Rule(name="checkout", match=Match(path=("/checkout",)))
    assert classify(Classification(rules=(rule,)), path=path).info.route == "checkout"


@pytest.mark.parametrize(
    "better",
    [
        Rule(criticality=Criticality.CRITICAL_PLUS),
        Rule(kind=Kind.STREAM),
        Rule(lane=Lane.CONTROL),
    ],
)
@pytest.mark.parametrize("path", [b"/search/../vip/1", b"/search/..%2Fvip/1", b"/vip/../search"])
@pytest.mark.parametrize("reads_header", [False, True])
def test_a_path_that_may_mean_two_things_passes_for_the_lesser(better, path, reads_header):
    """Routers that do not resolve `..` would serve /search with the privileges of /vip."""
    header = (("x-any", "*"),) if reads_header else ()
    rules = (
        replace(better, name="vip", match=Match(path=("/vip/**",), header=header)),
        Rule(name="search", match=Match(path=("/search/**",))),
    )
    classification = Classification(rules=rules)
    sent = ((b"x-any", b"1"),)
    assert classify(classification, *sent, path=b"/vip/1").info.route == "vip"
    info = classify(classification, *sent, path=path).info
    assert info.route != "vip"
    assert (info.criticality, info.kind, info.lane) == (Criticality.CRITICAL, Kind.AUTO, Lane.DATA)


def test_what_is_remembered_of_a_path_is_remembered_by_method():
    rules = (
        Rule(name="read", match=Match(path=("/a",), method=("GET",))),
        Rule(name="write", match=Match(path=("/a",), method=("POST",))),
        Rule(name="rest", match=Match(path=("/a",))),
    )
    classifier = Classifier(Classification(rules=rules))
    names = {"GET": "read", "HEAD": "read", "POST": "write", "PUT": "rest", "BREW": "rest"}
    for _ in range(4):
        for method, name in names.items():
            got = classifier.classify(method, b"/a", (), peer="", serial=1)
            assert got.info.route == name


def test_where_rules_take_every_path_the_method_and_the_host_decide():
    rules = (
        Rule(name="write", match=Match(path=("/**",), method=("POST",))),
        Rule(name="shop", match=Match(path=("/**",), host=("shop",))),
        Rule(name="rest", match=Match(path=("/**",))),
    )
    classifier = Classifier(Classification(rules=rules))

    def name(method, path, *headers):
        return classifier.classify(method, path, headers, peer="", serial=1).info.route

    assert name("POST", b"/a/../b") == "write"
    assert name("GET", b"/a") == name("GET", b"http://x/a") == name("GET", b"/%2e/..") == "rest"
    assert name("GET", b"/a", (b"host", b"shop:80")) == "shop"
    assert name("OPTIONS", b"*") == "default"


def test_long_methods_are_not_remembered_either():
    """Some servers let any token through as a method: memory has a bound in bytes."""
    classifier = Classifier(Classification())
    tracemalloc.start()
    try:
        for number in range(3000):
            classifier.classify(f"{number:09000}", b"/", (), peer="", serial=number)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 4_000_000


def test_the_host_does_not_move_the_path():
    rule = Rule(name="admin", match=Match(path=("/admin/**",)))
    got = classify(Classification(rules=(rule,)), (b"host", b"a/admin/x"), path=b"/public")
    assert got.rule == -1


def test_rules_may_ask_for_headers_and_host():
    rules = (
        Rule(name="free", match=Match(path=("/api/*",), header=(("x-plan", "free*"),))),
        Rule(name="paid", match=Match(host=("paid.example",))),
    )
    classification = Classification(rules=rules)
    free = classify(classification, (b"x-plan", b"freemium"), path=b"/api/1")
    paid = classify(classification, (b"host", b"paid.example:80"), path=b"/api/1")
    neither = classify(classification, (b"x-plan", b"gold"), path=b"/api/1")
    assert (free.info.route, paid.info.route, neither.info.route) == ("free", "paid", "default")


def test_health_paths_are_control_exactly():
    def lane(method, path):
        return classify(Classification(), method=method, path=path).info.lane

    assert lane("GET", b"/livez") is Lane.CONTROL
    assert lane("HEAD", b"/healthz") is Lane.CONTROL
    assert lane("POST", b"/livez") is Lane.DATA
    assert lane("GET", b"/healthz/../api") is Lane.DATA
    assert lane("GET", b"/livez/") is Lane.DATA


def test_headers_do_not_lower_a_control_route():
    info = classify(Classification(), (b"x-criticality", b"sheddable"), path=b"/livez").info
    assert info.criticality is Criticality.CRITICAL_PLUS


@pytest.mark.parametrize(
    ("peer", "said", "decided"),
    [
        (FRIEND, b"critical_plus", Criticality.CRITICAL_PLUS),
        (FRIEND, b"Critical-Plus", Criticality.CRITICAL_PLUS),
        (FRIEND, b"sheddable", Criticality.SHEDDABLE),
        (FRIEND, b"urgent!!", Criticality.CRITICAL),
        (STRANGER, b"critical_plus", Criticality.CRITICAL),
        (STRANGER, b"sheddable_plus", Criticality.SHEDDABLE_PLUS),
        (STRANGER, b"", Criticality.CRITICAL),
        ("fd00::7", b"critical_plus", Criticality.CRITICAL_PLUS),
        ("::ffff:10.0.0.1", b"critical_plus", Criticality.CRITICAL_PLUS),
        ("", b"critical_plus", Criticality.CRITICAL),
    ],
)
def test_a_class_header_counts_in_full_only_from_a_trusted_peer(peer, said, decided):
    classification = Classification(trusted_peers=TRUSTED)
    got = classify(classification, (b"x-criticality", said), peer=peer)
    assert got.info.criticality is decided


def test_a_class_that_a_rule_fixes_can_only_be_lowered():
    rule = Rule(criticality=Criticality.SHEDDABLE_PLUS)
    classification = Classification(rules=(rule,), trusted_peers=TRUSTED)
    for said, decided in (
        (b"critical_plus", Criticality.SHEDDABLE_PLUS),
        (b"sheddable", Criticality.SHEDDABLE),
    ):
        got = classify(classification, (b"x-criticality", said), peer=FRIEND)
        assert got.info.criticality is decided


def test_a_doubled_header_counts_once_the_first_time():
    got = classify(
        Classification(trusted_peers=TRUSTED),
        (b"x-criticality", b"sheddable"),
        (b"x-criticality", b"critical_plus"),
        peer=FRIEND,
    )
    assert got.info.criticality is Criticality.SHEDDABLE


def test_an_underscore_twin_is_another_header():
    got = classify(Classification(), (b"x_criticality", b"sheddable"))
    assert got.info.criticality is Criticality.CRITICAL


@pytest.mark.parametrize(
    ("said", "decided"),
    [
        (b"u=0", Criticality.CRITICAL),
        (b"u=4", Criticality.CRITICAL),
        (b"u=5, i", Criticality.SHEDDABLE_PLUS),
        (b"u=7", Criticality.SHEDDABLE),
        (b"u=9", Criticality.CRITICAL),
    ],
)
@pytest.mark.parametrize("peer", [FRIEND, STRANGER])
def test_priority_can_only_lower(said, decided, peer):
    got = classify(Classification(trusted_peers=TRUSTED), (b"priority", said), peer=peer)
    assert got.info.criticality is decided


def test_priority_does_not_raise_what_is_already_low():
    classification = Classification(default_criticality=Criticality.SHEDDABLE)
    assert classify(classification, (b"priority", b"u=5")).info.criticality == 0


@pytest.mark.parametrize(
    ("name", "value", "is_retry"),
    [
        (b"x-envoy-attempt-count", b"1", False),
        (b"x-envoy-attempt-count", b"2", True),
        (b"x-retry-attempt", b"17", True),
        (b"x-retry-attempt", b"NaN", False),
        (b"x-retry-attempt", b"9" * 5000, False),
    ],
)
def test_a_retry_is_believed_from_anybody(name, value, is_retry):
    assert classify(Classification(), (name, value)).info.is_retry is is_retry


def test_a_stranger_may_only_shorten_the_default_deadline():
    classifier = Classifier(
        Classification(trusted_peers=TRUSTED),
        Policy(cells=(CellPolicy(default_timeout_ns=seconds(2)),)),
    )

    def time_left(said, peer, **more):
        headers = [(b"x-request-timeout-ms", said)]
        return classifier.classify("GET", b"/", headers, peer=peer, serial=1, **more).time_left_ns

    assert time_left(b"500", STRANGER) == milliseconds(500)
    assert time_left(b"9000", STRANGER) == seconds(2)
    assert time_left(b"9000", FRIEND) == seconds(9)
    assert time_left(b"junk", FRIEND) == seconds(2)
    assert time_left(b"junk", FRIEND, default_timeout_ns=7) == 7


def test_a_trusted_start_of_the_request_takes_from_the_time_left(monkeypatch):
    monkeypatch.setattr("shedproxy.dataplane.classify.wall_seconds", lambda: 1_700_000_000.0)

    def time_left(*headers, peer=FRIEND):
        got = classify(Classification(trusted_peers=TRUSTED), *headers, peer=peer)
        return got.time_left_ns

    left = (b"x-request-timeout-ms", b"3000")
    start = (b"x-request-start", b"t=1699999999.000")
    assert time_left(left, start) == seconds(2)
    assert time_left(left, (start[0], b"t=1699999990")) == 0
    assert time_left(left, (start[0], b"t=1600000000")) == seconds(3)
    assert time_left(left, start, peer=STRANGER) == seconds(3)
    assert time_left(start) is None


def test_a_stranger_may_set_a_deadline_where_there_is_none():
    got = classify(Classification(), (b"grpc-timeout", b"3S"))
    assert got.time_left_ns == seconds(3)


def test_the_first_deadline_that_makes_sense_counts():
    got = classify(
        Classification(trusted_peers=TRUSTED),
        (b"grpc-timeout", b"3S"),
        (b"x-request-timeout-ms", b"1e9"),
        peer=FRIEND,
    )
    assert got.time_left_ns == seconds(3)


def test_every_cell_has_its_own_default_timeout():
    policy = Policy(
        cells=(CellPolicy(default_timeout_ns=1), CellPolicy(name="slow", default_timeout_ns=2))
    )
    rules = (
        Rule(match=Match(path=("/slow",)), cell="slow"),
        Rule(match=Match(path=("/lost",)), cell="gone"),
    )
    classifier = Classifier(Classification(rules=rules), policy)
    left = [
        classifier.classify("GET", path, (), peer="", serial=1).time_left_ns
        for path in (b"/", b"/slow", b"/lost")
    ]
    assert left == [1, 2, 1]


def test_one_task_has_one_cohort_and_the_salts_move_it():
    def cohort(task, salt="a", policy_salt=0):
        classifier = Classifier(Classification(salt=salt), Policy(salt=policy_salt))
        headers = [(b"x-shedproxy-task", task)]
        return [
            classifier.classify("GET", b"/", headers, peer="", serial=serial).cohort
            for serial in (1, 2)
        ]

    first, again = cohort(b"task-7")
    assert first == again
    assert 0 <= first < COHORTS
    assert cohort(b" task-7 ")[0] == first
    others = {cohort(b"task-7", salt="b")[0], cohort(b"task-7", policy_salt=1)[0]}
    assert others != {first}


def test_the_cohort_of_a_trace_is_that_of_its_trace_id():
    other_span = TRACE.replace(b"b7ad6b7169203331", b"00f067aa0ba902b7")
    same = {classify(Classification(), (b"traceparent", t)).cohort for t in (TRACE, other_span)}
    assert len(same) == 1


@pytest.mark.parametrize(
    "trace", [b"", b"junk", TRACE.replace(b"0af7651916cd43dd8448eb211c80319c", b"0" * 32)]
)
def test_a_trace_without_an_id_is_nobodys_task(trace):
    alone = classify(Classification(), serial=99).cohort
    assert classify(Classification(), (b"traceparent", trace), serial=99).cohort == alone


def test_lone_requests_spread_evenly_over_the_cohorts():
    classifier = Classifier(Classification())
    counts = [0] * COHORTS
    for serial in range(8 * COHORTS):
        counts[classifier.classify("GET", b"/", (), peer="", serial=serial).cohort] += 1
    assert min(counts) >= 6
    assert max(counts) <= 10


def flow(classification, *headers, peer=FRIEND):
    return classify(classification, *headers, peer=peer).flow_hash


def test_a_tenant_has_one_spelling():
    classification = Classification(tenant_header="X-Tenant", trusted_peers=TRUSTED)
    acme = flow(classification, (b"x-tenant", b"acme"))
    assert acme != flow(classification, (b"x-tenant", b"other"))
    for spelling in (b"ACME", b" acme\t", "ａcme".encode()):
        assert flow(classification, (b"x-tenant", spelling)) == acme
    assert flow(classification, (b"x-tenant", b"acme"), (b"x-tenant", b"other")) == acme
    assert flow(classification, (b"x-tenant", b"\xff\xfe")) != acme
    assert flow(classification) == 0


def test_a_stranger_cannot_choose_a_tenant():
    classification = Classification(tenant_header="x-tenant", trusted_peers=TRUSTED)
    flows = {flow(classification, (b"x-tenant", t), peer=STRANGER) for t in (b"a", b"b")}
    assert len(flows) == 1
    assert flows != {flow(classification, (b"x-tenant", b"a"), peer="203.0.113.10")}


def test_the_client_address_as_tenant():
    classification = Classification(tenant_header="@client", trusted_peers=TRUSTED)
    direct = flow(classification, peer=STRANGER)
    spoofed = flow(classification, (b"x-forwarded-for", b"1.2.3.4"), peer=STRANGER)
    behind = flow(classification, (b"x-forwarded-for", b"1.2.3.4, 203.0.113.9, 10.0.0.1"))
    assert direct == spoofed == behind
    assert flow(classification, peer="203.0.113.10") != direct


def test_an_upgrade_is_a_stream_unless_the_rule_says_otherwise():
    rule = Rule(match=Match(path=("/poll",)), kind=Kind.LONGPOLL)
    classification = Classification(rules=(rule,))
    assert classify(classification, path=b"/ws", upgrade=True).info.kind is Kind.STREAM
    assert classify(classification, path=b"/poll", upgrade=True).info.kind is Kind.LONGPOLL


def test_asking_for_an_event_stream_is_believed_from_trusted_peers():
    """Else one header would let anybody past the limit."""
    classification = Classification(trusted_peers=TRUSTED)
    accept = (b"accept", b"text/event-stream")
    assert classify(classification, accept, peer=FRIEND).info.kind is Kind.STREAM
    assert classify(classification, accept, peer=STRANGER).info.kind is Kind.AUTO


def test_infos_are_shared():
    classifier = Classifier(Classification())
    first, second = (
        classifier.classify("GET", b"/%d" % i, (), peer="", serial=i).info for i in (1, 2)
    )
    assert first is second


def test_endless_new_paths_do_not_change_the_answer():
    rule = Rule(name="item", match=Match(path=("/items/*",), method=("GET",)))
    classifier = Classifier(Classification(rules=(rule,)))
    for number in range(5000):
        path = b"/items/%d" % number if number % 2 else b"/items/" + b"x" * (number % 700)
        got = classifier.classify("GET", path, (), peer="", serial=number)
        assert got.info.route == ("default" if path == b"/items/" else "item")


def test_trust_is_answered_for_others_too():
    classifier = Classifier(Classification(trusted_peers=TRUSTED))
    assert classifier.is_trusted(FRIEND)
    assert not classifier.is_trusted(STRANGER)


def test_a_network_that_is_none_is_refused():
    with pytest.raises(DocumentInvalidError) as caught:
        Classifier(Classification(trusted_peers=("10.0.0.0/8", "nowhere", "1.2.3.4/99")))
    assert [problem.path[1] for problem in caught.value.problems] == ["nowhere", "1.2.3.4/99"]


def test_a_stranger_is_one_flow_from_all_addresses_of_his_network():
    classifier = Classifier(Classification(tenant_header="@client"))
    peers = [f"2001:db8::{number:x}" for number in range(1, 100)]
    flows = {classifier.classify("GET", b"/", (), peer=p, serial=1).flow_hash for p in peers}
    assert len(flows) == 1


def test_no_tenant_can_be_called_like_a_strangers_address():
    classification = Classification(tenant_header="x-tenant", trusted_peers=TRUSTED)
    named = classify(classification, (b"x-tenant", STRANGER.encode()), peer=FRIEND)
    assert named.flow_hash != classify(classification).flow_hash


def test_flows_are_keyed_by_a_secret_of_the_process(monkeypatch):
    """Whoever chooses names cannot look for one that shares its buckets with another."""
    tenant = Classification(tenant_header="x-tenant", trusted_peers=("10.0.0.0/8",))
    here = classify(tenant, (b"x-tenant", b"a"), peer="10.0.0.1").flow_hash
    assert here == classify(tenant, (b"x-tenant", b"a"), peer="10.0.0.1").flow_hash
    monkeypatch.setattr("shedproxy.dataplane.flows._FLOW_KEY", bytes(32))
    assert here != classify(tenant, (b"x-tenant", b"a"), peer="10.0.0.1").flow_hash


def keyed(**more):
    cells = CellRouting(
        key="host",
        secret="s",
        default="none",
        cells=("a", "b", "none"),
        buckets=((0, BUCKETS),),
        pins=((f"{cell_hash('s')(b'big'):016x}", 1),),
    )
    return Classification(cells=cells, **more)


def test_a_key_leads_to_a_cell_where_no_rule_does():
    assert classify(keyed(), (b"host", b"big")).info.cell == "b"
    assert classify(keyed(), (b"host", b"small")).info.cell == "a"
    assert classify(keyed()).info.cell == "none"


def test_a_rule_that_names_a_cell_comes_before_the_key():
    rules = (
        Rule(match=Match(path=("/slow",)), cell="slow"),
        Rule(name="dear", match=Match(path=("/dear",)), criticality=Criticality.CRITICAL_PLUS),
    )
    classification = keyed(rules=rules)
    assert classify(classification, (b"host", b"big"), path=b"/slow").info.cell == "slow"
    dear = classify(classification, (b"host", b"big"), path=b"/dear").info
    assert (dear.cell, dear.route, dear.criticality) == ("b", "dear", Criticality.CRITICAL_PLUS)


def test_health_paths_stay_in_the_default_cell_whatever_the_key():
    got = classify(keyed(), (b"host", b"big"), path=b"/healthz").info
    assert (got.cell, got.lane) == ("default", Lane.CONTROL)


def test_what_a_mark_says_goes_along_to_the_cell_of_the_key():
    mark = Rule(name="marked", cost=3)
    info = classify(keyed(), (b"host", b"big"), mark=mark).info
    assert (info.cell, info.route, info.cost) == ("b", "marked", 3)


def test_requests_of_one_cell_and_class_share_one_info_and_its_cells_timeout():
    policy = Policy(cells=(CellPolicy(), CellPolicy(name="b", default_timeout_ns=milliseconds(7))))
    classifier = Classifier(keyed(), policy)
    one, two = (
        classifier.classify("GET", b"/", [(b"host", b"big")], peer="", serial=n) for n in (1, 2)
    )
    assert one.info is two.info
    assert one.time_left_ns == milliseconds(7)
