"""What is written becomes what data planes run."""

from __future__ import annotations

import dataclasses
from collections import Counter

import pytest

from shedproxy.core import (
    CellTable,
    Criticality,
    Kind,
    Lane,
    Measure,
    Mode,
    OutlierPolicy,
    Policy,
    RetryPolicy,
    milliseconds,
    seconds,
)
from shedproxy.snapshot import (
    CellProfile,
    CellRouting,
    CheckDocument,
    Classification,
    Document,
    Match,
    Rule,
    TlsDocument,
    UpstreamDocument,
    cell_hash,
    cell_table_of,
)

TEXT = """
mode = "observe"
[server]
trusted_proxies = ["10.0.0.0/8"]
connections_max = 7
memory_max = "200MiB"
requests_per_connection_max = 8
connections_per_address_max = 6
head_size_max = "32KiB"
target_size_max = "9KiB"
field_count_max = 50
body_size_max = "1MiB"
body_rate_min = 100
contended_rate_min = "2KiB"
permit_body_size = "1KiB"
buffer_size = "64KiB"
via = "edge"
zone = "x"
preserve_host = false
state_file = "state"
[server.timeouts]
client_head = "1s"
client_body = "2s"
client_idle = "3s"
client_write = "4s"
connect = "5s"
response = "6s"
expect_continue = "500ms"
upstream_idle = "7s"
pool_idle = "8s"
tunnel_idle = "9s"
[server.tls]
handshake_rate_max = 9
cert = "own.pem"
key = "own.pem"
[server.drain]
announce = "3s"
grace = "4s"
[control]
paths = ["/up"]
budget = 3
[classes]
default = "sheddable_plus"
limits = { sheddable = 0, critical = 9 }
[headers]
criticality = "X-Class"
tenant = "X-Tenant"
cohort = ["X-Task"]
attempt = ["X-Try"]
deadline = ["X-Left"]
forward_criticality = false
forward_pressure = true
salt = "pepper"
[cells]
key = "host"
secret = "salt"
default = "slow"
weights = { default = 1, slow = 2 }
pins = { big = "slow" }
[cell.slow]
upstream = "https://slow:443"
limit = 5
class_limits = { critical = 4 }
streams.limit = 6
deadline.default = "2s"
fairness = { enabled = false, slack = 2 }
shed_level = { enabled = false, period = "200ms" }
[cell.slow.profile]
id = "a"
fitted_at = "2026-11-22T20:41:07Z"
capacity = [200.0, 190.0, 210.0]
knee = [4.1, 3.9, 4.3]
scatter = 0.5
expires_after = "2h"
weight = 3
[cell.slow.queue]
length_max = 1
wait_max = "20ms"
deadline_share = 0.5
lifo_after = "30ms"
shards = 8
hand = 2
[cell.slow.transport]
connections_max = 11
cancels = true
fail_after = 2
retry_after = "3s"
tls = { verify = false, server_name = "s" }
[cell.slow.outliers]
enabled = false
window = "11s"
requests_min = 21
failures = 0.21
slowness = 3.1
unreachable = "31s"
headroom = 0.11
share = 0.11
out = "29s"
ramp = "28s"
bake = "61s"
bake_requests = 101
reload = "62s"
correlated = 0.31
correlated_for = "63s"
[cell.slow.check]
path = "/well"
host = "a.example"
interval = "6s"
timeout = "2s"
status = [204]
falls = 4
rises = 3
[cell.slow.retries]
attempts = 3
budget = 0.25
floor = 1
methods = ["GET", "PUT"]
[cell.default]
upstream = ["http://a:1", "http://b:2/"]
limit = { algorithm = "vegas", min = 20, max = 30, baseline = "21ms" }
[cell.same]
[[rule]]
name = "r"
match = { path = "/a/**", method = "post", header = { "X-K" = "v*" }, host = "h" }
criticality = "critical_plus"
cell = "slow"
lane = "control"
kind = "longpoll"
measure = "head"
cost = 2
limit = 4
[replacement]
url = "https://a.example/replace"
secret_file = "own.pem"
timeout = "11s"
attempts = 6
within = "11m"
[reject]
front = "envoy"
status_capacity = 529
status_tenant = 430
retry_after = { min = "2s", max = "3s" }
headers = { "Access-Control-Allow-Origin" = "*" }
body = "text"
[log]
access = "all"
access_share = 1
"""


