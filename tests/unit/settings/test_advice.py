"""What is valid and hardly meant is warned about, and nothing else is."""

from __future__ import annotations

import pytest

CASES = [
    # text, line, under the caret, message
    ('[[rule]]\nmatch.path = "/r/**"\n[[rule]]\nmatch.path = "/r/a"', 3, "[[rule]]",
     'rule 2 ("/r/a") can never match'),
    ('[[rule]]\nname = "a"\nmatch.path = "/a"\n[[rule]]\nname = "a"\nmatch.path = "/b"', 5, '"a"',
     'two rules are named "a"'),
    ('[[rule]]\nmatch.path = ["/x", "/healthz"]', 2, '"/healthz"',
     'rule 1 ("/x") does not see GET /healthz'),
    ('[[rule]]\nlane = "control"\nmatch.path = "/admin/**"', 2, '"control"',
     'rule 1 ("/admin/**") takes many requests past admission'),
    ('[server]\ntrusted_strip_headers = true\ntrusted_proxies = ["unix", "::/0"]', 3, '"::/0"',
     '"::/0" trusts everybody'),
    ('[server]\ntrusted_proxies = ["10.0.0.0/8"]', 2, '["10.0.0.0/8"]',
     "a trusted proxy that passes x-criticality on lets its clients choose their class"),
    ('[headers]\ntenant = "X-Tenant"', 2, '"X-Tenant"',
     "headers.tenant has no effect: nobody is trusted to send x-tenant"),
    ('[headers]\ncriticality = "x_class"', 2, '"x_class"',
     "the header x_class may not get through: it has an underscore"),
    ('[headers]\ncohort = ["traceparent", "x_task"]', 2, '"x_task"',
     "the header x_task may not get through: it has an underscore"),
    ('[[rule]]\nmatch = { header = { x_a = "*" } }', 2, "x_a",
     "the header x_a may not get through: it has an underscore"),
    ('[cell.default]\nqueue.wait_max = "3s"\ndeadline.default = "2s"', 2, '"3s"',
     'cell "default" lets requests wait longer than they have'),
    ('[cell.default]\ndeadline.default = "200ms"', 2, '"200ms"',
     'cell "default" lets requests wait longer than they have'),
    ('[control]\nlisten = ":9900"', 2, '":9900"',
     "the control listener is open to other hosts, and there is no token"),
    ("[classes.limits]\nsheddable = 0\nsheddable_plus = 0\ncritical = 0\ncritical_plus = 0", 1,
     "[classes.limits]", "classes.limits refuse every request"),
    ("[classes.limits]\ncritical = 0", 2, "0",
     "every request without a class of its own is refused: critical is the default"),
    ("[cell.default.class_limits]\ncritical = 0", 2, "0",
     "every request without a class of its own is refused: critical is the default"),
    ("[[rule]]\nlimit = 0", 2, "0", "rule 1 refuses every request that reaches it"),
    ('[cell.default.limit]\nalgorithm = "fixed"\ninitial = 4\nmax = 9', 4, "max",
     'limit.max of cell "default" has no effect: a fixed limit does not move'),
    ("[cell.spare]\nlimit = 2", 1, "spare", 'no rule sends requests to cell "spare"'),
    ('[telemetry]\nendpoint = "http://a:1"', 2, "endpoint",
     "telemetry.endpoint has no effect while telemetry.otlp is false"),
    ("[cell.default.transport.tls]\nverify = false", 2, "false",
     'cell "default" accepts any certificate from its upstreams'),
    (('[cell.default]\nupstream = ["http://a:1 version=7", "http://b:1 version=8"]\n'
     '[cell.default.profile]\nid = "x"\nbuild = "7"'), 2, '"http://b:1 version=8"',
     'the profile of cell "default" was made for build 7; http://b:1 has 8'),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "caret", "message"), CASES, ids=[c[3] for c in CASES])
def test_one_warning(written, under, text, line, caret, message):
    (problem,) = written.warnings(text)
    assert problem.message == message
    assert (problem.line, under(problem)) == (line, caret)