@pytest.mark.usefixtures("own_certificate")
def test_every_setting_arrives(written):
    document = written.load(TEXT).document
    default, slow, same = document.policy.cells
    assert document.policy.mode is Mode.OBSERVE
    assert (default.name, slow.name, same.name) == ("default", "slow", "same")
    assert (default.limit.initial, default.limit.minimum, default.limit.maximum) == (20, 20, 30)
    assert default.limit.algorithm == "vegas"
    assert default.limit.baseline_ns == milliseconds(21)
    assert (slow.limit.initial, slow.limit.minimum, slow.limit.maximum) == (5, 5, 5)
    assert slow.class_limits == (0, None, 4, None)
    assert default.class_limits == (0, None, 9, None)
    assert (slow.resident_limit, slow.control_budget) == (6, 3)
    assert slow.default_timeout_ns == seconds(2)
    assert (slow.fairness.enabled, slow.fairness.slack) == (False, 2)
    assert dataclasses.astuple(slow.shed_level) == (False, milliseconds(200))
    assert dataclasses.astuple(slow.queue) == (
        1, milliseconds(20), 0.5, milliseconds(30), 8, 2,
    )  # fmt: skip

    classification = document.classification
    assert classification.rules == (
        Rule(
            name="r",
            match=Match(path=("/a/**",), method=("POST",), header=(("x-k", "v*"),), host=("h",)),
            criticality=Criticality.CRITICAL_PLUS,
            cell="slow",
            lane=Lane.CONTROL,
            kind=Kind.LONGPOLL,
            measure=Measure.HEAD,
            cost=2,
            limit=4,
        ),
    )
    assert classification.default_criticality is Criticality.SHEDDABLE_PLUS
    assert classification.control_paths == ("/up",)
    assert classification.criticality_header == "x-class"
    assert classification.tenant_header == "x-tenant"
    assert classification.cohort_headers == ("x-task",)
    assert classification.attempt_headers == ("x-try",)
    assert classification.deadline_headers == ("x-left",)
    assert classification.trusted_peers == ("10.0.0.0/8",)

    reject = document.reject
    assert (reject.front, reject.status_capacity, reject.status_tenant) == ("envoy", 529, 430)
    assert (reject.retry_after_min_ns, reject.retry_after_max_ns) == (seconds(2), seconds(3))
    assert reject.headers == (("access-control-allow-origin", "*"),)
    assert reject.body == "text"


@pytest.mark.usefixtures("own_certificate")
def test_every_setting_of_the_proxy_arrives(written):
    proxy = written.load(TEXT).document.proxy
    file = str(written.file.parent / "own.pem")
    common = UpstreamDocument(cell="default", urls=("http://a:1", "http://b:2"))
    assert proxy.upstreams == (
        common,
        UpstreamDocument(
            cell="slow",
            urls=("https://slow:443",),
            connections_max=11,
            cancels="true",
            fail_after=2,
            retry_after_ns=seconds(3),
            retries=RetryPolicy(
                attempts_max=3, budget_ppm=250_000, floor_rps=1, methods=("GET", "PUT")
            ),
            outliers=proxy.upstreams[1].outliers,
            check=proxy.upstreams[1].check,
            tls=TlsDocument(verify=False, server_name="s"),
        ),
        dataclasses.replace(common, cell="same"),
    )
    assert proxy.tls == TlsDocument(cert=file, key=file)
    timeouts = dataclasses.asdict(proxy.timeouts)
    assert timeouts == {
        "client_head_ns": seconds(1),
        "client_body_ns": seconds(2),
        "client_idle_ns": seconds(3),
        "client_write_ns": seconds(4),
        "connect_ns": seconds(5),
        "response_ns": seconds(6),
        "expect_continue_ns": milliseconds(500),
        "upstream_idle_ns": seconds(7),
        "pool_idle_ns": seconds(8),
        "tunnel_idle_ns": seconds(9),
        "body_rate_min": 100,
        "contended_rate_min": 2048,
    }
    assert (proxy.connections_max, proxy.requests_per_connection_max) == (7, 8)
    assert (proxy.connections_per_address_max, proxy.handshake_rate_max) == (6, 9)
    assert (proxy.head_size_max, proxy.target_size_max, proxy.field_count_max) == (32768, 9216, 50)
    assert (proxy.body_size_max, proxy.permit_body_size, proxy.buffer_size) == (
        1048576,
        1024,
        65536,
    )
    assert (proxy.via, proxy.preserve_host) == ("edge", False)
    assert (proxy.forward_criticality, proxy.forward_pressure) == (False, True)
    assert (proxy.drain_announce_ns, proxy.drain_grace_ns) == (seconds(3), seconds(4))
    assert (proxy.access_log, proxy.access_log_share) == ("all", 1)


@pytest.mark.usefixtures("own_certificate")
def test_a_profile_is_what_the_proxy_compares_itself_with(written):
    profile = CellProfile(
        cell="slow",
        id="a",
        capacity_rps=200.0,
        knee_in_flight=4.1,
        cv=0.5,
        weight=3,
        fitted_at_s=1_795_380_067.0,
        expires_after_ns=seconds(7200),
    )
    assert written.load(TEXT).document.profiles == (profile,)
    [floor] = written.load('[cell.default.profile]\nid = "f"\nknee = [4.0]').document.profiles
    assert floor == CellProfile(id="f")
    assert profile.has_curve
    assert not floor.has_curve
    assert written.load("").document.profiles == ()


@pytest.mark.usefixtures("own_certificate")
def test_no_field_of_a_document_is_forgotten(written):
    """Every field that settings can reach differs from its default in TEXT."""
    out_of_reach = {"schema", "revision", "cells", "classification.cells.version"}
    out_of_reach |= {"proxy.replacement.command"}  # beside a URL
    out_of_reach |= {"proxy.zones_away", "proxy.zones_away_until_s"}  # by an order only

    def same(one, other, path=""):
        for field in dataclasses.fields(one):
            a, b = getattr(one, field.name), getattr(other, field.name)
            if dataclasses.is_dataclass(a) and dataclasses.is_dataclass(b):
                yield from same(a, b, f"{path}{field.name}.")
            elif a == b and path + field.name not in out_of_reach:
                yield path + field.name

    assert list(same(written.load(TEXT).document, Document())) == []


@pytest.mark.usefixtures("own_certificate")
def test_how_hosts_are_judged_checked_and_replaced_is_told(written):
    document = written.load(TEXT).document
    slow = next(each for each in document.proxy.upstreams if each.cell == "slow")
    for part, default in ((slow.outliers, OutlierPolicy()), (slow.check, CheckDocument())):
        for field in dataclasses.fields(part):
            if field.name != "keeps_zone":
                assert getattr(part, field.name) != getattr(default, field.name), field.name
    assert (slow.check.path, slow.check.status, slow.check.interval_ns) == (
        "/well", (204,), seconds(6),
    )  # fmt: skip
    assert document.proxy.replacement.is_on
    waived = written.load('[cell.default]\nupstream = "http://h:1"\nwaive = ["zone-headroom"]')
    assert not waived.document.proxy.upstreams[0].outliers.keeps_zone
    command = 'server.state_file = "s"\n[replacement]\ncommand = ["/bin/more", "one"]'
    assert written.load(command).document.proxy.replacement.command == ("/bin/more", "one")


def test_the_limit_starts_between_its_bounds(written):
    def initial(text):
        return written.load(f"[cell.default.limit]\n{text}").document.policy.cells[0].limit.initial

    assert [initial(text) for text in ("", "min = 20", "max = 4", "initial = 30")] == [8, 20, 4, 30]


def test_a_salt_keys_both_hashes_and_none_is_the_common_one(written):
    def salts(text):
        document = written.load(f"[headers]\n{text}").document
        return document.classification.salt, document.policy.salt

    assert salts("") == salts('salt = ""') == (Classification().salt, Policy().salt)
    assert salts('salt = "a"') == salts('salt = "a"')
    assert salts('salt = "a"')[0] == "a"
    assert len({salts(text)[1] for text in ("", 'salt = "a"', 'salt = "b"')}) == 3
    assert 0 <= salts('salt = "a"')[1] < 2**64


def test_keys_are_spread_over_cells_and_pins_travel_as_hashes(written):
    text = """
[cells]
key = "header:x-tenant"
secret = "s"
weights = { a = 1, b = 3 }
pins = { " BIG " = "c" }
[server]
trusted_proxies = ["10.0.0.0/8"]
[cell.a]
[cell.b]
[cell.c]
"""
    routing = written.load(text).document.classification.cells
    assert (routing.key, routing.secret, routing.default) == ("header:x-tenant", "s", "default")
    assert routing.cells == ("a", "b", "c", "default")
    table = CellTable(cell_table_of(routing))
    assert Counter(table.buckets()) == {0: 4096, 1: 12_288}
    assert table.find(cell_hash("s")(b"big")) == 2


def test_without_weights_keys_are_spread_over_all_cells_but_the_default(written):
    routing = written.load(
        '[cells]\nkey = "host"\n[cell.a]\n[cell.b]'
    ).document.classification.cells
    assert Counter(CellTable(cell_table_of(routing)).buckets()) == {0: 8192, 1: 8192}


def test_without_a_key_nothing_is_spread(written):
    assert written.load("[cell.a]").document.classification.cells == CellRouting()