def test_a_hint_asks_whether_closing_stops_the_work(written, under):
    (problem,) = written.load("[cell.default.transport]\ncancels = true").warnings
    assert problem.severity == "hint"
    assert under(problem) == "true"


@pytest.mark.parametrize(
    "text",
    [
        'mode = "observe"',
        '[control]\nlisten = "localhost:9900"',
        '[control]\nlisten = "[::1]:9900"',
        '[control]\nlisten = "unix:/run/c.sock"',
        '[control]\nlisten = ":9900"\ntoken_file = "shedproxy.toml"',
        '[server]\ntrusted_proxies = ["10.0.0.0/8", "unix"]\ntrusted_strip_headers = true',
        '[headers]\ntenant = "@client"',
        '[[rule]]\nmatch = { path = "/healthz", method = "POST" }',
        '[[rule]]\nlane = "control"\nmatch.path = "/admin/reload"',
        '[[rule]]\nmatch.path = "/a"\nlimit = 0',
        "[classes.limits]\nsheddable = 0",
        "[cell.default.transport]\ncancels = false",
    ],
)
def test_what_is_meant_is_not_warned_about(written, text):
    assert written.warnings(text) == []


def test_keys_that_anybody_can_aim_with_are_warned_of(written):
    messages = [p.message for p in written.warnings('[cells]\nkey = "host"\n[cell.a]\n[cell.b]')]
    assert messages == ["anybody can aim at a cell: the hash of keys has no secret"]


def test_a_header_that_nobody_is_trusted_to_send_is_no_key(written):
    text = '[cells]\nkey = "header:x-tenant"\nsecret = "s"\n[cell.a]'
    (warning,) = written.warnings(text)
    assert "nobody is trusted to send x-tenant" in warning.message


def test_what_has_no_effect_without_a_key_is_warned_of(written):
    text = "[cells]\nweights = { a = 1 }\n[cells.pins]\nx = 'a'\n[cell.a]\n[[rule]]\ncell = 'a'"
    assert [p.message for p in written.warnings(text)] == [
        "cells.weights has no effect while cells.key is not set",
        "cells.pins has no effect while cells.key is not set",
    ]


def test_a_cell_that_no_key_leads_to_is_warned_of(written):
    text = '[cells]\nkey = "host"\nsecret = "s"\nweights = { a = 1, b = 0 }\n[cell.a]\n[cell.b]'
    assert [p.message for p in written.warnings(text)] == ['no rule sends requests to cell "b"']


def test_zones_whose_loss_nobody_has_thought_of_are_warned_of(written):
    text = '[cell.default]\nupstream = ["http://a:1 zone=x", "http://b:1 zone=y"]'
    (warning,) = written.warnings(text)
    assert warning.message == 'nobody knows whether cell "default" can lose a zone'
    assert not written.warnings(f'{text}\nwaive = ["zone-headroom"]')


def test_hands_without_tenants_are_warned_of(written):
    (warning,) = written.warnings("[cells]\nsecret = 's'\n[cell.default]\nhands.size = 2")
    assert warning.message == (
        'all requests of cell "default" are in one hand: there are no tenants'
    )


def test_an_own_zone_without_upstreams_is_warned_of(written):
    text = '[server]\nzone = "q"\n[cell.default]\nupstream = "http://a:1 zone=x"'
    assert [p.message for p in written.warnings(text)] == ["no upstream is in zone q"]


def test_a_mode_that_snapshots_overrule_is_warned_of(written, under):
    key = written.file.with_name("fleet.pub")
    key.touch()
    managed = f'[snapshot]\nsource = "/s"\nkeys = "{key}"\nfolder = "kept"\n'
    assert written.warnings(f'mode = "enforce"\n{managed}') == []
    (problem,) = written.warnings(f'mode = "off"\n{managed}')
    assert problem.message == "mode off ends when a snapshot is in force, which says the mode"
    assert problem.help == "in an emergency: shedproxy mode off --for 10m"
    assert under(problem) == '"off"'
    (problem,) = written.warnings(managed, environ={"SHEDPROXY_MODE": "observe"})
    assert problem.source == "environment"
